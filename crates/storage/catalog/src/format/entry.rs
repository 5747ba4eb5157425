//! The bytes of a journal entry: who changed what when, in one part per class, and the state after it.

use keelson_model::Revision;

use super::Malformed;
use super::bytes::{Reader, Writer};
use super::head::{read_digests, write_digests};
use super::record::{Record, decode_revision, read_key, read_labels, write_key, write_labels};
use crate::digest::{Digests, Proof};
use crate::limits::ACTOR_BYTES_MAX;
use crate::row::{Class, Labels, RowKey, Scope};

/// What an entry did to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Created(Record),
    /// `before` is absent where the labels stayed as they were.
    Updated {
        record: Record,
        before: Option<Labels>,
    },
    /// The whole last row: for watches, and so that the journal can tell what was there.
    Deleted(Record),
    /// The row went on to another class, whose part has its `Updated`.
    Left(RowKey),
}

const CREATED: u8 = 1;
const UPDATED: u8 = 2;
const RELABELLED: u8 = 3;
const DELETED: u8 = 4;
const LEFT: u8 = 5;

impl Effect {
    pub(crate) fn append_to(&self, part: &mut Vec<u8>) {
        let mut writer = Writer(std::mem::take(part));
        match self {
            Self::Created(record) => {
                writer.u8(CREATED);
                record.write(&mut writer);
            }
            Self::Updated { record, before: None } => {
                writer.u8(UPDATED);
                record.write(&mut writer);
            }
            Self::Updated { record, before: Some(before) } => {
                writer.u8(RELABELLED);
                record.write(&mut writer);
                write_labels(&mut writer, before);
            }
            Self::Deleted(record) => {
                writer.u8(DELETED);
                record.write(&mut writer);
            }
            Self::Left(key) => {
                writer.u8(LEFT);
                write_key(&mut writer, key);
            }
        }
        *part = writer.0;
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            CREATED => Self::Created(Record::read(reader)?),
            UPDATED => Self::Updated { record: Record::read(reader)?, before: None },
            RELABELLED => Self::Updated { record: Record::read(reader)?, before: Some(read_labels(reader)?) },
            DELETED => Self::Deleted(Record::read(reader)?),
            LEFT => Self::Left(read_key(reader)?),
            _ => return Err(reader.malformed()),
        })
    }

    fn fits(&self, class: Class, revision: Revision) -> bool {
        match self {
            Self::Created(record) | Self::Updated { record, before: _ } => {
                record.class == class && record.revision == revision
            }
            Self::Deleted(record) => record.class == class && record.revision < revision,
            Self::Left(_) => true,
        }
    }
}

/// The changes of one class, whole or as their digest alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Whole(Vec<u8>),
    LeftOut([u8; 32]),
}

const PART_LEFT_OUT: u8 = 0;
const PART_WHOLE: u8 = 1;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) revision: Revision,
    /// Microseconds since 1970.
    pub(crate) at: i64,
    pub(crate) actor: String,
    pub(crate) parts: [Part; 3],
    /// The state after the entry.
    pub(crate) digests: Digests,
    pub(crate) previous: [u8; 32],
    pub(crate) digest: [u8; 32],
}

impl Entry {
    pub(crate) fn part_digest(&self, proof: &Proof, class: Class) -> [u8; 32] {
        match &self.parts[class.index()] {
            Part::Whole(changes) => proof.part(class, changes),
            Part::LeftOut(digest) => *digest,
        }
    }

    /// The effects on the rows of a class; none where the class was left out.
    pub(crate) fn effects(&self, class: Class) -> Result<Vec<Effect>, Malformed> {
        let Part::Whole(changes) = &self.parts[class.index()] else { return Ok(Vec::new()) };
        let mut reader = Reader::new("changes of a journal entry", changes);
        let mut effects = Vec::new();
        while !reader.is_empty() {
            let effect = Effect::read(&mut reader)?;
            if !effect.fits(class, self.revision) {
                return Err(reader.malformed());
            }
            effects.push(effect);
        }
        Ok(effects)
    }

    /// The entry as it is shipped: classes beyond the scope become their digest.
    pub(crate) fn reduced_to(mut self, scope: Scope, proof: &Proof) -> Self {
        for class in Class::ALL.into_iter().filter(|&class| !scope.covers(class)) {
            self.parts[class.index()] = Part::LeftOut(self.part_digest(proof, class));
        }
        self
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { revision, at, actor, parts, digests, previous, digest } = self;
        writer.u64(revision.as_u64());
        writer.i64(*at);
        writer.text_within(ACTOR_BYTES_MAX, actor);
        for part in parts {
            match part {
                Part::LeftOut(digest) => {
                    writer.u8(PART_LEFT_OUT);
                    writer.raw(digest);
                }
                Part::Whole(changes) => {
                    writer.u8(PART_WHOLE);
                    writer.blob(changes);
                }
            }
        }
        write_digests(writer, digests);
        writer.raw(previous);
        writer.raw(digest);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            revision: decode_revision(reader.u64()?).ok_or(reader.malformed())?,
            at: reader.i64()?,
            actor: reader.text_within(ACTOR_BYTES_MAX)?.to_owned(),
            parts: [read_part(reader)?, read_part(reader)?, read_part(reader)?],
            digests: read_digests(reader)?,
            previous: reader.array()?,
            digest: reader.array()?,
        })
    }
}

fn read_part(reader: &mut Reader<'_>) -> Result<Part, Malformed> {
    match reader.u8()? {
        PART_LEFT_OUT => reader.array().map(Part::LeftOut),
        PART_WHOLE => reader.blob().map(|changes| Part::Whole(changes.to_vec())),
        _ => Err(reader.malformed()),
    }
}

/// The column `changes` of the journal: the three parts, each with its length.
pub(crate) fn encode_parts(parts: &[Vec<u8>; 3]) -> Vec<u8> {
    let mut writer = Writer::default();
    for part in parts {
        writer.blob(part);
    }
    writer.0
}

pub(crate) fn decode_parts(bytes: &[u8]) -> Result<[Part; 3], Malformed> {
    let mut reader = Reader::new("changes of a journal entry", bytes);
    let mut part = || reader.blob().map(|changes| Part::Whole(changes.to_vec()));
    let parts = [part()?, part()?, part()?];
    reader.end()?;
    Ok(parts)
}
