//! What readers ask for and what they get.

use jiff::Timestamp;
use keelson_model::selector::LabelSelector;
use keelson_model::{Revision, Sequence};

use crate::change::Actor;
use crate::limits::{PAGE_BYTES_MAX, PAGE_ROWS_MAX};
use crate::row::{Labels, RowKey, RowKind, Stored, weigh_labels};

/// Rows of one kind, in the order of namespace and name.
#[derive(Debug, Clone)]
pub struct Query {
    /// The only kind asked for.
    pub kind: RowKind,
    /// Every namespace where `None`; the cluster's own rows where empty.
    pub namespace: Option<String>,
    /// Rows whose labels do not match are passed over.
    pub labels: LabelSelector,
    /// The last row of the page before.
    pub after: Option<PageKey>,
    /// At most `limits::PAGE_ROWS_MAX`.
    pub limit: usize,
    /// The page ends with the row that brings its weight to this; at most `limits::PAGE_BYTES_MAX`.
    pub bytes: usize,
}

impl Query {
    /// All rows of a kind.
    pub fn of(kind: RowKind) -> Self {
        Self::all(kind, PAGE_ROWS_MAX)
    }

    /// All rows of a kind, first page.
    pub fn all(kind: RowKind, limit: usize) -> Self {
        Self {
            kind,
            namespace: None,
            labels: LabelSelector::everything(),
            after: None,
            limit,
            bytes: PAGE_BYTES_MAX,
        }
    }
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageKey {
    /// Of the last row.
    pub namespace: String,
    /// Of the last row.
    pub name: String,
}

/// One page, read from one snapshot of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In key order.
    pub rows: Vec<Stored>,
    /// Present where more rows follow.
    pub next: Option<PageKey>,
    /// The catalog's revision when the page was read.
    pub revision: Revision,
    /// How many rows follow. Counted for a first page without a label selector, and known for the last page.
    pub remaining: Option<u64>,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was not there before.
    Added,
    /// It was written again.
    Modified,
    /// It is gone.
    Deleted,
}

/// What one entry did to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The row as written; of a deleted row its last state. The revision is that of the entry.
    pub stored: Stored,
    /// The labels before, by which a selector learns that a row entered or left its view. None of an added row.
    pub before_labels: Option<Labels>,
}

impl Event {
    /// About how many bytes of memory the event takes.
    pub fn weight(&self) -> usize {
        self.stored.row.weight() + self.before_labels.as_ref().map_or(0, weigh_labels)
    }
}

/// What happened after a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// In the journal's order; all events of an entry or none.
    pub events: Vec<Event>,
    /// All events up to here are in; ask again from here.
    pub through: Revision,
    /// Whether `through` is the catalog's head.
    pub complete: bool,
}

/// What is known of a kind without a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// Nothing happened to it up to here. Where nothing is known, from where it was asked for.
    pub through: Revision,
    /// Whether that is the catalog's head.
    pub complete: bool,
}

/// One entry of the journal, for audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its position.
    pub revision: Revision,
    /// When it was committed.
    pub at: Timestamp,
    /// Who committed it.
    pub actor: Actor,
    /// What happened to which row.
    pub changes: Vec<(EventKind, RowKey)>,
    /// The digest of this entry and of every one before.
    pub chain: [u8; 32],
}

/// What is not shipped yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Journal entries.
    pub entries: u64,
    /// Their size in the journal.
    pub bytes: u64,
    /// When the oldest of them was committed.
    pub oldest: Option<Timestamp>,
    /// The prefix that would be needed is cut: only a base helps.
    pub base_needed: bool,
    /// The last entry.
    pub head: Sequence,
}
