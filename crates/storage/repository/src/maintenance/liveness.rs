//! Which packs an outcome needs: those it names and, in place of those that were moved for it, the new ones.
//!
//! Pure. A repack is no root; its moves hold only for the outcomes that it knew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use keelson_model::{PackId, SessionId};

use crate::outcome::Outcome;

/// Below this many new ids a set is not sorted anew.
const SORT_AT_LEAST: usize = 65_536;

/// The moves of all committed repacks.
#[derive(Default)]
pub(crate) struct MoveTable {
    by_old: HashMap<PackId, Vec<KnownMove>>,
}

struct KnownMove {
    repack: SessionId,
    outcomes: Arc<HashSet<SessionId>>,
    to: Vec<PackId>,
}

impl MoveTable {
    pub(crate) fn add(&mut self, repack: &Outcome) {
        let outcomes: Arc<HashSet<_>> = Arc::new(repack.moves().outcomes.iter().copied().collect());
        for moved in &repack.moves().moves {
            let (repack, outcomes) = (repack.id, Arc::clone(&outcomes));
            let known = KnownMove { repack, outcomes, to: moved.to.clone() };
            self.by_old.entry(moved.from).or_default().push(known);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_old.is_empty()
    }

    /// Every pack that the outcome needs, perhaps more than once.
    pub(crate) fn needed_by(&self, outcome: &Outcome) -> Vec<PackId> {
        self.follow(outcome, |_| {})
    }

    /// The same, and names each repack that has moved something for the outcome, perhaps more than once: without its
    /// record the outcome would need the old packs again.
    pub(crate) fn follow(&self, outcome: &Outcome, mut by: impl FnMut(SessionId)) -> Vec<PackId> {
        if self.is_empty() {
            return outcome.packs().to_vec();
        }
        let mut needed = Vec::with_capacity(outcome.packs().len());
        let mut open = outcome.packs().to_vec();
        let mut followed = HashSet::new();
        while let Some(pack) = open.pop() {
            let moves = self.by_old.get(&pack).into_iter().flatten();
            let mut moves = moves.filter(|known| known.outcomes.contains(&outcome.id)).peekable();
            if moves.peek().is_none() {
                needed.push(pack);
            } else if followed.insert(pack) {
                moves.for_each(|known| {
                    by(known.repack);
                    open.extend(&known.to);
                });
            }
        }
        needed
    }
}

/// A growing set of packs at 16 bytes each, and at most twice that while it grows.
#[derive(Debug, Default)]
pub(crate) struct PackSet {
    sorted: Vec<PackId>,
    new: Vec<PackId>,
}

impl PackSet {
    pub(crate) fn extend(&mut self, packs: impl IntoIterator<Item = PackId>) {
        self.new.extend(packs);
        if self.new.len() >= SORT_AT_LEAST.max(self.sorted.len()) {
            self.settle();
        }
    }

    /// Must follow the last `extend`.
    pub(crate) fn settle(&mut self) {
        self.sorted.append(&mut self.new);
        self.sorted.sort_unstable();
        self.sorted.dedup();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PackId> {
        self.sorted.iter()
    }

    pub(crate) fn contains(&self, pack: &PackId) -> bool {
        debug_assert!(self.new.is_empty(), "a set is settled before it is asked");
        self.sorted.binary_search(pack).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::format::outcome_record::{Move, Moves, OutcomeRecord, SessionResult};
    use crate::format::session_record::SessionPurpose;

    fn pack(byte: u8) -> PackId {
        PackId::from_bytes([byte; 16])
    }

    fn session(byte: u8) -> SessionId {
        SessionId::from_bytes([byte; 16])
    }

    fn outcome(id: u8, purpose: SessionPurpose, packs: &[u8], moves: Moves) -> Outcome {
        let packs = packs.iter().copied().map(pack).collect();
        let bare = OutcomeRecord::bare(SessionResult::Committed, purpose, Timestamp::UNIX_EPOCH);
        Outcome::new(session(id), OutcomeRecord { packs, moves, ..bare })
    }

    #[test]
    fn a_pack_is_needed_until_it_was_moved_for_the_outcome_that_names_it() {
        // (repacks: id, moves, for whom), packs named by outcome 1, what it needs
        type Repack<'a> = (u8, &'a [(u8, &'a [u8])], &'a [u8]);
        let check = |repacks: &[Repack<'_>], named: &[u8], expected: &[u8]| {
            let mut table = MoveTable::default();
            for (id, moves, outcomes) in repacks {
                let to = |to: &[u8]| to.iter().copied().map(pack).collect();
                let moves = moves.iter().map(|(from, new)| Move { from: pack(*from), to: to(new) }).collect();
                let outcomes = outcomes.iter().copied().map(session).collect();
                table.add(&outcome(*id, SessionPurpose::Repack, &[], Moves { moves, outcomes }));
            }
            let mut needed = table.needed_by(&outcome(1, SessionPurpose::Backup, named, Moves::default()));
            needed.sort_unstable();
            needed.dedup();
            let expected: Vec<_> = expected.iter().copied().map(pack).collect();
            assert_eq!(needed, expected);
        };
        check(&[], &[10, 11], &[10, 11]);
        check(&[(9, &[(10, &[20])], &[1])], &[10, 11], &[11, 20]);
        check(&[(9, &[(10, &[20])], &[2])], &[10, 11], &[10, 11]);
        check(&[(9, &[(10, &[])], &[1])], &[10, 11], &[11]);
        // Moved again, and by two at once.
        check(&[(8, &[(10, &[20])], &[1]), (9, &[(20, &[30])], &[1])], &[10], &[30]);
        check(&[(8, &[(10, &[20])], &[1]), (9, &[(20, &[30])], &[2])], &[10], &[20]);
        check(&[(8, &[(10, &[20])], &[1]), (9, &[(10, &[30])], &[1])], &[10], &[20, 30]);
        // No honest repack makes a circle; a wrong one must not hang the prune.
        check(&[(8, &[(10, &[20])], &[1]), (9, &[(20, &[10])], &[1])], &[10], &[]);
    }
}
