//! How long it takes until a thousand watchers have seen a commit, and what they take of memory.
//!
//! They are woken and read as the watches of the API server are: one subscription tells a channel of what concerns their
//! kind, everybody who waits there reads what happened since, on the blocking pool.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use keelson_catalog::{Change, Database};
use keelson_model::Revision;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{blocking, seed};
use crate::instance::peak_memory;
use crate::report::percentile;

pub(super) const WATCHERS: usize = 1_000;
const COMMITS: u64 = 50;
const EVENTS_PER_READ: usize = 500;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Watches {
    /// From the answer to the commit until the last watcher has its event.
    pub(super) median_ms: f64,
    pub(super) worst_ms: f64,
    /// The same for the watcher in the middle, in the median commit.
    pub(super) middle_watcher_ms: f64,
    pub(super) memory_before: u64,
    pub(super) peak_memory: u64,
}

pub(super) async fn measure(database: Database) -> Result<Watches> {
    let memory_before = peak_memory("self")?;
    let (commits, told) = watch::channel(database.head().revision);
    let _subscription = database.subscribe(Box::new(move |revision, touched| {
        if touched.concerns(&seed::kind()) {
            commits.send_replace(revision);
        }
    }));
    let (seen, mut events) = mpsc::unbounded_channel();
    let mut watchers = JoinSet::new();
    for _ in 0..WATCHERS {
        watchers.spawn(follow(database.clone(), told.clone(), seen.clone()));
    }
    drop((told, seen));

    let (mut last, mut middle) = (Vec::new(), Vec::new());
    for number in 0..COMMITS {
        let (writer, row) = (database.clone(), seed::row(number));
        let (revision, answered) = blocking(move || {
            let mut row = row;
            row.name.push_str("-watched");
            let revision = writer.commit(&seed::actor(), vec![Change::create(row)]).context("commit")?;
            Ok((revision, Instant::now()))
        })
        .await?;
        let mut delays = Vec::with_capacity(WATCHERS);
        while delays.len() < WATCHERS {
            let (of, at): (Revision, Instant) = events.recv().await.context("a watcher has stopped")?;
            ensure!(of == revision, "a watcher saw {of} instead of {revision}");
            delays.push(at.saturating_duration_since(answered).as_secs_f64() * 1e3);
        }
        last.push(percentile(&delays, 100));
        middle.push(percentile(&delays, 50));
    }
    let peak_memory = peak_memory("self")?;
    drop(watchers);
    Ok(Watches {
        median_ms: percentile(&last, 50),
        worst_ms: percentile(&last, 100),
        middle_watcher_ms: percentile(&middle, 50),
        memory_before,
        peak_memory,
    })
}

/// One watcher: tells when it has which event.
async fn follow(
    database: Database,
    mut commits: watch::Receiver<Revision>,
    seen: mpsc::UnboundedSender<(Revision, Instant)>,
) -> Result<()> {
    let mut since = *commits.borrow_and_update();
    loop {
        if commits.changed().await.is_err() {
            return Ok(());
        }
        loop {
            let reader = database.clone();
            let read = move || Ok(reader.changes(&seed::kind(), None, since, EVENTS_PER_READ)?);
            let changes = blocking(read).await.context("read what happened")?;
            since = changes.through;
            for event in &changes.events {
                seen.send((event.stored.revision, Instant::now())).context("nobody counts")?;
            }
            if changes.complete {
                break;
            }
        }
    }
}
