//! A share that is mounted into the platform's pods: the same for two clusters, and on each node on which they run. Where it is
//! not, they wait.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::installation::{Cluster, DR_POLICY, items};
use super::scene::told;
use super::verdict::scenario;
use crate::stage::{NAMESPACE, profile};

const SHARE: &str = "dr-share";

/// The share as a claim of the platform's namespace, and the profile that leads to it.
fn begins(cluster: &Cluster<'_>, folder: &Path) -> Result<()> {
    cluster.makes_namespace()?;
    cluster.makes_passphrase()?;
    let size = json!({ "storage": "1Ti" });
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": SHARE },
        "spec": {
            "capacity": size, "accessModes": ["ReadWriteMany"], "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "", "hostPath": { "path": folder, "type": "Directory" },
        },
    }))?;
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": SHARE, "namespace": NAMESPACE },
        "spec": {
            "accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": SHARE,
            "resources": { "requests": size },
        },
    }))?;
    cluster.installs("--set 'keelson.claims={dr-share}'")?;
    let store = json!({ "claimName": SHARE, "path": "clusters/prod" });
    let spec = json!({ "type": "FileStore", "fileStore": store });
    cluster.apply(&profile("vault", &json!({ "type": "Location", "locationSpec": spec })))?;
    cluster.wait_valid("profile", "vault")
}

/// The other node, to which the platform has to go, has no share. Kubernetes says so by the node's name, and nobody writes in
/// its stead. Once it can be mounted the platform starts, and tries it from there.
fn waits_where_the_share_is_missing(cluster: &Cluster<'_>, folder: &Path) -> Result<()> {
    let from = cluster.node_of_platform()?;
    let to = cluster.nodes.node_names().into_iter().find(|node| *node != from);
    let to = to.context("the cluster has one node only")?;
    let run = |line: &str| told(cluster.nodes.exec_in_node(&to, "sh")?.args(["-c", line])).map(drop);
    let around = folder.parent().context("a share lies in a folder")?.display();
    run(&format!("mount -t tmpfs none '{around}'"))?;
    cluster.empties(&from)?;
    // What stands there was found on the node before: it is taken back.
    let pending = json!({ "status": { "validation": "Pending" } }).to_string();
    let patch = ["patch", "profile", "vault", "-n", NAMESPACE, "--subresource=status", "--type=merge"];
    cluster.kubectl(&[&patch[..], &["-p", pending.as_str()]].concat(), "")?;

    let failed = ["events", "-n", NAMESPACE, "--field-selector=reason=FailedMount"];
    let lacks_share = |event: &Value| {
        let message = event["message"].as_str().unwrap_or_default();
        event["source"]["host"] == to.as_str() && message.contains(SHARE)
    };
    cluster.until("the node that lacks the share is named", || {
        let events = cluster.get(&failed)?.unwrap_or_default();
        Ok(items(&events).iter().any(lacks_share).then_some(()))
    })?;
    let profile = cluster.get(&["profile", "vault", "-n", NAMESPACE])?.unwrap_or_default();
    ensure!(profile["status"]["validation"] == "Pending", "who has tried it? {}", profile["status"]);

    run(&format!("test -z \"$(ls -A '{around}')\" && umount '{around}'"))?;
    cluster.wait_until_served()?;
    assert_eq!(cluster.node_of_platform()?, to);
    cluster.wait_valid("profile", "vault")?;
    cluster.wait_valid("policy", DR_POLICY)
}

#[test]
fn a_share_that_both_clusters_mount_on_every_node_holds_the_backups() -> Result<()> {
    scenario(|scene| {
        let folder = scene.folder("share")?;
        let mut source = Cluster::raise(scene, "source")?;
        source.adds_node()?;
        begins(&source, &folder)?;
        let lost = source.protects()?;
        waits_where_the_share_is_missing(&source, &folder)?;
        source.runs_once(DR_POLICY)?;
        source.wait_until_shipped()?;
        source.destroy()?;

        let fresh = Cluster::raise(scene, "fresh")?;
        begins(&fresh, &folder)?;
        fresh.recovers(&lost, "", &[])?;
        fresh.assert_recovered(&lost)?;
        fresh.nodes.check()
    })
}
