//! The filters in memory, those of all indexes of a process together: never more than their budget, the least used
//! ones going first. They are read again from their rolls when they are wanted.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::filter::Filter;

/// What a filter takes beside its own bytes: its entry in the map, its key in the queue, allocations.
const OVERHEAD_BYTES: usize = 160;

/// Whose page it is, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PageKey {
    owner: u64,
    page: u32,
}

#[derive(Debug)]
pub(crate) struct Pages {
    budget_bytes: usize,
    owners: AtomicU64,
    resident: Mutex<Resident>,
}

#[derive(Debug, Default)]
struct Resident {
    bytes: usize,
    filters: HashMap<PageKey, Page>,
    /// In the order in which they came, or were passed over.
    queue: VecDeque<PageKey>,
}

#[derive(Debug)]
struct Page {
    filter: Arc<Filter>,
    used: bool,
}

impl Pages {
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self { budget_bytes, owners: AtomicU64::new(0), resident: Mutex::default() }
    }

    /// A number for a table, under which its pages are kept.
    pub(super) fn new_owner(&self) -> u64 {
        self.owners.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn find(&self, owner: u64, page: u32) -> Option<Arc<Filter>> {
        let mut resident = self.resident.lock().unwrap_or_else(PoisonError::into_inner);
        let page = resident.filters.get_mut(&PageKey { owner, page })?;
        page.used = true;
        Some(Arc::clone(&page.filter))
    }

    pub(super) fn keep(&self, owner: u64, page: u32, filter: &Arc<Filter>) {
        let mut resident = self.resident.lock().unwrap_or_else(PoisonError::into_inner);
        let key = PageKey { owner, page };
        let kept = Page { filter: Arc::clone(filter), used: false };
        if resident.filters.insert(key, kept).is_none() {
            resident.bytes += filter.bytes() + OVERHEAD_BYTES;
            resident.queue.push_back(key);
        }
        while resident.bytes > self.budget_bytes && resident.evict_one() {}
    }

    /// Drops the pages of a table that is gone.
    pub(super) fn forget(&self, owner: u64) {
        let mut resident = self.resident.lock().unwrap_or_else(PoisonError::into_inner);
        let Resident { bytes, filters, queue } = &mut *resident;
        queue.retain(|key| {
            if key.owner != owner {
                return true;
            }
            let gone = filters.remove(key);
            *bytes -= gone.map_or(0, |page| page.filter.bytes() + OVERHEAD_BYTES);
            false
        });
    }

    #[cfg(test)]
    pub(super) fn resident_bytes(&self) -> usize {
        self.resident.lock().unwrap().bytes
    }
}

impl Resident {
    /// A page that was used since it was looked at last gets a second chance.
    fn evict_one(&mut self) -> bool {
        while let Some(key) = self.queue.pop_front() {
            let Some(page) = self.filters.get_mut(&key) else { continue };
            if std::mem::take(&mut page.used) {
                self.queue.push_back(key);
                continue;
            }
            self.bytes -= page.filter.bytes() + OVERHEAD_BYTES;
            self.filters.remove(&key);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds_and_what_is_used_stays() {
        let filter = Arc::new(Filter::build(&[1, 2, 3]));
        let each = filter.bytes() + OVERHEAD_BYTES;
        let pages = Pages::new(10 * each);
        for page in 0..1000 {
            pages.keep(1, page, &filter);
            assert!(pages.resident_bytes() <= 10 * each);
            pages.find(1, 0).unwrap();
        }
        pages.keep(2, 0, &filter);
        pages.forget(1);
        assert!(pages.find(1, 0).is_none());
        assert!(pages.find(2, 0).is_some());
        assert_eq!(pages.resident_bytes(), each);
    }
}
