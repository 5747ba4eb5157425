//! Carrying out a plan, as far as it goes without waiting. Every step may be repeated.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use keelson_crypto::{ObjectId, ObjectKind};
use keelson_model::later;
use keelson_store::{PutOptions, StoreError};

use super::observe::list;
use super::plan::PrunePlan;
use super::sessions::Waiting;
use super::{OnPruneProgress, PruneError, PruneReport, PruneStep};
use crate::core::Core;
use crate::maintenance::retire::Ownership;
use crate::object::{WriteObjectError, offload, seal_record};
use crate::paths;

/// A prune on its way. Dropping it loses nothing: the next prune finds what this one left.
pub struct Prune {
    pub(super) core: Arc<Core>,
    pub(super) plan: PrunePlan,
    pub(super) report: PruneReport,
    stage: Stage,
}

/// A session that begins within one delay of the mark may not see it, and is seen by whoever lists a second delay later.
/// One that begins after that sees the mark.
fn settling(core: &Core) -> Duration {
    2 * core.store.capabilities().listing_delay
}

/// Each stage begins when all before it are complete.
enum Stage {
    /// Write index objects anew, then the mark. The sealed mark is kept: a repeated upload sends the same bytes.
    Mark(Option<Bytes>),
    /// Let the time pass in which a client may not see what another has created. Known once it began.
    Settle(Option<Timestamp>),
    /// List the sessions that are there.
    ListSessions,
    /// Wait for them, and remember which marks were there before they were listed.
    Wait(Waiting, Vec<ObjectId>),
    /// Give each of those marks its verdict.
    Judge(Vec<ObjectId>),
    Sweep,
    Complete,
}

impl Prune {
    pub(super) fn new(core: &Arc<Core>, plan: PrunePlan) -> Self {
        let stage = if plan.must_wait() { Stage::Mark(None) } else { Stage::Sweep };
        Self { core: Arc::clone(core), plan, report: PruneReport::default(), stage }
    }

    /// The plan that is being carried out.
    pub fn plan(&self) -> &PrunePlan {
        &self.plan
    }

    /// What was done so far.
    pub fn report(&self) -> PruneReport {
        self.report
    }

    /// Goes as far as it can. While it waits it does not sleep: call again later. After an error call again, or plan
    /// anew. `now` only decides which sessions have outlived their stated life.
    pub async fn advance(
        &mut self,
        _proof: &Ownership,
        now: Timestamp,
        on_progress: OnPruneProgress<'_>,
    ) -> Result<PruneStep, PruneError> {
        self.end_overdue(now).await?;
        loop {
            on_progress(self.report);
            self.stage = match &mut self.stage {
                Stage::Mark(_) => {
                    self.withdraw_void().await?;
                    self.rewrite_indexes().await?;
                    self.create_mark().await?;
                    Stage::Settle(None)
                }
                Stage::Settle(until) => {
                    let until = *until.get_or_insert_with(|| later(now, settling(&self.core)));
                    if now < until {
                        return Ok(PruneStep::Settling { until });
                    }
                    Stage::ListSessions
                }
                Stage::ListSessions => {
                    let marks = list(&self.core, paths::MARKS).await?;
                    let marks = marks.iter().filter_map(|mark| paths::parse_object_id(&mark.path)).collect();
                    Stage::Wait(Waiting::begin(&self.core).await?, marks)
                }
                Stage::Wait(waiting, marks) => {
                    let ended = waiting.look(&self.core, now).await?;
                    self.report.sessions_ended += ended;
                    match waiting.longest() {
                        Some((session, until)) => {
                            return Ok(PruneStep::Waiting { session, until, sessions: waiting.count() });
                        }
                        None => Stage::Judge(std::mem::take(marks)),
                    }
                }
                Stage::Judge(marks) => {
                    let marks = std::mem::take(marks);
                    match self.judge(&marks).await {
                        Ok(()) => Stage::Sweep,
                        Err(error) => {
                            self.stage = Stage::Judge(marks);
                            return Err(error);
                        }
                    }
                }
                Stage::Sweep => {
                    self.sweep(on_progress).await?;
                    Stage::Complete
                }
                Stage::Complete => return Ok(PruneStep::Complete(self.report)),
            };
        }
    }

    async fn end_overdue(&mut self, now: Timestamp) -> Result<(), PruneError> {
        while let Some(session) = self.plan.overdue.last() {
            let ended = super::sessions::end_if_overdue(&self.core, *session, now).await?;
            self.report.sessions_ended += u64::from(ended);
            self.plan.overdue.pop();
        }
        Ok(())
    }

    async fn judge(&mut self, marks: &[ObjectId]) -> Result<(), PruneError> {
        for mark in marks {
            let Some(verdict) = super::verdict::judge(&self.core, *mark).await? else { continue };
            // What an earlier verdict found dead is in the plan, with its length.
            let lengths = &self.plan.marked;
            let known = verdict.dead.iter().filter_map(|pack| {
                let at = lengths.binary_search_by_key(pack, |seen| seen.id).ok()?;
                Some(lengths[at])
            });
            let known: Vec<_> = known.collect();
            self.plan.dead.extend(known);
        }
        Ok(())
    }

    async fn create_mark(&mut self) -> Result<(), PruneError> {
        let Some((id, record)) = self.plan.mark.clone() else { return Ok(()) };
        let path = self.core.paths.mark(id);
        let write_error = |source| PruneError::Write { source };
        let Stage::Mark(sealed) = &mut self.stage else { return Ok(()) };
        let bytes = match sealed {
            Some(bytes) => bytes.clone(),
            None => {
                let core = Arc::clone(&self.core);
                let object =
                    offload(move || seal_record(&core.keys, ObjectKind::Mark, id, &record.encode())).await;
                let object = object
                    .map_err(|source| write_error(WriteObjectError::Seal { path: path.clone(), source }))?;
                sealed.insert(object.bytes).clone()
            }
        };
        match self.core.store.put(&path, bytes, PutOptions::create()).await {
            // Another mark under this id is judged like any other.
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
            Err(source) => Err(write_error(WriteObjectError::Put { path, source })),
        }
    }
}

impl std::fmt::Debug for Prune {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prune").field("report", &self.report).finish_non_exhaustive()
    }
}
