//! The platform as it is installed: under an account that has the roles of `deploy/roles` and no other right.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keelson_e2e::{Answer, answer};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::accounts::Account;
use crate::stage::{CONFIG, NAMESPACE, Stage, assert_said, block_on};
use crate::world::{
    APPLICATION, ORIGIN, PASSPHRASE, action, back_up, create_application, wait_until_shipped,
};

const RBAC: &str = "rbac.authorization.k8s.io";
/// Of what is made in the application, with the name of each.
const FURNITURE: [(&str, &str); 4] =
    [("configmap", "orders"), ("role", "watcher"), ("rolebinding", "watcher"), ("bed", "roses")];
const WIDE: &str = "k10-serve-applications";

fn role(kind: &str, metadata: Value) -> Value {
    // A right that the account has not, and may give all the same.
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["watch"] });
    json!({ "apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": metadata, "rules": [rule] })
}

fn binding(kind: &str, metadata: Value) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": format!("{kind}Binding"), "metadata": metadata,
        "roleRef": { "apiGroup": RBAC, "kind": kind, "name": metadata["name"] },
        "subjects": [{ "apiGroup": RBAC, "kind": "User", "name": "carol" }],
    })
}

fn definition() -> Value {
    let schema =
        json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    let version = json!({ "name": "v1", "served": true, "storage": true, "schema": schema });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "beds.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "beds", "singular": "bed", "kind": "Bed" }, "versions": [version],
        },
    })
}

/// An application with a kind of its own and with rights, and rights outside namespaces.
fn furnish(stage: &Stage) -> Result<()> {
    create_application(stage)?;
    stage.create(&definition())?;
    stage.kubectl(&["wait", "--for=condition=Established", "crd/beds.example.com", "--timeout=60s"], "")?;
    stage.until("the kind is served", || {
        Ok((stage.try_kubectl(&["get", "beds", "-A"], "")?.code == 0).then_some(()))
    })?;
    let here = json!({ "name": "watcher", "namespace": APPLICATION });
    let everywhere = json!({ "name": "team:watcher" });
    let roses = json!({ "name": "roses", "namespace": APPLICATION });
    for object in [
        role("Role", here.clone()),
        binding("Role", here),
        role("ClusterRole", everywhere.clone()),
        binding("ClusterRole", everywhere),
        json!({ "apiVersion": "example.com/v1", "kind": "Bed", "metadata": roses, "rows": 3 }),
    ] {
        stage.create(&object)?;
    }
    Ok(())
}

fn assert_furnished(stage: &Stage, furniture: &[(&str, &str)]) -> Result<()> {
    for (resource, name) in furniture {
        ensure!(stage.get(&[resource, name, "-n", APPLICATION])?.is_some(), "{resource} '{name}' is missing");
    }
    Ok(())
}

/// A policy that backs up and exports the application and what lies in no namespace.
fn protect(stage: &Stage) -> Result<()> {
    let values = [APPLICATION, "kasten-io-cluster"];
    stage.create(&json!({
        "apiVersion": CONFIG, "kind": "Policy", "metadata": { "name": "nightly", "namespace": NAMESPACE },
        "spec": {
            "frequency": "@daily", "retention": { "daily": 7 },
            "selector": { "matchExpressions": [
                { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": values },
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
    stage.complete("runaction", NAMESPACE, "now").map(drop)
}

fn restore_action(name: &str, point: &str, included: &Value) -> Value {
    let subject = json!({ "kind": "RestorePoint", "name": point, "namespace": APPLICATION });
    let spec = json!({ "subject": subject, "filters": { "includeResources": included } });
    action("RestoreAction", name, APPLICATION, spec)
}

/// By the administrator, whose name is the cluster's own: the account writes what he may write.
fn restore_in_place(stage: &Stage, point: &str) -> Result<()> {
    for (resource, name) in FURNITURE {
        stage.delete(&[resource, name, "-n", APPLICATION])?;
    }
    let included = json!([
        { "group": "actions.kio.kasten.io", "resource": "defaults" },
        { "group": RBAC, "resource": "roles" },
        { "group": RBAC, "resource": "rolebindings" },
    ]);
    stage.create(&restore_action("in-place", point, &included))?;
    stage.complete("restoreaction", APPLICATION, "in-place")?;
    assert_furnished(stage, &FURNITURE)
}

/// By a person, of whom the API server tells a group and more: written in that name.
fn restore_as_alice(stage: &Stage, point: &str) -> Result<()> {
    for role in ["edit", "k10-basic"] {
        let (role, name) = (format!("--clusterrole={role}"), format!("alice-{role}"));
        stage
            .kubectl(&["create", "rolebinding", &name, "-n", APPLICATION, &role, "--group=gardeners"], "")?;
    }
    stage.delete(&["configmap", "prices", "-n", APPLICATION])?;
    let alice = stage.plane().kubeconfig_for("alice", Some("gardeners"))?.display().to_string();
    let included = json!([{ "group": "core", "resource": "configmaps", "name": "prices" }]);
    let restore = restore_action("by-alice", point, &included).to_string();
    stage.until("alice may restore", || {
        let said = stage.try_kubectl(&["create", "-f", "-", "--kubeconfig", &alice], &restore)?;
        ensure!(said.code == 0 || said.stderr.contains("Forbidden"), "{said:?}");
        Ok((said.code == 0).then_some(()))
    })?;
    stage.complete("restoreaction", APPLICATION, "by-alice")?;
    assert_furnished(stage, &[("configmap", "prices")])
}

/// Into a namespace that the account makes.
fn restore_again(stage: &Stage) -> Result<()> {
    let spec = json!({ "subjects": [{ "namespace": APPLICATION }], "targetNamespaceSuffix": "-again" });
    stage.create(&action("BatchRestoreAction", "again", NAMESPACE, spec))?;
    stage.complete("batchrestoreaction", NAMESPACE, "again")?;
    let again = format!("{APPLICATION}-again");
    ensure!(stage.get(&["configmap", "orders", "-n", &again])?.is_some(), "it was not restored");
    Ok(())
}

fn report(stage: &Stage) -> Result<()> {
    let subject = json!({ "name": NAMESPACE, "namespace": NAMESPACE });
    let spec = json!({ "subject": subject, "statsIntervalDays": 1 });
    stage.create(&action("ReportAction", "report", NAMESPACE, spec))?;
    stage.complete("reportaction", NAMESPACE, "report").map(drop)
}

/// By the API server's own account, and by the log.
#[track_caller]
fn assert_nothing_was_refused(stage: &Stage) -> Result<()> {
    assert_eq!(stage.plane().refused()?, Vec::<String>::new());
    let log = fs::read_to_string(stage.instance.log_file())?;
    let told: Vec<_> = log.lines().filter(|line| line.to_ascii_lowercase().contains("forbidden")).collect();
    assert_eq!(told, Vec::<&str>::new());
    Ok(())
}

/// A platform under its account, and the location in which it finds what another left, or leaves it itself.
fn raise(share: &Supervisor) -> Result<Stage> {
    fs::create_dir_all(share.directory().join(ORIGIN))?;
    let stage = Stage::raise_installed(share.directory(), &[])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    Ok(stage)
}

fn keelson(stage: &Stage, words: &[&str]) -> Result<()> {
    let said = stage.keelson(words)?;
    ensure!(said.code == 0, "{said:?}");
    Ok(())
}

/// Who types commands in the platform's pod: the program has the rights of its account there.
struct InThePod {
    kubeconfig: String,
}

impl InThePod {
    fn of(stage: &Stage) -> Result<Self> {
        let kubeconfig = block_on(stage.plane().kubeconfig_of_account(NAMESPACE, Account::Platform.name()))?;
        Ok(Self { kubeconfig: kubeconfig.display().to_string() })
    }

    fn types(&self, words: &[&str]) -> Result<Answer> {
        answer(words.iter().copied().chain(["--kubeconfig", &self.kubeconfig]))
    }

    fn succeeds(&self, words: &[&str]) -> Result<()> {
        let said = self.types(words)?;
        ensure!(said.code == 0, "{said:?}");
        Ok(())
    }

    /// All is as it was afterwards.
    fn is_refused(&self, stage: &Stage, words: &[&str], reason: &str) -> Result<()> {
        let before = in_force(stage)?;
        let said = self.types(words)?;
        assert_said(&said, 3, &["disaster recovery was not enabled", reason]);
        ensure!(!said.stderr.contains("could not be put back"), "{said:?}");
        assert_eq!(in_force(stage)?, before);
        Ok(())
    }
}

/// What the DR policy says, and what the Secret of the passphrase holds: null where there is none.
fn in_force(stage: &Stage) -> Result<[Value; 2]> {
    let policy = stage.get(&["policy", "k10-disaster-recovery-policy", "-n", NAMESPACE])?.unwrap_or_default();
    let secret = stage.get(&["secret", "k10-dr-secret", "-n", NAMESPACE])?.unwrap_or_default();
    Ok([policy["spec"].clone(), secret["data"].clone()])
}

/// Makes, changes, takes back and removes both, and leaves the platform protected.
fn enable_in_the_pod(stage: &Stage, folder: &Path) -> Result<()> {
    let pod = InThePod::of(stage)?;
    let (good, weak) = (folder.join("good"), folder.join("weak"));
    fs::write(&good, PASSPHRASE)?;
    fs::write(&weak, "short")?;
    let (good, weak) = (good.display().to_string(), weak.display().to_string());
    stage.delete(&["secret", "k10-dr-secret", "-n", NAMESPACE])?;
    let nowhere = ["dr", "enable", "--profile", "nowhere", "--passphrase-file", &good];
    pod.is_refused(stage, &nowhere, "there is no profile 'nowhere'")?;
    assert_eq!(in_force(stage)?, [Value::Null, Value::Null]);

    let enable = ["dr", "enable", "--profile", "vault"];
    pod.succeeds(&[&enable[..], &["--quick", "--passphrase-file", &good]].concat())?;
    // Not quick, and so another policy.
    let weaker = [&enable[..], &["--passphrase-file", &weak]].concat();
    pod.is_refused(stage, &weaker, "the passphrase is too easy to guess")?;
    pod.succeeds(&enable)?;
    pod.succeeds(&["dr", "status"])?;
    pod.succeeds(&["dr", "disable"])?;
    pod.succeeds(&enable)
}

/// Ends it by request, and answers whether a group is still registered.
fn end(stage: &Stage) -> Result<bool> {
    stage.instance.stop()?;
    let said = stage.try_kubectl(&["get", "apiservice", "v1alpha1.apps.kio.kasten.io"], "")?;
    ensure!(said.code == 0 || said.stderr.contains("NotFound"), "{said:?}");
    Ok(said.code == 0)
}

#[test]
fn with_the_roles_of_an_installation_everything_works_and_nothing_is_refused() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise(&share)?;
    keelson(&source, &["dr", "enable", "--profile", "vault"])?;
    furnish(&source)?;
    let point = back_up(&source, "by-hand")?;
    restore_in_place(&source, &point)?;
    restore_as_alice(&source, &point)?;
    restore_again(&source)?;
    report(&source)?;
    protect(&source)?;
    keelson(&source, &["dr", "run"])?;
    wait_until_shipped(&source)?;
    let source_id = source.cluster_id()?;
    assert_nothing_was_refused(&source)?;
    source.instance.kill()?;
    drop(source);

    let target = raise(&share)?;
    keelson(&target, &["dr", "restore", "--profile", "vault", "--source-cluster-id", &source_id])?;
    keelson(&target, &["restore", "kasten-io-cluster"])?;
    keelson(&target, &["restore", APPLICATION])?;
    assert_furnished(&target, &[("configmap", "prices"), ("bed", "roses"), ("clusterrole", "team:watcher")])?;
    ensure!(target.get(&["clusterrolebinding", "team:watcher"])?.is_some(), "the binding is missing");
    ensure!(target.get(&["policy", "nightly", "-n", NAMESPACE])?.is_some(), "the policy is missing");
    target.delete(&["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE])?;
    target.until("the new instance owns the backups", || {
        let claims = target.status()?["ownership"]["claims"].as_array().cloned().unwrap_or_default();
        Ok(claims.iter().any(|claim| claim["cluster"] == source_id.as_str()).then_some(()))
    })?;
    assert!(!end(&target)?, "what it registered is left");
    assert_nothing_was_refused(&target)?;

    // A refusal would have been seen.
    let account = block_on(target.plane().kubeconfig_of_account(NAMESPACE, Account::Platform.name()))?;
    let account = account.display().to_string();
    let said = target.try_kubectl(&["get", "--raw", "/metrics", "--kubeconfig", &account], "")?;
    ensure!(said.code != 0, "the account may read more than it needs");
    let refused = target.plane().refused()?;
    ensure!(refused.len() == 1 && refused[0].contains("get /metrics"), "{refused:?}");
    Ok(())
}

/// What is wide is apart: the platform does without it what is its own, and with it in one namespace what belongs there.
#[test]
fn the_rights_to_applications_may_be_given_for_one_namespace_alone() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = raise(&share)?;
    stage.delete(&["clusterrolebinding", WIDE])?;
    let user = format!("--as=system:serviceaccount:{NAMESPACE}:{}", Account::Platform.name());
    let may_write = ["auth", "can-i", "create", "configmaps", "-n", APPLICATION, &user];
    stage
        .until("the rights are gone", || Ok((stage.try_kubectl(&may_write, "")?.code == 1).then_some(())))?;
    stage.kill_and_restart()?;
    create_application(&stage)?;
    enable_in_the_pod(&stage, share.directory())?;
    keelson(&stage, &["dr", "run"])?;
    wait_until_shipped(&stage)?;
    assert_nothing_was_refused(&stage)?;

    let subject = json!({ "subject": { "name": APPLICATION, "namespace": APPLICATION } });
    stage.create(&action("BackupAction", "too-early", APPLICATION, subject))?;
    let told = stage.until("the backup tells what it may not read", || {
        let found = stage.get(&["backupaction", "too-early", "-n", APPLICATION])?;
        let error = found.context("the backup is gone")?["status"]["error"].to_string();
        Ok(error.contains("cannot list resource").then_some(error))
    })?;
    let account = format!("system:serviceaccount:{NAMESPACE}:{}", Account::Platform.name());
    ensure!(told.contains(&account) && told.contains("of namespace 'shop' could not be read"), "{told}");

    let role = format!("--clusterrole={WIDE}");
    let subject = format!("--serviceaccount={NAMESPACE}:{}", Account::Platform.name());
    stage.kubectl(&["create", "rolebinding", WIDE, "-n", APPLICATION, &role, &subject], "")?;
    stage
        .until("the rights are there", || Ok((stage.try_kubectl(&may_write, "")?.code == 0).then_some(())))?;
    let point = back_up(&stage, "in-time")?;
    stage.delete(&["configmap", "orders", "-n", APPLICATION])?;
    let included = json!([{ "group": "core", "resource": "configmaps" }]);
    stage.create(&restore_action("back", &point, &included))?;
    stage.complete("restoreaction", APPLICATION, "back")?;
    assert_furnished(&stage, &[("configmap", "orders")])?;
    let mut refused = stage.plane().refused()?;
    refused.retain(|refused| !refused.contains("/namespaces/shop/"));
    assert_eq!(refused, Vec::<String>::new(), "what is the platform's own was refused");
    Ok(())
}
