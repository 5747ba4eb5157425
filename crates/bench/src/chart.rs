//! The charts on a cluster with a node: how long `helm install k10` and `helm install k10-restore` take, with 100,000 restore
//! points in the location, and what the pods take while nobody asks them for anything.
//!
//! The source is filled and protected as for `recovery`, into a directory of this machine that pods find behind a claim. The
//! node has the image already: pulling it would measure a registry.

mod figures;
mod image;
mod pods;

use std::fs;
use std::os::unix::fs::lchown;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use keelson_testkit::{Helm, Supervisor};
use serde_json::{Value, json};

pub(crate) use self::figures::Figures;
use self::figures::{Installed, Recovered};
use self::pods::Pods;
use crate::cluster::{CLAIM, Cluster, NAMESPACE};
use crate::recovery::seed::Size;
use crate::recovery::{PASSPHRASE, PROFILE, Protected, protect};
use crate::say;

/// The node is called after it.
const CLUSTER: &str = "bench";
const PLATFORM_CHART: &str = "deploy/charts/k10";
const RESTORE_CHART: &str = "deploy/charts/k10restore";
/// The release, and so the Job and what that asks for.
const RESTORE: &str = "k10-restore";
/// As whom the charts let pods run.
const USER: u32 = 1000;
/// What a client asks for at once.
const PAGE: usize = 500;
/// Between two looks, each of which starts a `kubectl` beside what is measured.
const LOOK: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(900);

pub(crate) async fn measure(program: &Path, archive: &Path, points: u64) -> Result<Figures> {
    let size = Size::of_points(usize::try_from(points).context("count restore points")?);
    let image = image::measure(archive).await?;
    let location = Supervisor::start("bench-location")?;
    let share = location.directory().join("share");
    fs::create_dir(&share).context("create the location")?;
    let source = lose(program, &share, size).await?;
    hand_over(&share)?;

    let cluster = Cluster::start_with_node(CLUSTER).await?;
    cluster.nodes()?.load_image(archive)?;
    bind(&cluster, &share).await?;
    let installed = install(&cluster).await?;
    let pods = Pods::find(&cluster).await?;
    say("watching the pods of an empty platform");
    let idle = pods.watch().await?;
    let recovered = recover(&cluster, &pods, &source, size.points).await?;
    say("watching the pods of the recovered platform");
    let idle_recovered = pods.watch().await?;
    cluster.destroy().await?;
    Ok(Figures { size, image, installed, idle, recovered, idle_recovered })
}

/// A platform protects itself, and everything but the location goes. Returns the id of its cluster.
async fn lose(program: &Path, share: &Path, size: Size) -> Result<String> {
    let Protected { cluster, instance, enabling: _ } = protect(program, share, size).await?;
    let id = cluster.id().await?;
    instance.destroy().await?;
    cluster.destroy().await?;
    Ok(id)
}

/// Makes what lies there the pods' own, as it would be on a share that they had written themselves.
fn hand_over(path: &Path) -> Result<()> {
    lchown(path, Some(USER), Some(USER)).with_context(|| format!("hand {} over", path.display()))?;
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            hand_over(&entry?.path())?;
        }
    }
    Ok(())
}

/// Makes the claim behind which pods find the location.
async fn bind(cluster: &Cluster, share: &Path) -> Result<()> {
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "bench-share" },
        "spec": {
            "capacity": { "storage": "100Gi" }, "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": { "path": share, "type": "Directory" },
        },
    });
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": CLAIM, "namespace": NAMESPACE },
        "spec": {
            "accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": "bench-share",
            "resources": { "requests": { "storage": "1Gi" } },
        },
    });
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": [volume, claim] })).await
}

/// From `helm install` of the platform to its pod that is ready, and to answers through the cluster's API server.
async fn install(cluster: &Cluster) -> Result<Installed> {
    // Where it lies is looked up once, and nobody's time.
    helm(cluster, &["version"]).await?;
    say("installing the platform");
    let began = Instant::now();
    let claims = format!("keelson.claims={{{CLAIM}}}");
    helm(cluster, &["install", "k10", PLATFORM_CHART, "--namespace", NAMESPACE, "--set", &claims]).await?;
    let words = ["wait", "pod", "-n", NAMESPACE, "-l", pods::SERVE, "--for=condition=Ready", "--timeout=60s"];
    cluster.until("the pod is ready", async || cluster.kubectl(&words, b"").await.map(drop)).await?;
    let ready = began.elapsed();
    cluster.wait_served().await?;
    let answered = began.elapsed();
    let words = ["rollout", "status", "deployment/keelson-guard", "-n", NAMESPACE, "--timeout=120s"];
    cluster.kubectl(&words, b"").await?;
    Ok(Installed { ready, answered })
}

/// From `helm install` of the restore to the first page of what was lost, and to the Job that is complete.
async fn recover(cluster: &Cluster, pods: &Pods, source: &str, points: usize) -> Result<Recovered> {
    cluster.create_passphrase(PASSPHRASE).await?;
    cluster.connect_location(PROFILE).await?;
    say("recovering");
    let began = Instant::now();
    let (source, profile) = (format!("sourceClusterID={source}"), format!("profile.name={PROFILE}"));
    let words = ["install", RESTORE, RESTORE_CHART, "--namespace", NAMESPACE];
    helm(cluster, &[&words[..], &["--set", &source, "--set", &profile]].concat()).await?;
    let started = began.elapsed();
    let mut serving = None;
    let mut completed = None;
    while serving.is_none() || completed.is_none() {
        let took = began.elapsed();
        ensure!(took < PATIENCE, "waited {} s in vain: the Job is complete", PATIENCE.as_secs());
        if serving.is_none() && serves(cluster, points).await {
            serving = Some(began.elapsed());
        }
        if completed.is_none() && is_complete(cluster).await? {
            completed = Some(began.elapsed());
        }
        tokio::time::sleep(LOOK).await;
    }
    let (serving, completed) = serving.zip(completed).context("the loop ends with both")?;
    let peak = pods.peak_memory_of_serve()?;

    let began = Instant::now();
    let contents = cluster.count("restorepointcontents", None).await?;
    let listing = began.elapsed();
    ensure!(contents == points, "{contents} contents came back instead of {points}");
    let words = ["get", "kastendrrestores.dr.kio.kasten.io", RESTORE, "-n", NAMESPACE, "-o", "json"];
    let restore = cluster.kubectl(&words, b"").await?;
    let restore: Value = serde_json::from_str(&restore).context("read what came of the restore")?;
    let status = restore["status"].clone();
    Ok(Recovered { started, serving, completed, listing, contents, peak, status })
}

/// Whether the first page of what was lost comes. Before the switch it is empty, and while it happens there may be none.
async fn serves(cluster: &Cluster, points: usize) -> bool {
    let page = cluster.count("restorepointcontents", Some(PAGE)).await;
    page.is_ok_and(|page| page == points.min(PAGE))
}

async fn is_complete(cluster: &Cluster) -> Result<bool> {
    let words = ["get", "job", RESTORE, "-n", NAMESPACE, "-o", "json"];
    let job: Value = serde_json::from_str(&cluster.kubectl(&words, b"").await?).context("read the Job")?;
    match ended(&job) {
        None => Ok(false),
        Some(true) => Ok(true),
        Some(false) => {
            let job = format!("job/{RESTORE}");
            let log = cluster.kubectl(&["logs", &job, "-n", NAMESPACE, "--tail=30"], b"").await;
            bail!("the Job has failed:\n{}", log.unwrap_or_else(|error| format!("{error:#}")).trim());
        }
    }
}

/// Whether a Job has ended, and well.
fn ended(job: &Value) -> Option<bool> {
    let conditions = job["status"]["conditions"].as_array()?;
    let holds = |kind: &str| conditions.iter().any(|one| one["type"] == kind && one["status"] == "True");
    if holds("Complete") {
        return Some(true);
    }
    (holds("Failed") || holds("FailureTarget")).then_some(false)
}

async fn helm(cluster: &Cluster, words: &[&str]) -> Result<()> {
    let mut helm = tokio::process::Command::from(cluster.nodes()?.helm(Helm::Four)?);
    helm.args(words).stdin(Stdio::null()).kill_on_drop(true);
    let output = helm.output().await.context("run helm")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm {}: {}", words.join(" "), complaint.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_ended_when_a_condition_says_so() {
        let with = |kind: &str, status: &str| {
            json!({ "status": { "conditions": [
            { "type": "SuccessCriteriaMet", "status": "True" }, { "type": kind, "status": status },
        ] } })
        };
        assert_eq!(ended(&with("Complete", "True")), Some(true));
        assert_eq!(ended(&with("Failed", "True")), Some(false));
        assert_eq!(ended(&with("FailureTarget", "True")), Some(false));
        assert_eq!(ended(&with("Failed", "False")), None);
        assert_eq!(ended(&json!({ "status": { "active": 1 } })), None);
    }
}
