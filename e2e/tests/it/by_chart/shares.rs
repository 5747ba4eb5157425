//! A share that is mounted into the platform's pods: the same for two clusters, and on each node on which they run.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::installation::{Cluster, DR_POLICY};
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

#[test]
fn a_share_that_both_clusters_mount_on_every_node_holds_the_backups() -> Result<()> {
    scenario(|scene| {
        let folder = scene.folder("share")?;
        let mut source = Cluster::raise(scene, "source")?;
        source.adds_node()?;
        begins(&source, &folder)?;
        let lost = source.protects()?;
        source.drains(&source.node_of_platform()?)?;
        source.wait_valid("profile", "vault")?;
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
