//! What is written into the catalog is what the published schemas say of it, kind by kind.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use keelson_model::names::DR_POLICY;
use keelson_protection::Record;
use keelson_resources::{KINDS, Verb};
use keelson_testkit::eventually;
use serde_json::{Value, json};

use crate::fixture::World;
use crate::stage::{NAMESPACE, config, make_valid, policy, profile};

const SHOP: &str = "shop";

/// A review or a recovery that has ended, and how.
async fn recovered(world: &World, kind: &str, name: &str, spec: Value) -> Result<Value> {
    world.create(kind, (NAMESPACE, name), spec).await?;
    let ended = eventually(&format!("{kind} '{name}' has ended"), async || {
        let request = world.read(kind, (NAMESPACE, name))?.context("the request")?;
        let state = request.body.status["state"].as_str().unwrap_or_default();
        Ok(["success", "failed"].contains(&state).then_some(request.body.status))
    })
    .await?;
    assert_eq!(ended["requester"]["name"], "admin", "{ended}");
    Ok(ended)
}

/// Actions of every kind, one of them failed, on an application that is backed up, exported and restored.
async fn act(world: &World) -> Result<()> {
    let subject = json!({ "subject": { "name": SHOP, "namespace": SHOP } });
    world.create("BackupAction", (SHOP, "backup"), subject.clone()).await?;
    let backup = world.completed("BackupAction", (SHOP, "backup")).await?;
    assert_eq!(backup.body.status["requester"]["name"], "admin", "{}", backup.body.status);
    let point = json!({ "kind": "RestorePoint", "namespace": SHOP, "name": backup.body.status["restorePoint"]["name"] });
    let profile = json!({ "name": "vault", "namespace": NAMESPACE });
    let export = json!({ "subject": point, "profile": profile });
    world.create("ExportAction", (NAMESPACE, "export"), export).await?;
    world.completed("ExportAction", (NAMESPACE, "export")).await?;
    world.create("RestoreAction", (SHOP, "restore"), json!({ "subject": point })).await?;
    world.completed("RestoreAction", (SHOP, "restore")).await?;
    world.create("ValidateAction", (SHOP, "validate"), json!({ "subject": point })).await?;
    world.completed("ValidateAction", (SHOP, "validate")).await?;
    let of_platform = json!({ "name": NAMESPACE, "namespace": NAMESPACE });
    let report = json!({ "subject": of_platform, "statsIntervalHours": 1 });
    world.create("ReportAction", (NAMESPACE, "report"), report).await?;
    world.completed("ReportAction", (NAMESPACE, "report")).await?;
    let repository = eventually("the repository of the application is an object", async || {
        let is = |found: &Record| found.body.status["appName"] == SHOP;
        Ok(world.list("StorageRepository")?.into_iter().find(is))
    });
    let stored =
        json!({ "kind": "StorageRepository", "namespace": NAMESPACE, "name": repository.await?.name });
    let upgrade = json!({ "subject": stored, "profile": profile });
    world.create("UpgradeAction", (NAMESPACE, "upgrade"), upgrade).await?;
    world.completed("UpgradeAction", (NAMESPACE, "upgrade")).await?;
    let batch = json!({ "subjects": [{ "namespace": SHOP }] });
    world.create("BatchRestoreAction", (NAMESPACE, "batch"), batch).await?;
    world.completed("BatchRestoreAction", (NAMESPACE, "batch")).await?;
    world.create("BackupClusterAction", ("", "backup"), json!({})).await?;
    let backup = world.completed("BackupClusterAction", ("", "backup")).await?;
    let of_cluster =
        json!({ "kind": "ClusterRestorePoint", "name": backup.body.status["restorePoint"]["name"] });
    world.create("RestoreClusterAction", ("", "restore"), json!({ "subject": of_cluster })).await?;
    world.completed("RestoreClusterAction", ("", "restore")).await?;
    let nowhere = json!({ "subject": point, "profile": { "name": "nowhere", "namespace": NAMESPACE } });
    world.create("ExportAction", (NAMESPACE, "lost"), nowhere).await?;
    let lost = world.ended("ExportAction", (NAMESPACE, "lost")).await?;
    assert!(lost.body.status["error"]["class"].is_string(), "{}", lost.body.status);
    let run = json!({ "subject": { "kind": "Policy", "name": DR_POLICY, "namespace": NAMESPACE } });
    world.create("RunAction", (NAMESPACE, "run"), run).await?;
    world.completed("RunAction", (NAMESPACE, "run")).await?;
    world.create("BackupAction", (SHOP, "retired"), subject).await?;
    let retired = world.completed("BackupAction", (SHOP, "retired")).await?;
    let name = retired.body.status["restorePoint"]["name"].as_str().context("a point")?;
    let content = format!("{SHOP}-{name}");
    world.delete("RestorePointContent", ("", &content)).await?;
    // What goes while it is looked at is listed, and has no details any more.
    eventually("it is retired", async || {
        Ok(world.read("RestorePointContent", ("", &content))?.is_none().then_some(()))
    })
    .await?;
    eventually(
        "the application is known",
        async || Ok((!world.list("Application")?.is_empty()).then_some(())),
    )
    .await
}

/// The private fields of contents are those that `docs/format/catalog.md` draws, and no others: a reader without our code
/// finds the data by them.
fn assert_drawn(world: &World) -> Result<()> {
    let names = |value: &Value| -> Result<BTreeSet<String>> {
        Ok(value.as_object().context("an object")?.keys().cloned().collect())
    };
    let is_drawn = |value: &Value, always: &[&str], at_times: &[&str]| -> Result<()> {
        let names = names(value)?;
        let lacks: Vec<_> = always.iter().filter(|name| !names.contains(**name)).collect();
        let others: Vec<_> = names
            .iter()
            .filter(|name| !always.contains(&name.as_str()) && !at_times.contains(&name.as_str()))
            .collect();
        ensure!(lacks.is_empty() && others.is_empty(), "lacks {lacks:?}, is not drawn {others:?}: {value}");
        Ok(())
    };
    let mut exports = 0;
    for content in world.list("RestorePointContent")? {
        let internal = content.body.internal;
        is_drawn(&internal, &["artifact", "manual", "tiers"], &["expiresAt", "retiring"])?;
        let artifact = &internal["artifact"];
        let always = ["repository", "outcome", "objects", "bytes", "storedBytes"];
        is_drawn(artifact, &always, &["exported", "copy"])?;
        if !artifact["exported"].is_null() {
            exports += 1;
            is_drawn(&artifact["exported"], &["profile", "place", "root"], &["granted"])?;
            is_drawn(&artifact["exported"]["place"], &["type", "claim", "path"], &[])?;
        }
    }
    ensure!(exports > 0, "nothing was exported");
    Ok(())
}

/// The schemas of recoveries named other fields than were written, and `status.requester` was never there.
#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_written_is_as_its_published_schema_says() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(SHOP).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    make_valid(&world.platform, &config("Policy", "policies"), &policy()).await?;
    world.serve();
    act(&world).await?;
    let mut seen = world.assert_as_published().await?;
    assert_drawn(&world)?;

    let source = json!({ "profileName": "vault", "sourceClusterID": world.platform.cluster_id().as_str() });
    let review =
        recovered(&world, "KastenDRReview", "review", json!({ "sourceClusterInfo": source })).await?;
    assert!(review["restorePoints"]["count"].as_u64() > Some(0), "{review}");
    let unconfirmed = json!({ "sourceClusterInfo": source });
    let refused = recovered(&world, "KastenDRRestore", "refused", unconfirmed).await?;
    assert_eq!(
        (&refused["state"], &refused["errorClass"]),
        (&json!("failed"), &json!("Invalid")),
        "{refused}"
    );
    seen.extend(world.assert_as_published().await?);
    world.delete("KastenDRRestore", (NAMESPACE, "refused")).await?;
    let confirmed = json!({ "sourceClusterInfo": source, "replaceCatalog": true });
    let restored = recovered(&world, "KastenDRRestore", "restore", confirmed).await?;
    assert_eq!(restored["state"], "success", "{restored}");
    assert!(restored["recovered"]["chain"].is_string() && restored["plan"].is_array(), "{restored}");
    assert!(restored["steps"][0]["seconds"].is_number(), "{restored}");
    seen.extend(world.assert_as_published().await?);
    // What another installation exported is looked at in `imports.rs`.
    seen.insert("ImportAction");
    let kept = KINDS.iter().filter(|kind| kind.allows(Verb::Get)).map(|kind| kind.kind);
    assert_eq!(seen, kept.collect::<BTreeSet<_>>(), "every kind was looked at");
    world.end().await
}
