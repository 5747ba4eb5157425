//! The catalog: a journal and its tables in one embedded file, and what is shipped of it.
//!
//! Knows nothing of Kubernetes, of what a body says, and of where segments and bases are kept. Synchronous;
//! the only crate that names SQLite. `docs/format/catalog.md` and `docs/format/segments.md` draw every byte.

#![warn(missing_docs)]

mod change;
mod data_dir;
mod database;
mod digest;
#[expect(missing_docs, reason = "each variant says what it is in its message")]
mod error;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod limits;
mod query;
mod rebuild;
mod row;

pub use change::{Actor, Change, Expect, Step};
pub use data_dir::DataDir;
pub use database::{
    BaseSummary, Database, Done, EntryTime, Rewrapped, Rows, Segment, SinkError, Stretch, Subscriber,
    Subscription, Touched,
};
pub use digest::{Counts, Digests, Head};
pub use error::{
    CommitError, DataDirError, OpenCatalogError, OpenCheck, ReadBaseError, ReadError, RebuildError, RowFault,
    ShipError, VerifyError,
};
pub use format::Malformed;
pub use format::base::{BaseHeader, Origin};
pub use query::{Backlog, Changes, Event, EventKind, JournalEntry, Page, PageKey, Query, Quiet};
pub use rebuild::{Applied, FirstTransaction, Prepared, Rebuild, Until};
pub use row::{Class, Labels, Row, RowKey, RowKind, Scope, Stored};
