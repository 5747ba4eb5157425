//! Where chunks lie: the union of all index objects, in memory and sorted by chunk id.
//!
//! Callers see [`Index::find`], [`Index::pack`] and [`Index::refresh`] alone: what is behind them may move to disk.

mod load;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use keelson_crypto::{HEADER_BYTES, ObjectId};
use keelson_model::{ChunkId, PackId};
use keelson_store::VersionId;

pub use load::LoadIndexError;
pub(crate) use load::refresh;

use crate::format::index_record::{ChunkRecord, PackRecord};
use crate::format::pack_directory::{Encoding, PackedChunk};
use crate::object::ObjectError;

/// A pack's number in one [`Index`]; it means nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PackNumber(u32);

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkPlace {
    pub(crate) chunk: PackedChunk,
    pub(crate) pack: PackNumber,
    /// Its part's position, offset and length in the pack.
    pub(crate) position: u32,
    pub(crate) offset: u32,
    pub(crate) sealed_bytes: u32,
}

/// A pack, and the index object that describes it.
#[derive(Debug)]
pub(crate) struct IndexedPack {
    pub(crate) record: PackRecord,
    pub(crate) source: IndexSource,
}

/// An index object as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexSource {
    pub(crate) id: ObjectId,
    pub(crate) version: Option<VersionId>,
}

/// Fifty-two bytes a chunk.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: ChunkId,
    pack: u32,
    offset: u32,
    sealed_bytes: u32,
    plain_bytes: u32,
    position: u16,
    encoding: Encoding,
}

/// One state of the index. It never changes; a refresh makes another.
#[derive(Debug, Default)]
pub(crate) struct Index {
    sources: BTreeSet<ObjectId>,
    packs: Vec<Arc<IndexedPack>>,
    by_id: HashMap<PackId, PackNumber>,
    entries: Vec<Entry>,
    damaged: Vec<Arc<ObjectError>>,
}

/// An index object's content.
pub(crate) struct DecodedIndex {
    pub(crate) source: IndexSource,
    pub(crate) packs: Vec<(PackRecord, Vec<ChunkRecord>)>,
}

impl Index {
    /// All places where the chunk lies; two when two sessions wrote it at the same time.
    pub(crate) fn find(&self, id: &ChunkId) -> impl Iterator<Item = ChunkPlace> + '_ {
        let id = *id;
        let first = self.entries.partition_point(|entry| entry.id < id);
        self.entries[first..].iter().take_while(move |entry| entry.id == id).map(Entry::place)
    }

    pub(crate) fn pack(&self, number: PackNumber) -> &IndexedPack {
        &self.packs[number.0 as usize]
    }

    pub(crate) fn find_pack(&self, id: &PackId) -> Option<&IndexedPack> {
        self.by_id.get(id).map(|number| self.pack(*number))
    }

    pub(crate) fn contains_source(&self, id: &ObjectId) -> bool {
        self.sources.contains(id)
    }

    pub(crate) fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Index objects that could not be read. What only they describe cannot be found.
    pub(crate) fn damaged(&self) -> &[Arc<ObjectError>] {
        &self.damaged
    }

    /// The index after index objects came and went.
    fn with_changes(
        &self,
        gone: &BTreeSet<ObjectId>,
        added: Vec<DecodedIndex>,
        damaged: Vec<Arc<ObjectError>>,
    ) -> Self {
        let mut next = Self { damaged, ..Self::default() };
        let mut renumbered = vec![None; self.packs.len()];
        for (old, pack) in self.packs.iter().enumerate() {
            if !gone.contains(&pack.source.id) {
                renumbered[old] = next.adopt(Arc::clone(pack));
            }
        }
        next.sources.extend(self.sources.difference(gone));
        for entry in &self.entries {
            if let Some(PackNumber(pack)) = renumbered[entry.pack as usize] {
                next.entries.push(Entry { pack, ..*entry });
            }
        }
        for DecodedIndex { source, packs } in added {
            next.sources.insert(source.id);
            for (record, chunks) in packs {
                let pack = Arc::new(IndexedPack { record, source: source.clone() });
                if let Some(number) = next.adopt(pack) {
                    next.extend_entries(number, &chunks);
                }
            }
        }
        next.entries.sort_unstable_by_key(|entry| entry.id);
        next.entries.shrink_to_fit();
        next
    }

    /// `None` for a pack that another index object describes already.
    fn adopt(&mut self, pack: Arc<IndexedPack>) -> Option<PackNumber> {
        let number = PackNumber(u32::try_from(self.packs.len()).ok()?);
        if self.by_id.contains_key(&pack.record.id) {
            return None;
        }
        self.by_id.insert(pack.record.id, number);
        self.packs.push(pack);
        Some(number)
    }

    fn extend_entries(&mut self, pack: PackNumber, chunks: &[ChunkRecord]) {
        let mut offset = HEADER_BYTES as u32;
        for (position, ChunkRecord { chunk, sealed_bytes }) in chunks.iter().enumerate() {
            let PackedChunk { id, plain_bytes, encoding } = *chunk;
            // A pack has at most 65,536 parts, the bound of every sealed object.
            let Ok(position) = u16::try_from(position) else { return };
            let sealed_bytes = *sealed_bytes;
            self.entries.push(Entry {
                id,
                pack: pack.0,
                offset,
                sealed_bytes,
                plain_bytes,
                position,
                encoding,
            });
            offset += sealed_bytes;
        }
    }
}

impl Entry {
    fn place(&self) -> ChunkPlace {
        let Self { id, pack, offset, sealed_bytes, plain_bytes, position, encoding } = *self;
        ChunkPlace {
            chunk: PackedChunk { id, plain_bytes, encoding },
            pack: PackNumber(pack),
            position: u32::from(position),
            offset,
            sealed_bytes,
        }
    }
}

#[cfg(test)]
mod tests;
