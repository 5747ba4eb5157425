//! Rows: what the catalog stores, under which key, and to which class a row belongs.
//!
//! The catalog does not look into a body. Whoever writes a row says what it means.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use keelson_model::Revision;

/// What names a row, and its fields.
const ROW_OVERHEAD_BYTES: usize = 256;

/// Two strings and their place in a map.
const LABEL_OVERHEAD_BYTES: usize = 64;

/// The labels of a row.
pub type Labels = BTreeMap<String, String>;

/// The kind of a row: `<plural>.<group>` of the resource that it serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKind(String);

impl RowKind {
    /// The steps of runs are rows of this kind, written by `Change::RecordStep` alone.
    pub(crate) const STEPS: &'static str = "steps";

    /// Names a kind.
    pub fn new(kind: impl Into<String>) -> Self {
        Self(kind.into())
    }

    /// The name of the kind.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one row. The namespace of a cluster-scoped row is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Of the row.
    pub kind: RowKind,
    /// Empty for a cluster-scoped row.
    pub namespace: String,
    /// Unique within kind and namespace.
    pub name: String,
}

impl RowKey {
    /// Puts a key together.
    pub fn new(kind: RowKind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return write!(f, "{} '{}'", self.kind, self.name);
        }
        write!(f, "{} '{}/{}'", self.kind, self.namespace, self.name)
    }
}

/// What happens to a row when the platform is recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Configuration, and what was exported: shipped in every mode.
    Configuration,
    /// What is only here, and the history: shipped in Legacy mode.
    Local,
    /// What can be computed again: never shipped.
    Derived,
}

impl Class {
    /// In the order of their parts in a journal entry.
    pub const ALL: [Self; 3] = [Self::Configuration, Self::Local, Self::Derived];

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Configuration => 0,
            Self::Local => 1,
            Self::Derived => 2,
        }
    }

    pub(crate) const fn to_byte(self) -> u8 {
        self.index() as u8
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Configuration),
            1 => Some(Self::Local),
            2 => Some(Self::Derived),
            _ => None,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "configuration",
            Self::Local => "local",
            Self::Derived => "derived",
        })
    }
}

/// The classes that a mode of disaster recovery ships and proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Quick.
    ConfigurationOnly,
    /// Legacy.
    ConfigurationAndLocal,
}

impl Scope {
    /// Whether rows of the class are shipped.
    pub const fn covers(self, class: Class) -> bool {
        match (self, class) {
            (_, Class::Configuration) | (Self::ConfigurationAndLocal, Class::Local) => true,
            (Self::ConfigurationOnly, Class::Local) | (_, Class::Derived) => false,
        }
    }

    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            Self::ConfigurationOnly => 1,
            Self::ConfigurationAndLocal => 2,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::ConfigurationOnly),
            2 => Some(Self::ConfigurationAndLocal),
            _ => None,
        }
    }
}

/// One row as its writer sees it.
///
/// `created` is kept to the microsecond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// See `RowKey`.
    pub kind: RowKind,
    /// See `RowKey`.
    pub namespace: String,
    /// See `RowKey`.
    pub name: String,
    /// Tells rows apart that bore the same key one after the other.
    pub uid: String,
    /// What selectors select by.
    pub labels: Labels,
    /// When the object was created, as its writer says.
    pub created: Timestamp,
    /// What a recovery makes of the row.
    pub class: Class,
    /// The catalog never looks inside.
    pub body: Vec<u8>,
}

impl Row {
    /// The key under which the row is stored.
    pub fn key(&self) -> RowKey {
        RowKey { kind: self.kind.clone(), namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// About how many bytes of memory the row takes.
    pub fn weight(&self) -> usize {
        weigh(&self.body, &self.labels)
    }
}

/// About how many bytes of memory a row with this body takes.
pub(crate) fn weigh(body: &[u8], labels: &Labels) -> usize {
    ROW_OVERHEAD_BYTES + body.len() + weigh_labels(labels)
}

/// About how many bytes of memory labels take. A client may write more of them than of anything else.
pub(crate) fn weigh_labels(labels: &Labels) -> usize {
    labels.iter().map(|(key, value)| LABEL_OVERHEAD_BYTES + key.len() + value.len()).sum()
}

/// A row with the revision that last wrote it. A row of an older generation keeps its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// As it was put.
    pub row: Row,
    /// Of the entry that last wrote it.
    pub revision: Revision,
}
