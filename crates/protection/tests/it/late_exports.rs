//! An export that ended after the last entry that reached the location is not lost with it.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_testkit::eventually;
use serde_json::json;

use crate::fixture::World;
use crate::stage::{config, make_valid, profile};

const APPLICATION: &str = "shop";

async fn serve(world: &mut World) -> Result<()> {
    world.namespace(APPLICATION).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
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
    world.wait_until_shipped().await?;
    let known = exports(&world)?;
    ensure!(known.len() == 2, "{known:?}");

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
    eventually("both exports are restore points", async || Ok((exports(&world)? == known).then_some(())))
        .await?;
    world.end().await
}
