//! The rows of some index objects in memory: those that are too few for a file, or not yet in one.

use keelson_crypto::HEADER_BYTES;
use keelson_model::{ChunkId, PackId};

use super::DecodedIndex;
use crate::format::index_record::{ChunkRecord, PackRecord};
use crate::format::index_roll::{self, ChunkRow, NamesPack, PackRow, RollSource, RowedChunk};

/// What stores call a version takes about so much.
const VERSION_BYTES: usize = 48;

/// Sorted once [`MemoryRows::sort`] was called, and looked into only then.
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryRows {
    pub(super) sources: Vec<RollSource>,
    pub(super) records: Vec<PackRecord>,
    pub(super) chunks: Vec<ChunkRow>,
    pub(super) packs: Vec<PackRow>,
}

impl MemoryRows {
    pub(super) fn add(&mut self, decoded: DecodedIndex) {
        let DecodedIndex { source, packs } = decoded;
        let (first_pack, chunks_before) = (self.records.len() as u32, self.chunks.len());
        for (record, chunks) in packs {
            let number = self.records.len() as u32;
            self.packs.push(index_roll::encode_pack(&record.id, number));
            self.records.push(record);
            self.extend_chunks(number, &chunks);
        }
        let packs = self.records.len() as u32 - first_pack;
        let chunks = (self.chunks.len() - chunks_before) as u64;
        self.sources.push(RollSource { id: source.id, version: source.version, first_pack, packs, chunks });
    }

    fn extend_chunks(&mut self, pack: u32, chunks: &[ChunkRecord]) {
        let mut offset = HEADER_BYTES as u32;
        for (position, ChunkRecord { chunk, sealed_bytes }) in chunks.iter().enumerate() {
            // A pack has at most 65,536 parts, the bound of every sealed object.
            let Ok(position) = u16::try_from(position) else { return };
            let (chunk, sealed_bytes) = (*chunk, *sealed_bytes);
            self.chunks.push(index_roll::encode_chunk(&RowedChunk {
                chunk,
                pack,
                offset,
                sealed_bytes,
                position,
            }));
            offset += sealed_bytes;
        }
    }

    pub(super) fn sort(&mut self) {
        self.chunks.sort_unstable();
        self.packs.sort_unstable();
    }

    /// The rows of the sources that `keep` says, with their packs numbered anew.
    pub(super) fn filtered(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut kept = Self::default();
        // For each pack, its new number.
        let mut numbers = vec![None; self.records.len()];
        for (_, source) in self.sources.iter().enumerate().filter(|(ordinal, _)| keep(*ordinal)) {
            let first_pack = kept.records.len() as u32;
            let packs = source.first_pack as usize..(source.first_pack + source.packs) as usize;
            for (number, record) in packs.clone().zip(&self.records[packs]) {
                numbers[number] = Some(kept.records.len() as u32);
                kept.records.push(record.clone());
            }
            kept.sources.push(RollSource { first_pack, ..source.clone() });
        }
        kept.chunks = renumber(&self.chunks, &numbers);
        kept.packs = renumber(&self.packs, &numbers);
        kept
    }

    pub(super) fn find_chunk(&self, id: &ChunkId) -> &[ChunkRow] {
        equal_range(&self.chunks, id.as_bytes())
    }

    pub(super) fn find_pack(&self, id: &PackId) -> &[PackRow] {
        equal_range(&self.packs, id.as_bytes())
    }

    /// Roughly what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let pack_bytes = size_of::<PackRow>() + size_of::<PackRecord>() + VERSION_BYTES;
        self.chunks.len() * size_of::<ChunkRow>()
            + self.packs.len() * pack_bytes
            + self.sources.len() * (size_of::<RollSource>() + VERSION_BYTES)
    }

    /// Empties it, and keeps its memory for the next rows.
    pub(super) fn clear(&mut self) {
        let Self { sources, records, chunks, packs } = self;
        sources.clear();
        records.clear();
        chunks.clear();
        packs.clear();
    }

    pub(super) fn shrink(&mut self) {
        self.sources.shrink_to_fit();
        self.records.shrink_to_fit();
        self.chunks.shrink_to_fit();
        self.packs.shrink_to_fit();
    }
}

fn renumber<Row: NamesPack + Copy>(rows: &[Row], numbers: &[Option<u32>]) -> Vec<Row> {
    let renumbered = rows.iter().filter_map(|row| {
        let mut row = *row;
        row.set_pack(numbers[row.pack() as usize]?);
        Some(row)
    });
    renumbered.collect()
}

fn equal_range<'a, const ROW: usize>(rows: &'a [[u8; ROW]], key: &[u8]) -> &'a [[u8; ROW]] {
    let before = rows.partition_point(|row| row[..key.len()] < *key);
    let equal = rows[before..].partition_point(|row| row.starts_with(key));
    &rows[before..before + equal]
}
