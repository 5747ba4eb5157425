//! The sealed directory of a pack: what each of its parts is. With it an index can be made again from packs.

use keelson_model::ChunkId;

use super::DecodeError;
use super::bytes::{Decoder, Encoder};
use crate::limits::CHUNK_BYTES_MAX;

const RECORD: &str = "pack directory";
pub(crate) const ENTRY_BYTES: usize = ChunkId::LENGTH + 4 + 1;
/// Version and count.
pub(crate) const FRAME_BYTES: usize = 2 + 4;

/// How a chunk lies in its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Encoding {
    Raw = 0,
    Zstd = 1,
}

impl Encoding {
    pub(crate) fn decode(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedChunk {
    pub(crate) id: ChunkId,
    pub(crate) plain_bytes: u32,
    pub(crate) encoding: Encoding,
}

pub(crate) fn encode(chunks: &[PackedChunk]) -> Vec<u8> {
    let mut encoder = Encoder::versioned();
    encoder.count(chunks.len());
    for PackedChunk { id, plain_bytes, encoding } in chunks {
        encoder.raw(id.as_bytes());
        encoder.u32(*plain_bytes);
        encoder.u8(*encoding as u8);
    }
    encoder.finish()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<PackedChunk>, DecodeError> {
    let mut decoder = Decoder::versioned(RECORD, bytes)?;
    let count = decoder.count(ENTRY_BYTES)?;
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        chunks.push(decode_chunk(&mut decoder)?);
    }
    decoder.finish()?;
    Ok(chunks)
}

pub(super) fn decode_chunk(decoder: &mut Decoder<'_>) -> Result<PackedChunk, DecodeError> {
    let id = ChunkId::from_bytes(decoder.array()?);
    let plain_bytes = decoder.u32()?;
    if plain_bytes > CHUNK_BYTES_MAX {
        return Err(decoder.field("chunk length"));
    }
    let encoding = Encoding::decode(decoder.u8()?).ok_or_else(|| decoder.field("encoding"))?;
    Ok(PackedChunk { id, plain_bytes, encoding })
}
