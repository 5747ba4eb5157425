//! A repository with trees, repeats, retired and aborted outcomes, two passphrases and a changed vault key, and what
//! a prune leaves there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use keelson_crypto::{KdfCost, Passphrase, Slot, VaultKey, VaultKeyring};
use keelson_model::{Classified, ErrorClass, LineageId, RepositoryId, SlotId};
use keelson_repository::{
    ChunkSizes, Indexed, JudgedRetirements, Locked, NamedStream, NewRepository, NewSession, Outcome,
    OutcomeDraft, Ownership, PruneStep, Repository, Session, SessionPurpose, Unlock,
};
use keelson_store::Store;
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_testkit::FormatReader;

use super::{Ours, compare, ensure_sound, flip_each_kind};

const OLD: &str = "the first passphrase";
const OTHER: &str = "the same key, another passphrase";
const NEW: &str = "the passphrase after it was changed";
const ID: [u8; 16] = [7; 16];

pub(super) fn now() -> Timestamp {
    Timestamp::constant(1_770_000_000, 123_456_000)
}

#[derive(Debug, thiserror::Error)]
#[error("a source that never fails has failed")]
struct NeverFails;

impl Classified for NeverFails {
    fn class(&self) -> ErrorClass {
        ErrorClass::Bug
    }

    fn code(&self) -> &'static str {
        "test.never_fails"
    }
}

pub(super) fn slot(id: u8, passphrase: &str, cost: KdfCost, vault: &VaultKeyring) -> Result<Slot> {
    let passphrase = Passphrase::new(passphrase.as_bytes().to_vec());
    Ok(Slot::seal(SlotId::from_bytes([id; 16]), &passphrase, cost, vault.newest())?)
}

/// Bytes that do not compress, the same for the same seed.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 32) as u8
    };
    (0..length).map(|_| step(&mut state)).collect()
}

fn owner() -> Ownership {
    Ownership::proven_by_newest_epoch(LineageId::from_bytes([3; 16]), 4)
}

async fn begin(repository: &Repository<Indexed>, purpose: SessionPurpose) -> Result<Session> {
    Ok(repository.begin(NewSession { purpose, lives_until: now(), now: now() }).await?)
}

async fn write(session: &Session, name: &str, content: &[u8]) -> Result<NamedStream> {
    let pieces: Vec<_> =
        content.chunks(777).map(|piece| Ok::<_, NeverFails>(Bytes::copy_from_slice(piece))).collect();
    let reference = session.write(stream::iter(pieces)).await?;
    let attributes = BTreeMap::from([("layer".to_owned(), "größer".to_owned())]);
    Ok(NamedStream { name: name.to_owned(), reference, attributes })
}

pub(super) async fn back_up(
    repository: &Repository<Indexed>,
    contents: &[(&str, Vec<u8>)],
) -> Result<Outcome> {
    let session = begin(repository, SessionPurpose::Export).await?;
    session.life().renew(now()).await?;
    let mut streams = Vec::new();
    for (name, content) in contents {
        streams.push(write(&session, name, content).await?);
    }
    let description = br#"{"application":"shop"}"#.to_vec();
    Ok(session.commit(OutcomeDraft { created: now(), description, streams, retain_until: None }).await?)
}

/// Makes the repository and returns the outcome that only the new key opens. One of its slots has the cost `other`.
async fn make(location: &Path, key: &str, other: KdfCost) -> Result<Outcome> {
    let store: Arc<dyn Store> = Arc::new(FilesystemStore::open(location).await?);
    let mut vault = VaultKeyring::new(VaultKey::generate(1));
    let slots = [slot(1, OLD, KdfCost::LOWEST, &vault)?, slot(2, OTHER, other, &vault)?];
    let chunks = ChunkSizes::new(64, 128, 192).context("sizes of chunks")?;
    let id = RepositoryId::from_bytes(ID);
    let locked = Repository::<Locked>::at(store, key.parse()?)?;
    let first = locked.create(NewRepository { id, vault: &vault, slots: &slots, chunks }).await?;
    let indexed = first.load_index().await?;
    let repeated = noise(1, 40_000);
    back_up(&indexed, &[("noise", repeated.clone()), ("zeros", vec![0; 30_000]), ("empty", Vec::new())])
        .await?;
    let retired = back_up(&indexed, &[("gone", noise(2, 5_000))]).await?;
    indexed.retire(retired.id, &owner(), now()).await?;
    let aborted = begin(&indexed, SessionPurpose::Backup).await?;
    write(&aborted, "half", &noise(3, 5_000)).await?;
    aborted.life().give_up(now()).await?;

    vault.insert(VaultKey::generate(2));
    let changed =
        first.add_key(&vault, &[slot(3, NEW, KdfCost::LOWEST, &vault)?]).await?.load_index().await?;
    // Thousands of chunks: more than one node can list, so that nodes have a node above them.
    back_up(&changed, &[("deep", [repeated, noise(4, 900_000)].concat())]).await
}

/// Removes the retired outcome, which leaves a mark and its verdict, and begins a session that does not end.
async fn prune(location: &Path, key: &str) -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(FilesystemStore::open(location).await?);
    let passphrase = Arc::new(Passphrase::new(NEW.as_bytes().to_vec()));
    let locked = Repository::<Locked>::at(store, key.parse()?)?;
    let repository = locked.open(Unlock::Passphrase(&passphrase)).await?.load_index().await?;
    let valid: BTreeSet<_> = repository.list_retired().await?.iter().map(|retired| retired.outcome).collect();
    let judged = JudgedRetirements { valid, void: BTreeSet::new() };
    let plan = repository.plan_prune(&owner(), &judged).await?;
    let step = repository.begin_prune(plan).advance(&owner(), now(), &|_| {}).await?;
    ensure!(matches!(step, PruneStep::Complete(done) if done.outcomes_removed == 1), "{step:?}");
    drop(begin(&repository, SessionPurpose::Export).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reads_a_repository_whose_passphrase_was_changed() -> Result<()> {
    let (reader, location) = (FormatReader::prepare()?, tempfile::tempdir()?);
    let key = format!("k10/0c3e8c52-6a0b/exports/shop/{}", RepositoryId::from_bytes(ID));
    let newest = make(location.path(), &key, KdfCost::FIPS).await?;
    let ours = Ours::open(location.path(), &key, NEW).await?;
    assert_eq!(ours.outcomes.len(), 4);
    assert_eq!(compare(&reader, location.path(), NEW, &ours).await?, 4);
    let listed = reader.read(location.path(), NEW, &["list"])?.lines()?;
    let deep = listed.iter().find(|line| line["streams"][0]["name"] == "deep").context("the deep stream")?;
    assert_eq!(deep["streams"][0]["depth"], 2, "{deep}");

    ensure_sound(&reader, location.path(), NEW)?;
    for (passphrase, opens) in
        [(NEW, [true, false, false]), (OLD, [false, true, false]), (OTHER, [false, false, true])]
    {
        let listed = reader.read(location.path(), passphrase, &["list"])?.lines()?;
        let slots = listed[0]["slots"].as_array().context("slots")?;
        let opened: Vec<_> = slots.iter().map(|slot| slot["opens"] == true).collect();
        assert_eq!(opened, opens, "{slots:?}");
    }
    // The old passphrase opens the old data, and says of the rest that it was not read.
    let old = reader.read(location.path(), OLD, &["verify"])?;
    assert_eq!(old.code, 3, "{}", old.stderr);
    assert!(old.stderr.contains(&format!("not read: {key}/outcomes/{}: no key 2 is at hand", newest.id)));
    assert!(!old.stderr.contains("damaged"), "{}", old.stderr);
    Ok(())
}

/// Each change of a passphrase leaves its slots, for as long as there is data that they open.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reads_a_repository_with_many_slots() -> Result<()> {
    let (reader, location) = (FormatReader::prepare()?, tempfile::tempdir()?);
    let key = format!("k10/0c3e8c52-6a0b/exports/shop/{}", RepositoryId::from_bytes(ID));
    let vault = VaultKeyring::new(VaultKey::generate(1));
    let slots = (0..40).map(|id| slot(id, OLD, KdfCost::LOWEST, &vault)).collect::<Result<Vec<_>>>()?;
    let chunks = ChunkSizes::new(64, 128, 192).context("sizes of chunks")?;
    let store: Arc<dyn Store> = Arc::new(FilesystemStore::open(location.path()).await?);
    let new = NewRepository { id: RepositoryId::from_bytes(ID), vault: &vault, slots: &slots, chunks };
    Repository::<Locked>::at(store, key.parse()?)?.create(new).await?;
    ensure_sound(&reader, location.path(), OLD).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_finds_a_flipped_bit_in_every_kind_of_object_of_a_repository() -> Result<()> {
    let (reader, location) = (FormatReader::prepare()?, tempfile::tempdir()?);
    let key = format!("k10/0c3e8c52-6a0b/exports/shop/{}", RepositoryId::from_bytes(ID));
    make(location.path(), &key, KdfCost::LOWEST).await?;
    prune(location.path(), &key).await?;
    let kinds =
        ["format", "slots", "keys", "sessions", "packs", "index", "outcomes", "retired", "marks", "verdicts"];
    flip_each_kind(&reader, location.path(), NEW, &kinds)
}
