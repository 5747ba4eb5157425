//! Why a commit was not acknowledged.

use std::time::Duration;

use keelson_model::{Classified, ErrorClass, Generation, Revision};

use super::{CORRUPT_HINT, Sqlite, sqlite_class, sqlite_hint};
use crate::change::Expect;
use crate::format::Malformed;
use crate::row::RowKey;

/// Why a row cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    #[error("kind and name must not be empty")]
    Nameless,
    #[error("a name, uid or label is longer than 512 bytes")]
    TextTooLong,
    #[error("it has more than 256 labels")]
    TooManyLabels,
    #[error("its body is larger than 8 MiB")]
    BodyTooLarge,
    #[error("the commit names it twice")]
    Twice,
    #[error("its kind is reserved")]
    ReservedKind,
}

/// A commit that was not acknowledged. Nothing of it is stored; after `Write` and `Stopped` alone, the next start
/// may still find it, because the disk or the process failed in the midst of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    #[error("{key} is {}, expected {expected}", found_text(*.found))]
    Conflict { key: RowKey, expected: Expect, found: Option<Revision> },
    #[error("{key} cannot be stored")]
    Refuse {
        key: RowKey,
        #[source]
        why: RowFault,
    },
    #[error("the commit takes {bytes} bytes, {} are allowed", crate::limits::ENTRY_BYTES_MAX)]
    TooLarge { bytes: usize },
    #[error("no sequence number is left in generation {}", generation.0)]
    OutOfSequence { generation: Generation },
    #[error("write to the catalog")]
    Write {
        #[source]
        source: Sqlite,
    },
    #[error("decode a stored row")]
    Decode {
        #[source]
        source: Malformed,
    },
    #[error("more commits wait for the catalog's writer than its queue holds")]
    Busy,
    #[error("a recovery has replaced this catalog")]
    Superseded,
    #[error("the catalog's writer has stopped")]
    Stopped,
}

fn found_text(found: Option<Revision>) -> String {
    found.map_or_else(|| "absent".into(), |revision| format!("at revision {revision}"))
}

impl Classified for CommitError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Conflict { .. } => ErrorClass::Conflict,
            Self::Refuse { .. } | Self::TooLarge { .. } => ErrorClass::Invalid,
            Self::OutOfSequence { .. } => ErrorClass::Bug,
            Self::Write { source } => sqlite_class(source),
            Self::Decode { .. } => ErrorClass::Corrupt,
            Self::Busy | Self::Superseded | Self::Stopped => {
                ErrorClass::Unavailable { retry_after: Some(Duration::from_secs(1)) }
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "catalog.commit.conflict",
            Self::Refuse { .. } => "catalog.commit.refused",
            Self::TooLarge { .. } => "catalog.commit.too_large",
            Self::OutOfSequence { .. } => "catalog.commit.out_of_sequence",
            Self::Write { .. } => "catalog.commit.write",
            Self::Decode { .. } => "catalog.commit.decode",
            Self::Busy => "catalog.commit.busy",
            Self::Superseded => "catalog.commit.superseded",
            Self::Stopped => "catalog.commit.stopped",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Write { source } => sqlite_hint(source),
            Self::Decode { .. } => Some(CORRUPT_HINT.into()),
            _ => None,
        }
    }
}
