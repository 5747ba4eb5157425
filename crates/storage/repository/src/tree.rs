//! A stream as a tree of chunks, so that a stream of any length is written and read in flat memory.

mod build;
mod walk;

use keelson_model::ChunkId;
use serde::{Deserialize, Serialize};

pub(crate) use build::{PendingNode, TreeBuilder, TreeStep};
pub(crate) use walk::{TreeCursor, WalkStep};

use crate::limits::TREE_DEPTH_MAX;

/// Names a stream inside its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StoredRef", into = "StoredRef")]
pub struct StreamRef {
    length: u64,
    root: Option<TreeRoot>,
}

/// Depth 0: the root is the stream's only chunk. Otherwise it is a node, `depth` levels above the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TreeRoot {
    pub(crate) depth: u8,
    pub(crate) id: ChunkId,
}

impl StreamRef {
    /// The stream without a byte.
    pub const EMPTY: Self = Self { length: 0, root: None };

    /// `None` where length and root cannot belong together.
    pub(crate) fn new(length: u64, root: Option<TreeRoot>) -> Option<Self> {
        let deep = root.is_some_and(|root| root.depth > TREE_DEPTH_MAX);
        ((length == 0) == root.is_none() && !deep).then_some(Self { length, root })
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn root(&self) -> Option<TreeRoot> {
        self.root
    }
}

/// How a reference looks in a catalog row.
#[derive(Serialize, Deserialize)]
struct StoredRef {
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    root: Option<TreeRoot>,
}

impl From<StreamRef> for StoredRef {
    fn from(StreamRef { length, root }: StreamRef) -> Self {
        Self { length, root }
    }
}

impl TryFrom<StoredRef> for StreamRef {
    type Error = &'static str;

    fn try_from(StoredRef { length, root }: StoredRef) -> Result<Self, Self::Error> {
        Self::new(length, root).ok_or("length and root of a stream do not belong together")
    }
}

#[cfg(test)]
mod tests;
