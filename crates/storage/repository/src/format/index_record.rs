//! The sealed parts of `index/<id>`: one pack each, with the places of its chunks.

use keelson_crypto::{PART_OVERHEAD_BYTES, Sha256};
use keelson_model::{ChunkId, PackId};
use keelson_store::VersionId;

use super::DecodeError;
use super::bytes::{Decoder, Encoder};
use super::pack_directory::{Encoding, PackedChunk, decode_chunk};
use crate::limits::{PACK_BYTES_MAX, VERSION_ID_BYTES_MAX};

const RECORD: &str = "index entry";
const CHUNK_BYTES: usize = ChunkId::LENGTH + 4 + 1 + 4;

/// A pack: enough to check it without a key and to read parts of it without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackRecord {
    pub(crate) id: PackId,
    pub(crate) key_number: u32,
    pub(crate) salt: [u8; 32],
    pub(crate) sha256: Sha256,
    pub(crate) length: u32,
    /// What the store answered to the PUT, where it keeps versions.
    pub(crate) version: Option<VersionId>,
}

/// A chunk and the length of its sealed part. Parts follow each other from the end of the envelope's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRecord {
    pub(crate) chunk: PackedChunk,
    pub(crate) sealed_bytes: u32,
}

pub(crate) fn encode(pack: &PackRecord, chunks: &[ChunkRecord]) -> Vec<u8> {
    let PackRecord { id, key_number, salt, sha256, length, version } = pack;
    let mut encoder = Encoder::versioned();
    encoder.raw(id.as_bytes());
    encoder.u32(*key_number);
    encoder.raw(salt);
    encoder.raw(sha256.as_bytes());
    encoder.u32(*length);
    encode_version(&mut encoder, version.as_ref());
    encoder.count(chunks.len());
    for ChunkRecord { chunk: PackedChunk { id, plain_bytes, encoding }, sealed_bytes } in chunks {
        encoder.raw(id.as_bytes());
        encoder.u32(*plain_bytes);
        encoder.u8(*encoding as u8);
        encoder.u32(*sealed_bytes);
    }
    encoder.finish()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(PackRecord, Vec<ChunkRecord>), DecodeError> {
    let mut decoder = Decoder::versioned(RECORD, bytes)?;
    let pack = PackRecord {
        id: PackId::from_bytes(decoder.array()?),
        key_number: decoder.u32()?,
        salt: decoder.array()?,
        sha256: Sha256::from_bytes(decoder.array()?),
        length: decoder.u32()?,
        version: decode_version(&mut decoder)?,
    };
    if pack.length as usize > PACK_BYTES_MAX {
        return Err(decoder.field("pack length"));
    }
    let count = decoder.count(CHUNK_BYTES)?;
    let mut chunks = Vec::with_capacity(count);
    let mut total = 0u64;
    for _ in 0..count {
        let chunk = decode_chunk(&mut decoder)?;
        let sealed_bytes = decoder.u32()?;
        total += u64::from(sealed_bytes);
        if (sealed_bytes as usize) < PART_OVERHEAD_BYTES || total > u64::from(pack.length) {
            return Err(decoder.field("chunk length"));
        }
        let raw_bytes = sealed_bytes - PART_OVERHEAD_BYTES as u32;
        if chunk.encoding == Encoding::Raw && raw_bytes != chunk.plain_bytes {
            return Err(decoder.field("chunk length"));
        }
        chunks.push(ChunkRecord { chunk, sealed_bytes });
    }
    decoder.finish()?;
    Ok((pack, chunks))
}

/// An empty text stands for none: no store answers an empty version id.
pub(super) fn encode_version(encoder: &mut Encoder, version: Option<&VersionId>) {
    encoder.text(version.map_or("", VersionId::as_str));
}

pub(super) fn decode_version(decoder: &mut Decoder<'_>) -> Result<Option<VersionId>, DecodeError> {
    let text = decoder.text("version id")?;
    if text.len() > VERSION_ID_BYTES_MAX {
        return Err(decoder.field("version id"));
    }
    Ok((!text.is_empty()).then(|| VersionId::new(text)))
}
