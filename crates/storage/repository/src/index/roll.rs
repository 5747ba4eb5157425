//! A roll: the rows of some index objects in one immutable file, complete in itself.
//!
//! ```text
//! chunks by id (a table) | packs by id (a table) | records of packs by number | footer | trailer
//! ```
//!
//! Opening one reads the footer; everything else is read, and its checksum compared, when it is wanted.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use keelson_model::{ChunkId, PackId, RepositoryId};

use super::IndexCacheError;
use super::file::{CHECKSUM_BYTES, SealedFile, SealedWriter};
use super::pages::Pages;
use super::table::{BLOCK_BYTES, Table};
use crate::format::index_record::PackRecord;
use crate::format::index_roll::{
    self, CHUNK_ROW_BYTES, Footer, PACK_RECORD_BYTES, PACK_ROW_BYTES, RollSource, TRAILER_BYTES, Trailer,
};
use crate::limits::INDEX_READ_AHEAD_BYTES;

pub(super) type ChunkTable = Table<{ ChunkId::LENGTH }, CHUNK_ROW_BYTES>;
pub(super) type PackTable = Table<{ PackId::LENGTH }, PACK_ROW_BYTES>;

#[derive(Debug)]
pub(super) struct Roll {
    pub(super) file: Arc<SealedFile>,
    pub(super) chunks: ChunkTable,
    pub(super) packs: PackTable,
    pub(super) sources: Vec<RollSource>,
    records_offset: u64,
    pub(super) version_bytes: usize,
}

impl Roll {
    /// `None` for a file that is no whole roll of this repository in a form that this release writes.
    pub(super) fn open(
        file: File,
        path: PathBuf,
        repository: RepositoryId,
        pages: &Arc<Pages>,
    ) -> Option<Self> {
        let length = file.metadata().ok()?.len();
        let mut trailer = [0; TRAILER_BYTES];
        let trailer_offset = length.checked_sub(TRAILER_BYTES as u64)?;
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut trailer, trailer_offset).ok()?;
        let Trailer { roll, footer_offset, footer_bytes } = Trailer::decode(&trailer).ok()?;
        if footer_offset.checked_add(footer_bytes) != Some(trailer_offset) {
            return None;
        }
        let file = SealedFile::new(file, path, roll);
        let mut footer = vec![0; usize::try_from(footer_bytes).ok()?];
        let footer = Footer::decode(file.read(footer_offset, &mut footer).ok()?).ok()?;
        (footer.repository == repository).then(|| Self::new(file, footer, pages))
    }

    pub(super) fn new(file: SealedFile, footer: Footer, pages: &Arc<Pages>) -> Self {
        let Footer { repository: _, chunks, packs, records_offset, version_bytes, sources } = footer;
        let file = Arc::new(file);
        let chunks = Table::new(&file, chunks, pages);
        let packs = Table::new(&file, packs, pages);
        Self { file, chunks, packs, sources, records_offset, version_bytes: usize::from(version_bytes) }
    }

    /// The record of the pack with this number.
    pub(super) fn record(&self, number: u32) -> Result<PackRecord, IndexCacheError> {
        let per_block = records_per_block(self.version_bytes);
        let mut piece = [0; BLOCK_BYTES];
        let offset = self.records_offset + (number as usize / per_block * BLOCK_BYTES) as u64;
        let body = self.file.read(offset, &mut piece)?;
        self.decode_record(body, number as usize % per_block)
    }

    /// The records of neighbouring packs from `numbers`, at least one: as many as are read at once.
    pub(super) fn records(&self, numbers: Range<u32>) -> Result<Vec<PackRecord>, IndexCacheError> {
        let per_block = records_per_block(self.version_bytes);
        let (first, end) = (numbers.start as usize, numbers.end as usize);
        let blocks = (INDEX_READ_AHEAD_BYTES / BLOCK_BYTES).min(end.div_ceil(per_block) - first / per_block);
        let mut pieces = vec![0; blocks * BLOCK_BYTES];
        let offset = self.records_offset + (first / per_block * BLOCK_BYTES) as u64;
        self.file.read_many(offset, &mut pieces, BLOCK_BYTES)?;
        let end = end.min((first / per_block + blocks) * per_block);
        let at = |number: usize| (number / per_block - first / per_block) * BLOCK_BYTES;
        (first..end).map(|number| self.decode_record(&pieces[at(number)..], number % per_block)).collect()
    }

    fn decode_record(&self, block: &[u8], place: usize) -> Result<PackRecord, IndexCacheError> {
        let width = PACK_RECORD_BYTES + self.version_bytes;
        index_roll::decode_pack_record(&block[place * width..(place + 1) * width])
            .map_err(|_| self.file.damage())
    }
}

fn records_per_block(version_bytes: usize) -> usize {
    (BLOCK_BYTES - CHECKSUM_BYTES) / (PACK_RECORD_BYTES + version_bytes)
}

/// Writes records of packs one behind the other, in the order of their numbers.
pub(super) struct RecordWriter<'a> {
    out: &'a mut SealedWriter,
    version_bytes: usize,
    block: Vec<u8>,
}

impl<'a> RecordWriter<'a> {
    pub(super) fn new(out: &'a mut SealedWriter, version_bytes: usize) -> Self {
        Self { out, version_bytes, block: Vec::with_capacity(BLOCK_BYTES) }
    }

    pub(super) fn push(&mut self, record: &PackRecord) -> Result<(), IndexCacheError> {
        index_roll::encode_pack_record(record, self.version_bytes, &mut self.block);
        let width = PACK_RECORD_BYTES + self.version_bytes;
        if self.block.len() + width > BLOCK_BYTES - CHECKSUM_BYTES {
            self.close_block()?;
        }
        Ok(())
    }

    fn close_block(&mut self) -> Result<(), IndexCacheError> {
        self.block.resize(BLOCK_BYTES - CHECKSUM_BYTES, 0);
        self.out.seal(&self.block)?;
        self.block.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), IndexCacheError> {
        if self.block.is_empty() { Ok(()) } else { self.close_block() }
    }
}
