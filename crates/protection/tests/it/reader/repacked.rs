//! A repository that its owner has repacked twice and pruned: what an outcome needs lies elsewhere than it says.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use keelson_crypto::{KdfCost, VaultKey, VaultKeyring};
use keelson_model::{LineageId, RepositoryId, SessionId};
use keelson_repository::{
    ChunkSizes, Indexed, JudgedRetirements, Locked, NewRepository, NewSession, Open, Outcome, Ownership,
    PruneStep, RepackThresholds, Repository, SessionPurpose,
};
use keelson_store::Store;
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_testkit::FormatReader;

use super::keys::{back_up, noise, now, slot};
use super::{Ours, compare, ensure_sound, files, flip_last};

const OLD: &str = "from before the second repack";
const NEW: &str = "from the second repack on";
const ID: [u8; 16] = [8; 16];
/// So that packs of a few kilobytes are worth it.
const ANY_DEAD: RepackThresholds = RepackThresholds { dead_percent_min: 1, copied_bytes_max: 1 << 30 };
/// More than any session here lives.
const LONG: Duration = Duration::from_hours(24);

fn owner() -> Ownership {
    Ownership::proven_by_newest_epoch(LineageId::from_bytes([3; 16]), 1)
}

/// All retirements count.
async fn judge(repository: &Repository<Open>) -> Result<JudgedRetirements> {
    let retired = repository.list_retired().await?;
    let valid: BTreeSet<SessionId> = retired.iter().map(|retirement| retirement.outcome).collect();
    Ok(JudgedRetirements { valid, void: BTreeSet::new() })
}

/// Prunes until nothing is left to do.
async fn prune(repository: &Repository<Open>) -> Result<()> {
    for _ in 0..5 {
        let plan = repository.plan_prune(&owner(), &judge(repository).await?).await?;
        if plan.is_empty() {
            return Ok(());
        }
        let mut prune = repository.begin_prune(plan);
        let step = prune.advance(&owner(), now() + LONG, &|_| {}).await?;
        ensure!(matches!(step, PruneStep::Complete(_)), "a prune waits: {step:?}");
    }
    bail!("five prunes leave something to do")
}

/// Retires an outcome, and empties the packs that are half dead without it.
async fn retire_and_repack(repository: &Repository<Indexed>, outcome: &Outcome) -> Result<()> {
    repository.retire(outcome.id, &owner(), now()).await?;
    prune(repository).await?;
    let session = NewSession { purpose: SessionPurpose::Repack, lives_until: now(), now: now() };
    let begun = repository.begin_repack(&owner(), session).await?;
    let repack = begun.survey(ANY_DEAD, &judge(repository).await?).await?;
    let report = repack.carry_out(now()).await?;
    assert_eq!((report.packs_emptied, report.packs_damaged), (1, 0));
    prune(repository).await
}

/// Gives the only backup that is left. Its pack was moved, and what that was moved to was moved again, under a new key.
async fn make(location: &Path, key: &str) -> Result<Outcome> {
    let store: Arc<dyn Store> = Arc::new(FilesystemStore::open(location).await?);
    let mut vault = VaultKeyring::new(VaultKey::generate(1));
    let slots = [slot(1, OLD, KdfCost::LOWEST, &vault)?];
    let chunks = ChunkSizes::new(64, 128, 192).context("sizes of chunks")?;
    let new = NewRepository { id: RepositoryId::from_bytes(ID), vault: &vault, slots: &slots, chunks };
    let first = Repository::<Locked>::at(store, key.parse()?)?.create(new).await?;
    let indexed = first.load_index().await?;
    let (kept, longer, long) = (noise(1, 5_000), noise(2, 20_000), noise(3, 60_000));
    let all = [("kept", kept.clone()), ("longer", longer.clone()), ("long", long)];
    let goes_first = back_up(&indexed, &all).await?;
    let stays = back_up(&indexed, &[("kept", kept)]).await?;
    let goes_then = back_up(&indexed, &[("longer", longer)]).await?;
    retire_and_repack(&indexed, &goes_first).await?;

    vault.insert(VaultKey::generate(2));
    let changed = first.add_key(&vault, &[slot(2, NEW, KdfCost::LOWEST, &vault)?]).await?;
    retire_and_repack(&changed.load_index().await?, &goes_then).await?;
    Ok(stays)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_follows_what_repacks_have_moved() -> Result<()> {
    let (reader, location) = (FormatReader::prepare()?, tempfile::tempdir()?);
    let key = format!("k10/0c3e8c52-6a0b/exports/shop/{}", RepositoryId::from_bytes(ID));
    let stays = make(location.path(), &key).await?;
    let there = files(location.path())?;
    let is_there = |pack: &str| there.iter().any(|path| path.ends_with(pack));
    ensure!(!stays.packs().iter().any(|pack| is_there(&pack.to_string())), "nothing was moved");
    let ours = Ours::open(location.path(), &key, NEW).await?;
    let repacks: Vec<_> =
        ours.outcomes.iter().filter(|outcome| outcome.purpose() == SessionPurpose::Repack).collect();
    assert_eq!((ours.outcomes.len(), repacks.len()), (3, 2));
    ensure_sound(&reader, location.path(), NEW)?;
    assert_eq!(compare(&reader, location.path(), NEW, &ours).await?, 1);

    // Where things have gone stands in what the new key seals: that is not read, and nothing is damaged.
    let old = reader.read(location.path(), OLD, &["verify"])?;
    ensure!(old.code == 3 && !old.stderr.contains("damaged"), "exit code {}: {}", old.code, old.stderr);
    for repack in repacks {
        let name = repack.id.to_string();
        flip_last(&reader, location.path(), NEW, |path| path.ends_with(format!("outcomes/{name}")))?;
    }
    Ok(())
}
