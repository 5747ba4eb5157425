//! The machine's clock is wrong by hours while a platform is brought back from an attacked location: it comes back, or
//! says why not, and takes nothing over before the clock is right.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_model::Clock;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_protection::{CLOCK_DIFFERENCE_MAX, status};
use keelson_store::{StoreExt, StorePath};
use keelson_testkit::{Minio, eventually};
use serde_json::json;

use crate::bucket::{Locks, attack, keys, serve_to, start_bucket, store_of};
use crate::fixture::World;
use crate::stage::NAMESPACE;

const APPLICATION: &str = "shop";
const HOUR: Duration = Duration::from_secs(3600);
/// What was shipped soon after a moment belongs to it.
const LATER: Duration = Duration::from_secs(12);

async fn serve(world: &mut World, minio: &Minio) -> Result<()> {
    world.namespace(APPLICATION).await?;
    serve_to(world, minio, &minio.endpoint(), Locks::Asked).await
}

/// When the last of what is there was written, by the store's clock.
async fn last_written(minio: &Minio) -> Result<Timestamp> {
    let objects = store_of(minio).await?.list_all(&StorePath::root()).await?;
    objects.into_iter().map(|object| object.modified).max().context("an empty bucket")
}

/// `…; <first> to <last> is possible`.
fn is_range(why: &str) -> bool {
    let range = why.split_once("tells the state of ").and_then(|(_, rest)| rest.split_once("; "));
    let range = range.and_then(|(_, rest)| rest.split_once(" is possible"));
    let ends = range.and_then(|(range, _)| range.split_once(" to "));
    ends.is_some_and(|(first, last)| [first, last].iter().all(|end| end.parse::<Timestamp>().is_ok()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_whose_clock_is_wrong_comes_back_and_takes_nothing_over_until_it_is_right() -> Result<()> {
    let minio = start_bucket(Locks::Asked).await?;
    let mut world = World::start_today(CLOCK_DIFFERENCE_MAX).await?;
    serve(&mut world, &minio).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.export(APPLICATION, "first", json!({})).await?;
    world.wait_until_shipped().await?;
    let source = world.platform.cluster_id().clone();
    let mut world = world.lose_cluster().await?;
    let (before, written) = (last_written(&minio).await?, Instant::now());
    eventually("the attack is later", async || Ok((written.elapsed() > LATER).then_some(()))).await?;
    attack(&minio, source.as_str(), |_| true).await?;
    serve(&mut world, &minio).await?;

    // Behind, that moment is yet to come: it is refused, and what is possible is told.
    let info =
        json!({ "profileName": "vault", "sourceClusterID": source, "pointInTime": before.to_string() });
    world.clock.set(before - 3 * HOUR);
    let refused = world.ended_recovery("behind", info.clone()).await?.body.status;
    let why = refused.to_string();
    ensure!(
        refused["state"] == "failed" && why.contains("nothing that was shipped tells the state"),
        "{why}"
    );
    ensure!(is_range(&why), "it does not tell which moments are possible: {why}");
    world.delete("KastenDRRestore", (NAMESPACE, "behind")).await?;
    // Ahead, it is as good as ever.
    world.clock.set(before + 3 * HOUR);
    let recovered = world.ended_recovery("ahead", info).await?.body.status;
    ensure!(recovered["state"] == "success", "{recovered}");
    let contents = world.list("RestorePointContent")?;
    ensure!(contents.iter().any(|content| content.name.contains("first")), "{contents:?}");

    let claims = format!("k10/{source}/epochs/");
    let claimed = async || -> Result<Vec<String>> {
        Ok(keys(&minio).await?.into_iter().filter(|key| key.starts_with(&claims)).collect())
    };
    let strangers = claimed().await?;
    world.release_ownership().await?;
    let unowned = eventually("the take-over is refused", async || {
        Ok(status::observe(&world.platform).ownership.unowned.into_iter().find(|it| !it.why.is_empty()))
    })
    .await?;
    ensure!(unowned.cluster == source && unowned.why.contains("differ by 2h"), "{unowned:?}");
    ensure!(claimed().await? == strangers, "something was claimed where the clocks differ");

    // A process that starts with the right clock takes over at once, and waits a day from then on.
    world.rest().await;
    world.clock.set(store_of(&minio).await?.time().await?);
    world.serve();
    let owned = || status::observe(&world.platform).ownership;
    eventually("the backups are owned", async || Ok((owned().state == "Owned").then_some(()))).await?;
    ensure!(claimed().await?.len() == strangers.len() + 1, "one epoch is claimed");
    let claim = owned().claims.into_iter().find(|claim| claim.cluster == source);
    let until = claim.and_then(|claim| claim.keeps_all_until);
    ensure!(until == Some(world.clock.now() + 24 * HOUR), "{until:?}");
    world.end().await?;
    minio.stop().await
}
