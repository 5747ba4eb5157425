//! How much lies in a repository, counted from listings alone: nothing is read.

use futures::StreamExt;
use jiff::Timestamp;
use keelson_store::{StoreError, StoreExt};

use super::{Open, Repository};
use crate::paths;

/// Objects and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// How many.
    pub objects: u64,
    /// Their bytes in the store.
    pub bytes: u64,
}

/// What lies in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// The packs.
    pub packs: Counted,
    /// The outcomes of whatever result, retired or not.
    pub outcomes: Counted,
    /// When the last of the outcomes was written, by the store's clock.
    pub newest_outcome: Option<Timestamp>,
}

impl Repository<Open> {
    /// Counts what lies there.
    pub async fn measure(&self) -> Result<Usage, StoreError> {
        let (packs, _) = self.count(paths::PACKS).await?;
        let (outcomes, newest_outcome) = self.count(paths::OUTCOMES).await?;
        Ok(Usage { packs, outcomes, newest_outcome })
    }

    async fn count(&self, folder: &str) -> Result<(Counted, Option<Timestamp>), StoreError> {
        let folder = self.core().paths.join(folder);
        let mut objects = self.core().store.stream(&folder);
        let (mut counted, mut newest) = (Counted::default(), None);
        while let Some(object) = objects.next().await {
            let object = object?;
            counted.objects += 1;
            counted.bytes += object.length;
            newest = newest.max(Some(object.modified));
        }
        Ok((counted, newest))
    }
}
