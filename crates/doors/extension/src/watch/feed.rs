//! What happened lately to the objects of a kind, read once for all the watches that follow it.
//!
//! A commit wakes every watch of its kind, and all of them need the same few events. The first reads them from the journal,
//! the others find them here. A watch that is further behind than this reaches reads the journal by itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use keelson_catalog::{Changes, Database, Event, Quiet, RowKind};
use keelson_model::Revision;

use crate::limits::{EVENTS_PER_READ, FEED_BYTES, FEED_EVENTS, FEED_GAP};
use crate::shared::blocking;

/// The feeds of all kinds that somebody watches.
#[derive(Default)]
pub(crate) struct Feeds(Mutex<HashMap<RowKind, Arc<Feed>>>);

impl Feeds {
    pub(super) fn of(&self, kind: RowKind) -> Arc<Feed> {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let feed = feeds.entry(kind.clone()).or_insert_with(|| Arc::new(Feed::new(kind)));
        Arc::clone(feed)
    }
}

/// What happened lately to the objects of one kind, in all namespaces.
pub(super) struct Feed {
    kind: RowKind,
    /// None before the first read.
    tail: Mutex<Option<Tail>>,
    /// Whoever reads the journal holds it; who waits for it finds afterwards what was read.
    turn: tokio::sync::Mutex<()>,
}

/// What a watch is told.
pub(super) struct News {
    /// In the journal's order.
    pub(super) happenings: Vec<Arc<Happening>>,
    /// All events up to here are in.
    pub(super) through: Revision,
    /// Whether all is in that had happened when it was asked for.
    pub(super) complete: bool,
}

/// An event, and what is made of it for everyone who is shown whole objects.
pub(super) struct Happening {
    pub(super) event: Event,
    whole: OnceLock<Vec<u8>>,
}

impl Happening {
    fn new(event: Event) -> Self {
        Self { event, whole: OnceLock::new() }
    }

    /// With the object as JSON, which is about as long as all that is known of it.
    fn weight(&self) -> usize {
        self.event.weight() + self.event.stored.row.weight()
    }

    /// The object as JSON, made once.
    pub(super) fn whole(&self, make: impl FnOnce() -> Vec<u8>) -> &[u8] {
        self.whole.get_or_init(make)
    }
}

impl From<Changes> for News {
    fn from(changes: Changes) -> Self {
        let Changes { events, through, complete } = changes;
        let happenings = events.into_iter().map(|event| Arc::new(Happening::new(event))).collect();
        Self { happenings, through, complete }
    }
}

impl Feed {
    fn new(kind: RowKind) -> Self {
        Self { kind, tail: Mutex::new(None), turn: tokio::sync::Mutex::new(()) }
    }

    /// How far it is known that nothing happened to the kind after `since`. Reads nothing.
    pub(super) fn quiet_after(&self, database: &Database, since: Revision) -> Quiet {
        if let Some(tail) = &mut *self.tail() {
            tail.through = database.quiet_after(&self.kind, tail.through).through;
        }
        database.quiet_after(&self.kind, since)
    }

    /// What happened after `since`, all of it where it goes through `head`; None, where the journal has to be asked.
    pub(super) async fn after(&self, database: &Database, since: Revision, head: Revision) -> Option<News> {
        if since.generation() != database.generation() {
            return None;
        }
        if let Some(news) = self.find(database, since, head) {
            return Some(news);
        }
        let _turn = self.turn.lock().await;
        // Somebody may have read it meanwhile.
        if let Some(news) = self.find(database, since, head) {
            return Some(news);
        }
        let from = self.continue_to(since)?;
        let (journal, kind) = (database.clone(), self.kind.clone());
        let changes = blocking(move || Ok(journal.changes(&kind, None, from, EVENTS_PER_READ))).await;
        let mut tail = self.tail();
        match changes {
            Ok(Ok(changes)) => {
                if let Some(tail) = &mut *tail {
                    tail.append(changes);
                }
            }
            // Whoever asks the journal itself is told what is wrong.
            Ok(Err(_)) | Err(_) => *tail = None,
        }
        drop(tail);
        self.find(database, since, head)
    }

    fn find(&self, database: &Database, since: Revision, head: Revision) -> Option<News> {
        let tail = self.tail();
        let (happenings, through) = tail.as_ref()?.after(since)?;
        // What happens later wakes the watch again: were it waited for here, a watch would never rest.
        let complete = through >= head || database.quiet_after(&self.kind, through).complete;
        Some(News { happenings, through, complete })
    }

    /// From where to read so that what happened after `since` is here; None, where that was too long ago.
    fn continue_to(&self, since: Revision) -> Option<Revision> {
        let mut tail = self.tail();
        match &*tail {
            Some(tail) if tail.leads_to(since) => Some(tail.through),
            Some(tail) if tail.through.generation() == since.generation() && since < tail.after => None,
            _ => {
                *tail = Some(Tail::new(since));
                Some(since)
            }
        }
    }

    fn tail(&self) -> MutexGuard<'_, Option<Tail>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of what happened to a kind: everything after one revision, up to another.
struct Tail {
    after: Revision,
    through: Revision,
    happenings: VecDeque<Arc<Happening>>,
    /// Of all of them.
    bytes: usize,
}

impl Tail {
    fn new(at: Revision) -> Self {
        Self { after: at, through: at, happenings: VecDeque::new(), bytes: 0 }
    }

    /// Whether `since` lies within, or so little behind the end that the journal between is soon looked through.
    fn leads_to(&self, since: Revision) -> bool {
        let is_near = since.sequence().0.saturating_sub(self.through.sequence().0) <= FEED_GAP;
        since.generation() == self.through.generation() && self.after <= since && is_near
    }

    /// What happened after `since`, if any of that is known.
    fn after(&self, since: Revision) -> Option<(Vec<Arc<Happening>>, Revision)> {
        if !self.leads_to(since) || self.through <= since {
            return None;
        }
        let first = self.happenings.partition_point(|happening| happening.event.stored.revision <= since);
        Some((self.happenings.iter().skip(first).cloned().collect(), self.through))
    }

    /// What follows the end. The oldest is let go of, whole entries of it, where there is too much.
    fn append(&mut self, changes: Changes) {
        for event in changes.events {
            let happening = Happening::new(event);
            self.bytes += happening.weight();
            self.happenings.push_back(Arc::new(happening));
        }
        self.through = self.through.max(changes.through);
        while self.happenings.len() > FEED_EVENTS || self.bytes > FEED_BYTES {
            let Some(oldest) = self.happenings.front() else { return };
            self.after = oldest.event.stored.revision;
            self.forget_through_start();
        }
    }

    fn forget_through_start(&mut self) {
        while let Some(oldest) = self.happenings.front().filter(|it| it.event.stored.revision <= self.after) {
            self.bytes -= oldest.weight();
            self.happenings.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
