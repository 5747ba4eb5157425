//! What was retired is freed by itself, and what is still needed is not.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_protection::maintenance;
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::json;

use crate::fixture::World;
use crate::stage::{config, make_valid, profile};

/// Of two applications the backups of one go.
const GOES: &str = "shop";
const STAYS: &str = "wiki";
/// Of what the one has, in hex: half of it is there to be freed.
const BALLAST: usize = 150_000;

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_retired_is_freed_and_what_is_left_restores() -> Result<()> {
    let mut world = World::start().await?;
    for application in [GOES, STAYS] {
        world.namespace(application).await?;
    }
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    let maps = Kind::namespaced("v1", "ConfigMap", "configmaps");
    let ballast: Vec<_> = (0..BALLAST / 256).map(|_| keelson_testkit::random_hex::<128>()).collect();
    let ballast = json!({ "metadata": { "name": "ballast", "namespace": GOES },
        "data": { "content": ballast.join("\n") } });
    world.platform.cluster().apply_object(&maps, &ballast).await?;
    world.export(GOES, "goes", json!({})).await?;
    let export = world.export(STAYS, "stays", json!({})).await?;

    let share = world.share.path().to_owned();
    let before = bytes_below(&share);
    for content in world.list("RestorePointContent")? {
        if content.labels["k10.kasten.io/appNamespace"] == GOES {
            world.delete("RestorePointContent", ("", &content.name)).await?;
        }
    }
    eventually("what was deleted is retired", async || {
        Ok((world.list("RestorePointContent")?.len() == 2).then_some(()))
    })
    .await?;
    eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    world.clock.advance(Duration::from_secs(3 * 3600));
    let report = eventually("maintenance has passed", async || {
        Ok(maintenance::passes(&world.platform).and_then(|passes| passes.last))
    })
    .await?;
    assert_eq!((report.failures_total, report.restore_points_removed), (0, 2), "{report:?}");
    ensure!(report.bytes_freed > BALLAST as u64 / 3, "{report:?}");
    let after = bytes_below(&share);
    ensure!(after + BALLAST as u64 / 3 < before, "{before} bytes were in the location, {after} are left");

    let point = export.body.status["restorePoint"]["name"].as_str().context("the export made no point")?;
    let subject = json!({ "kind": "RestorePoint", "name": point, "namespace": STAYS });
    let spec = json!({ "subject": subject, "targetNamespace": STAYS });
    world.create("RestoreAction", (STAYS, "again"), spec).await?;
    world.completed("RestoreAction", (STAYS, "again")).await?;
    world.end().await
}
