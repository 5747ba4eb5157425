//! Bringing an index up to date with the index objects in the store.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use keelson_crypto::{ObjectId, ObjectKind};
use keelson_model::{Classified, ErrorClass};
use keelson_store::{ObjectMeta, StoreError, StoreExt, StorePath};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::build::Builder;
use super::{DecodedIndex, Index, IndexCacheError, IndexSource, LocalIndex};
use crate::core::Core;
use crate::format::index_record;
use crate::limits::{INDEX_BYTES_IN_FLIGHT, INDEX_READS_IN_FLIGHT};
use crate::object::{Expected, ObjectError, offload};
use crate::paths;

/// The index could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadIndexError {
    /// The index objects could not be listed.
    #[error("list the index objects in '{folder}'")]
    List {
        /// Their folder.
        folder: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// The local copy cannot be read or written.
    #[error("keep the index on this machine")]
    Local {
        /// Why not.
        source: IndexCacheError,
    },
    /// One is out of reach, or was written by a later release. Damaged ones are no error: what they describe is
    /// looked for elsewhere.
    #[error("load an index object")]
    Load {
        /// Which and why.
        source: ObjectError,
    },
}

impl Classified for LoadIndexError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::List { source, .. } => source.class(),
            Self::Local { source } => source.class(),
            Self::Load { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::List { source, .. } => source.code(),
            Self::Local { source } => source.code(),
            Self::Load { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::List { source, .. } => source.hint(),
            Self::Local { source } => source.hint(),
            Self::Load { source } => source.hint(),
        }
    }
}

/// Lists the index objects and reads those that are not on this machine. One caller at a time: a second one finds
/// what the first has read.
pub(crate) async fn refresh(core: &Arc<Core>, local: &Arc<LocalIndex>) -> Result<Arc<Index>, LoadIndexError> {
    let refreshing = Arc::clone(&local.refreshing).lock_owned().await;
    let current = local.current();
    let Changes { gone, missing } = list_changes(core, &current).await?;
    let unchanged = missing.is_empty() && gone.is_empty() && current.damaged.is_empty();
    if unchanged && !current.has_damaged_layer() {
        return Ok(current);
    }

    let (sender, received) = mpsc::channel(1);
    let (taking, local) = (Arc::clone(core), Arc::clone(local));
    let taken = offload(move || {
        let builder = Builder::new(local.workplace(), &current, &gone);
        let take_in = TakeIn { core: taking, builder, damaged: Vec::new() };
        let next = take_in.run(received)?.map(|next| local.install(next));
        // Held until the new state is in its place, even if nobody waits for it any more.
        drop(refreshing);
        Ok(next)
    });
    let ((), taken) = futures::join!(send_all(core, missing, sender), taken);
    Ok(taken?.expect("what sends goes on to the end, or whoever takes has an error"))
}

/// What a listing says that a state of the index does not.
struct Changes {
    gone: HashSet<ObjectId>,
    missing: Vec<Listed>,
}

struct Listed {
    source: IndexSource,
    bytes: u64,
}

async fn list_changes(core: &Arc<Core>, current: &Index) -> Result<Changes, LoadIndexError> {
    let folder = core.paths.join(paths::INDEX);
    let (mut kept, mut missing) = (HashSet::new(), Vec::new());
    let mut objects = core.store.stream(&folder);
    while let Some(object) = objects.next().await {
        let object = object.map_err(|source| LoadIndexError::List { folder: folder.clone(), source })?;
        let Some(id) = paths::parse_object_id(&object.path) else { continue };
        let ObjectMeta { version, length, .. } = object;
        let source = IndexSource { id, version };
        if current.find_source(&id).as_ref() == Some(&source) {
            kept.insert(id);
        } else {
            missing.push(Listed { source, bytes: length });
        }
    }
    let gone = current.sources().map(|source| source.id).filter(|id| !kept.contains(id)).collect();
    Ok(Changes { gone, missing })
}

/// What is read is counted in so many bytes.
const ROOM_BYTES: u64 = 1024;

/// An index object as the store gave it.
struct Fetched {
    source: IndexSource,
    read: Result<Bytes, ObjectError>,
    /// Its room in memory.
    _permit: OwnedSemaphorePermit,
}

/// Reads index objects, several at a time as far as there is room for them in memory, and sends them on; then `None`.
async fn send_all(core: &Arc<Core>, missing: Vec<Listed>, sender: mpsc::Sender<Option<Fetched>>) {
    let room = Arc::new(Semaphore::new((INDEX_BYTES_IN_FLIGHT / ROOM_BYTES) as usize));
    let reads = stream::iter(missing).map(|listed| fetch_in_room(core, &room, listed));
    let mut reads = reads.buffer_unordered(INDEX_READS_IN_FLIGHT);
    while let Some(fetched) = reads.next().await {
        // Whoever takes them in has stopped, and says why.
        if sender.send(Some(fetched)).await.is_err() {
            return;
        }
    }
    let _ = sender.send(None).await;
}

async fn fetch_in_room(core: &Arc<Core>, room: &Arc<Semaphore>, listed: Listed) -> Fetched {
    let Listed { source, bytes } = listed;
    let permits = (bytes.min(INDEX_BYTES_IN_FLIGHT) / ROOM_BYTES) as u32;
    let permit = Arc::clone(room).acquire_many_owned(permits).await;
    let permit = permit.expect("nobody closes the semaphore");
    let read = expect(core, &source).fetch(core.store.as_ref(), source.version.clone()).await;
    Fetched { source, read, _permit: permit }
}

/// Takes index objects in, on one thread of the blocking pool from the first to the last: what it frees it uses again.
struct TakeIn {
    core: Arc<Core>,
    builder: Builder,
    damaged: Vec<Arc<ObjectError>>,
}

impl TakeIn {
    /// `None` if whoever sends has gone away before the end.
    fn run(mut self, mut received: mpsc::Receiver<Option<Fetched>>) -> Result<Option<Index>, LoadIndexError> {
        let local_error = |source| LoadIndexError::Local { source };
        while let Some(message) = received.blocking_recv() {
            let Some(Fetched { source, read, _permit }) = message else {
                return self.builder.finish(self.damaged).map(Some).map_err(local_error);
            };
            match read.and_then(|bytes| decode_index_object(&self.core, source, &bytes)) {
                Ok(decoded) => self.builder.add(decoded).map_err(local_error)?,
                // Pruning removed it since it was listed: what it described is dead or described elsewhere.
                Err(ObjectError::Missing { .. }) => {}
                Err(error) if error.class() == ErrorClass::Corrupt => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "index object skipped");
                    self.damaged.push(Arc::new(error));
                }
                Err(source) => return Err(LoadIndexError::Load { source }),
            }
        }
        Ok(None)
    }
}

fn expect(core: &Core, source: &IndexSource) -> Expected {
    Expected { kind: ObjectKind::Index, id: source.id, path: core.paths.index(source.id) }
}

/// Reads one index object.
pub(crate) async fn fetch_index_object(
    core: &Arc<Core>,
    source: IndexSource,
) -> Result<DecodedIndex, ObjectError> {
    let bytes = expect(core, &source).fetch(core.store.as_ref(), source.version.clone()).await?;
    let core = Arc::clone(core);
    offload(move || decode_index_object(&core, source, &bytes)).await
}

/// Opens an index object completely: one that is damaged anywhere says nothing.
fn decode_index_object(core: &Core, source: IndexSource, bytes: &[u8]) -> Result<DecodedIndex, ObjectError> {
    let expected = expect(core, &source);
    let opened = expected.open(&core.keys, bytes)?;
    let mut packs = Vec::with_capacity(opened.parts().len());
    for part in 0..opened.parts().len() as u32 {
        let body = opened.part(part).map_err(|source| expected.explain(source, bytes))?;
        packs.push(index_record::decode(&body).map_err(|source| expected.decode_error(source))?);
    }
    Ok(DecodedIndex { source, packs })
}
