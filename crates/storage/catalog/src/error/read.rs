//! Why a read gave no answer, and what a verification found.

use std::time::Duration;

use keelson_model::{Classified, ErrorClass, Revision, Sequence};

use super::{CORRUPT_HINT, Sqlite, sqlite_class, sqlite_hint};
use crate::format::Malformed;
use crate::row::Class;

/// A read that gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("revision {since} is older than what the journal keeps, which begins after {oldest}")]
    Expired { since: Revision, oldest: Revision },
    #[error("revision {since} is ahead of the catalog, which is at {head}")]
    AheadOfUs { since: Revision, head: Revision },
    #[error("read the catalog")]
    Query {
        #[source]
        source: Sqlite,
    },
    #[error("decode what the catalog stores")]
    Decode {
        #[source]
        source: Malformed,
    },
}

impl Classified for ReadError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Expired { .. } => ErrorClass::NotFound,
            Self::AheadOfUs { .. } => ErrorClass::Unavailable { retry_after: Some(Duration::from_secs(1)) },
            Self::Query { source } => sqlite_class(source),
            Self::Decode { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "catalog.read.expired",
            Self::AheadOfUs { .. } => "catalog.read.ahead",
            Self::Query { .. } => "catalog.read.query",
            Self::Decode { .. } => "catalog.read.decode",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Query { source } => sqlite_hint(source),
            Self::Decode { .. } => Some(CORRUPT_HINT.into()),
            Self::Expired { .. } => Some("list again and watch from the list's revision".into()),
            Self::AheadOfUs { .. } => None,
        }
    }
}

/// What a verification found to be other than it was written.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("the {class} rows do not add up to the digest of revision {revision}")]
    Digest { class: Class, revision: Revision },
    #[error("the journal's chain breaks at entry {}", at.0)]
    Chain { at: Sequence },
    #[error("SQLite finds the file damaged: {finding}")]
    File { finding: Box<str> },
    #[error("read what is to be verified")]
    Read {
        #[source]
        source: ReadError,
    },
}

impl From<ReadError> for VerifyError {
    fn from(source: ReadError) -> Self {
        Self::Read { source }
    }
}

impl Classified for VerifyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Digest { .. } | Self::Chain { .. } | Self::File { .. } => ErrorClass::Corrupt,
            Self::Read { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Digest { .. } => "catalog.verify.digest",
            Self::Chain { .. } => "catalog.verify.chain",
            Self::File { .. } => "catalog.verify.file",
            Self::Read { .. } => "catalog.verify.read",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(CORRUPT_HINT.into())
    }
}
