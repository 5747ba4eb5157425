//! What goes wrong around a restore: its pod is evicted, a node drained, the API server started again, the restore started
//! twice, a right withheld, the volume full, the time up. Each is told, and the restore is done in the end.
//!
//! What was refused leaves a platform as it was, so that one platform is enough for all that is refused. Its bucket has a
//! certificate that no system knows (`authorities`).

use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use keelson_testkit::TlsFront;
use serde_json::{Value, json};

use super::authorities::{begins_behind, believes_no_stranger, open_front};
use super::choices::{found, makes_further_profile};
use super::installation::{Cluster, LastWord, Lost, OWNERSHIP, has_condition, items, text};
use super::scene::{Frozen, PATH, Scene, told};
use super::shop::{POLICY, SHOP, Shop};
use super::typed::{extended, with};
use super::verdict::scenario;
use crate::stage::NAMESPACE;

/// The least that can be given.
const MINUTE: [(&str, &str); 1] = [("timeout-in-minutes", "1")];
/// How a pod ends whose restore may not run beside another.
const CONFLICT: i64 = 5;
/// How a pod ends whose restore has waited in vain for an answer, or for room. For a bucket's answer it waits a minute.
const UNAVAILABLE: i64 = 7;
/// How a pod ends whose restore had no time left before the switch.
const OUT_OF_TIME: i64 = 11;
/// How often a restore is begun until one comes as far in its minute as it should.
const BEGUN_MAX: usize = 4;
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

/// Whether the bucket has answered nobody for so long that the restore gave up.
fn is_silence(word: &LastWord) -> bool {
    word.code == UNAVAILABLE && word.message.contains("no answer in time")
}

/// Takes a restore away, and waits until what its pods have begun has ended, too.
fn takes_back(cluster: &Cluster<'_>) -> Result<()> {
    cluster.uninstalls_restore()?;
    cluster.until("no restore runs", || {
        let restores = cluster.get(&["kastendrrestores", "-n", NAMESPACE])?.unwrap_or_default();
        let has_ended =
            |restore: &Value| matches!(restore["status"]["state"].as_str(), Some("success" | "failed"));
        Ok(items(&restores).iter().all(has_ended).then_some(()))
    })?;
    cluster.kubectl(&["delete", "kastendrrestores", "--all", "-n", NAMESPACE, "--timeout=2m"], "").map(drop)
}

/// A restore, whose pod is evicted and followed by another, and then a second one. How that has ended.
fn asks_twice(cluster: &Cluster<'_>, lost: &Lost) -> Result<LastWord> {
    cluster.asks_for(lost, "", &[])?;
    until_restoring(cluster)?;
    let first = cluster.until("the Job's pod runs", || Ok(running_pods(cluster)?.pop()))?;
    evict(cluster, &first)?;
    cluster.until("another pod follows it", || {
        Ok(running_pods(cluster)?.into_iter().find(|pod| *pod != first))
    })?;

    let again = "$ helm install k10-restore-2 kasten/k10restore --namespace=kasten-io \\\n\
                 --set sourceClusterID=<id> --set profile.name=vault";
    cluster.types(again, &[("id", lost.id.as_str())])?;
    let word = cluster.last_word("k10-restore-2")?;
    cluster.types("$ helm uninstall k10-restore-2 --namespace=kasten-io", &[])?;
    Ok(word)
}

/// While the bucket answers nobody the first restore runs for a minute, in which the second one has to ask. Where the machine
/// stands still it comes too late and is a first one itself: then both are begun anew.
fn refuses_a_second(scene: &Scene, cluster: &Cluster<'_>, lost: &Lost) -> Result<Frozen> {
    for _ in 0..BEGUN_MAX {
        let frozen = scene.freeze_minio()?;
        let word = asks_twice(cluster, lost)?;
        if word.code == CONFLICT {
            return Ok(frozen);
        }
        ensure!(is_silence(&word), "one restore at a time: {word:?}");
        takes_back(cluster)?;
        drop(frozen);
        cluster.wait_valid("profile", "vault")?;
    }
    bail!("the first restore had ended each time when the second one asked")
}

/// On a fresh platform of a cluster with two nodes: the restore is done, whatever ends in the middle of it.
pub(super) fn recovers_in_spite_of_all(scene: &Scene, cluster: &mut Cluster<'_>, lost: &Lost) -> Result<()> {
    let frozen = refuses_a_second(scene, cluster, lost)?;
    cluster.restarts_api_server()?;
    let node = cluster.node_of_platform()?;
    cluster.drains(&node)?;
    drop(frozen);
    cluster.job_succeeds()?;
    let restores = cluster.names(&["kastendrrestores", "-n", NAMESPACE])?;
    assert_eq!(restores.into_iter().collect::<Vec<_>>(), ["k10-restore"]);
    cluster.kubectl(&["uncordon", &node], "").map(drop)
}

/// Lets the platform back up and restore in one namespace.
fn grant(cluster: &Cluster<'_>, namespace: &str) -> Result<()> {
    let account = format!("--serviceaccount={NAMESPACE}:k10-k10");
    let role = "--clusterrole=k10-serve-applications";
    cluster.kubectl(&["create", "rolebinding", "k10", "-n", namespace, role, &account], "").map(drop)
}

/// A platform with rights to no application says which one it lacks, and with that it is protected.
fn lives_with_few_rights(scene: &Scene, cluster: &Cluster<'_>, front: &TlsFront) -> Result<Lost> {
    begins_behind(cluster, front, "--set keelson.rightsToApplications=false")?;
    believes_no_stranger(scene, cluster)?;
    for name in ["second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"] {
        makes_further_profile(cluster, name, PATH)?;
    }
    Shop::open(cluster)?;
    Shop::protect(cluster)?;
    let run = cluster.starts(POLICY)?;
    let refused = cluster.ended("runaction", NAMESPACE, &run)?;
    ensure!(refused["status"]["state"] == "Failed", "{}", refused["status"]);
    let told = says_what_is_refused(&refused["status"]);
    ensure!(told, "neither the right nor for what: {}", refused["status"]);
    grant(cluster, SHOP)?;
    cluster.protects()
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

/// Each profile and policy that is made takes ten seconds more: the API server asks somebody who takes its connection and
/// does not answer, and goes on without him then.
fn slow_down(cluster: &Cluster<'_>, scene: &Scene) -> Result<TcpListener> {
    let silent = TcpListener::bind((scene.host, 0)).context("listen without answering")?;
    let rule = json!({
        "apiGroups": ["config.kio.kasten.io"], "apiVersions": ["*"], "operations": ["CREATE"],
        "resources": ["profiles", "policies"],
    });
    cluster.apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "slow" },
        "webhooks": [{
            "name": "slow.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": { "url": format!("https://{}/", silent.local_addr()?) },
            "failurePolicy": "Ignore", "timeoutSeconds": 30, "rules": [rule],
        }],
    }))?;
    Ok(silent)
}

fn assert_untouched(cluster: &Cluster<'_>) -> Result<()> {
    ensure!(cluster.get(&OWNERSHIP)?.is_none(), "what was not done leaves something");
    ensure!(cluster.exports()?.is_empty(), "what was not done leaves restore points");
    Ok(())
}

fn asks_for_a_minute(cluster: &Cluster<'_>, lost: &Lost) -> Result<()> {
    cluster.asks_for(lost, &extended(with::TIMEOUT, "--set skipResource=secret"), &MINUTE)
}

/// Where the machine stands still its minute may be up before anything else: then the Job has failed, and it is begun anew.
fn until_ended_with(cluster: &Cluster<'_>, lost: &Lost, code: i64) -> Result<()> {
    for _ in 0..BEGUN_MAX {
        let word = cluster.until(&format!("a pod of the restore ends with {code}"), || {
            let words = cluster.last_words("k10-restore")?;
            Ok(words.into_iter().find(|word| [code, OUT_OF_TIME].contains(&word.code)))
        })?;
        if word.code == code {
            return Ok(());
        }
        assert_untouched(cluster)?;
        cluster.uninstalls_restore()?;
        asks_for_a_minute(cluster, lost)?;
    }
    bail!("the minute of each restore was up before a pod ended with {code}")
}

fn is_refused_without_its_right(cluster: &Cluster<'_>, lost: &Lost) -> Result<()> {
    // No pod begins before the Job's right is gone.
    let node = cluster.node_of_platform()?;
    cluster.kubectl(&["cordon", &node], "")?;
    cluster.asks_for(lost, "", &[])?;
    cluster.kubectl(&["delete", "rolebinding", "k10-restore", "-n", NAMESPACE], "")?;
    cluster.kubectl(&["uncordon", &node], "")?;
    let word = cluster.last_word("k10-restore")?;
    ensure!(word.code == 6 && word.message.contains("kastendrrestores"), "{word:?}");
    assert_untouched(cluster)?;
    cluster.uninstalls_restore()
}

/// The bucket's silence ends a restore after a minute, too. Where the machine stands still that may come first, and then it is
/// begun anew.
fn runs_out_of_time(scene: &Scene, cluster: &Cluster<'_>, lost: &Lost) -> Result<()> {
    for _ in 0..BEGUN_MAX {
        let frozen = scene.freeze_minio()?;
        cluster.asks_for(lost, with::TIMEOUT, &MINUTE)?;
        let word = cluster.last_word("k10-restore")?;
        if word.code == OUT_OF_TIME {
            ensure!(word.message.contains("did not end within 1 minutes"), "{word:?}");
            return Ok(());
        }
        ensure!(is_silence(&word), "{word:?}");
        takes_back(cluster)?;
        drop(frozen);
        cluster.wait_valid("profile", "vault")?;
    }
    bail!("the bucket's silence ended each restore before its minute was up")
}

/// Its time is up before the switch, and the Job has failed then: no other pod tries the same.
fn keeps_to_its_time(scene: &Scene, cluster: &Cluster<'_>, lost: &Lost) -> Result<()> {
    runs_out_of_time(scene, cluster, lost)?;
    cluster.until("the Job has failed", || {
        let job = cluster.get(&["job", "k10-restore", "-n", NAMESPACE])?.context("the Job is gone")?;
        Ok(has_condition(&job, "Failed").then_some(()))
    })?;
    ensure!(cluster.last_words("k10-restore")?.len() == 1, "a pod came after the one whose time was up");
    assert_untouched(cluster)?;
    cluster.uninstalls_restore()?;
    cluster.wait_valid("profile", "vault")
}

/// One Job finds no room first, then no time after the switch, and is done with its third pod, or a later one. What it skips
/// stays away all the time.
fn goes_on_when_there_is_room_and_time(
    scene: &Scene,
    cluster: &Cluster<'_>,
    volume: &SmallVolume<'_>,
    lost: &Lost,
) -> Result<()> {
    let silent = slow_down(cluster, scene)?;
    // What has ended makes room for another, for which there must be room.
    cluster.kubectl(&["delete", "kastendrrestore", "k10-restore", "-n", NAMESPACE, "--timeout=2m"], "")?;
    volume.fill()?;
    asks_for_a_minute(cluster, lost)?;
    until_ended_with(cluster, lost, UNAVAILABLE)?;
    ensure!(cluster.get(&OWNERSHIP)?.is_none(), "what was not done leaves something");
    volume.make_room()?;

    until_ended_with(cluster, lost, 10)?;
    cluster.kubectl(&["delete", "validatingwebhookconfiguration", "slow"], "")?;
    drop(silent);
    ensure!(cluster.get(&OWNERSHIP)?.is_some(), "it has switched, and somebody may own the backups");
    // The next pod of the same Job does what is left to do.
    cluster.job_succeeds()?;
    assert_eq!(found(cluster)?, [true, true, false]);
    cluster.assert_recovered(lost)
}

#[test]
fn a_right_withheld_no_time_and_no_room_are_told_and_the_restore_is_done_in_the_end() -> Result<()> {
    scenario(|scene| {
        let folder = scene.folder("small")?;
        let front = open_front(scene)?;
        let cluster = Cluster::raise(scene, "mishaps")?;
        let lost = lives_with_few_rights(scene, &cluster, &front)?;
        cluster.loses_everything()?;
        let volume = SmallVolume::offer(&cluster, &folder)?;
        begins_behind(&cluster, &front, "--set global.persistence.storageClass=small")?;
        is_refused_without_its_right(&cluster, &lost)?;
        keeps_to_its_time(scene, &cluster, &lost)?;
        goes_on_when_there_is_room_and_time(scene, &cluster, &volume, &lost)?;
        cluster.nodes.check()
    })
}
