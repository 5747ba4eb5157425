//! The recovery of a large platform: a catalog is filled, shipped, lost, and recovered on an empty cluster.
//!
//! Rows are put into a real data directory while no program runs on it; from there on everything is what a user does.
//! The clock runs from the start of `keelson serve` with an empty data directory until its API serves what was lost.

mod figures;
mod rebase;
pub(crate) mod seed;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_model::Clock;
use keelson_testkit::Supervisor;

use self::figures::Shipped;
pub(crate) use self::figures::{Figures, MEMORY_GATE, SERVING_AIM, SERVING_GATE, missed_by_serving};
use self::rebase::Rebased;
use self::seed::Size;
use crate::clock::WallClock;
use crate::cluster::Cluster;
use crate::instance::Instance;
use crate::say;

pub(crate) const PROFILE: &str = "vault";
pub(crate) const PASSPHRASE: &str = "a passphrase of a bench, kept nowhere";

/// Rows of the base, and what is added afterwards and only segments carry. Whatever the split, 105,000 restore points and
/// 315,000 actions come back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Split {
    percent: u64,
    base: Size,
    later: Size,
}

impl Split {
    pub(crate) const DEFAULT_PERCENT: u64 = 5;

    /// With five percent more after the base, or with half of all after it; nothing for another share.
    pub(crate) fn of(percent: u64) -> Option<Self> {
        let (base, later) = match percent {
            5 => (100_000, 5_000),
            50 => (52_500, 52_500),
            _ => return None,
        };
        Some(Self { percent, base: Size::of_points(base), later: Size::of_points(later) })
    }

    /// Whether the platform ships another base as soon as it has shipped the segments.
    fn outgrows_base(self) -> bool {
        self.percent > 25
    }
}

/// What outlives the source.
struct Lost {
    cluster_id: String,
    /// Everything was committed by then.
    moment: Timestamp,
    source: SourceFigures,
}

/// What was measured while the source lived.
struct SourceFigures {
    base: Shipped,
    segments: Shipped,
    entries: u64,
    rebased: Rebased,
    /// What came for the changed rows.
    changes: Shipped,
    enabling: Duration,
    dr_run: Duration,
    memory: u64,
}

/// A platform that runs, and whose catalog is in the location.
pub(crate) struct Protected {
    pub cluster: Cluster,
    pub instance: Instance,
    /// What enabling disaster recovery took, with the base.
    pub enabling: Duration,
}

pub(crate) async fn measure(program: &Path, split: Split) -> Result<Figures> {
    let location = Supervisor::start("bench-location")?;
    let share = location.directory().join("share");
    std::fs::create_dir(&share).context("create the location")?;
    let lost = lose(program, &share, split).await?;
    recover(program, &share, lost, split).await
}

/// Fills a catalog, starts a platform on it and lets it protect itself.
pub(crate) async fn protect(program: &Path, share: &Path, size: Size) -> Result<Protected> {
    let cluster = Cluster::start().await?;
    cluster.create_passphrase(PASSPHRASE).await?;
    cluster.create_namespaces(seed::applications()).await?;
    let mut instance = Instance::new(program, cluster.kubeconfig(), share)?;

    say("filling the catalog");
    let began = Instant::now();
    seed::fill(&cluster, &instance.data(), size).await?;
    let took = began.elapsed().as_secs_f64();
    say(&format!("{} restore points, {} actions in {took:.0} s", size.points, size.actions));

    instance.serve()?;
    cluster.connect_location(PROFILE).await?;
    let began = Instant::now();
    instance.answer(&["dr", "enable", "--profile", PROFILE]).await?;
    Ok(Protected { cluster, instance, enabling: began.elapsed() })
}

/// The first half: a platform with its catalog protects itself, and everything but the location goes.
async fn lose(program: &Path, share: &Path, split: Split) -> Result<Lost> {
    let Split { percent, base, later } = split;
    let Protected { cluster, mut instance, enabling } = protect(program, share, base).await?;
    let shipped_base = Shipped::without_segments(share)?;
    let enabling_memory = instance.peak_memory()?;
    instance.kill()?;

    say(&format!("{} restore points more ({percent} %), one entry a step of an action", later.points));
    let entries = seed::follow(&cluster, &instance.data(), later).await?;
    let moment = WallClock.now();
    instance.serve()?;
    cluster.wait_served().await?;
    let began = Instant::now();
    instance.answer(&["dr", "run"]).await?;
    let dr_run = began.elapsed();
    let segments = Shipped::segments(share)?;
    let memory = enabling_memory.max(instance.peak_memory()?);
    let cluster_id = cluster.id().await?;
    if split.outgrows_base() {
        // It finds the segments of the run before too many, and writes the base that follows them.
        instance.answer(&["dr", "run"]).await?;
    }
    instance.kill()?;
    say("a base, one percent of the rows changed, and a base again");
    let rebased = rebase::measure(&cluster, &instance.data()).await?;
    say("shipping the changed rows");
    let changes = ship_changes(&cluster, &mut instance, share).await?;
    instance.destroy().await?;
    cluster.destroy().await?;
    let source =
        SourceFigures { base: shipped_base, segments, entries, rebased, changes, enabling, dr_run, memory };
    Ok(Lost { cluster_id, moment, source })
}

/// Lets the platform ship what was changed while it did not run. Returns the segments that came.
async fn ship_changes(cluster: &Cluster, instance: &mut Instance, share: &Path) -> Result<Shipped> {
    let (segments, bases) = (Shipped::segments(share)?, Shipped::bases(share)?);
    instance.serve()?;
    cluster.wait_served().await?;
    instance.answer(&["dr", "run"]).await?;
    ensure!(Shipped::bases(share)? == bases, "a base was written while the changed rows were shipped");
    let came = Shipped::segments(share)?.since(segments);
    let came = came.context("segments went while the changed rows were shipped")?;
    ensure!(came.objects > 0, "no segment came for the changed rows");
    Ok(came)
}

/// The second half: an empty cluster, an empty data directory, and the location.
async fn recover(program: &Path, share: &Path, lost: Lost, split: Split) -> Result<Figures> {
    let cluster = Cluster::start().await?;
    cluster.create_passphrase(PASSPHRASE).await?;
    let mut instance = Instance::new(program, cluster.kubeconfig(), share)?;

    say("recovering");
    let began = Instant::now();
    instance.serve()?;
    cluster.connect_location(PROFILE).await?;
    cluster.wait_served().await?;
    let ready = began.elapsed();
    let moment = lost.moment.to_string();
    let mut words = vec!["dr", "restore", "--profile", PROFILE, "--source-cluster-id", &lost.cluster_id];
    words.extend(["--output", "json"]);
    if split.outgrows_base() {
        // Before the next base: segments are to be replayed.
        words.extend(["--point-in-time", &moment]);
    }
    let said = instance.answer(&words).await?;
    let page = cluster.count("restorepointcontents", Some(500)).await?;
    ensure!(page == 500, "the first page has {page} contents");
    let serving = began.elapsed();
    let memory = instance.peak_memory()?;
    let restore: serde_json::Value = serde_json::from_str(&said).context("read what dr restore said")?;

    let began = Instant::now();
    let contents = cluster.count("restorepointcontents", None).await?;
    let listing = began.elapsed();
    let expected = split.base.points + split.later.points;
    ensure!(contents == expected, "{contents} contents came back instead of {expected}");
    let memory_listing = instance.peak_memory()?;
    instance.destroy().await?;
    cluster.destroy().await?;
    Ok(Figures {
        split,
        source: lost.source,
        ready,
        serving,
        listing,
        restore,
        contents,
        memory,
        memory_listing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_split_the_same_comes_back() {
        for percent in [5, 50] {
            let Split { base, later, .. } = Split::of(percent).unwrap();
            assert_eq!(base.points + later.points, 105_000);
            assert_eq!(base.actions + later.actions, 315_000);
        }
        assert!(Split::of(Split::DEFAULT_PERCENT).is_some());
        assert!(Split::of(10).is_none());
    }
}
