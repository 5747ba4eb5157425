//! From a stream of bytes to a stream of groups of chunks, in flat memory.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use keelson_model::Classified;

use super::WriteError;
use crate::core::Core;
use crate::limits::PREPARE_BYTES;
use crate::object::offload;

/// Neighbouring chunks that one task prepares.
pub(super) type ChunkGroup = Vec<Bytes>;

struct Cutter<S> {
    core: Arc<Core>,
    input: S,
    /// Read and not yet cut: at most a batch and one item of the input.
    buffer: BytesMut,
    ended: bool,
}

/// Cuts `input` into chunks. Groups come in the order of the stream.
pub(super) fn cut_stream<S, E>(
    core: Arc<Core>,
    input: S,
) -> impl Stream<Item = Result<ChunkGroup, WriteError>> + Send
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: Classified,
{
    let cutter = Cutter { core, input, buffer: BytesMut::new(), ended: false };
    let batches = stream::try_unfold(cutter, |mut cutter| async move {
        cutter.fill().await?;
        let groups = cutter.cut().await;
        Ok::<_, WriteError>((!groups.is_empty()).then(|| (stream::iter(groups.into_iter().map(Ok)), cutter)))
    });
    futures::TryStreamExt::try_flatten(batches)
}

impl<S, E> Cutter<S>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: Classified,
{
    /// Reads until a batch is full: enough that at least half of it can be cut, whatever its content.
    async fn fill(&mut self) -> Result<(), WriteError> {
        let batch = PREPARE_BYTES.max(2 * self.core.chunker.sizes().max() as usize);
        while !self.ended && self.buffer.len() < batch {
            match self.input.next().await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(error)) => {
                    return Err(WriteError::ReadInput { class: error.class(), source: Box::new(error) });
                }
                None => self.ended = true,
            }
        }
        Ok(())
    }

    /// Cuts all chunks whose end cannot depend on what is still to come.
    async fn cut(&mut self) -> Vec<ChunkGroup> {
        if self.buffer.is_empty() {
            return Vec::new();
        }
        let (core, ended) = (Arc::clone(&self.core), self.ended);
        let mut rest = std::mem::take(&mut self.buffer).freeze();
        let (groups, rest) = offload(move || {
            let (mut groups, mut group, mut grouped) = (Vec::new(), Vec::new(), 0);
            while !rest.is_empty() && (ended || rest.len() >= core.chunker.sizes().max() as usize) {
                let chunk = rest.split_to(core.chunker.cut(&rest));
                grouped += chunk.len();
                group.push(chunk);
                if grouped >= PREPARE_BYTES {
                    groups.push(std::mem::take(&mut group));
                    grouped = 0;
                }
            }
            if !group.is_empty() {
                groups.push(group);
            }
            (groups, rest)
        })
        .await;
        self.buffer = BytesMut::from(rest.as_ref());
        groups
    }
}
