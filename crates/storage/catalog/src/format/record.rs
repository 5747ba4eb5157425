//! The bytes of one row: what the digests are taken over and what entries and bases carry.

use jiff::Timestamp;
use keelson_model::{Generation, Revision, Sequence};

use super::Malformed;
use super::body::BodyDecoder;
use super::bytes::{Reader, Writer};
use crate::limits::LABELS_MAX;
use crate::row::{Class, Labels, Row, RowKey, RowKind, Stored, weigh};

/// A row as it is stored: body compressed, creation time in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: RowKey,
    pub(crate) uid: String,
    pub(crate) labels: Labels,
    pub(crate) created: i64,
    pub(crate) class: Class,
    pub(crate) revision: Revision,
    pub(crate) body: Vec<u8>,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer(Vec::with_capacity(256 + self.body.len()));
        self.write(&mut writer);
        writer.0
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { key, uid, labels, created, class, revision, body } = self;
        write_key(writer, key);
        writer.text(uid);
        writer.u8(class.to_byte());
        writer.u64(revision.as_u64());
        writer.i64(*created);
        write_labels(writer, labels);
        writer.blob(body);
    }

    /// About how many bytes of memory the row takes as it is stored.
    pub(crate) fn weight(&self) -> usize {
        weigh(&self.body, &self.labels)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("row", bytes);
        let record = Self::read(&mut reader)?;
        reader.end()?;
        Ok(record)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let key = read_key(reader)?;
        let uid = reader.text()?.to_owned();
        let class = Class::from_byte(reader.u8()?).ok_or(reader.malformed())?;
        let revision = decode_revision(reader.u64()?).ok_or(reader.malformed())?;
        let created = reader.i64()?;
        let labels = read_labels(reader)?;
        let body = reader.blob()?.to_vec();
        Ok(Self { key, uid, labels, created, class, revision, body })
    }

    /// The row as its writer knows it.
    pub(crate) fn into_stored(self, bodies: &mut BodyDecoder) -> Result<Stored, Malformed> {
        let Self { key: RowKey { kind, namespace, name }, uid, labels, created, class, revision, body } =
            self;
        let created = decode_time(created)?;
        let body = bodies.decode(&body)?;
        Ok(Stored { row: Row { kind, namespace, name, uid, labels, created, class, body }, revision })
    }
}

pub(crate) fn decode_time(microseconds: i64) -> Result<Timestamp, Malformed> {
    Timestamp::from_microsecond(microseconds).map_err(|_| Malformed::bytes("time"))
}

/// A revision keeps the sign bit clear, so that SQLite and Kubernetes agree on its order.
pub(crate) fn decode_revision(number: u64) -> Option<Revision> {
    let (generation, sequence) = (Generation((number >> 40) as u32), Sequence(number & Sequence::MAX.0));
    (number >> 63 == 0).then(|| Revision::new(generation, sequence))
}

pub(super) fn write_key(writer: &mut Writer, RowKey { kind, namespace, name }: &RowKey) {
    writer.text(kind.as_str());
    writer.text(namespace);
    writer.text(name);
}

pub(super) fn read_key(reader: &mut Reader<'_>) -> Result<RowKey, Malformed> {
    let kind = RowKind::new(reader.text()?);
    Ok(RowKey::new(kind, reader.text()?, reader.text()?))
}

pub(crate) fn encode_labels(labels: &Labels) -> Vec<u8> {
    let mut writer = Writer::default();
    write_labels(&mut writer, labels);
    writer.0
}

pub(crate) fn decode_labels(bytes: &[u8]) -> Result<Labels, Malformed> {
    let mut reader = Reader::new("labels", bytes);
    let labels = read_labels(&mut reader)?;
    reader.end()?;
    Ok(labels)
}

pub(super) fn write_labels(writer: &mut Writer, labels: &Labels) {
    writer.u16(labels.len() as u16);
    for (key, value) in labels {
        writer.text(key);
        writer.text(value);
    }
}

/// Keys ascend, so that one set of labels has one encoding.
pub(super) fn read_labels(reader: &mut Reader<'_>) -> Result<Labels, Malformed> {
    let count = usize::from(reader.u16()?);
    if count > LABELS_MAX {
        return Err(reader.malformed());
    }
    let mut labels = Labels::new();
    for _ in 0..count {
        let (key, value) = (reader.text()?, reader.text()?);
        if labels.last_key_value().is_some_and(|(last, _)| last.as_str() >= key) {
            return Err(reader.malformed());
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}
