//! The policy that protects the platform runs by its schedule and lets go of what its retention does not keep.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_catalog::{Query, RowKind};
use keelson_model::{Clock, ManualClock};
use keelson_protection::{Platform, Record};
use keelson_testkit::{ControlPlane, eventually};
use keelson_workload::Cluster;
use tokio_util::sync::CancellationToken;

use crate::stage::{config, make_valid, policy, prepare, profile, settings};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs that ended well, by their scheduled time.
fn complete_runs(platform: &Platform) -> Result<Vec<String>> {
    let runs = RowKind::new("runactions.actions.kio.kasten.io");
    let page = platform.catalog()?.list(&Query::all(runs, 100))?;
    let mut times = Vec::new();
    for stored in &page.rows {
        let run = Record::parse(stored)?;
        ensure!(run.body.status["state"] != "Failed", "a run failed: {}", run.body.status);
        if run.body.status["state"] == "Complete" {
            times.extend(run.body.spec["scheduledTime"].as_str().map(str::to_owned));
        }
    }
    times.sort();
    Ok(times)
}

/// The names in a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The platform's own repository.
fn repository(platform: &Platform, share: &Path) -> Result<PathBuf> {
    let dr = share.join("k10").join(platform.cluster_id().as_str()).join("dr");
    Ok(std::fs::read_dir(&dr)?.next().context("the platform's repository")??.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dr_policy_runs_every_hour_and_keeps_four_hourly_runs() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let (data, share) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let cluster = Cluster::from_client(plane.client().await?);
    prepare(&cluster).await?;
    let start: Timestamp = "2026-03-04T09:30:00Z".parse()?;
    let clock = Arc::new(ManualClock::new(start));
    let shared: Arc<dyn Clock> = clock.clone();
    let platform = Platform::open(settings(data.path(), share.path()), cluster, shared).await?;
    let stop = CancellationToken::new();
    let mut services = tokio::task::JoinSet::new();
    services.spawn(keelson_protection::run(platform.clone(), stop.clone()));

    make_valid(&platform, &config("Profile", "profiles"), &profile()).await?;
    make_valid(&platform, &config("Policy", "policies"), &policy()).await?;
    eventually("the policy's next time is known", async || {
        let review =
            keelson_resources::find_kind("dr.kio.kasten.io", "kastendrreviews").context("the kind")?;
        let due = platform.database(review)?.count(&RowKind::new("schedules"))?;
        Ok((due > 0).then_some(()))
    })
    .await?;
    let repository = repository(&platform, share.path())?;
    let mut outcomes = vec![names(&repository.join("outcomes"))];
    for hour in 1..=7 {
        clock.advance(HOUR);
        let runs = eventually("the hourly run is complete", async || {
            let runs = complete_runs(&platform)?;
            Ok((runs.len() == hour).then_some(runs))
        })
        .await?;
        let newest: Timestamp = runs.last().context("a run")?.parse()?;
        ensure!(newest <= clock.now() && newest > clock.now() - HOUR, "{newest} is not this hour's");
        outcomes.push(names(&repository.join("outcomes")));
    }

    assert_eq!(names(&repository.join("manifests")).len(), 7, "every run wrote its manifest");
    let retired = names(&repository.join("retired"));
    let retired_of: Vec<usize> = outcomes
        .windows(2)
        .map(|hour| hour[1].difference(&hour[0]).filter(|outcome| retired.contains(*outcome)).count())
        .collect();
    assert_eq!(retired_of, [1, 1, 1, 0, 0, 0, 0], "the four newest hourly runs are kept: {retired:?}");
    stop.cancel();
    while services.join_next().await.is_some() {}
    plane.stop().await?;
    Ok(())
}
