//! Records of a repository, drawn by `docs/format/repository.md`.

use keelson_crypto::SealedObject;
use keelson_model::{LineageId, PackId, SessionId};

/// The length of a chunk that is none.
pub(super) const NOISE_BYTES: usize = 96;

const VERSION: [u8; 2] = [0; 2];
const CHUNK_ID_BYTES: usize = 32;
/// Id, length, encoding.
const CHUNK_ENTRY_BYTES: usize = CHUNK_ID_BYTES + 4 + 1;
/// Nonce and tag.
const SEALED_MORE_BYTES: usize = 28;
/// 2026-01-01 and 2100-01-01, in microseconds.
const LONG_AGO: i64 = 1_767_225_600_000_000;
const FOR_EVER: i64 = 4_102_444_800_000_000;

pub(super) type ChunkId = [u8; CHUNK_ID_BYTES];

pub(super) fn retirement(outcome: SessionId, lineage: LineageId, epoch: u64) -> Vec<u8> {
    let ids = [&outcome.as_bytes()[..], &lineage.as_bytes()[..]].concat();
    [&VERSION[..], &ids, &epoch.to_le_bytes(), &LONG_AGO.to_le_bytes()].concat()
}

pub(super) fn mark(packs: &[PackId], outcomes: &[SessionId]) -> Vec<u8> {
    let packs: Vec<_> = packs.iter().map(PackId::as_bytes).collect();
    let outcomes: Vec<_> = outcomes.iter().map(SessionId::as_bytes).collect();
    [&VERSION[..], &list(&packs), &list(&outcomes)].concat()
}

/// All of them are dead.
pub(super) fn verdict(dead: &[PackId]) -> Vec<u8> {
    let dead: Vec<_> = dead.iter().map(PackId::as_bytes).collect();
    [&VERSION[..], &list(&dead), &list(&[])].concat()
}

/// A writer's, from long ago, that lives for ever.
pub(super) fn session_for_ever() -> Vec<u8> {
    let (backup, first_renewal) = ([1], 0_u32.to_le_bytes());
    [&VERSION[..], &backup, &first_renewal, &LONG_AGO.to_le_bytes(), &FOR_EVER.to_le_bytes()].concat()
}

fn list(ids: &[&[u8; 16]]) -> Vec<u8> {
    let count = u32::try_from(ids.len()).expect("a test's list is short").to_le_bytes();
    count.into_iter().chain(ids.iter().flat_map(|id| id.iter().copied())).collect()
}

/// The chunks that a pack says it holds.
pub(super) fn chunks_of(directory: &[u8]) -> Vec<ChunkId> {
    let entries = directory.get(VERSION.len() + 4..).unwrap_or_default().chunks_exact(CHUNK_ENTRY_BYTES);
    entries.filter_map(|entry| entry.first_chunk::<CHUNK_ID_BYTES>().copied()).collect()
}

pub(super) fn pack_directory(chunks: &[ChunkId]) -> Vec<u8> {
    let mut bytes = VERSION.to_vec();
    bytes.extend(count(chunks));
    for chunk in chunks {
        bytes.extend(entry(chunk));
    }
    bytes
}

/// Where these chunks are said to lie.
pub(super) fn index_part(pack: &SealedObject, chunks: &[ChunkId]) -> Vec<u8> {
    let mut bytes = VERSION.to_vec();
    bytes.extend(pack.id.as_bytes());
    bytes.extend(pack.key_number.to_le_bytes());
    bytes.extend(pack.salt);
    bytes.extend(pack.sha256.as_bytes());
    bytes.extend(u32::try_from(pack.bytes.len()).expect("a test's pack is short").to_le_bytes());
    let no_version_id = 0_u16.to_le_bytes();
    bytes.extend(no_version_id);
    bytes.extend(count(chunks));
    for chunk in chunks {
        bytes.extend(entry(chunk));
        bytes.extend(((NOISE_BYTES + SEALED_MORE_BYTES) as u32).to_le_bytes());
    }
    bytes
}

fn count(chunks: &[ChunkId]) -> [u8; 4] {
    u32::try_from(chunks.len()).expect("a test's pack is short").to_le_bytes()
}

fn entry(chunk: &ChunkId) -> Vec<u8> {
    let raw = [0];
    [&chunk[..], &(NOISE_BYTES as u32).to_le_bytes(), &raw].concat()
}
