//! Packs: chunks sealed together, checked by opening them again before anything leaves the process.

mod packer;

use keelson_crypto::{
    OBJECT_OVERHEAD_BYTES, ObjectKind, PART_OVERHEAD_BYTES, PARTS_MAX, SealedObject, Sealer,
};
use keelson_model::PackId;

pub use packer::WriteFault;
pub(crate) use packer::{PackerReport, WrittenPack, run_packer, write_index_object};

use crate::chunk::{EncodedChunk, decode_chunk};
use crate::core::Core;
use crate::format::index_record::ChunkRecord;
use crate::format::pack_directory;
use crate::limits::PACK_BYTES_MAX;
use crate::object::{Expected, ObjectError};

/// What a chunk costs beyond its body: nonce and tag, its length and its entry in the directory.
const CHUNK_OVERHEAD_BYTES: usize = PART_OVERHEAD_BYTES + 4 + pack_directory::ENTRY_BYTES;

/// What a pack costs beyond its chunks.
pub(crate) const PACK_FRAME_BYTES: u64 = (OBJECT_OVERHEAD_BYTES + pack_directory::FRAME_BYTES) as u64;

/// What a chunk of this sealed length takes of its pack, its entry in the directory included.
pub(crate) fn stored_bytes(sealed_bytes: u32) -> u64 {
    u64::from(sealed_bytes) + (CHUNK_OVERHEAD_BYTES - PART_OVERHEAD_BYTES) as u64
}

/// Chunks that will make a pack.
pub(crate) struct PackDraft {
    chunks: Vec<EncodedChunk>,
    bytes: usize,
}

impl PackDraft {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), bytes: OBJECT_OVERHEAD_BYTES + pack_directory::FRAME_BYTES }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    pub(crate) fn fits(&self, chunk: &EncodedChunk) -> bool {
        let bytes = self.bytes + CHUNK_OVERHEAD_BYTES + chunk.body.len();
        bytes <= PACK_BYTES_MAX && self.chunks.len() < PARTS_MAX
    }

    pub(crate) fn push(&mut self, chunk: EncodedChunk) {
        self.bytes += CHUNK_OVERHEAD_BYTES + chunk.body.len();
        self.chunks.push(chunk);
    }

    /// Seals the pack, giving up the bodies one by one.
    pub(crate) fn seal(self, core: &Core) -> Result<SealedPack, WriteFault> {
        let Self { chunks, bytes } = self;
        let mut sealer = Sealer::new(core.keys.newest(), ObjectKind::Pack);
        let id = PackId::from(sealer.id());
        let mut records = Vec::with_capacity(chunks.len());
        let seal_error = |source| WriteFault::Seal { path: core.paths.pack(id), source };
        for EncodedChunk { chunk, body } in chunks {
            let location = sealer.part(&body).map_err(seal_error)?;
            records.push(ChunkRecord { chunk, sealed_bytes: location.length });
        }
        let directory: Vec<_> = records.iter().map(|record| record.chunk).collect();
        let object = sealer.finish(&pack_directory::encode(&directory)).map_err(seal_error)?;
        debug_assert_eq!(object.bytes.len(), bytes, "the size of a pack is known before it is sealed");
        Ok(SealedPack { id, object, chunks: records })
    }
}

/// A pack that has not been sent yet.
pub(crate) struct SealedPack {
    pub(crate) id: PackId,
    pub(crate) object: SealedObject,
    pub(crate) chunks: Vec<ChunkRecord>,
}

impl SealedPack {
    /// Opens everything again and compares, so that no fault of memory or processor is stored as truth.
    pub(crate) fn check(&self, core: &Core) -> Result<(), WriteFault> {
        let path = core.paths.pack(self.id);
        let expected = Expected { kind: ObjectKind::Pack, id: self.object.id, path };
        let chunks = open_pack(core, &expected, &self.object.bytes)
            .map_err(|source| WriteFault::ReadBack { source })?;
        if chunks != self.chunks {
            return Err(WriteFault::ReadBack { source: ObjectError::Contents { path: expected.path } });
        }
        Ok(())
    }
}

/// Authenticates every part of a pack, compares each chunk with its id, and says what the pack holds.
pub(crate) fn open_pack(
    core: &Core,
    expected: &Expected,
    bytes: &[u8],
) -> Result<Vec<ChunkRecord>, ObjectError> {
    let opened = expected.open(&core.keys, bytes)?;
    let directory =
        pack_directory::decode(opened.directory()).map_err(|source| expected.decode_error(source))?;
    if directory.len() != opened.parts().len() {
        return Err(ObjectError::Contents { path: expected.path.clone() });
    }
    let mut chunks = Vec::with_capacity(directory.len());
    for (position, (chunk, location)) in directory.into_iter().zip(opened.parts()).enumerate() {
        let body = opened.part(position as u32).map_err(|source| expected.explain(source, bytes))?;
        decode_chunk(&core.identity, &chunk, body)
            .map_err(|source| ObjectError::Chunk { path: expected.path.clone(), source })?;
        chunks.push(ChunkRecord { chunk, sealed_bytes: location.length });
    }
    Ok(chunks)
}
