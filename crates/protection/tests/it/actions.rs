//! Actions on a real API server: their names, their order, their end.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use keelson_catalog::{Actor, Change, Query, RowKind};
use keelson_model::Clock as _;
use keelson_protection::{Record, Requester, TakenApi, metrics, status};
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::fixture::{World, files, user};
use crate::stage::{NAMESPACE, config, make_valid, profile};

/// A backup whose name had been used before captured three times and ended with a reason that was not the reason;
/// two namespaces could take each other's names of contents.
#[tokio::test(flavor = "multi_thread")]
async fn an_action_may_be_named_like_one_before_or_beside_it() -> Result<()> {
    let mut world = World::start().await?;
    for namespace in ["a", "a-b"] {
        world.namespace(namespace).await?;
    }
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    let long = "n".repeat(253);
    let mut points = Vec::new();
    for (namespace, name) in [("a", "b-c"), ("a-b", "c"), ("a", "b-c"), ("a", &long)] {
        let subject = json!({ "subject": { "name": namespace, "namespace": namespace } });
        world.create("BackupAction", (namespace, name), subject).await?;
        let backup = world.completed("BackupAction", (namespace, name)).await?;
        world.delete("BackupAction", (namespace, name)).await?;
        points.push((namespace, backup.body.status["restorePoint"]["name"].as_str().unwrap().to_owned()));
    }
    let spec = json!({ "subject": { "kind": "RestorePoint", "name": points[0].1, "namespace": "a" },
        "profile": { "name": "vault", "namespace": "kasten-io" } });
    world.create("ExportAction", ("a", "b-c"), spec).await?;
    world.completed("ExportAction", ("a", "b-c")).await?;
    for (namespace, name) in &points {
        assert!(world.read("RestorePoint", (namespace, name))?.is_some(), "{namespace}/{name}");
    }
    assert_eq!(world.list("RestorePointContent")?.len(), 5);
    world.end().await
}

/// Killed between the commit of an outcome and its record, an attempt would leave data that no content names and
/// nobody ever frees.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_after_a_kill_takes_what_the_killed_one_has_committed() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace("a").await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    let first = world.export("a", "first", json!({})).await?;
    world.rest().await;

    let local = world.data.path().join("local");
    let outcomes = |world: &World| -> Result<_> {
        let count = |files: &BTreeSet<String>| files.iter().filter(|file| file.contains("outcomes/")).count();
        Ok((count(&files(&local)?), count(&world.listing("k10")?)))
    };
    let before = outcomes(&world)?;
    let mut copied = Value::Null;
    for kind in ["BackupAction", "ExportAction"] {
        let spec = world.read(kind, ("a", "first"))?.context("the action")?.body.spec;
        let killed = world.create(kind, ("a", "second"), spec).await?;
        // As if the first had been killed before its end was recorded.
        let (point, content) = made_by(&world, kind, "first")?;
        let artifact = &content.body.internal["artifact"];
        assert!(artifact["storedBytes"].as_u64().is_some_and(|bytes| bytes > 0), "{artifact}");
        let committing = json!({
            "repository": artifact["repository"], "outcome": artifact["outcome"], "copy_of": copied,
            "stored_bytes": 7,
        });
        copied = artifact["outcome"].clone();
        let step = Change::RecordStep {
            run: killed.uid,
            step: "committing".to_owned(),
            result: serde_json::to_vec(&committing)?,
        };
        let changes = [&point, &content].map(|record| Change::delete(record.key()));
        let changes = changes.into_iter().chain([step]).collect();
        world.platform.catalog()?.commit(&Actor::new("killed"), changes)?;
        world.serve();
        world.completed(kind, ("a", "second")).await?;
        world.rest().await;
        let (_, again) = made_by(&world, kind, "second")?;
        assert_eq!(again.body.internal["artifact"]["outcome"], artifact["outcome"]);
    }
    assert_eq!(outcomes(&world)?, before, "{}", first.body.status);
    world.end().await
}

/// The restore point that an action made, and its content.
fn made_by(world: &World, kind: &str, name: &str) -> Result<(Record, Record)> {
    let action = world.read(kind, ("a", name))?.context("the action")?;
    let point = action.body.status["restorePoint"]["name"].as_str().context("no restore point")?;
    let point = world.read("RestorePoint", ("a", point))?.context("the restore point")?;
    let content = point.body.spec["restorePointContentRef"]["name"].as_str().context("no content")?;
    let content = world.read("RestorePointContent", ("", content))?.context("the content")?;
    Ok((point, content))
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// Lets eve read Secrets of namespace `a`, and what a restore action names.
async fn grant(world: &World, resources: &[(&str, &str)]) -> Result<()> {
    let rules: Vec<_> = resources
        .iter()
        .map(|(group, resource)| json!({ "apiGroups": [group], "resources": [resource], "verbs": ["get"] }))
        .collect();
    let role = json!({ "metadata": { "name": "eve", "namespace": "a" }, "rules": rules });
    let binding = json!({
        "metadata": { "name": "eve", "namespace": "a" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "eve" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve" }],
    });
    let cluster = world.platform.cluster();
    cluster.apply_object(&Kind::namespaced(RBAC, "Role", "roles"), &role).await?;
    cluster.apply_object(&Kind::namespaced(RBAC, "RoleBinding", "rolebindings"), &binding).await?;
    Ok(())
}

/// Rights on backups in one namespace and on restores in another read Secrets that neither of them grants.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_elsewhere_needs_the_right_to_read_what_was_captured_until_it_is_done() -> Result<()> {
    let mut world = World::start().await?;
    for namespace in ["a", "b"] {
        world.namespace(namespace).await?;
    }
    world.serve();
    world
        .create("BackupAction", ("a", "one"), json!({ "subject": { "name": "a", "namespace": "a" } }))
        .await?;
    let backup = world.completed("BackupAction", ("a", "one")).await?;
    world.rest().await;

    let eve = user("eve");
    let point = backup.body.status["restorePoint"]["name"].as_str().context("a point")?;
    let spec = json!({ "subject": { "kind": "RestorePoint", "name": point, "namespace": "a" } });
    let points = ("apps.kio.kasten.io", "restorepoints");
    grant(&world, &[points]).await?;
    let refused = world.create_as(&eve, "RestoreAction", ("b", "first"), spec.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("user 'eve' may not restore what was captured"), "{refused}");
    let impostor = Requester::User(Requester::Platform.to_user());
    let refused =
        world.create_as(&impostor, "RestoreAction", ("b", "posing"), spec.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("user 'keelson' may not restore what was captured"), "{refused}");

    grant(&world, &[points, ("", "secrets")]).await?;
    eventually("the grant counts", async || {
        Ok(world.create_as(&eve, "RestoreAction", ("b", "second"), spec.clone()).await.ok())
    })
    .await?;
    grant(&world, &[points]).await?;
    let mut tried = 0;
    eventually("the grant counts no more", async || {
        tried += 1;
        let name = format!("probe-{tried}");
        let probe = world.create_as(&eve, "RestoreAction", ("b", &name), spec.clone()).await;
        Ok(probe.is_err().then_some(()))
    })
    .await?;
    world.serve();
    let restore = world.ended("RestoreAction", ("b", "second")).await?;
    let error = restore.body.status["error"]["message"].as_str().unwrap_or_default();
    assert!(error.contains("user 'eve' may not restore what was captured"), "{}", restore.body.status);
    world.end().await
}

/// What was made in a namespace that went away while nobody watched stayed bound to a new one of its name, whose tenant
/// read what the one before had done.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_namespace_that_went_away_held_is_not_shown_to_the_next_of_its_name() -> Result<()> {
    let mut world = World::start().await?;
    for namespace in ["gone", "again"] {
        world.namespace(namespace).await?;
    }
    world.serve();
    for namespace in ["gone", "again"] {
        let spec = json!({ "subject": { "name": namespace, "namespace": namespace } });
        world.create("BackupAction", (namespace, "one"), spec).await?;
        world.completed("BackupAction", (namespace, "one")).await?;
    }
    eventually("both are applications", async || {
        let known = world.list("Application")?;
        Ok((known.iter().filter(|known| ["gone", "again"].contains(&known.name.as_str())).count() == 2)
            .then_some(()))
    })
    .await?;
    world.rest().await;
    let kind = Kind::cluster("v1", "Namespace", "namespaces");
    for namespace in ["gone", "again"] {
        world.platform.cluster().delete_object(&kind, None, namespace).await?;
        eventually("the namespace is gone", async || {
            let found = world.platform.cluster().read_object(&kind, None, namespace).await?;
            Ok(found.is_none().then_some(()))
        })
        .await?;
    }
    world.namespace("again").await?;
    world.serve();
    eventually("restore points are gone", async || Ok(world.list("RestorePoint")?.is_empty().then_some(())))
        .await?;
    eventually("actions are gone", async || Ok(world.list("BackupAction")?.is_empty().then_some(()))).await?;
    let history = Query::all(RowKind::new("history.backupactions.actions.kio.kasten.io"), 10);
    assert_eq!(world.platform.catalog()?.list(&history)?.rows.len(), 2, "actions are the history");
    let contents = world.list("RestorePointContent")?;
    assert_eq!(contents.len(), 2);
    assert!(contents.iter().all(|content| content.body.status["state"] == "Unbound"));

    let spec = json!({ "restorePointContentRef": { "name": contents[0].name } });
    world.create("RestorePoint", ("again", "mine"), spec).await?;
    world
        .create(
            "BackupAction",
            ("again", "two"),
            json!({ "subject": { "name": "again", "namespace": "again" } }),
        )
        .await?;
    world.completed("BackupAction", ("again", "two")).await?;
    // Whatever a look finds now was made in the new one.
    world.rest().await;
    world.serve();
    world.namespace("another").await?;
    eventually("there was a look", async || {
        Ok(world.read("Application", ("another", "another"))?.is_some().then_some(()))
    })
    .await?;
    assert!(world.read("RestorePoint", ("again", "mine"))?.is_some(), "what is made in the new one stays");
    assert!(world.read("BackupAction", ("again", "two"))?.is_some(), "what is made in the new one stays");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_needs_the_rights_of_whoever_asked_when_it_begins() -> Result<()> {
    let mut world = World::start().await?;
    let eve = user("eve");
    let info = json!({ "profileName": "vault", "sourceClusterID": world.platform.cluster_id() });
    for kind in ["KastenDRReview", "KastenDRRestore"] {
        let spec = json!({ "sourceClusterInfo": info });
        world.create_as(&eve, kind, (NAMESPACE, "asked"), spec).await?;
    }
    world.serve();
    for kind in ["KastenDRReview", "KastenDRRestore"] {
        let status = eventually("it has failed", async || {
            let asked = world.read(kind, (NAMESPACE, "asked"))?.context("what was asked for")?;
            Ok((asked.body.status["state"] == "failed").then_some(asked.body.status))
        })
        .await?;
        let error = status["error"].as_str().unwrap_or_default();
        assert!(
            error.contains("user 'eve' may not get profiles 'vault' in namespace 'kasten-io'"),
            "{status}"
        );
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_somebody_else_serves_is_told_where_people_look() -> Result<()> {
    let mut world = World::start().await?;
    world.serve();
    let name = "v1alpha1.apps.kio.kasten.io".to_owned();
    let by = "Service 'elsewhere/theirs'".to_owned();
    let taken = TakenApi { uid: "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".to_owned(), by: by.clone() };
    world.platform.note_taken_apis(BTreeMap::from([(name.clone(), taken)]));
    let kind = Kind::namespaced("events.k8s.io/v1", "Event", "events");
    let event = eventually("an event about it", async || {
        let events = world.platform.cluster().list_objects(&kind, Some("default"), None).await?;
        Ok(events.into_iter().find(|event| event["reason"] == "APITaken"))
    })
    .await?;
    assert_eq!((&event["regarding"]["name"], &event["type"]), (&json!(name), &json!("Warning")));
    assert!(event["note"].as_str().unwrap_or_default().contains(&by), "{event}");
    let told = status::observe(&world.platform);
    assert_eq!(told.taken_apis.iter().map(|taken| &taken.name).collect::<Vec<_>>(), [&name]);
    let metrics = metrics::render(&told, world.clock.now());
    assert!(metrics.contains("keelson_api_groups_taken 1"), "{metrics}");
    world.platform.note_taken_apis(BTreeMap::new());
    assert!(status::observe(&world.platform).taken_apis.is_empty());
    world.end().await
}
