//! Many applications restored at once: some from points, some from what a removed namespace left, some not at all.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use keelson_model::names::label;
use keelson_protection::Record;
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::cancel::cancel_at_many_moments;
use crate::fixture::{World, user};
use crate::stage::NAMESPACE;

fn config_maps() -> Kind {
    Kind::namespaced("v1", "ConfigMap", "configmaps")
}

async fn put(world: &World, namespace: &str, text: &str) -> Result<()> {
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "text": text },
        "metadata": { "name": "page", "namespace": namespace } });
    world.platform.cluster().apply_object(&config_maps(), &object).await?;
    Ok(())
}

async fn text_in(world: &World, namespace: &str) -> Result<Option<Value>> {
    let found = world.platform.cluster().read_object(&config_maps(), Some(namespace), "page").await?;
    Ok(found.map(|mut found| found["data"]["text"].take()))
}

/// Backs up a namespace that says this; gives the name of the point.
async fn back_up(world: &World, namespace: &str, text: &str) -> Result<String> {
    put(world, namespace, text).await?;
    let subject = json!({ "subject": { "name": namespace, "namespace": namespace } });
    world.create("BackupAction", (namespace, text), subject).await?;
    let backup = world.completed("BackupAction", (namespace, text)).await?;
    Ok(backup.body.status["restorePoint"]["name"].as_str().context("a point")?.to_owned())
}

async fn batch(world: &World, name: &str, spec: Value) -> Result<Record> {
    world.create("BatchRestoreAction", (NAMESPACE, name), spec).await?;
    world.ended("BatchRestoreAction", (NAMESPACE, name)).await
}

fn children(world: &World, batch: &str) -> Result<Vec<Record>> {
    let all = world.list("RestoreAction")?.into_iter();
    Ok(all.filter(|child| child.label(label::BATCH_RESTORE_ACTION_NAME) == batch).collect())
}

async fn remove_namespace(world: &World, name: &str) -> Result<()> {
    let kind = Kind::cluster("v1", "Namespace", "namespaces");
    world.platform.cluster().delete_object(&kind, None, name).await?;
    eventually("the namespace and its restore points are gone", async || {
        let found = world.platform.cluster().read_object(&kind, None, name).await?;
        let points = world.list("RestorePoint")?;
        let gone = found.is_none() && points.iter().all(|point| point.namespace != name);
        Ok(gone.then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_restores_what_it_can_and_counts_the_rest() -> Result<()> {
    let mut world = World::start().await?;
    for namespace in ["named", "latest", "removed", "never"] {
        world.namespace(namespace).await?;
    }
    world.serve();
    let named = back_up(&world, "named", "named-one").await?;
    back_up(&world, "latest", "latest-one").await?;
    world.clock.advance(Duration::from_secs(3600));
    for namespace in ["named", "latest", "removed"] {
        back_up(&world, namespace, &format!("{namespace}-two")).await?;
    }
    remove_namespace(&world, "removed").await?;

    let spec = json!({
        "subjects": [
            { "namespace": "named", "restorePointName": named }, { "namespace": "latest" },
            { "namespace": "removed" }, { "namespace": "never" },
        ],
        "targetNamespacePrefix": "new-", "targetNamespaceSuffix": "-copy",
        "filters": { "excludeResources": [{ "resource": "secrets" }] }, "overwriteExisting": true,
    });
    let ended = batch(&world, "many", spec).await?;
    assert_eq!(ended.body.status["state"], "Complete", "{}", ended.body.status);
    let told = &ended.body.status["actionDetails"];
    let actions = json!({ "total": 4, "cancelled": 0, "running": 0, "failed": 1, "skipped": 0, "completed": 3, "pending": 0 });
    assert_eq!((&told["actions"], &told["subjectsCount"]), (&actions, &json!(4)));
    assert_eq!(told["restoredApplications"], json!(["named", "latest", "removed"]));
    assert_eq!(told["failedApplications"], json!(["never"]));
    let expected =
        "application 'never' was not restored: there is no restore point that could be restored from here";
    assert_eq!(ended.body.status["exceptions"], json!([{ "message": expected }]));
    let details = world.details("BatchRestoreAction", (NAMESPACE, "many")).await?;
    assert_eq!((&details["actions"], details["phases"].as_array().map(Vec::len)), (&actions, Some(2)));
    for (namespace, text) in [("named", "named-one"), ("latest", "latest-two"), ("removed", "removed-two")] {
        let target = format!("new-{namespace}-copy");
        assert_eq!(text_in(&world, &target).await?, Some(json!(text)), "{target}");
        let child = children(&world, "many")?.into_iter().find(|child| child.namespace == target);
        let child = child.with_context(|| format!("no child in {target}"))?;
        assert_eq!(child.labels[label::APP_NAMESPACE], namespace);
        assert_eq!(child.body.spec["overwriteExisting"], true);
        assert_eq!(child.body.spec["filters"]["excludeResources"][0]["resource"], "secrets");
        assert_eq!(child.body.spec.get("subjects"), None);
    }
    assert_eq!(children(&world, "many")?.len(), 3);

    let nothing = batch(&world, "nothing", json!({ "subjects": [{ "namespace": "never" }] })).await?;
    let message = nothing.body.status["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(nothing.body.status["state"], "Failed");
    assert!(
        message.starts_with("none of 1 applications was restored; the first: application 'never'"),
        "{message}"
    );
    assert_eq!(nothing.body.status["actionDetails"]["failedApplications"], json!(["never"]));
    let absent = json!({ "subjects": [{ "namespace": "named", "restorePointName": "none" }] });
    let refused = world.create("BatchRestoreAction", (NAMESPACE, "absent"), absent).await.unwrap_err();
    assert!(
        refused.to_string().contains("there is no restore point 'none' of namespace 'named'"),
        "{refused}"
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_restore_point_is_looked_for_within_the_range_of_a_batch() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace("shop").await?;
    world.serve();
    let mut times: Vec<Timestamp> = Vec::new();
    for text in ["one", "two", "three"] {
        times.push(world.platform.clock().now());
        back_up(&world, "shop", text).await?;
        world.clock.advance(Duration::from_secs(3600));
    }
    put(&world, "shop", "changed").await?;
    let spec = json!({
        "subjects": [{ "namespace": "shop" }], "overwriteExisting": true,
        "restorePointsDiscoveryRange": [{ "start": times[0], "end": times[1] + SignedDuration::from_mins(1) }],
    });
    let ended = batch(&world, "earlier", spec).await?;
    assert_eq!(ended.body.status["state"], "Complete", "{}", ended.body.status);
    assert_eq!(text_in(&world, "shop").await?, Some(json!("two")));
    let before = json!({ "subjects": [{ "namespace": "shop" }],
        "restorePointsDiscoveryRange": [{ "end": "2020-01-01T00:00:00Z" }] });
    assert_eq!(batch(&world, "before", before).await?.body.status["state"], "Failed");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_cancelled_ends_when_none_of_its_children_is_at_work() -> Result<()> {
    let mut world = World::start().await?;
    let namespaces: Vec<String> = (0..6).map(|number| format!("shop-{number}")).collect();
    for namespace in &namespaces {
        world.namespace(namespace).await?;
    }
    world.serve();
    for namespace in &namespaces {
        back_up(&world, namespace, "one").await?;
    }
    let subjects: Vec<_> = namespaces.iter().map(|namespace| json!({ "namespace": namespace })).collect();
    let spec = json!({ "subjects": subjects, "overwriteExisting": true });
    let step = Duration::from_millis(60);
    let tally = cancel_at_many_moments(&world, "BatchRestoreAction", (NAMESPACE, step), &spec).await?;
    assert!(tally.cancelled > 0, "no batch was cancelled in the middle");
    for child in world.list("RestoreAction")? {
        let state = child.body.status["state"].as_str().unwrap_or_default();
        assert!(["Complete", "Cancelled"].contains(&state), "{}: {}", child.name, child.body.status);
    }
    for batch in world.list("BatchRestoreAction")? {
        let counts = &batch.body.status["actionDetails"]["actions"];
        assert_eq!(json!([counts["running"], counts["total"]]), json!([0, 6]), "{}", batch.body.status);
    }
    world.end().await
}

/// The right may be taken away while the batch waits: it is asked for again, and so is what each application needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_restores_nothing_that_whoever_asked_may_not_have() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace("shop").await?;
    world.serve();
    let point = back_up(&world, "shop", "one").await?;
    let eve = user("eve");
    let subject = |field: &str, name: &str| {
        let mut subject = json!({ "namespace": "shop" });
        subject[field] = json!(name);
        subject
    };
    for (name, subject, told) in [
        ("point", subject("restorePointName", &point), "get restorepoints"),
        ("content", subject("restorePointContentName", &format!("shop-{point}")), "get restorepointcontents"),
        ("latest", json!({ "namespace": "shop" }), "list restorepoints"),
    ] {
        let spec = json!({ "subjects": [subject], "targetNamespaceSuffix": "-stolen" });
        world.create_as(&eve, "BatchRestoreAction", (NAMESPACE, name), spec).await?;
        let ended = world.ended("BatchRestoreAction", (NAMESPACE, name)).await?;
        let message = ended.body.status["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("user 'eve' may not {told}")), "{}", ended.body.status);
    }
    let kind = Kind::cluster("v1", "Namespace", "namespaces");
    assert_eq!(world.platform.cluster().read_object(&kind, None, "shop-stolen").await?, None);
    world.end().await
}
