//! Index objects as sessions write them, of chunks and packs that do not exist. Written from
//! `docs/format/repository.md`, not with the product's own encoder.

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use keelson_crypto::ObjectKind;
use keelson_model::ChunkId;
use keelson_repository::{Open, Repository};
use keelson_store::{PutOptions, StorePath};

use super::spread;

/// 1 MiB of average length, in packs of 16 MiB.
const CHUNKS_PER_PACK: u64 = 16;
/// What an object is written at: about 8 MiB.
const PACKS_PER_OBJECT: u64 = 11_000;
const SEALED_BYTES: u32 = 1_000_000;
const WRITES_IN_FLIGHT: usize = 2;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Seeded {
    pub(super) objects: u64,
    pub(super) packs: u64,
    pub(super) bytes: u64,
}

pub(super) fn chunk_id(number: u64) -> ChunkId {
    let mut id = [0; 32];
    for (place, word) in id.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&spread(number.wrapping_mul(4) + place as u64).to_be_bytes());
    }
    ChunkId::from_bytes(id)
}

/// Writes as many index objects as it takes.
pub(super) async fn write(repository: &Repository<Open>, chunks: u64) -> Result<Seeded> {
    let packs = chunks.div_ceil(CHUNKS_PER_PACK);
    let objects = packs.div_ceil(PACKS_PER_OBJECT);
    let writes = stream::iter(0..objects).map(|object| async move {
        let range = object * PACKS_PER_OBJECT..packs.min((object + 1) * PACKS_PER_OBJECT);
        let parts: Vec<_> = range.map(|pack| describe(pack, chunks)).collect();
        let sealing = repository.clone();
        let sealed = tokio::task::spawn_blocking(move || {
            let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
            sealing.seal(ObjectKind::Index, &parts, &[])
        });
        let sealed = sealed.await.context("seal an index object")??;
        let bytes = sealed.bytes.len() as u64;
        let path: StorePath = format!("index/{}", sealed.id).parse()?;
        repository.store().put(&path, sealed.bytes, PutOptions::create_unique()).await?;
        Ok::<_, anyhow::Error>(bytes)
    });
    let bytes = writes
        .buffer_unordered(WRITES_IN_FLIGHT)
        .try_fold(0, |sum, bytes| async move { Ok(sum + bytes) })
        .await?;
    Ok(Seeded { objects, packs, bytes })
}

/// One part: a pack and the places of its chunks.
fn describe(pack: u64, chunks: u64) -> Vec<u8> {
    let range = pack * CHUNKS_PER_PACK..chunks.min((pack + 1) * CHUNKS_PER_PACK);
    let count = (range.end - range.start) as u32;
    let mut part = Vec::with_capacity(96 + 41 * count as usize);
    part.extend_from_slice(&0u16.to_le_bytes());
    part.extend_from_slice(&spread(!pack).to_le_bytes());
    part.extend_from_slice(&spread(!pack ^ 1 << 63).to_le_bytes());
    part.extend_from_slice(&1u32.to_le_bytes());
    part.extend_from_slice(&[3; 32]);
    part.extend_from_slice(&[4; 32]);
    part.extend_from_slice(&(count * SEALED_BYTES + 4096).to_le_bytes());
    part.extend_from_slice(&0u16.to_le_bytes());
    part.extend_from_slice(&count.to_le_bytes());
    for chunk in range {
        part.extend_from_slice(chunk_id(chunk).as_bytes());
        part.extend_from_slice(&(1u32 << 20).to_le_bytes());
        part.push(1);
        part.extend_from_slice(&SEALED_BYTES.to_le_bytes());
    }
    part
}
