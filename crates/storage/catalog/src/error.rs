//! The families of errors: commit, read, open, verify, ship, rebuild. Each says what was done to which object.

mod commit;
mod open;
mod read;
mod ship;

use std::sync::Arc;
use std::time::Duration;

use keelson_model::ErrorClass;

pub use self::commit::{CommitError, RowFault};
pub use self::open::{DataDirError, OpenCatalogError, OpenCheck};
pub use self::read::{ReadError, VerifyError};
pub use self::ship::{ReadBaseError, RebuildError, ShipError};

/// How SQLite's own errors are kept: one failure may answer every commit of a group.
pub(crate) type Sqlite = Arc<rusqlite::Error>;

pub(crate) fn sqlite(error: rusqlite::Error) -> Sqlite {
    Arc::new(error)
}

/// What a failure of SQLite means to whoever called.
fn sqlite_class(error: &rusqlite::Error) -> ErrorClass {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorClass::Corrupt,
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly,
        ) => ErrorClass::Unavailable { retry_after: Some(Duration::from_secs(5)) },
        _ => ErrorClass::Bug,
    }
}

fn sqlite_hint(error: &rusqlite::Error) -> Option<String> {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some("free space on the catalog's volume".into()),
        ErrorCode::ReadOnly => Some("make the catalog's volume writable".into()),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(CORRUPT_HINT.into()),
        _ => None,
    }
}

const CORRUPT_HINT: &str =
    "nothing was deleted; keep a copy of the data directory and recover the platform from its location";
