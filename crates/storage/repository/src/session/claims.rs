//! Which chunks a session need not write: those in packs that may be named again, and those it writes already.
//!
//! Flat in memory whatever the session writes: a bit for each pack that it reuses, and the ids of its newest chunks,
//! the others being on disk with their filters in memory (ten bits a chunk).

use std::sync::{Arc, Mutex, PoisonError};

use keelson_model::{ChunkId, PackId};

use super::reuse::Condemned;
use crate::index::{ChunkPlace, Index, IndexCacheError, IndexedPack, PackSet, SpillingSet, Workplace};
use crate::pack::WrittenPack;

/// Whether a chunk has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// By the caller, who is the first to bring it.
    New,
    /// It is there, or is being written.
    Known,
}

pub(super) struct Claims {
    index: Arc<Index>,
    condemned: Condemned,
    taken: Mutex<Taken>,
}

struct Taken {
    new: SpillingSet,
    reused: PackSet,
}

impl Claims {
    pub(super) fn new(index: Arc<Index>, condemned: Condemned, workplace: &Workplace) -> Self {
        let taken = Taken { new: SpillingSet::new(workplace), reused: PackSet::default() };
        Self { index, condemned, taken: Mutex::new(taken) }
    }

    /// May read the disk, and now and then write to it.
    pub(super) fn claim(&self, id: ChunkId) -> Result<Claim, IndexCacheError> {
        let reusable = self.find_reusable(&id)?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match reusable {
            Some(place) => {
                taken.reused.insert(place.pack);
                Ok(Claim::Known)
            }
            None if taken.new.insert(id)? => Ok(Claim::New),
            None => Ok(Claim::Known),
        }
    }

    fn find_reusable(&self, id: &ChunkId) -> Result<Option<ChunkPlace>, IndexCacheError> {
        for place in self.index.find(id)? {
            // The pack is read only if it could matter.
            if self.condemned.is_empty() || !self.condemned.contains(&self.index.pack(place.pack)?.record.id)
            {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// The packs of earlier sessions that this one relies on. Reads the disk for each.
    pub(super) fn reused(&self) -> Result<Vec<IndexedPack>, IndexCacheError> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.reused.iter().map(|pack| self.index.pack(pack)).collect()
    }

    /// The packs that the session's outcome names, sorted: each once, even if two index objects describe it.
    pub(super) fn named_packs(&self, written: &[WrittenPack]) -> Result<Vec<PackId>, IndexCacheError> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = taken.reused.iter().map(|pack| Ok(self.index.pack(pack)?.record.id));
        let mut packs: Vec<_> = reused.collect::<Result<_, IndexCacheError>>()?;
        packs.extend(written.iter().map(|pack| pack.id));
        packs.sort_unstable();
        packs.dedup();
        Ok(packs)
    }
}
