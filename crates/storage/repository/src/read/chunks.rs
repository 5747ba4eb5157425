//! Fetching chunks: range, authenticate, unpack, compare with the id; another copy where one is damaged.

use std::sync::Arc;

use bytes::Bytes;
use keelson_crypto::{HEADER_BYTES, ObjectId, ObjectKind, OpenObjectError, PartOpener};
use keelson_model::ChunkId;
use keelson_store::{Read, StoreError};

use super::ReadError;
use super::plan::ChunkGroup;
use crate::chunk::decode_chunk;
use crate::core::Core;
use crate::format::DecodeError;
use crate::format::tree_node::Child;
use crate::index::{ChunkPlace, Index};
use crate::object::{Expected, ObjectError, offload};

/// Finds and reads chunks. Copies share everything.
#[derive(Clone)]
pub(crate) struct ChunkReader {
    core: Arc<Core>,
    index: Arc<Index>,
}

impl ChunkReader {
    pub(crate) fn new(core: &Arc<Core>, index: &Arc<Index>) -> Self {
        Self { core: Arc::clone(core), index: Arc::clone(index) }
    }

    /// Where to read a chunk: behind the chunk before it, if a copy lies there.
    pub(super) fn locate(
        &self,
        chunk: &Child,
        previous: Option<&ChunkPlace>,
    ) -> Result<ChunkPlace, ReadError> {
        let follows = |place: &ChunkPlace| {
            previous.is_some_and(|last| place.pack == last.pack && place.position == last.position + 1)
        };
        let mut places = self.index.find(&chunk.id);
        let first = places.next().ok_or_else(|| self.unknown(chunk.id))?;
        let place = std::iter::once(first).chain(places).find(follows).unwrap_or(first);
        if u64::from(place.chunk.plain_bytes) != chunk.length {
            let source = DecodeError::Field { record: "tree node", field: "chunk length" };
            return Err(ReadError::Node { chunk: chunk.id, source });
        }
        Ok(place)
    }

    /// Reads one chunk from the first copy that is whole.
    pub(crate) async fn fetch(&self, id: ChunkId) -> Result<Bytes, ReadError> {
        let mut first_error = None;
        let places: Vec<_> = self.index.find(&id).collect();
        for place in places {
            match self.fetch_places(vec![place]).await {
                Ok(mut chunks) => return chunks.pop().ok_or_else(|| self.unknown(id)),
                Err(source) => first_error = first_error.or(Some(source)),
            }
        }
        Err(match first_error {
            Some(source) => ReadError::Chunk { chunk: id, source: Box::new(source) },
            None => self.unknown(id),
        })
    }

    /// Reads neighbours with one request, and each by itself where that fails: a copy elsewhere may be whole.
    pub(super) async fn fetch_group(&self, group: ChunkGroup) -> Result<Vec<Bytes>, ReadError> {
        let ids: Vec<_> = group.places.iter().map(|place| place.chunk.id).collect();
        match self.fetch_places(group.places).await {
            Ok(chunks) => Ok(chunks),
            Err(error) if error.is_damage() => {
                let mut chunks = Vec::with_capacity(ids.len());
                for id in ids {
                    chunks.push(self.fetch(id).await?);
                }
                Ok(chunks)
            }
            Err(source) => Err(ReadError::Chunk { chunk: ids[0], source: Box::new(source) }),
        }
    }

    /// `places` are neighbours in one pack.
    async fn fetch_places(&self, places: Vec<ChunkPlace>) -> Result<Vec<Bytes>, ObjectError> {
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return Ok(Vec::new()) };
        let record = &self.index.pack(first.pack).record;
        let path = self.core.paths.pack(record.id);
        let (offset, end) = (u64::from(first.offset), u64::from(last.offset) + u64::from(last.sealed_bytes));
        let read = Read::span(offset, end - offset).of_version(record.version.clone());
        let kind = ObjectKind::Pack;
        let bytes = self.core.store.fetch(&path, read).await.map_err(|source| match source {
            StoreError::NotFound { .. } => ObjectError::Missing { kind, path: path.clone() },
            StoreError::OutOfRange { length: found, .. } => {
                ObjectError::Length { kind, path: path.clone(), expected: u64::from(record.length), found }
            }
            source => ObjectError::Fetch { path: path.clone(), source },
        })?;

        let reader = self.clone();
        let opened = offload(move || reader.open_places(&places, &bytes)).await;
        match opened {
            Ok(chunks) => Ok(chunks),
            Err(Fault::Open(source)) => {
                // Another pack in this one's place looks like damage until its header is read.
                let head = Read::span(0, HEADER_BYTES as u64).of_version(record.version.clone());
                let head = self.core.store.fetch(&path, head).await.unwrap_or_default();
                Err(Expected { kind, id: ObjectId::from(record.id), path }.explain(source, &head))
            }
            Err(Fault::Chunk(source)) => Err(ObjectError::Chunk { path, source }),
        }
    }

    fn open_places(&self, places: &[ChunkPlace], bytes: &[u8]) -> Result<Vec<Bytes>, Fault> {
        let record = &self.index.pack(places[0].pack).record;
        let (id, number) = (ObjectId::from(record.id), record.key_number);
        let opener = PartOpener::new(&self.core.keys, ObjectKind::Pack, id, number, record.salt);
        let opener = opener.map_err(Fault::Open)?;
        let mut chunks = Vec::with_capacity(places.len());
        let mut rest = bytes;
        for place in places {
            let length = (place.sealed_bytes as usize).min(rest.len());
            let (sealed, behind) = rest.split_at(length);
            rest = behind;
            let body = opener.open(place.position, sealed).map_err(Fault::Open)?;
            let plain = decode_chunk(&self.core.identity, &place.chunk, body).map_err(Fault::Chunk)?;
            chunks.push(Bytes::from(plain));
        }
        Ok(chunks)
    }

    fn unknown(&self, chunk: ChunkId) -> ReadError {
        match self.index.damaged().first() {
            Some(source) => ReadError::DamagedIndex { chunk, source: Arc::clone(source) },
            None => ReadError::UnknownChunk { chunk },
        }
    }
}

enum Fault {
    Open(OpenObjectError),
    Chunk(crate::chunk::ChunkFault),
}
