//! A sorted table of fixed-width rows in a file. It is cut into pages by the first bits of the keys, which are hashes
//! and therefore evenly spread. A page is blocks of 4 KiB and, behind them, its filter.
//!
//! A key costs one read: the filter, in memory, says which row to look at, or that there is none. Where the filter is
//! not in memory, one more.

mod scan;
mod write;

use std::ops::Range;
use std::sync::Arc;

pub(super) use scan::TableScan;
pub(super) use write::TableWriter;

use super::IndexCacheError;
use super::file::{CHECKSUM_BYTES, SealedFile};
use super::filter::Filter;
use super::pages::Pages;
use crate::format::index_roll::{PagePlace, TablePlace};

/// What disks read at once. The widths of rows divide what the checksum leaves of it.
pub(super) const BLOCK_BYTES: usize = 4096;

/// The rows of a table sort by their first `KEY` bytes.
#[derive(Debug)]
pub(super) struct Table<const KEY: usize, const ROW: usize> {
    file: Arc<SealedFile>,
    page_bits: u32,
    places: Box<[PagePlace]>,
    pages: Arc<Pages>,
    owner: u64,
}

impl<const KEY: usize, const ROW: usize> Table<KEY, ROW> {
    const ROWS_PER_BLOCK: usize = (BLOCK_BYTES - CHECKSUM_BYTES) / ROW;

    pub(super) fn new(file: &Arc<SealedFile>, place: TablePlace, pages: &Arc<Pages>) -> Self {
        let TablePlace { page_bits, pages: places } = place;
        let (file, owner) = (Arc::clone(file), pages.new_owner());
        let (page_bits, places) = (u32::from(page_bits), places.into());
        Self { file, page_bits, places, pages: Arc::clone(pages), owner }
    }

    pub(super) fn rows(&self) -> u64 {
        self.places.iter().map(|place| u64::from(place.rows)).sum()
    }

    /// All rows with the key.
    pub(super) fn find(&self, key: &[u8; KEY]) -> Result<Vec<[u8; ROW]>, IndexCacheError> {
        let prefix = prefix_of(key);
        let page = page_of(prefix, self.page_bits);
        let place = self.places[page];
        if place.rows == 0 {
            return Ok(Vec::new());
        }
        let candidates = self.filter(page)?.find(prefix << self.page_bits);
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        self.read_equal(&place, candidates, key)
    }

    fn filter(&self, page: usize) -> Result<Arc<Filter>, IndexCacheError> {
        if let Some(filter) = self.pages.find(self.owner, page as u32) {
            return Ok(filter);
        }
        let PagePlace { offset, rows, filter_bytes } = self.places[page];
        let mut piece = vec![0; filter_bytes as usize];
        let body = self.file.read(offset + Self::rows_bytes(rows), &mut piece)?;
        let filter = Arc::new(Filter::decode(body, rows).ok_or_else(|| self.file.damage())?);
        self.pages.keep(self.owner, page as u32, &filter);
        Ok(filter)
    }

    fn read_equal(
        &self,
        place: &PagePlace,
        candidates: Range<u32>,
        key: &[u8; KEY],
    ) -> Result<Vec<[u8; ROW]>, IndexCacheError> {
        let (first, end) = (candidates.start as usize, candidates.end as usize);
        let mut found = Vec::new();
        for block in first / Self::ROWS_PER_BLOCK..=(end - 1) / Self::ROWS_PER_BLOCK {
            let mut piece = [0; BLOCK_BYTES];
            let body = self.file.read(place.offset + (block * BLOCK_BYTES) as u64, &mut piece)?;
            let (rows, _) = body.as_chunks::<ROW>();
            let begin = block * Self::ROWS_PER_BLOCK;
            let range = first.max(begin) - begin..end.min(begin + Self::ROWS_PER_BLOCK) - begin;
            found.extend(rows[range].iter().filter(|row| row.starts_with(key)));
        }
        Ok(found)
    }

    fn rows_bytes(rows: u32) -> u64 {
        ((rows as usize).div_ceil(Self::ROWS_PER_BLOCK) * BLOCK_BYTES) as u64
    }
}

impl<const KEY: usize, const ROW: usize> Drop for Table<KEY, ROW> {
    fn drop(&mut self) {
        self.pages.forget(self.owner);
    }
}

/// The bits of a key that choose its page and its place in the filter.
fn prefix_of(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&key[..8]);
    u64::from_be_bytes(first)
}

fn page_of(prefix: u64, page_bits: u32) -> usize {
    prefix.checked_shr(u64::BITS - page_bits).unwrap_or(0) as usize
}
