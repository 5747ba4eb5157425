//! What is done with objects that exist already.

use anyhow::Result;
use keelson_workload::{ConflictRule, Conflicts, Kind, RestoreRequest};
use serde_json::json;

use crate::application::{Scene, config_maps};

fn secrets() -> Kind {
    Kind::namespaced("v1", "Secret", "secrets")
}

fn deployments() -> Kind {
    Kind::namespaced("apps/v1", "Deployment", "deployments")
}

async fn changed_scene(namespace: &str) -> Result<(Scene, Vec<keelson_workload::CapturedObject>)> {
    let scene = Scene::set(namespace).await?;
    scene.install_shop().await?;
    let (before, _) = scene.capture().await?;
    scene.apply(&[
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"MODE": "changed"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "web", "annotations": {"changed": "yes"}}}),
    ])?;
    let scale = json!({"spec": {"replicas": 5}});
    let mut live = scene.read(&deployments(), "web").await?;
    live["spec"]["replicas"] = scale["spec"]["replicas"].clone();
    // Its controller may be writing to it.
    live["metadata"]["resourceVersion"].take();
    scene.cluster.replace_object(&deployments(), &live).await?;
    // An immutable Secret changes only by being made anew.
    scene.cluster.delete_object(&secrets(), Some(scene.name()), "sealed").await?;
    scene.apply(&[
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sealed"}, "immutable": true,
        "stringData": {"k": "changed"}}),
    ])?;
    Ok((scene, before))
}

#[tokio::test]
async fn workloads_are_restored_and_the_rest_is_kept_when_nothing_is_said() -> Result<()> {
    let (scene, before) = changed_scene("conflict-keep").await?;
    let report = scene.restore(&scene.request(), &before).await?;
    assert_eq!(report.failures, []);
    assert_eq!(scene.read(&deployments(), "web").await?["spec"]["replicas"], 2);
    assert_eq!(scene.read(&config_maps(), "settings").await?["data"]["MODE"], "changed");
    let kept: Vec<String> = report
        .omitted
        .iter()
        .filter(|omission| omission.reason.to_string().contains("exists already"))
        .map(|omission| omission.resource.clone())
        .collect();
    assert_eq!(kept, ["configmaps", "secrets", "serviceaccounts"]);
    Ok(())
}

#[tokio::test]
async fn everything_but_accounts_is_overwritten_when_asked() -> Result<()> {
    let (scene, before) = changed_scene("conflict-overwrite").await?;
    let conflicts = Conflicts { overwrite_existing: true, ..Conflicts::default() };
    let report = scene.restore(&RestoreRequest { conflicts, ..scene.request() }, &before).await?;
    assert_eq!(report.failures, []);
    assert_eq!(report.recreated, 1, "the immutable Secret: {report:?}");
    let settings = scene.read(&config_maps(), "settings").await?;
    assert_eq!(settings["data"]["MODE"], "shop");
    assert_eq!(settings["metadata"]["managedFields"][0]["manager"], "helm");
    assert_eq!(settings["metadata"]["managedFields"].as_array().map(Vec::len), Some(1));
    let sealed = scene.read(&secrets(), "sealed").await?;
    assert_eq!(sealed["data"]["k"], "dg==");
    let accounts = Kind::namespaced("v1", "ServiceAccount", "serviceaccounts");
    assert_eq!(scene.read(&accounts, "web").await?["metadata"]["annotations"]["changed"], "yes");
    Ok(())
}

#[tokio::test]
async fn a_rule_for_one_kind_wins_over_the_defaults() -> Result<()> {
    let (scene, before) = changed_scene("conflict-rules").await?;
    let rules = [
        ("configmaps".to_owned(), ConflictRule::Fail),
        ("deployments.apps".to_owned(), ConflictRule::Keep),
        ("secrets".to_owned(), ConflictRule::Recreate),
    ];
    let conflicts = Conflicts { overwrite_existing: false, rules: rules.into() };
    let report = scene.restore(&RestoreRequest { conflicts, ..scene.request() }, &before).await?;
    assert_eq!(scene.read(&deployments(), "web").await?["spec"]["replicas"], 5);
    let failures: Vec<String> =
        report.failures.iter().map(|failure| format!("{}: {}", failure.object, failure.why)).collect();
    assert_eq!(failures, ["configmaps 'conflict-rules/settings': it exists already"]);
    assert_eq!(report.recreated, 1);
    Ok(())
}

#[tokio::test]
async fn what_an_interrupted_restore_left_is_finished_whatever_the_rule() -> Result<()> {
    let scene = Scene::set("unfinished").await?;
    scene.install_shop().await?;
    let (before, _) = scene.capture().await?;
    let copy = scene.beside()?;
    copy.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": copy.name()}})])?;
    // As a restore leaves an object when it is killed between creation and the last patch.
    let created = copy
        .plane
        .kubectl()
        .args([
            "create",
            "configmap",
            "made-by-shop",
            "--from-literal=k=v",
            "--field-manager=keelson-restore-test",
        ])
        .args(["--namespace", copy.name()])
        .output()?;
    assert!(created.status.success());
    let request = scene.request_into(&copy.namespace);
    let report = scene.restore(&request, &before).await?;
    assert_eq!(report.failures, []);
    let child = copy.read(&config_maps(), "made-by-shop").await?;
    let shop = copy.read(&copy.shop_kind(), "front").await?;
    assert_eq!(child["metadata"]["ownerReferences"][0]["uid"], shop["metadata"]["uid"]);
    let managers = child["metadata"]["managedFields"].to_string();
    assert!(!managers.contains("keelson") && managers.contains("helm"), "{managers}");
    Ok(())
}

/// A mark that an earlier restore left made every later one overwrite what it was told to keep.
#[tokio::test]
async fn what_another_restore_left_is_kept_where_existing_objects_are() -> Result<()> {
    let scene = Scene::set("left-behind").await?;
    let create = |name: &str, manager: &str| {
        let output = scene
            .plane
            .kubectl()
            .args(["create", "configmap", name, "--from-literal=k=theirs", manager])
            .args(["--namespace", scene.name()])
            .output()?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        Ok(())
    };
    create("marked", "--field-manager=keelson-restore-another")?;
    create("unmanaged", "--field-manager=keelson-restore-another")?;
    let (mut objects, _) = scene.capture().await?;
    let mine = |object: &&mut keelson_workload::CapturedObject| object.kind.kind == "ConfigMap";
    for object in objects.iter_mut().filter(mine) {
        assert!(object.managed_fields.is_none(), "the mark is not captured: {object:?}");
        object.object =
            serde_json::value::RawValue::from_string(object.object.get().replace("theirs", "captured"))?;
    }
    scene.cluster.delete_object(&config_maps(), Some(scene.name()), "unmanaged").await?;
    let report = scene.restore(&scene.request(), &objects).await?;
    assert_eq!(report.failures, []);
    assert_eq!(scene.read(&config_maps(), "marked").await?["data"]["k"], "theirs");
    // An object without captured field managers is finished all the same.
    let restored = scene.read(&config_maps(), "unmanaged").await?;
    assert_eq!(restored["data"]["k"], "captured");
    let managers = restored["metadata"]["managedFields"].to_string();
    assert!(!managers.contains("keelson-restore"), "{managers}");
    Ok(())
}
