//! What lies in no namespace, over the loss of a cluster: with kubectl, and with the program where only exports are left.

use std::fs;

use anyhow::{Context, Result, ensure};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{ACTIONS, CONFIG, NAMESPACE, Stage, assert_said};
use crate::world::{
    APPLICATION, ORIGIN, PASSPHRASE, action, raise_protected, restore_point_of, wait_until_shipped,
};

/// Of kubectl, where an object lies in no namespace.
const NOWHERE: &str = "default";

fn cluster_action(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": ACTIONS, "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// What an operator of a cluster has made beside its applications.
fn furnish(stage: &Stage) -> Result<()> {
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] });
    let schema =
        json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    let version = json!({ "name": "v1", "served": true, "storage": true, "schema": schema });
    let names = json!({ "plural": "beds", "singular": "bed", "kind": "Bed" });
    for object in [
        json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "fast" },
            "provisioner": "example.com/none" }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": "team:reader" }, "rules": [rule] }),
        json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": "beds.example.com" }, "spec": { "group": "example.com",
                "scope": "Namespaced", "names": names, "versions": [version] } }),
    ] {
        stage.create(&object)?;
    }
    Ok(())
}

fn assert_furnished(stage: &Stage) -> Result<()> {
    for (resource, name) in
        [("storageclass", "fast"), ("clusterrole", "team:reader"), ("crd", "beds.example.com")]
    {
        ensure!(stage.get(&[resource, name])?.is_some(), "{resource} '{name}' is missing");
    }
    Ok(())
}

/// An empty cluster in place of the lost one, that knows the way to what it left.
fn raise_anew(share: &Supervisor) -> Result<Stage> {
    let stage = Stage::raise(share.directory(), &[])?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    Ok(stage)
}

#[test]
fn cluster_scoped_resources_come_back_with_kubectl_after_the_loss_of_the_cluster() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_protected(share.directory(), ORIGIN, &[])?;
    furnish(&stage)?;
    stage.create(&json!({
        "apiVersion": CONFIG, "kind": "Policy", "metadata": { "name": "nightly", "namespace": NAMESPACE },
        "spec": {
            "frequency": "@daily", "retention": { "daily": 7 },
            "selector": { "matchExpressions": [
                { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": ["*", "kasten-io-cluster"] },
            ]},
            "actions": [
                { "action": "backup" },
                { "action": "export", "exportParameters": { "profile": { "name": "vault", "namespace": NAMESPACE } } },
            ],
        },
    }))?;
    stage.wait_valid("policy", "nightly")?;
    let subject = json!({ "kind": "Policy", "name": "nightly", "namespace": NAMESPACE });
    stage.create(&action("RunAction", "now", NAMESPACE, json!({ "subject": subject })))?;
    stage.complete("runaction", NAMESPACE, "now")?;
    let table = stage.kubectl(&["get", "clusterrestorepoints"], "")?;
    let heading: Vec<_> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heading, ["NAME", "CREATED", "AT"], "{table}");
    assert_eq!(table.lines().count(), 3, "one here and one in the location: {table}");
    wait_until_shipped(&stage)?;
    let source = stage.cluster_id()?;
    stage.instance.kill()?;
    drop(stage);

    let stage = raise_anew(&share)?;
    let said = stage.keelson(&["dr", "restore", "--profile", "vault", "--source-cluster-id", &source])?;
    ensure!(said.code == 0, "{said:?}");
    ensure!(stage.get(&["storageclass", "fast"])?.is_none(), "it is another cluster");
    let points = stage.get(&["clusterrestorepoints", "-l", "k10.kasten.io/exportProfile"])?;
    let points = points.context("the points")?;
    let point = points["items"][0]["metadata"]["name"].as_str().context("an exported point")?;
    let details = format!("/apis/apps.kio.kasten.io/v1alpha1/clusterrestorepoints/{point}/details");
    let details: Value = serde_json::from_str(&stage.kubectl(&["get", "--raw", &details], "")?)?;
    let policies = &details["status"]["clusterRestorePointDetails"]["originatingPolicies"];
    assert_eq!(policies, &json!([{ "name": "nightly" }]));
    let spec = json!({ "subject": { "kind": "ClusterRestorePoint", "name": point } });
    stage.create(&cluster_action("RestoreClusterAction", "back", spec))?;
    stage.complete("restoreclusteraction", NOWHERE, "back")?;
    assert_furnished(&stage)?;
    let said = stage.keelson(&["restore", APPLICATION])?;
    ensure!(said.code == 0, "{said:?}");

    let refused = |kind: &str, spec: Value, told: &str| -> Result<()> {
        let object = cluster_action(kind, "refused", spec).to_string();
        let said = stage.try_kubectl(&["create", "-f", "-"], &object)?;
        ensure!(said.code != 0 && said.stderr.contains(told), "{said:?}");
        Ok(())
    };
    let of_application = json!({ "subject": { "kind": "RestorePoint", "name": point } });
    refused("RestoreClusterAction", of_application, "spec.subject.kind: Unsupported value")?;
    let absent = json!({ "subject": { "kind": "ClusterRestorePoint", "name": "none" } });
    refused("RestoreClusterAction", absent, "there is no cluster restore point 'none'")?;
    let misplaced = json!({ "filters": { "includeResources": [{ "resource": "storageclasses" }] } });
    refused("BackupClusterAction", misplaced, "unknown field \"spec.filters.includeResources\"")?;
    let made = json!({ "apiVersion": "apps.kio.kasten.io/v1alpha1", "kind": "ClusterRestorePoint",
        "metadata": { "name": "made" }, "spec": {} });
    let said = stage.try_kubectl(&["create", "-f", "-"], &made.to_string())?;
    ensure!(said.code != 0 && said.stderr.contains("does not allow"), "{said:?}");
    Ok(())
}

#[test]
fn the_cluster_scope_is_found_among_exports_whose_catalog_is_gone_and_restored_by_the_command_line()
-> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_protected(share.directory(), ORIGIN, &[])?;
    furnish(&stage)?;
    stage.create(&cluster_action("BackupClusterAction", "before", json!({})))?;
    let point = restore_point_of(&stage.complete("backupclusteraction", NOWHERE, "before")?)?;
    let spec = json!({
        "subject": { "kind": "ClusterRestorePoint", "name": point },
        "profile": { "name": "vault", "namespace": NAMESPACE },
    });
    stage.create(&action("ExportAction", "before", NAMESPACE, spec))?;
    stage.complete("exportaction", NAMESPACE, "before")?;
    let source = stage.cluster_id()?;
    stage.instance.kill()?;
    drop(stage);
    fs::remove_dir_all(share.directory().join(ORIGIN).join("k10").join(&source).join("dr"))?;

    let stage = raise_anew(&share)?;
    let said =
        stage.keelson(&["tools", "rebuild-catalog", "--profile", "vault", "--source-cluster-id", &source])?;
    ensure!(said.code == 0, "{said:?}");
    assert_said(
        &stage.keelson(&["restore", "kasten-io-cluster", "--target-namespace", "copy"])?,
        3,
        &["--target-namespace is for applications", "hint: what is missing is made"],
    );
    let said = stage.keelson(&["restore", "kasten-io-cluster"])?;
    ensure!(said.code == 0, "{said:?}");
    assert_furnished(&stage)
}
