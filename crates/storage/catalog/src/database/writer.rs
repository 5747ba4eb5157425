//! The one writer: a thread that owns the writing connection.
//!
//! 1. Takes what waits in the queue: that is a group.
//! 2. Applies each commit under a savepoint of its own; a conflict undoes that one alone.
//! 3. Notes the head and commits: one fsync for the group.
//! 4. Publishes the head, answers every commit, then wakes the subscribers.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use keelson_model::{Clock, Generation, Revision, Sequence};
use rusqlite::{Connection, TransactionBehavior};

use super::draft::{Applier, Draft, write_error};
use super::published::Published;
use super::subscribers::Touched;
use super::tables::{find_cut, find_meta, meta, put_head, put_meta};
use crate::change::{Actor, Change};
use crate::digest::{Head, Proof};
use crate::error::{CommitError, Sqlite, sqlite};
use crate::format::base::{Origin, encode_origin};
use crate::format::body::BodyEncoder;
use crate::limits::{CUT_ENTRIES_PER_TRANSACTION, GROUP_BYTES, GROUP_COMMITS_MAX, QUEUE_COMMITS_MAX};
use crate::row::RowKind;

/// Answers a commit, from the writer's thread. It must neither block nor panic.
pub type Done = Box<dyn FnOnce(Result<Revision, CommitError>) + Send>;

/// How far a step of cutting came.
pub(super) struct CutStep {
    pub(super) cut: Sequence,
    pub(super) more: bool,
}

pub(super) enum Job {
    Commit {
        actor: Actor,
        changes: Vec<Change>,
        done: Done,
    },
    Cut {
        through: Sequence,
        done: Box<dyn FnOnce(Result<CutStep, CommitError>) + Send>,
    },
    /// Refuses, or again takes, what comes after it.
    Admit {
        admission: Admission,
        done: Box<dyn FnOnce() + Send>,
    },
    OpenGeneration {
        generation: Generation,
        actor: Actor,
        done: Box<dyn FnOnce(Result<Revision, CommitError>) + Send>,
    },
    Rewrap {
        wrapped_key: Vec<u8>,
        done: Box<dyn FnOnce(Result<Rewrapped, CommitError>) + Send>,
    },
}

/// What became of a wrapped key that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrapped {
    /// No byte of it is left in the file or its log.
    Wiped,
    /// It is no longer in force and still to be found there, until a later replacement wipes it.
    BeforeLingers {
        /// What it could not be wiped for.
        why: String,
    },
}

/// Whether the catalog takes commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Open,
    /// Another catalog has taken its place.
    Superseded,
}

/// The door to the writer's thread. Dropping it lets the thread finish what is queued, and waits for it.
#[derive(Debug)]
pub(super) struct WriterHandle {
    jobs: Option<SyncSender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl WriterHandle {
    pub(super) fn start(
        connection: Connection,
        proof: Arc<Proof>,
        clock: Arc<dyn Clock>,
        published: Arc<Published>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE_COMMITS_MAX);
        let head = published.head();
        let writer = Writer {
            connection,
            proof,
            clock,
            bodies: BodyEncoder::new(),
            head,
            published,
            admission: Admission::Open,
        };
        let thread =
            thread::Builder::new().name("catalog-writer".into()).spawn(move || writer.run(&queue))?;
        Ok(Self { jobs: Some(jobs), thread: Mutex::new(Some(thread)) })
    }

    /// Waits for a place in the queue.
    pub(super) fn send(&self, job: Job) -> Result<(), CommitError> {
        self.jobs.as_ref().ok_or(CommitError::Stopped)?.send(job).map_err(|_| CommitError::Stopped)
    }

    /// Does not wait: gives the job back where it cannot be queued, with the reason.
    pub(super) fn offer(&self, job: Job) -> Option<(Job, CommitError)> {
        let Some(jobs) = &self.jobs else { return Some((job, CommitError::Stopped)) };
        match jobs.try_send(job) {
            Ok(()) => None,
            Err(TrySendError::Full(job)) => Some((job, CommitError::Busy)),
            Err(TrySendError::Disconnected(job)) => Some((job, CommitError::Stopped)),
        }
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may be dropped by a callback, which runs on the writer's own thread.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // A panic of the writer has already answered every waiting commit with `Stopped`.
            let _ = thread.join();
        }
    }
}

struct Writer {
    connection: Connection,
    proof: Arc<Proof>,
    clock: Arc<dyn Clock>,
    bodies: BodyEncoder,
    head: Head,
    published: Arc<Published>,
    admission: Admission,
}

struct Commit {
    actor: Actor,
    changes: Vec<Change>,
    done: Done,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        let mut held = None;
        while let Some(job) = held.take().or_else(|| queue.recv().ok()) {
            match job {
                Job::Commit { done, .. } if self.admission == Admission::Superseded => {
                    done(Err(CommitError::Superseded));
                }
                Job::OpenGeneration { done, .. } if self.admission == Admission::Superseded => {
                    done(Err(CommitError::Superseded));
                }
                Job::Admit { admission, done } => {
                    self.admission = admission;
                    done();
                }
                Job::Commit { actor, changes, done } => {
                    let first = Commit { actor, changes, done };
                    let (group, next) = gather(first, queue);
                    held = next;
                    self.commit(group);
                }
                Job::Cut { through, done } => done(self.cut(through).map_err(write_error)),
                Job::OpenGeneration { generation, actor, done } => {
                    done(self.open_generation(generation, &actor));
                }
                Job::Rewrap { wrapped_key, done } => {
                    done(self.rewrap(&wrapped_key).map_err(write_error));
                }
            }
        }
    }

    /// The key before is gone from the file and from its log, not only from what they mean: pages keep copies of what was in
    /// them, so all are written anew. A reader that is at work on an older state keeps the log: then it is not gone yet.
    fn rewrap(&self, wrapped_key: &[u8]) -> rusqlite::Result<Rewrapped> {
        put_meta(&self.connection, meta::WRAPPED_KEY, wrapped_key)?;
        // The key is in force, whatever comes of the rest.
        Ok(match self.write_anew() {
            Ok(true) => Rewrapped::Wiped,
            Ok(false) => Rewrapped::BeforeLingers { why: "somebody reads an older state".to_owned() },
            Err(error) => Rewrapped::BeforeLingers { why: error.to_string() },
        })
    }

    /// Says whether the log could be emptied. What is rewrapped is small enough to be held in memory for it.
    fn write_anew(&self) -> rusqlite::Result<bool> {
        self.connection.execute_batch("PRAGMA temp_store = MEMORY; VACUUM;")?;
        let busy = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        Ok(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], busy)? == 0)
    }

    fn commit(&mut self, group: Vec<Commit>) {
        let before = self.head;
        let (requests, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|Commit { actor, changes, done }| ((actor, changes), done)).unzip();
        let kinds = kinds_of(&requests);
        match self.write(requests) {
            Ok(outcomes) => {
                self.published.touch(&kinds, self.head.revision);
                self.published.set_head(self.head);
                for (done, outcome) in answers.into_iter().zip(outcomes) {
                    done(outcome);
                }
            }
            Err(source) => {
                for done in answers {
                    done(Err(CommitError::Write { source: Arc::clone(&source) }));
                }
            }
        }
        if self.head.revision != before.revision {
            self.published.subscribers.notify(self.head.revision, &Touched::Kinds(kinds));
        }
    }

    /// One transaction for the group. An error of the database undoes all of it; the head moves only with the
    /// transaction.
    fn write(
        &mut self,
        requests: Vec<(Actor, Vec<Change>)>,
    ) -> Result<Vec<Result<Revision, CommitError>>, Sqlite> {
        let mut head = self.head;
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        for (actor, changes) in requests {
            let savepoint = transaction.savepoint().map_err(sqlite)?;
            let applier = Applier { connection: &savepoint, proof: &self.proof, bodies: &mut self.bodies };
            match append(applier, head, self.clock.now().as_microsecond(), &actor, changes) {
                Ok(after) => {
                    savepoint.commit().map_err(sqlite)?;
                    head = after;
                    outcomes.push(Ok(after.revision));
                }
                Err(CommitError::Write { source }) => return Err(source),
                Err(error) => {
                    savepoint.finish().map_err(sqlite)?;
                    outcomes.push(Err(error));
                }
            }
        }
        if head.revision != self.head.revision {
            put_head(&transaction, &head).map_err(sqlite)?;
        }
        transaction.commit().map_err(sqlite)?;
        self.head = head;
        Ok(outcomes)
    }

    /// One transaction: the journal begins anew with an entry that says nothing and follows the chain.
    fn open_generation(&mut self, generation: Generation, actor: &Actor) -> Result<Revision, CommitError> {
        let before = self.head;
        if generation <= before.revision.generation() {
            return Ok(before.revision);
        }
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(write_error)?;
        // The file keeps its folder, which bears the number of the generation in which it was made.
        if find_meta(&transaction, meta::MADE_IN).map_err(write_error)?.is_none() {
            let made_in = before.revision.generation().0.to_le_bytes();
            put_meta(&transaction, meta::MADE_IN, &made_in).map_err(write_error)?;
        }
        let origin = Origin { revision: before.revision, chain: before.chain };
        put_meta(&transaction, meta::ORIGIN, &encode_origin(Some(&origin))).map_err(write_error)?;
        put_meta(&transaction, meta::CUT, &0_u64.to_le_bytes()).map_err(write_error)?;
        let whole = [Sequence::MAX.0 as i64];
        let mut cut =
            transaction.prepare_cached(include_str!("../sql/journal/cut.sql")).map_err(write_error)?;
        cut.execute(whole).map_err(write_error)?;
        drop(cut);
        let draft = Draft::new(Revision::new(generation, Sequence(1)), before.digests);
        let applier = Applier { connection: &transaction, proof: &self.proof, bodies: &mut self.bodies };
        let head = draft.append(&applier, before.chain, self.clock.now().as_microsecond(), actor)?;
        put_head(&transaction, &head).map_err(write_error)?;
        transaction.commit().map_err(write_error)?;
        self.head = head;
        self.published.set_head(head);
        self.published.subscribers.notify(head.revision, &Touched::All);
        Ok(head.revision)
    }

    /// Cuts a bounded number of entries off the journal's front. The newest stays: the head is checked with it.
    fn cut(&mut self, through: Sequence) -> rusqlite::Result<CutStep> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let cut = find_cut(&transaction)?;
        let last = through.0.min(self.head.revision.sequence().0.saturating_sub(1));
        let step = last.min(cut + CUT_ENTRIES_PER_TRANSACTION);
        if step <= cut {
            return Ok(CutStep { cut: Sequence(cut), more: false });
        }
        transaction.prepare_cached(include_str!("../sql/journal/cut.sql"))?.execute([step as i64])?;
        put_meta(&transaction, meta::CUT, &step.to_le_bytes())?;
        transaction.commit()?;
        Ok(CutStep { cut: Sequence(step), more: step < last })
    }
}

fn kinds_of(requests: &[(Actor, Vec<Change>)]) -> HashSet<RowKind> {
    let changes = requests.iter().flat_map(|(_, changes)| changes);
    let kinds = changes.filter_map(|change| match change {
        Change::Put { row, .. } => Some(&row.kind),
        Change::Delete { key, .. } => Some(&key.kind),
        Change::RecordStep { .. } | Change::DropSteps { .. } => None,
    });
    kinds.cloned().collect()
}

/// The commits that share a transaction, and the job behind them that is not one of them.
fn gather(first: Commit, queue: &Receiver<Job>) -> (Vec<Commit>, Option<Job>) {
    let mut bytes = weigh(&first.changes);
    let mut group = vec![first];
    while group.len() < GROUP_COMMITS_MAX && bytes < GROUP_BYTES {
        match queue.try_recv() {
            Ok(Job::Commit { actor, changes, done }) => {
                bytes += weigh(&changes);
                group.push(Commit { actor, changes, done });
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}

fn weigh(changes: &[Change]) -> usize {
    let bytes = |change: &Change| match change {
        Change::Put { row, expect: _ } => row.weight(),
        Change::RecordStep { run: _, step: _, result } => result.len(),
        Change::Delete { .. } | Change::DropSteps { .. } => 0,
    };
    changes.iter().map(bytes).sum()
}

/// Applies one commit as one entry. A commit that changes nothing leaves no entry and answers with the head.
fn append(
    mut applier: Applier<'_>,
    head: Head,
    at: i64,
    actor: &Actor,
    changes: Vec<Change>,
) -> Result<Head, CommitError> {
    let mut draft = Draft::new(next_revision(head.revision)?, head.digests);
    for change in changes {
        draft.apply(&mut applier, change)?;
    }
    if draft.bytes() == 0 {
        return Ok(head);
    }
    draft.append(&applier, head.chain, at, actor)
}

pub(crate) fn next_revision(head: Revision) -> Result<Revision, CommitError> {
    let generation = head.generation();
    if head.sequence() >= Sequence::MAX {
        return Err(CommitError::OutOfSequence { generation });
    }
    Ok(Revision::new(generation, Sequence(head.sequence().0 + 1)))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use keelson_crypto::CatalogKey;
    use keelson_model::{Classified, ErrorClass, Generation, ManualClock};
    use rusqlite::OpenFlags;

    use super::*;
    use crate::database::open::Opening;
    use crate::database::schema;
    use crate::row::{Class, Labels, Row, RowKind};

    fn row(number: usize) -> Row {
        Row {
            kind: RowKind::new("kind"),
            namespace: String::new(),
            name: number.to_string(),
            uid: String::new(),
            labels: Labels::new(),
            created: Timestamp::UNIX_EPOCH,
            class: Class::Local,
            body: (0..4_000).map(|at| (at * number * 131 % 251) as u8).collect(),
        }
    }

    /// The moment between a commit and its acknowledgement, held still.
    #[test]
    fn what_a_read_has_shown_is_behind_the_head_before_the_writer_tells_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.sqlite");
        let proof = Arc::new(Proof::new(&CatalogKey::generate()));
        let opening =
            Opening { path: &path, proof, clock: Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)) };
        let database = opening.create(Generation(1), b"").unwrap();
        let before = database.head();
        let shown = database.commit(&Actor::new("test"), vec![Change::create(row(1))]).unwrap();
        database.0.published.set_head(before);
        let kind = RowKind::new("kind");
        assert_eq!(database.head_for(before.revision).unwrap(), before.revision);
        assert_eq!(database.head_for(shown).unwrap(), shown);
        let later = Revision::new(Generation(1), Sequence(shown.sequence().0 + 1));
        assert_eq!(database.head_for(later).unwrap(), shown, "what nobody has committed is not reached");
        let quiet = database.quiet_after(&kind, shown);
        assert_eq!((quiet.through, quiet.complete), (shown, false), "the head that is told is behind it");
    }

    #[test]
    fn a_full_disk_fails_the_commit_and_leaves_the_catalog_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.sqlite");
        let key = CatalogKey::generate();
        let opening = || Opening {
            path: &path,
            proof: Arc::new(Proof::new(&key)),
            clock: Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)),
        };
        let head = opening().create(Generation(1), b"").unwrap().head();
        let connection = schema::open_writer(&path, OpenFlags::empty()).unwrap();
        schema::make_durable(&connection).unwrap();
        connection.pragma_update(None, "max_page_count", 60).unwrap();
        let database = opening().start(connection, head).unwrap();

        let actor = Actor::new("test");
        let commit = |number| database.commit(&actor, vec![Change::create(row(number))]);
        let mut stored = 0;
        let error = loop {
            match commit(stored + 1) {
                Ok(revision) => stored = revision.sequence().0 as usize,
                Err(error) => break error,
            }
        };
        assert!(stored > 2, "{stored}");
        assert!(matches!(error, CommitError::Write { .. }), "{error}");
        assert!(matches!(error.class(), ErrorClass::Unavailable { .. }));
        assert_eq!(error.hint().as_deref(), Some("free space on the catalog's volume"));
        assert!(matches!(commit(1).unwrap_err(), CommitError::Conflict { .. }), "the writer goes on");
        assert_eq!(database.head().revision.sequence(), Sequence(stored as u64));
        database.verify_digests().unwrap();
        database.verify_chain().unwrap();
        drop(database);
        let database = opening().open(Generation(1)).unwrap();
        assert_eq!(database.head().revision.sequence(), Sequence(stored as u64));
        database.commit(&actor, vec![Change::create(row(stored + 1))]).unwrap();
    }
}
