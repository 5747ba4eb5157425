//! A rehearsal that is thrown away takes nothing of its source with it.

use anyhow::{Result, ensure};
use keelson_model::names::OWNERSHIP_CONFIG_MAP;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_protection::status;
use keelson_testkit::eventually;
use keelson_workload::{Kind, NamespacedName};
use serde_json::json;

use crate::fixture::World;
use crate::stage::{NAMESPACE, config, make_valid, profile};

const APPLICATION: &str = "shop";

/// The ConfigMap goes with its namespace, and that it is gone is what takes the source's backups over.
#[tokio::test(flavor = "multi_thread")]
async fn tearing_a_rehearsal_down_takes_nothing_over() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(APPLICATION).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.export(APPLICATION, "first", json!({})).await?;
    let source = world.platform.cluster_id().clone();
    let folder = format!("k10/{source}");

    let mut world = world.lose_cluster().await?;
    // The way to the location outlives what the namespace held, which is deleted in any order.
    let mut held = profile();
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    make_valid(&world.platform, &config("Profile", "profiles"), &held).await?;
    world.serve();
    world.recover(&source).await?;
    let left = world.listing(&folder)?;

    let cluster = world.platform.cluster();
    let namespaces = Kind::cluster("v1", "Namespace", "namespaces");
    cluster.delete_object(&namespaces, None, NAMESPACE).await?;
    eventually("the ConfigMap is gone with its namespace", async || {
        let at = NamespacedName::new(NAMESPACE, OWNERSHIP_CONFIG_MAP);
        Ok(cluster.read_config_map(&at).await?.is_none().then_some(()))
    })
    .await?;
    let ownership = || status::observe(&world.platform).ownership;
    let told = eventually("it is told, or taken over", async || {
        let ownership = ownership();
        let torn_down = ownership.waits.iter().any(|why| why.contains("is being deleted"));
        Ok((torn_down || ownership.state != "Pending").then_some(ownership))
    })
    .await?;
    ensure!(told.state == "Pending", "{told:?}");
    ensure!(cluster.read_object(&namespaces, None, NAMESPACE).await?.is_some(), "it is still there");
    ensure!(world.listing(&folder)? == left, "the source's backups are as they were");
    world.end().await
}
