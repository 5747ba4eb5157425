//! What tests of maintenance share: an owner who retires, prunes and repacks, as the service does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keelson_model::{LineageId, SessionId};
use keelson_repository::{
    Indexed, JudgedRetirements, Open, Ownership, PruneError, PruneReport, PruneStep, Repack, RepackError,
    RepackReport, RepackThresholds, Repository, SessionPurpose, Unlock,
};
use keelson_store::{Store, StoreExt};

use crate::world::*;

/// More than any session of a test lives.
pub(crate) const LONG: Duration = Duration::from_hours(24);
/// After this nothing has to be kept for what could come late.
pub(crate) const LATE_EFFECTS: Duration = Duration::from_hours(15 * 24);
/// So that packs of a few hundred bytes are worth it.
pub(crate) const ANY_DEAD: RepackThresholds =
    RepackThresholds { dead_percent_min: 1, copied_bytes_max: 1 << 30 };

pub(crate) fn owner() -> Ownership {
    Ownership::proven_by_newest_epoch(LineageId::from_bytes([3; 16]), 1)
}

pub(crate) async fn opened(store: &Arc<dyn Store>) -> Repository<Indexed> {
    let passphrase = passphrase(PASSPHRASE);
    let opened = locked(store).open(Unlock::Passphrase(&passphrase)).await.unwrap();
    opened.load_index().await.unwrap()
}

/// All retirements count.
pub(crate) async fn judge(repository: &Repository<Open>) -> JudgedRetirements {
    let retired = repository.list_retired().await.unwrap();
    let valid: BTreeSet<SessionId> = retired.iter().map(|retirement| retirement.outcome).collect();
    JudgedRetirements { valid, void: BTreeSet::new() }
}

pub(crate) async fn retire(repository: &Repository<Open>, outcome: SessionId) {
    repository.retire(outcome, &owner(), now()).await.unwrap();
}

/// One prune to its end. Sessions that run are ended.
pub(crate) async fn prune_once(repository: &Repository<Open>) -> Result<PruneReport, PruneError> {
    let judged = judge(repository).await;
    let plan = repository.plan_prune(&owner(), &judged).await?;
    let mut prune = repository.begin_prune(plan);
    match prune.advance(&owner(), now() + LONG, &|_| {}).await? {
        PruneStep::Complete(report) => Ok(report),
        PruneStep::Settling { .. } => panic!("this store shows everything at once"),
        PruneStep::Waiting { session, .. } => panic!("session '{session}' outlives a prune of tomorrow"),
    }
}

/// Prunes until nothing is left to do.
pub(crate) async fn prune_all(repository: &Repository<Open>) {
    for _ in 0..4 {
        prune_once(repository).await.unwrap();
        if repository.plan_prune(&owner(), &judge(repository).await).await.unwrap().is_empty() {
            return;
        }
    }
    let plan = repository.plan_prune(&owner(), &judge(repository).await).await.unwrap();
    panic!("four prunes leave something to do: {plan}");
}

pub(crate) async fn repack(repository: &Repository<Indexed>) -> Result<RepackReport, RepackError> {
    begin_repack(repository, ANY_DEAD).await?.carry_out(now()).await
}

pub(crate) async fn begin_repack(
    repository: &Repository<Indexed>,
    thresholds: RepackThresholds,
) -> Result<Repack, RepackError> {
    let judged = judge(repository).await;
    let begun = repository.begin_repack(&owner(), new_session(SessionPurpose::Repack)).await?;
    begun.survey(thresholds, &judged).await
}

/// The keys in these folders, by name alone.
pub(crate) async fn names(store: &Arc<dyn Store>, folder: &str) -> BTreeSet<String> {
    let folder = root().join(folder).unwrap();
    let listed = store.list_all(&folder).await.unwrap();
    listed.into_iter().map(|object| object.path.name().to_owned()).collect()
}
