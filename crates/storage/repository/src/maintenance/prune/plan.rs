//! What a prune will do: a pure function of what it saw.

use std::collections::HashSet;
use std::fmt;

use jiff::Timestamp;
use keelson_crypto::ObjectId;
use keelson_model::{PackId, SessionId, later};
use keelson_store::StorePath;

use super::JudgedRetirements;
use super::observe::{IndexSeen, Inventory, MarkSeen, OutcomeSeen, OutcomeState, PackSeen, PacksSeen};
use crate::format::mark_record::MarkRecord;
use crate::index::IndexSource;
use crate::limits::{LATE_EFFECTS_MAX, MARK_OUTCOMES_MAX, MARK_PACKS_MAX};
use crate::maintenance::liveness::PackSet;

/// What a prune will do. Printed, it tells a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// Nothing is marked if no pack is unneeded.
    pub(super) mark: Option<(ObjectId, MarkRecord)>,
    /// Marks of earlier prunes that have no verdict.
    pub(super) undecided: usize,
    /// The packs of the new mark and of undecided ones, sorted, for their lengths.
    pub(super) marked: Vec<PackSeen>,
    /// Dead by an earlier verdict.
    pub(super) dead: Vec<PackSeen>,
    /// Retired outcomes.
    pub(super) retired: Vec<SessionId>,
    /// Repacks that hold for no live outcome.
    pub(super) repacks: Vec<SessionId>,
    /// Retirements that do not count.
    pub(super) void: Vec<SessionId>,
    pub(super) indexes: IndexPlan,
    /// Sessions that have outlived their stated life.
    pub(super) overdue: Vec<SessionId>,
    /// The records of sessions that ended.
    pub(super) sessions: Vec<StorePath>,
    /// Outcomes of readers.
    pub(super) done: Vec<SessionId>,
    pub(super) expired: Expired,
    pub(super) figures: Figures,
}

/// What becomes of index objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct IndexPlan {
    /// Those that describe dead and other packs. What they say of the others is written anew.
    pub(super) rewrite: Vec<IndexSource>,
    /// The packs that need not be written anew: dead, or described by an object without dead packs.
    pub(super) leave_out: Vec<PackId>,
    /// Not needed once nobody reads them any more.
    pub(super) superseded: Vec<ObjectId>,
    /// All that may go if their packs turn out dead.
    pub(super) seen: Vec<IndexSeen>,
}

/// What had to stay for a while, and need not any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Expired {
    pub(super) aborted: Vec<SessionId>,
    pub(super) retirements: Vec<SessionId>,
    pub(super) marks: Vec<ObjectId>,
    pub(super) verdicts: Vec<ObjectId>,
}

/// For people only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Figures {
    packs: u64,
    bytes: u64,
    live: usize,
    open_sessions: usize,
    open_until: Option<Timestamp>,
    locked: u64,
    locked_until: Option<Timestamp>,
}

impl PrunePlan {
    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        let Expired { aborted, retirements, marks, verdicts } = &self.expired;
        !self.must_wait()
            && self.dead.is_empty()
            && self.void.is_empty()
            && self.overdue.is_empty()
            && self.sessions.is_empty()
            && self.done.is_empty()
            && aborted.is_empty()
            && retirements.is_empty()
            && marks.is_empty()
            && verdicts.is_empty()
    }

    /// Whether sessions that run now have to end first.
    pub fn must_wait(&self) -> bool {
        self.mark.is_some()
            || self.undecided > 0
            || !self.retired.is_empty()
            || !self.repacks.is_empty()
            || !self.indexes.rewrite.is_empty()
            || !self.indexes.superseded.is_empty()
    }

    /// What can be freed at most: a session that runs now may still come to need some of it.
    pub fn bytes_to_free(&self) -> u64 {
        self.marked.iter().chain(&self.dead).map(|pack| pack.bytes).sum()
    }

    /// Packs that can be freed at most.
    pub fn packs_to_free(&self) -> u64 {
        (self.marked.len() + self.dead.len()) as u64
    }

    /// Retired outcomes whose records go.
    pub fn outcomes_to_remove(&self) -> u64 {
        self.retired.len() as u64
    }

    pub(super) fn decide(inventory: Inventory, judged: &JudgedRetirements, mark: ObjectId) -> Self {
        let expired = Expired::decide(&inventory, judged);
        let Inventory { now, marks, outcomes, retirements, sessions, open, indexes, packs, .. } = inventory;
        let free = |state| move |seen: &&OutcomeSeen| seen.state == state && !seen.locked;
        let ids = |state| outcomes.iter().filter(free(state)).map(|seen| seen.id).collect::<Vec<_>>();
        let there: HashSet<SessionId> = outcomes.iter().map(|seen| seen.id).collect();
        let (overdue, open): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, until)| *until < now);
        let figures = Figures {
            packs: packs.count,
            bytes: packs.bytes,
            live: outcomes.iter().filter(|seen| seen.state == OutcomeState::Live).count(),
            open_sessions: open.len(),
            open_until: open.iter().map(|(_, until)| *until).max(),
            locked: inventory.locked,
            locked_until: inventory.locked_until,
        };
        let dead_of_marks = marks.iter().filter_map(|mark| mark.dead.as_deref());
        let PacksSeen { unneeded, undecided: mut marked, dead, .. } = packs;
        marked.extend(unneeded.iter().take(MARK_PACKS_MAX));
        marked.sort_unstable_by_key(|pack| pack.id);
        Self {
            mark: decide_mark(&unneeded, there.iter().copied().collect()).map(|record| (mark, record)),
            undecided: marks.iter().filter(|mark| mark.dead.is_none()).count(),
            marked,
            dead,
            retired: ids(OutcomeState::Retired),
            repacks: ids(OutcomeState::Repack { needed: false }),
            void: retirements.iter().map(|(id, _)| *id).filter(|id| judged.void.contains(id)).collect(),
            indexes: IndexPlan::decide(indexes, dead_of_marks),
            overdue: overdue.into_iter().map(|(id, _)| id).collect(),
            sessions: {
                let ended = sessions.into_iter().filter(|(id, _)| there.contains(id));
                ended.map(|(_, path)| path).collect()
            },
            done: ids(OutcomeState::Done),
            expired,
            figures,
        }
    }
}

impl Expired {
    fn decide(inventory: &Inventory, judged: &JudgedRetirements) -> Self {
        let Inventory { now, marks, verdicts, outcomes, retirements, indexes, index_damaged, .. } = inventory;
        let old = |stored_at: Timestamp| later(stored_at, LATE_EFFECTS_MAX) <= *now;
        let there: HashSet<SessionId> = outcomes.iter().map(|seen| seen.id).collect();
        let aborted =
            outcomes.iter().filter(|seen| seen.state == OutcomeState::Aborted && old(seen.stored_at));
        let retired_before = retirements
            .iter()
            .filter(|(id, stored_at)| !there.contains(id) && !judged.void.contains(id) && old(*stored_at));
        let indexed = indexed_packs(indexes);
        let forgotten = |mark: &&MarkSeen| {
            let named = |dead: &Vec<PackId>| dead.iter().any(|pack| indexed.contains(pack));
            old(mark.stored_at) && !index_damaged && mark.dead.as_ref().is_some_and(|dead| !named(dead))
        };
        let has_mark = |id: &ObjectId| marks.iter().any(|mark| mark.id == *id);
        let verdicts = verdicts.iter().filter(|(id, stored_at)| !has_mark(id) && old(*stored_at));
        Self {
            aborted: aborted.map(|seen| seen.id).collect(),
            retirements: retired_before.map(|(id, _)| *id).collect(),
            marks: marks.iter().filter(forgotten).map(|mark| mark.id).collect(),
            verdicts: verdicts.map(|(id, _)| *id).collect(),
        }
    }
}

/// The outcomes beyond the bound are simply read again before the verdict.
fn decide_mark(unneeded: &[PackSeen], mut outcomes: Vec<SessionId>) -> Option<MarkRecord> {
    if unneeded.is_empty() {
        return None;
    }
    outcomes.sort_unstable();
    outcomes.truncate(MARK_OUTCOMES_MAX);
    let packs = unneeded.iter().take(MARK_PACKS_MAX).map(|pack| pack.id).collect();
    Some(MarkRecord { packs, outcomes })
}

impl IndexPlan {
    /// An object with dead packs goes if each other pack of it is described by one without: which has no reason to go
    /// itself, so that two prunes never take each other's ground away.
    fn decide<'a>(seen: Vec<IndexSeen>, dead_of_marks: impl Iterator<Item = &'a [PackId]>) -> Self {
        let mut dead = PackSet::default();
        dead_of_marks.for_each(|packs| dead.extend(packs.iter().copied()));
        dead.settle();
        let is_pure = |index: &&IndexSeen| !index.packs.iter().any(|pack| dead.contains(pack));
        let mut pure = PackSet::default();
        seen.iter().filter(is_pure).for_each(|index| pure.extend(index.packs.iter().copied()));
        pure.settle();

        let mut plan = Self::default();
        for index in seen.iter().filter(|index| !is_pure(index) && !index.locked) {
            let settled = |pack: &&PackId| dead.contains(pack) || pure.contains(pack);
            let left_out: Vec<_> = index.packs.iter().filter(settled).copied().collect();
            if left_out.len() < index.packs.len() {
                plan.rewrite.push(index.source.clone());
                plan.leave_out.extend(left_out);
            }
            plan.superseded.push(index.source.id);
        }
        plan.leave_out.sort_unstable();
        plan.leave_out.dedup();
        Self { seen, ..plan }
    }
}

fn indexed_packs(seen: &[IndexSeen]) -> PackSet {
    let mut packs = PackSet::default();
    seen.iter().for_each(|index| packs.extend(index.packs.iter().copied()));
    packs.settle();
    packs
}

impl fmt::Display for PrunePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { packs, bytes, live, open_sessions, open_until, locked, locked_until } = &self.figures;
        writeln!(f, "{live} live outcomes; {packs} packs of {bytes} bytes")?;
        if self.is_empty() {
            writeln!(f, "nothing to remove")?;
        }
        if let Some(until) = open_until.filter(|_| self.must_wait()) {
            writeln!(f, "wait for {open_sessions} sessions, the last until {until} at most")?;
        }
        let Expired { aborted, retirements, marks, verdicts } = &self.expired;
        let new = self.mark.as_ref().map_or(0, |(_, mark)| mark.packs.len());
        let records = self.sessions.len() + self.done.len() + aborted.len() + retirements.len();
        let lines = [
            (self.overdue.len(), "end", "sessions that have outlived their stated life"),
            (self.void.len(), "withdraw", "retirements by a former owner"),
            (self.retired.len(), "remove", "retired outcomes"),
            (self.repacks.len(), "remove", "repacks that nothing needs"),
            (new, "free", "packs that nothing needs"),
            (self.undecided, "complete", "earlier prunes"),
            (self.dead.len(), "free", "packs found dead earlier"),
            (self.indexes.rewrite.len(), "rewrite", "index objects with dead packs"),
            (self.indexes.superseded.len(), "remove", "index objects"),
            (records + marks.len() + verdicts.len(), "remove", "records of what is over"),
        ];
        for (count, verb, what) in lines.into_iter().filter(|(count, ..)| *count > 0) {
            writeln!(f, "{verb} {count} {what}")?;
        }
        if self.bytes_to_free() > 0 {
            writeln!(f, "frees up to {} bytes", self.bytes_to_free())?;
        }
        if let Some(until) = locked_until {
            writeln!(f, "leave {locked} locked objects, the last until {until}")?;
        }
        Ok(())
    }
}
