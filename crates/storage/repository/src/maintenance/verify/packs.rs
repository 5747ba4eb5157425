//! Packs: present, of the right length, and at full depth right in every byte.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, stream};
use keelson_crypto::{ObjectId, ObjectKind, Sha256};
use keelson_model::PackId;
use keelson_store::{ObjectMeta, StoreExt};

use super::{Verifier, VerifyError};
use crate::core::Core;
use crate::format::index_record::ChunkRecord;
use crate::index::{Index, IndexCacheError, IndexedPack};
use crate::limits::{LOOKUPS_PER_TASK, VERIFIES_IN_FLIGHT};
use crate::object::{Expected, ObjectError, offload};
use crate::pack::open_pack;
use crate::paths;

impl Verifier<'_> {
    /// One listing of `packs/`, compared with what the outcomes name.
    pub(super) async fn check_presence(&mut self) -> Result<(), VerifyError> {
        let kind = ObjectKind::Pack;
        let (core, index) = (Arc::clone(&self.core), Arc::clone(&self.index));
        let folder = core.paths.join(paths::PACKS);
        let mut unseen: BTreeSet<PackId> = self.needed.clone();
        let mut batches = core.store.stream(&folder).chunks(LOOKUPS_PER_TASK);
        while let Some(batch) = batches.next().await {
            let mut seen = Vec::new();
            for object in batch {
                let object = object.map_err(|source| VerifyError::List { folder: folder.clone(), source })?;
                let Some(id) = paths::parse_name::<PackId>(&object.path) else { continue };
                if object.path == core.paths.pack(id) && unseen.remove(&id) {
                    seen.push((id, object));
                }
            }
            let index = Arc::clone(&index);
            let compared = offload(move || {
                let compare = |(id, object): (PackId, ObjectMeta)| {
                    let fault = index.find_pack(&id).map(|pack| compare(object, pack.as_ref()));
                    fault.map(|fault| (id, fault)).map_err(|source| VerifyError::LookUp { source })
                };
                seen.into_iter().map(compare).collect::<Result<Vec<_>, _>>()
            });
            for (id, fault) in compared.await? {
                if let Some(fault) = fault {
                    self.find_in_pack(id, fault);
                }
            }
        }
        for id in unseen {
            let path = core.paths.pack(id);
            self.find_in_pack(id, ObjectError::Missing { kind, path });
        }
        self.tell();
        Ok(())
    }

    /// Reads those of the packs that are not known to be damaged.
    pub(super) async fn read_packs(&mut self, mut ids: Vec<PackId>) -> Result<(), VerifyError> {
        ids.retain(|id| !self.damaged_packs.contains_key(id));
        let (core, index) = (Arc::clone(&self.core), Arc::clone(&self.index));
        let reads = stream::iter(ids).map(|id| {
            let (core, index) = (Arc::clone(&core), Arc::clone(&index));
            async move { (id, read_pack(&core, &index, id).await) }
        });
        let mut reads = reads.buffer_unordered(VERIFIES_IN_FLIGHT);
        while let Some((id, read)) = reads.next().await {
            match read.map_err(|source| VerifyError::LookUp { source })? {
                Ok(PackRead { bytes, chunks }) => {
                    self.report.bytes_read += bytes;
                    self.report.chunks += chunks;
                }
                Err(error) if error.is_damage() => self.find_in_pack(id, error),
                Err(source) => return Err(VerifyError::Object { source }),
            }
            self.progress.packs_read += 1;
            self.progress.bytes_read = self.report.bytes_read;
            self.tell();
        }
        Ok(())
    }
}

struct PackRead {
    bytes: u64,
    chunks: u64,
}

/// What is wrong with a pack, from its entry in the listing.
fn compare(object: ObjectMeta, pack: Option<&IndexedPack>) -> Option<ObjectError> {
    let ObjectMeta { path, length: found, altered, .. } = object;
    match pack.map(|pack| u64::from(pack.record.length)) {
        Some(expected) if expected != found => {
            Some(ObjectError::Length { kind: ObjectKind::Pack, path, expected, found })
        }
        _ => altered.then_some(ObjectError::Altered { path }),
    }
}

/// The inner error says what is wrong with the pack.
async fn read_pack(
    core: &Arc<Core>,
    index: &Arc<Index>,
    id: PackId,
) -> Result<Result<PackRead, ObjectError>, IndexCacheError> {
    let path = core.paths.pack(id);
    let kind = ObjectKind::Pack;
    let looking = Arc::clone(index);
    let Some(IndexedPack { record, .. }) = offload(move || looking.find_pack(&id)).await? else {
        return Ok(Err(ObjectError::NotIndexed { path }));
    };
    let expected = Expected { kind, id: ObjectId::from(id), path: path.clone() };
    let bytes = match expected.fetch(core.store.as_ref(), record.version).await {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error)),
    };
    if bytes.len() != record.length as usize {
        let (expected, found) = (u64::from(record.length), bytes.len() as u64);
        return Ok(Err(ObjectError::Length { kind, path, expected, found }));
    }
    let (core, index) = (Arc::clone(core), Arc::clone(index));
    offload(move || {
        let chunks = match open_pack(&core, &expected, &bytes) {
            Ok(chunks) => chunks,
            Err(error) => return Ok(Err(error)),
        };
        for (position, record) in chunks.iter().enumerate() {
            if !index.places_chunk(id, position, record)? {
                return Ok(Err(ObjectError::Contents { path }));
            }
        }
        // What opens completely can still differ from what was written, if it was written twice under one key.
        if Sha256::of(&bytes) != record.sha256 {
            return Ok(Err(ObjectError::Hash { kind, path }));
        }
        Ok(Ok(PackRead { bytes: bytes.len() as u64, chunks: chunks.len() as u64 }))
    })
    .await
}

impl Index {
    /// Whether this chunk lies at this position of this pack.
    fn places_chunk(
        &self,
        pack: PackId,
        position: usize,
        record: &ChunkRecord,
    ) -> Result<bool, IndexCacheError> {
        for place in self.find(&record.chunk.id)? {
            let here = place.position as usize == position
                && place.chunk == record.chunk
                && place.sealed_bytes == record.sealed_bytes;
            if here && self.pack(place.pack)?.record.id == pack {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
