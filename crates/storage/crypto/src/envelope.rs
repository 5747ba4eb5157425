//! The envelope: how every object that leaves the process is sealed.
//!
//! header · sealed parts · sealed directory · trailer. Each object has a key of its own, derived with its salt,
//! so that no key nears the cipher's message limit. `docs/format/envelope.md` draws every byte.

mod layout;
mod open;
mod seal;

use std::fmt;

use keelson_model::PackId;

pub use open::{OpenObjectError, OpenedObject, PartOpener, open_object, peek_object_id};
pub use seal::{SealObjectError, SealedObject, Sealer};

/// The largest object of any kind, in bytes: what a store may be asked to take or give at once.
pub const OBJECT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most parts of an object. With the directory they are the messages under its key.
pub const PARTS_MAX: usize = 1 << 16;

/// What sealing adds to each part, in bytes: nonce and tag.
pub const PART_OVERHEAD_BYTES: usize = layout::NONCE_BYTES + layout::TAG_BYTES;

/// The length of an object's header, which is in the clear; the first part follows it.
pub const HEADER_BYTES: usize = layout::HEADER_BYTES;

/// What an object without parts and with an empty directory has, in bytes. Each part adds
/// [`PART_OVERHEAD_BYTES`] and four bytes of directory.
pub const OBJECT_OVERHEAD_BYTES: usize =
    layout::HEADER_BYTES + layout::COUNT_BYTES + PART_OVERHEAD_BYTES + layout::TRAILER_BYTES;

const _: () = assert!((PARTS_MAX as u64) < 1 << 32, "random nonces allow 2^32 messages a key");

/// What an object is. The code stands in its header and is associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    /// Chunks of data.
    Pack = 1,
    /// Where chunks lie.
    Index = 2,
    /// What a session achieved.
    Outcome = 3,
    /// That a session runs.
    Session = 4,
    /// That an outcome is to be removed.
    Retired = 5,
    /// What a prune found unnamed.
    Mark = 6,
    /// What a prune decided.
    Verdict = 7,
    /// Rows of a catalog.
    Base = 16,
    /// Entries of a journal.
    Segment = 17,
    /// A run of disaster recovery: which base and sequence.
    Manifest = 18,
    /// That an instance began to ship.
    Start = 19,
    /// A claim of ownership.
    Epoch = 32,
    /// What was retired when an epoch was claimed.
    EpochRetired = 33,
    /// A recovery kit.
    Kit = 34,
}

impl ObjectKind {
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Index => "index",
            Self::Outcome => "outcome",
            Self::Session => "session",
            Self::Retired => "retirement",
            Self::Mark => "mark",
            Self::Verdict => "verdict",
            Self::Base => "base",
            Self::Segment => "segment",
            Self::Manifest => "manifest",
            Self::Start => "start",
            Self::Epoch => "epoch",
            Self::EpochRetired => "epoch's retirements",
            Self::Kit => "recovery kit",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The random 128-bit id in an object's header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; Self::LENGTH]);

impl ObjectId {
    /// Length in bytes.
    pub const LENGTH: usize = 16;

    /// Reads an id that was stored.
    pub const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl From<ObjectId> for PackId {
    fn from(id: ObjectId) -> Self {
        Self::from_bytes(id.0)
    }
}

impl From<PackId> for ObjectId {
    fn from(id: PackId) -> Self {
        Self(*id.as_bytes())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

/// Where a sealed part lies in its object, nonce and tag included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLocation {
    /// From the object's first byte.
    pub offset: u32,
    /// Of nonce, ciphertext and tag.
    pub length: u32,
}

#[cfg(test)]
mod tests;
