//! What of a shipped chain nobody needs any more. Pure.

use jiff::Timestamp;

use crate::layout::Position;

/// A base, and when the store took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredBase {
    pub at: Position,
    pub stored_at: Timestamp,
}

/// A part of a chain, up to the next base, of which nothing behind `last` is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent {
    /// The base goes too unless a run still needs it.
    pub base: Position,
    /// The last point that a run still needs; none if the base goes.
    pub last: Option<Position>,
    /// Segments before this one are meant.
    pub next: Position,
}

impl Spent {
    /// Whether a segment of this name goes.
    pub(crate) fn covers(&self, segment: Position) -> bool {
        segment > self.last.unwrap_or(self.base) && segment <= self.next
    }
}

/// Keeps every point since `since`, and the points of the runs that stand. Bases and runs ascend.
///
/// The newest base that is older than `since` opens the window; nothing behind it goes. Before it a base stays while a
/// run stands on it, with the segments up to that run.
pub(crate) fn decide_spent(bases: &[StoredBase], runs: &[Position], since: Timestamp) -> Vec<Spent> {
    let window = bases.iter().rposition(|base| base.stored_at <= since).unwrap_or(0);
    let pairs = bases[..(window + 1).min(bases.len())].windows(2);
    pairs
        .map(|pair| {
            let (base, next) = (pair[0].at, pair[1].at);
            let standing = runs.iter().filter(|run| (base..next).contains(run));
            Spent { base, last: standing.max().copied(), next }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use keelson_model::{Generation, Sequence};

    use super::*;
    use crate::layout::Epoch;

    fn at(sequence: u64) -> Position {
        Position { epoch: Epoch(1), generation: Generation(1), sequence: Sequence(sequence) }
    }

    fn day(number: i64) -> Timestamp {
        Timestamp::from_second(number * 86_400).unwrap()
    }

    /// Bases at 100, 200, … of the days 1, 2, …; segments every 10 entries. What goes, as numbers.
    fn check(bases: u64, runs: &[u64], since: i64, gone_bases: &[u64], gone_segments: &[u64]) {
        let stored: Vec<StoredBase> = (1..=bases)
            .map(|number| StoredBase { at: at(number * 100), stored_at: day(number.cast_signed()) })
            .collect();
        let runs: Vec<Position> = runs.iter().map(|run| at(*run)).collect();
        let spent = decide_spent(&stored, &runs, day(since));
        let dropped: Vec<u64> =
            spent.iter().filter(|spent| spent.last.is_none()).map(|spent| spent.base.sequence.0).collect();
        assert_eq!(dropped, gone_bases, "bases");
        let names = (10..bases * 10 + 10).map(|tens| tens * 10 + 1);
        let gone: Vec<u64> = names.filter(|name| spent.iter().any(|spent| spent.covers(at(*name)))).collect();
        assert_eq!(gone, gone_segments, "segments");
    }

    #[test]
    fn the_window_of_points_in_time_stays_whole() {
        check(0, &[], 9, &[], &[]);
        check(1, &[], 9, &[], &[]);
        check(3, &[], 0, &[], &[]);
        check(3, &[], 1, &[], &[]);
        check(2, &[], 2, &[100], &[101, 111, 121, 131, 141, 151, 161, 171, 181, 191]);
        let both: Vec<u64> = (10..30).map(|tens| tens * 10 + 1).collect();
        check(3, &[], 9, &[100, 200], &both);
    }

    #[test]
    fn a_run_that_stands_keeps_its_base_and_the_segments_up_to_it() {
        check(2, &[115, 135], 2, &[], &[141, 151, 161, 171, 181, 191]);
        check(2, &[100], 2, &[], &[101, 111, 121, 131, 141, 151, 161, 171, 181, 191]);
        check(2, &[200], 2, &[100], &[101, 111, 121, 131, 141, 151, 161, 171, 181, 191]);
        check(2, &[50], 2, &[100], &[101, 111, 121, 131, 141, 151, 161, 171, 181, 191]);
    }
}
