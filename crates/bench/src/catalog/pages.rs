//! How long a page takes, from the catalog to rows in memory.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use keelson_catalog::{Database, Query};
use keelson_model::selector::LabelSelector;
use serde::{Deserialize, Serialize};

use super::seed;
use crate::instance::peak_memory;
use crate::report::percentile;

pub(super) const PAGE_ROWS: u64 = 500;
const READS: usize = 40;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pages {
    pub(super) timed: Vec<Timed>,
    pub(super) peak_memory: u64,
}

/// One page, read again and again: what it takes once its part of the file is in memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Timed {
    pub(super) what: String,
    pub(super) rows: usize,
    /// The first time. Its part of the file may have been in the kernel's memory.
    pub(super) first_ms: f64,
    pub(super) median_ms: f64,
    pub(super) worst_ms: f64,
}

pub(super) fn measure(database: &Database, rows: u64) -> Result<Pages> {
    let all = |after| Query { after, ..Query::all(seed::kind(), PAGE_ROWS as usize) };
    let with = |key: &str, value: &str| Query { labels: LabelSelector::equal(key, value), ..all(None) };
    let middle = seed::POLICIES / 2;
    let timed = [
        ("first page, with the count of what follows", all(None)),
        ("page in the middle", all(Some(seed::place(rows / 2 - 1, rows)))),
        ("last page", all(Some(seed::place(rows - PAGE_ROWS - 1, rows)))),
        ("label of one application", with(seed::APPLICATION, &seed::namespace(seed::NAMESPACES / 2))),
        ("label of one run, a row in each namespace", with(seed::RUN, &seed::run(1))),
        ("label of one policy, 5 of 1,000 namespaces", with(seed::POLICY, &seed::policy(middle))),
        ("label of half of all rows", with(seed::EXPORTED, "vault")),
    ]
    .into_iter()
    .map(|(what, query)| time(database, what, &query))
    .collect::<Result<_>>()?;
    Ok(Pages { timed, peak_memory: peak_memory("self")? })
}

fn time(database: &Database, what: &str, query: &Query) -> Result<Timed> {
    let mut times = Vec::with_capacity(READS);
    let mut rows = 0;
    for _ in 0..READS {
        let began = Instant::now();
        let page = database.list(query).context("read a page")?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        rows = page.rows.len();
        ensure!(page.rows.iter().all(|row| query.labels.matches(&row.row.labels)), "a row of another label");
    }
    ensure!(rows > 0, "no row on a page: {what}");
    let (first_ms, warm) = (times[0], &times[1..]);
    let (median_ms, worst_ms) = (percentile(warm, 50), percentile(warm, 100));
    Ok(Timed { what: what.to_owned(), rows, first_ms, median_ms, worst_ms })
}
