//! Which chunks a session need not write: those in packs that may be named again, and those it writes already.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use keelson_model::{ChunkId, PackId};

use super::reuse::Condemned;
use crate::index::{Index, IndexedPack, PackNumber};
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

#[derive(Default)]
struct Taken {
    new: HashSet<ChunkId>,
    reused: HashSet<PackNumber>,
}

impl Claims {
    pub(super) fn new(index: Arc<Index>, condemned: Condemned) -> Self {
        Self { index, condemned, taken: Mutex::default() }
    }

    pub(super) fn claim(&self, id: ChunkId) -> Claim {
        let reusable = self
            .index
            .find(&id)
            .map(|place| place.pack)
            .find(|pack| !self.condemned.contains(&self.index.pack(*pack).record.id));
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match reusable {
            Some(pack) => {
                taken.reused.insert(pack);
                Claim::Known
            }
            None if taken.new.insert(id) => Claim::New,
            None => Claim::Known,
        }
    }

    /// The packs of earlier sessions that this one relies on.
    pub(super) fn reused(&self) -> Vec<&IndexedPack> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.reused.iter().map(|pack| self.index.pack(*pack)).collect()
    }

    /// The packs that the session's outcome names, sorted.
    pub(super) fn named_packs(&self, written: &[WrittenPack]) -> Vec<PackId> {
        let mut packs: Vec<_> = self.reused().iter().map(|pack| pack.record.id).collect();
        packs.extend(written.iter().map(|pack| pack.id));
        packs.sort_unstable();
        packs
    }
}
