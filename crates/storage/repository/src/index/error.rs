//! What can be wrong with the local copy of the index. Nothing is lost with it: it is made again from the location.

use std::io;
use std::path::PathBuf;

use keelson_model::{Classified, ErrorClass};

/// The local copy of the index could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexCacheError {
    /// The folder for the local copies cannot be made or listed.
    #[error("use '{}' for local copies of indexes", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process keeps its copies there.
    #[error("another process keeps its indexes in '{}'", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("read the local copy of the index in '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file has other content than was written to it.
    #[error("the local copy of the index in '{}' is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("write a local copy of the index to '{}'", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Classified for IndexCacheError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Locked { .. } => ErrorClass::Conflict,
            Self::Folder { .. } | Self::Read { .. } | Self::Damaged { .. } | Self::Write { .. } => {
                ErrorClass::Unavailable { retry_after: None }
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "repository.index_cache.folder",
            Self::Locked { .. } => "repository.index_cache.locked",
            Self::Read { .. } => "repository.index_cache.read",
            Self::Damaged { .. } => "repository.index_cache.damaged",
            Self::Write { .. } => "repository.index_cache.write",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Locked { .. } => Some("stop the other process, or use another folder".to_owned()),
            Self::Read { .. } | Self::Damaged { .. } => {
                Some("try again: the copy is made again from the location; check the disk".to_owned())
            }
            Self::Folder { .. } | Self::Write { .. } => Some(
                "make room on that disk: an index takes about 60 bytes a chunk, twice that in a merge"
                    .to_owned(),
            ),
        }
    }
}
