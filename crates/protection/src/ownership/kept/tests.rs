//! Claims that are gone from the store, alone or with all that lay beside them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use keelson_model::{InstanceId, ManualClock};
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{ListPage, Store, StorePath};
use keelson_testkit::ControlPlane;
use keelson_workload::Cluster;
use serde_json::json;

use super::*;
use crate::epochs;
use crate::layout::Epoch;
use crate::locations::{OpenedWith, Place};
use crate::ownership::{claim, lineage_keys, prove};
use crate::platform::{Platform, Settings};

const NAMESPACE: &str = "kasten-io";

fn behind(store: &Arc<MemoryStore>) -> Location {
    let place = Place::FileStore { claim: "share".to_owned(), path: String::new() };
    let opened_with = OpenedWith::nothing();
    Location { profile: "vault".to_owned(), store: store.clone(), place, opened_with }
}

async fn open(plane: &ControlPlane, data: &std::path::Path) -> Result<Arc<Platform>> {
    let cluster = Cluster::from_client(plane.client().await?);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    cluster.apply_manifest(&namespace).await?;
    let clock = Arc::new(ManualClock::new("2026-03-04T09:30:00Z".parse()?));
    Ok(Platform::open(Settings::of_a_test(data), cluster, clock).await?)
}

/// Maintenance proves before it looks for anything: it made the first epoch anew in a node's own folder, which from then
/// on was taken for the share.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_gone_with_all_beside_it_is_not_made_again() -> Result<()> {
    let (plane, data) = (ControlPlane::start().await?, tempfile::tempdir()?);
    let platform = open(&plane, data.path()).await?;
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

/// The next claim had the number behind those that were left: what was shipped from then on sorted below all that was, and
/// the latest state stayed what it had been.
#[tokio::test(flavor = "multi_thread")]
async fn no_claim_is_below_one_whose_object_is_gone_and_another_of_its_number_fences() -> Result<()> {
    let (plane, data) = (ControlPlane::start().await?, tempfile::tempdir()?);
    let platform = open(&plane, data.path()).await?;
    let (ours, lineage, share) =
        (platform.cluster_id.clone(), platform.identity().lineage, Arc::new(MemoryStore::new()));
    let (location, folder) = (behind(&share), ClusterFolder::new(&ours));
    let lose = |numbers: std::ops::RangeInclusive<u32>| {
        numbers.for_each(|number| share.tamper_by_deleting(&folder.epoch(lineage, Epoch(number))));
    };
    assert_eq!(prove(&platform, &location, &ours).await?, Epoch(1));
    for number in 2..=4 {
        // As in a process that was killed before it recorded it.
        assert_eq!(claim(&platform, &location, &ours).await?, Epoch(number));
    }
    assert_eq!(prove(&platform, &location, &ours).await?, Epoch(4), "what is ours fences nobody");
    for gone in [4..=4, 3..=4, 2..=4] {
        lose(gone);
        assert_eq!(prove(&platform, &location, &ours).await?, Epoch(4));
    }

    lose(4..=4);
    let (keys, other) = (lineage_keys(&platform)?, InstanceId::from_bytes([9; 16]));
    let now = platform.clock.now();
    let theirs = epochs::claim(&*share, &folder, lineage, &keys, (other, ours.clone()), now).await?;
    assert_eq!(theirs, Epoch(4));
    let fenced = prove(&platform, &location, &ours).await;
    ensure!(matches!(fenced, Err(OwnershipError::Fenced { .. })), "{fenced:?}");
    plane.stop().await
}
