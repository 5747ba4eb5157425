//! What was measured of the catalog: printed, kept as JSON, and held against the gate.

use std::fmt;

use serde_json::{Value, json};

use super::Filled;
use super::commits::{CLIENTS, Commits};
use super::pages::{PAGE_ROWS, Pages, Timed};
use super::watchers::{WATCHERS, Watches};
use crate::report::{mib, ratio};

const MEMORY_GATE: u64 = 256 << 20;
/// An aim and no gate: it says as much of the machine as of the program.
const PAGE_AIM_MS: f64 = 20.0;

pub(crate) struct Figures {
    pub(super) rows: u64,
    pub(super) commits: Commits,
    pub(super) filled: Filled,
    pub(super) pages: Pages,
    pub(super) watches: Watches,
}

impl Figures {
    /// What was promised and is not so.
    pub(crate) fn missed_gates(&self) -> Vec<String> {
        let peaks = [
            ("filling", self.filled.peak_memory),
            ("reading pages", self.pages.peak_memory),
            ("watching", self.watches.peak_memory),
        ];
        let above = peaks.into_iter().filter(|(_, peak)| *peak > MEMORY_GATE);
        above
            .map(|(what, peak)| format!("{what} took {} of memory, gate {}", mib(peak), mib(MEMORY_GATE)))
            .collect()
    }

    pub(crate) fn report(&self) -> Value {
        let Self { rows, commits, filled, pages, watches } = self;
        let timed: Vec<_> = pages.timed.iter().map(report).collect();
        json!({
            "rows": rows,
            "commitsPerSecond": {
                "plainSqlite": commits.plain, "oneClient": commits.one_client,
                "clients": CLIENTS, "manyClients": commits.many_clients,
                "oneClientOfPlain": ratio(commits.one_client, commits.plain),
                "manyClientsOfPlain": ratio(commits.many_clients, commits.plain),
            },
            "fill": { "seconds": filled.seconds, "rowsPerSecond": *rows as f64 / filled.seconds,
                      "diskBytes": filled.disk_bytes },
            "pages": { "rows": PAGE_ROWS, "aimMilliseconds": PAGE_AIM_MS, "read": timed },
            "watchers": {
                "count": WATCHERS,
                "milliseconds": { "allInMedianCommit": watches.median_ms, "allInWorstCommit": watches.worst_ms,
                                  "middleWatcher": watches.middle_watcher_ms },
                "memoryBefore": watches.memory_before,
            },
            "peakMemory": { "fill": filled.peak_memory, "pages": pages.peak_memory,
                            "watchers": watches.peak_memory, "gate": MEMORY_GATE },
            "missed": self.missed_gates(),
        })
    }
}

impl Timed {
    fn meets_aim(&self) -> bool {
        self.median_ms <= PAGE_AIM_MS
    }
}

fn report(timed: &Timed) -> Value {
    let Timed { what, rows, first_ms, median_ms, worst_ms } = timed;
    json!({
        "what": what, "rows": rows, "meetsAim": timed.meets_aim(),
        "milliseconds": { "first": first_ms, "median": median_ms, "worst": worst_ms },
    })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, commits, filled, pages, watches } = self;
        let Commits { plain, one_client, many_clients } = *commits;
        let times = |rate| ratio(rate, plain).unwrap_or(f64::NAN);
        writeln!(f, "durable commits, plain SQLite  {plain:.0}/s, one client, a transaction a row")?;
        writeln!(f, "durable commits, one client    {one_client:.0}/s, {:.2} of plain", times(one_client))?;
        writeln!(
            f,
            "durable commits, {CLIENTS} clients    {many_clients:.0}/s, {:.2} of plain",
            times(many_clients)
        )?;
        writeln!(
            f,
            "catalog                 {rows} rows in {:.0} s, {} on disk",
            filled.seconds,
            mib(filled.disk_bytes)
        )?;
        for timed in &pages.timed {
            let aim = if timed.meets_aim() { "met" } else { "missed" };
            let Timed { what, rows, first_ms, median_ms, worst_ms } = timed;
            writeln!(
                f,
                "{rows} rows, {what}: {median_ms:.1} ms, first time {first_ms:.1}, worst {worst_ms:.1} (aim {PAGE_AIM_MS:.0}: {aim})"
            )?;
        }
        writeln!(
            f,
            "commit to {WATCHERS} watchers  {:.0} ms, worst {:.0}; the one in the middle {:.0}",
            watches.median_ms, watches.worst_ms, watches.middle_watcher_ms
        )?;
        writeln!(f, "peak memory, fill       {} (gate {})", mib(filled.peak_memory), mib(MEMORY_GATE))?;
        writeln!(f, "peak memory, pages      {} (gate {})", mib(pages.peak_memory), mib(MEMORY_GATE))?;
        write!(
            f,
            "peak memory, watchers   {} (gate {}), {} before",
            mib(watches.peak_memory),
            mib(MEMORY_GATE),
            mib(watches.memory_before)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(peak_memory: u64) -> Figures {
        let timed = |median_ms| Timed {
            what: "a page".to_owned(),
            rows: 500,
            first_ms: 99.0,
            median_ms,
            worst_ms: 99.0,
        };
        Figures {
            rows: 1_000_000,
            commits: Commits { plain: 200.0, one_client: 150.0, many_clients: 900.0 },
            filled: Filled { seconds: 50.0, disk_bytes: 1 << 30, peak_memory: 1 << 20 },
            pages: Pages { timed: vec![timed(20.0), timed(20.1)], peak_memory: 1 << 20 },
            watches: Watches {
                median_ms: 1.0,
                worst_ms: 2.0,
                middle_watcher_ms: 0.5,
                memory_before: 1 << 20,
                peak_memory,
            },
        }
    }

    #[test]
    fn commits_are_held_against_plain_sqlite_and_pages_against_the_aim() {
        let report = figures(MEMORY_GATE).report();
        assert_eq!(report["commitsPerSecond"]["oneClientOfPlain"], json!(0.75));
        assert_eq!(report["commitsPerSecond"]["manyClientsOfPlain"], json!(4.5));
        assert_eq!(report["pages"]["read"][0]["meetsAim"], json!(true));
        assert_eq!(report["pages"]["read"][1]["meetsAim"], json!(false));
        assert_eq!(report["missed"], json!([]), "a missed aim is no missed gate");
    }

    #[test]
    fn a_step_beyond_the_memory_gate_is_named() {
        let missed = figures(MEMORY_GATE + 1).missed_gates();
        assert_eq!(missed.len(), 1);
        assert!(missed[0].starts_with("watching took 256.0 MiB"), "{missed:?}");
    }
}
