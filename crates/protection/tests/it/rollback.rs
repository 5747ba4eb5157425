//! A volume that was restored to an older state finds its own chain ahead of it, and goes on beside it; one whose chain was
//! damaged goes on with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::SignedDuration;
use keelson_catalog::{RowKey, RowKind};
use keelson_model::recovery::DrMode;
use keelson_model::{Clock, Generation, ManualClock};
use keelson_protection::recovery::{enable, state};
use keelson_protection::{Platform, status};
use keelson_testkit::{BucketProtection, ControlPlane, GateHabit, Minio, S3Gate, eventually};
use keelson_workload::Cluster;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bucket::{BUCKET, Locks, keys, serve_to};
use crate::fixture::{World, copy, put_note};
use crate::stage::{config, make_valid, open_platform, prepare, profile, settings, take_plane};

/// A life of the platform on a volume: it starts, does something, and stops after all of it was shipped.
async fn live(
    plane: &ControlPlane,
    clock: &Arc<ManualClock>,
    (data, share): (&Path, &Path),
    work: impl AsyncFnOnce(&Arc<Platform>) -> Result<()>,
) -> Result<()> {
    let shared: Arc<dyn Clock> = clock.clone();
    let cluster = Cluster::from_client(plane.client().await?);
    let platform = open_platform(settings(data, share), cluster, shared).await?;
    let stop = CancellationToken::new();
    let mut services = tokio::task::JoinSet::new();
    services.spawn(keelson_protection::run(platform.clone(), stop.clone()));
    let worked = work(&platform).await;
    stop.cancel();
    while services.join_next().await.is_some() {}
    worked
}

fn commit(platform: &Platform, names: std::ops::Range<u32>) -> Result<()> {
    for name in names {
        put_note(platform, name)?;
    }
    Ok(())
}

fn repositories(share: &Path, platform: &Platform) -> Result<Vec<PathBuf>> {
    let dr = share.join("k10").join(platform.cluster_id().as_str()).join("dr");
    std::fs::read_dir(dr)?.map(|entry| Ok(entry?.path())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_was_restored_to_an_older_state_goes_on_in_a_new_repository() -> Result<()> {
    let plane = take_plane().await?;
    let (data, older, share) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let volume = data.path().join("volume");
    prepare(&Cluster::from_client(plane.client().await?)).await?;
    let clock = Arc::new(ManualClock::new("2026-03-04T09:30:00Z".parse()?));
    let places = (volume.as_path(), share.path());

    live(&plane, &clock, places, async |platform| {
        make_valid(platform, &config("Profile", "profiles"), &profile()).await?;
        enable::enable(platform, "vault", DrMode::Legacy).await?;
        commit(platform, 0..20)
    })
    .await?;
    copy(&volume, older.path())?;
    live(&plane, &clock, places, async |platform| commit(platform, 20..40)).await?;
    std::fs::remove_dir_all(&volume)?;
    copy(older.path(), &volume)?;

    live(&plane, &clock, places, async |platform| {
        let before = state::enabled(platform)?.context("it is enabled")?.repository;
        commit(platform, 100..105)?;
        eventually("shipping has left the chain", async || {
            let moved = state::moved(platform)?;
            Ok(moved.filter(|moved| moved.from == before))
        })
        .await?;
        let enabled = state::enabled(platform)?.context("it stays enabled")?;
        let parent = enabled.parent.context("the new chain names the one that it left")?;
        ensure!(enabled.repository != before && parent.repository == before);
        ensure!(platform.catalog()?.generation() == Generation(2), "a revision means one thing");
        eventually("the new repository has a base", async || {
            let bases = repositories(share.path(), platform)?
                .iter()
                .filter(|repository| repository.ends_with(enabled.repository.to_string()))
                .filter(|repository| repository.join("bases").is_dir())
                .count();
            Ok((bases == 1).then_some(()))
        })
        .await?;
        ensure!(repositories(share.path(), platform)?.len() == 2);
        Ok(())
    })
    .await?;

    // From here on it is a chain like any other.
    live(&plane, &clock, places, async |platform| {
        commit(platform, 105..110)?;
        ensure!(platform.catalog()?.generation() == Generation(2));
        enable::enable(platform, "vault", DrMode::Legacy).await?;
        ensure!(repositories(share.path(), platform)?.len() == 2, "nothing is left again");
        Ok(())
    })
    .await?;
    plane.give_back().await
}

/// A gate that lets all pass, and one that lets nothing be written.
const OPEN: GateHabit = GateHabit::Lacks("s3:BypassGovernanceRetention");
const READ_ONLY: GateHabit = GateHabit::Lacks("s3:PutObject");

fn has_note(world: &World, name: &str) -> Result<bool> {
    Ok(world.platform.catalog()?.read(&RowKey::new(RowKind::new("notes"), "", name))?.is_some())
}

/// The next process found no point that the two have in common, since the catalog had gone on: whoever asked for a moment
/// before the move was told that there is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_a_restored_volume_has_half_left_keeps_its_moments() -> Result<()> {
    let minio = Minio::start().await?;
    // The store itself shows no earlier state.
    minio.create_bucket(BUCKET, BucketProtection::None).await?;
    let gate = S3Gate::open(&minio.endpoint(), OPEN).await?;
    let mut world = World::start_today(SignedDuration::MAX).await?;
    serve_to(&mut world, &minio, &gate.endpoint(), Locks::None).await?;
    enable::enable(&world.platform, "vault", DrMode::Legacy).await?;
    put_note(&world.platform, "early")?;
    world.clock.advance(Duration::from_secs(60));
    let early = world.clock.now();
    world.clock.advance(Duration::from_secs(60));
    put_note(&world.platform, "late")?;
    world.wait_until_shipped().await?;
    let source = world.platform.cluster_id().clone();
    let left = state::enabled(&world.platform)?.context("it is enabled")?.repository;
    let snapshot = tempfile::tempdir()?;
    let mut world = world.restart(|volume| copy(volume, snapshot.path())).await?;
    world.serve();
    put_note(&world.platform, "lost")?;
    world.wait_until_shipped().await?;

    gate.change(READ_ONLY);
    let put_back = |volume: &Path| {
        std::fs::remove_dir_all(volume)?;
        copy(snapshot.path(), volume)
    };
    let mut world = world.restart(put_back).await?;
    world.serve();
    eventually("the catalog has gone on", async || {
        Ok((world.platform.catalog()?.generation() == Generation(2)).then_some(()))
    })
    .await?;
    world.rest().await;
    ensure!(state::moved(&world.platform)?.is_none(), "the bucket takes no repository");

    gate.change(OPEN);
    let mut world = world.restart(|_| Ok(())).await?;
    world.serve();
    eventually("shipping has left the chain", async || {
        Ok(state::moved(&world.platform)?.filter(|moved| moved.from == left))
    })
    .await?;
    world.wait_until_shipped().await?;
    ensure!(world.platform.catalog()?.generation() == Generation(2), "it goes on once");
    let folder = format!("k10/{source}/dr/");
    let keys = keys(&minio).await?;
    let below = keys.iter().filter_map(|key| key.strip_prefix(&folder)?.split('/').next());
    let repositories: BTreeSet<&str> = below.collect();
    ensure!(repositories.len() == 2, "{repositories:?}");

    let mut world = world.lose_cluster().await?;
    serve_to(&mut world, &minio, &minio.endpoint(), Locks::None).await?;
    let info = json!({ "profileName": "vault", "sourceClusterID": source, "pointInTime": early });
    let restored = world.ended_recovery("earlier", info).await?.body.status;
    ensure!(restored["state"] == "success", "{restored}");
    ensure!(has_note(&world, "early")? && !has_note(&world, "late")?, "{restored}");
    world.end().await?;
    minio.stop().await
}

/// Each start ended in the same error, and what waited was dropped in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_platform_whose_only_base_is_damaged_writes_another_and_says_so() -> Result<()> {
    let plane = take_plane().await?;
    let (data, share) = (tempfile::tempdir()?, tempfile::tempdir()?);
    prepare(&Cluster::from_client(plane.client().await?)).await?;
    let clock = Arc::new(ManualClock::new("2026-03-04T09:30:00Z".parse()?));
    let places = (data.path(), share.path());

    let mut base = None;
    live(&plane, &clock, places, async |platform| {
        make_valid(platform, &config("Profile", "profiles"), &profile()).await?;
        enable::enable(platform, "vault", DrMode::Legacy).await?;
        let enabled = state::enabled(platform)?.context("it is enabled")?;
        let covered = state::covered(platform)?.context("what was shipped is recorded")?;
        ensure!(covered.repository == enabled.repository && covered.shipped >= covered.by_base);
        let [repository] = &repositories(share.path(), platform)?[..] else {
            anyhow::bail!("one repository")
        };
        let names: Vec<_> = std::fs::read_dir(repository.join("bases"))?.collect::<Result<_, _>>()?;
        let [only] = &names[..] else { anyhow::bail!("one base") };
        base = Some(only.path());
        commit(platform, 0..10)
    })
    .await?;
    let base = base.context("a base")?;
    std::fs::remove_file(&base)?;
    std::fs::write(&base, b"rotted")?;

    live(&plane, &clock, places, async |platform| {
        commit(platform, 10..15)?;
        let lost =
            eventually("a new base is written", async || state::bases_lost(platform).map_err(Into::into));
        let (lost, enabled) = (lost.await?, state::enabled(platform)?.context("it stays enabled")?);
        ensure!(lost.repository == enabled.repository && lost.why.contains("open"), "{lost:?}");
        let folder = base.parent().context("a folder")?;
        eventually("it lies beside the damaged one", async || {
            Ok((std::fs::read_dir(folder)?.count() == 2).then_some(()))
        })
        .await?;
        ensure!(repositories(share.path(), platform)?.len() == 1);
        let told = status::observe(platform).disaster_recovery.context("it is told")?.alarms;
        ensure!(told.iter().any(|alarm| alarm.contains("a new one was written")), "{told:?}");
        enable::enable(platform, "vault", DrMode::Legacy).await?;
        Ok(())
    })
    .await?;
    plane.give_back().await
}
