//! Walking a tree from left to right without holding more than one node a level.

use std::vec;

use super::{StreamRef, TreeRoot};
use crate::format::DecodeError;
use crate::format::tree_node::{self, Child};

/// Where a walk stands. The caller fetches nodes; the cursor decides which.
pub(crate) struct TreeCursor {
    /// The remaining siblings of each open level, outermost first, with their height above the chunks.
    open: Vec<(u8, vec::IntoIter<Child>)>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WalkStep {
    /// Fetch this node and give it to [`TreeCursor::enter`].
    Node { node: Child, height: u8 },
    /// The next chunk of the stream.
    Chunk(Child),
    /// The stream ends.
    End,
}

impl TreeCursor {
    pub(crate) fn new(reference: &StreamRef) -> Self {
        let open = match reference.root() {
            None => Vec::new(),
            Some(TreeRoot { depth, id }) => {
                vec![(depth, vec![Child { id, length: reference.length() }].into_iter())]
            }
        };
        Self { open }
    }

    pub(crate) fn advance(&mut self) -> WalkStep {
        while let Some((height, siblings)) = self.open.last_mut() {
            let height = *height;
            match siblings.next() {
                Some(chunk) if height == 0 => return WalkStep::Chunk(chunk),
                Some(node) => return WalkStep::Node { node, height },
                None => {
                    self.open.pop();
                }
            }
        }
        WalkStep::End
    }

    /// Goes down into a node that [`Self::advance`] named. Its children must make up the length it promised.
    pub(crate) fn enter(&mut self, node: &Child, height: u8, content: &[u8]) -> Result<(), DecodeError> {
        let children = tree_node::decode(content)?;
        let length = children.iter().try_fold(0u64, |sum, child| sum.checked_add(child.length));
        if length != Some(node.length) {
            return Err(DecodeError::Field { record: "tree node", field: "length" });
        }
        self.open.push((height - 1, children.into_iter()));
        Ok(())
    }
}
