//! What a commit may say: whole rows put or deleted, and the steps of runs.

use std::fmt;

use keelson_model::Revision;

use crate::row::{Row, RowKey};

/// Who made a change, for the audit trail: a user, a controller, a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(String);

impl Actor {
    /// Keeps the first `limits::ACTOR_BYTES_MAX` bytes.
    pub fn new(name: impl Into<String>) -> Self {
        let mut name = name.into();
        name.truncate(name.floor_char_boundary(crate::limits::ACTOR_BYTES_MAX));
        Self(name)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A part of a program, by its name.
impl From<&'static str> for Actor {
    fn from(name: &'static str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a change assumes of the row it touches. Where it does not hold, the whole commit is a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// There is none.
    Absent,
    /// There is one, of whatever revision.
    Present,
    /// It was last written at this revision.
    At(Revision),
}

impl Expect {
    pub(crate) fn holds(self, found: Option<Revision>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::At(revision) => found == Some(revision),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Absent => f.write_str("absent"),
            Self::Present => f.write_str("present"),
            Self::At(revision) => write!(f, "at revision {revision}"),
        }
    }
}

/// One change of a commit. A commit names each row at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes the whole row. A put of what is already there changes nothing.
    Put {
        /// The row as it shall be.
        row: Row,
        /// Of the row as it is.
        expect: Expect,
    },
    /// Removes the row. Deleting what is absent changes nothing, unless `expect` says otherwise.
    Delete {
        /// Names the row.
        key: RowKey,
        /// Of the row as it is.
        expect: Expect,
    },
    /// Notes that a run has done a step. Steps are of the derived class: a recovery never sees them.
    RecordStep {
        /// Names the run.
        run: String,
        /// Names the step within the run.
        step: String,
        /// What the step found or made, for when the run goes on.
        result: Vec<u8>,
    },
    /// Forgets all steps of a run.
    DropSteps {
        /// Names the run.
        run: String,
    },
}

impl Change {
    /// Writes the row, whatever is there.
    pub fn put(row: Row) -> Self {
        Self::Put { row, expect: Expect::Any }
    }

    /// Writes the row where there is none.
    pub fn create(row: Row) -> Self {
        Self::Put { row, expect: Expect::Absent }
    }

    /// Writes the row over the revision that was seen.
    pub fn update(row: Row, seen: Revision) -> Self {
        Self::Put { row, expect: Expect::At(seen) }
    }

    /// Removes the row, whatever is there.
    pub fn delete(key: RowKey) -> Self {
        Self::Delete { key, expect: Expect::Any }
    }
}

/// A step that a run has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Names the step within its run.
    pub name: String,
    /// As recorded.
    pub result: Vec<u8>,
    /// When it was last recorded.
    pub revision: Revision,
}
