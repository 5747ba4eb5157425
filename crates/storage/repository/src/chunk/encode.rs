//! A chunk's plaintext and back: compressed where that helps, bounded when unpacked, checked against its id.

use bytes::Bytes;
use keelson_crypto::ChunkIdentity;
use keelson_model::{ChunkId, Classified, ErrorClass};

use crate::format::pack_directory::{Encoding, PackedChunk};

/// Beyond this level time grows faster than space shrinks.
const ZSTD_LEVEL: i32 = 3;

/// A chunk ready to be sealed.
#[derive(Debug)]
pub(crate) struct EncodedChunk {
    pub(crate) chunk: PackedChunk,
    pub(crate) body: Bytes,
}

/// The sealed part was authentic, yet it is not the chunk that the index promised.
#[derive(Debug, thiserror::Error)]
pub enum ChunkFault {
    /// It does not unpack to the length that the index has.
    #[error("chunk '{id}' does not unpack to its {plain_bytes} bytes")]
    Unpack {
        /// The chunk.
        id: ChunkId,
        /// The length expected.
        plain_bytes: u32,
    },
    /// Its content has another id.
    #[error("chunk '{id}' has other content than its id says")]
    Identity {
        /// The chunk.
        id: ChunkId,
    },
}

impl Classified for ChunkFault {
    fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unpack { .. } => "repository.chunk.unpack",
            Self::Identity { .. } => "repository.chunk.identity",
        }
    }
}

/// Compresses those of the named chunks that shrink.
pub(crate) fn encode_chunks(chunks: Vec<(ChunkId, Bytes)>) -> Vec<EncodedChunk> {
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
    let mut encoded = Vec::with_capacity(chunks.len());
    for (id, plain) in chunks {
        let plain_bytes = plain.len() as u32;
        // A chunk that cannot be compressed is stored as it is; there is nothing to report.
        let packed = compressor.as_mut().and_then(|compressor| compressor.compress(&plain).ok());
        let (encoding, body) = match packed {
            Some(packed) if packed.len() < plain.len() => (Encoding::Zstd, Bytes::from(packed)),
            // Copied: as a slice it would keep the whole batch that it was cut from in memory, and where most of a
            // stream is known already one pack gathers chunks of hundreds of batches.
            _ => (Encoding::Raw, Bytes::copy_from_slice(&plain)),
        };
        encoded.push(EncodedChunk { chunk: PackedChunk { id, plain_bytes, encoding }, body });
    }
    encoded
}

/// Gives the plaintext back, never more of it than the index says.
pub(crate) fn decode_chunk(
    identity: &ChunkIdentity,
    chunk: &PackedChunk,
    body: Vec<u8>,
) -> Result<Vec<u8>, ChunkFault> {
    let PackedChunk { id, plain_bytes, encoding } = *chunk;
    let plain = match encoding {
        Encoding::Raw => body,
        Encoding::Zstd => zstd::bulk::decompress(&body, plain_bytes as usize)
            .map_err(|_| ChunkFault::Unpack { id, plain_bytes })?,
    };
    if plain.len() != plain_bytes as usize {
        return Err(ChunkFault::Unpack { id, plain_bytes });
    }
    if identity.identify(&plain) != id {
        return Err(ChunkFault::Identity { id });
    }
    Ok(plain)
}
