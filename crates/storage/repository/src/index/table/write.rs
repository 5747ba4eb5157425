//! Writing a table from rows that come sorted, in the memory of one page's shortened keys.

use super::super::IndexCacheError;
use super::super::file::{CHECKSUM_BYTES, SealedWriter};
use super::super::filter::Filter;
use super::{BLOCK_BYTES, page_of, prefix_of};
use crate::format::index_roll::{PagePlace, TablePlace};
use crate::limits::INDEX_PAGE_ROWS;

pub(in super::super) struct TableWriter<'a, const ROW: usize> {
    out: &'a mut SealedWriter,
    page_bits: u32,
    pages: Vec<PagePlace>,
    /// Where the open page began.
    offset: u64,
    block: Vec<u8>,
    /// Of the open page's rows.
    keys: Vec<u64>,
}

impl<'a, const ROW: usize> TableWriter<'a, ROW> {
    /// `rows_at_most` decides how many pages there are.
    pub(in super::super) fn new(out: &'a mut SealedWriter, rows_at_most: u64) -> Self {
        let page_bits = (rows_at_most / INDEX_PAGE_ROWS).max(1).ilog2();
        let offset = out.offset();
        let block = Vec::with_capacity(BLOCK_BYTES);
        Self { out, page_bits, pages: Vec::with_capacity(1 << page_bits), offset, block, keys: Vec::new() }
    }

    pub(in super::super) fn push(&mut self, row: &[u8; ROW]) -> Result<(), IndexCacheError> {
        let prefix = prefix_of(row);
        while page_of(prefix, self.page_bits) > self.pages.len() {
            self.close_page()?;
        }
        self.keys.push(prefix << self.page_bits);
        self.block.extend_from_slice(row);
        if self.block.len() + ROW > BLOCK_BYTES - CHECKSUM_BYTES {
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

    fn close_page(&mut self) -> Result<(), IndexCacheError> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        let mut filter_bytes = 0;
        if !self.keys.is_empty() {
            let filter = Filter::build(&self.keys).encode();
            filter_bytes = (filter.len() + CHECKSUM_BYTES) as u32;
            self.out.seal(&filter)?;
        }
        self.pages.push(PagePlace { offset: self.offset, rows: self.keys.len() as u32, filter_bytes });
        self.offset = self.out.offset();
        self.keys.clear();
        Ok(())
    }

    pub(in super::super) fn finish(mut self) -> Result<TablePlace, IndexCacheError> {
        while self.pages.len() < 1 << self.page_bits {
            self.close_page()?;
        }
        Ok(TablePlace { page_bits: self.page_bits as u8, pages: self.pages })
    }
}
