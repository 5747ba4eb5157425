//! Why a catalog or its data directory could not be opened.

use std::io::ErrorKind;
use std::path::PathBuf;

use keelson_model::{Classified, ErrorClass, Generation};

use super::{CORRUPT_HINT, Sqlite, sqlite_class, sqlite_hint};

/// The first check that a catalog failed when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenCheck {
    #[error("the file CURRENT names no generation")]
    Current,
    #[error("the generation that CURRENT names has no file")]
    File,
    #[error("generations are there, but the file CURRENT that names the valid one is not")]
    CurrentMissing,
    #[error("the file is not a database of ours")]
    Application,
    #[error("SQLite cannot read the file")]
    Pages,
    #[error("the catalog's own record of its head is missing or malformed")]
    Meta,
    #[error("the file holds another generation than its folder says")]
    Generation,
    #[error("the tail of the journal does not fit its chain")]
    Tail,
    #[error("the journal does not end at the recorded head")]
    Head,
}

/// A catalog that could not be opened. Opening never deletes anything.
#[derive(Debug, thiserror::Error)]
pub enum OpenCatalogError {
    #[error("no catalog in '{}'", path.display())]
    Absent { path: PathBuf },
    #[error("catalog '{}' is corrupt", path.display())]
    Corrupt {
        path: PathBuf,
        #[source]
        check: OpenCheck,
    },
    #[error("catalog '{}' has format {found}, this version knows formats up to {supported}", path.display())]
    NewerFormat { path: PathBuf, found: i64, supported: i64 },
    #[error("the key does not belong to catalog '{}'", path.display())]
    WrongKey { path: PathBuf },
    #[error("a catalog is already there: '{}'", path.display())]
    Exists { path: PathBuf },
    #[error("open catalog '{}'", path.display())]
    Sqlite {
        path: PathBuf,
        #[source]
        source: Sqlite,
    },
    #[error("prepare '{}'", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Classified for OpenCatalogError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Absent { .. } => ErrorClass::NotFound,
            Self::Corrupt { .. } => ErrorClass::Corrupt,
            Self::NewerFormat { .. } => ErrorClass::Invalid,
            Self::WrongKey { .. } => ErrorClass::Denied,
            Self::Exists { .. } => ErrorClass::Conflict,
            Self::Sqlite { source, .. } => sqlite_class(source),
            Self::File { .. } => ErrorClass::Unavailable { retry_after: None },
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "catalog.open.absent",
            Self::Corrupt { .. } => "catalog.open.corrupt",
            Self::NewerFormat { .. } => "catalog.open.newer_format",
            Self::WrongKey { .. } => "catalog.open.wrong_key",
            Self::Exists { .. } => "catalog.open.exists",
            Self::Sqlite { .. } => "catalog.open.sqlite",
            Self::File { .. } => "catalog.open.file",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Corrupt { .. } => Some(CORRUPT_HINT.into()),
            Self::NewerFormat { .. } => Some("start the version that wrote it, or a newer one".into()),
            Self::WrongKey { .. } => {
                Some("put back the instance secret that belongs to this volume, or recover".into())
            }
            Self::Sqlite { source, .. } => sqlite_hint(source),
            Self::Absent { .. } | Self::Exists { .. } | Self::File { .. } => None,
        }
    }
}

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("data directory '{}' is on a network file system ({file_system})", path.display())]
    NetworkFileSystem { path: PathBuf, file_system: &'static str },
    #[error("data directory '{}' is in use by another process, which holds '{}'", path.display(), lock.display())]
    Locked { path: PathBuf, lock: PathBuf },
    #[error("use data directory '{}'", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("generation {} is the one in use", generation.0)]
    InUse { generation: Generation },
    #[error("generation {} does not follow generation {}, which is in use", wanted.0, current.0)]
    NotNext { wanted: Generation, current: Generation },
    #[error("another recovery is being built in data directory '{}'", path.display())]
    Rebuilding { path: PathBuf },
    #[error("open the catalog")]
    Open {
        #[source]
        source: Box<OpenCatalogError>,
    },
}

impl Classified for DataDirError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NetworkFileSystem { .. } => ErrorClass::Invalid,
            Self::Locked { .. } | Self::InUse { .. } | Self::NotNext { .. } | Self::Rebuilding { .. } => {
                ErrorClass::Conflict
            }
            Self::File { source, .. } => match source.kind() {
                ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::InvalidFilename => {
                    ErrorClass::Invalid
                }
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ErrorClass::Denied,
                _ => ErrorClass::Unavailable { retry_after: None },
            },
            Self::Open { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NetworkFileSystem { .. } => "catalog.data_dir.network_file_system",
            Self::Locked { .. } => "catalog.data_dir.locked",
            Self::File { .. } => "catalog.data_dir.file",
            Self::InUse { .. } => "catalog.data_dir.in_use",
            Self::NotNext { .. } => "catalog.data_dir.not_next",
            Self::Rebuilding { .. } => "catalog.data_dir.rebuilding",
            Self::Open { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NetworkFileSystem { .. } => Some(
                "the catalog needs shared memory and true fsync: use a block volume or a local directory"
                    .into(),
            ),
            Self::Locked { .. } => Some("stop the other process, or give this one its own directory".into()),
            Self::Open { source } => source.hint(),
            Self::Rebuilding { .. } => Some("wait for it to end".into()),
            Self::File { .. } => {
                Some("the directory must lie on a local disk with room, and this process must own it".into())
            }
            Self::InUse { .. } | Self::NotNext { .. } => None,
        }
    }
}
