//! One catalog file: journal and tables, one writer thread, a pool of readers. Nothing in here is async.
//!
//! Guarantees: a commit that was acknowledged is on the disk; it happened whole, as one journal entry of its own;
//! every read sees one state. Limits: `limits`.

pub(crate) mod draft;
mod journal;
pub(crate) mod lookup;
pub(crate) mod open;
mod published;
mod readers;
mod rows;
pub(crate) mod schema;
mod shipping;
mod subscribers;
pub(crate) mod tables;
mod verify;
pub(crate) mod writer;

use std::fmt;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use keelson_model::{Generation, Revision, Sequence};
use rusqlite::Connection;

use self::lookup::query_error;
use self::published::Published;
use self::readers::Readers;
use self::tables::{count_rows, find_head};
use self::writer::{Admission, Job, WriterHandle};
use crate::change::{Actor, Change, Step};
use crate::digest::{Digests, Head, Proof};
use crate::error::{CommitError, ReadError, ShipError, VerifyError};
use crate::format::base::Origin;
use crate::query::{Backlog, Changes, JournalEntry, Page, Query, Quiet};
use crate::row::{RowKey, RowKind, Scope, Stored};

pub use self::rows::Rows;
pub use self::shipping::{BaseSummary, EntryTime, Segment, SinkError, Stretch};
pub use self::subscribers::{Subscriber, Subscription, Touched};
pub use self::writer::{Done, Rewrapped};

/// A catalog that is open. Clones are the same catalog; the last one closes it, after what was queued is written.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

/// Readers go before the writer, whose connection is then the last and checkpoints the file.
pub(crate) struct Inner {
    readers: Readers,
    published: Arc<Published>,
    proof: Arc<Proof>,
    writer: WriterHandle,
}

impl Database {
    /// Writes all changes as one journal entry, or none. Blocks until they are on the disk.
    ///
    /// Commits of several callers share an fsync. A commit that changes nothing leaves no entry.
    pub fn commit(&self, actor: &Actor, changes: Vec<Change>) -> Result<Revision, CommitError> {
        changes.iter().try_for_each(draft::check)?;
        let (answer, answered) = sync_channel(1);
        let done: Done = Box::new(move |outcome| {
            // The receiver waits below.
            let _ = answer.send(outcome);
        });
        self.0.writer.send(Job::Commit { actor: actor.clone(), changes, done })?;
        answered.recv().unwrap_or(Err(CommitError::Stopped))
    }

    /// Like `commit`, but returns at once; `done` is called from the writer's thread and must neither block nor panic.
    ///
    /// Where the queue is full, `done` gets `CommitError::Busy`. It is dropped uncalled if the writer dies.
    pub fn commit_with(&self, actor: &Actor, changes: Vec<Change>, done: Done) {
        if let Err(error) = changes.iter().try_for_each(draft::check) {
            return done(Err(error));
        }
        let job = Job::Commit { actor: actor.clone(), changes, done };
        if let Some((Job::Commit { done, .. }, error)) = self.0.writer.offer(job) {
            done(Err(error));
        }
    }

    /// One row, if it is there.
    pub fn read(&self, key: &RowKey) -> Result<Option<Stored>, ReadError> {
        self.0.readers.read(|transaction, bodies| lookup::read(transaction, bodies, key))
    }

    /// One row, if it is there, and the revision of the state that it was read from.
    pub fn read_with_revision(&self, key: &RowKey) -> Result<(Option<Stored>, Revision), ReadError> {
        self.0.readers.read(|transaction, bodies| {
            let revision = revision_in(transaction)?;
            Ok((lookup::read(transaction, bodies, key)?, revision))
        })
    }

    /// One page of a kind, in the order of namespace and name.
    pub fn list(&self, query: &Query) -> Result<Page, ReadError> {
        self.0.readers.read(|transaction, bodies| {
            let revision = revision_in(transaction)?;
            lookup::list(transaction, bodies, query, revision)
        })
    }

    /// All rows that a query means, in the order of namespace and name, however many.
    pub fn rows(&self, query: Query) -> Rows<'_> {
        Rows::new(self, query)
    }

    /// How many rows a kind has.
    pub fn count(&self, kind: &RowKind) -> Result<u64, ReadError> {
        self.0.readers.read(|transaction, _| count_rows(transaction, kind, None).map_err(query_error))
    }

    /// The steps that a run has recorded, in order.
    pub fn steps(&self, run: &str) -> Result<Vec<Step>, ReadError> {
        self.0.readers.read(|transaction, bodies| lookup::steps(transaction, bodies, run))
    }

    /// What happened to a kind after `since`, at most about `limit` events. Ask again from `Changes::through`.
    ///
    /// A revision of an older generation or of the cut prefix is `Expired`; one after the head is `AheadOfUs`.
    pub fn changes(
        &self,
        kind: &RowKind,
        namespace: Option<&str>,
        since: Revision,
        limit: usize,
    ) -> Result<Changes, ReadError> {
        self.0
            .readers
            .read(|transaction, bodies| journal::changes(transaction, bodies, kind, namespace, since, limit))
    }

    /// How far it is known that nothing happened to a kind after `since`. Reads nothing.
    ///
    /// Only what happened since the catalog was opened is known, and of a kind that has changed no more than the stretch
    /// before its last change.
    pub fn quiet_after(&self, kind: &RowKind, since: Revision) -> Quiet {
        self.0.published.quiet_after(kind, since)
    }

    /// The audit trail after a sequence number: at least one entry where there is one.
    pub fn entries(&self, after: Sequence, bytes_max: usize) -> Result<Vec<JournalEntry>, ReadError> {
        self.0.readers.read(|transaction, _| journal::entries(transaction, after, bytes_max))
    }

    /// Where the catalog stands: the last acknowledged commit.
    pub fn head(&self) -> Head {
        self.0.published.head()
    }

    /// The revision of the head, or a later one that a read has shown already: a commit can be read a moment before its
    /// writer acknowledges it. Reads the file only for a revision beyond the head.
    pub fn head_for(&self, shown: Revision) -> Result<Revision, ReadError> {
        let head = self.head().revision;
        if shown <= head {
            return Ok(head);
        }
        self.0.readers.read(|transaction, _| revision_in(transaction))
    }

    /// The digests of the last acknowledged commit.
    pub fn digests(&self) -> Digests {
        self.head().digests
    }

    /// The generation of this catalog.
    pub fn generation(&self) -> Generation {
        self.head().revision.generation()
    }

    /// What this catalog was recovered from, if it was.
    pub fn origin(&self) -> Result<Option<Origin>, ReadError> {
        self.0.readers.read(|transaction, _| shipping::find_origin(transaction).map_err(query_error))
    }

    /// Has `subscriber` called with every new head, and with whom it concerns.
    pub fn subscribe(&self, subscriber: Subscriber) -> Subscription {
        self.0.published.subscribers.add(subscriber)
    }

    /// Adds up all rows and compares with the head's digests. Reads everything.
    pub fn verify_digests(&self) -> Result<Head, VerifyError> {
        let mut reader = self.0.readers.open()?;
        reader.read(|transaction, _| verify::verify_digests(transaction, &self.0.proof))
    }

    /// Follows the chain through the whole journal.
    pub fn verify_chain(&self) -> Result<Head, VerifyError> {
        let mut reader = self.0.readers.open()?;
        reader.read(|transaction, _| verify::verify_chain(transaction, &self.0.proof))
    }

    /// Lets SQLite check the file. Reads everything.
    pub fn check_file(&self) -> Result<(), VerifyError> {
        let mut reader = self.0.readers.open()?;
        reader.read(|transaction, _| verify::check_file(transaction))
    }

    /// The entries after a sequence number, as many as fit `bytes_max` before compression, at least one. Nothing
    /// where there are none; `BaseNeeded` where they were cut.
    pub fn segment_after(
        &self,
        after: Sequence,
        scope: Scope,
        bytes_max: usize,
    ) -> Result<Option<Segment>, ShipError> {
        self.segment_within(Stretch { after, through: Sequence::MAX }, scope, bytes_max)
    }

    /// The same, and no entry behind the stretch.
    pub fn segment_within(
        &self,
        stretch: Stretch,
        scope: Scope,
        bytes_max: usize,
    ) -> Result<Option<Segment>, ShipError> {
        self.0.readers.read(|transaction, _| {
            shipping::segment_within(transaction, &self.0.proof, stretch, scope, bytes_max)
        })
    }

    /// The digest of an entry, which covers every one before; nothing where the journal does not reach there.
    pub fn chain_at(&self, sequence: Sequence) -> Result<Option<[u8; 32]>, ReadError> {
        self.0.readers.read(|transaction, _| shipping::chain_at(transaction, sequence))
    }

    /// How much waits to be shipped after a sequence number.
    pub fn backlog(&self, after: Sequence) -> Result<Backlog, ReadError> {
        self.0.readers.read(|transaction, _| shipping::backlog(transaction, after))
    }

    /// Streams a base of the scope from one snapshot, in frames of about 256 KiB.
    ///
    /// `wrapped_key` is the catalog key as the caller sealed it for whoever will recover.
    pub fn base(
        &self,
        scope: Scope,
        wrapped_key: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), SinkError>,
    ) -> Result<BaseSummary, ShipError> {
        let mut reader = self.0.readers.open()?;
        reader.read(|transaction, _| shipping::base(transaction, &self.0.proof, scope, wrapped_key, sink))
    }

    /// The last entry that watches which lag can do without.
    pub fn watch_window_start(&self, now: Timestamp) -> Result<Sequence, ReadError> {
        self.0.readers.read(|transaction, _| journal::window_start(transaction, now))
    }

    /// Whether a kind has changed after `since`, and refuses as [`changes`](Self::changes) does.
    pub fn has_changed(
        &self,
        kind: &RowKind,
        namespace: Option<&str>,
        mut since: Revision,
    ) -> Result<bool, ReadError> {
        loop {
            let changes = self.changes(kind, namespace, since, 1)?;
            if !changes.events.is_empty() || changes.complete {
                return Ok(!changes.events.is_empty());
            }
            since = changes.through;
        }
    }

    /// Refuses a revision from which no watch can go on, as [`changes`](Self::changes) does.
    pub fn check_since(&self, since: Revision) -> Result<(), ReadError> {
        self.0.readers.read(|transaction, _| {
            let head = revision_in(transaction)?;
            journal::check_since(transaction, since, head)
        })
    }

    /// Cuts the journal's entries up to `through`, except the newest. Answers with the last entry that is cut.
    pub fn cut_prefix(&self, through: Sequence) -> Result<Sequence, CommitError> {
        loop {
            let (answer, answered) = sync_channel(1);
            let done = Box::new(move |outcome| {
                let _ = answer.send(outcome);
            });
            self.0.writer.send(Job::Cut { through, done })?;
            let step = answered.recv().unwrap_or(Err(CommitError::Stopped))?;
            if !step.more {
                return Ok(step.cut);
            }
        }
    }

    /// From when this returns every commit is refused, what waits in the queue too: another catalog takes its place.
    pub(crate) fn supersede(&self) {
        self.admit(Admission::Superseded);
    }

    /// The other catalog did not take its place.
    pub(crate) fn readmit(&self) {
        self.admit(Admission::Open);
    }

    fn admit(&self, admission: Admission) {
        let (answer, answered) = sync_channel(1);
        let done = Box::new(move || {
            let _ = answer.send(());
        });
        // A writer that has stopped takes no commit either.
        if self.0.writer.send(Job::Admit { admission, done }).is_ok() {
            let _ = answered.recv();
        }
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn upgrade(weak: &Weak<Inner>) -> Option<Self> {
        weak.upgrade().map(Self)
    }

    /// Goes on in a later generation, in this file: rows and chain stay, entries count from 1 again, and a watch of the
    /// generation before has to list anew. Changes nothing where the catalog is in that generation or beyond.
    pub fn open_generation(&self, generation: Generation, actor: &Actor) -> Result<Revision, CommitError> {
        let (answer, answered) = sync_channel(1);
        let done = Box::new(move |outcome| {
            let _ = answer.send(outcome);
        });
        self.0.writer.send(Job::OpenGeneration { generation, actor: actor.clone(), done })?;
        answered.recv().unwrap_or(Err(CommitError::Stopped))
    }

    /// Replaces the wrapped key that the file carries, after its wrapper was rotated, and wipes the one before. Writes the
    /// whole file anew, so it is for a small one.
    pub fn rewrap(&self, wrapped_key: Vec<u8>) -> Result<Rewrapped, CommitError> {
        let (answer, answered) = sync_channel(1);
        let done = Box::new(move |outcome| {
            let _ = answer.send(outcome);
        });
        self.0.writer.send(Job::Rewrap { wrapped_key, done })?;
        answered.recv().unwrap_or(Err(CommitError::Stopped))
    }
}

/// The revision of the state that is read.
fn revision_in(connection: &Connection) -> Result<Revision, ReadError> {
    Ok(find_head(connection).map_err(query_error)?.revision)
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("revision", &self.head().revision).finish_non_exhaustive()
    }
}
