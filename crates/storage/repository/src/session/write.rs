//! Writing one stream: cut, name, look up, compress what is new, queue it for the packer, grow the tree.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use keelson_model::{ChunkId, Classified, ErrorClass};

use super::claims::Claim;
use super::cut::{ChunkGroup, cut_stream};
use super::{Session, Shared};
use crate::chunk::{EncodedChunk, encode_chunks};
use crate::format::tree_node::Child;
use crate::index::IndexCacheError;
use crate::limits::PREPARED_IN_FLIGHT;
use crate::object::offload;
use crate::pack::WriteFault;
use crate::tree::{PendingNode, StreamRef, TreeBuilder, TreeStep};

/// A stream could not be written. The session is broken then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The caller's stream failed.
    #[error("read the data to be stored")]
    ReadInput {
        /// The class of the failure.
        class: ErrorClass,
        /// The failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is there already cannot be looked up.
    #[error("look up what is stored already")]
    LookUp {
        /// Why not.
        source: IndexCacheError,
    },
    /// Packs could not be written.
    #[error("store the data")]
    Store {
        /// Why not.
        source: WriteFault,
    },
    /// Another stream of this session failed before.
    #[error("another stream of this session could not be written")]
    Broken,
}

impl Classified for WriteError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ReadInput { class, .. } => *class,
            Self::LookUp { source } => source.class(),
            Self::Store { source } => source.class(),
            Self::Broken => ErrorClass::Cancelled,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ReadInput { .. } => "repository.write.input",
            Self::LookUp { source } => source.code(),
            Self::Store { source } => source.code(),
            Self::Broken => "repository.write.broken",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::LookUp { source } => source.hint(),
            Self::Store { source } => source.hint(),
            Self::ReadInput { .. } | Self::Broken => None,
        }
    }
}

impl Session {
    /// Stores a stream of any length in flat memory. The reference is worth nothing before the commit.
    pub async fn write<S, E>(&self, stream: S) -> Result<StreamRef, WriteError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Classified,
    {
        if self.shared.broken.load(Ordering::Acquire) {
            return Err(WriteError::Broken);
        }
        let breaking = BreakOnDrop(&self.shared);
        let stream = std::pin::pin!(stream);
        let shared = &self.shared;
        let groups = cut_stream(Arc::clone(&shared.core), stream)
            .map_ok(|group| {
                let shared = Arc::clone(shared);
                async move { offload(move || shared.prepare(group)).await }
            })
            .try_buffered(PREPARED_IN_FLIGHT);
        let mut groups = std::pin::pin!(groups);

        let mut tree = TreeBuilder::new();
        while let Some(prepared) = groups.try_next().await? {
            for chunk in prepared.new {
                self.enqueue(chunk).await?;
            }
            for child in prepared.children {
                let mut pending = tree.push(child);
                while let Some(node) = pending {
                    let id = self.store_node(&node).await?;
                    pending = tree.stored(&node, id);
                }
            }
        }
        let reference = self.close_tree(tree).await?;
        breaking.disarm();
        Ok(reference)
    }

    async fn close_tree(&self, mut tree: TreeBuilder) -> Result<StreamRef, WriteError> {
        loop {
            let mut node = match tree.close() {
                TreeStep::Complete(reference) => return Ok(reference),
                TreeStep::Store(node) => node,
            };
            loop {
                let id = self.store_node(&node).await?;
                match tree.stored(&node, id) {
                    Some(parent) => node = parent,
                    None => break,
                }
            }
        }
    }

    async fn store_node(&self, node: &PendingNode) -> Result<ChunkId, WriteError> {
        let (shared, content) = (Arc::clone(&self.shared), Bytes::from(node.content.clone()));
        let prepared = offload(move || shared.prepare(vec![content])).await?;
        for chunk in prepared.new {
            self.enqueue(chunk).await?;
        }
        Ok(prepared.children[0].id)
    }

    async fn enqueue(&self, chunk: EncodedChunk) -> Result<(), WriteError> {
        match self.queue.send(chunk).await {
            Ok(()) => Ok(()),
            // The packer has stopped; the first to notice learns why.
            Err(_) => Err(self.join_packer().await.err().unwrap_or(WriteError::Broken)),
        }
    }

    /// Waits for the packer. Only the first caller gets its result.
    pub(super) async fn join_packer(&self) -> Result<crate::pack::PackerReport, WriteError> {
        match self.take_packer().join_next().await {
            None => Err(WriteError::Broken),
            Some(Ok(result)) => result.map_err(|source| WriteError::Store { source }),
            Some(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// A group of chunks, looked up and encoded.
struct Prepared {
    children: Vec<Child>,
    new: Vec<EncodedChunk>,
}

impl Shared {
    fn prepare(&self, group: ChunkGroup) -> Result<Prepared, WriteError> {
        let (mut children, mut new) = (Vec::with_capacity(group.len()), Vec::new());
        for plain in group {
            let id = self.core.identity.identify(&plain);
            let length = plain.len() as u64;
            children.push(Child { id, length });
            let claim = self.claims.claim(id).map_err(|source| WriteError::LookUp { source })?;
            let counter = match claim {
                Claim::New => {
                    new.push((id, plain));
                    &self.progress.chunks_new
                }
                Claim::Known => &self.progress.chunks_known,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            self.progress.bytes_read.fetch_add(length, Ordering::Relaxed);
        }
        Ok(Prepared { children, new: encode_chunks(new) })
    }
}

/// Chunks that this write claimed may never be stored if it does not end well.
struct BreakOnDrop<'a>(&'a Shared);

impl BreakOnDrop<'_> {
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        self.0.broken.store(true, Ordering::Release);
    }
}
