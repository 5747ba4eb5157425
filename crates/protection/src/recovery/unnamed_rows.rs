//! Rows of bases that no document names: a base is its outcome and then its document, and a process may end, or the store
//! fail, between the two. Nobody can find such rows, and nothing else would ever free them.
//!
//! Assumes that whoever calls owns the repository. Leaves alone what is younger than the window of points in time, which
//! may be written now, and everything where a document does not open, which may name it.

use std::collections::HashSet;

use futures::TryStreamExt;
use jiff::Timestamp;
use keelson_model::SessionId;
use keelson_repository::{Open, Ownership, Repository, SessionPurpose};

use crate::layout::DrFolder;
use crate::recovery::RecoveryError;
use crate::recovery::read::{Shelf, is_damage, warning};
use crate::recovery::run::retention::{before_points_in_time, retire};

/// Says how many are retired.
pub(crate) async fn retire_unnamed(
    repository: &Repository<Open>,
    folder: &DrFolder,
    proof: &Ownership,
    now: Timestamp,
) -> Result<usize, RecoveryError> {
    // First the outcomes, then the documents: one whose document comes in between is named.
    let failed = |source| RecoveryError::List { folder: folder.repository().clone(), source };
    let mut outcomes = repository.list_outcomes().await.map_err(failed)?;
    let shelf = Shelf { store: &**repository.store(), repository, folder };
    let Some(named) = find_named(&shelf).await? else { return Ok(0) };
    outcomes.retain(|outcome| !named.contains(outcome));
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
        if outcome.purpose() == SessionPurpose::Base && outcome.created() < before_points_in_time(now) {
            retire(repository, outcome.id, proof, now).await?;
            retired += 1;
        }
    }
}

/// The outcomes that the documents of bases name; nothing where one of them does not open.
async fn find_named(shelf: &Shelf<'_>) -> Result<Option<HashSet<SessionId>>, RecoveryError> {
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
