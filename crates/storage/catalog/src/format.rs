//! The only code that turns the catalog's values into bytes and back. Drawn in `docs/format/`.
//!
//! Little-endian, fixed width, every length bounded by what is left to read. Whatever the bytes, decoding
//! ends in a value or in `Malformed`.

pub(crate) mod base;
pub(crate) mod body;
mod bytes;
pub(crate) mod entry;
pub(crate) mod head;
pub(crate) mod record;
pub(crate) mod segment;
#[cfg(test)]
mod tests;

use keelson_model::ErrorClass;

/// Bytes that are not what was written, or that a newer version wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not what was written.
    #[error("malformed {what}")]
    Bytes {
        /// Names the record.
        what: &'static str,
    },
    /// Written by a newer version.
    #[error("{what} has format {found}, this version knows formats up to {supported}")]
    Newer {
        /// Names the record.
        what: &'static str,
        /// The version in the bytes.
        found: u16,
        /// The newest version known here.
        supported: u16,
    },
}

impl Malformed {
    /// Bytes of a later version are no damage.
    pub fn class(self) -> ErrorClass {
        match self {
            Self::Bytes { .. } => ErrorClass::Corrupt,
            Self::Newer { .. } => ErrorClass::Invalid,
        }
    }

    pub(crate) const fn bytes(what: &'static str) -> Self {
        Self::Bytes { what }
    }
}

/// The version of segments and bases. A release refuses version 0.
const SHIPPED_VERSION: u16 = 0;

fn check_version(what: &'static str, found: u16) -> Result<(), Malformed> {
    if found > SHIPPED_VERSION {
        return Err(Malformed::Newer { what, found, supported: SHIPPED_VERSION });
    }
    Ok(())
}
