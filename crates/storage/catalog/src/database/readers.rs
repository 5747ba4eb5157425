//! A small pool of reading connections. Each read sees one snapshot.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

use rusqlite::{Connection, Transaction};

use super::lookup::query_error;
use super::schema;
use crate::error::ReadError;
use crate::format::body::BodyDecoder;
use crate::limits::READERS_MAX;

#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    bodies: BodyDecoder,
}

impl Reader {
    pub(super) fn open(path: &std::path::Path) -> Result<Self, ReadError> {
        let connection = schema::open_reader(path).map_err(query_error)?;
        Ok(Self { connection, bodies: BodyDecoder::new() })
    }

    /// Runs `read` on one snapshot of the catalog.
    pub(super) fn read<T, E: From<ReadError>>(
        &mut self,
        read: impl FnOnce(&Transaction<'_>, &mut BodyDecoder) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = self.connection.transaction().map_err(query_error)?;
        read(&transaction, &mut self.bodies)
    }
}

#[derive(Debug, Default)]
struct Idle {
    readers: Vec<Reader>,
    lent: usize,
}

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Idle>,
    returned: Condvar,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), returned: Condvar::new() }
    }

    /// Waits for a reader where all are lent.
    pub(super) fn read<T, E: From<ReadError>>(
        &self,
        read: impl FnOnce(&Transaction<'_>, &mut BodyDecoder) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut lent = self.lend();
        let mut reader = match lent.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.path)?,
        };
        let outcome = reader.read(read);
        lent.reader = Some(reader);
        outcome
    }

    /// A reader of its own, for what takes long.
    pub(super) fn open(&self) -> Result<Reader, ReadError> {
        Reader::open(&self.path)
    }

    fn lend(&self) -> Lent<'_> {
        let mut idle = self
            .returned
            .wait_while(self.lock(), |idle| idle.lent == READERS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        idle.lent += 1;
        Lent { reader: idle.readers.pop(), of: self }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the pool; given back even if the read panics, and then without its reader.
struct Lent<'a> {
    reader: Option<Reader>,
    of: &'a Readers,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut idle = self.of.lock();
        idle.lent -= 1;
        idle.readers.extend(self.reader.take());
        drop(idle);
        self.of.returned.notify_one();
    }
}
