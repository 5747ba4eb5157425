//! The policy that protects the platform runs by its schedule and lets go of what its retention does not keep.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_catalog::{Actor, Query, RowKind};
use keelson_model::{Clock, ManualClock};
use keelson_protection::{Platform, Record};
use keelson_testkit::eventually;
use keelson_workload::{Cluster, Kind};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fixture::World;
use crate::stage::{
    NAMESPACE, config, make_valid, plain_policy, policy, prepare, profile, settings, take_plane,
};

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

/// Waits until the next time of so many policies is known.
pub(crate) async fn wait_scheduled(platform: &Platform, policies: u64) -> Result<()> {
    let review = keelson_resources::find_kind("dr.kio.kasten.io", "kastendrreviews").context("the kind")?;
    eventually("the next times are known", async || {
        let due = platform.database(review)?.count(&RowKind::new("schedules"))?;
        Ok((due >= policies).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dr_policy_runs_every_hour_and_keeps_four_hourly_runs() -> Result<()> {
    let plane = take_plane().await?;
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
    wait_scheduled(&platform, 1).await?;
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
    plane.give_back().await?;
    Ok(())
}

/// The scheduled runs of a policy, the first of them first.
fn runs_of(world: &World, policy: &str) -> Result<Vec<Record>> {
    let mut runs = world.list("RunAction")?;
    runs.retain(|run| run.labels["k10.kasten.io/policyName"] == policy);
    runs.sort_by_key(|run| run.body.spec["scheduledTime"].to_string());
    Ok(runs)
}

pub(crate) async fn wait_for_runs(world: &World, policy: &str, count: usize) -> Result<Vec<Record>> {
    eventually(&format!("{policy} has run {count} times"), async || {
        let runs = runs_of(world, policy)?;
        let all = runs.len() == count && runs.iter().all(|run| run.body.status["state"] == "Complete");
        Ok(all.then_some(runs))
    })
    .await
}

/// As if a run were still, or no longer, under way.
fn set_state(world: &World, mut run: Record, state: &str) -> Result<()> {
    run.body.status["state"] = json!(state);
    world.platform.catalog()?.commit(&Actor::new("test"), vec![run.replace()])?;
    Ok(())
}

/// A run that took longer than an hour met the next one of its policy.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_waits_for_its_run_before_and_then_runs_once_for_all_that_it_missed() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace("shop").await?;
    // The scheduler looks at them in this order: once the second has started, the first has been considered.
    let (slow, witness) = ("a-slow", "b-witness");
    for name in [slow, witness] {
        let policy = json!({
            "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Policy",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": {
                "frequency": "@hourly", "retention": { "hourly": 24 }, "actions": [{ "action": "backup" }],
                "selector": { "matchExpressions": [
                    { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": ["shop"] } ] },
            },
        });
        make_valid(&world.platform, &config("Policy", "policies"), &policy).await?;
    }
    world.serve();
    wait_scheduled(&world.platform, 2).await?;
    world.clock.advance(HOUR);
    let first = wait_for_runs(&world, slow, 1).await?.remove(0);
    wait_for_runs(&world, witness, 1).await?;
    set_state(&world, first, "Running")?;
    for count in [2, 3] {
        world.clock.advance(HOUR);
        wait_for_runs(&world, witness, count).await?;
        assert_eq!(runs_of(&world, slow)?.len(), 1, "the first is still under way");
    }
    let events = Kind::namespaced("events.k8s.io/v1", "Event", "events");
    let told = world.platform.cluster().list_objects(&events, Some(NAMESPACE), None).await?;
    let delays: Vec<_> = told.iter().filter(|event| event["reason"] == "RunDelayed").collect();
    ensure!(delays.len() == 1 && delays[0]["regarding"]["name"] == slow, "told once: {}", delays.len());
    set_state(&world, runs_of(&world, slow)?.remove(0), "Complete")?;
    let runs = wait_for_runs(&world, slow, 2).await?;
    assert_eq!(runs[1].body.spec["scheduledTime"], "2026-03-04T12:00:00Z", "the latest of what it missed");
    world.end().await
}

/// The next time that is remembered of the only policy.
async fn next_time(world: &World, before: Timestamp) -> Result<Timestamp> {
    let review = keelson_resources::find_kind("dr.kio.kasten.io", "kastendrreviews").context("the kind")?;
    eventually(&format!("the next time is before {before}"), async || {
        let page = world.platform.database(review)?.list(&Query::all(RowKind::new("schedules"), 2))?;
        let Some(stored) = page.rows.first() else { return Ok(None) };
        let due: serde_json::Value = serde_json::from_slice(&stored.row.body)?;
        let next: Timestamp = due["next"].as_str().context("a time")?.parse()?;
        Ok((next < before).then_some(next))
    })
    .await
}

/// It waited for the year that the clock had once shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_goes_on_after_a_clock_that_was_years_ahead() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace("shop").await?;
    let spec = json!({
        "frequency": "@hourly", "retention": { "hourly": 24 }, "actions": [{ "action": "backup" }],
        "selector": { "matchExpressions": [
            { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": ["shop"] } ] },
    });
    make_valid(&world.platform, &config("Policy", "policies"), &plain_policy("only", &spec)).await?;
    world.serve();
    wait_scheduled(&world.platform, 1).await?;
    let begun = world.clock.now();
    world.clock.advance(2 * 365 * 24 * HOUR);
    wait_for_runs(&world, "only", 1).await?;
    world.clock.set(begun);
    let next = next_time(&world, begun + 2 * HOUR).await?;
    assert_eq!(next.to_string(), "2026-03-04T10:00:00Z");
    world.clock.advance(HOUR);
    let runs = wait_for_runs(&world, "only", 2).await?;
    assert_eq!(runs[0].body.spec["scheduledTime"], "2026-03-04T10:00:00Z");
    world.end().await
}
