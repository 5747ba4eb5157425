//! Which base and which segments lead to a point, and which point is the latest. Pure: works on names alone.

use keelson_model::{Generation, RepositoryId, Sequence};

use crate::layout::Position;
use crate::recovery::documents::Fork;

/// The shipped chain of one repository, as its listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShippedChain {
    pub repository: RepositoryId,
    /// Ascending.
    pub bases: Vec<Position>,
    /// First positions of the segments, ascending.
    pub segments: Vec<Position>,
    /// The last entry of the last segment, which its name does not tell.
    pub end: Option<Position>,
    pub parent: Option<Fork>,
}

/// What has to be read to reach a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replay {
    pub base: Position,
    /// Names of the segments, in order. The first may begin before the base's end.
    pub segments: Vec<Position>,
    pub through: Sequence,
}

/// A chain has no way to a point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreachablePoint {
    #[error("no base lies at or before {at}")]
    NoBase { at: Position },
    #[error("{at} lies beyond the end of what was shipped, {end}")]
    Beyond { at: Position, end: Position },
}

impl ShippedChain {
    /// The newest point that can be reached.
    pub(crate) fn latest(&self) -> Option<Position> {
        let base = self.bases.last().copied()?;
        // Segments without a base of their generation lead nowhere.
        let end = self.end.filter(|end| self.bases.iter().any(|base| base.generation == end.generation));
        Some(end.map_or(base, |end| end.max(base)))
    }

    /// Of a generation, the base at or before the point and the segments after it.
    pub(crate) fn replay(
        &self,
        generation: Generation,
        through: Sequence,
    ) -> Result<Replay, UnreachablePoint> {
        let mine = |at: &&Position| at.generation == generation;
        let base = self.bases.iter().filter(mine).rfind(|base| base.sequence <= through).copied();
        let base = base.ok_or_else(|| UnreachablePoint::NoBase {
            at: Position { epoch: self.epoch_of(generation), generation, sequence: through },
        })?;
        if base.sequence == through {
            return Ok(Replay { base, segments: Vec::new(), through });
        }
        let at = Position { sequence: through, ..base };
        let end = self.end_of(generation).unwrap_or(base);
        if end.sequence < through {
            return Err(UnreachablePoint::Beyond { at, end });
        }
        let of_generation: Vec<Position> = self.segments.iter().filter(mine).copied().collect();
        // The last segment that begins at or before the entry after the base is the first one needed.
        let next = base.sequence.0 + 1;
        let first = of_generation.iter().rposition(|segment| segment.sequence.0 <= next).unwrap_or(0);
        let segments =
            of_generation[first..].iter().filter(|segment| segment.sequence <= through).copied().collect();
        Ok(Replay { base, segments, through })
    }

    /// The end of a generation's entries. Of an earlier generation the last segment's length is not known from names,
    /// so only its first entry is promised.
    fn end_of(&self, generation: Generation) -> Option<Position> {
        if let Some(end) = self.end.filter(|end| end.generation == generation) {
            return Some(end);
        }
        self.segments.iter().rfind(|segment| segment.generation == generation).copied()
    }

    fn epoch_of(&self, generation: Generation) -> crate::layout::Epoch {
        let known = self.segments.iter().chain(&self.bases).rfind(|at| at.generation == generation);
        known.map_or(crate::layout::Epoch(0), |at| at.epoch)
    }
}

/// Which of several chains holds the latest state: the highest position, except that a chain which left another one
/// counts only while its parent has nothing beyond the fork.
pub(crate) fn latest_chain(chains: &[ShippedChain]) -> Option<&ShippedChain> {
    let superseded = |child: &ShippedChain| {
        child.parent.as_ref().is_some_and(|fork| {
            chains
                .iter()
                .filter(|parent| parent.repository == fork.repository)
                .any(|parent| parent.latest().is_some_and(|latest| latest > fork.at))
        })
    };
    chains
        .iter()
        .filter(|chain| chain.latest().is_some() && !superseded(chain))
        .max_by_key(|chain| chain.latest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Epoch;

    fn at(generation: u32, sequence: u64) -> Position {
        Position { epoch: Epoch(1), generation: Generation(generation), sequence: Sequence(sequence) }
    }

    fn chain(id: u8, bases: &[u64], segments: &[u64], end: u64) -> ShippedChain {
        ShippedChain {
            repository: RepositoryId::from_bytes([id; 16]),
            bases: bases.iter().map(|sequence| at(1, *sequence)).collect(),
            segments: segments.iter().map(|sequence| at(1, *sequence)).collect(),
            end: (end > 0).then(|| at(1, end)),
            parent: None,
        }
    }

    fn segments(replay: &Replay) -> Vec<u64> {
        replay.segments.iter().map(|segment| segment.sequence.0).collect()
    }

    #[test]
    fn a_point_is_reached_from_the_nearest_base_before_it() {
        let chain = chain(1, &[10, 50], &[1, 11, 30, 51, 60], 70);
        let replay = chain.replay(Generation(1), Sequence(65)).unwrap();
        assert_eq!((replay.base, segments(&replay)), (at(1, 50), vec![51, 60]));
        let replay = chain.replay(Generation(1), Sequence(40)).unwrap();
        assert_eq!((replay.base, segments(&replay)), (at(1, 10), vec![11, 30]));
        let replay = chain.replay(Generation(1), Sequence(50)).unwrap();
        assert_eq!((replay.base, segments(&replay)), (at(1, 50), vec![]));
    }

    #[test]
    fn a_segment_that_spans_the_base_is_read_too() {
        let chain = chain(1, &[20], &[1, 11, 31], 40);
        let replay = chain.replay(Generation(1), Sequence(40)).unwrap();
        assert_eq!(segments(&replay), vec![11, 31]);
    }

    #[test]
    fn a_point_before_the_first_base_or_after_the_end_is_refused() {
        let chain = chain(1, &[20], &[21], 30);
        assert!(matches!(chain.replay(Generation(1), Sequence(5)), Err(UnreachablePoint::NoBase { .. })));
        assert!(matches!(chain.replay(Generation(1), Sequence(31)), Err(UnreachablePoint::Beyond { .. })));
        assert!(matches!(chain.replay(Generation(2), Sequence(1)), Err(UnreachablePoint::NoBase { .. })));
    }

    #[test]
    fn the_latest_point_is_the_end_of_the_last_segment_or_the_base_beyond_it() {
        assert_eq!(chain(1, &[10], &[11], 15).latest(), Some(at(1, 15)));
        assert_eq!(chain(1, &[10, 20], &[11], 15).latest(), Some(at(1, 20)));
        assert_eq!(chain(1, &[10], &[], 0).latest(), Some(at(1, 10)));
        assert_eq!(chain(1, &[], &[11], 15).latest(), None);
    }

    #[test]
    fn a_child_counts_only_while_its_parent_has_nothing_beyond_the_fork() {
        let mut parent = chain(1, &[10], &[11], 15);
        let mut child = chain(2, &[], &[], 0);
        child.bases = vec![at(2, 1)];
        child.parent = Some(Fork {
            cluster: "0c3e8c52-6a0b".parse().unwrap(),
            repository: parent.repository,
            at: at(1, 15),
        });
        let both = [parent.clone(), child.clone()];
        assert_eq!(latest_chain(&both).unwrap().repository, child.repository);
        parent.end = Some(at(1, 16));
        let both = [parent.clone(), child];
        assert_eq!(latest_chain(&both).unwrap().repository, parent.repository);
    }
}
