//! What an application is made of now, what a restore point holds, and what is said where neither can be told.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use keelson_protection::Record;
use keelson_testkit::eventually;
use keelson_workload::{KIND_OBJECTS_MAX, Kind};
use serde_json::{Value, json};

use crate::fixture::{World, person};
use crate::stage::{NAMESPACE, config, make_valid, profile};

const SHOP: &str = "shop";
const PARTS: [&str; 5] = ["config", "network", "workloads", "customresources", "volumes"];
/// What nobody may read who may only see what there is.
const SECRET: &str = "hunter2";

async fn create(
    world: &World,
    (api_version, kind, resource): (&str, &str, &str),
    object: Value,
) -> Result<()> {
    world.platform.cluster().create_object(&Kind::namespaced(api_version, kind, resource), &object).await?;
    Ok(())
}

/// One object of each part, and a claim that a pod of the workload mounts.
async fn install_shop(world: &World) -> Result<()> {
    world.namespace(SHOP).await?;
    teach_things(world).await?;
    let named = |name: &str| json!({ "name": name, "namespace": SHOP });
    let settings = json!({ "metadata": named("settings"), "data": { "colour": "blue" } });
    create(world, ("v1", "ConfigMap", "configmaps"), settings).await?;
    let mut password = json!({ "metadata": named("password"), "stringData": { "word": SECRET } });
    password["metadata"]["annotations"] =
        json!({ "kubectl.kubernetes.io/last-applied-configuration": format!("{{\"word\":\"{SECRET}\"}}") });
    create(world, ("v1", "Secret", "secrets"), password).await?;
    let service = json!({ "metadata": named("web"),
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] } });
    create(world, ("v1", "Service", "services"), service).await?;
    let claim = json!({ "metadata": named("data"), "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "10Gi" } } } });
    create(world, ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"), claim).await?;
    let pod = json!({ "containers": [{ "name": "web", "image": "example.com/web:1" }],
        "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }] });
    let deployment = json!({ "metadata": named("web"), "spec": {
        "selector": { "matchLabels": { "app": "web" } },
        "template": { "metadata": { "labels": { "app": "web" } }, "spec": pod } } });
    create(world, ("apps/v1", "Deployment", "deployments"), deployment).await?;
    create(world, ("shop.example.com/v1", "Thing", "things"), json!({ "metadata": named("one") })).await
}

async fn teach_things(world: &World) -> Result<()> {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "things.shop.example.com" },
        "spec": { "group": "shop.example.com", "scope": "Namespaced",
            "names": { "kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }] },
    });
    let cluster = world.platform.cluster();
    cluster.apply_manifest(&definition).await?;
    Ok(cluster.wait_established("things.shop.example.com", Duration::from_secs(180)).await?)
}

/// `Kind/name` of each entry of a part.
fn names(details: &Value, part: &str) -> Vec<String> {
    let entries = details["components"][part].as_array().into_iter().flatten();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries.map(|entry| format!("{}/{}", text(entry, "kind"), text(entry, "name"))).collect()
}

async fn application(world: &World, name: &str) -> Result<Value> {
    eventually("the application is known", async || {
        Ok(world.read("Application", (name, name))?.is_some().then_some(()))
    })
    .await?;
    world.details_in("appDetails", &person(), "Application", (name, name)).await
}

async fn point(world: &World, action: &Record) -> Result<Value> {
    let name = action.body.status["restorePoint"]["name"].as_str().context("a point")?;
    world.details_in("restorePointDetails", &person(), "RestorePoint", (SHOP, name)).await
}

/// Of the rest every namespace has more than the test has put there.
fn assert_config(details: &Value) {
    let config = names(details, "config");
    for there in ["ConfigMap/settings", "Secret/password", "ServiceAccount/default"] {
        assert!(config.iter().any(|name| name == there), "{there}: {config:?}");
    }
    assert!(!config.iter().any(|name| name.ends_with("kube-root-ca.crt")), "{config:?}");
    assert!(!details.to_string().contains(SECRET), "{details}");
    assert_eq!(details["incomplete"], Value::Null, "{details}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_and_its_restore_points_tell_what_they_are_made_of() -> Result<()> {
    let mut world = World::start().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    install_shop(&world).await?;

    let details = eventually("a pod mounts the claim", async || {
        let details = application(&world, SHOP).await?;
        Ok(details["components"]["volumes"][0]["podName"].is_string().then_some(details))
    })
    .await?;
    assert_config(&details);
    assert!(!names(&details, "config").contains(&format!("Namespace/{SHOP}")), "{details}");
    let parts = ["network", "workloads", "customresources"].map(|part| names(&details, part));
    assert_eq!(parts, [["Service/web"], ["Deployment/web"], ["Thing/one"]]);
    let thing = &details["components"]["customresources"][0];
    let expected = json!({ "kind": "Thing", "name": "one", "namespace": SHOP, "group": "shop.example.com",
        "apiVersion": "shop.example.com/v1", "resource": "things" });
    assert_eq!(thing, &expected);
    let mut volume = details["components"]["volumes"][0].clone();
    let pod = volume["podName"].take();
    assert!(pod.as_str().is_some_and(|name| name.starts_with("web-")), "{pod}");
    let expected = json!({ "kind": "PersistentVolumeClaim", "name": "data", "namespace": SHOP, "group": "",
        "apiVersion": "v1", "resource": "persistentvolumeclaims", "persistentVolumeClaimName": "data",
        "size": 10, "podName": null });
    assert_eq!(volume, expected);

    let export = world.export(SHOP, "one", json!({})).await?;
    let backup = world.read("BackupAction", (SHOP, "one"))?.context("the backup")?;
    for (action, place) in [(&backup, Value::Null), (&export, json!("vault"))] {
        assert_point(&point(&world, action).await?, &place);
    }
    let content = world.read("RestorePoint", (SHOP, &made(&export)?))?.context("the point")?;
    let content =
        content.body.spec["restorePointContentRef"]["name"].as_str().context("a content")?.to_owned();
    let at = ("", content.as_str());
    let same = world.details_in("restorePointContentDetails", &person(), "RestorePointContent", at).await?;
    assert_eq!(same, point(&world, &export).await?);
    assert_away(&world, &backup, &export).await?;
    world.end().await
}

fn made(action: &Record) -> Result<String> {
    action.body.status["restorePoint"]["name"].as_str().map(str::to_owned).context("a point")
}

fn assert_point(details: &Value, place: &Value) {
    assert_config(details);
    assert!(names(details, "config").contains(&format!("Namespace/{SHOP}")), "{details}");
    let parts = ["network", "workloads", "volumes"].map(|part| names(details, part));
    assert_eq!(parts, [["Service/web"], ["Deployment/web"], ["PersistentVolumeClaim/data"]]);
    let custom = ["CustomResourceDefinition/things.shop.example.com", "Thing/one"];
    assert_eq!(names(details, "customresources"), custom);
    let artifact = &details["artifacts"][0];
    assert_eq!(&artifact["exported"]["profile"], place, "{artifact}");
    assert!(artifact["uploadEndTime"].is_string() && artifact["bytes"].as_u64() > Some(0), "{artifact}");
    let counts = &details["objectCounts"];
    assert_eq!([&counts["things.shop.example.com"], &counts["deployments.apps"]], [1, 1], "{counts}");
    let all: u64 = counts.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    let listed: usize = PARTS.iter().map(|part| names(details, part).len()).sum();
    assert_eq!((all, artifact["objects"].as_u64()), (listed as u64, Some(all)), "{details}");
}

/// The location is taken away for a while: what lies there is said to be out of reach, and what lies here is told.
async fn assert_away(world: &World, backup: &Record, export: &Record) -> Result<()> {
    let (share, away) = (world.share.path().to_owned(), world.share.path().with_extension("away"));
    fs::rename(&share, &away)?;
    let (exported, kept_here) = (point(world, export).await, point(world, backup).await);
    fs::rename(&away, &share)?;
    let details = exported?;
    assert_point(&kept_here?, &Value::Null);
    assert!(PARTS.iter().all(|part| names(&details, part).is_empty()), "{details}");
    let message = details["incomplete"][0]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("what was captured could not be read to its end: "), "{details}");
    let artifact = &details["artifacts"][0];
    assert_eq!(
        (&artifact["exported"]["profile"], &artifact["uploadEndTime"]),
        (&json!("vault"), &Value::Null)
    );
    assert_point(&point(world, export).await?, &json!("vault"));
    Ok(())
}

/// A kind with more objects than are listed hides no other, and is counted where it was captured.
#[tokio::test(flavor = "multi_thread")]
async fn a_kind_with_too_many_objects_is_cut_and_said_to_be() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(SHOP).await?;
    let many = KIND_OBJECTS_MAX + 20;
    let maps = (0..many).map(|number| {
        let object = json!({ "metadata": { "name": format!("map-{number:04}"), "namespace": SHOP } });
        create(&world, ("v1", "ConfigMap", "configmaps"), object)
    });
    stream::iter(maps).buffer_unordered(16).try_collect::<()>().await?;
    let secret = json!({ "metadata": { "name": "password", "namespace": SHOP } });
    create(&world, ("v1", "Secret", "secrets"), secret).await?;
    world.serve();
    let subject = json!({ "subject": { "name": SHOP, "namespace": SHOP } });
    world.create("BackupAction", (SHOP, "one"), subject).await?;
    let backup = world.completed("BackupAction", (SHOP, "one")).await?;
    let stored = point(&world, &backup).await?;
    for details in [&application(&world, SHOP).await?, &stored] {
        let config = names(details, "config");
        let maps: Vec<_> = config.iter().filter(|name| name.starts_with("ConfigMap/")).collect();
        assert_eq!(maps.len(), KIND_OBJECTS_MAX);
        assert!(config.iter().any(|name| name == "Secret/password"), "{config:?}");
        let cut = json!([{ "resource": "configmaps", "message": "only 500 objects are listed" }]);
        assert_eq!(details["incomplete"], cut);
    }
    assert_eq!(stored["objectCounts"]["configmaps"], many);
    world.end().await
}

/// It was an empty object, which is what a namespace without anything would be.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_gone_says_so() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(SHOP).await?;
    world.serve();
    let subject = json!({ "subject": { "name": SHOP, "namespace": SHOP } });
    world.create("BackupAction", (SHOP, "one"), subject).await?;
    world.completed("BackupAction", (SHOP, "one")).await?;
    let namespaces = Kind::cluster("v1", "Namespace", "namespaces");
    world.platform.cluster().delete_object(&namespaces, None, SHOP).await?;
    eventually("the application is gone", async || {
        let gone = world.read("Application", (NAMESPACE, SHOP))?;
        Ok(gone.is_some_and(|gone| gone.body.status["state"] == "Deleted").then_some(()))
    })
    .await?;
    let details = world.details_in("appDetails", &person(), "Application", (NAMESPACE, SHOP)).await?;
    assert!(PARTS.iter().all(|part| names(&details, part).is_empty()), "{details}");
    let message = details["incomplete"][0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("the namespace is gone"), "{details}");
    world.end().await
}
