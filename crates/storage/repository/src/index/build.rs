//! From one state of the index to the next: what came is sorted and written piece by piece, and layers are merged so
//! that there are few of them, each rewritten seldom.

use std::collections::HashSet;
use std::sync::Arc;

use keelson_crypto::ObjectId;

use super::layer::{Layer, Rows};
use super::merge::{Workplace, merge};
use super::rows::MemoryRows;
use super::{DecodedIndex, Index, IndexCacheError};
use crate::object::ObjectError;

/// An index in the making.
pub(crate) struct Builder {
    workplace: Workplace,
    /// What stays of the state before, and rolls made since.
    layers: Vec<Layer>,
    /// Rows that are in no roll, not sorted.
    memory: MemoryRows,
    /// Rolls made since the last merge.
    fresh: usize,
}

impl Builder {
    /// Starts from `current` without the index objects that are gone, and without what was found damaged.
    pub(super) fn new(workplace: &Workplace, current: &Index, gone: &HashSet<ObjectId>) -> Self {
        let (mut layers, mut memory) = (Vec::new(), MemoryRows::default());
        for layer in current.layers.iter().filter(|layer| !layer.is_damaged()) {
            let layer = layer.clone().without(|source| gone.contains(&source.id));
            match &layer.body {
                Rows::Memory(rows) => memory = rows.filtered(|source| layer.is_live(source)),
                Rows::Disk(_) if layer.live_sources().next().is_none() => {}
                Rows::Disk(_) => layers.push(layer),
            }
        }
        Self { workplace: workplace.clone(), layers, memory, fresh: 0 }
    }

    /// Takes an index object in.
    pub(super) fn add(&mut self, decoded: DecodedIndex) -> Result<(), IndexCacheError> {
        self.memory.add(decoded);
        if self.memory.bytes() >= self.workplace.sizes.sort_bytes {
            self.write_memory()?;
        }
        if self.fresh >= self.workplace.sizes.merge_inputs {
            self.merge_tiers()?;
        }
        Ok(())
    }

    fn write_memory(&mut self) -> Result<(), IndexCacheError> {
        self.memory.sort();
        let rows = Layer::memory(std::mem::take(&mut self.memory));
        self.layers.push(Layer::disk(merge(&self.workplace, std::slice::from_ref(&rows))?));
        self.fresh += 1;
        if let Rows::Memory(rows) = rows.body {
            self.memory = Arc::into_inner(rows).unwrap_or_default();
            self.memory.clear();
        }
        Ok(())
    }

    /// Merges the smallest layers that together outweigh the next larger one: a row is rewritten no more often than
    /// the index doubles, and the number of layers grows with its logarithm.
    fn merge_tiers(&mut self) -> Result<(), IndexCacheError> {
        self.layers.sort_by_key(|layer| std::cmp::Reverse(layer.live_rows()));
        let sizes: Vec<_> = self.layers.iter().map(Layer::live_rows).collect();
        let first = first_to_merge(&sizes);
        self.fresh = 0;
        if self.layers.len() - first < 2 {
            return Ok(());
        }
        let merged = merge(&self.workplace, &self.layers[first..])?;
        self.layers.truncate(first);
        self.layers.push(Layer::disk(merged));
        Ok(())
    }

    /// Rewrites rolls whose larger half is gone.
    fn drop_gone(&mut self) -> Result<(), IndexCacheError> {
        for layer in &mut self.layers {
            if layer.has_gone() && layer.live_rows() < layer.rows() / 2 {
                *layer = Layer::disk(merge(&self.workplace, std::slice::from_ref(layer))?);
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self, damaged: Vec<Arc<ObjectError>>) -> Result<Index, IndexCacheError> {
        if self.memory.bytes() > self.workplace.sizes.memory_bytes {
            self.write_memory()?;
        }
        self.merge_tiers()?;
        self.drop_gone()?;
        let mut layers = self.layers;
        self.memory.sort();
        self.memory.shrink();
        layers.push(Layer::memory(self.memory));
        Ok(Index::new(layers, damaged))
    }
}

/// Of sizes that fall, the first that is smaller than all behind it together; their number if there is none.
pub(crate) fn first_to_merge(sizes: &[u64]) -> usize {
    let mut behind: u64 = sizes.iter().sum();
    for (place, size) in sizes.iter().enumerate() {
        behind -= size;
        if *size < behind {
            return place;
        }
    }
    sizes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_merged_when_the_smaller_ones_outweigh_a_larger_one() {
        for (sizes, expected) in [
            (&[][..], 0),
            (&[5], 1),
            (&[5, 4], 2),
            (&[4, 2, 1], 3),
            (&[100, 4, 3, 2], 1),
            (&[8, 4, 4, 1], 0),
            (&[1, 1, 1], 0),
        ] {
            assert_eq!(first_to_merge(sizes), expected, "{sizes:?}");
        }
    }
}
