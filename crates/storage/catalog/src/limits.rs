//! Every bound of the catalog, with its reason. What is over a bound is refused before it is written.

use std::time::Duration;

/// Kind, namespace, name, uid, label keys and values. Kubernetes stops at 317 for a label key.
pub const TEXT_BYTES_MAX: usize = 512;

/// Labels of one row.
pub const LABELS_MAX: usize = 256;

/// Actors are cut here. A person is told by name, groups and what was asked for.
pub const ACTOR_BYTES_MAX: usize = 4 << 10;

/// One body before compression; an object of the API server ends at 1.5 MiB.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// One journal entry as encoded. A segment holds at least one entry and must fit an object of a store.
pub const ENTRY_BYTES_MAX: usize = 16 << 20;

/// One segment, before and after compression.
pub const SEGMENT_BYTES_MAX: usize = 48 << 20;

/// One page of a list.
pub const PAGE_ROWS_MAX: usize = 10_000;

/// What a walk over many rows reads at once.
pub(crate) const ROWS_PER_READ: usize = 500;

/// A page ends with the row that brings its weight to this, where the query names no less.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// Commits waiting for the writer; a caller beyond it waits in `commit`.
pub const QUEUE_COMMITS_MAX: usize = 1_024;

/// Commits that share one fsync.
pub const GROUP_COMMITS_MAX: usize = 256;

/// Connections that read side by side.
pub const READERS_MAX: usize = 8;

/// A process that looks at the file from outside may hold a lock for this long before we say so.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Memory of a reader's page cache.
pub(crate) const READER_CACHE_KIB: i64 = 4 << 10;

/// Memory of the writer's page cache: it touches the indexes at random.
pub(crate) const WRITER_CACHE_KIB: i64 = 32 << 10;

/// The write-ahead log is carried over into the file when it reaches this.
pub(crate) const WAL_PAGES: i64 = (32 << 20) / 4096;

/// The write-ahead log is cut back to this after a checkpoint.
pub(crate) const WAL_BYTES_KEPT: i64 = 64 << 20;

/// Watches that lag need this many newest entries of the journal,
pub const WATCH_WINDOW_ENTRIES: u64 = 4_096;

/// and whatever is younger than this: a client that was away for some minutes goes on from where it was,
pub const WATCH_WINDOW_AGE: Duration = Duration::from_secs(10 * 60);

/// but not more than this.
pub const WATCH_WINDOW_BYTES: u64 = 128 << 20;

/// Entries removed in one transaction when the journal is cut.
pub(crate) const CUT_ENTRIES_PER_TRANSACTION: u64 = 2_000;

/// One call of `changes` looks at no more of the journal than this,
pub(crate) const CHANGES_SCAN_BYTES: usize = 8 << 20;

/// and ends with the entry that brings the weight of its events to this: each of many watches holds what it read.
pub(crate) const CHANGES_BYTES: usize = 64 << 10;

/// Entries of the journal's tail that are verified when a catalog is opened.
pub(crate) const TAIL_ENTRIES_CHECKED: u64 = 64;

/// Of several labels asked for, the rarest leads to the rows. Counting stops here.
pub(crate) const LABEL_ROWS_COUNTED: usize = 2_000;

/// A base is handed out in frames of about this size.
pub(crate) const BASE_FRAME_BYTES: usize = 256 << 10;

/// One record of a base: a row whose body was already checked.
pub(crate) const BASE_RECORD_BYTES_MAX: usize = 9 << 20;

/// The wrapped catalog key in a base's header.
pub const WRAPPED_KEY_BYTES_MAX: usize = 4 << 10;

/// The first transaction of a new generation is cut into entries of about this size.
pub(crate) const FIRST_ENTRY_BYTES: usize = 4 << 20;

/// A group of commits is closed when its rows weigh this.
pub(crate) const GROUP_BYTES: usize = 32 << 20;
