//! Building a tree from the chunks of a stream, as they come.

use super::{StreamRef, TreeRoot};
use crate::format::tree_node::{self, Child};
use crate::limits::{NODE_CHILDREN_MAX, NODE_CHILDREN_MIN, TREE_DEPTH_MAX};

/// One child in so many ends its node, so that an insertion early in a stream changes few nodes.
const CUT_MASK: u16 = 0x03ff;

/// Collects the children of the open node of each level.
pub(crate) struct TreeBuilder {
    levels: Vec<Vec<Child>>,
    length: u64,
}

/// What the builder wants next.
pub(crate) enum TreeStep {
    /// Store this content as a chunk, then answer with [`TreeBuilder::stored`].
    Store(PendingNode),
    /// The tree is complete.
    Complete(StreamRef),
}

/// A node that is not stored yet.
pub(crate) struct PendingNode {
    pub(crate) content: Vec<u8>,
    level: usize,
    length: u64,
}

impl TreeBuilder {
    pub(crate) fn new() -> Self {
        Self { levels: vec![Vec::new()], length: 0 }
    }

    /// Takes the next chunk of the stream. Nodes that are full come back to be stored.
    pub(crate) fn push(&mut self, chunk: Child) -> Option<PendingNode> {
        self.length += chunk.length;
        self.append(0, chunk)
    }

    /// Takes the id of a stored node; its own parent may be full then.
    pub(crate) fn stored(&mut self, node: &PendingNode, id: keelson_model::ChunkId) -> Option<PendingNode> {
        let parent = node.level + 1;
        if self.levels.len() == parent {
            self.levels.push(Vec::new());
        }
        self.append(parent, Child { id, length: node.length })
    }

    /// After the last chunk: closes the open nodes from below, one a call.
    pub(crate) fn close(&mut self) -> TreeStep {
        let top = self.levels.len() - 1;
        if self.length == 0 {
            return TreeStep::Complete(StreamRef::EMPTY);
        }
        if let Some(level) = (0..top).find(|level| !self.levels[*level].is_empty()) {
            return TreeStep::Store(self.take(level));
        }
        match self.levels[top].as_slice() {
            [only] => {
                let depth = u8::try_from(top).ok().filter(|depth| *depth <= TREE_DEPTH_MAX);
                let depth = depth.expect("levels shrink by a factor of at least 128");
                let root = Some(TreeRoot { depth, id: only.id });
                TreeStep::Complete(StreamRef { length: self.length, root })
            }
            _ => TreeStep::Store(self.take(top)),
        }
    }

    fn append(&mut self, level: usize, child: Child) -> Option<PendingNode> {
        let children = &mut self.levels[level];
        children.push(child);
        let [low, high, ..] = child.id.as_bytes();
        let cut = u16::from_le_bytes([*low, *high]) & CUT_MASK == 0;
        let full = children.len() >= NODE_CHILDREN_MAX || (cut && children.len() >= NODE_CHILDREN_MIN);
        full.then(|| self.take(level))
    }

    fn take(&mut self, level: usize) -> PendingNode {
        let children = std::mem::take(&mut self.levels[level]);
        let length = children.iter().map(|child| child.length).sum();
        PendingNode { content: tree_node::encode(&children), level, length }
    }
}
