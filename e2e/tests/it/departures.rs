//! What goes away under a live platform, and what stays: an application's namespace, and the platform itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::informers::Informer;
use crate::stage::{APPS, NAMESPACE, Stage};
use crate::world::{APPLICATION, back_up, config_map};

/// A namespace with nothing of ours in it takes about six seconds, and longer on a busy machine.
const GONE_WITHIN: Duration = Duration::from_secs(120);
const BACKUPS: [&str; 3] = ["first", "second", "third"];
const DEPLOYMENT: &str = "keelson";

fn items(list: Option<Value>) -> Result<Vec<Value>> {
    let list = list.context("a list")?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// Whether the platform runs or not.
fn kubectl(stage: &Stage, words: &[&str]) -> Result<String> {
    let said = stage.try_kubectl(words, "")?;
    ensure!(said.code == 0, "kubectl {}: {}", words.join(" "), said.stderr.trim());
    Ok(said.stdout)
}

/// The APIServices that lead to the platform: their names and uids.
fn registered(stage: &Stage) -> Result<Vec<String>> {
    let list: Value = serde_json::from_str(&kubectl(stage, &["get", "apiservices", "-o", "json"])?)?;
    let ours = items(Some(list))?.into_iter().filter(|it| it["spec"]["service"]["namespace"] == NAMESPACE);
    Ok(ours.map(|it| format!("{} {}", it["metadata"]["name"], it["metadata"]["uid"])).collect())
}

/// The Deployment that a `serve` may be told of. Its pods are never run here.
fn deploy(stage: &Stage) -> Result<()> {
    let labels = json!({ "component": "crypto" });
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": DEPLOYMENT, "namespace": NAMESPACE },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "serve", "image": "keelson" }] },
            },
        },
    });
    stage.create(&object).map(drop)
}

fn delete_namespace(stage: &Stage, name: &str) -> Result<Duration> {
    let started = Instant::now();
    kubectl(stage, &["delete", "namespace", name, "--timeout=240s"])?;
    Ok(started.elapsed())
}

#[test]
fn a_namespace_with_restore_points_and_actions_goes_and_its_contents_stay() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = Stage::raise(share.directory(), &[])?;
    stage.namespace(APPLICATION)?;
    stage.create(&config_map("orders"))?;
    for name in BACKUPS {
        back_up(&stage, name)?;
    }
    stage.until("the application is listed as active", || {
        let application = stage.get(&["application", APPLICATION, "-n", APPLICATION])?;
        Ok(application.filter(|application| application["status"]["state"] == "Active").map(drop))
    })?;

    let took = delete_namespace(&stage, APPLICATION)?;
    println!("the namespace went in {took:?}");
    assert!(took <= GONE_WITHIN, "the namespace took {took:?}");

    for kind in ["restorepoints", "backupactions"] {
        let left = items(stage.get(&[kind, "-n", APPLICATION])?)?;
        assert_eq!(left, Vec::<Value>::new(), "{kind}");
    }
    let contents = items(stage.get(&["restorepointcontents"])?)?;
    assert_eq!(contents.len(), BACKUPS.len());
    for content in &contents {
        assert_eq!(content["status"]["state"], "Unbound", "{content}");
        assert_eq!(content["metadata"]["labels"]["k10.kasten.io/appName"], APPLICATION);
    }
    let removed = ["applications", "-n", NAMESPACE, "--field-selector=status.state=Deleted"];
    stage.until("the application is listed as removed", || {
        let names: Vec<_> = items(stage.get(&removed)?)?
            .iter()
            .map(|application| application["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        Ok((names == [APPLICATION]).then_some(()))
    })?;

    // The way back: the namespace anew, a restore point on a content, a restore.
    stage.namespace(APPLICATION)?;
    let content = contents[0]["metadata"]["name"].as_str().context("a name")?;
    stage.create(&json!({
        "apiVersion": "apps.kio.kasten.io/v1alpha1", "kind": "RestorePoint",
        "metadata": { "name": "back", "namespace": APPLICATION },
        "spec": { "restorePointContentRef": { "name": content } },
    }))?;
    stage.create(&crate::world::action(
        "RestoreAction",
        "back",
        APPLICATION,
        json!({ "subject": { "kind": "RestorePoint", "name": "back", "namespace": APPLICATION } }),
    ))?;
    stage.complete("restoreaction", APPLICATION, "back")?;
    assert!(stage.get(&["configmap", "orders", "-n", APPLICATION])?.is_some());
    Ok(())
}

/// Its APIServices stayed without a server, and no namespace of the cluster could be removed any more.
#[test]
fn a_platform_outside_the_cluster_that_is_stopped_leaves_a_cluster_that_works() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    stage.namespace(APPLICATION)?;
    back_up(&stage, "first")?;
    stage.instance.stop()?;

    assert_eq!(registered(&stage)?, Vec::<String>::new());
    assert!(!kubectl(&stage, &["get", "services", "-n", NAMESPACE, "-o", "name"])?.contains("keelson-api"));
    let took = delete_namespace(&stage, APPLICATION)?;
    assert!(took <= GONE_WITHIN, "the namespace took {took:?}");

    stage.instance.restart()?;
    stage.wait_until_served()?;
    let contents = items(stage.get(&["restorepointcontents"])?)?;
    assert_eq!(contents.len(), 1);
    stage.until("what was bound in the namespace is not any more", || {
        let contents = items(stage.get(&["restorepointcontents"])?)?;
        Ok((contents[0]["status"]["state"] == "Unbound").then_some(()))
    })
}

/// Between two pods of a Deployment nothing is registered anew, and with the last of them all of it goes.
#[test]
fn what_is_registered_stays_for_the_next_pod_of_the_deployment_and_goes_when_that_wants_none() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise_installed(share.directory(), &["--deployment", DEPLOYMENT])?;
    deploy(&stage)?;
    stage.namespace(APPLICATION)?;
    back_up(&stage, "first")?;
    let mut informers = Informer::start_both(&stage, APPS, "restorepoints")?;
    for informer in &mut informers {
        assert_eq!(informer.await_holding_what_is_served(&stage)?.len(), 1);
    }
    let before = registered(&stage)?;
    assert_eq!(before.len(), 5, "{before:?}");

    stage.instance.stop()?;
    assert_eq!(registered(&stage)?, before, "another pod comes");
    stage.instance.restart()?;
    stage.wait_until_served()?;
    back_up(&stage, "second")?;
    for informer in &mut informers {
        assert_eq!(informer.await_holding_what_is_served(&stage)?.len(), 2);
    }
    assert_eq!(registered(&stage)?, before, "it was registered all the time");

    kubectl(&stage, &["scale", "deployment", DEPLOYMENT, "-n", NAMESPACE, "--replicas=0"])?;
    stage.instance.stop()?;
    assert_eq!(registered(&stage)?, Vec::<String>::new());
    let took = delete_namespace(&stage, APPLICATION)?;
    assert!(took <= GONE_WITHIN, "the namespace took {took:?}");
    Ok(())
}
