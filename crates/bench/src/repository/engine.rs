//! The repository's own part of a backup of files, as a program: `bench repository-engine VERB STORE …`.
//!
//! Everything goes through the public API of `keelson-repository`. Each folder is one stream; several are written or read
//! at once, as the layers of an application are. The repository cannot be told that a stream is what it was before, so every
//! backup reads and hashes everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use keelson_crypto::{InstanceKey, VaultKey, VaultKeyring};
use keelson_model::{Clock, LineageId, RepositoryId, SessionId, later};
use keelson_repository::{
    Depth, IndexCache, Indexed, JudgedRetirements, NamedStream, NewRepository, NewSession, OutcomeDraft,
    Ownership, PruneStep, Reader, RepackThresholds, Repository, SessionPurpose, StreamRef, Unlock,
    Verification,
};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::{StoreError, StorePath};
use tokio::sync::mpsc;

use super::archive::{Unpacker, pack};
use crate::clock::WallClock;
use crate::say;

/// Folders on their way at once.
const STREAMS_IN_FLIGHT: usize = 4;
const PIECES_IN_FLIGHT: usize = 8;
const SESSION_LIFE: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn run(words: &[&str]) -> Result<()> {
    match *words {
        ["create", store] => create(store.as_ref()).await,
        ["open", store] => open(store.as_ref()).await.map(drop),
        ["backup", store, source] => backup(store.as_ref(), source.as_ref()).await,
        ["restore", store, outcome, target] => {
            restore(store.as_ref(), outcome.parse()?, target.as_ref()).await
        }
        ["verify", store] => verify(store.as_ref()).await,
        ["prune", store, keep] => prune(store.as_ref(), keep.parse()?).await,
        _ => bail!("the engine does not know what to do: {words:?}"),
    }
}

fn vault() -> Result<VaultKeyring> {
    Ok(VaultKeyring::new(VaultKey::derive_local(&InstanceKey::from_slice(&[7; 32])?)))
}

async fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let store = FilesystemStore::open(folder).await?;
    let id = RepositoryId::from_bytes([1; 16]);
    let new = NewRepository { id, vault: &vault()?, slots: &[], chunks: Default::default() };
    Repository::at(Arc::new(store), StorePath::root())?.create(new).await?;
    Ok(())
}

/// With the index on this machine, as a platform has it.
async fn open(folder: &Path) -> Result<Repository<Indexed>> {
    let cache = IndexCache::open(&folder.with_extension("index"))?;
    let store = FilesystemStore::open(folder).await?;
    let locked = Repository::at(Arc::new(store), StorePath::root())?.indexed_in(&cache);
    Ok(locked.open(Unlock::Vault(&vault()?)).await?.load_index().await?)
}

fn new_session(purpose: SessionPurpose) -> NewSession {
    let now = WallClock.now();
    NewSession { purpose, lives_until: later(now, SESSION_LIFE), now }
}

/// Prints the id of what it made.
async fn backup(folder: &Path, source: &Path) -> Result<()> {
    let repository = open(folder).await?;
    let session = repository.begin(new_session(SessionPurpose::Backup)).await?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(source).context("list the source")? {
        names.push(entry?.file_name().into_string().ok().context("a folder's name is text here")?);
    }
    names.sort();
    let writes = stream::iter(names).map(|name| {
        let (session, folder) = (&session, source.join(&name));
        async move {
            let (pieces, received) = mpsc::channel(PIECES_IN_FLIGHT);
            let reading = tokio::task::spawn_blocking(move || {
                pack(&folder, |piece| pieces.blocking_send(Piece::Ok(piece)).context("the write has stopped"))
            });
            let written = session.write(from_channel(received)).await;
            reading.await.context("read a folder")??;
            let reference: StreamRef = written.with_context(|| format!("store folder {name}"))?;
            anyhow::Ok(NamedStream { name, reference, attributes: Default::default() })
        }
    });
    let streams = writes.buffered(STREAMS_IN_FLIGHT).try_collect().await?;
    let draft =
        OutcomeDraft { created: WallClock.now(), description: Vec::new(), streams, retain_until: None };
    say(&session.commit(draft).await?.id.to_string());
    Ok(())
}

/// A piece of a stream. None is an error: where reading fails, the program ends before it commits.
type Piece = Result<Bytes, StoreError>;

fn from_channel(pieces: mpsc::Receiver<Piece>) -> impl futures::Stream<Item = Piece> + Send {
    stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) })
}

async fn restore(folder: &Path, outcome: SessionId, target: &Path) -> Result<()> {
    let reader = open(folder).await?.begin_reading(new_session(SessionPurpose::Restore)).await?;
    let outcome = reader.outcome(outcome).await?;
    let reads = stream::iter(outcome.streams()).map(|stream| unpack(&reader, stream, target));
    reads.buffer_unordered(STREAMS_IN_FLIGHT).try_collect::<()>().await?;
    Ok(reader.finish(WallClock.now()).await?)
}

async fn unpack(reader: &Reader, stream: &NamedStream, target: &Path) -> Result<()> {
    let folder: PathBuf = target.join(&stream.name);
    let (pieces, mut received) = mpsc::channel::<Bytes>(PIECES_IN_FLIGHT);
    let writing = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder)?;
        let mut unpacker = Unpacker::new(folder);
        while let Some(piece) = received.blocking_recv() {
            unpacker.push(&piece)?;
        }
        unpacker.finish()
    });
    let mut content = std::pin::pin!(reader.read(&stream.reference));
    while let Some(piece) = content.try_next().await? {
        // Where nobody takes it, the writing end says why.
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    writing.await.context("write a folder")?
}

async fn verify(folder: &Path) -> Result<()> {
    let reader = open(folder).await?.begin_reading(new_session(SessionPurpose::Verify)).await?;
    let verification = Verification { depth: Depth::Full, expected: Vec::new() };
    let report = reader.verify(&verification, &|_| ()).await?;
    ensure!(report.is_whole(), "{} objects are damaged", report.findings_total);
    Ok(reader.finish(WallClock.now()).await?)
}

/// Keeps one outcome; what the others alone needed is freed, after half dead packs were emptied.
async fn prune(folder: &Path, keep: SessionId) -> Result<()> {
    let repository = open(folder).await?;
    let proof = Ownership::proven_by_newest_epoch(LineageId::from_bytes([2; 16]), 1);
    let ids = repository.list_outcomes().await?;
    let outcomes: Vec<_> = repository.committed_outcomes(ids).try_collect().await?;
    let mut judged = JudgedRetirements::default();
    for outcome in outcomes.iter().filter(|outcome| outcome.id != keep) {
        repository.retire(outcome.id, &proof, WallClock.now()).await?;
        judged.valid.insert(outcome.id);
    }
    let begun = repository.begin_repack(&proof, new_session(SessionPurpose::Repack)).await?;
    let repack = begun.survey(RepackThresholds::DEFAULT, &judged).await?;
    repack.carry_out(WallClock.now()).await?;
    let plan = repository.plan_prune(&proof, &judged).await?;
    let mut prune = repository.begin_prune(plan);
    loop {
        match prune.advance(&proof, WallClock.now(), &|_| ()).await? {
            PruneStep::Complete(_) => return Ok(()),
            PruneStep::Settling { until } => {
                let wait = until.duration_since(WallClock.now());
                tokio::time::sleep(wait.try_into().unwrap_or_default()).await;
            }
            PruneStep::Waiting { session, .. } => bail!("session {session} has not ended"),
        }
    }
}
