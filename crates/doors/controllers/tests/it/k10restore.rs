//! The operator beside a real API server, under its own account. The kind by which it asks for a recovery is a definition
//! here, and this test plays the platform behind it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_model::Clock;
use keelson_resources::Time;
use keelson_resources::k10restore::{ACCOUNT, READY, account_objects, definition};
use keelson_resources::recovery::LEFT_AFTER_END;
use keelson_testkit::{ControlPlane, eventually};
use keelson_workload::{Cluster, ClusterAccess, Kind};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{NAMESPACE, WallClock};

const SOURCE: &str = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa";
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(180);

fn asked_kind() -> Kind {
    Kind::namespaced("apik10.kasten.io/v1alpha1", "K10restore", "k10restores")
}

fn recovery_kind() -> Kind {
    Kind::namespaced("dr.kio.kasten.io/v1alpha1", "KastenDRRestore", "kastendrrestores")
}

fn k10restore(name: &str, spec: &Value) -> Value {
    json!({ "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec })
}

fn sound() -> Value {
    json!({ "sourceClusterID": SOURCE, "profileName": "vault", "skipResource": "profile, policies" })
}

/// The kind of the platform, served by the API server itself. Whatever asks for Vault it refuses.
fn stand_in() -> Value {
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let (mut schema, mut spec) = (open.clone(), open);
    spec["properties"]["vault"] = json!({ "type": "string" });
    schema["properties"]["spec"] = spec;
    let version = json!({
        "name": "v1alpha1", "served": true, "storage": true, "subresources": { "status": {} },
        "schema": { "openAPIV3Schema": schema },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "kastendrrestores.dr.kio.kasten.io" },
        "spec": {
            "group": "dr.kio.kasten.io", "scope": "Namespaced", "versions": [version],
            "names": { "kind": "KastenDRRestore", "plural": "kastendrrestores", "singular": "kastendrrestore" },
        },
    })
}

/// A cluster on which the operator is installed.
struct Place {
    plane: ControlPlane,
    cluster: Cluster,
}

/// An operator at work.
struct Operator {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Operator {
    async fn start(place: &Place) -> Result<Self> {
        let kubeconfig = place.plane.kubeconfig_of_account(NAMESPACE, ACCOUNT).await?;
        let cluster = Cluster::connect(&ClusterAccess::Kubeconfig(kubeconfig)).await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let clock = std::sync::Arc::new(WallClock);
        let work = keelson_controllers::run_operator(cluster, clock, NAMESPACE.to_owned(), stop.clone());
        tasks.spawn(work);
        Ok(Self { stop, tasks })
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Place {
    async fn set() -> Result<Self> {
        let plane = ControlPlane::start().await?;
        let cluster = Cluster::from_client(plane.client().await?);
        let namespace = json!({ "metadata": { "name": NAMESPACE } });
        cluster.create_object(&Kind::cluster("v1", "Namespace", "namespaces"), &namespace).await?;
        let place = Self { plane, cluster };
        place.define(&definition()).await?;
        for object in account_objects(NAMESPACE) {
            place.cluster.apply_manifest(&object).await?;
        }
        place.wait_allowed(true).await?;
        Ok(place)
    }

    async fn define(&self, definition: &Value) -> Result<()> {
        self.cluster.apply_manifest(definition).await?;
        let name = definition["metadata"]["name"].as_str().context("a name")?;
        self.cluster.wait_established(name, ESTABLISHED_WITHIN).await?;
        Ok(())
    }

    /// Until the account may write statuses, or may not.
    async fn wait_allowed(&self, allowed: bool) -> Result<()> {
        let user = format!("--as=system:serviceaccount:{NAMESPACE}:{ACCOUNT}");
        let words = ["auth", "can-i", "patch", "k10restores.apik10.kasten.io", "--subresource=status"];
        eventually(&format!("the operator may write statuses: {allowed}"), async || {
            let mut kubectl = self.plane.kubectl();
            let said = kubectl.args(words).args(["-n", NAMESPACE, &user]).output().context("run kubectl")?;
            Ok((said.status.success() == allowed).then_some(()))
        })
        .await
    }

    /// Gives the account the right to write statuses, or takes it.
    async fn allow(&self, allowed: bool) -> Result<()> {
        for mut object in account_objects(NAMESPACE) {
            if let Some(rules) = object.get_mut("rules").and_then(Value::as_array_mut)
                && !allowed
            {
                rules.retain(|rule| rule["resources"] != json!(["k10restores/status"]));
            }
            self.cluster.apply_manifest(&object).await?;
        }
        self.wait_allowed(allowed).await
    }

    async fn ask(&self, name: &str, spec: &Value) -> Result<Value> {
        Ok(self.cluster.apply_object(&asked_kind(), &k10restore(name, spec)).await?)
    }

    async fn status(&self, name: &str) -> Result<Value> {
        let object = self.cluster.read_object(&asked_kind(), Some(NAMESPACE), name).await?;
        Ok(object.context("it was made")?["status"].take())
    }

    /// Waits until the status gives this reason, and returns it.
    async fn ready(&self, name: &str, reason: &str) -> Result<Value> {
        self.condition(name, READY, reason).await
    }

    async fn condition(&self, name: &str, kind: &str, reason: &str) -> Result<Value> {
        eventually(&format!("'{name}' is {reason}"), async || {
            let status = self.status(name).await?;
            let conditions = status["conditions"].as_array();
            let is_so = |one: &Value| one["type"] == kind && one["reason"] == reason;
            let found = conditions.is_some_and(|conditions| conditions.iter().any(is_so));
            Ok(found.then_some(status))
        })
        .await
    }

    async fn recoveries(&self) -> Result<Vec<Value>> {
        Ok(self.cluster.list_objects(&recovery_kind(), Some(NAMESPACE), None).await?)
    }

    /// Waits until there is this one and no other.
    async fn only(&self, name: &str) -> Result<Value> {
        eventually(&format!("'{name}' is the only recovery"), async || {
            let mut all = self.recoveries().await?;
            let is_only = all.len() == 1 && all[0]["metadata"]["name"] == name;
            Ok(is_only.then(|| all.remove(0)))
        })
        .await
    }

    /// As the platform does.
    async fn play(&self, name: &str, status: &Value) -> Result<()> {
        self.cluster.patch_status(&recovery_kind(), Some(NAMESPACE), name, status).await?;
        Ok(())
    }

    async fn events(&self, uid: &Value) -> Result<Vec<String>> {
        let kind = Kind::namespaced("events.k8s.io/v1", "Event", "events");
        let mut events = self.cluster.list_objects(&kind, Some(NAMESPACE), None).await?;
        events.retain(|event| event["regarding"]["uid"] == *uid);
        events.sort_by_key(|event| event["eventTime"].as_str().map(str::to_owned));
        Ok(events.iter().filter_map(|event| event["reason"].as_str().map(str::to_owned)).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_k10restore_is_carried_out_once_and_its_operator_may_end_anywhere() -> Result<()> {
    let place = Place::set().await?;
    without_a_platform_it_waits(&place).await?;
    place.define(&stand_in()).await?;
    what_was_made_before_an_end_is_found_again(&place).await?;
    it_is_followed_to_its_end_and_runs_once(&place).await?;
    the_next_one_takes_its_place(&place).await?;
    deleting_it_only_cleans_up(&place).await?;
    one_that_is_refused_lets_the_next_one_begin(&place).await?;
    what_a_job_asked_for_is_left_for_its_next_pod(&place).await?;
    place.plane.stop().await
}

async fn without_a_platform_it_waits(place: &Place) -> Result<()> {
    let operator = Operator::start(place).await?;
    place.ask("first", &sound()).await?;
    let status = place.ready("first", "PlatformNotInstalled").await?;
    ensure!(status["phase"] == "Pending" && status["restore"].is_null(), "{status}");

    let spec = json!({ "profile": { "name": "vault" }, "skipResource": "catalog", "airgapped": {} });
    place.ask("wrong", &spec).await?;
    let status = place.ready("wrong", "SpecInvalid").await?;
    let told = status["message"].as_str().context("a message")?;
    for words in ["spec.sourceClusterID: is required", "'catalog' cannot be skipped; known are"] {
        ensure!(told.contains(words), "'{words}' is not in {told}");
    }
    place.condition("wrong", "Ignored", "NotSupported").await?;
    place.cluster.delete_object(&asked_kind(), Some(NAMESPACE), "wrong").await?;
    operator.end().await;
    Ok(())
}

/// An operator that ends between making a recovery and saying so.
async fn what_was_made_before_an_end_is_found_again(place: &Place) -> Result<()> {
    place.allow(false).await?;
    let operator = Operator::start(place).await?;
    let made = place.only("k10restore-first").await?;
    operator.end().await;
    let status = place.status("first").await?;
    ensure!(status["restore"].is_null(), "nothing could be said: {status}");
    let source = json!({ "profileName": "vault", "sourceClusterID": SOURCE });
    ensure!(
        made["spec"] == json!({ "sourceClusterInfo": source, "skipResources": "profiles,policies" }),
        "{made}"
    );

    place.allow(true).await?;
    let operator = Operator::start(place).await?;
    let status = place.ready("first", "Running").await?;
    ensure!(status["restore"]["uid"] == made["metadata"]["uid"], "{status} is not of {made}");
    ensure!(place.recoveries().await?.len() == 1, "it was made twice");
    operator.end().await;
    Ok(())
}

async fn it_is_followed_to_its_end_and_runs_once(place: &Place) -> Result<()> {
    let operator = Operator::start(place).await?;
    place.play("k10restore-first", &json!({ "state": "running", "phase": "Restoring secrets" })).await?;
    eventually("the phase is told", async || {
        Ok((place.status("first").await?["restore"]["phase"] == "Restoring secrets").then_some(()))
    })
    .await?;
    operator.end().await;

    // It ends while nobody looks.
    let ended = json!({ "state": "success", "phase": "Successfully restored resources" });
    place.play("k10restore-first", &ended).await?;
    let operator = Operator::start(place).await?;
    let status = place.ready("first", "Succeeded").await?;
    ensure!(status["phase"] == "Succeeded" && status["restore"]["percent"] == 100, "{status}");

    let mut other = sound();
    other["skipResource"] = json!("secrets");
    let asked = place.ask("first", &other).await?;
    let status = place.condition("first", "Valid", "SpecChanged").await?;
    ensure!(status["phase"] == "Succeeded", "{status}");
    ensure!(place.recoveries().await?.len() == 1, "it ran again");
    let uid = &asked["metadata"]["uid"];
    eventually("events tell of it", async || {
        let told = place.events(uid).await?;
        let expected = ["RecoveryWaits", "RecoveryStarted", "RecoveryCompleted", "SpecChanged"];
        Ok((told == expected).then_some(()))
    })
    .await?;
    operator.end().await;
    Ok(())
}

async fn the_next_one_takes_its_place(place: &Place) -> Result<()> {
    let operator = Operator::start(place).await?;
    place.ask("second", &sound()).await?;
    place.only("k10restore-second").await?;
    place.ready("second", "Running").await?;
    place.ask("third", &sound()).await?;
    let status = place.ready("third", "Waiting").await?;
    ensure!(status["message"].to_string().contains("'k10restore-second' is at work"), "{status}");
    place.cluster.delete_object(&asked_kind(), Some(NAMESPACE), "third").await?;
    let first = place.status("first").await?;
    ensure!(first["phase"] == "Succeeded", "what was told of one that has made room stays: {first}");
    operator.end().await;
    Ok(())
}

async fn deleting_it_only_cleans_up(place: &Place) -> Result<()> {
    let second = place.cluster.read_object(&asked_kind(), Some(NAMESPACE), "second").await?;
    let uid = second.context("it was made")?["metadata"]["uid"].take();
    let operator = Operator::start(place).await?;
    place.play("k10restore-second", &json!({ "state": "running", "phase": "Restoring profiles" })).await?;
    place.cluster.delete_object(&asked_kind(), Some(NAMESPACE), "second").await?;
    eventually("an event tells that it goes on", async || {
        Ok(place.events(&uid).await?.contains(&"RecoveryGoesOn".to_owned()).then_some(()))
    })
    .await?;
    place.only("k10restore-second").await?;
    operator.end().await;

    // It ends, and its K10restore is gone, while nobody looks.
    place.play("k10restore-second", &json!({ "state": "failed", "error": "no" })).await?;
    let operator = Operator::start(place).await?;
    eventually("nothing of it is left", async || Ok(place.recoveries().await?.is_empty().then_some(())))
        .await?;
    operator.end().await;
    Ok(())
}

async fn one_that_is_refused_lets_the_next_one_begin(place: &Place) -> Result<()> {
    let mut refused = sound();
    refused["vault"] =
        json!({ "enabled": true, "address": "https://vault.example.com:8200", "secretName": "token" });
    place.ask("refused", &refused).await?;
    // Each of its processes learns it anew.
    for name in ["after", "behind"] {
        let operator = Operator::start(place).await?;
        let told = place.ready("refused", "SpecInvalid").await?;
        ensure!(told["phase"] == "Failed" && told["restore"].is_null(), "{told}");
        place.ask(name, &sound()).await?;
        let recovery = format!("k10restore-{name}");
        place.only(&recovery).await?;
        place.ready(name, "Running").await?;
        let still = place.ready("refused", "SpecInvalid").await?;
        for field in ["phase", "message", "hint"] {
            ensure!(still[field] == told[field], "{still} is not what was told of it: {told}");
        }
        place.play(&recovery, &json!({ "state": "success" })).await?;
        place.ready(name, "Succeeded").await?;
        operator.end().await;
    }
    for name in ["refused", "after", "behind"] {
        place.cluster.delete_object(&asked_kind(), Some(NAMESPACE), name).await?;
    }
    let operator = Operator::start(place).await?;
    eventually("nothing of it is left", async || Ok(place.recoveries().await?.is_empty().then_some(())))
        .await?;
    operator.end().await;
    Ok(())
}

async fn what_a_job_asked_for_is_left_for_its_next_pod(place: &Place) -> Result<()> {
    let of_a_job = json!({
        "metadata": {
            "name": "k10-restore", "namespace": NAMESPACE,
            "annotations": { "keelson.io/request": "uid-of-a-job" },
        },
        "spec": {},
    });
    place.cluster.create_object(&recovery_kind(), &of_a_job).await?;
    // A clock that is ahead by that much leaves it longer.
    let soon = WallClock.now() + LEFT_AFTER_END * 5 / 6;
    place.play("k10-restore", &json!({ "state": "success", "endTime": Time(soon) })).await?;
    let operator = Operator::start(place).await?;
    place.ask("fourth", &sound()).await?;
    let status = place.ready("fourth", "Waiting").await?;
    ensure!(status["message"].to_string().contains("'k10-restore', which has ended"), "{status}");
    // Another pass, and it is there all the same.
    let touched = json!({ "sourceClusterID": SOURCE, "profileName": "vault" });
    let generation = place.ask("fourth", &touched).await?["metadata"]["generation"].take();
    eventually("the changed one was looked at", async || {
        Ok((place.status("fourth").await?["observedGeneration"] == generation).then_some(()))
    })
    .await?;
    place.only("k10-restore").await?;

    let long_ago = WallClock.now() - LEFT_AFTER_END;
    place.play("k10-restore", &json!({ "state": "success", "endTime": Time(long_ago) })).await?;
    place.only("k10restore-fourth").await?;
    operator.end().await;
    Ok(())
}
