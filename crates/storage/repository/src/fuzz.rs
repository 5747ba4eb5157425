//! What this crate reads of bytes from outside, and what must hold of whatever comes out. For the crate's tests and for
//! the targets in `fuzz/`; no product has it.

mod samples;

use std::fmt::Debug;

use keelson_crypto::{ChunkIdentity, Keyring, Sha256, VaultKey, VaultKeyring};
use keelson_model::{ChunkId, LineageId};

use crate::chunk::decode_chunk;
use crate::format::index_roll::{self, CHUNK_ROW_BYTES, ChunkRow, Footer, PACK_RECORD_BYTES, Trailer};
use crate::format::key_file::KeyFile;
use crate::format::mark_record::{MarkRecord, VerdictRecord};
use crate::format::outcome_record::OutcomeRecord;
use crate::format::pack_directory::{self, Encoding, PackedChunk};
use crate::format::repository_file::RepositorySummary;
use crate::format::retired_record::Retirement;
use crate::format::session_record::SessionRecord;
use crate::format::{DecodeError, index_record, tree_node};
use crate::index::withstand_filter;

pub use samples::samples;

/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// Every decoder. Each asserts its rules and says whether it took the bytes.
pub const TARGETS: &[Decoder] = &[
    ("repository file", |bytes| mended(bytes, RepositorySummary::decode, RepositorySummary::encode)),
    ("key file", |bytes| mended(bytes, KeyFile::decode, KeyFile::encode)),
    ("session", |bytes| canonical(bytes, SessionRecord::decode, SessionRecord::encode)),
    ("outcome", |bytes| canonical(bytes, OutcomeRecord::decode, OutcomeRecord::encode)),
    ("index entry", |bytes| {
        canonical(bytes, index_record::decode, |(pack, chunks)| index_record::encode(pack, chunks))
    }),
    ("pack directory", |bytes| {
        canonical(bytes, pack_directory::decode, |chunks| pack_directory::encode(chunks))
    }),
    ("tree node", |bytes| canonical(bytes, tree_node::decode, |children| tree_node::encode(children))),
    ("mark", |bytes| canonical(bytes, MarkRecord::decode, MarkRecord::encode)),
    ("verdict", |bytes| canonical(bytes, VerdictRecord::decode, VerdictRecord::encode)),
    ("retirement", |bytes| canonical(bytes, Retirement::decode, Retirement::encode)),
    ("index roll's footer", |bytes| canonical(bytes, Footer::decode, Footer::encode)),
    ("index roll's trailer", |bytes| mended(bytes, Trailer::decode, Trailer::encode)),
    ("index roll's chunk", roll_chunk),
    ("index roll's pack", roll_pack),
    ("index roll's filter", withstand_filter),
    ("chunk", chunk),
];

/// What is read is written as the same bytes again: no value has two spellings.
fn canonical<T: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> bool {
    let Ok(value) = decode(bytes) else { return false };
    assert_eq!(encode(&value), bytes, "{value:?}");
    true
}

/// For what ends in a plain checksum: as it is, and with the checksum mended, as whoever changes it would do.
fn mended<T: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> bool {
    let mut mended = bytes.to_vec();
    if let Some((body, checksum)) = mended.split_last_chunk_mut() {
        *checksum = *Sha256::of(body).as_bytes();
    }
    canonical(&mended, &decode, &encode);
    canonical(bytes, decode, encode)
}

fn roll_chunk(bytes: &[u8]) -> bool {
    let Ok(row) = ChunkRow::try_from(bytes) else { return false };
    let Ok(chunk) = index_roll::decode_chunk(&row) else { return false };
    assert_eq!(index_roll::encode_chunk(&chunk), row, "{chunk:?}");
    true
}

/// Behind a pack's version id stands padding, which says nothing.
fn roll_pack(bytes: &[u8]) -> bool {
    let Ok(pack) = index_roll::decode_pack_record(bytes) else { return false };
    let mut again = Vec::new();
    index_roll::encode_pack_record(&pack, bytes.len() - PACK_RECORD_BYTES, &mut again);
    assert_eq!(again.len(), bytes.len());
    assert_eq!(index_roll::decode_pack_record(&again).as_ref(), Ok(&pack));
    true
}

/// A row of a chunk, as an index gives it, and the chunk's body.
fn chunk(bytes: &[u8]) -> bool {
    let Some((row, body)) = bytes.split_first_chunk::<CHUNK_ROW_BYTES>() else { return false };
    let Ok(row) = index_roll::decode_chunk(row) else { return false };
    if row.chunk.plain_bytes > crate::limits::CHUNK_BYTES_MAX {
        return false;
    }
    let identity = identity();
    // Under its own name, so that what unpacks is more than chance; and under the name in the row.
    if let Some(plain) = unpack(&row.chunk, body) {
        let named = PackedChunk { id: identity.identify(&plain), ..row.chunk };
        let again = decode_chunk(&identity, &named, body.to_vec()).expect("it unpacked before");
        assert_eq!((again.len(), &again), (row.chunk.plain_bytes as usize, &plain));
    }
    decode_chunk(&identity, &row.chunk, body.to_vec())
        .inspect(|plain| assert_eq!(identity.identify(plain), row.chunk.id))
        .is_ok()
}

fn unpack(chunk: &PackedChunk, body: &[u8]) -> Option<Vec<u8>> {
    let plain = match chunk.encoding {
        Encoding::Raw => Some(body.to_vec()),
        Encoding::Zstd => zstd::bulk::decompress(body, chunk.plain_bytes as usize).ok(),
    };
    plain.filter(|plain| plain.len() == chunk.plain_bytes as usize)
}

fn identity() -> ChunkIdentity {
    let instance = keelson_crypto::InstanceKey::from_slice(&[9; 32]).expect("a key's length");
    let vault = VaultKeyring::new(VaultKey::derive_local(&instance));
    let keys = Keyring::of_lineage(&vault, LineageId::from_bytes([5; 16])).expect("the first vault key");
    keys.newest().chunk_identity()
}

fn identify(plain: &[u8]) -> ChunkId {
    identity().identify(plain)
}

#[cfg(test)]
mod tests {
    use keelson_hostile::Bombardment;

    use super::*;
    use crate::limits::CHUNK_BYTES_MAX;

    #[test]
    fn whatever_the_bytes_they_are_read_as_written_or_refused() {
        Bombardment::of(TARGETS, samples()).allow("chunk", 3 * CHUNK_BYTES_MAX as usize).run();
    }
}
