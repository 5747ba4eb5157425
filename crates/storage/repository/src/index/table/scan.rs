//! Reading a table from end to end, in the memory of a few blocks.

use super::super::IndexCacheError;
use super::super::file::CHECKSUM_BYTES;
use super::{BLOCK_BYTES, Table};
use crate::limits::INDEX_READ_AHEAD_BYTES;

/// The rows of a table in their order.
pub(in super::super) struct TableScan<'a, const KEY: usize, const ROW: usize> {
    table: &'a Table<KEY, ROW>,
    page: usize,
    /// Rows of the page that were read.
    rows_read: usize,
    blocks: Vec<u8>,
    /// Rows that are in `blocks`, and those of them that were given.
    rows: usize,
    given: usize,
}

impl<'a, const KEY: usize, const ROW: usize> TableScan<'a, KEY, ROW> {
    pub(in super::super) fn new(table: &'a Table<KEY, ROW>) -> Self {
        Self { table, page: 0, rows_read: 0, blocks: Vec::new(), rows: 0, given: 0 }
    }

    /// Reads the next blocks; `false` at the end.
    fn read_more(&mut self) -> Result<bool, IndexCacheError> {
        let per_block = Table::<KEY, ROW>::ROWS_PER_BLOCK;
        while let Some(place) = self.table.places.get(self.page) {
            let left = place.rows as usize - self.rows_read;
            if left == 0 {
                (self.page, self.rows_read) = (self.page + 1, 0);
                continue;
            }
            let blocks = left.div_ceil(per_block).min(INDEX_READ_AHEAD_BYTES / BLOCK_BYTES);
            self.blocks.resize(blocks * BLOCK_BYTES, 0);
            let offset = place.offset + (self.rows_read / per_block * BLOCK_BYTES) as u64;
            self.table.file.read_many(offset, &mut self.blocks, BLOCK_BYTES)?;
            (self.rows, self.given) = (left.min(blocks * per_block), 0);
            self.rows_read += self.rows;
            return Ok(true);
        }
        Ok(false)
    }
}

impl<const KEY: usize, const ROW: usize> Iterator for TableScan<'_, KEY, ROW> {
    type Item = Result<[u8; ROW], IndexCacheError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.given == self.rows {
            match self.read_more() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let per_block = (BLOCK_BYTES - CHECKSUM_BYTES) / ROW;
        let at = self.given / per_block * BLOCK_BYTES + self.given % per_block * ROW;
        let mut row = [0; ROW];
        row.copy_from_slice(&self.blocks[at..at + ROW]);
        self.given += 1;
        Some(Ok(row))
    }
}
