//! Removing what the plan and the verdicts say, what names before what is named.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, stream};
use keelson_crypto::ObjectId;
use keelson_model::SessionId;
use keelson_store::{StoreError, StorePath};

use super::execute::Prune;
use super::observe::PackSeen;
use super::plan::Expired;
use super::{OnPruneProgress, PruneError, PruneReport};
use crate::core::Core;
use crate::limits::{DELETE_BATCH, DELETES_IN_FLIGHT};
use crate::maintenance::liveness::PackSet;
use crate::paths::Paths;

/// How one removed object is counted.
type Count = fn(&mut PruneReport, u64);

const RECORD: Count = |report, _| report.records_removed += 1;
const OUTCOME: Count = |report, _| report.outcomes_removed += 1;
const INDEX: Count = |report, _| report.indexes_removed += 1;
const PACK: Count = |report, bytes| {
    report.packs_removed += 1;
    report.bytes_freed += bytes;
};

/// Where an object lies, and its bytes as far as they are counted.
type Locate<T> = fn(&Paths, &T) -> (StorePath, u64);

const OF_OUTCOME: Locate<SessionId> = |paths, id| (paths.outcome(*id), 0);
const OF_RETIREMENT: Locate<SessionId> = |paths, id| (paths.retired(*id), 0);
const OF_PACK: Locate<PackSeen> = |paths, pack| (paths.pack(pack.id), pack.bytes);
const OF_INDEX: Locate<ObjectId> = |paths, id| (paths.index(*id), 0);
const OF_MARK: Locate<ObjectId> = |paths, id| (paths.mark(*id), 0);
const OF_VERDICT: Locate<ObjectId> = |paths, id| (paths.verdict(*id), 0);
const AS_IS: Locate<StorePath> = |_, path| (path.clone(), 0);

impl Prune {
    /// Order: 1 outcomes, 2 packs, 3 index objects, 4 records of what is over; a mark before its verdict.
    pub(super) async fn sweep(&mut self, on_progress: OnPruneProgress<'_>) -> Result<(), PruneError> {
        self.withdraw_void().await?;
        let indexes = self.removable_indexes();
        let Self { core, plan, report, .. } = self;
        let mut sweeper = Sweeper { core, report, on_progress };
        sweeper.remove(&plan.retired, OF_OUTCOME, OUTCOME).await?;
        sweeper.remove(&plan.repacks, OF_OUTCOME, OUTCOME).await?;
        sweeper.remove(&plan.dead, OF_PACK, PACK).await?;
        sweeper.remove(&indexes, OF_INDEX, INDEX).await?;

        // A session without an outcome would be waited for, so its record goes first.
        sweeper.remove(&plan.sessions, AS_IS, RECORD).await?;
        sweeper.remove(&plan.done, OF_OUTCOME, RECORD).await?;
        let Expired { aborted, retirements, marks, verdicts } = &plan.expired;
        sweeper.remove(aborted, OF_OUTCOME, RECORD).await?;
        sweeper.remove(retirements, OF_RETIREMENT, RECORD).await?;
        sweeper.remove(marks, OF_MARK, RECORD).await?;
        sweeper.remove(verdicts, OF_VERDICT, RECORD).await
    }

    /// Readers get those outcomes back at once, before anything is waited for.
    pub(super) async fn withdraw_void(&mut self) -> Result<(), PruneError> {
        let Self { core, plan, report, .. } = self;
        let mut sweeper = Sweeper { core, report, on_progress: &|_| {} };
        sweeper.remove(&plan.void, OF_RETIREMENT, RECORD).await?;
        plan.void.clear();
        Ok(())
    }

    fn removable_indexes(&self) -> Vec<ObjectId> {
        let mut dead = PackSet::default();
        dead.extend(self.plan.dead.iter().map(|pack| pack.id));
        dead.settle();
        let superseded: HashSet<_> = self.plan.indexes.superseded.iter().collect();
        let seen = self.plan.indexes.seen.iter().filter(|index| !index.locked);
        let removable = seen.filter(|index| {
            let all_dead = index.packs.iter().all(|pack| dead.contains(pack));
            all_dead || superseded.contains(&index.source.id)
        });
        removable.map(|index| index.source.id).collect()
    }
}

struct Sweeper<'a> {
    core: &'a Core,
    report: &'a mut PruneReport,
    on_progress: OnPruneProgress<'a>,
}

impl Sweeper<'_> {
    async fn remove<T>(&mut self, objects: &[T], locate: Locate<T>, count: Count) -> Result<(), PruneError> {
        for batch in objects.chunks(DELETE_BATCH) {
            let located: Vec<_> = batch.iter().map(|object| locate(&self.core.paths, object)).collect();
            let deletes = stream::iter(located).map(|(path, bytes)| {
                let store = Arc::clone(&self.core.store);
                async move {
                    let deleted = store.delete(&path, None).await;
                    (path, bytes, deleted)
                }
            });
            let mut deletes = deletes.buffer_unordered(DELETES_IN_FLIGHT);
            while let Some((path, bytes, deleted)) = deletes.next().await {
                match deleted {
                    Ok(()) => count(self.report, bytes),
                    // Locked since the plan was made, by a session that then did not commit.
                    Err(StoreError::Locked { .. }) => self.report.locked += 1,
                    Err(source) => return Err(PruneError::Delete { path, source }),
                }
                (self.on_progress)(*self.report);
            }
        }
        Ok(())
    }
}
