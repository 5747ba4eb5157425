//! Several layers become one roll, in the memory of a few blocks of each.
//!
//! Order: 1 chunks, 2 packs, 3 records, 4 footer, trailer, the file is complete; then the caller uses it instead of
//! what it was made of.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use keelson_model::RepositoryId;

use super::IndexCacheError;
use super::file::SealedWriter;
use super::folder::Folder;
use super::layer::{Layer, Rows};
use super::pages::Pages;
use super::roll::{RecordWriter, Roll};
use super::table::{TableScan, TableWriter};
use crate::format::index_roll::{Footer, NamesPack, RollSource, Trailer};
use crate::limits::{CLAIMS_IN_MEMORY, INDEX_MEMORY_BYTES, INDEX_MERGE_INPUTS_MAX, INDEX_SORT_BYTES};

/// Where rolls are written and what they belong to.
#[derive(Debug, Clone)]
pub(crate) struct Workplace {
    pub(super) folder: Arc<Folder>,
    pub(super) pages: Arc<Pages>,
    pub(super) repository: RepositoryId,
    pub(super) sizes: Sizes,
}

/// When rows move to disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// What a finished index keeps in memory.
    pub(super) memory_bytes: usize,
    /// What is gathered before it is sorted and written.
    pub(super) sort_bytes: usize,
    /// Rolls merged at once.
    pub(super) merge_inputs: usize,
    /// Ids that a set keeps in memory.
    pub(super) ids: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            memory_bytes: INDEX_MEMORY_BYTES,
            sort_bytes: INDEX_SORT_BYTES,
            merge_inputs: INDEX_MERGE_INPUTS_MAX,
            ids: CLAIMS_IN_MEMORY,
        }
    }
}

/// What a merge reads: the rows of one layer, in their order.
pub(super) type RowsInOrder<'a, const ROW: usize> =
    Box<dyn Iterator<Item = Result<[u8; ROW], IndexCacheError>> + 'a>;

/// Writes what counts in `layers` into a new roll.
pub(super) fn merge(workplace: &Workplace, layers: &[Layer]) -> Result<Roll, IndexCacheError> {
    let numbering = Numbering::new(layers);
    let version_bytes = layers.iter().map(Layer::version_bytes).max().unwrap_or(0);
    let mut out = SealedWriter::create(&workplace.folder)?;

    let chunk_rows = layers.iter().map(|layer| match &layer.body {
        Rows::Memory(rows) => Box::new(rows.chunks.iter().copied().map(Ok)) as RowsInOrder<'_, _>,
        Rows::Disk(roll) => Box::new(TableScan::new(&roll.chunks)),
    });
    let rows_at_most = layers.iter().map(Layer::live_chunks).sum();
    let mut table = TableWriter::new(&mut out, rows_at_most);
    merge_rows(chunk_rows.collect(), |layer, row| numbering.apply(layer, row, |row| table.push(row)))?;
    let chunks = table.finish()?;

    let pack_rows = layers.iter().map(|layer| match &layer.body {
        Rows::Memory(rows) => Box::new(rows.packs.iter().copied().map(Ok)) as RowsInOrder<'_, _>,
        Rows::Disk(roll) => Box::new(TableScan::new(&roll.packs)),
    });
    let rows_at_most = numbering.sources.iter().map(|source| u64::from(source.packs)).sum();
    let mut table = TableWriter::new(&mut out, rows_at_most);
    merge_rows(pack_rows.collect(), |layer, row| numbering.apply(layer, row, |row| table.push(row)))?;
    let packs = table.finish()?;

    let records_offset = out.offset();
    let mut records = RecordWriter::new(&mut out, version_bytes);
    for layer in layers {
        for (_, source) in layer.live_sources() {
            layer.for_each_record(source, |record| records.push(&record))?;
        }
    }
    records.finish()?;

    let (repository, version_bytes) = (workplace.repository, version_bytes as u16);
    let sources = numbering.sources;
    let footer = Footer { repository, chunks, packs, records_offset, version_bytes, sources };
    let (footer_offset, roll) = (out.offset(), out.id());
    out.seal(&footer.encode())?;
    out.write(&Trailer { roll, footer_offset, footer_bytes: out.offset() - footer_offset }.encode())?;
    Ok(Roll::new(out.finish()?, footer, &workplace.pages))
}

/// Gives all rows in order, each with the number of the layer it comes from.
pub(super) fn merge_rows<const ROW: usize>(
    mut inputs: Vec<RowsInOrder<'_, ROW>>,
    mut take: impl FnMut(usize, [u8; ROW]) -> Result<(), IndexCacheError>,
) -> Result<(), IndexCacheError> {
    let mut heads = BinaryHeap::with_capacity(inputs.len());
    for (layer, input) in inputs.iter_mut().enumerate() {
        if let Some(row) = input.next() {
            heads.push(Reverse((row?, layer)));
        }
    }
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((row, layer)) = *head;
        take(layer, row)?;
        match inputs[layer].next() {
            Some(next) => head.0.0 = next?,
            None => {
                PeekMut::pop(head);
            }
        }
    }
    Ok(())
}

/// How the packs of each layer are numbered in the roll: a source's packs stay together.
struct Numbering<'a> {
    layers: Vec<LayerNumbering<'a>>,
    sources: Vec<RollSource>,
}

struct LayerNumbering<'a> {
    layer: &'a Layer,
    /// For each of its sources the new number of its first pack; `None` for one that is gone.
    first_packs: Vec<Option<u32>>,
}

impl<'a> Numbering<'a> {
    fn new(layers: &'a [Layer]) -> Self {
        let mut sources: Vec<RollSource> = Vec::new();
        let mut next = 0;
        let numbered = layers.iter().map(|layer| {
            let mut first_packs = vec![None; layer.sources().len()];
            for (place, source) in layer.live_sources() {
                first_packs[place] = Some(next);
                sources.push(RollSource { first_pack: next, ..source.clone() });
                next += source.packs;
            }
            LayerNumbering { layer, first_packs }
        });
        Self { layers: numbered.collect(), sources }
    }

    /// Passes on a row that counts, with its pack's new number.
    fn apply<Row: NamesPack>(
        &self,
        layer: usize,
        mut row: Row,
        mut take: impl FnMut(&Row) -> Result<(), IndexCacheError>,
    ) -> Result<(), IndexCacheError> {
        match self.layers[layer].renumber(row.pack()) {
            Some(number) => {
                row.set_pack(number);
                take(&row)
            }
            None => Ok(()),
        }
    }
}

impl LayerNumbering<'_> {
    fn renumber(&self, pack: u32) -> Option<u32> {
        if !self.layer.has_gone() {
            return Some(self.first_packs.first().copied()?? + pack);
        }
        let source = self.layer.source_of(pack);
        Some(self.first_packs[source]? + (pack - self.layer.sources()[source].first_pack))
    }
}
