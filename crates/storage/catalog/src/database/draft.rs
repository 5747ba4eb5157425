//! A journal entry in the making: each change is applied to the tables and noted in the entry at once.

use std::collections::HashSet;

use keelson_model::Revision;
use rusqlite::Connection;

use super::tables::{
    Found, append_entry, decode_fault, delete_row, find_row, insert_row, read_row, update_row,
};
use crate::change::{Actor, Change, Expect};
use crate::digest::{Digests, Head, Proof};
use crate::error::{CommitError, RowFault, sqlite};
use crate::format::body::BodyEncoder;
use crate::format::entry::{Effect, Entry, Part, encode_parts};
use crate::format::record::Record;
use crate::limits::{BODY_BYTES_MAX, ENTRY_BYTES_MAX, LABELS_MAX, TEXT_BYTES_MAX};
use crate::row::{Class, Labels, Row, RowKey, RowKind};

/// What an entry is applied with.
pub(crate) struct Applier<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) proof: &'a Proof,
    pub(crate) bodies: &'a mut BodyEncoder,
}

pub(crate) fn write_error(error: rusqlite::Error) -> CommitError {
    match decode_fault(&error) {
        Some(source) => CommitError::Decode { source },
        None => CommitError::Write { source: sqlite(error) },
    }
}

#[derive(Debug)]
pub(crate) struct Draft {
    revision: Revision,
    parts: [Vec<u8>; 3],
    digests: Digests,
    named: HashSet<RowKey>,
}

impl Draft {
    pub(crate) fn new(revision: Revision, digests: Digests) -> Self {
        Self { revision, parts: Default::default(), digests, named: HashSet::new() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    pub(crate) fn names(&self, key: &RowKey) -> bool {
        self.named.contains(key)
    }

    pub(crate) fn apply(&mut self, applier: &mut Applier<'_>, change: Change) -> Result<(), CommitError> {
        match change {
            Change::Put { row, expect } => self.put(applier, row, expect)?,
            Change::Delete { key, expect } => self.delete(applier, key, expect)?,
            Change::RecordStep { run, step, result } => {
                self.put(applier, step_row(run, step, result), Expect::Any)?;
            }
            Change::DropSteps { run } => {
                for key in list_steps(applier.connection, &run)? {
                    self.delete(applier, key, Expect::Any)?;
                }
            }
        }
        match self.bytes() {
            bytes if bytes > ENTRY_BYTES_MAX => Err(CommitError::TooLarge { bytes }),
            _ => Ok(()),
        }
    }

    /// Appends the entry to the journal and returns the head after it.
    pub(crate) fn append(
        self,
        applier: &Applier<'_>,
        previous: [u8; 32],
        at: i64,
        actor: &Actor,
    ) -> Result<Head, CommitError> {
        let Self { revision, parts, digests, named: _ } = self;
        let changes = encode_parts(&parts);
        let mut entry = Entry {
            revision,
            at,
            actor: actor.as_str().to_owned(),
            parts: parts.map(Part::Whole),
            digests,
            previous,
            digest: [0; 32],
        };
        entry.digest = applier.proof.entry(&entry);
        append_entry(applier.connection, &entry, &changes).map_err(write_error)?;
        Ok(Head { revision, digests, chain: entry.digest })
    }

    fn put(&mut self, applier: &mut Applier<'_>, row: Row, expect: Expect) -> Result<(), CommitError> {
        let record = encode_row(row, self.revision, applier.bodies);
        let Some(found) = self.meet(applier.connection, &record.key, expect)? else {
            insert_row(applier.connection, &record).map_err(write_error)?;
            applier.proof.add(&mut self.digests, &record);
            self.note(record.class, &Effect::Created(record));
            return Ok(());
        };
        if is_same(&found.record, &record) {
            return Ok(());
        }
        update_row(applier.connection, &found, &record).map_err(write_error)?;
        let before = found.record;
        applier.proof.remove(&mut self.digests, &before);
        applier.proof.add(&mut self.digests, &record);
        if before.class != record.class {
            self.note(before.class, &Effect::Left(before.key));
        }
        let before = (before.labels != record.labels).then_some(before.labels);
        self.note(record.class, &Effect::Updated { record, before });
        Ok(())
    }

    fn delete(&mut self, applier: &mut Applier<'_>, key: RowKey, expect: Expect) -> Result<(), CommitError> {
        let Some(found) = self.meet(applier.connection, &key, expect)? else { return Ok(()) };
        delete_row(applier.connection, &found).map_err(write_error)?;
        applier.proof.remove(&mut self.digests, &found.record);
        self.note(found.record.class, &Effect::Deleted(found.record));
        Ok(())
    }

    /// The row under a key, after the change's expectation was held against it.
    fn meet(
        &mut self,
        connection: &Connection,
        key: &RowKey,
        expected: Expect,
    ) -> Result<Option<Found>, CommitError> {
        if !self.named.insert(key.clone()) {
            return Err(CommitError::Refuse { key: key.clone(), why: RowFault::Twice });
        }
        let row = find_row(connection, key).map_err(write_error)?;
        let found = row.as_ref().map(|found| found.record.revision);
        if !expected.holds(found) {
            return Err(CommitError::Conflict { key: key.clone(), expected, found });
        }
        Ok(row)
    }

    fn note(&mut self, class: Class, effect: &Effect) {
        effect.append_to(&mut self.parts[class.index()]);
    }
}

/// Whether a put would change nothing.
fn is_same(found: &Record, wanted: &Record) -> bool {
    let Record { key: _, uid, labels, created, class, revision: _, body } = found;
    *uid == wanted.uid
        && *labels == wanted.labels
        && *created == wanted.created
        && *class == wanted.class
        && *body == wanted.body
}

fn encode_row(row: Row, revision: Revision, bodies: &mut BodyEncoder) -> Record {
    let Row { kind, namespace, name, uid, labels, created, class, body } = row;
    Record {
        key: RowKey { kind, namespace, name },
        uid,
        labels,
        created: created.as_microsecond(),
        class,
        revision,
        body: bodies.encode(&body),
    }
}

/// A step says when by its revision; its row has no time of its own, so that doing it again changes nothing.
fn step_row(run: String, step: String, result: Vec<u8>) -> Row {
    Row {
        kind: RowKind::new(RowKind::STEPS),
        namespace: run,
        name: step,
        uid: String::new(),
        labels: Labels::new(),
        created: jiff::Timestamp::UNIX_EPOCH,
        class: Class::Derived,
        body: result,
    }
}

fn list_steps(connection: &Connection, run: &str) -> Result<Vec<RowKey>, CommitError> {
    let mut statement =
        connection.prepare_cached(include_str!("../sql/objects/list_namespace.sql")).map_err(write_error)?;
    let rows = statement.query_map([RowKind::STEPS, run, ""], read_row).map_err(write_error)?;
    rows.map(|found| found.map(|found| found.record.key)).collect::<Result<_, _>>().map_err(write_error)
}

/// Refuses what could not be encoded, before it waits for the writer.
pub(crate) fn check(change: &Change) -> Result<(), CommitError> {
    let (key, fault) = match change {
        Change::Put { row, expect: _ } => (row.key(), row_fault(row)),
        Change::Delete { key, expect: _ } => (key.clone(), key_fault(key)),
        Change::RecordStep { run, step, result } => {
            let key = RowKey::new(RowKind::new(RowKind::STEPS), run, step);
            let fault = text_fault(&[run, step]).or(body_fault(result));
            let nameless = run.is_empty() || step.is_empty();
            (key, if nameless { Some(RowFault::Nameless) } else { fault })
        }
        Change::DropSteps { run } => (RowKey::new(RowKind::new(RowKind::STEPS), run, ""), text_fault(&[run])),
    };
    fault.map_or(Ok(()), |why| Err(CommitError::Refuse { key, why }))
}

fn row_fault(row: &Row) -> Option<RowFault> {
    let Row { kind: _, namespace: _, name: _, uid, labels, created: _, class: _, body } = row;
    let label_fault = || {
        let mut texts = labels.iter().map(|(key, value)| [key.as_str(), value.as_str()]);
        texts.find_map(|texts| text_fault(&texts))
    };
    let too_many = (labels.len() > LABELS_MAX).then_some(RowFault::TooManyLabels);
    key_fault(&row.key()).or(text_fault(&[uid])).or(too_many).or_else(label_fault).or(body_fault(body))
}

fn key_fault(RowKey { kind, namespace, name }: &RowKey) -> Option<RowFault> {
    match kind.as_str() {
        "" => Some(RowFault::Nameless),
        RowKind::STEPS => Some(RowFault::ReservedKind),
        _ if name.is_empty() => Some(RowFault::Nameless),
        kind => text_fault(&[kind, namespace, name]),
    }
}

fn text_fault(texts: &[&str]) -> Option<RowFault> {
    texts.iter().any(|text| text.len() > TEXT_BYTES_MAX).then_some(RowFault::TextTooLong)
}

fn body_fault(body: &[u8]) -> Option<RowFault> {
    (body.len() > BODY_BYTES_MAX).then_some(RowFault::BodyTooLarge)
}
