//! What people type.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::environment::{environment, eventually};

fn backup(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "BackupAction",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"subject": {"name": namespace, "namespace": namespace}},
    })
}

#[test]
fn get_prints_the_columns_pages_and_selects() {
    let cluster = environment();
    cluster.namespace("listed");
    for number in 0..12 {
        let policy = if number % 2 == 0 { "daily" } else { "hourly" };
        let label = [("k10.kasten.io/policyName", policy)];
        cluster.put("restorepoints", "listed", &format!("rp-{number:02}"), &label);
    }
    let table = cluster.kubectl(&["get", "restorepoints", "-n", "listed", "--chunk-size=5"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["NAME", "AGE"]);
    assert_eq!(lines.len(), 13, "{table}");
    let selector =
        ["get", "restorepoints", "-n", "listed", "-l", "k10.kasten.io/policyName=daily", "-o", "name"];
    let names = cluster.kubectl(&selector);
    assert_eq!(names.lines().count(), 6, "{names}");
    assert!(names.starts_with("restorepoint.apps.kio.kasten.io/rp-00"), "{names}");
    let wide = cluster.kubectl(&["get", "restorepoint", "rp-03", "-n", "listed", "-o", "wide"]);
    assert!(wide.contains("Bound"), "{wide}");
    let yaml = cluster.kubectl(&["get", "restorepoints", "rp-03", "-n", "listed", "-o", "yaml"]);
    assert!(yaml.contains("name: listed-rp-03") && yaml.contains("uid: uid-listed-rp-03"), "{yaml}");
    let described = cluster.kubectl(&["describe", "restorepoints", "rp-03", "-n", "listed"]);
    assert!(described.contains("policyName=hourly"), "{described}");
    let absent = cluster.try_kubectl(&["get", "restorepoints", "none", "-n", "listed"], "").unwrap_err();
    assert!(absent.contains("restorepoints.apps.kio.kasten.io \"none\" not found"), "{absent}");
}

#[test]
fn explain_knows_every_field() {
    let cluster = environment();
    let spec = cluster.kubectl(&["explain", "backupactions.spec"]);
    assert!(spec.contains("subject") && spec.contains("-required-"), "{spec}");
    let name = cluster.kubectl(&["explain", "restorepoint.spec.restorePointContentRef"]);
    assert!(name.contains("name"), "{name}");
    let metadata = cluster.kubectl(&["explain", "runactions.metadata.labels"]);
    assert!(metadata.contains("map[string]string"), "{metadata}");
}

#[test]
fn create_wait_and_delete() {
    let cluster = environment();
    cluster.namespace("worked");
    let created = cluster.create(&backup("worked", "manual")).unwrap();
    assert_eq!(created.trim(), "backupaction.actions.kio.kasten.io/manual created");
    let wait = ["wait", "-n", "worked", "backupaction/manual", "--for=jsonpath={.spec.subject.name}=worked"];
    assert!(cluster.kubectl(&wait).contains("condition met"));
    let again = cluster.create(&backup("worked", "manual")).unwrap_err();
    assert!(again.contains("AlreadyExists"), "{again}");
    let patched = ["label", "-n", "worked", "backupaction/manual", "a=b"];
    let refused = cluster.try_kubectl(&patched, "").unwrap_err();
    assert!(refused.contains("cannot be changed once created"), "{refused}");
    let deleted = cluster.kubectl(&["delete", "-n", "worked", "backupaction/manual", "--timeout=20s"]);
    assert!(deleted.contains("deleted"), "{deleted}");
    assert_eq!(cluster.kubectl(&["get", "-n", "worked", "backupactions", "-o", "name"]), "");
}

#[test]
fn a_wrong_field_is_refused_by_its_name() {
    let cluster = environment();
    cluster.namespace("strict");
    let mut action = backup("strict", "manual");
    action["spec"]["subjekt"] = json!({});
    let refused = cluster.create(&action).unwrap_err();
    assert!(refused.contains("strict decoding error: unknown field \"spec.subjekt\""), "{refused}");
    let mut action = backup("strict", "manual");
    action["spec"]["subject"]["name"] = json!("");
    let refused = cluster.create(&action).unwrap_err();
    assert!(refused.contains("spec.subject.name"), "{refused}");
    let dry = cluster.try_kubectl(
        &["create", "--dry-run=server", "-o", "name", "-f", "-"],
        &backup("strict", "manual").to_string(),
    );
    assert_eq!(dry.unwrap().trim(), "backupaction.actions.kio.kasten.io/manual");
    assert_eq!(cluster.kubectl(&["get", "-n", "strict", "backupactions", "-o", "name"]), "");
}

#[test]
fn a_watch_shows_what_happens() {
    let cluster = environment();
    cluster.namespace("watched");
    cluster.put("restorepoints", "watched", "before", &[]);
    let out = cluster.plane.directory().join("watched.out");
    let file = std::fs::File::create(&out).unwrap();
    let mut kubectl = cluster.plane.kubectl();
    kubectl.args(["get", "restorepoints", "-n", "watched", "-w", "-o", "name"]);
    let mut watch = kubectl.stdout(file).stderr(Stdio::null()).spawn().unwrap();
    let seen = |name: &str| {
        eventually(name, || std::fs::read_to_string(&out).unwrap().contains(name).then_some(()));
    };
    seen("before");
    cluster.put("restorepoints", "watched", "after", &[]);
    seen("after");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn a_namespace_with_restore_points_is_gone_within_seconds() {
    let cluster = environment();
    cluster.namespace("leaving");
    for number in 0..50 {
        cluster.put("restorepoints", "leaving", &format!("rp-{number:02}"), &[]);
    }
    cluster.put("restorepointcontents", "", "leaving-rp-00", &[]);
    cluster.create(&backup("leaving", "manual")).unwrap();
    let started = std::time::Instant::now();
    cluster.kubectl(&["delete", "namespace", "leaving", "--timeout=60s"]);
    assert!(started.elapsed() < Duration::from_secs(45), "{:?}", started.elapsed());
    let left = cluster.kubectl(&["get", "restorepoints", "-A", "-o", "name", "-l", "!x"]);
    assert!(!left.contains("leaving"), "{left}");
    cluster.kubectl(&["get", "restorepointcontents", "leaving-rp-00"]);
    let refused = cluster.create(&backup("leaving", "late")).unwrap_err();
    assert!(refused.contains("namespaces \"leaving\" not found"), "{refused}");
}
