//! Packs: present, of the right length, and at full depth right in every byte.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, stream};
use keelson_crypto::{ObjectId, ObjectKind, Sha256};
use keelson_model::PackId;
use keelson_store::StoreExt;

use super::{Verifier, VerifyError};
use crate::core::Core;
use crate::index::Index;
use crate::limits::VERIFIES_IN_FLIGHT;
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
        let mut objects = core.store.stream(&folder);
        while let Some(object) = objects.next().await {
            let object = object.map_err(|source| VerifyError::List { folder: folder.clone(), source })?;
            let Some(id) = paths::parse_name::<PackId>(&object.path) else { continue };
            if object.path != core.paths.pack(id) || !unseen.remove(&id) {
                continue;
            }
            let expected = index.find_pack(&id).map(|pack| u64::from(pack.record.length));
            if let Some(expected) = expected.filter(|expected| *expected != object.length) {
                let (path, found) = (object.path, object.length);
                self.find_in_pack(id, ObjectError::Length { kind, path, expected, found });
            } else if object.altered {
                self.find_in_pack(id, ObjectError::Altered { path: object.path });
            }
        }
        for id in unseen {
            let path = core.paths.pack(id);
            self.find_in_pack(id, ObjectError::Missing { kind, path });
        }
        self.tell();
        Ok(())
    }

    /// Reads every pack that is named and not known to be damaged.
    pub(super) async fn read_packs(&mut self) -> Result<(), VerifyError> {
        let whole = |id: &PackId| !self.damaged_packs.contains_key(id);
        let ids: Vec<_> = self.needed.iter().copied().filter(whole).collect();
        let (core, index) = (Arc::clone(&self.core), Arc::clone(&self.index));
        let reads = stream::iter(ids).map(|id| {
            let (core, index) = (Arc::clone(&core), Arc::clone(&index));
            async move { (id, read_pack(&core, &index, id).await) }
        });
        let mut reads = reads.buffer_unordered(VERIFIES_IN_FLIGHT);
        while let Some((id, read)) = reads.next().await {
            match read {
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

async fn read_pack(core: &Arc<Core>, index: &Arc<Index>, id: PackId) -> Result<PackRead, ObjectError> {
    let path = core.paths.pack(id);
    let kind = ObjectKind::Pack;
    let Some(record) = index.find_pack(&id).map(|pack| pack.record.clone()) else {
        return Err(ObjectError::NotIndexed { path });
    };
    let expected = Expected { kind, id: ObjectId::from(id), path: path.clone() };
    let bytes = expected.fetch(core.store.as_ref(), record.version).await?;
    if bytes.len() != record.length as usize {
        let (expected, found) = (u64::from(record.length), bytes.len() as u64);
        return Err(ObjectError::Length { kind, path, expected, found });
    }
    let (core, index) = (Arc::clone(core), Arc::clone(index));
    offload(move || {
        let chunks = open_pack(&core, &expected, &bytes)?;
        let indexed = chunks.iter().enumerate().all(|(position, record)| {
            index.find(&record.chunk.id).any(|place| {
                index.pack(place.pack).record.id == id
                    && place.position as usize == position
                    && place.chunk == record.chunk
                    && place.sealed_bytes == record.sealed_bytes
            })
        });
        if !indexed {
            return Err(ObjectError::Contents { path });
        }
        // What opens completely can still differ from what was written, if it was written twice under one key.
        if Sha256::of(&bytes) != record.sha256 {
            return Err(ObjectError::Hash { kind, path });
        }
        Ok(PackRead { bytes: bytes.len() as u64, chunks: chunks.len() as u64 })
    })
    .await
}
