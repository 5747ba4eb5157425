//! The reconcilers beside a real API server: what a user writes, and the status that appears.

mod configuration;
mod k10restore;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_model::Clock;
use keelson_model::names::{DR_POLICY, DR_SECRET};
use keelson_protection::recovery::state;
use keelson_protection::{OWNERSHIP_GRACE, Platform, RecoveryBounds, Settings};
use keelson_resources::crd::crds;
use keelson_testkit::{ControlPlane, eventually};
use keelson_workload::{Cluster, Kind, NamespacedName, Secret};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const NAMESPACE: &str = "kasten-io";

#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "the server beside us lives by the system's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The same, set ahead by so many seconds.
#[derive(Debug, Default)]
struct ClockAhead(AtomicU64);

impl Clock for ClockAhead {
    fn now(&self) -> Timestamp {
        WallClock.now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// A cluster, a platform on it, and the reconcilers at work.
struct Scene {
    plane: ControlPlane,
    cluster: Cluster,
    platform: Arc<Platform>,
    mounts: PathBuf,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Scene {
    async fn set() -> Result<Self> {
        Self::set_with(Arc::new(WallClock)).await
    }

    async fn set_with(clock: Arc<dyn Clock>) -> Result<Self> {
        let plane = ControlPlane::start().await?;
        let client = plane.client().await?;
        let cluster = Cluster::from_client(client.clone());
        for (_, definition) in crds() {
            cluster.apply_manifest(&definition).await?;
        }
        for (_, definition) in crds() {
            let name = definition["metadata"]["name"].as_str().context("a name")?;
            cluster.wait_established(name, Duration::from_secs(180)).await?;
        }
        for name in [NAMESPACE, "elsewhere"] {
            let namespace = json!({"metadata": {"name": name}});
            cluster.create_object(&Kind::cluster("v1", "Namespace", "namespaces"), &namespace).await?;
        }
        let data = plane.directory().join("keelson");
        let mounts = data.join("mounts");
        let settings = Settings {
            install_namespace: NAMESPACE.to_owned(),
            data,
            mounts: mounts.clone(),
            claims: BTreeMap::new(),
            ownership_grace: OWNERSHIP_GRACE,
            clock_difference_max: jiff::SignedDuration::MAX,
            quick_mode: true,
            recovery_bounds: RecoveryBounds::USUAL,
            passphrase_cost: keelson_protection::KdfCost::LOWEST,
            aws: keelson_protection::AwsEnvironment::default(),
        };
        let platform = Platform::open(settings, cluster.clone(), clock).await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(keelson_controllers::run(platform.clone(), client, stop.clone()));
        Ok(Self { plane, cluster, platform, mounts, stop, tasks })
    }

    async fn apply(&self, kind: &Kind, object: &Value) -> Result<()> {
        self.cluster.apply_object(kind, object).await?;
        Ok(())
    }

    /// Waits until the object's status says so, and returns the status.
    async fn status(&self, kind: &Kind, namespace: &str, name: &str, validation: &str) -> Result<Value> {
        eventually(&format!("'{name}' is {validation}"), async || {
            let object = self.cluster.read_object(kind, Some(namespace), name).await?;
            let status = object.context("it was made")?["status"].take();
            Ok(Some(status).filter(|status| status["validation"] == validation))
        })
        .await
    }

    async fn end(self) -> Result<()> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        drop(self.platform);
        self.plane.stop().await
    }
}

fn profiles() -> Kind {
    Kind::namespaced("config.kio.kasten.io/v1alpha1", "Profile", "profiles")
}

fn policies() -> Kind {
    Kind::namespaced("config.kio.kasten.io/v1alpha1", "Policy", "policies")
}

fn profile(namespace: &str, name: &str) -> Value {
    let location = json!({"type": "FileStore", "fileStore": {"claimName": name}});
    json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"type": "Location", "locationSpec": location},
    })
}

fn policy(name: &str, application: &str, profile: &str) -> Value {
    let expression = json!({"key": "k10.kasten.io/appNamespace", "operator": "In", "values": [application]});
    let profile = json!({"name": profile, "namespace": NAMESPACE});
    json!({
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "frequency": "@hourly",
            "retention": {"hourly": 4},
            "selector": {"matchExpressions": [expression]},
            "actions": [{"action": "backup", "backupParameters": {"profile": profile}}],
        },
    })
}

/// In the order in which they were told.
async fn events_about(scene: &Scene, name: &str) -> Result<Vec<Value>> {
    let kind = Kind::namespaced("events.k8s.io/v1", "Event", "events");
    let mut events = scene.cluster.list_objects(&kind, Some(NAMESPACE), None).await?;
    events.retain(|event| event["regarding"]["name"] == name);
    events.sort_by_key(|event| event["eventTime"].as_str().map(str::to_owned));
    Ok(events)
}

async fn event_reasons(scene: &Scene, name: &str) -> Result<Vec<String>> {
    let events = events_about(scene, name).await?;
    Ok(events.iter().filter_map(|event| event["reason"].as_str().map(str::to_owned)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_follow_what_is_there_and_the_policy_of_the_platform_switches_its_protection() -> Result<()>
{
    let scene = Scene::set().await?;
    profiles_and_policies_converge(&scene).await?;
    nothing_is_written_without_a_change(&scene).await?;
    protection_follows_its_policy(&scene).await?;
    scene.end().await
}

async fn profiles_and_policies_converge(scene: &Scene) -> Result<()> {
    scene.apply(&policies(), &policy("nightly", "shop", "share")).await?;
    let status = scene.status(&policies(), NAMESPACE, "nightly", "Failed").await?;
    ensure!(status["error"].to_string().contains("there is no profile 'share'"), "{status}");

    scene.apply(&profiles(), &profile(NAMESPACE, "share")).await?;
    let status = scene.status(&profiles(), NAMESPACE, "share", "Failed").await?;
    ensure!(status["error"].to_string().contains("hint: mount the claim"), "{status}");

    std::fs::create_dir_all(scene.mounts.join("share"))?;
    // A label is no reason to look; a changed specification is.
    let mut changed = profile(NAMESPACE, "share");
    changed["spec"]["locationSpec"]["fileStore"]["path"] = json!("/");
    scene.apply(&profiles(), &changed).await?;
    let status = scene.status(&profiles(), NAMESPACE, "share", "Success").await?;
    ensure!(status.get("error").is_none(), "{status}");
    scene.status(&policies(), NAMESPACE, "nightly", "Success").await?;

    scene.apply(&profiles(), &profile("elsewhere", "lost")).await?;
    let status = scene.status(&profiles(), "elsewhere", "lost", "Failed").await?;
    ensure!(status["error"].to_string().contains("only in namespace 'kasten-io'"), "{status}");

    scene.cluster.delete_object(&profiles(), Some(NAMESPACE), "share").await?;
    scene.status(&policies(), NAMESPACE, "nightly", "Failed").await?;
    scene.apply(&profiles(), &changed).await?;
    scene.status(&profiles(), NAMESPACE, "share", "Success").await?;
    scene.status(&policies(), NAMESPACE, "nightly", "Success").await?;
    eventually("events tell of each change", async || {
        let reasons = event_reasons(scene, "nightly").await?;
        let expected = ["PolicyFailed", "PolicyValidated", "PolicyFailed", "PolicyValidated"];
        Ok((reasons == expected).then_some(()))
    })
    .await
}

/// Another object's changes make both kinds be considered again; none of it may end in a write.
async fn nothing_is_written_without_a_change(scene: &Scene) -> Result<()> {
    let version = async || {
        let share = scene.cluster.read_object(&profiles(), Some(NAMESPACE), "share").await?;
        let nightly = scene.cluster.read_object(&policies(), Some(NAMESPACE), "nightly").await?;
        let version =
            |object: Option<Value>| object.map(|object| object["metadata"]["resourceVersion"].clone());
        anyhow::Ok((version(share), version(nightly)))
    };
    let before = version().await?;
    scene.apply(&profiles(), &profile(NAMESPACE, "other")).await?;
    scene.status(&profiles(), NAMESPACE, "other", "Failed").await?;
    scene.apply(&policies(), &policy("weekly", "shop", "other")).await?;
    scene.status(&policies(), NAMESPACE, "weekly", "Failed").await?;
    ensure!(before == version().await?, "a status was written that says the same");
    Ok(())
}

async fn make_passphrase(scene: &Scene) -> Result<()> {
    let at = NamespacedName::new(NAMESPACE, DR_SECRET);
    let passphrase = b"correct horse battery staple".to_vec();
    scene.cluster.create_secret(&Secret::opaque(at, [("key".to_owned(), passphrase)])).await?;
    Ok(())
}

/// To the profile `share`.
async fn protect(scene: &Scene) -> Result<()> {
    make_passphrase(scene).await?;
    scene.apply(&policies(), &policy(DR_POLICY, NAMESPACE, "share")).await?;
    scene.status(&policies(), NAMESPACE, DR_POLICY, "Success").await?;
    ensure!(state::enabled(&scene.platform)?.is_some(), "the policy protects the platform");
    Ok(())
}

async fn protection_follows_its_policy(scene: &Scene) -> Result<()> {
    protect(scene).await?;
    scene.cluster.delete_object(&policies(), Some(NAMESPACE), DR_POLICY).await?;
    eventually("disaster recovery is off", async || {
        Ok(state::enabled(&scene.platform)?.is_none().then_some(()))
    })
    .await?;
    eventually("an event tells of it", async || {
        let reasons = event_reasons(scene, DR_POLICY).await?;
        Ok(reasons.contains(&"ProtectionDisabled".to_owned()).then_some(()))
    })
    .await
}

/// Of the platform's own backup, those that are whole: one that is being written has a reserved name beside.
fn packs(cluster: &Path) -> Result<Vec<PathBuf>> {
    let mut packs = Vec::new();
    for repository in entries(&cluster.join("dr"))? {
        for folder in entries(&repository.join("packs"))? {
            packs.extend(entries(&folder)?);
        }
    }
    Ok(packs)
}

/// What lies in a folder, which may not be there yet, but for what a store has not finished.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".keelson-") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Flips a bit in the middle of each pack, once there are any.
async fn damage_packs(cluster: &Path) -> Result<()> {
    let packs = eventually("the platform has backed itself up", async || {
        Ok(Some(packs(cluster)?).filter(|packs| !packs.is_empty()))
    });
    for pack in packs.await? {
        let mut bytes = std::fs::read(&pack)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&pack, bytes)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_failed_is_an_event_on_the_policy_of_the_platform() -> Result<()> {
    let clock = Arc::new(ClockAhead::default());
    let scene = Scene::set_with(clock.clone()).await?;
    std::fs::create_dir_all(scene.mounts.join("share"))?;
    scene.apply(&profiles(), &profile(NAMESPACE, "share")).await?;
    scene.status(&profiles(), NAMESPACE, "share", "Success").await?;
    protect(&scene).await?;
    scene.tasks.spawn(keelson_protection::run(scene.platform.clone(), scene.stop.clone()));
    eventually("a drill is due in an hour", async || {
        Ok(state::drills(&scene.platform)?.map(|drills| drills.next))
    })
    .await?;

    damage_packs(&scene.mounts.join("share/k10").join(scene.platform.cluster_id().as_str())).await?;
    clock.0.store(3600, Ordering::Relaxed);
    let event = eventually("an event tells of it", async || {
        let events = events_about(&scene, DR_POLICY).await?;
        Ok(events.into_iter().find(|event| event["reason"] == "DrillFailed"))
    })
    .await?;
    let last = state::drills(&scene.platform)?.and_then(|drills| drills.last).context("a drill")?;
    let first = last.findings.first().context("a finding")?;
    ensure!(last.findings.iter().any(|finding| finding.contains("packs/")), "{:?}", last.findings);
    let told = format!("a recovery might not succeed: {first} ({} findings)", last.findings_total);
    ensure!(event["type"] == "Warning" && event["note"] == told.as_str(), "{event} does not tell: {told}");
    scene.end().await
}

/// The share is of this machine, whose clock is the right one.
#[tokio::test(flavor = "multi_thread")]
async fn a_location_whose_clock_differs_takes_no_backups() -> Result<()> {
    let scene = Scene::set_with(Arc::new(ClockAhead(AtomicU64::new(3600)))).await?;
    let share = scene.mounts.join("share");
    std::fs::create_dir_all(&share)?;
    scene.apply(&profiles(), &profile(NAMESPACE, "share")).await?;
    let status = scene.status(&profiles(), NAMESPACE, "share", "Success").await?;
    let why = status["conditions"].to_string();
    ensure!(status["readOnly"] == true && why.contains("differ by more than five minutes"), "{status}");

    make_passphrase(&scene).await?;
    for (name, application) in [("nightly", "shop"), (DR_POLICY, NAMESPACE)] {
        scene.apply(&policies(), &policy(name, application, "share")).await?;
        let status = scene.status(&policies(), NAMESPACE, name, "Failed").await?;
        let error = status["error"].to_string();
        ensure!(error.contains("profile 'share' cannot be used here"), "{name}: {error}");
    }
    ensure!(state::enabled(&scene.platform)?.is_none(), "the platform protects itself there");
    let left: Vec<_> = std::fs::read_dir(&share)?.collect();
    ensure!(left.is_empty(), "something was written there: {left:?}");
    scene.end().await
}
