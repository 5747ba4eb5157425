//! Whose outcomes are looked for: those of a repository whose chain this process has found to be its catalog's.

use std::sync::Arc;

use anyhow::Result;
use keelson_model::ManualClock;
use keelson_model::recovery::DrMode;
use keelson_repository::OutcomeDraft;
use keelson_store::Store;
use keelson_store::providers::memory::MemoryStore;
use keelson_testkit::ControlPlane;
use keelson_workload::Cluster;
use serde_json::json;

use super::*;
use crate::layout::{ClusterFolder, Epoch};
use crate::locations::{OpenedWith, Place};
use crate::platform::Settings;
use crate::recovery::ship::writers::Started;
use crate::recovery::ship::{Sender, Shipper, Target};
use crate::recovery::state::Enabled;
use crate::repositories;
use crate::streams::new_session;

const NAMESPACE: &str = "kasten-io";

fn enabled_to(repository: RepositoryId) -> Enabled {
    Enabled {
        profile: "vault".to_owned(),
        place: Place::FileStore { claim: "share".to_owned(), path: String::new() },
        repository,
        mode: DrMode::Legacy,
        enabled_at: Timestamp::UNIX_EPOCH,
        vault_key: 1,
        slots: Vec::new(),
        parent: None,
    }
}

/// What a process left that ended before it named its outcome, or what the catalog of a volume that was put back does not
/// know of: nothing in it tells the two apart.
async fn commit_nothing(
    repository: &Repository<Open>,
    purpose: SessionPurpose,
    now: Timestamp,
) -> Result<SessionId> {
    let session = repository.load_index().await?.begin(new_session(purpose, now)).await?;
    let draft =
        OutcomeDraft { created: now, description: b"{}".to_vec(), streams: Vec::new(), retain_until: None };
    Ok(session.commit(draft).await?.id)
}

/// On a volume that was put back to a snapshot of ten days ago, maintenance retired the only copies of three days of backups
/// before shipping had found the chain to be ahead.
#[tokio::test(flavor = "multi_thread")]
async fn copies_and_runs_are_retired_only_once_shipping_has_found_the_chain_to_be_ours() -> Result<()> {
    let (plane, data) = (ControlPlane::start().await?, tempfile::tempdir()?);
    let cluster = Cluster::from_client(plane.client().await?);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    cluster.apply_manifest(&namespace).await?;
    let clock = Arc::new(ManualClock::new("2026-03-04T09:30:00Z".parse()?));
    let platform = Platform::open(Settings::of_a_test(data.path()), cluster, clock.clone()).await?;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().with_clock(clock.clone()));
    let (id, other) = (RepositoryId::from_bytes([1; 16]), RepositoryId::from_bytes([2; 16]));
    let folder = ClusterFolder::new(&platform.cluster_id).dr_repository(id);
    let keys = platform.repository_keys();
    let (root, cache) = (folder.repository(), &platform.index_cache);
    let repository =
        repositories::create_or_open(store.clone(), root, id, &keys, "vault", &[], cache).await?;
    for purpose in [SessionPurpose::Export, SessionPurpose::Backup] {
        commit_nothing(&repository, purpose, platform.clock.now()).await?;
    }
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    let proof = Ownership::proven_by_newest_epoch(platform.identity().lineage, 1);
    let retire = async || -> Result<usize> {
        let named = Named::read(&platform, &repository, &folder).await?;
        Ok(retire_unnamed(&repository, &folder, &named, &proof, platform.clock.now()).await?)
    };

    state::write_enabled(&platform, &enabled_to(id)).await?;
    assert_eq!(retire().await?, 0, "nobody has looked yet whose chain that is");
    let target = Target {
        enabled: enabled_to(id),
        store: store.clone(),
        opened_with: OpenedWith::nothing(),
        folder: folder.clone(),
        repository: repository.clone(),
        epoch: Epoch(1),
    };
    let (shipper, _) = Shipper::take_up(target, &Sender::of(&platform, id)?, &Started::never(id)).await?;
    *platform.shipper.lock().await = Some(shipper);
    state::write_enabled(&platform, &enabled_to(other)).await?;
    assert_eq!(retire().await?, 0, "it is not in force any more");
    state::write_enabled(&platform, &enabled_to(id)).await?;
    assert_eq!(retire().await?, 2);
    plane.stop().await
}
