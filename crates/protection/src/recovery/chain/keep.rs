//! What of a shipped chain nobody needs any more. Pure.

use jiff::Timestamp;

use crate::layout::Position;

/// A name among the bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredBase {
    pub at: Position,
    /// Since when a base is there that can be used. None for a name alone, which anybody can write, and for what rotted.
    pub usable_since: Option<Timestamp>,
}

/// A part of a chain, up to the next base, of which nothing behind `last` is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent {
    /// The base goes too unless a run still needs it.
    pub base: Position,
    /// The last point that a run still needs; none if the base goes.
    pub last: Option<Position>,
    /// The next base that can be used. Segments before it are meant.
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
/// The newest usable base that is older than `since` opens the window; nothing behind it goes. Before it a base stays
/// while a run stands between it and the next usable one, with the segments up to that run: what cannot be used stands
/// for nothing that lies before it.
pub(crate) fn decide_spent(bases: &[StoredBase], runs: &[Position], since: Timestamp) -> Vec<Spent> {
    let opens_window = |base: &StoredBase| base.usable_since.is_some_and(|usable| usable <= since);
    let Some(window) = bases.iter().rposition(opens_window) else { return Vec::new() };
    let (mut next, mut spent) = (bases[window].at, Vec::new());
    for StoredBase { at: base, usable_since } in bases[..window].iter().rev().copied() {
        let standing = runs.iter().filter(|run| (base..next).contains(run));
        spent.push(Spent { base, last: standing.max().copied(), next });
        if usable_since.is_some() {
            next = base;
        }
    }
    spent.reverse();
    spent
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

    /// Bases at 100, 200, … of the days 1, 2, …, of which some cannot be used; segments every 10 entries. What goes, as
    /// numbers.
    fn check_some(
        (bases, unusable): (u64, &[u64]),
        runs: &[u64],
        since: i64,
        gone_bases: &[u64],
        gone_segments: &[u64],
    ) {
        let usable_since =
            |number: u64| (!unusable.contains(&(number * 100))).then(|| day(number.cast_signed()));
        let stored: Vec<StoredBase> = (1..=bases)
            .map(|number| StoredBase { at: at(number * 100), usable_since: usable_since(number) })
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

    fn check(bases: u64, runs: &[u64], since: i64, gone_bases: &[u64], gone_segments: &[u64]) {
        check_some((bases, &[]), runs, since, gone_bases, gone_segments);
    }

    fn segments(tens: std::ops::Range<u64>) -> Vec<u64> {
        tens.map(|tens| tens * 10 + 1).collect()
    }

    #[test]
    fn the_window_of_points_in_time_stays_whole() {
        check(0, &[], 9, &[], &[]);
        check(1, &[], 9, &[], &[]);
        check(3, &[], 0, &[], &[]);
        check(3, &[], 1, &[], &[]);
        check(2, &[], 2, &[100], &[101, 111, 121, 131, 141, 151, 161, 171, 181, 191]);
        check(3, &[], 9, &[100, 200], &segments(10..30));
    }

    #[test]
    fn a_run_that_stands_keeps_its_base_and_the_segments_up_to_it() {
        check(2, &[115, 135], 2, &[], &[141, 151, 161, 171, 181, 191]);
        check(2, &[100], 2, &[], &[101, 111, 121, 131, 141, 151, 161, 171, 181, 191]);
        check(2, &[200], 2, &[100], &[101, 111, 121, 131, 141, 151, 161, 171, 181, 191]);
        check(2, &[50], 2, &[100], &[101, 111, 121, 131, 141, 151, 161, 171, 181, 191]);
    }
    /// A name was enough to open the window: what lay before it went, and led to everything that lay behind it.
    #[test]
    fn what_cannot_be_used_opens_no_window_and_costs_no_base_before_it() {
        check_some((2, &[200]), &[], 9, &[], &[]);
        check_some((2, &[100]), &[], 9, &[100], &segments(10..20));
        check_some((3, &[300]), &[], 9, &[100], &segments(10..20));
        check_some((3, &[200]), &[], 9, &[100, 200], &segments(10..30));
        // The run behind what rotted is reached from the base before that.
        check_some((3, &[200]), &[225], 9, &[], &segments(23..30));
        check_some((3, &[200]), &[115], 9, &[200], &segments(12..30));
        check_some((3, &[100, 200, 300]), &[225], 9, &[], &[]);
    }
}
