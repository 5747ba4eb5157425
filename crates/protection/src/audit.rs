//! The trail of audit events: who did what, made of the journals, and of what left nothing in them.
//!
//! Guarantees: each entry of a journal that concerns what is served is told once in the files, whenever the process dies;
//! an entry is cut off the journal after it was told. What was refused is written down before it is answered. An event
//! names who, what, which object and what came of it; nothing of a body is in it.
//! Limits: the files keep the newest of each series. What waits in a journal beyond `BACKLOG_BYTES_MAX` is let go, and
//! that is told in its place. What a disk takes too late is written after the answer. A request that was cut by its
//! deadline is told as that, and once more from the journal where a commit of it came to an end all the same.

mod deed;
mod event;
mod follow;
mod read;
mod series;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use keelson_catalog::{Database, RowKey, RowKind};
use keelson_model::{Generation, Revision, Sequence};
use keelson_resources::KindInfo;
use tokio::sync::Notify;
use tracing::{error, warn};

pub(crate) use self::deed::Deed;
pub use self::event::Outcome;
use self::event::of_deed;
pub use self::follow::{Sink, run};
pub use self::read::{ReadAuditError, Reading, Told, read};
use self::series::Series;
#[cfg(any(test, fuzzing))]
pub(crate) use self::{follow::withstand_told, read::withstand_lines, series::withstand_series};
use crate::platform::Platform;
use crate::records;
use crate::requests::Asked;

/// Below the data directory.
pub(crate) const FOLDER: &str = "audit";
const CATALOG: &str = "catalog";
const INSTANCE: &str = "instance";
const REQUESTS: &str = "requests";
const SERIES: [&str; 3] = [CATALOG, INSTANCE, REQUESTS];
/// Names how far was told, beyond what had events.
const TOLD: &str = "told";

/// Entries that wait to be told hold back the cut of their journal up to this.
const BACKLOG_BYTES_MAX: u64 = 64 << 20;
/// Events that wait for whoever listens to our output. They are in the files.
const UNPRINTED_MAX: usize = 1_000;

/// How far the journals were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ToldThrough {
    pub catalog: Revision,
    pub instance: Revision,
}

/// Before all entries.
const START: Revision = Revision::new(Generation(0), Sequence(0));

/// The trail of one installation.
#[derive(Debug, Clone)]
pub(crate) struct Trail(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    requests: Mutex<Requests>,
    /// What the follower has told; nothing before it has begun.
    told: Mutex<Option<ToldThrough>>,
    unprinted: Mutex<VecDeque<Vec<u8>>>,
    /// There is something to print.
    noted: Notify,
}

#[derive(Debug)]
struct Requests {
    series: Series,
    is_resumed: bool,
}

impl Trail {
    pub(crate) fn new(data: &Path) -> Self {
        let folder = data.join(FOLDER);
        let series = Series::new(&folder, REQUESTS);
        Self(Arc::new(Inner {
            requests: Mutex::new(Requests { series, is_resumed: false }),
            folder,
            told: Mutex::default(),
            unprinted: Mutex::default(),
            noted: Notify::new(),
        }))
    }

    /// What left nothing in a journal. Returns when the event is written, or cannot be.
    pub(crate) async fn note(
        &self,
        kind: &'static KindInfo,
        mut deed: Deed,
        (outcome, now): (Outcome<'_>, Timestamp),
    ) {
        if deed.id.is_empty() {
            deed.id = records::new_uid();
        }
        let (trail, line) = (self.clone(), of_deed(deed, kind, (outcome, now)).line());
        let writing = tokio::task::spawn_blocking(move || trail.write(line)).await;
        if let Ok(Err(source)) = writing {
            error!(error = &source as &dyn std::error::Error, "an audit event of a request was not written");
        }
    }

    fn write(&self, line: Vec<u8>) -> io::Result<()> {
        let mut requests = lock(&self.0.requests);
        // After an error it is looked at anew.
        if !std::mem::replace(&mut requests.is_resumed, false) {
            requests.series.resume()?;
        }
        requests.series.append(&line)?;
        requests.is_resumed = true;
        drop(requests);
        let mut unprinted = lock(&self.0.unprinted);
        unprinted.push_back(line);
        if unprinted.len() > UNPRINTED_MAX {
            unprinted.pop_front();
            warn!("nobody takes the audit events of requests: one was not printed");
        }
        drop(unprinted);
        self.0.noted.notify_one();
        Ok(())
    }

    /// How far the journals were told, from now on for good. Nothing where nobody tells them.
    pub(crate) async fn keep_told(&self) -> Option<ToldThrough> {
        let told = (*lock(&self.0.told))?;
        let trail = self.clone();
        match tokio::task::spawn_blocking(move || follow::write_told(&trail.0.folder, &told)).await {
            Ok(Ok(())) => Some(told),
            Ok(Err(source)) => {
                warn!(
                    error = &source as &dyn std::error::Error,
                    "how far the journals were told was not kept"
                );
                Some(ToldThrough { catalog: START, instance: START })
            }
            Err(_) => None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was refused, or only looked at where a look is told too.
pub async fn note_request(
    platform: &Platform,
    asked: Asked<'_>,
    verb: &'static str,
    (kind, namespace, name): (&'static KindInfo, &str, &str),
    outcome: Outcome<'_>,
) {
    let deed = asked.deed(verb, RowKey::new(RowKind::new(kind.row_kind()), namespace, name));
    platform.trail.note(kind, deed, (outcome, platform.clock.now())).await;
}

/// Up to where a journal may be cut: not before it was told, unless too much waits.
pub(crate) fn cuttable(database: &Database, told: Option<Revision>) -> Sequence {
    let Some(told) = told else { return Sequence::MAX };
    let told = if told.generation() == database.generation() { told.sequence() } else { Sequence(0) };
    let Ok(waiting) = database.backlog(told) else { return told };
    let through = decide_cut(told, waiting.bytes);
    if through > told {
        error!(entries = waiting.entries, "the audit trail is too far behind: what waits is let go");
    }
    through
}

/// Pure.
fn decide_cut(told: Sequence, waiting_bytes: u64) -> Sequence {
    if waiting_bytes > BACKLOG_BYTES_MAX { Sequence::MAX } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_cut_behind_what_was_told_unless_too_much_waits() {
        assert_eq!(decide_cut(Sequence(7), 0), Sequence(7));
        assert_eq!(decide_cut(Sequence(7), BACKLOG_BYTES_MAX), Sequence(7));
        assert_eq!(decide_cut(Sequence(7), BACKLOG_BYTES_MAX + 1), Sequence::MAX);
    }
}
