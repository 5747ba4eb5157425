//! The cleartext file `format`: what a repository is, and how its chunks are cut.

use keelson_model::RepositoryId;

use super::DecodeError;
use super::bytes::{Decoder, Encoder, RECORD_VERSION};
use crate::chunk::ChunkSizes;

const RECORD: &str = "repository format";
const MAGIC: &[u8; 8] = b"KEELREPO";

/// What `format` says. Whoever can read the location can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySummary {
    /// The repository.
    pub id: RepositoryId,
    /// The version of its format.
    pub version: u16,
    /// The number of its first data key, from which chunk ids and chunk boundaries derive.
    pub first_key: u32,
    /// How its chunks are cut.
    pub chunks: ChunkSizes,
}

impl RepositorySummary {
    pub(crate) fn new(id: RepositoryId, first_key: u32, chunks: ChunkSizes) -> Self {
        Self { id, version: RECORD_VERSION, first_key, chunks }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { id, version: _, first_key, chunks } = self;
        let mut encoder = Encoder::checksummed(MAGIC);
        encoder.raw(id.as_bytes());
        encoder.u32(*first_key);
        encoder.u32(chunks.min());
        encoder.u32(chunks.average());
        encoder.u32(chunks.max());
        encoder.finish_checksummed()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::checksummed(RECORD, MAGIC, bytes)?;
        let id = RepositoryId::from_bytes(decoder.array()?);
        let first_key = decoder.u32()?;
        let (min, average, max) = (decoder.u32()?, decoder.u32()?, decoder.u32()?);
        let chunks = ChunkSizes::new(min, average, max).ok_or_else(|| decoder.field("chunk size"))?;
        decoder.finish()?;
        Ok(Self::new(id, first_key, chunks))
    }
}
