//! A catalog in a directory of its own, and rows for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use keelson_catalog::{Actor, Change, Class, DataDir, DataDirError, Database, Labels, Row, RowKey, RowKind};
use keelson_crypto::CatalogKey;
use keelson_model::{Clock, ManualClock, Revision};

pub(crate) const POINTS: &str = "restorepoints.apps.kio.kasten.io";
pub(crate) const ACTIONS: &str = "backupactions.actions.kio.kasten.io";

/// Far longer than any fork takes.
const LOCK_COPY_WAIT: Duration = Duration::from_secs(120);

pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) key: CatalogKey,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap()));
        Self { directory: tempfile::tempdir().unwrap(), clock, key: CatalogKey::generate() }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn file(&self, generation: u32) -> PathBuf {
        self.path().join(generation.to_string()).join("catalog.sqlite")
    }

    /// Another test that starts a process holds a copy of our lock from its fork to its exec: a moment.
    pub(crate) fn data_dir(&self) -> DataDir {
        let begun = Instant::now();
        loop {
            match DataDir::open(&self.path(), self.clock()) {
                Err(DataDirError::Locked { .. }) if begun.elapsed() < LOCK_COPY_WAIT => yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    /// A first catalog. The directory's lock is held as long as the directory is.
    pub(crate) fn create(&self) -> (DataDir, Database) {
        let data_dir = self.data_dir();
        let database = data_dir.create_first(&self.key, b"wrapped").unwrap();
        (data_dir, database)
    }
}

pub(crate) fn actor() -> Actor {
    Actor::new("test")
}

pub(crate) fn kind(name: &str) -> RowKind {
    RowKind::new(name)
}

pub(crate) fn key(name: &str) -> RowKey {
    RowKey::new(kind(POINTS), "shop", name)
}

pub(crate) fn row(name: &str) -> Row {
    row_in(POINTS, "shop", name, Class::Configuration)
}

pub(crate) fn row_in(of: &str, namespace: &str, name: &str, class: Class) -> Row {
    Row {
        kind: kind(of),
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        labels: Labels::new(),
        created: created(),
        class,
        body: format!(r#"{{"spec":{{}},"status":{{"state":"Bound","name":"{name}"}}}}"#).into_bytes(),
    }
}

pub(crate) fn labelled(mut row: Row, labels: &[(&str, &str)]) -> Row {
    row.labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    row
}

pub(crate) fn with_body(mut row: Row, body: &str) -> Row {
    row.body = body.as_bytes().to_vec();
    row
}

pub(crate) fn created() -> Timestamp {
    "2026-01-01T00:00:00.123456Z".parse().unwrap()
}

pub(crate) fn put(database: &Database, row: Row) -> Revision {
    database.commit(&actor(), vec![Change::put(row)]).unwrap()
}

pub(crate) fn delete(database: &Database, key: RowKey) -> Revision {
    database.commit(&actor(), vec![Change::delete(key)]).unwrap()
}

/// Changes a byte wherever `needle` stands in a file.
pub(crate) fn flip_in_file(path: &Path, needle: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let found: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(needle)).collect();
    assert!(!found.is_empty());
    for at in found {
        bytes[at + needle.len() / 2] ^= 1;
    }
    std::fs::write(path, bytes).unwrap();
}
