//! Why a prune could not go on. Whatever it is, calling again goes on where it stopped.

use keelson_model::{Classified, ErrorClass, SessionId};
use keelson_store::{StoreError, StorePath};

use crate::object::{ObjectError, WriteObjectError};
use crate::pack::WriteFault;

/// A prune could not be planned or carried on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// A folder could not be listed.
    #[error("list '{folder}'")]
    List {
        /// Which.
        folder: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// The store did not tell its time, by which locks and old records are measured.
    #[error("ask the store for its time")]
    ReadTime {
        /// Why not.
        source: StoreError,
    },
    /// An outcome cannot be read, so nobody knows what it needs.
    #[error("read outcome '{outcome}', without which nothing can be freed")]
    Outcome {
        /// The outcome.
        outcome: SessionId,
        /// Why not.
        source: Box<ObjectError>,
    },
    /// A mark, verdict, session or index object cannot be read.
    #[error("read what maintenance relies on")]
    Read {
        /// Which and why.
        source: Box<ObjectError>,
    },
    /// The store did not say whether an object is there or locked.
    #[error("look at '{path}'")]
    Look {
        /// The object.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// A mark, a verdict or the end of a session could not be written.
    #[error("write what maintenance decided")]
    Write {
        /// Which and why.
        source: WriteObjectError,
    },
    /// An index object without the dead packs could not be written.
    #[error("write an index without the dead packs")]
    RewriteIndex {
        /// Why not.
        source: WriteFault,
    },
    /// An object could not be removed.
    #[error("remove '{path}'")]
    Delete {
        /// The object.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
}

impl Classified for PruneError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::List { source, .. }
            | Self::ReadTime { source }
            | Self::Look { source, .. }
            | Self::Delete { source, .. } => source.class(),
            Self::Outcome { source, .. } | Self::Read { source } => source.class(),
            Self::Write { source } => source.class(),
            Self::RewriteIndex { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Outcome { source, .. } if source.is_damage() => "repository.prune.outcome",
            Self::List { source, .. }
            | Self::ReadTime { source }
            | Self::Look { source, .. }
            | Self::Delete { source, .. } => source.code(),
            Self::Outcome { source, .. } | Self::Read { source } => source.code(),
            Self::Write { source } => source.code(),
            Self::RewriteIndex { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Outcome { source, .. } if source.is_damage() => {
                Some(
                    "if a restore point has it, delete that to give it up; if none has, delete the object from the store"
                        .to_owned(),
                )
            }
            Self::List { source, .. }
            | Self::ReadTime { source }
            | Self::Look { source, .. }
            | Self::Delete { source, .. } => source.hint(),
            Self::Outcome { source, .. } | Self::Read { source } => source.hint(),
            Self::Write { source } => source.hint(),
            Self::RewriteIndex { source } => source.hint(),
        }
    }
}
