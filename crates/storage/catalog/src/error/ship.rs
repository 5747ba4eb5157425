//! Why something could not be handed out for shipping, or be built from what was shipped.

use std::path::PathBuf;

use keelson_model::{Classified, ErrorClass, Generation, Revision, Sequence};

use super::{CommitError, DataDirError, OpenCatalogError, ReadError, Sqlite, sqlite_class, sqlite_hint};
use crate::format::Malformed;
use crate::row::Class;

/// Journal or rows could not be handed out for shipping.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    #[error("entries after {} are no longer in the journal, which begins after {}", after.0, oldest.0)]
    BaseNeeded { after: Sequence, oldest: Sequence },
    #[error("sequence {} is ahead of the catalog, which is at {}", after.0, head.0)]
    AheadOfUs { after: Sequence, head: Sequence },
    #[error(
        "the wrapped catalog key has {bytes} bytes, {} are allowed",
        crate::limits::WRAPPED_KEY_BYTES_MAX
    )]
    WrappedKeyTooLong { bytes: usize },
    #[error("read what is to be shipped")]
    Read {
        #[source]
        source: ReadError,
    },
    #[error("hand over a frame of a base")]
    Sink {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<ReadError> for ShipError {
    fn from(source: ReadError) -> Self {
        Self::Read { source }
    }
}

impl Classified for ShipError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::BaseNeeded { .. } => ErrorClass::NotFound,
            Self::AheadOfUs { .. } => ErrorClass::Conflict,
            Self::WrappedKeyTooLong { .. } => ErrorClass::Invalid,
            Self::Read { source } => source.class(),
            Self::Sink { .. } => ErrorClass::Unavailable { retry_after: None },
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BaseNeeded { .. } => "catalog.ship.base_needed",
            Self::AheadOfUs { .. } => "catalog.ship.ahead",
            Self::WrappedKeyTooLong { .. } => "catalog.ship.wrapped_key_too_long",
            Self::Read { .. } => "catalog.ship.read",
            Self::Sink { .. } => "catalog.ship.sink",
        }
    }
}

/// A base that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBaseError {
    #[error("decode the base")]
    Decode {
        #[source]
        source: Malformed,
    },
    #[error("read the base")]
    Read {
        #[source]
        source: std::io::Error,
    },
}

impl Classified for ReadBaseError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Decode { source } => source.class(),
            Self::Read { .. } => ErrorClass::Unavailable { retry_after: None },
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Decode { .. } => "catalog.base.decode",
            Self::Read { .. } => "catalog.base.read",
        }
    }
}

/// A catalog that could not be built from a base and its segments. What was current stays current.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("decode the base")]
    DecodeBase {
        #[source]
        source: Malformed,
    },
    #[error("read the base")]
    ReadBase {
        #[source]
        source: std::io::Error,
    },
    #[error("decode a segment")]
    DecodeSegment {
        #[source]
        source: Malformed,
    },
    #[error("the segment begins at {}·{}, expected {}·{}", found.generation().0, found.sequence().0, expected.generation().0, expected.sequence().0)]
    Gap { expected: Revision, found: Revision },
    #[error("the segment leaves out a class that the base holds")]
    ScopeDiffers,
    #[error("the chain breaks at entry {}·{}", at.generation().0, at.sequence().0)]
    Chain { at: Revision },
    #[error("the {class} rows do not add up to the digest of {}·{}", at.generation().0, at.sequence().0)]
    Digest { class: Class, at: Revision },
    #[error("the base was not written under this catalog key, or its header was changed")]
    BaseKey,
    #[error("a base was put already, or none was put before")]
    Order,
    #[error("generation {} is not above {}, which the base holds", wanted.0, base.0)]
    NotAbove { wanted: Generation, base: Generation },
    #[error("write the rebuilt catalog")]
    Write {
        #[source]
        source: Sqlite,
    },
    #[error("make the rebuilt catalog durable in '{}'", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("apply the first transaction")]
    First {
        #[source]
        source: Box<CommitError>,
    },
    #[error("read the rebuilt catalog")]
    Read {
        #[source]
        source: ReadError,
    },
    #[error("open the rebuilt catalog")]
    Open {
        #[source]
        source: Box<OpenCatalogError>,
    },
    #[error("use the data directory")]
    DataDir {
        #[source]
        source: Box<DataDirError>,
    },
}

impl Classified for RebuildError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::DecodeBase { source } | Self::DecodeSegment { source } => source.class(),
            Self::Gap { .. } | Self::Chain { .. } | Self::BaseKey | Self::Digest { .. } => {
                ErrorClass::Corrupt
            }
            Self::ScopeDiffers | Self::Order => ErrorClass::Bug,
            Self::NotAbove { .. } => ErrorClass::Conflict,
            Self::ReadBase { .. } | Self::File { .. } => ErrorClass::Unavailable { retry_after: None },
            Self::Write { source } => sqlite_class(source),
            Self::First { source } => source.class(),
            Self::Read { source } => source.class(),
            Self::Open { source } => source.class(),
            Self::DataDir { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::DecodeBase { .. } => "catalog.rebuild.decode_base",
            Self::ReadBase { .. } => "catalog.rebuild.read_base",
            Self::DecodeSegment { .. } => "catalog.rebuild.decode_segment",
            Self::Gap { .. } => "catalog.rebuild.gap",
            Self::ScopeDiffers => "catalog.rebuild.scope_differs",
            Self::Chain { .. } => "catalog.rebuild.chain",
            Self::Digest { .. } => "catalog.rebuild.digest",
            Self::BaseKey => "catalog.rebuild.base_key",
            Self::Order => "catalog.rebuild.order",
            Self::NotAbove { .. } => "catalog.rebuild.not_above",
            Self::Write { .. } => "catalog.rebuild.write",
            Self::File { .. } => "catalog.rebuild.file",
            Self::First { source } => source.code(),
            Self::Read { source } => source.code(),
            Self::Open { source } => source.code(),
            Self::DataDir { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Write { source } => sqlite_hint(source),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("free space on the catalog's volume".to_owned())
            }
            Self::First { source } => source.hint(),
            _ => None,
        }
    }
}
