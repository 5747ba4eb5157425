//! A layer of an index: the rows of some index objects, in memory or in a roll, and which of those objects are gone.

use std::sync::Arc;

use keelson_model::{ChunkId, PackId};

use super::roll::Roll;
use super::rows::MemoryRows;
use super::{IndexCacheError, IndexSource};
use crate::format::index_record::PackRecord;
use crate::format::index_roll::{self, ChunkRow, PackRow, RollSource, RowedChunk};

#[derive(Debug, Clone)]
pub(super) enum Rows {
    Memory(Arc<MemoryRows>),
    Disk(Arc<Roll>),
}

/// Rows never change; which of their sources count does, from one state of the index to the next.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) body: Rows,
    /// By the source's place; empty while none is gone.
    gone: Vec<bool>,
}

impl Layer {
    pub(super) fn memory(rows: MemoryRows) -> Self {
        Self { body: Rows::Memory(Arc::new(rows)), gone: Vec::new() }
    }

    pub(super) fn disk(roll: Roll) -> Self {
        Self { body: Rows::Disk(Arc::new(roll)), gone: Vec::new() }
    }

    pub(super) fn sources(&self) -> &[RollSource] {
        match &self.body {
            Rows::Memory(rows) => &rows.sources,
            Rows::Disk(roll) => &roll.sources,
        }
    }

    /// The sources that count, with their places.
    pub(super) fn live_sources(&self) -> impl Iterator<Item = (usize, &RollSource)> {
        self.sources().iter().enumerate().filter(|(place, _)| self.is_live(*place))
    }

    pub(super) fn is_live(&self, source: usize) -> bool {
        !self.gone.get(source).copied().unwrap_or(false)
    }

    pub(super) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// The same without the sources that `drop` names.
    pub(super) fn without(mut self, mut drop: impl FnMut(&RollSource) -> bool) -> Self {
        let places: Vec<_> =
            self.live_sources().filter(|(_, source)| drop(source)).map(|(at, _)| at).collect();
        if !places.is_empty() {
            let count = self.sources().len();
            self.gone.resize(count, false);
        }
        for place in places {
            self.gone[place] = true;
        }
        self
    }

    pub(super) fn live_chunks(&self) -> u64 {
        self.live_sources().map(|(_, source)| source.chunks).sum()
    }

    /// Rows that count, and all that are there.
    pub(super) fn live_rows(&self) -> u64 {
        self.live_sources().map(|(_, source)| rows_of(source)).sum()
    }

    pub(super) fn rows(&self) -> u64 {
        self.sources().iter().map(rows_of).sum()
    }

    /// The place of the source that describes a pack.
    pub(super) fn source_of(&self, pack: u32) -> usize {
        self.sources().partition_point(|source| source.first_pack <= pack).saturating_sub(1)
    }

    /// Its file was found damaged. What it says must come from the store again.
    pub(super) fn is_damaged(&self) -> bool {
        match &self.body {
            Rows::Memory(_) => false,
            Rows::Disk(roll) => roll.file.is_damaged(),
        }
    }

    pub(super) fn find_chunk(&self, id: &ChunkId) -> Result<Vec<ChunkRow>, IndexCacheError> {
        match &self.body {
            Rows::Memory(rows) => Ok(rows.find_chunk(id).to_vec()),
            Rows::Disk(roll) => roll.chunks.find(id.as_bytes()),
        }
    }

    pub(super) fn decode(&self, row: &ChunkRow) -> Result<RowedChunk, IndexCacheError> {
        index_roll::decode_chunk(row).map_err(|_| match &self.body {
            Rows::Memory(_) => unreachable!("rows in memory are as they were encoded"),
            Rows::Disk(roll) => roll.file.damage(),
        })
    }

    pub(super) fn find_pack(&self, id: &PackId) -> Result<Vec<PackRow>, IndexCacheError> {
        match &self.body {
            Rows::Memory(rows) => Ok(rows.find_pack(id).to_vec()),
            Rows::Disk(roll) => roll.packs.find(id.as_bytes()),
        }
    }

    pub(super) fn record(&self, pack: u32) -> Result<PackRecord, IndexCacheError> {
        match &self.body {
            Rows::Memory(rows) => Ok(rows.records[pack as usize].clone()),
            Rows::Disk(roll) => roll.record(pack),
        }
    }

    /// Calls `take` with the record of each pack of a source, in order.
    pub(super) fn for_each_record<E: From<IndexCacheError>>(
        &self,
        source: &RollSource,
        mut take: impl FnMut(PackRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut numbers = source.first_pack..source.first_pack + source.packs;
        match &self.body {
            Rows::Memory(rows) => numbers.try_for_each(|number| take(rows.records[number as usize].clone())),
            Rows::Disk(roll) => {
                while !numbers.is_empty() {
                    for record in roll.records(numbers.clone())? {
                        numbers.start += 1;
                        take(record)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// The bytes that the longest version id among its packs may have.
    pub(super) fn version_bytes(&self) -> usize {
        match &self.body {
            Rows::Memory(rows) => {
                let lengths = rows.records.iter().filter_map(|record| record.version.as_ref());
                lengths.map(|version| version.as_str().len()).max().unwrap_or(0)
            }
            Rows::Disk(roll) => roll.version_bytes,
        }
    }
}

fn rows_of(source: &RollSource) -> u64 {
    source.chunks + u64::from(source.packs) + 1
}

impl From<&RollSource> for IndexSource {
    fn from(source: &RollSource) -> Self {
        Self { id: source.id, version: source.version.clone() }
    }
}
