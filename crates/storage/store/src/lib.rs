//! Object storage: one port, its providers, and decorators that add one habit each.
//!
//! Knows keys and bytes. Knows nothing of encryption, repositories, catalogs or Kubernetes, and never learns what
//! an object means: whoever calls brings bytes that are safe to lie anywhere.

#![warn(missing_docs)]

mod error;
mod ext;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod path;
mod random;
mod store;

pub mod decorators;
pub mod probe;
pub mod providers;
pub mod undelete;

pub use error::{Feature, NetworkFault, Operation, Place, StoreError};
pub use ext::{LIST_ALL_MAX, StoreExt};
pub use path::{ParsePathError, StorePath};
pub use store::{
    ByteRange, Capabilities, LIST_PAGE_MAX, ListPage, Listing, OBJECT_BYTES_MAX, ObjectMeta, PutMode,
    PutOptions, RETENTION_MARGIN, RETENTION_MAX, Read, Store, VersionCursor, VersionId, VersionKind,
    VersionListing, VersionMeta, VersionPage, VersionScope, Written,
};
