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
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use anyhow::{Result, ensure};
    use jiff::SignedDuration;
    use keelson_crypto::KdfCost;
    use keelson_model::ManualClock;
    use keelson_store::providers::memory::MemoryStore;
    use keelson_store::{ListPage, Store, StorePath};
    use keelson_testkit::ControlPlane;
    use keelson_workload::Cluster;
    use serde_json::json;

    use super::*;
    use crate::locations::{OpenedWith, Place};
    use crate::ownership::prove;
    use crate::platform::{Platform, RecoveryBounds, Settings};

    const NAMESPACE: &str = "kasten-io";

    fn settings(data: &std::path::Path) -> Settings {
        Settings {
            install_namespace: NAMESPACE.to_owned(),
            data: data.to_owned(),
            mounts: "/nowhere".into(),
            claims: BTreeMap::new(),
            ownership_grace: Duration::from_secs(60),
            clock_difference_max: SignedDuration::from_mins(5),
            quick_mode: false,
            recovery_bounds: RecoveryBounds::USUAL,
            passphrase_cost: KdfCost::LOWEST,
            aws: crate::AwsEnvironment::default(),
        }
    }

    fn behind(store: &Arc<MemoryStore>) -> Location {
        let place = Place::FileStore { claim: "share".to_owned(), path: String::new() };
        let opened_with = OpenedWith::nothing();
        Location { profile: "vault".to_owned(), store: store.clone(), place, opened_with }
    }

    /// Maintenance proves before it looks for anything: it made the first epoch anew in a node's own folder, which from then
    /// on was taken for the share.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_claim_that_is_gone_with_all_beside_it_is_not_made_again() -> Result<()> {
        let (plane, data) = (ControlPlane::start().await?, tempfile::tempdir()?);
        let cluster = Cluster::from_client(plane.client().await?);
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
        cluster.apply_manifest(&namespace).await?;
        let clock = Arc::new(ManualClock::new("2026-03-04T09:30:00Z".parse()?));
        let platform = Platform::open(settings(data.path()), cluster, clock).await?;
        let ours = platform.cluster_id.clone();

        let (share, folder) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
        let epoch = prove(&platform, &behind(&share), &ours).await?;
        let refused = prove(&platform, &behind(&folder), &ours).await;
        ensure!(matches!(refused, Err(OwnershipError::Emptied { .. })), "{refused:?}");
        let written = folder.list(&StorePath::root(), &ListPage::first()).await?;
        ensure!(written.objects.is_empty(), "something was claimed there");
        assert_eq!(prove(&platform, &behind(&share), &ours).await?, epoch);
        plane.stop().await
    }
}
