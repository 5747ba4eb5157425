//! Creates and opens a catalog's file. Nothing here removes or replaces a file that is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keelson_model::{Clock, Generation, Revision, Sequence};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::published::Published;
use super::readers::Readers;
use super::tables::{find_head, find_meta, meta, put_head, put_meta};
use super::verify::verify_chain_after;
use super::writer::WriterHandle;
use super::{Database, Inner, schema};
use crate::digest::{Digests, Head, Proof};
use crate::error::{OpenCatalogError, OpenCheck, VerifyError, sqlite};
use crate::limits::TAIL_ENTRIES_CHECKED;

/// What makes an opened file a running database.
pub(crate) struct Opening<'a> {
    pub(crate) path: &'a Path,
    pub(crate) proof: Arc<Proof>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Opening<'_> {
    /// Makes a new catalog. The file must not be there.
    pub(crate) fn create(
        self,
        generation: Generation,
        wrapped_key: &[u8],
    ) -> Result<Database, OpenCatalogError> {
        if self.path.exists() {
            return Err(OpenCatalogError::Exists { path: self.path.to_owned() });
        }
        let fail = |error| self.sqlite_error(error);
        let mut connection = schema::open_writer(self.path, OpenFlags::SQLITE_OPEN_CREATE).map_err(fail)?;
        schema::make_durable(&connection).map_err(fail)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        schema::migrate(&transaction).map_err(fail)?;
        let head = Head {
            revision: Revision::new(generation, Sequence(0)),
            digests: Digests::default(),
            chain: self.proof.genesis(generation),
        };
        put_head(&transaction, &head).map_err(fail)?;
        put_meta(&transaction, meta::FINGERPRINT, &self.proof.fingerprint()).map_err(fail)?;
        put_meta(&transaction, meta::WRAPPED_KEY, wrapped_key).map_err(fail)?;
        transaction.commit().map_err(fail)?;
        self.start(connection, head)
    }

    /// Opens the catalog of a generation, after the checks that take no longer the more it holds.
    pub(crate) fn open(self, generation: Generation) -> Result<Database, OpenCatalogError> {
        let fail = |error| self.sqlite_error(error);
        let mut connection = open_existing(self.path)?;
        schema::make_durable(&connection).map_err(fail)?;
        if schema::version(&connection).map_err(fail)? < schema::SCHEMA_VERSION {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
            schema::migrate(&transaction).map_err(fail)?;
            transaction.commit().map_err(fail)?;
        }
        let fingerprint = find_meta(&connection, meta::FINGERPRINT).map_err(fail)?;
        if fingerprint.ok_or(self.corrupt(OpenCheck::Meta))? != self.proof.fingerprint() {
            return Err(OpenCatalogError::WrongKey { path: self.path.to_owned() });
        }
        let head = find_head(&connection).map_err(|_| self.corrupt(OpenCheck::Meta))?;
        let made_in = find_meta(&connection, meta::MADE_IN).map_err(fail)?;
        let made_in = made_in.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        if made_in.map_or(head.revision.generation(), Generation) != generation {
            return Err(self.corrupt(OpenCheck::Generation));
        }
        self.check_tail(&connection, &head)?;
        self.start(connection, head)
    }

    fn check_tail(&self, connection: &Connection, head: &Head) -> Result<(), OpenCatalogError> {
        let cut = super::tables::find_cut(connection).map_err(|_| self.corrupt(OpenCheck::Meta))?;
        let after = head.revision.sequence().0.saturating_sub(TAIL_ENTRIES_CHECKED).max(cut);
        match verify_chain_after(connection, &self.proof, Sequence(after)) {
            Ok(_) => Ok(()),
            Err(VerifyError::Chain { at }) if at == head.revision.sequence() => {
                Err(self.corrupt(OpenCheck::Head))
            }
            Err(VerifyError::Read { source: crate::error::ReadError::Query { source } }) => {
                Err(sqlite_error(self.path, source))
            }
            Err(_) => Err(self.corrupt(OpenCheck::Tail)),
        }
    }

    pub(crate) fn start(self, connection: Connection, head: Head) -> Result<Database, OpenCatalogError> {
        let published = Arc::new(Published::new(head));
        let writer =
            WriterHandle::start(connection, Arc::clone(&self.proof), self.clock, Arc::clone(&published))
                .map_err(|source| OpenCatalogError::File { path: self.path.to_owned(), source })?;
        let readers = Readers::new(self.path.to_owned());
        Ok(Database(Arc::new(Inner { readers, published, proof: self.proof, writer })))
    }

    fn corrupt(&self, check: OpenCheck) -> OpenCatalogError {
        OpenCatalogError::Corrupt { path: self.path.to_owned(), check }
    }

    fn sqlite_error(&self, error: rusqlite::Error) -> OpenCatalogError {
        sqlite_error(self.path, sqlite(error))
    }
}

/// The catalog key as it was wrapped when the file was made; readable without the key.
pub(crate) fn read_wrapped_key(path: &Path) -> Result<Vec<u8>, OpenCatalogError> {
    let connection = open_existing(path)?;
    let wrapped =
        find_meta(&connection, meta::WRAPPED_KEY).map_err(|error| sqlite_error(path, sqlite(error)))?;
    wrapped.ok_or(OpenCatalogError::Corrupt { path: path.to_owned(), check: OpenCheck::Meta })
}

/// Opens a file that must be there, be ours, and be of a format that we know.
fn open_existing(path: &Path) -> Result<Connection, OpenCatalogError> {
    if !path.exists() {
        return Err(OpenCatalogError::Absent { path: PathBuf::from(path) });
    }
    let fail = |error| sqlite_error(path, sqlite(error));
    let connection = schema::open_writer(path, OpenFlags::empty()).map_err(fail)?;
    if schema::application_id(&connection).map_err(fail)? != schema::APPLICATION_ID {
        return Err(OpenCatalogError::Corrupt { path: path.to_owned(), check: OpenCheck::Application });
    }
    let found = schema::version(&connection).map_err(fail)?;
    if found > schema::SCHEMA_VERSION {
        let supported = schema::SCHEMA_VERSION;
        return Err(OpenCatalogError::NewerFormat { path: path.to_owned(), found, supported });
    }
    Ok(connection)
}

fn sqlite_error(path: &Path, source: Arc<rusqlite::Error>) -> OpenCatalogError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenCatalogError::Corrupt { path, check: OpenCheck::Application },
        Some(ErrorCode::DatabaseCorrupt) => OpenCatalogError::Corrupt { path, check: OpenCheck::Pages },
        _ => OpenCatalogError::Sqlite { path, source },
    }
}
