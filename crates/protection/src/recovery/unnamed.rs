//! Outcomes in a repository of disaster recovery that nothing names: the rows of a base, a copy of a restore point or a
//! run is its outcome and then what names it, and a process may end, or the store fail, between the two. Nobody can find
//! such an outcome, and nothing else would ever free it.
//!
//! Assumes that whoever calls owns the repository. Leaves alone what is younger than the window of points in time, which
//! may be written now, and whatever may be named by what cannot be read. Of a repository that is not in force any more
//! only bases are looked for: its copies and runs may be named by a later state than this catalog's. So may those of the one
//! that the instance file says is in force, until this process ships there: the volume may have been put back to a snapshot.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use keelson_catalog::Database;
use keelson_model::{RepositoryId, SessionId};
use keelson_repository::{Open, Ownership, Repository, SessionPurpose};

use crate::contents;
use crate::layout::DrFolder;
use crate::platform::Platform;
use crate::recovery::read::{Shelf, is_damage, warning};
use crate::recovery::run::retention::{before_points_in_time, known_outcomes, retire};
use crate::recovery::{RecoveryError, state};
use crate::restore_points::ContentInternal;

/// So long shipping is waited for, which may take up a chain just then. Another pass comes.
const SHIPPER_WAIT: Duration = Duration::from_secs(60);

/// What the catalog and the instance's file name of a repository.
#[derive(Debug, Default)]
pub(crate) struct Named {
    copies: HashSet<SessionId>,
    /// Nothing where not all of them are known.
    runs: Option<HashSet<SessionId>>,
    in_force: bool,
}

impl Named {
    pub(crate) async fn read(
        platform: &Platform,
        repository: &Repository<Open>,
        folder: &DrFolder,
    ) -> Result<Self, RecoveryError> {
        let in_force = state::enabled(platform)?.is_some_and(|known| known.repository == repository.id())
            && ships_to(platform, repository.id()).await;
        let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
        let shelf = Shelf { store: &**repository.store(), repository, folder };
        let runs = if in_force { known_outcomes(platform, &shelf).await? } else { None };
        Ok(Self { copies: named_copies(&catalog, repository.id())?, runs, in_force })
    }

    fn names(&self, outcome: SessionId) -> bool {
        self.copies.contains(&outcome) || self.runs.as_ref().is_some_and(|runs| runs.contains(&outcome))
    }
}

/// Whether this process ships there. It does once it has compared the end of the chain and its starts with what this volume
/// knows of them; nothing else tells a catalog that is older than what lies in the store. The shipper is only looked at.
async fn ships_to(platform: &Platform, repository: RepositoryId) -> bool {
    let Ok(slot) = tokio::time::timeout(SHIPPER_WAIT, platform.shipper.lock()).await else { return false };
    slot.as_ref().is_some_and(|shipper| shipper.target().repository.id() == repository)
}

/// The copies in one repository that contents name.
fn named_copies(catalog: &Database, repository: RepositoryId) -> Result<HashSet<SessionId>, RecoveryError> {
    let mut named = HashSet::new();
    for content in contents::all_internal(catalog) {
        let ContentInternal { artifact, .. } =
            content.map_err(|source| RecoveryError::ReadState { source })?;
        let artifacts = std::iter::successors(Some(&artifact), |artifact| artifact.copy.as_deref());
        let here = artifacts.filter(|artifact| artifact.repository == repository);
        named.extend(here.map(|artifact| artifact.outcome));
    }
    Ok(named)
}

/// Says how many are retired.
pub(crate) async fn retire_unnamed(
    repository: &Repository<Open>,
    folder: &DrFolder,
    named: &Named,
    proof: &Ownership,
    now: Timestamp,
) -> Result<usize, RecoveryError> {
    // First the outcomes, then the documents: one whose document comes in between is named.
    let failed = |source| RecoveryError::List { folder: folder.repository().clone(), source };
    let mut outcomes = repository.list_outcomes().await.map_err(failed)?;
    let bases = named_by_bases(&Shelf { store: &**repository.store(), repository, folder }).await?;
    let in_base = |outcome: &SessionId| bases.as_ref().is_some_and(|bases| bases.contains(outcome));
    outcomes.retain(|outcome| !named.names(*outcome) && !in_base(outcome));
    let mut retired = 0;
    let mut read = std::pin::pin!(repository.committed_outcomes(outcomes));
    loop {
        let outcome = match read.try_next().await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return Ok(retired),
            // Pruning names it.
            Err(error) if error.is_damage() => continue,
            Err(source) => return Err(RecoveryError::FetchObject { source }),
        };
        let all_are_known = match outcome.purpose() {
            SessionPurpose::Base => bases.is_some(),
            SessionPurpose::Export => named.in_force,
            SessionPurpose::Backup => named.runs.is_some(),
            SessionPurpose::Restore | SessionPurpose::Verify | SessionPurpose::Repack => false,
        };
        if all_are_known && outcome.created() < before_points_in_time(now) {
            retire(repository, outcome.id, proof, now).await?;
            retired += 1;
        }
    }
}

/// The outcomes that the documents of bases name; nothing where one of them does not open.
async fn named_by_bases(shelf: &Shelf<'_>) -> Result<Option<HashSet<SessionId>>, RecoveryError> {
    let mut named = HashSet::new();
    for name in shelf.bases().await? {
        match shelf.base(name.at).await {
            Ok(base) => drop(named.insert(base.outcome)),
            Err(error) if is_damage(&error) => {
                tracing::warn!(warning = warning(&error), "rows without a document are not looked for");
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(named))
}
