//! Whether what this instance has claimed is still there. A folder of the node where a share is not mounted, or a bucket that
//! was made anew, goes by the name of the place that was meant: a claim made there would make it look like ours.

use keelson_model::ClusterId;

use super::OwnershipError;
use crate::epochs::EpochError;
use crate::layout::ClusterFolder;
use crate::locations::{self, Location};

/// Refuses where nothing at all is left. A claim that is gone alone is made again.
pub(super) async fn require(location: &Location, cluster: &ClusterId) -> Result<(), OwnershipError> {
    let profile = location.profile.clone();
    match locations::holds_nothing_of(cluster, &*location.store).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(OwnershipError::Emptied { profile, cluster: cluster.clone() }),
        Err(source) => {
            let folder = ClusterFolder::new(cluster).root().clone();
            Err(OwnershipError::Claims { profile, source: EpochError::List { folder, source } })
        }
    }
}

#[cfg(test)]
mod tests;
