//! Fetching chunks: range, authenticate, unpack, compare with the id; another copy where one is damaged.

use std::collections::VecDeque;
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
use crate::format::index_record::PackRecord;
use crate::format::tree_node::Child;
use crate::index::{ChunkPlace, Index};
use crate::object::{Expected, ObjectError, fetch_recorded, offload};

/// Finds and reads chunks. Copies share everything.
#[derive(Clone)]
pub(crate) struct ChunkReader {
    core: Arc<Core>,
    index: Arc<Index>,
}

/// A chunk of a stream and all places where it lies.
pub(super) struct LocatedChunk {
    chunk: Child,
    places: Vec<ChunkPlace>,
}

impl ChunkReader {
    pub(crate) fn new(core: &Arc<Core>, index: &Arc<Index>) -> Self {
        Self { core: Arc::clone(core), index: Arc::clone(index) }
    }

    /// Finds where chunks lie, in their order. Whether they do is decided when their turn comes.
    pub(super) async fn look_up(&self, chunks: Vec<Child>) -> Result<VecDeque<LocatedChunk>, ReadError> {
        if chunks.is_empty() {
            return Ok(VecDeque::new());
        }
        let index = Arc::clone(&self.index);
        let located = offload(move || {
            let locate = |chunk: Child| match index.find(&chunk.id) {
                Ok(places) => Ok(LocatedChunk { chunk, places }),
                Err(source) => Err(ReadError::LookUp { chunk: chunk.id, source }),
            };
            chunks.into_iter().map(locate).collect()
        });
        located.await
    }

    /// Where to read a chunk: behind the chunk before it, if a copy lies there.
    pub(super) fn choose_place(
        &self,
        located: &LocatedChunk,
        previous: Option<&ChunkPlace>,
    ) -> Result<ChunkPlace, ReadError> {
        let LocatedChunk { chunk, places } = located;
        let follows = |place: &&ChunkPlace| {
            previous.is_some_and(|last| place.pack == last.pack && place.position == last.position + 1)
        };
        let place = places.iter().find(follows).or(places.first()).ok_or_else(|| self.unknown(chunk.id))?;
        if u64::from(place.chunk.plain_bytes) != chunk.length {
            let source = DecodeError::Field { record: "tree node", field: "chunk length" };
            return Err(ReadError::Node { chunk: chunk.id, source });
        }
        Ok(*place)
    }

    /// Reads one chunk from the first copy that is whole.
    pub(crate) async fn fetch(&self, id: ChunkId) -> Result<Bytes, ReadError> {
        let index = Arc::clone(&self.index);
        let places = offload(move || {
            let places = index.find(&id)?.into_iter();
            places.map(|place| Ok((place, index.pack(place.pack)?.record))).collect::<Result<Vec<_>, _>>()
        });
        let places = places.await.map_err(|source| ReadError::LookUp { chunk: id, source })?;
        let mut first_error = None;
        for (place, pack) in places {
            match self.fetch_places(pack, vec![place]).await {
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
        let (index, number) = (Arc::clone(&self.index), group.places[0].pack);
        let pack = offload(move || index.pack(number)).await;
        let pack = pack.map_err(|source| ReadError::LookUp { chunk: ids[0], source })?;
        match self.fetch_places(pack.record, group.places).await {
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

    /// `places` are neighbours in `pack`.
    async fn fetch_places(
        &self,
        pack: PackRecord,
        places: Vec<ChunkPlace>,
    ) -> Result<Vec<Bytes>, ObjectError> {
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return Ok(Vec::new()) };
        let PackRecord { id, key_number, salt, length, version, .. } = pack;
        let path = self.core.paths.pack(id);
        let (offset, end) = (u64::from(first.offset), u64::from(last.offset) + u64::from(last.sealed_bytes));
        let read = Read::span(offset, end - offset).of_version(version.clone());
        let kind = ObjectKind::Pack;
        let bytes = fetch_recorded(self.core.store.as_ref(), &path, read).await;
        let bytes = bytes.map_err(|source| match source {
            StoreError::NotFound { .. } => ObjectError::Missing { kind, path: path.clone() },
            StoreError::OutOfRange { length: found, .. } => {
                ObjectError::Length { kind, path: path.clone(), expected: u64::from(length), found }
            }
            source => ObjectError::Fetch { path: path.clone(), source },
        })?;

        let core = Arc::clone(&self.core);
        let opened = offload(move || {
            let opener = PartOpener::new(&core.keys, kind, ObjectId::from(id), key_number, salt);
            open_places(&core, &opener.map_err(Fault::Open)?, &places, &bytes)
        });
        match opened.await {
            Ok(chunks) => Ok(chunks),
            Err(Fault::Open(source)) => {
                // Another pack in this one's place looks like damage until its header is read.
                let head = Read::span(0, HEADER_BYTES as u64).of_version(version);
                let head = fetch_recorded(self.core.store.as_ref(), &path, head).await.unwrap_or_default();
                Err(Expected { kind, id: ObjectId::from(id), path }.explain(source, &head))
            }
            Err(Fault::Chunk(source)) => Err(ObjectError::Chunk { path, source }),
        }
    }

    fn unknown(&self, chunk: ChunkId) -> ReadError {
        match self.index.damaged().first() {
            Some(source) => ReadError::DamagedIndex { chunk, source: Arc::clone(source) },
            None => ReadError::UnknownChunk { chunk },
        }
    }
}

fn open_places(
    core: &Core,
    opener: &PartOpener,
    places: &[ChunkPlace],
    bytes: &[u8],
) -> Result<Vec<Bytes>, Fault> {
    let mut chunks = Vec::with_capacity(places.len());
    let mut rest = bytes;
    for place in places {
        let length = (place.sealed_bytes as usize).min(rest.len());
        let (sealed, behind) = rest.split_at(length);
        rest = behind;
        let body = opener.open(place.position, sealed).map_err(Fault::Open)?;
        let plain = decode_chunk(&core.identity, &place.chunk, body).map_err(Fault::Chunk)?;
        chunks.push(Bytes::from(plain));
    }
    Ok(chunks)
}

enum Fault {
    Open(OpenObjectError),
    Chunk(crate::chunk::ChunkFault),
}
