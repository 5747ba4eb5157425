//! How long it takes until a thousand watchers have what was created: one object at a time, and a steady stream.
//!
//! Each watcher has a connection of its own and counts lines. Versions grow with every create, and nobody else creates,
//! so the number of an event says which object it is of; the last line is read to prove it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::client::{Client, Connection, New};
use super::side::Side;
use crate::report::percentile;

pub(super) const PER_SECOND: u32 = 50;
/// A server lets one user hold only a share of all watches.
pub(super) const USERS: usize = 8;
/// Of a steady stream each writes its part, so that one slow answer holds up no other.
const STEADY_WRITERS: usize = 16;
const OPENING: usize = 32;
/// Far more than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(300);
const HOUR: u32 = 3_600;

/// From the request to create until the last watcher has its event, which may be there before the answer is.
#[derive(Debug, Clone, Copy)]
pub(super) struct FannedOut {
    pub(super) median_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) worst_ms: f64,
}

/// What watchers have seen so far.
struct Seen {
    watchers: usize,
    began: Instant,
    events: Vec<Event>,
    by_all: Notify,
}

#[derive(Default)]
struct Event {
    by: AtomicUsize,
    /// When the last of them did, in nanoseconds since the beginning.
    last: AtomicU64,
}

/// A create that succeeded.
struct Made {
    version: u64,
    asked_at: Instant,
}

/// A thousand watches of one side, and what they saw.
pub(super) struct Watches {
    seen: Arc<Seen>,
    tasks: JoinSet<Result<Vec<u8>>>,
    /// Events that came already.
    passed: usize,
    last_version: u64,
}

impl Watches {
    /// Opens so many, shared among the clients, which will see so many events.
    pub(super) async fn open(clients: &[Client], side: Side, watchers: usize, events: usize) -> Result<Self> {
        let since = version_of_list(&mut clients[0].connect().await?, side).await?;
        let path = format!("{}?watch=1&resourceVersion={since}&timeoutSeconds={HOUR}", side.path());
        let path = &path;
        let opened: Vec<_> = stream::iter(0..watchers)
            .map(|number| async move {
                let mut connection = clients[number % clients.len()].connect().await?;
                let body = connection.open(path).await?;
                anyhow::Ok((connection, body))
            })
            .buffer_unordered(OPENING)
            .try_collect()
            .await?;
        let events = (0..events).map(|_| Event::default()).collect();
        let seen = Arc::new(Seen { watchers, began: Instant::now(), events, by_all: Notify::new() });
        let mut tasks = JoinSet::new();
        for (connection, body) in opened {
            tasks.spawn(follow(connection, body, Arc::clone(&seen)));
        }
        Ok(Self { seen, tasks, passed: 0, last_version: 0 })
    }

    /// Creates one object after the other, each when the one before has been seen by all.
    pub(super) async fn one_by_one(&mut self, client: &Client, objects: &[New]) -> Result<FannedOut> {
        let mut connection = client.connect().await?;
        let mut delays = Vec::with_capacity(objects.len());
        for object in objects {
            let asked_at = Instant::now();
            let answer = connection.create(object).await?;
            let made = Made { version: version_of(&answer)?, asked_at };
            self.wait_until_seen(self.passed).await?;
            delays.push(self.delay_ms(self.passed, &made));
            self.passed += 1;
            self.last_version = made.version;
        }
        Ok(FannedOut::of(&delays))
    }

    /// Creates objects at a steady pace, whether or not those before have been seen.
    pub(super) async fn steadily(&mut self, client: &Client, objects: Vec<New>) -> Result<FannedOut> {
        let mut all = create_steadily(client, objects).await?;
        all.sort_by_key(|made| made.version);
        let mut delays = Vec::with_capacity(all.len());
        for made in &all {
            self.wait_until_seen(self.passed).await?;
            delays.push(self.delay_ms(self.passed, made));
            self.passed += 1;
            self.last_version = made.version;
        }
        Ok(FannedOut::of(&delays))
    }

    /// Ends the watches. Each must have ended with the object that was created last.
    pub(super) async fn close(mut self) -> Result<()> {
        ensure!(self.passed == self.seen.events.len(), "{} events passed", self.passed);
        let last = format!("\"resourceVersion\":\"{}\"", self.last_version);
        while let Some(watcher) = self.tasks.join_next().await {
            let line = watcher.context("a watcher")??;
            let line = String::from_utf8_lossy(&line);
            let is_last = line.starts_with("{\"type\":\"ADDED\"") && line.contains(&last);
            ensure!(is_last, "a watcher saw another object last: {line}");
        }
        Ok(())
    }

    async fn wait_until_seen(&mut self, event: usize) -> Result<()> {
        let seen = Arc::clone(&self.seen);
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let told = seen.by_all.notified();
                if seen.events[event].by.load(Ordering::Acquire) == seen.watchers {
                    return;
                }
                told.await;
            }
        });
        if waited.await.is_ok() {
            return Ok(());
        }
        // A watch that broke says why.
        if let Some(Ok(broken)) = self.tasks.try_join_next() {
            broken?;
        }
        let by = seen.events[event].by.load(Ordering::Acquire);
        anyhow::bail!("event {event} was seen by {by} watchers only")
    }

    fn delay_ms(&self, event: usize, made: &Made) -> f64 {
        let last =
            self.seen.began + Duration::from_nanos(self.seen.events[event].last.load(Ordering::Acquire));
        last.saturating_duration_since(made.asked_at).as_secs_f64() * 1e3
    }
}

impl Seen {
    fn note(&self, event: usize, nanoseconds: u64) -> Result<()> {
        let event = self.events.get(event).context("a watcher saw more than was created")?;
        event.last.fetch_max(nanoseconds, Ordering::AcqRel);
        if event.by.fetch_add(1, Ordering::AcqRel) + 1 == self.watchers {
            self.by_all.notify_waiters();
        }
        Ok(())
    }
}

impl FannedOut {
    fn of(delays: &[f64]) -> Self {
        Self {
            median_ms: percentile(delays, 50),
            p99_ms: percentile(delays, 99),
            worst_ms: percentile(delays, 100),
        }
    }
}

/// One watcher: counts events until all have come, and returns the last.
async fn follow(_connection: Connection, mut body: Incoming, seen: Arc<Seen>) -> Result<Vec<u8>> {
    let (mut events, mut lines) = (0, Lines::default());
    while events < seen.events.len() {
        let frame = body.frame().await.context("a watch has ended")?.context("a watch broke")?;
        let Ok(data) = frame.into_data() else { continue };
        let now = u64::try_from(seen.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for _ in 0..lines.push(data) {
            seen.note(events, now)?;
            events += 1;
        }
    }
    Ok(lines.last())
}

/// Pieces of a stream of lines, of which only the last matters.
#[derive(Default)]
struct Lines {
    /// Since the last piece with which a line ended.
    pieces: Vec<Bytes>,
}

impl Lines {
    /// Returns how many lines have ended.
    fn push(&mut self, piece: Bytes) -> usize {
        if self.pieces.last().is_some_and(|piece| piece.ends_with(b"\n")) {
            self.pieces.clear();
        }
        let ended = piece.iter().filter(|byte| **byte == b'\n').count();
        self.pieces.push(piece);
        ended
    }

    /// The last line that is not empty.
    fn last(&self) -> Vec<u8> {
        let bytes = self.pieces.concat();
        let last = bytes.rsplit(|byte| *byte == b'\n').find(|line| !line.is_empty());
        last.unwrap_or_default().to_vec()
    }
}

async fn create_steadily(client: &Client, objects: Vec<New>) -> Result<Vec<Made>> {
    let (objects, mut writers) = (Arc::new(objects), JoinSet::new());
    let began = Instant::now() + Duration::from_millis(200);
    for first in 0..STEADY_WRITERS {
        let (mut connection, objects) = (client.connect().await?, Arc::clone(&objects));
        writers.spawn(async move {
            let mut answered = Vec::new();
            for (number, object) in objects.iter().enumerate().skip(first).step_by(STEADY_WRITERS) {
                let due = began + number as u32 * Duration::from_secs(1) / PER_SECOND;
                tokio::time::sleep_until(due.into()).await;
                let asked_at = Instant::now();
                answered.push((asked_at, connection.create(object).await?));
            }
            anyhow::Ok(answered)
        });
    }
    let mut all = Vec::new();
    while let Some(answered) = writers.join_next().await {
        for (asked_at, answer) in answered.context("a writer")?? {
            all.push(Made { version: version_of(&answer)?, asked_at });
        }
    }
    Ok(all)
}

#[derive(Deserialize)]
struct Versioned {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}

fn version_of(answer: &Bytes) -> Result<u64> {
    let versioned: Versioned = serde_json::from_slice(answer).context("read the answer to a create")?;
    versioned.metadata.resource_version.parse().context("read a version")
}

async fn version_of_list(connection: &mut Connection, side: Side) -> Result<u64> {
    let page = connection.read(&super::lists::page_path(side, Some(1), None), 0).await?;
    version_of(&page.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_seen_by_all_when_the_last_watcher_has_it() {
        let seen = Seen {
            watchers: 2,
            began: Instant::now(),
            events: vec![Event::default()],
            by_all: Notify::new(),
        };
        seen.note(0, 9).unwrap();
        assert_eq!(seen.events[0].by.load(Ordering::Acquire), 1);
        seen.note(0, 4).unwrap();
        assert_eq!(seen.events[0].by.load(Ordering::Acquire), 2);
        assert_eq!(seen.events[0].last.load(Ordering::Acquire), 9, "the latest counts, whoever tells first");
        assert!(seen.note(1, 1).is_err(), "more than was created");
    }

    #[test]
    fn lines_are_counted_however_they_are_cut() {
        let mut lines = Lines::default();
        let mut push = |piece: &'static str| lines.push(Bytes::from_static(piece.as_bytes()));
        assert_eq!([push("a\nb"), push("c"), push("d\n"), push("e\nf"), push("g\n")], [1, 0, 1, 1, 1]);
        assert_eq!(lines.last(), b"fg");
    }

    #[test]
    fn a_version_is_read_from_an_object_and_from_a_list() {
        let read = |text: &'static str| version_of(&Bytes::from_static(text.as_bytes()));
        assert_eq!(read(r#"{"kind":"K","metadata":{"name":"n","resourceVersion":"12"}}"#).unwrap(), 12);
        assert!(read(r#"{"metadata":{"resourceVersion":""}}"#).is_err());
        assert!(read(r#"{"metadata":{}}"#).is_err());
    }
}
