//! Connections, their settings, and the migrations that bring a file to the schema of this version.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Transaction};

use crate::limits::{BUSY_TIMEOUT, READER_CACHE_KIB, WAL_BYTES_KEPT, WAL_PAGES, WRITER_CACHE_KIB};

/// Written into the file's header: "KLSN".
pub(crate) const APPLICATION_ID: i64 = 0x4b4c_534e;

/// Forward only. The schema's version is the number of migrations that were applied.
const MIGRATIONS: &[&str] = &[
    include_str!("../sql/migrations/0001_tables.sql"),
    include_str!("../sql/migrations/0002_ordered_labels_and_counts.sql"),
];

pub(crate) const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// Statements kept prepared by each connection; there are fewer.
const STATEMENTS_KEPT: usize = 32;

/// Opens the file for writing; makes it where it is absent and `OpenFlags` allow it.
pub(crate) fn open_writer(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection, WRITER_CACHE_KIB)?;
    Ok(connection)
}

/// Every commit is on the disk before it is acknowledged.
pub(crate) fn make_durable(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)
}

pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection, READER_CACHE_KIB)?;
    Ok(connection)
}

fn configure(connection: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

pub(crate) fn application_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Applies what is missing, in the caller's transaction.
pub(crate) fn migrate(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let from = usize::try_from(version(transaction)?).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(from) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_waits_for_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let connection = open_writer(&path, OpenFlags::SQLITE_OPEN_CREATE).unwrap();
        make_durable(&connection).unwrap();
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0));
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        assert_eq!(pragma("journal_mode").unwrap(), "wal");
        assert_eq!(number("synchronous").unwrap(), 2, "FULL");
    }

    #[test]
    fn rows_of_the_first_version_are_counted_and_found_by_their_labels() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let rows = "INSERT INTO objects (id, kind, namespace, name, uid, labels, created, version, class, body) VALUES
            (1, 'points', 'shop', 'b', '', x'', 0, 0, 0, x''), (2, 'points', 'shop', 'a', '', x'', 0, 0, 0, x''),
            (3, 'points', 'blog', 'a', '', x'', 0, 0, 0, x''), (4, 'actions', 'shop', 'a', '', x'', 0, 0, 0, x'');
            INSERT INTO object_labels (label, object) VALUES (7, 1), (7, 2), (8, 3)";
        connection.execute_batch(rows).unwrap();
        let mut connection = connection;
        let transaction = connection.transaction().unwrap();
        migrate(&transaction).unwrap();
        let text = |statement| transaction.query_row(statement, [], |row| row.get::<_, String>(0)).unwrap();
        let labels = "SELECT group_concat(label || namespace || name || object, ' ') FROM object_labels";
        assert_eq!(text(labels), "7shopa2 7shopb1 8bloga3");
        let counts = "SELECT group_concat(kind || namespace || objects, ' ') FROM object_counts";
        assert_eq!(text(counts), "actionsshop1 pointsblog1 pointsshop2");
        assert_eq!(version(&transaction).unwrap(), SCHEMA_VERSION);
    }

    #[test]
    fn a_reader_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let mut connection = open_writer(&path, OpenFlags::SQLITE_OPEN_CREATE).unwrap();
        let transaction = connection.transaction().unwrap();
        migrate(&transaction).unwrap();
        transaction.commit().unwrap();
        let reader = open_reader(&path).unwrap();
        assert!(reader.execute_batch("DELETE FROM meta").is_err());
    }
}
