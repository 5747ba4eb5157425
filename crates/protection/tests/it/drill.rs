//! The platform shows by itself, once a day, that it would come back.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use keelson_crypto::VerifyingKey;
use keelson_model::Clock;
use keelson_model::names::REPORTS_CONFIG_MAP;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::drill::DrillReport;
use keelson_protection::recovery::enable::enable;
use keelson_protection::recovery::report::ReportDocument;
use keelson_protection::recovery::state;
use keelson_protection::{Platform, metrics, status};
use keelson_testkit::eventually;
use keelson_workload::NamespacedName;

use crate::fixture::{World, copy, is_unfinished, put_note};
use crate::stage::{NAMESPACE, config, make_valid, profile};

const HOUR: Duration = Duration::from_secs(3600);
/// The platform writes to its location a few times a minute at most.
const PUT_BACK_TRIES: usize = 20;

/// The first drill after a moment.
async fn drilled_after(platform: &Platform, moment: Timestamp) -> Result<DrillReport> {
    eventually("a drill has ended", async || {
        let last = state::drills(platform)?.and_then(|drills| drills.last);
        Ok(last.filter(|last| last.at >= moment))
    })
    .await
}

/// A platform that protects itself, and when its first drill is due.
async fn protected() -> Result<(World, Timestamp)> {
    let mut world = World::start().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.serve();
    let due = eventually("the first drill is due", async || {
        Ok(state::drills(&world.platform)?.map(|drills| drills.next))
    })
    .await?;
    Ok((world, due))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_a_day_proves_the_location_and_names_what_was_damaged_since() -> Result<()> {
    let (world, due) = protected().await?;
    let (platform, clock) = (world.platform.clone(), world.clock.clone());
    clock.advance(HOUR);
    let report = drilled_after(&platform, due).await?;
    assert_eq!((report.findings_total, report.is_green()), (0, true), "{:?}", report.findings);
    assert!(report.through.is_some() && report.repositories == 1 && report.bytes_read > 0, "{report:?}");
    assert!(!world.data.path().join("drill").exists(), "nothing is left of the catalog that was built");
    assert_eq!(newest_report(&world, report.at).await?.drill, report);
    assert_eq!(told(&world), (None, true));

    let cluster = world.share.path().join("k10").join(platform.cluster_id().as_str());
    for pack in packs(&repository(&cluster)?)? {
        let mut bytes = std::fs::read(&pack)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&pack, bytes)?;
    }
    let moment = clock.now();
    clock.advance(24 * HOUR);
    let report = drilled_after(&platform, moment + HOUR).await?;
    assert!(!report.is_green());
    assert!(report.findings.iter().any(|finding| finding.contains("packs/")), "{:?}", report.findings);
    assert_eq!(newest_report(&world, report.at).await?.drill, report);
    let alarm =
        format!("the drill at {} failed: a recovery might not succeed: {}", report.at, report.findings[0]);
    assert_eq!(told(&world), (Some(alarm), false));
    world.end().await
}

/// The alarm about the last drill, and whether the metric says that it went well.
fn told(world: &World) -> (Option<String>, bool) {
    let status = status::observe(&world.platform);
    let metrics = metrics::render(&status, world.clock.now());
    let value = metrics.lines().find_map(|line| line.strip_prefix("keelson_drill_last_success "));
    let alarms = status.disaster_recovery.map(|dr| dr.alarms).unwrap_or_default();
    (alarms.into_iter().find(|alarm| alarm.starts_with("the drill at ")), value == Some("1"))
}

/// The signed report of a drill out of the cluster, checked by the key in the status.
async fn newest_report(world: &World, of: Timestamp) -> Result<ReportDocument> {
    let key: VerifyingKey =
        status::observe(&world.platform).report_key.context("no key of reports")?.parse()?;
    let at = NamespacedName::new(NAMESPACE, REPORTS_CONFIG_MAP);
    eventually("the report is published", async || {
        let map = world.platform.cluster().read_config_map(&at).await?;
        let Some(text) = map.and_then(|map| map.data.into_values().next_back()) else { return Ok(None) };
        let report = ReportDocument::check(&text, &key)?;
        Ok((report.drill.at == of).then_some(report))
    })
    .await
}

/// Whoever takes the end of the chain away, with the runs that prove it, leaves what is whole and older.
#[tokio::test(flavor = "multi_thread")]
async fn a_drill_names_a_location_whose_end_was_cut_off() -> Result<()> {
    let (world, due) = protected().await?;
    let (platform, clock) = (world.platform.clone(), world.clock.clone());
    let repository = repository(&world.share.path().join("k10").join(platform.cluster_id().as_str()))?;
    // The second begins behind what was acknowledged of the first.
    for number in 0..2 {
        put_note(&platform, number)?;
        let segments = repository.join("segments");
        eventually("a segment was shipped", async || Ok((count(&segments) > number).then_some(()))).await?;
    }
    for name in ["segments", "manifests"] {
        let folder = repository.join(name);
        if folder.exists() {
            // In one step: a segment may be on its way into it.
            std::fs::rename(&folder, world.share.path().join(format!("cut-off-{name}")))?;
        }
    }
    clock.advance(HOUR);
    let report = drilled_after(&platform, due).await?;
    assert!(report.findings.iter().any(|finding| tells_of_a_loss(finding)), "{:?}", report.findings);
    world.end().await
}

/// What is committed meanwhile is shipped, and what it continues is not there.
fn tells_of_a_loss(finding: &str) -> bool {
    finding.contains("was rolled back") || finding.contains("leads nowhere")
}

/// Whoever puts a copy of everything from before in place leaves what is whole, genuine and older, its runs too.
#[tokio::test(flavor = "multi_thread")]
async fn a_drill_names_a_location_that_was_put_back_to_an_older_state() -> Result<()> {
    let (world, due) = protected().await?;
    let (platform, clock) = (world.platform.clone(), world.clock.clone());
    let [present, older] = ["k10", "older"].map(|name| world.share.path().join(name));
    let segments = repository(&present.join(platform.cluster_id().as_str()))?.join("segments");
    put_note(&platform, "before")?;
    world.wait_until_shipped().await?;
    copy(&present, &older)?;
    let before = count(&segments);
    put_note(&platform, "after")?;
    eventually("it is shipped", async || Ok((count(&segments) > before).then_some(()))).await?;
    world.wait_until_shipped().await?;
    put_back(&older, &present)?;
    clock.advance(HOUR);
    let report = drilled_after(&platform, due).await?;
    assert!(report.findings.iter().any(|finding| tells_of_a_loss(finding)), "{:?}", report.findings);
    world.end().await
}

/// Puts a folder in the place of another. Where something was written there between the two steps, that is taken away, too.
fn put_back(older: &Path, present: &Path) -> Result<()> {
    for number in 0..PUT_BACK_TRIES {
        std::fs::rename(present, present.with_extension(format!("away-{number}")))?;
        match std::fs::rename(older, present) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            renamed => return renamed.context("put the older state in place"),
        }
    }
    bail!("something is written to {} all the time", present.display())
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// The only repository below `dr`.
fn repository(cluster: &Path) -> Result<PathBuf> {
    Ok(std::fs::read_dir(cluster.join("dr"))?.next().context("no repository")??.path())
}

fn packs(repository: &Path) -> Result<Vec<PathBuf>> {
    let mut packs = Vec::new();
    for folder in std::fs::read_dir(repository.join("packs"))? {
        for pack in std::fs::read_dir(folder?.path())? {
            let pack = pack?;
            if !is_unfinished(&pack) {
                packs.push(pack.path());
            }
        }
    }
    Ok(packs)
}
