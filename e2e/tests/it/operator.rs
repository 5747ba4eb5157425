//! A lost platform comes back through a `K10restore`: a fresh one, a profile, the passphrase, and `keelson operator` beside
//! it with the rights of its own manifest.

use anyhow::{Context, Result, ensure};
use keelson_e2e::Instance;
use keelson_resources::k10restore::{ACCOUNT, account_objects, definition};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, Stage, assert_said, block_on};
use crate::world::{APPLICATION, ORIGIN, PASSPHRASE, back_up, export, raise_protected, wait_until_shipped};

const NO_CLUSTER: &str = "0c3e8c52-3a5f-4f0e-9f0b-6f2f8c1d7e10";
const OWNERSHIP: &str = "k10-dr-remove-to-get-ownership";

/// An application with one exported restore point, and a platform that protects itself. The id of its cluster.
fn lose_a_platform(share: &Supervisor) -> Result<String> {
    let source = raise_protected(share.directory(), ORIGIN, &["--quick"])?;
    back_up(&source, "first")?;
    export(&source, "first")?;
    source.profile("late", "late")?;
    source.wait_valid("profile", "late")?;
    let said = source.keelson(&["dr", "run"])?;
    ensure!(said.code == 0, "{said:?}");
    wait_until_shipped(&source)?;
    let id = source.cluster_id()?;
    source.instance.kill()?;
    Ok(id)
}

/// The definition, the account and its rights, and an operator that has no others.
fn install_operator(stage: &Stage) -> Result<Instance> {
    let definition = definition();
    stage.apply(&definition)?;
    let name = definition["metadata"]["name"].as_str().context("a name")?;
    stage.kubectl(&["wait", "--for=condition=Established", &format!("crd/{name}"), "--timeout=120s"], "")?;
    for object in account_objects(NAMESPACE) {
        stage.apply(&object)?;
    }
    let kubeconfig = block_on(stage.plane().kubeconfig_of_account(NAMESPACE, ACCOUNT))?;
    Instance::operator(&kubeconfig, NAMESPACE)
}

fn k10restore(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "apik10.kasten.io/v1alpha1", "kind": "K10restore",
        "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
    })
}

fn status(stage: &Stage, name: &str) -> Result<Value> {
    let mut object = stage.get(&["k10restores", name, "-n", NAMESPACE])?.context("the K10restore is gone")?;
    Ok(object["status"].take())
}

/// Waits until a condition gives this reason, and returns the status.
fn told(stage: &Stage, name: &str, kind: &str, reason: &str) -> Result<Value> {
    let mut last = Value::Null;
    let waited = stage.until(&format!("K10restore '{name}' is {reason}"), || {
        last = status(stage, name)?;
        let conditions = last["conditions"].as_array();
        let is_so = |one: &Value| one["type"] == kind && one["reason"] == reason;
        Ok(conditions.is_some_and(|conditions| conditions.iter().any(is_so)).then(|| last.clone()))
    });
    waited.with_context(|| format!("its status is {last}"))
}

fn recovery(stage: &Stage, name: &str) -> Result<Option<Value>> {
    stage.get(&["kastendrrestores", name, "-n", NAMESPACE])
}

fn names(stage: &Stage, resource: &str) -> Result<Vec<String>> {
    let list = stage.get(&[resource, "-n", NAMESPACE])?.context("no list")?;
    let items = list["items"].as_array().context("no items")?;
    Ok(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect())
}

fn assert_told(text: &Value, words: &[&str]) {
    for word in words {
        assert!(text.as_str().is_some_and(|text| text.contains(word)), "'{word}' is not in {text}");
    }
}

#[test]
fn a_lost_platform_comes_back_through_a_k10restore() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source_id = lose_a_platform(&share)?;
    let stage = Stage::raise(share.directory(), &[])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    let mut operator = install_operator(&stage)?;

    bad_specs_are_refused_with_every_fault(&stage)?;
    what_the_platform_refuses_is_told_with_its_hint(&stage, &source_id)?;
    a_job_leaves_what_is_not_told_yet(&stage, &mut operator)?;
    recover(&stage, &mut operator, &source_id)?;
    assert_recovered(&stage)?;
    a_changed_spec_is_not_carried_out(&stage)?;
    deleting_it_leaves_what_was_recovered(&stage)?;
    operator.stop()
}

fn bad_specs_are_refused_with_every_fault(stage: &Stage) -> Result<()> {
    stage.create(&k10restore("wrong", &json!({ "profileName": "vault", "skipResource": "catalog" })))?;
    let status = told(stage, "wrong", "Ready", "SpecInvalid")?;
    let faults = ["spec.sourceClusterID: is required", "'catalog' cannot be skipped; known are"];
    assert_told(&status["message"], &faults);
    assert_eq!((&status["phase"], &status["restore"]), (&json!("Failed"), &Value::Null));
    assert_eq!(names(stage, "kastendrrestores")?, Vec::<String>::new());
    stage.delete(&["k10restore", "wrong", "-n", NAMESPACE])
}

/// The first of these is not even begun, and holds up no other. Each of the others ends, and makes room for the next.
fn what_the_platform_refuses_is_told_with_its_hint(stage: &Stage, source_id: &str) -> Result<()> {
    let spec = json!({ "sourceClusterID": source_id, "profileName": "vault" });
    let mut of_another = spec.clone();
    of_another["vault"] =
        json!({ "enabled": true, "address": "https://vault.example.com:8200", "secretName": "my-token" });
    stage.create(&k10restore("denied", &of_another))?;
    let status = told(stage, "denied", "Ready", "Denied")?;
    assert_told(&status["message"], &["cannot get resource \"secrets\"", "my-token"]);
    stage.create(&k10restore("too-early", &spec))?;
    let status = told(stage, "too-early", "Ready", "Failed")?;
    assert_told(&status["message"], &["k10-dr-secret' does not exist"]);
    assert_told(&status["hint"], &["kubectl create secret generic k10-dr-secret"]);
    told(stage, "denied", "Ready", "Denied")?;
    stage.delete(&["k10restore", "denied", "-n", NAMESPACE])?;

    stage.passphrase(&[("key", PASSPHRASE)])?;
    let spec = json!({ "sourceClusterID": NO_CLUSTER, "profile": { "name": "vault" } });
    stage.create(&k10restore("elsewhere", &spec))?;
    let status = told(stage, "elsewhere", "Ready", "Failed")?;
    assert_told(&status["message"], &["holds nothing of cluster", source_id]);
    assert_told(&status["hint"], &["the cluster id is the UID"]);
    assert_eq!(names(stage, "kastendrrestores")?, ["k10restore-elsewhere"]);
    assert_eq!(status_phase(stage, "too-early")?, "Failed");
    Ok(())
}

fn status_phase(stage: &Stage, name: &str) -> Result<Value> {
    Ok(status(stage, name)?["phase"].take())
}

/// The operator is away when a restore ends that a K10restore asked for, and somebody else restores.
fn a_job_leaves_what_is_not_told_yet(stage: &Stage, operator: &mut Instance) -> Result<()> {
    operator.kill()?;
    stage.delete(&["kastendrrestore", "k10restore-elsewhere", "-n", NAMESPACE])?;
    let source = json!({ "sourceClusterID": NO_CLUSTER, "profileName": "vault" });
    stage.create(&k10restore("untold", &source))?;
    let asked = stage.get(&["k10restores", "untold", "-n", NAMESPACE])?.context("it was made")?;
    stage.create(&json!({
        "apiVersion": "dr.kio.kasten.io/v1alpha1", "kind": "KastenDRRestore",
        "metadata": {
            "name": "k10restore-untold", "namespace": NAMESPACE,
            "annotations": { "keelson.io/request": asked["metadata"]["uid"], "keelson.io/k10restore": "untold" },
        },
        "spec": { "sourceClusterInfo": source },
    }))?;
    stage.ended("kastendrrestores", NAMESPACE, "k10restore-untold")?;

    let job =
        ["dr", "restore", "--profile", "vault", "--source-cluster-id", NO_CLUSTER, "--request", "uid-1"];
    let said = stage.keelson(&[&job[..], &["--timeout", "0"]].concat())?;
    assert_said(&said, 11, &["'k10restore-untold' is left until its K10restore has told how it ended"]);
    operator.restart()?;
    told(stage, "untold", "Ready", "Failed")?;
    assert_said(&stage.keelson(&job)?, 4, &["holds nothing of cluster"]);

    // Nobody comes back for it, and the next K10restore need not wait.
    let left = names(stage, "kastendrrestores")?;
    ensure!(left.len() == 1 && left[0] != "k10restore-untold", "{left:?}");
    stage.delete(&["kastendrrestore", &left[0], "-n", NAMESPACE])
}

/// The operator is killed as soon as the recovery is there.
fn recover(stage: &Stage, operator: &mut Instance, source_id: &str) -> Result<()> {
    let spec = json!({
        "sourceClusterID": source_id, "profileName": "vault", "skipResource": "profile,policies",
        "restore": { "timeout": 30 }, "airgapped": { "repository": "repo.example.com" },
        "vault": {
            "enabled": false, "address": "", "role": "", "serviceAccountTokenPath": "", "secretName": "",
        },
    });
    stage.create(&k10restore("k10restore", &spec))?;
    let made = stage.until("the recovery is made", || recovery(stage, "k10restore-k10restore"))?;
    operator.kill()?;
    assert_eq!(made["spec"]["skipResources"], "profiles,policies");
    assert_eq!(made["spec"]["timeoutMinutes"], 30);
    operator.restart()?;

    let status = told(stage, "k10restore", "Ready", "Succeeded")?;
    assert_eq!((&status["phase"], &status["restore"]["percent"]), (&json!("Succeeded"), &json!(100)));
    assert_eq!(status["restore"]["uid"], made["metadata"]["uid"], "another was made");
    assert_told(&status["hint"], &["kubectl delete configmap", OWNERSHIP]);
    told(stage, "k10restore", "Ignored", "NotSupported")?;
    let columns = stage.kubectl(&["get", "k10restore", "k10restore", "-n", NAMESPACE], "")?;
    for word in ["PHASE", "SOURCE CLUSTERID", "AGE", "Succeeded", source_id] {
        assert!(columns.contains(word), "'{word}' is not in {columns}");
    }
    let object = stage.get(&["k10restore", "k10restore", "-n", NAMESPACE])?.context("it is there")?;
    stage.wait_event(&object, "RecoveryCompleted")
}

/// What lies in exports is there again, and what was to be skipped is not.
fn assert_recovered(stage: &Stage) -> Result<()> {
    assert_eq!(names(stage, "profiles.config.kio.kasten.io")?, ["vault"]);
    assert_eq!(names(stage, "policies.config.kio.kasten.io")?, Vec::<String>::new());
    ensure!(stage.get(&["configmap", OWNERSHIP, "-n", NAMESPACE])?.is_some(), "ownership was taken");
    let said = stage.keelson(&["restore", APPLICATION])?;
    assert_eq!(said.code, 0, "{said:?}");
    ensure!(stage.get(&["configmap", "orders", "-n", APPLICATION])?.is_some(), "the application is lost");
    Ok(())
}

fn a_changed_spec_is_not_carried_out(stage: &Stage) -> Result<()> {
    let before = names(stage, "kastendrrestores")?;
    let patch = json!({ "spec": { "skipResource": "secrets" } }).to_string();
    let words = ["patch", "k10restore", "k10restore", "-n", NAMESPACE, "--type=merge", "-p", &patch];
    stage.kubectl(&words, "")?;
    let status = told(stage, "k10restore", "Valid", "SpecChanged")?;
    assert_eq!((&status["phase"], names(stage, "kastendrrestores")?), (&json!("Succeeded"), before));
    Ok(())
}

fn deleting_it_leaves_what_was_recovered(stage: &Stage) -> Result<()> {
    let contents = || stage.kubectl(&["get", "restorepointcontents", "-o", "name"], "");
    let before = contents()?;
    ensure!(!before.is_empty(), "nothing was recovered");
    stage.delete(&["k10restore", "k10restore", "-n", NAMESPACE])?;
    stage.until("its request is removed", || {
        Ok(recovery(stage, "k10restore-k10restore")?.is_none().then_some(()))
    })?;
    assert_eq!(contents()?, before);
    ensure!(stage.get(&["configmap", OWNERSHIP, "-n", NAMESPACE])?.is_some(), "ownership was taken");
    ensure!(stage.get(&["namespace", NAMESPACE])?.is_some(), "the namespace is gone");
    Ok(())
}
