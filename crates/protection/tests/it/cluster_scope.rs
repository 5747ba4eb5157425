//! The cluster scope is protected like an application: by hand, by policies, and over the loss of the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_catalog::{EventKind, RowKind};
use keelson_model::names::{CLUSTER_SCOPE, label};
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_protection::{Record, Requester};
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::fixture::{World, user};
use crate::schedule::{wait_for_runs, wait_scheduled};
use crate::stage::{NAMESPACE, config, make_valid, profile};

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn classes() -> Kind {
    Kind::cluster("storage.k8s.io/v1", "StorageClass", "storageclasses")
}

fn roles() -> Kind {
    Kind::cluster(RBAC, "ClusterRole", "clusterroles")
}

fn definitions() -> Kind {
    Kind::cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
}

/// What an operator of a cluster has made beside its applications.
async fn furnish(world: &World) -> Result<()> {
    let class = json!({ "metadata": { "name": "fast" }, "provisioner": "example.com/none" });
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] });
    let role = json!({ "metadata": { "name": "team:reader" }, "rules": [rule] });
    let schema =
        json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    let version = json!({ "name": "v1", "served": true, "storage": true, "schema": schema });
    let names = json!({ "plural": "shelves", "singular": "shelf", "kind": "Shelf" });
    let definition = json!({ "metadata": { "name": "shelves.example.com" }, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": names, "versions": [version] } });
    for (kind, object) in [(classes(), class), (roles(), role), (definitions(), definition)] {
        world.platform.cluster().apply_object(&kind, &object).await?;
    }
    Ok(())
}

async fn is_there(world: &World, kind: &Kind, name: &str) -> Result<bool> {
    Ok(world.platform.cluster().read_object(kind, None, name).await?.is_some())
}

/// Waits until it is gone, what it defines too.
async fn remove(world: &World, kind: &Kind, name: &str) -> Result<()> {
    world.platform.cluster().delete_object(kind, None, name).await?;
    eventually(&format!("{kind} '{name}' is gone"), async || {
        Ok((!is_there(world, kind, name).await?).then_some(()))
    })
    .await
}

/// Backs the cluster scope up, and gives the name of its restore point.
async fn back_up(world: &World, name: &str, spec: Value) -> Result<String> {
    world.create("BackupClusterAction", ("", name), spec).await?;
    let backup = world.completed("BackupClusterAction", ("", name)).await?;
    let point = &backup.body.status["restorePoint"];
    ensure!(point["namespace"].is_null(), "{point}");
    Ok(point["name"].as_str().context("a point")?.to_owned())
}

fn subject(point: &str) -> Value {
    json!({ "subject": { "kind": "ClusterRestorePoint", "name": point } })
}

async fn restore(world: &World, name: &str, spec: Value) -> Result<Record> {
    world.create("RestoreClusterAction", ("", name), spec).await?;
    world.completed("RestoreClusterAction", ("", name)).await
}

fn content_of(world: &World, point: &str) -> Result<Record> {
    let point = world.read("ClusterRestorePoint", ("", point))?.context("the point")?;
    let content = point.body.spec["restorePointContentRef"]["name"].as_str().context("its content")?;
    world.read("RestorePointContent", ("", content))?.context("the content")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_of_the_cluster_scope_comes_back_from_its_restore_point() -> Result<()> {
    let mut world = World::start().await?;
    furnish(&world).await?;
    world.namespace("shop").await?;
    world.serve();
    let point = back_up(&world, "before", json!({})).await?;
    let shown = world.read("ClusterRestorePoint", ("", &point))?.context("the point")?;
    assert_eq!(shown.labels, BTreeMap::new(), "it is of no policy");
    assert!(shown.body.status["actionTime"].is_string(), "{}", shown.body.status);
    let content = content_of(&world, &point)?;
    assert_eq!(content.body.status["restorePointRef"], json!({ "name": point }));
    let backup = world.details("BackupClusterAction", ("", "before")).await?;
    let phases: Vec<_> = backup["phases"].as_array().into_iter().flatten().map(|it| &it["name"]).collect();
    assert_eq!(phases, ["Cluster configuration", "Creating RestorePoint"]);

    let binding = json!({ "restorePointContentRef": { "name": content.name } });
    let refused = world.create("RestorePoint", ("shop", "stolen"), binding).await.unwrap_err();
    assert!(refused.to_string().contains("is of the cluster scope"), "{refused}");
    eventually("the applications are known", async || {
        let names: Vec<_> = world.list("Application")?.into_iter().map(|it| it.name).collect();
        ensure!(!names.iter().any(|name| name == CLUSTER_SCOPE), "{names:?}");
        Ok(names.contains(&"shop".to_owned()).then_some(()))
    })
    .await?;

    for (kind, name) in [(classes(), "fast"), (definitions(), "shelves.example.com")] {
        remove(&world, &kind, name).await?;
    }
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] });
    let changed = json!({ "metadata": { "name": "team:reader" }, "rules": [rule] });
    world.platform.cluster().apply_object(&roles(), &changed).await?;
    let mut narrowed = subject(&point);
    narrowed["filters"] = json!({ "excludeClusterResources": [{ "resource": "storageclasses" }] });
    let first = restore(&world, "narrowed", narrowed).await?;
    assert_eq!(first.body.status["restoreDetails"]["created"], 1, "{}", first.body.status);
    assert!(is_there(&world, &definitions(), "shelves.example.com").await?);
    assert!(!is_there(&world, &classes(), "fast").await?);
    let second = restore(&world, "whole", subject(&point)).await?;
    let details = &second.body.status["restoreDetails"];
    assert_eq!((&details["created"], &details["failed"]), (&json!(1), &json!(0)), "{details}");
    let told = second.body.status["exceptions"].to_string();
    assert!(told.contains("1 clusterroles.rbac.authorization.k8s.io: exists already and is kept"), "{told}");
    let kept = world.platform.cluster().read_object(&roles(), None, "team:reader").await?;
    assert_eq!(kept.context("the role")?["rules"], json!([rule]), "what exists is left as it is");

    let only = json!({ "filters": { "includeClusterResources": [{ "resource": "storageclasses" }] } });
    let only = back_up(&world, "only", only).await?;
    let details = content_of(&world, &only)?.body.internal;
    assert_eq!(details["artifact"]["objects"], 1, "{details}");
    // Deleting a point is permanent: nobody could bind its content again.
    world.delete("ClusterRestorePoint", ("", &only)).await?;
    eventually("point and content are gone", async || {
        let point = world.read("ClusterRestorePoint", ("", &only))?;
        let left = world.list("RestorePointContent")?.len();
        Ok((point.is_none() && left == 1).then_some(()))
    })
    .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_restores_the_cluster_scope_needs_every_right_of_what_is_made() -> Result<()> {
    let mut world = World::start().await?;
    furnish(&world).await?;
    world.serve();
    let point = back_up(&world, "before", json!({})).await?;
    remove(&world, &classes(), "fast").await?;
    let eve = user("eve");
    let mut spec = subject(&point);
    spec["filters"] = json!({ "includeClusterResources": [{ "resource": "storageclasses" }] });
    let try_as_eve = async |name: &str| -> Result<String> {
        world.create_as(&eve, "RestoreClusterAction", ("", name), spec.clone()).await?;
        let ended = world.ended("RestoreClusterAction", ("", name)).await?;
        ensure!(ended.body.status["state"] == "Failed", "{}", ended.body.status);
        Ok(ended.body.status["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    let told = try_as_eve("unread").await?;
    assert_eq!(told, format!("user 'eve' may not get clusterrestorepoints '{point}'"));
    let rule = json!({ "apiGroups": ["apps.kio.kasten.io"], "resources": ["clusterrestorepoints"], "verbs": ["get"] });
    let role = json!({ "metadata": { "name": "eve" }, "rules": [rule] });
    let binding = json!({ "metadata": { "name": "eve" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "eve" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve" }] });
    let bindings = Kind::cluster(RBAC, "ClusterRoleBinding", "clusterrolebindings");
    world.platform.cluster().apply_object(&roles(), &role).await?;
    world.platform.cluster().apply_object(&bindings, &binding).await?;
    let told = eventually("the right is known", async || {
        let told = try_as_eve(&format!("unmade-{}", world.list("RestoreClusterAction")?.len())).await?;
        Ok((!told.contains("may not get")).then_some(told))
    })
    .await?;
    assert!(told.contains(r#"User "eve" cannot create resource "storageclasses""#), "{told}");
    assert!(!is_there(&world, &classes(), "fast").await?);
    world.end().await
}

/// Rights that a backup holds may be of another cluster, and nobody would be asked whether he has them.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_restores_by_itself_brings_no_rights() -> Result<()> {
    let mut world = World::start().await?;
    furnish(&world).await?;
    world.serve();
    let point = back_up(&world, "before", json!({})).await?;
    remove(&world, &classes(), "fast").await?;
    remove(&world, &roles(), "team:reader").await?;
    let platform = Requester::Platform;
    world.create_as(&platform, "RestoreClusterAction", ("", "by-itself"), subject(&point)).await?;
    let restored = world.completed("RestoreClusterAction", ("", "by-itself")).await?;
    assert_eq!(restored.body.status["restoreDetails"]["created"], 1, "{}", restored.body.status);
    assert!(is_there(&world, &classes(), "fast").await?);
    assert!(!is_there(&world, &roles(), "team:reader").await?);
    let told = restored.body.status["exceptions"].to_string();
    let left_out = "1 clusterroles.rbac.authorization.k8s.io: rights are restored only when asked for";
    assert!(told.contains(left_out), "{told}");
    let asked = restore(&world, "asked-for", subject(&point)).await?;
    assert_eq!(asked.body.status["restoreDetails"]["created"], 1, "{}", asked.body.status);
    assert!(is_there(&world, &roles(), "team:reader").await?);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_of_the_cluster_scope_is_cancelled_from_the_install_namespace() -> Result<()> {
    let world = World::start().await?;
    world.create("BackupClusterAction", ("", "unwanted"), json!({})).await?;
    let named = json!({ "subject": { "kind": "BackupClusterAction", "name": "unwanted" } });
    world.create("CancelAction", (NAMESPACE, "cancel"), named).await?;
    let ended = world.ended("BackupClusterAction", ("", "unwanted")).await?;
    assert_eq!(ended.body.status["state"], "Cancelled", "{}", ended.body.status);
    let absent = world.create("RestoreClusterAction", ("", "absent"), subject("none")).await.unwrap_err();
    assert!(absent.to_string().contains("there is no cluster restore point 'none'"), "{absent}");
    world.end().await
}

fn policy(name: &str, values: &[&str], actions: &Value) -> Value {
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Policy",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "frequency": "@hourly", "retention": { "hourly": 1 }, "actions": actions,
            "selector": { "matchExpressions": [
                { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": values } ] },
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_the_cluster_scope_keeps_what_its_retention_says() -> Result<()> {
    let mut world = World::start().await?;
    furnish(&world).await?;
    let hourly = policy("hourly", &[CLUSTER_SCOPE], &json!([{ "action": "backup" }]));
    make_valid(&world.platform, &config("Policy", "policies"), &hourly).await?;
    world.serve();
    wait_scheduled(&world.platform, 1).await?;
    for count in [1, 2] {
        world.clock.advance(Duration::from_secs(3600));
        wait_for_runs(&world, "hourly", count).await?;
    }
    let backups = world.list("BackupClusterAction")?;
    assert_eq!(backups.len(), 2);
    let newest = backups.iter().max_by_key(|it| it.body.spec["scheduledTime"].to_string()).context("one")?;
    let newest = newest.body.status["restorePoint"]["name"].as_str().context("a point")?.to_owned();
    eventually("the older one is retired", async || {
        let points: Vec<_> = world.list("ClusterRestorePoint")?.into_iter().map(|it| it.name).collect();
        let left = world.list("RestorePointContent")?.len();
        Ok((points == [newest.clone()] && left == 1).then_some(()))
    })
    .await?;
    let point = world.read("ClusterRestorePoint", ("", &newest))?.context("the point")?;
    let labels: Vec<_> = point.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(labels, [(label::POLICY_NAME, "hourly"), (label::POLICY_NAMESPACE, NAMESPACE)]);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cluster_gets_its_cluster_scope_back_before_its_applications() -> Result<()> {
    let mut world = World::start().await?;
    furnish(&world).await?;
    world.namespace("shop").await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let vault = json!({ "name": "vault", "namespace": NAMESPACE });
    let included =
        json!([{ "resource": "storageclasses" }, { "resource": "clusterroles", "name": "team:reader" }]);
    let all = policy(
        "all",
        &["*", CLUSTER_SCOPE],
        &json!([
            { "action": "backup", "backupParameters": { "filters": { "includeClusterResources": included } } },
            { "action": "export", "exportParameters": { "profile": vault } },
        ]),
    );
    make_valid(&world.platform, &config("Policy", "policies"), &all).await?;
    let run = json!({ "subject": { "kind": "Policy", "name": "all", "namespace": NAMESPACE } });
    world.create("RunAction", (NAMESPACE, "now"), run).await?;
    world.completed("RunAction", (NAMESPACE, "now")).await?;
    let exports = world.list("ExportAction")?;
    let mut places: Vec<_> = exports.iter().map(|export| export.namespace.as_str()).collect();
    places.sort_unstable();
    assert_eq!(places, [NAMESPACE, "shop"]);
    assert_eq!(world.list("ClusterRestorePoint")?.len(), 2, "the local one and the exported");
    world.wait_until_shipped().await?;
    let source = world.platform.cluster_id().clone();

    let mut world = world.lose_cluster().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    world.recover(&source).await?;
    let points = world.list("ClusterRestorePoint")?;
    let exported = points.iter().find(|point| point.labels.contains_key(label::EXPORT_PROFILE));
    let exported = exported.context("an exported point of the cluster scope")?.name.clone();
    assert_eq!(content_of(&world, &exported)?.body.status["state"], "Bound");
    let check = json!({ "subject": { "kind": "ClusterRestorePoint", "name": exported } });
    world.create("ValidateAction", (NAMESPACE, "check"), check).await?;
    world.completed("ValidateAction", (NAMESPACE, "check")).await?;

    let subjects = json!([{ "namespace": "shop" },
        { "namespace": CLUSTER_SCOPE, "restorePointName": exported }]);
    let batch = json!({ "subjects": subjects, "filters": {
        "includeClusterResources": [{ "resource": "storageclasses" }] } });
    world.create("BatchRestoreAction", (NAMESPACE, "both"), batch).await?;
    let ended = world.completed("BatchRestoreAction", (NAMESPACE, "both")).await?;
    let told = &ended.body.status["actionDetails"]["restoredApplications"];
    assert_eq!(told, &json!([CLUSTER_SCOPE, "shop"]), "{}", ended.body.status);
    let of_cluster = world.list("RestoreClusterAction")?.pop().context("the restore of the cluster scope")?;
    let its_end = of_cluster.revision.context("its last change")?;
    let restores = RowKind::new("restoreactions.actions.kio.kasten.io");
    let later = world.platform.catalog()?.changes(&restores, None, its_end, 1000)?;
    let begun: Vec<_> = later.events.iter().filter(|event| event.kind == EventKind::Added).collect();
    assert_eq!(begun.len(), 1, "the application was begun before that had ended");
    assert!(is_there(&world, &classes(), "fast").await?);
    assert!(!is_there(&world, &roles(), "team:reader").await?, "it was not asked for");
    let latest = json!({ "subjects": [{ "namespace": CLUSTER_SCOPE }] });
    world.create("BatchRestoreAction", (NAMESPACE, "rest"), latest).await?;
    world.completed("BatchRestoreAction", (NAMESPACE, "rest")).await?;
    assert!(is_there(&world, &roles(), "team:reader").await?);
    world.end().await
}
