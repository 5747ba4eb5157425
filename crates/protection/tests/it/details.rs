//! What actions tell of themselves while they work and afterwards: phases, and how far an export is. What applications and
//! restore points are made of: `details/components.rs`.

mod components;

use anyhow::{Context, Result};
use keelson_catalog::RowKind;
use keelson_model::names::DR_POLICY;
use keelson_testkit::eventually;
use serde_json::{Value, json};

use crate::fixture::World;
use crate::stage::{NAMESPACE, config, make_valid, policy as own_policy, profile};
use crate::unanswered::{lose_a_group, policy};

const SHOP: &str = "shop";

/// `name state attempt` of each phase, every one of which has begun and ended.
async fn phases(world: &World, kind: &str, at: (&str, &str)) -> Result<Vec<String>> {
    let details = world.details(kind, at).await?;
    let phases = details["phases"].as_array().context("phases")?;
    for phase in phases {
        for field in ["startTime", "endTime", "updatedTime"] {
            assert!(phase[field].is_string(), "{field}: {phase}");
        }
    }
    let text = |phase: &Value, field: &str| phase[field].as_str().unwrap_or_default().to_owned();
    let line =
        |phase: &Value| format!("{} {} {}", text(phase, "name"), text(phase, "state"), phase["attempt"]);
    Ok(phases.iter().map(line).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_tells_its_phases_and_a_running_export_how_far_it_is() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(SHOP).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    make_valid(&world.platform, &config("Policy", "policies"), &own_policy()).await?;
    world.serve();
    let since = world.platform.catalog()?.head().revision;
    world.export(SHOP, "one", json!({})).await?;
    let backup = world.read("BackupAction", (SHOP, "one"))?.context("the backup")?;
    let point = json!({ "kind": "RestorePoint", "name": backup.body.status["restorePoint"]["name"], "namespace": SHOP });
    world.create("RestoreAction", (SHOP, "one"), json!({ "subject": point })).await?;
    world.completed("RestoreAction", (SHOP, "one")).await?;
    let run = json!({ "subject": { "kind": "Policy", "name": DR_POLICY, "namespace": NAMESPACE } });
    world.create("RunAction", (NAMESPACE, "own"), run).await?;
    world.completed("RunAction", (NAMESPACE, "own")).await?;

    let succeeded =
        |names: &[&str]| names.iter().map(|name| format!("{name} succeeded 1")).collect::<Vec<_>>();
    for (kind, at, names) in [
        ("BackupAction", (SHOP, "one"), &["Application configuration", "Creating RestorePoint"][..]),
        (
            "ExportAction",
            (SHOP, "one"),
            &["Opening location", "Exporting RestorePoint", "Creating RestorePoint"],
        ),
        ("RestoreAction", (SHOP, "one"), &["Opening RestorePoint", "Restoring Application Components"]),
        (
            "RunAction",
            (NAMESPACE, "own"),
            &[
                "Copying local restore points",
                "Shipping the catalog",
                "Writing the manifest",
                "Applying retention",
            ],
        ),
    ] {
        assert_eq!(phases(&world, kind, at).await?, succeeded(names), "{kind}");
    }

    let exports = RowKind::new("exportactions.actions.kio.kasten.io");
    let changes = world.platform.catalog()?.changes(&exports, None, since, 1000)?;
    let statuses = changes.events.iter().filter_map(|event| {
        let body: Value = serde_json::from_slice(&event.stored.row.body).ok()?;
        Some(body["status"].clone())
    });
    let running: Vec<Value> = statuses.filter(|status| status["state"] == "Running").collect();
    let progress = running.iter().find_map(|status| status["progressDetails"].as_object());
    let progress = progress.with_context(|| format!("no progress while it ran: {running:?}"))?;
    assert!(progress["totalBytes"].as_u64() > Some(0) && progress["updatedTime"].is_string(), "{progress:?}");
    let export = world.read("ExportAction", (SHOP, "one"))?.context("the export")?;
    let ended = &export.body.status["progressDetails"];
    assert_eq!(
        (&ended["processedBytes"], &ended["totalBytes"]),
        (&progress["totalBytes"], &progress["totalBytes"])
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_that_failed_says_why_and_in_which_attempt() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(SHOP).await?;
    lose_a_group(&world).await?;
    make_valid(&world.platform, &config("Policy", "policies"), &policy(&json!({}))).await?;
    world.serve();
    let run = json!({ "subject": { "kind": "Policy", "name": "nightly", "namespace": NAMESPACE } });
    world.create("RunAction", (NAMESPACE, "run"), run).await?;
    let ended = world.ended("RunAction", (NAMESPACE, "run")).await?;
    assert_eq!(ended.body.status["state"], "Failed", "{}", ended.body.status);
    let expected =
        ["Selecting applications succeeded 1", "Running actions failed 1", "Applying retention succeeded 1"];
    assert_eq!(phases(&world, "RunAction", (NAMESPACE, "run")).await?, expected);
    let backup = world.list("BackupAction")?.pop().context("its backup")?;
    let at = (SHOP, backup.name.as_str());
    assert_eq!(phases(&world, "BackupAction", at).await?, ["Application configuration failed 3"]);
    let details = world.details("BackupAction", at).await?;
    let why = details["phases"][0]["errors"][0]["message"].as_str().unwrap_or_default();
    assert!(why.contains("away.example.com/v1 of namespace 'shop'"), "{details}");

    let subject = json!({ "subject": { "name": SHOP, "namespace": SHOP } });
    world.create("BackupAction", (SHOP, "cancelled"), subject).await?;
    eventually("an attempt has failed", async || {
        let backup = world.read("BackupAction", (SHOP, "cancelled"))?.context("the backup")?;
        Ok((backup.body.status["state"] == "AttemptFailed").then_some(()))
    })
    .await?;
    let spec = json!({ "subject": { "kind": "BackupAction", "name": "cancelled" } });
    world.create("CancelAction", (SHOP, "now"), spec).await?;
    world.ended("BackupAction", (SHOP, "cancelled")).await?;
    // In the second attempt, or in the third where the second was over before anybody came to cancel.
    let told = phases(&world, "BackupAction", (SHOP, "cancelled")).await?;
    let expected = [2, 3].map(|attempt| [format!("Application configuration cancelled {attempt}")]);
    assert!(expected.iter().any(|expected| told == *expected), "{told:?}");
    world.end().await
}
