//! Where chunks lie: the union of all index objects, on local disk but for what is small, sorted by chunk id.
//!
//! The rows of index objects are merged into *rolls*, immutable files; an [`Index`] is a handful of them, the rows of
//! the newest objects in memory, and for each layer which of its objects are gone. In memory are the rolls' filters,
//! about ten bits a chunk and never more than their budget, and about a hundred bytes for each index object.
//! `docs/format/index-cache.md` draws the files; `docs/decisions/0016-the-index-is-a-local-copy.md` says why.

mod build;
mod cache;
mod error;
mod file;
mod filter;
mod folder;
mod layer;
mod load;
mod merge;
mod packs;
mod pages;
mod roll;
mod rows;
mod spill;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use keelson_crypto::ObjectId;
use keelson_model::{ChunkId, PackId};
use keelson_store::VersionId;

pub use cache::IndexCache;
pub(crate) use cache::LocalIndex;
pub use error::IndexCacheError;
#[cfg(any(test, fuzzing))]
pub(crate) use filter::{filter_samples, withstand_filter};
pub use load::LoadIndexError;
pub(crate) use load::{fetch_index_object, refresh};
pub(crate) use merge::Workplace;
pub(crate) use packs::PackSet;
pub(crate) use spill::SpillingSet;

use crate::format::index_record::{ChunkRecord, PackRecord};
use crate::format::index_roll::{NamesPack, RowedChunk};
use crate::format::pack_directory::PackedChunk;
use crate::object::ObjectError;
use layer::Layer;

/// A pack's number in one [`Index`]; it means nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PackNumber {
    layer: u32,
    pack: u32,
}

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// An index object's content.
pub(crate) struct DecodedIndex {
    pub(crate) source: IndexSource,
    pub(crate) packs: Vec<(PackRecord, Vec<ChunkRecord>)>,
}

/// One state of the index. It never changes; a refresh makes another. What looks something up may read the disk.
#[derive(Debug, Default)]
pub(crate) struct Index {
    layers: Vec<Layer>,
    /// The layer of each index object, and its place in it.
    sources: HashMap<ObjectId, (u32, u32)>,
    damaged: Vec<Arc<ObjectError>>,
}

impl Index {
    fn new(layers: Vec<Layer>, damaged: Vec<Arc<ObjectError>>) -> Self {
        let mut sources = HashMap::with_capacity(layers.iter().map(|layer| layer.sources().len()).sum());
        for (number, layer) in (0..).zip(&layers) {
            sources.extend(layer.live_sources().map(|(place, source)| (source.id, (number, place as u32))));
        }
        Self { layers, sources, damaged }
    }

    /// All places where the chunk lies; two when two sessions wrote it at the same time.
    pub(crate) fn find(&self, id: &ChunkId) -> Result<Vec<ChunkPlace>, IndexCacheError> {
        let mut places = Vec::new();
        for (number, layer) in (0..).zip(&self.layers) {
            for row in layer.find_chunk(id)? {
                let RowedChunk { chunk, pack, offset, sealed_bytes, position } = layer.decode(&row)?;
                if layer.is_live(layer.source_of(pack)) {
                    let pack = PackNumber { layer: number, pack };
                    let position = u32::from(position);
                    places.push(ChunkPlace { chunk, pack, position, offset, sealed_bytes });
                }
            }
        }
        if places.len() > 1 {
            self.drop_repeated(&mut places)?;
        }
        Ok(places)
    }

    /// A pack that two index objects describe is one place all the same.
    fn drop_repeated(&self, places: &mut Vec<ChunkPlace>) -> Result<(), IndexCacheError> {
        let mut packs = Vec::with_capacity(places.len());
        for place in &*places {
            packs.push(self.pack(place.pack)?.record.id);
        }
        let mut at = 0;
        places.retain(|_| {
            at += 1;
            !packs[..at - 1].contains(&packs[at - 1])
        });
        Ok(())
    }

    /// The pack with a number that this index gave.
    pub(crate) fn pack(&self, number: PackNumber) -> Result<IndexedPack, IndexCacheError> {
        let layer = &self.layers[number.layer as usize];
        let record = layer.record(number.pack)?;
        Ok(IndexedPack { record, source: (&layer.sources()[layer.source_of(number.pack)]).into() })
    }

    pub(crate) fn find_pack(&self, id: &PackId) -> Result<Option<IndexedPack>, IndexCacheError> {
        for (number, layer) in (0..).zip(&self.layers) {
            for row in layer.find_pack(id)? {
                if layer.is_live(layer.source_of(row.pack())) {
                    return self.pack(PackNumber { layer: number, pack: row.pack() }).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Calls `take` with every pack, in no order and in bounded memory; twice with one that two index objects
    /// describe. Its chunks are in its own directory, and in the index object that is its source.
    #[cfg(test)]
    pub(crate) fn for_each_pack<E: From<IndexCacheError>>(
        &self,
        mut take: impl FnMut(IndexedPack) -> Result<(), E>,
    ) -> Result<(), E> {
        for layer in &self.layers {
            for (_, source) in layer.live_sources() {
                let of: IndexSource = source.into();
                layer.for_each_record(source, |record| take(IndexedPack { record, source: of.clone() }))?;
            }
        }
        Ok(())
    }

    /// The index objects whose content is here.
    pub(crate) fn sources(&self) -> impl Iterator<Item = IndexSource> {
        let readable = self.layers.iter().filter(|layer| !layer.is_damaged());
        readable.flat_map(|layer| layer.live_sources().map(|(_, source)| source.into()))
    }

    /// An index object whose content is here, as it was listed.
    fn find_source(&self, id: &ObjectId) -> Option<IndexSource> {
        let (layer, place) = self.sources.get(id)?;
        let layer = &self.layers[*layer as usize];
        (!layer.is_damaged()).then(|| (&layer.sources()[*place as usize]).into())
    }

    pub(crate) fn contains_source(&self, id: &ObjectId) -> bool {
        self.sources.contains_key(id)
    }

    pub(crate) fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Index objects that could not be read. What only they describe cannot be found.
    pub(crate) fn damaged(&self) -> &[Arc<ObjectError>] {
        &self.damaged
    }

    /// Something on local disk was found damaged since this state was made.
    fn has_damaged_layer(&self) -> bool {
        self.layers.iter().any(Layer::is_damaged)
    }
}

#[cfg(test)]
mod tests;
