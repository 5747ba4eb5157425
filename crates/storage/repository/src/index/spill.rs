//! A set of chunk ids that may grow without bound: the newest in memory, the others in sorted files without a name,
//! merged as rolls are. In memory are at most some megabytes, and the files' filters within the budget they share.

use std::collections::HashSet;
use std::sync::Arc;

use keelson_model::ChunkId;

use super::IndexCacheError;
use super::build::first_to_merge;
use super::file::SealedWriter;
use super::merge::{RowsInOrder, Workplace, merge_rows};
use super::table::{Table, TableScan, TableWriter};

type IdTable = Table<{ ChunkId::LENGTH }, { ChunkId::LENGTH }>;

#[derive(Debug)]
pub(crate) struct SpillingSet {
    workplace: Workplace,
    memory: HashSet<ChunkId>,
    /// The largest first.
    tables: Vec<IdTable>,
}

impl SpillingSet {
    pub(crate) fn new(workplace: &Workplace) -> Self {
        let (memory, tables) = (HashSet::new(), Vec::new());
        Self { workplace: workplace.clone(), memory, tables }
    }

    /// `false` if it was there already. After an error the set is as it was, or has the id.
    pub(crate) fn insert(&mut self, id: ChunkId) -> Result<bool, IndexCacheError> {
        if self.memory.contains(&id) {
            return Ok(false);
        }
        for table in &self.tables {
            if !table.find(id.as_bytes())?.is_empty() {
                return Ok(false);
            }
        }
        if self.memory.len() >= self.workplace.sizes.ids {
            self.spill()?;
        }
        self.memory.insert(id);
        Ok(true)
    }

    fn spill(&mut self) -> Result<(), IndexCacheError> {
        let mut ids: Vec<_> = self.memory.iter().map(|id| *id.as_bytes()).collect();
        ids.sort_unstable();
        let mut sizes: Vec<_> = self.tables.iter().map(IdTable::rows).collect();
        sizes.push(ids.len() as u64);
        let first = first_to_merge(&sizes).min(self.tables.len());
        let mut inputs: Vec<RowsInOrder<'_, _>> = vec![Box::new(ids.iter().copied().map(Ok))];
        inputs.extend(self.tables[first..].iter().map(|table| Box::new(TableScan::new(table)) as _));
        let mut out = SealedWriter::create(&self.workplace.folder)?;
        let mut table = TableWriter::new(&mut out, sizes[first..].iter().sum());
        merge_rows(inputs, |_, id| table.push(&id))?;
        let place = table.finish()?;
        let file = Arc::new(out.finish_nameless()?);
        self.tables.truncate(first);
        self.tables.push(Table::new(&file, place, &self.workplace.pages));
        self.memory.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keelson_model::RepositoryId;
    use proptest::prelude::*;

    use super::*;
    use crate::index::folder::Folder;
    use crate::index::merge::Sizes;
    use crate::index::pages::Pages;

    fn workplace() -> Workplace {
        let (folder, pages) = (Arc::new(Folder::temporary()), Arc::new(Pages::new(1 << 20)));
        let sizes = Sizes { ids: 16, ..Sizes::default() };
        Workplace { folder, pages, repository: RepositoryId::from_bytes([1; 16]), sizes }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn an_id_is_new_once_wherever_it_lies(ids in prop::collection::vec(0..600u16, 0..2000)) {
            let mut set = SpillingSet::new(&workplace());
            let mut model = HashSet::new();
            for id in ids {
                let id = ChunkId::from_bytes(*keelson_crypto::Sha256::of(&id.to_le_bytes()).as_bytes());
                prop_assert_eq!(set.insert(id).unwrap(), model.insert(id));
            }
            prop_assert!(set.tables.len() <= 8, "{} tables", set.tables.len());
            prop_assert!(model.len() < 17 || !set.tables.is_empty());
        }
    }
}
