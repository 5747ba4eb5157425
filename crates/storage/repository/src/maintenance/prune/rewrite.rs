//! Index objects without the dead: what a mixed one says of other packs is written anew, before the old one may go.

use std::collections::HashSet;

use super::PruneError;
use super::execute::Prune;
use crate::format::index_record;
use crate::index::fetch_index_object;
use crate::limits::INDEX_BYTES_TARGET;
use crate::object::ObjectError;
use crate::pack::write_index_object;

impl Prune {
    /// A second try writes all of them again: what the first wrote is one more description of the same packs.
    pub(super) async fn rewrite_indexes(&mut self) -> Result<(), PruneError> {
        let (mut entries, mut written) = (Vec::new(), HashSet::new());
        for source in self.plan.indexes.rewrite.clone() {
            let decoded = match fetch_index_object(&self.core, source).await {
                Ok(decoded) => decoded,
                Err(ObjectError::Missing { .. }) => continue,
                Err(source) => return Err(PruneError::Read { source: Box::new(source) }),
            };
            for (pack, chunks) in &decoded.packs {
                let left_out = self.plan.indexes.leave_out.binary_search(&pack.id).is_ok();
                if !left_out && written.insert(pack.id) {
                    entries.push(index_record::encode(pack, chunks));
                }
            }
            if entries.iter().map(Vec::len).sum::<usize>() >= INDEX_BYTES_TARGET {
                self.write_index(std::mem::take(&mut entries)).await?;
            }
        }
        self.write_index(entries).await?;
        self.plan.indexes.rewrite.clear();
        Ok(())
    }

    async fn write_index(&mut self, entries: Vec<Vec<u8>>) -> Result<(), PruneError> {
        if entries.is_empty() {
            return Ok(());
        }
        let written = write_index_object(&self.core, entries).await;
        written.map_err(|source| PruneError::RewriteIndex { source })?;
        self.report.indexes_written += 1;
        Ok(())
    }
}
