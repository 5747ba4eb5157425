//! An export that the catalog does not know is not lost: one that ended after the last entry that reached the location, or
//! after the snapshot that the platform's volume was put back to.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_testkit::eventually;
use serde_json::json;

use crate::fixture::{World, copy};
use crate::stage::{NAMESPACE, config, make_valid, profile};

const APPLICATION: &str = "shop";

/// Another place than that of disaster recovery, in the same share.
const ELSEWHERE: &str = "elsewhere";

async fn serve(world: &mut World) -> Result<()> {
    world.namespace(APPLICATION).await?;
    let mut elsewhere = profile();
    elsewhere["metadata"]["name"] = json!(ELSEWHERE);
    elsewhere["spec"]["locationSpec"]["fileStore"]["path"] = json!(ELSEWHERE);
    std::fs::create_dir_all(world.share.path().join(ELSEWHERE))?;
    for profile in [profile(), elsewhere] {
        make_valid(&world.platform, &config("Profile", "profiles"), &profile).await?;
    }
    world.serve();
    Ok(())
}

/// The exports that the catalog knows.
fn exports(world: &World) -> Result<BTreeSet<String>> {
    let mut contents = world.list("RestorePointContent")?;
    contents.retain(|content| content.labels.contains_key("k10.kasten.io/exportProfile"));
    Ok(contents.into_iter().map(|content| content.name).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_the_shipped_catalog_does_not_know_is_a_restore_point_again() -> Result<()> {
    let mut world = World::start().await?;
    serve(&mut world).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.export(APPLICATION, "first", json!({})).await?;
    world.wait_until_shipped().await?;
    let source = world.platform.cluster_id().clone();
    let folder = format!("k10/{source}");
    let shipped = world.listing(&folder)?;
    world.export(APPLICATION, "second", json!({})).await?;
    let there = json!({ "profile": { "name": ELSEWHERE, "namespace": NAMESPACE } });
    world.export(APPLICATION, "third", there).await?;
    world.wait_until_shipped().await?;
    let known = exports(&world)?;
    ensure!(known.len() == 3, "{known:?}");

    // The segments that tell of it never arrived.
    let mut world = world.lose_cluster().await?;
    let root = world.share.path().join(&folder);
    let later = world.listing(&folder)?;
    let segments = later.difference(&shipped).filter(|path| path.contains("/segments/"));
    for segment in segments {
        std::fs::remove_file(root.join(segment))?;
    }
    serve(&mut world).await?;
    world.recover(&source).await?;
    eventually("all exports are restore points", async || Ok((exports(&world)? == known).then_some(())))
        .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_since_the_snapshot_that_a_volume_was_put_back_to_is_a_restore_point_again() -> Result<()> {
    let mut world = World::start().await?;
    serve(&mut world).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.export(APPLICATION, "first", json!({})).await?;
    world.wait_until_shipped().await?;
    let snapshot = tempfile::tempdir()?;
    let mut world = world.restart(|volume| copy(volume, snapshot.path())).await?;
    serve(&mut world).await?;
    world.export(APPLICATION, "second", json!({})).await?;
    world.wait_until_shipped().await?;
    let known = exports(&world)?;
    ensure!(known.len() == 2, "{known:?}");

    let put_back = |volume: &Path| {
        std::fs::remove_dir_all(volume)?;
        copy(snapshot.path(), volume)
    };
    let mut world = world.restart(put_back).await?;
    ensure!(exports(&world)?.len() == 1, "the snapshot does not know of the second");
    world.serve();
    eventually("both exports are restore points", async || Ok((exports(&world)? == known).then_some(())))
        .await?;
    let subject = json!({ "kind": "RestorePoint", "namespace": APPLICATION, "name": world
        .list("RestorePoint")?
        .into_iter()
        .find(|point| point.name.starts_with("second") && point.labels.contains_key("k10.kasten.io/exportProfile"))
        .context("the restore point")?
        .name });
    let spec = json!({ "subject": subject, "targetNamespace": APPLICATION });
    world.create("RestoreAction", (APPLICATION, "again"), spec).await?;
    world.completed("RestoreAction", (APPLICATION, "again")).await?;
    world.end().await
}
