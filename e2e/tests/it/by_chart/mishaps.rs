//! What goes wrong around a restore: its pod is evicted, a node drained, the API server started again, the restore started
//! twice, a right withheld, the volume full. Each is told, and the restore is done in the end.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::installation::{Cluster, OWNERSHIP, items, text};
use super::scene::told;
use super::shop::{POLICY, SHOP, Shop};
use super::verdict::scenario;
use crate::stage::NAMESPACE;

const JOB_PODS: [&str; 5] = ["pods", "-n", NAMESPACE, "-l", "job-name=k10-restore"];

/// The pods of the Job that run.
fn running_pods(cluster: &Cluster<'_>) -> Result<Vec<String>> {
    let pods = cluster.get(&JOB_PODS)?.unwrap_or_default();
    let running = items(&pods)
        .iter()
        .filter(|pod| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null());
    Ok(running.map(|pod| text(&pod["metadata"]["name"])).collect())
}

fn until_restoring(cluster: &Cluster<'_>) -> Result<()> {
    cluster.until("the restore runs", || {
        let restore = cluster.get(&["kastendrrestore", "k10-restore", "-n", NAMESPACE])?;
        Ok(restore.filter(|restore| restore["status"]["state"] == "running").map(drop))
    })
}

/// As a node does that needs the room, or whoever drains it.
fn evict(cluster: &Cluster<'_>, pod: &str) -> Result<()> {
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod, "namespace": NAMESPACE },
    });
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction");
    cluster.kubectl(&["create", "--raw", &path, "-f", "-"], &eviction.to_string()).map(drop)
}

#[test]
fn a_restore_outlives_its_pod_the_api_server_and_the_node_and_a_second_one_is_refused() -> Result<()> {
    scenario(|scene| {
        let mut cluster = Cluster::raise(scene, "middle")?;
        cluster.adds_node()?;
        let lost = cluster.lives("")?;
        cluster.loses_everything()?;
        cluster.begins("")?;

        // Nobody answers it, so that it does not end before its time.
        let frozen = scene.freeze_minio()?;
        cluster.asks_for(&lost, "", &[])?;
        until_restoring(&cluster)?;
        let first = cluster.until("the Job's pod runs", || Ok(running_pods(&cluster)?.pop()))?;
        evict(&cluster, &first)?;
        cluster.until("another pod follows it", || {
            Ok(running_pods(&cluster)?.into_iter().find(|pod| *pod != first))
        })?;

        let again = "$ helm install k10-restore-2 kasten/k10restore --namespace=kasten-io \\\n\
                     --set sourceClusterID=<id> --set profile.name=vault";
        cluster.types(again, &[("id", lost.id.as_str())])?;
        let word = cluster.last_word("k10-restore-2")?;
        ensure!(word.code == 5, "one restore at a time: {word:?}");
        cluster.types("$ helm uninstall k10-restore-2 --namespace=kasten-io", &[])?;

        cluster.restarts_api_server()?;
        let node = cluster.node_of_platform()?;
        cluster.drains(&node)?;
        drop(frozen);
        cluster.job_succeeds()?;
        let restores = cluster.names(&["kastendrrestores", "-n", NAMESPACE])?;
        assert_eq!(restores.into_iter().collect::<Vec<_>>(), ["k10-restore"]);
        cluster.kubectl(&["uncordon", &node], "")?;
        cluster.assert_recovered(&lost)?;
        cluster.nodes.check()
    })
}

/// Lets the platform back up and restore in one namespace.
fn grant(cluster: &Cluster<'_>, namespace: &str) -> Result<()> {
    let account = format!("--serviceaccount={NAMESPACE}:k10-k10");
    let role = "--clusterrole=k10-serve-applications";
    cluster.kubectl(&["create", "rolebinding", "k10", "-n", namespace, role, &account], "").map(drop)
}

#[test]
fn a_right_that_is_withheld_is_named_and_with_it_the_same_goes_well() -> Result<()> {
    scenario(|scene| {
        let cluster = Cluster::raise(scene, "withheld")?;
        let few = "--set keelson.rightsToApplications=false";
        cluster.begins(few)?;
        Shop::open(&cluster)?;
        Shop::protect(&cluster)?;
        let run = cluster.starts(POLICY)?;
        let refused = cluster.ended("runaction", NAMESPACE, &run)?;
        ensure!(refused["status"]["state"] == "Failed", "{}", refused["status"]);
        let told = says_what_is_refused(&refused["status"]);
        ensure!(told, "neither the right nor for what: {}", refused["status"]);
        grant(&cluster, SHOP)?;
        let lost = cluster.protects()?;

        cluster.loses_everything()?;
        cluster.begins("")?;
        // No pod begins before the Job's right is gone.
        let node = cluster.node_of_platform()?;
        cluster.kubectl(&["cordon", &node], "")?;
        cluster.asks_for(&lost, "", &[])?;
        cluster.kubectl(&["delete", "rolebinding", "k10-restore", "-n", NAMESPACE], "")?;
        cluster.kubectl(&["uncordon", &node], "")?;
        let word = cluster.last_word("k10-restore")?;
        ensure!(word.code == 6 && word.message.contains("kastendrrestores"), "{word:?}");
        cluster.uninstalls_restore()?;
        cluster.recovers(&lost, "", &[])?;
        cluster.assert_recovered(&lost)?;
        cluster.nodes.check()
    })
}

/// As the API server says it: who cannot do what, where.
fn says_what_is_refused(status: &Value) -> bool {
    let told = status.to_string();
    ["k10-k10", "cannot", SHOP].iter().all(|word| told.contains(word))
}

/// A volume of 128 MiB of its own for the catalog, which is full but for nothing until somebody makes room.
struct SmallVolume<'a> {
    cluster: &'a Cluster<'a>,
    node: String,
    folder: String,
}

impl<'a> SmallVolume<'a> {
    fn offer(cluster: &'a Cluster<'a>, folder: &Path) -> Result<Self> {
        let node = cluster.nodes.node_names().pop().context("the cluster has a node")?;
        let volume = Self { cluster, node, folder: folder.display().to_string() };
        volume.run(&format!("mount -t tmpfs -o size=128m,mode=777 none '{}'", volume.folder))?;
        cluster.apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "small" },
            "spec": {
                "capacity": { "storage": "100Gi" }, "accessModes": ["ReadWriteOncePod"],
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "small",
                "hostPath": { "path": volume.folder, "type": "Directory" },
            },
        }))?;
        Ok(volume)
    }

    fn fill(&self) -> Result<()> {
        self.run(&format!("cat /dev/zero >'{0}/ballast' 2>/dev/null; test -s '{0}/ballast'", self.folder))
    }

    fn make_room(&self) -> Result<()> {
        self.run(&format!("rm '{}/ballast'", self.folder))
    }

    fn run(&self, line: &str) -> Result<()> {
        told(self.cluster.nodes.exec_in_node(&self.node, "sh")?.args(["-c", line])).map(drop)
    }
}

#[test]
fn a_restore_onto_a_full_volume_waits_for_room_and_is_done_then() -> Result<()> {
    scenario(|scene| {
        let folder = scene.folder("small")?;
        let cluster = Cluster::raise(scene, "full")?;
        let lost = cluster.lives("")?;
        cluster.loses_everything()?;
        let volume = SmallVolume::offer(&cluster, &folder)?;
        cluster.begins("--set global.persistence.storageClass=small")?;

        volume.fill()?;
        cluster.asks_for(&lost, "", &[])?;
        let word = cluster.last_word("k10-restore")?;
        ensure!(word.code == 7, "there is no room: {word:?}");
        ensure!(cluster.get(&OWNERSHIP)?.is_none(), "what was not done leaves something");
        volume.make_room()?;
        cluster.job_succeeds()?;
        cluster.assert_recovered(&lost)?;
        cluster.nodes.check()
    })
}
