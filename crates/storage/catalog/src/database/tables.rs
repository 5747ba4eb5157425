//! The statements, one function each. Whoever calls holds the transaction.

use keelson_model::{Generation, Revision, Sequence};
use rusqlite::types::Type;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row as SqlRow, params};

use crate::digest::Head;
use crate::format::Malformed;
use crate::format::entry::{Entry, decode_parts};
use crate::format::head::{decode_digests, decode_head, encode_digests, encode_head};
use crate::format::record::{Record, decode_labels, decode_revision, encode_labels};
use crate::row::{Class, Labels, RowKey, RowKind};

/// The rows of `meta`.
pub(crate) mod meta {
    /// Revision, digests and chain after the last entry.
    pub(crate) const HEAD: &str = "head";
    /// The entries up to this sequence are cut, as u64.
    pub(crate) const CUT: &str = "cut";
    /// Tells a wrong catalog key.
    pub(crate) const FINGERPRINT: &str = "fingerprint";
    /// The catalog key as the caller wrapped it.
    pub(crate) const WRAPPED_KEY: &str = "wrapped_key";
    /// Where a recovered catalog came from.
    pub(crate) const ORIGIN: &str = "origin";
    /// The generation whose number the folder bears, as u32, once the catalog went on to a later one.
    pub(crate) const MADE_IN: &str = "made_in";
}

/// A row and its number in the table.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: i64,
    pub(crate) record: Record,
}

pub(crate) fn find_meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached(include_str!("../sql/meta/find.sql"))?;
    statement.query_row([name], |row| row.get(0)).optional()
}

pub(crate) fn put_meta(connection: &Connection, name: &str, value: &[u8]) -> rusqlite::Result<()> {
    connection.prepare_cached(include_str!("../sql/meta/put.sql"))?.execute(params![name, value])?;
    Ok(())
}

pub(crate) fn find_head(connection: &Connection) -> rusqlite::Result<Head> {
    let bytes = find_meta(connection, meta::HEAD)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    decode_head(&bytes).map_err(malformed)
}

pub(crate) fn put_head(connection: &Connection, head: &Head) -> rusqlite::Result<()> {
    put_meta(connection, meta::HEAD, &encode_head(head))
}

/// The last sequence number that was cut from the journal.
pub(crate) fn find_cut(connection: &Connection) -> rusqlite::Result<u64> {
    let Some(bytes) = find_meta(connection, meta::CUT)? else { return Ok(0) };
    let bytes = bytes.try_into().map_err(|_| malformed(Malformed::bytes("cut")))?;
    Ok(u64::from_le_bytes(bytes))
}

pub(crate) fn append_entry(connection: &Connection, entry: &Entry, changes: &[u8]) -> rusqlite::Result<()> {
    connection.prepare_cached(include_str!("../sql/journal/append.sql"))?.execute(params![
        entry.revision.sequence().0 as i64,
        entry.at,
        entry.actor,
        changes,
        encode_digests(&entry.digests),
        entry.previous,
        entry.digest,
    ])?;
    Ok(())
}

/// The statement that lists entries after a sequence number; each row is read by `read_entry`.
pub(crate) fn entries_after(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(include_str!("../sql/journal/list_after.sql"))
}

/// An entry and how many bytes of changes it has.
pub(crate) fn read_entry(row: &SqlRow<'_>, generation: Generation) -> rusqlite::Result<(Entry, usize)> {
    let sequence = u64::try_from(row.get::<_, i64>(0)?).ok().filter(|&number| number <= Sequence::MAX.0);
    let sequence = sequence.ok_or(malformed(Malformed::bytes("sequence number")))?;
    let changes = row.get_ref(3)?.as_blob()?;
    let entry = Entry {
        revision: Revision::new(generation, Sequence(sequence)),
        at: row.get(1)?,
        actor: row.get(2)?,
        parts: decode_parts(changes).map_err(malformed)?,
        digests: decode_digests(row.get_ref(4)?.as_blob()?).map_err(malformed)?,
        previous: row.get(5)?,
        digest: row.get(6)?,
    };
    Ok((entry, changes.len()))
}

pub(crate) fn find_row(connection: &Connection, key: &RowKey) -> rusqlite::Result<Option<Found>> {
    let mut statement = connection.prepare_cached(include_str!("../sql/objects/find.sql"))?;
    statement.query_row(params![key.kind.as_str(), key.namespace, key.name], read_row).optional()
}

pub(crate) fn insert_row(connection: &Connection, record: &Record) -> rusqlite::Result<()> {
    let Record { key, uid, labels, created, class, revision, body } = record;
    connection.prepare_cached(include_str!("../sql/objects/insert.sql"))?.execute(params![
        key.kind.as_str(),
        key.namespace,
        key.name,
        uid,
        encode_labels(labels),
        created,
        revision.as_u64() as i64,
        class.to_byte(),
        body,
    ])?;
    insert_labels(connection, key, labels, connection.last_insert_rowid())?;
    let counted = [key.kind.as_str(), &key.namespace];
    connection.prepare_cached(include_str!("../sql/object_counts/add.sql"))?.execute(counted)?;
    Ok(())
}

pub(crate) fn update_row(connection: &Connection, found: &Found, record: &Record) -> rusqlite::Result<()> {
    let Record { key, uid, labels, created, class, revision, body } = record;
    connection.prepare_cached(include_str!("../sql/objects/update.sql"))?.execute(params![
        found.id,
        uid,
        encode_labels(labels),
        created,
        revision.as_u64() as i64,
        class.to_byte(),
        body,
    ])?;
    if found.record.labels != *labels {
        delete_labels(connection, found)?;
        insert_labels(connection, key, labels, found.id)?;
    }
    Ok(())
}

pub(crate) fn delete_row(connection: &Connection, found: &Found) -> rusqlite::Result<()> {
    connection.prepare_cached(include_str!("../sql/objects/delete.sql"))?.execute([found.id])?;
    let RowKey { kind, namespace, name: _ } = &found.record.key;
    let counted = [kind.as_str(), namespace];
    connection.prepare_cached(include_str!("../sql/object_counts/subtract.sql"))?.execute(counted)?;
    connection.prepare_cached(include_str!("../sql/object_counts/drop_empty.sql"))?.execute(counted)?;
    delete_labels(connection, found)
}

fn insert_labels(connection: &Connection, row: &RowKey, labels: &Labels, id: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(include_str!("../sql/object_labels/insert.sql"))?;
    for (key, value) in labels {
        statement.execute(params![hash_label(&row.kind, key, value), row.namespace, row.name, id])?;
    }
    Ok(())
}

fn delete_labels(connection: &Connection, found: &Found) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(include_str!("../sql/object_labels/delete.sql"))?;
    let row = &found.record.key;
    for (key, value) in &found.record.labels {
        statement.execute(params![hash_label(&row.kind, key, value), row.namespace, row.name, found.id])?;
    }
    Ok(())
}

/// How many rows of a kind there are, in a namespace or in all.
pub(crate) fn count_rows(
    connection: &Connection,
    kind: &RowKind,
    namespace: Option<&str>,
) -> rusqlite::Result<u64> {
    let count: i64 = match namespace {
        None => connection
            .prepare_cached(include_str!("../sql/object_counts/sum_kind.sql"))?
            .query_row([kind.as_str()], |row| row.get(0))?,
        Some(namespace) => connection
            .prepare_cached(include_str!("../sql/object_counts/find.sql"))?
            .query_row([kind.as_str(), namespace], |row| row.get(0))?,
    };
    Ok(u64::try_from(count).unwrap_or(0))
}

/// How many rows bear the label, at most `max`.
pub(crate) fn count_label(connection: &Connection, label: i64, max: usize) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached(include_str!("../sql/object_labels/count.sql"))?;
    let count: i64 = statement.query_row([label, max as i64], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(max))
}

/// FNV-1a. Rows whose labels collide are told apart by the labels themselves.
pub(crate) fn hash_label(kind: &RowKind, key: &str, value: &str) -> i64 {
    let parts = [kind.as_str(), "\0", key, "\0", value];
    let hash = parts.iter().flat_map(|part| part.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.cast_signed()
}

/// Reads a row of any statement that selects the columns of `objects` in their order.
pub(crate) fn read_row(row: &SqlRow<'_>) -> rusqlite::Result<Found> {
    let kind = RowKind::new(row.get::<_, String>(1)?);
    let version: i64 = row.get(7)?;
    let record = Record {
        key: RowKey { kind, namespace: row.get(2)?, name: row.get(3)? },
        uid: row.get(4)?,
        labels: decode_labels(row.get_ref(5)?.as_blob()?).map_err(malformed)?,
        created: row.get(6)?,
        revision: u64::try_from(version)
            .ok()
            .and_then(decode_revision)
            .ok_or(malformed(Malformed::bytes("version")))?,
        class: Class::from_byte(row.get(8)?).ok_or(malformed(Malformed::bytes("class")))?,
        body: row.get(9)?,
    };
    Ok(Found { id: row.get(0)?, record })
}

/// A stored value that does not decode, on its way through SQLite's error; `decode_fault` finds it again.
pub(crate) fn malformed(source: Malformed) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(source))
}

/// The malformed value behind an error, if it is one.
pub(crate) fn decode_fault(error: &rusqlite::Error) -> Option<Malformed> {
    match error {
        rusqlite::Error::FromSqlConversionFailure(_, _, source) => source.downcast_ref().copied(),
        rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..) => {
            Some(Malformed::bytes("column"))
        }
        _ => None,
    }
}
