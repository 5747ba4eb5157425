//! Reports: what they tell, that each is written once, and which of them are kept.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_catalog::RowKind;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::fixture::World;
use crate::stage::{NAMESPACE, config, make_valid, plain_policy, policy, profile};

const DAY: Duration = Duration::from_secs(24 * 3600);
const REPORTS_POLICY: &str = "k10-system-reports-policy";

fn report_kind() -> Kind {
    Kind::namespaced("reporting.kio.kasten.io/v1alpha1", "Report", "reports")
}

async fn read_report(world: &World, name: &Value) -> Result<Value> {
    let name = name.as_str().context("a name")?;
    let found = world.platform.cluster().read_object(&report_kind(), Some(NAMESPACE), name).await?;
    found.context("the report")
}

/// All reports, and those of scheduled runs by the day of the month.
async fn kept(world: &World) -> Result<(usize, Vec<String>)> {
    let reports = world.platform.cluster().list_objects(&report_kind(), Some(NAMESPACE), None).await?;
    let scheduled = |report: &Value| {
        let at = report["metadata"]["annotations"]["k10.kasten.io/scheduledTime"].as_str()?;
        Some(at[8..10].to_owned())
    };
    let mut days: Vec<_> = reports.iter().filter_map(scheduled).collect();
    days.sort();
    Ok((reports.len(), days))
}

fn reports_policy() -> Value {
    let parameters = json!({ "statsIntervalDays": 1, "statsIntervalHours": 0 });
    let spec = json!({
        "frequency": "@daily", "retention": { "daily": 2 }, "selector": {},
        "actions": [{ "action": "report", "reportParameters": parameters }],
    });
    plain_policy(REPORTS_POLICY, &spec)
}

fn of_namespaces(names: &[&str]) -> Value {
    json!({ "matchExpressions": [
        { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": names } ] })
}

fn backups_of(name: &str, applications: &[&str]) -> Value {
    let selector = of_namespaces(applications);
    let spec = json!({ "frequency": "@onDemand", "selector": selector, "actions": [{ "action": "backup" }] });
    plain_policy(name, &spec)
}

/// Makes a report of the hour before; gives it with the status of its action.
async fn report_by_hand(world: &World, name: &str) -> Result<(Value, Value)> {
    let of_platform = json!({ "name": NAMESPACE, "namespace": NAMESPACE });
    let asked = json!({ "subject": of_platform, "statsIntervalHours": 1 });
    world.create("ReportAction", (NAMESPACE, name), asked).await?;
    let status = world.completed("ReportAction", (NAMESPACE, name)).await?.body.status;
    Ok((read_report(world, &status["report"]["name"]).await?, status))
}

/// The report that a run has made.
async fn report_of(world: &World, run: &str) -> Result<Value> {
    let mut actions = world.list("ReportAction")?.into_iter();
    let action = actions.find(|action| action.labels["k10.kasten.io/runActionName"] == run);
    let action = action.context("the report action of the run")?;
    ensure!(action.body.status["state"] == "Complete", "{}", action.body.status);
    ensure!(!action.labels.contains_key("k10.kasten.io/appName"), "{:?}", action.labels);
    read_report(world, &action.body.status["report"]["name"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_what_was_done_in_its_span_and_who_is_not_protected() -> Result<()> {
    let mut world = World::start().await?;
    for namespace in ["shop", "wiki", "bank"] {
        world.namespace(namespace).await?;
    }
    world.serve();
    world.apply_profile(&profile()).await?;
    make_valid(&world.platform, &config("Policy", "policies"), &policy()).await?;
    world.apply_policy(&backups_of("ours", &["shop"])).await?;
    world.apply_policy(&backups_of("theirs", &["wiki"])).await?;
    // It is warned that its selector means nothing.
    let mut of_everything = reports_policy();
    of_everything["spec"]["selector"] = of_namespaces(&["*"]);
    world.apply_policy(&of_everything).await?;

    let backed_up = world.run_policy("backups", "ours").await?;
    ensure!(backed_up["state"] == "Complete", "{backed_up}");
    world.clock.advance(Duration::from_secs(60));
    let reported = world.run_policy("first", REPORTS_POLICY).await?;
    ensure!(reported["state"] == "Complete", "{reported}");
    let report = report_of(&world, "first").await?;
    assert_eq!(report["spec"]["statsIntervalDays"], 1, "{report}");
    assert_eq!(report["spec"]["reportTimestamp"], report["spec"]["statsIntervalEndTimestamp"]);
    let results = &report["results"];
    let once = json!({ "completed": 1, "failed": 0, "cancelled": 0, "skipped": 0 });
    // The run that reports has not ended yet.
    assert_eq!(results["actions"]["countStats"], json!({ "backup": once, "run": once }), "{results}");
    assert_eq!(
        results["compliance"],
        json!({ "applicationCount": 3, "compliantCount": 1, "nonCompliantCount": 1, "unmanagedCount": 1,
            "someNonCompliantApps": ["wiki"] })
    );
    let protection = &results["polices"]["k10DR"];
    assert_eq!((&protection["status"], &protection["profile"]), (&json!("Enabled"), &json!("vault")));
    assert_eq!((&results["polices"]["count"], &results["profiles"]["count"]), (&json!(4), &json!(1)));
    let stored = &results["storage"]["snapshotStorage"];
    assert!(stored["count"] == 1 && stored["physicalBytes"].as_u64() > Some(0), "{stored}");
    let general = &results["general"];
    assert!(general["k8sVersion"].as_str().is_some_and(|version| version.starts_with('v')), "{general}");
    assert_eq!(general["clusterId"], json!(world.platform.cluster_id()));
    assert_eq!(
        (&results["licensing"]["status"], &general["infraType"]),
        (&json!("NotRequired"), &Value::Null)
    );
    let catalog = &results["k10Services"][0];
    assert!(
        catalog["name"] == "catalog" && catalog["diskUsage"]["usedBytes"].as_u64() > Some(0),
        "{catalog}"
    );

    // What the first report told is before the span of the second.
    world.clock.advance(DAY);
    let (report, _) = report_by_hand(&world, "by-hand").await?;
    let backups = &report["results"]["actions"]["countStats"]["backup"];
    assert_eq!((backups, &report["metadata"]["labels"]), (&Value::Null, &Value::Null), "{report}");
    world.end().await
}

/// It told exports that were found in a location as if nothing had been written for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_leaves_out_what_a_catalog_made_from_exports_does_not_know() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace("shop").await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.export("shop", "nightly", json!({})).await?;
    let (report, status) = report_by_hand(&world, "before").await?;
    let stored = &report["results"]["storage"]["fileStorage"];
    assert!(stored["count"] == 1 && stored["physicalBytes"].as_u64() > Some(0), "{stored}");
    assert_eq!(status["exceptions"], Value::Null);
    let logical = stored["logicalBytes"].clone();
    let source = world.platform.cluster_id().clone();

    let mut world = world.lose_cluster().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    let info = json!({ "profileName": "vault", "sourceClusterID": source });
    let spec = json!({ "sourceClusterInfo": info, "rebuildFromExports": true });
    world.create("KastenDRRestore", (NAMESPACE, "rebuild"), spec).await?;
    eventually("the catalog is made", async || {
        let status =
            world.read("KastenDRRestore", (NAMESPACE, "rebuild"))?.context("the restore")?.body.status;
        ensure!(status["state"] != "failed", "{status}");
        Ok((status["state"] == "success").then_some(()))
    })
    .await?;
    let (report, status) = report_by_hand(&world, "after").await?;
    let storage = &report["results"]["storage"];
    assert_eq!(storage["fileStorage"], json!({ "count": 1, "logicalBytes": logical }));
    assert_eq!(storage["objectStorage"]["physicalBytes"], 0, "nothing is there, and that is known");
    let told = status["exceptions"].to_string();
    assert!(told.contains("physicalBytes of fileStorage is not in the report"), "{told}");
    world.end().await
}

/// Those by hand stay, whatever the policy keeps.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_keeps_as_many_scheduled_reports_as_it_says() -> Result<()> {
    let mut world = World::start().await?;
    world.serve();
    world.apply_policy(&reports_policy()).await?;
    let reported = world.run_policy("by-hand", REPORTS_POLICY).await?;
    ensure!(reported["state"] == "Complete", "{reported}");
    let review = keelson_resources::find_kind("dr.kio.kasten.io", "kastendrreviews").context("the kind")?;
    eventually("the next time is known", async || {
        let due = world.platform.database(review)?.count(&RowKind::new("schedules"))?;
        Ok((due == 1).then_some(()))
    })
    .await?;
    for (count, expected) in [(2, &["05"][..]), (3, &["05", "06"]), (3, &["06", "07"]), (3, &["07", "08"])] {
        world.clock.advance(DAY);
        let expected: Vec<_> = expected.iter().map(|day| (*day).to_owned()).collect();
        eventually("the report of the day is there and the oldest is gone", async || {
            Ok((kept(&world).await? == (count, expected.clone())).then_some(()))
        })
        .await?;
    }
    world.end().await
}

/// An attempt that was cut short after it had written its report finds it; what is somebody else's is not taken for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_written_once_and_over_nobody_elses() -> Result<()> {
    let mut world = World::start().await?;
    let asked = json!({ "subject": { "name": NAMESPACE, "namespace": NAMESPACE }, "statsIntervalDays": 1 });
    for (name, is_own) in [("again", true), ("taken", false)] {
        let action = world.create("ReportAction", (NAMESPACE, name), asked.clone()).await?;
        let letters: String = action.uid.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        let uid = if is_own { action.uid.clone() } else { "another".to_owned() };
        let span = json!({
            "reportTimestamp": "2026-03-04T00:00:00Z", "statsIntervalDays": 9, "statsIntervalHours": 0,
            "statsIntervalStartTimestamp": "2026-03-04T00:00:00Z",
            "statsIntervalEndTimestamp": "2026-03-04T00:00:00Z",
        });
        let there = json!({
            "apiVersion": "reporting.kio.kasten.io/v1alpha1", "kind": "Report",
            "metadata": { "name": format!("{name}-{letters}"), "namespace": NAMESPACE,
                "annotations": { "k10.kasten.io/reportActionUid": uid } },
            "spec": span,
        });
        world.platform.cluster().create_object(&report_kind(), &there).await?;
    }
    world.serve();
    let again = world.completed("ReportAction", (NAMESPACE, "again")).await?;
    let report = read_report(&world, &again.body.status["report"]["name"]).await?;
    assert_eq!(report["spec"]["statsIntervalDays"], 9, "it is the one that was there");
    let taken = world.ended("ReportAction", (NAMESPACE, "taken")).await?;
    let error = &taken.body.status["error"];
    assert_eq!(
        (&taken.body.status["state"], &error["class"]),
        (&json!("Failed"), &json!("Invalid")),
        "{error}"
    );
    let phases = &world.details("ReportAction", (NAMESPACE, "taken")).await?["phases"];
    assert_eq!(
        (&phases[0]["state"], &phases[1]["state"]),
        (&json!("succeeded"), &json!("failed")),
        "{phases}"
    );
    assert_eq!(kept(&world).await?.0, 2);
    world.end().await
}
