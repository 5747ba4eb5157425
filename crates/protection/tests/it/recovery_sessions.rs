//! A recovery leaves no session open in the repository that it reads: prunes there would wait for it for a day.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_protection::status;
use keelson_testkit::eventually;
use serde_json::json;

use crate::fixture::{World, files, put_note};
use crate::stage::{NAMESPACE, config, make_valid, profile};

/// The sessions of a repository, and those of them that have not ended.
fn sessions(repository: &Path) -> Result<(usize, BTreeSet<String>)> {
    let sessions = files(&repository.join("sessions"))?;
    let ids: BTreeSet<String> =
        sessions.iter().filter_map(|path| Some(path.split_once('/')?.0.to_owned())).collect();
    let ended = files(&repository.join("outcomes"))?;
    Ok((ids.len(), ids.difference(&ended).cloned().collect()))
}

async fn ends_all(repository: &Path, count: usize) -> Result<()> {
    eventually("every session has ended", async || {
        let (announced, open) = sessions(repository)?;
        Ok((announced == count && open.is_empty()).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_ends_its_session_whether_it_succeeds_or_fails() -> Result<()> {
    let mut world = World::start().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    put_note(&world.platform, "noted")?;
    eventually("everything is shipped", async || {
        let dr = status::observe(&world.platform).disaster_recovery;
        Ok(dr.and_then(|dr| dr.shipped).is_some_and(|shipped| shipped.behind == 0).then_some(()))
    })
    .await?;
    let source = world.platform.cluster_id().clone();
    let mut world = world.lose_cluster().await?;
    let listing = world.listing(&format!("k10/{source}/dr"))?;
    let repository = listing.iter().find_map(|path| path.strip_suffix("/format")).context("a repository")?;
    let repository = world.share.path().join(format!("k10/{source}/dr")).join(repository);
    let (before, open) = sessions(&repository)?;
    ensure!(open.is_empty(), "{open:?}");

    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    std::fs::rename(repository.join("packs"), repository.join("away"))?;
    let at = (NAMESPACE, "fails");
    let spec = json!({ "sourceClusterInfo": { "profileName": "vault", "sourceClusterID": source } });
    world.create("KastenDRRestore", at, spec).await?;
    eventually("the recovery has failed", async || {
        let restore = world.read("KastenDRRestore", at)?.context("the restore")?;
        Ok((restore.body.status["state"] == "failed").then_some(()))
    })
    .await?;
    ends_all(&repository, before + 1).await?;

    std::fs::rename(repository.join("away"), repository.join("packs"))?;
    world.delete("KastenDRRestore", at).await?;
    world.recover(&source).await?;
    ends_all(&repository, before + 2).await?;
    world.end().await
}
