//! The recovery of a large platform: a catalog is filled, shipped, lost, and recovered on an empty cluster.
//!
//! Rows are put into a real data directory while no program runs on it; from there on everything is what a user does.
//! The clock runs from the start of `keelson serve` with an empty data directory until its API serves what was lost.

mod figures;
mod seed;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keelson_testkit::Supervisor;

pub(crate) use self::figures::Figures;
use self::figures::Shipped;
use self::seed::Size;
use crate::cluster::Cluster;
use crate::instance::Instance;
use crate::say;

const PROFILE: &str = "vault";
const PASSPHRASE: &str = "a passphrase of a bench, kept nowhere";
/// Rows of the base, and what is added afterwards and only segments carry.
const BASE: Size = Size { points: 100_000, actions: 300_000 };
const LATER: Size = Size { points: 5_000, actions: 15_000 };

/// What outlives the source.
struct Lost {
    cluster_id: String,
    source: SourceFigures,
}

/// What was measured while the source lived.
struct SourceFigures {
    base: Shipped,
    segments: Shipped,
    entries: u64,
    enabling: Duration,
    dr_run: Duration,
    memory: u64,
}

pub(crate) async fn measure(program: &Path) -> Result<Figures> {
    let location = Supervisor::start("bench-location")?;
    let share = location.directory().join("share");
    std::fs::create_dir(&share).context("create the location")?;
    let lost = lose(program, &share).await?;
    recover(program, &share, lost).await
}

/// The first half: a platform with its catalog protects itself, and everything but the location goes.
async fn lose(program: &Path, share: &Path) -> Result<Lost> {
    let cluster = Cluster::start().await?;
    cluster.create_passphrase(PASSPHRASE).await?;
    cluster.create_namespaces(seed::applications()).await?;
    let mut instance = Instance::new(program, cluster.kubeconfig(), share)?;

    say("filling the catalog");
    let began = Instant::now();
    seed::fill(&cluster, &instance.data(), BASE).await?;
    say(&format!(
        "{} restore points, {} actions in {:.0} s",
        BASE.points,
        BASE.actions,
        began.elapsed().as_secs_f64()
    ));

    instance.serve()?;
    cluster.connect_location(PROFILE).await?;
    let began = Instant::now();
    instance.answer(&["dr", "enable", "--profile", PROFILE]).await?;
    let enabling = began.elapsed();
    let base = Shipped::without_segments(share)?;
    let enabling_memory = instance.peak_memory()?;
    instance.kill()?;

    say("five percent more, one entry a step of an action");
    let entries = seed::follow(&cluster, &instance.data(), LATER).await?;
    instance.serve()?;
    cluster.wait_served().await?;
    let began = Instant::now();
    instance.answer(&["dr", "run"]).await?;
    let dr_run = began.elapsed();
    let segments = Shipped::segments(share)?;
    let memory = enabling_memory.max(instance.peak_memory()?);
    let cluster_id = cluster.id().await?;
    instance.destroy().await?;
    cluster.destroy().await?;
    Ok(Lost { cluster_id, source: SourceFigures { base, segments, entries, enabling, dr_run, memory } })
}

/// The second half: an empty cluster, an empty data directory, and the location.
async fn recover(program: &Path, share: &Path, lost: Lost) -> Result<Figures> {
    let cluster = Cluster::start().await?;
    cluster.create_passphrase(PASSPHRASE).await?;
    let mut instance = Instance::new(program, cluster.kubeconfig(), share)?;

    say("recovering");
    let began = Instant::now();
    instance.serve()?;
    cluster.connect_location(PROFILE).await?;
    cluster.wait_served().await?;
    let ready = began.elapsed();
    let said = instance
        .answer(&[
            "dr",
            "restore",
            "--profile",
            PROFILE,
            "--source-cluster-id",
            &lost.cluster_id,
            "--output",
            "json",
        ])
        .await?;
    let page = cluster.count("restorepointcontents", Some(500)).await?;
    ensure!(page == 500, "the first page has {page} contents");
    let serving = began.elapsed();
    let memory = instance.peak_memory()?;
    let restore: serde_json::Value = serde_json::from_str(&said).context("read what dr restore said")?;

    let began = Instant::now();
    let contents = cluster.count("restorepointcontents", None).await?;
    let listing = began.elapsed();
    let expected = BASE.points + LATER.points;
    ensure!(contents == expected, "{contents} contents came back instead of {expected}");
    let memory_listing = instance.peak_memory()?;
    instance.destroy().await?;
    cluster.destroy().await?;
    Ok(Figures { source: lost.source, ready, serving, listing, restore, contents, memory, memory_listing })
}
