//! Which base and which segments lead to a point, and which point is the latest. Pure: works on names alone.

pub(crate) mod keep;

use std::collections::BTreeSet;

use keelson_model::{Generation, RepositoryId, Sequence};

use crate::layout::{Epoch, Position};
use crate::recovery::documents::Fork;

/// The shipped chain of one repository, as its listings and its last segment show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShippedChain {
    pub repository: RepositoryId,
    /// Ascending.
    pub bases: Vec<Position>,
    /// The last entry of the last segment behind the newest base, which its name does not tell.
    pub end: Option<Position>,
    pub parent: Option<Fork>,
}

/// What has to be read to reach a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replay {
    pub base: Position,
    /// Names of the segments, in order.
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
    #[error("nothing that was shipped leads from the base at {base} to {at}")]
    NotCovered { at: Position, base: Position },
}

impl ShippedChain {
    /// The newest point that can be reached.
    pub(crate) fn latest(&self) -> Option<Position> {
        let base = self.bases.last().copied()?;
        // Segments without a base of their generation lead nowhere.
        let end = self.end.filter(|end| self.bases.iter().any(|base| base.generation == end.generation));
        Some(end.map_or(base, |end| if end.revision() > base.revision() { end } else { base }))
    }

    /// Of a generation, the base at or before a point.
    pub(crate) fn base_for(
        &self,
        generation: Generation,
        through: Sequence,
    ) -> Result<Position, UnreachablePoint> {
        let mine = |at: &&Position| at.generation == generation;
        let base = self.bases.iter().filter(mine).rfind(|base| base.sequence <= through).copied();
        let known = self.bases.iter().rfind(|at| at.generation == generation);
        let at = Position { epoch: known.map_or(Epoch(0), |at| at.epoch), generation, sequence: through };
        let base = base.ok_or(UnreachablePoint::NoBase { at })?;
        let end = self.latest().filter(|end| end.generation == generation);
        match end {
            Some(end) if end.sequence < through => Err(UnreachablePoint::Beyond { at, end }),
            _ => Ok(base),
        }
    }
}

/// Of the segments behind a base, those that are read to reach a point.
pub(crate) fn choose_segments(base: Position, behind: &[Position], through: Sequence) -> Vec<Position> {
    let mine = |at: &&Position| at.generation == base.generation && at.sequence > base.sequence;
    behind.iter().filter(mine).filter(|segment| segment.sequence <= through).copied().collect()
}

/// Which of several chains holds the latest state: the highest position, which is the chain of whoever holds the
/// newest epoch. Instances that left it and own nothing ship beside it, below every epoch: one of them is followed
/// as long as the owner's chain has nothing beyond the point where it left.
pub(crate) fn latest_chain(chains: &[ShippedChain]) -> Option<&ShippedChain> {
    let (mut latest, mut followed) = newest_of(chains.iter())?;
    // Each step goes to a chain that was not followed yet.
    for _ in chains {
        let continues = |chain: &ShippedChain| {
            let fork = chain.parent.as_ref().filter(|fork| fork.repository == followed.repository);
            chain.repository != followed.repository
                && fork.is_some_and(|fork| fork.at.revision() >= latest.revision())
                && chain.latest().is_some_and(|at| at.revision() > latest.revision())
        };
        let Some((at, child)) = newest_of(chains.iter().filter(|chain| continues(chain))) else { break };
        (latest, followed) = (at, child);
    }
    Some(followed)
}

/// Of chains below other cluster ids, those that came from some of these, directly or over others, and that nobody else
/// has gone on from at their end.
pub(crate) fn find_continuations<'a>(
    own: &[ShippedChain],
    others: &'a [ShippedChain],
) -> Vec<&'a ShippedChain> {
    let mut line: BTreeSet<RepositoryId> = own.iter().map(|chain| chain.repository).collect();
    // Each round takes at least one more in, or is the last.
    for _ in others {
        let comes_from =
            |chain: &&ShippedChain| chain.parent.as_ref().is_some_and(|fork| line.contains(&fork.repository));
        let children: Vec<_> = others.iter().filter(comes_from).map(|chain| chain.repository).collect();
        let before = line.len();
        line.extend(children);
        if line.len() == before {
            break;
        }
    }
    let is_left_at_its_end = |left: &ShippedChain| {
        let forks = own.iter().chain(others).filter_map(|chain| chain.parent.as_ref());
        let mut forks = forks.filter(|fork| fork.repository == left.repository);
        left.latest().is_some_and(|end| forks.any(|fork| fork.at.revision() >= end.revision()))
    };
    others.iter().filter(|chain| line.contains(&chain.repository) && !is_left_at_its_end(chain)).collect()
}

fn newest_of<'a>(chains: impl Iterator<Item = &'a ShippedChain>) -> Option<(Position, &'a ShippedChain)> {
    chains.filter_map(|chain| Some((chain.latest()?, chain))).max_by_key(|(at, _)| *at)
}

#[cfg(test)]
mod tests;
