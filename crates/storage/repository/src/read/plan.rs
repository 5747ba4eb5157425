//! Which ranges of which packs a stream needs, in its order: neighbours in a pack become one request.

use std::collections::VecDeque;

use futures::{Stream, TryStreamExt, stream};

use super::chunks::LocatedChunk;
use super::{ChunkReader, ReadError};
use crate::format::tree_node::Child;
use crate::index::ChunkPlace;
use crate::limits::{LOOKUPS_PER_TASK, READ_PLAIN_BYTES, READ_SEALED_BYTES};
use crate::tree::{StreamRef, TreeCursor, WalkStep};

/// Chunks that follow each other both in the stream and in one pack. Never empty.
pub(super) struct ChunkGroup {
    pub(super) places: Vec<ChunkPlace>,
}

struct Planner {
    chunks: ChunkReader,
    cursor: TreeCursor,
    /// Chunks that come next, looked up together.
    located: VecDeque<LocatedChunk>,
    /// A node that has to be read before there are more.
    node: Option<(Child, u8)>,
    /// The chunk that did not fit the group before.
    carried: Option<ChunkPlace>,
}

pub(super) fn plan_groups(
    chunks: ChunkReader,
    reference: &StreamRef,
) -> impl Stream<Item = Result<ChunkGroup, ReadError>> + Send + use<> {
    let (cursor, located) = (TreeCursor::new(reference), VecDeque::new());
    let planner = Planner { chunks, cursor, located, node: None, carried: None };
    stream::try_unfold(planner, |mut planner| async move {
        let group = planner.next_group().await?;
        Ok(group.map(|group| (group, planner)))
    })
}

/// Walks a stream without reading its chunks: every node is read, every chunk found in the index.
pub(crate) fn walk_chunks(
    chunks: ChunkReader,
    reference: &StreamRef,
) -> impl Stream<Item = Result<(), ReadError>> + Send + use<> {
    plan_groups(chunks, reference).map_ok(drop)
}

impl Planner {
    async fn next_group(&mut self) -> Result<Option<ChunkGroup>, ReadError> {
        let mut group = ChunkGroup { places: Vec::from_iter(self.carried.take()) };
        while let Some(chunk) = self.next_chunk().await? {
            let place = self.chunks.choose_place(&chunk, group.places.last())?;
            if !group.continues_with(&place) {
                self.carried = Some(place);
                return Ok(Some(group));
            }
            group.places.push(place);
        }
        Ok((!group.places.is_empty()).then_some(group))
    }

    async fn next_chunk(&mut self) -> Result<Option<LocatedChunk>, ReadError> {
        loop {
            if let Some(chunk) = self.located.pop_front() {
                return Ok(Some(chunk));
            }
            if let Some((node, height)) = self.node.take() {
                let content = self.chunks.fetch(node.id).await?;
                self.cursor
                    .enter(&node, height, &content)
                    .map_err(|source| ReadError::Node { chunk: node.id, source })?;
            }
            let batch = self.next_batch();
            if batch.is_empty() && self.node.is_none() {
                return Ok(None);
            }
            self.located = self.chunks.look_up(batch).await?;
        }
    }

    /// The chunks before the next node.
    fn next_batch(&mut self) -> Vec<Child> {
        let mut batch = Vec::new();
        while batch.len() < LOOKUPS_PER_TASK {
            match self.cursor.advance() {
                WalkStep::End => break,
                WalkStep::Chunk(chunk) => batch.push(chunk),
                WalkStep::Node { node, height } => {
                    self.node = Some((node, height));
                    break;
                }
            }
        }
        batch
    }
}

impl ChunkGroup {
    fn continues_with(&self, next: &ChunkPlace) -> bool {
        let Some(last) = self.places.last() else { return true };
        let sealed: u32 = self.places.iter().map(|place| place.sealed_bytes).sum();
        let plain: u32 = self.places.iter().map(|place| place.chunk.plain_bytes).sum();
        next.pack == last.pack
            && next.position == last.position + 1
            && sealed.saturating_add(next.sealed_bytes) <= READ_SEALED_BYTES
            && plain.saturating_add(next.chunk.plain_bytes) <= READ_PLAIN_BYTES
    }
}
