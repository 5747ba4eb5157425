//! The only code that turns bytes into values and back: one file a record, its version inside.
//!
//! Sealed records are parsed only after the envelope has authenticated them, and still with every length bounded.
//! `docs/format/repository.md` draws every byte.

pub(crate) mod bytes;
pub(crate) mod index_record;
pub(crate) mod index_roll;
pub(crate) mod key_file;
pub(crate) mod mark_record;
pub(crate) mod outcome_record;
pub(crate) mod pack_directory;
pub(crate) mod repository_file;
pub(crate) mod retired_record;
pub(crate) mod session_record;
pub(crate) mod tree_node;

use keelson_model::{Classified, ErrorClass};

/// Bytes that do not say what they should.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// They end too early.
    #[error("the {record} ends too early")]
    Short {
        /// What was being read.
        record: &'static str,
    },
    /// Something follows that does not belong there.
    #[error("the {record} goes on after its end")]
    Trailing {
        /// What was being read.
        record: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("the {record} has an impossible {field}")]
    Field {
        /// What was being read.
        record: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// The plain checksum of a cleartext record does not match.
    #[error("the {record} is damaged: its checksum does not match")]
    Checksum {
        /// What was being read.
        record: &'static str,
    },
    /// A later release wrote it.
    #[error("the {record} has format version {found}, newer than this release knows")]
    NewerFormat {
        /// What was being read.
        record: &'static str,
        /// The version found.
        found: u16,
    },
}

impl Classified for DecodeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NewerFormat { .. } => ErrorClass::Invalid,
            Self::Short { .. } | Self::Trailing { .. } | Self::Field { .. } | Self::Checksum { .. } => {
                ErrorClass::Corrupt
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Short { .. } => "repository.record.short",
            Self::Trailing { .. } => "repository.record.trailing",
            Self::Field { .. } => "repository.record.field",
            Self::Checksum { .. } => "repository.record.checksum",
            Self::NewerFormat { .. } => "repository.record.newer_format",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NewerFormat { .. } => Some("use the release that wrote it, or a later one".to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
