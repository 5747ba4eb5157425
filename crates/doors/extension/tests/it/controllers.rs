//! The controllers of the cluster go on working beside us. They are the strictest clients there are: one that cannot
//! read one of our kinds stops working for all kinds.

use std::time::Instant;

use keelson_testkit::figure;
use serde_json::json;

use crate::environment::{Environment, environment, eventually};

/// What a large installation serves of one kind.
const MANY: usize = 100_000;

#[test]
fn quota_and_garbage_collection_go_on() {
    let cluster = environment();
    cluster.namespace("governed");
    cluster.put("restorepoints", "governed", "rp", &[]);
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": "governed"},
        "spec": {"hard": {"count/configmaps": "10", "count/restorepoints.apps.kio.kasten.io": "10"}},
    });
    cluster.create(&quota).unwrap();
    let used = |resource: &str| {
        let path = format!("jsonpath={{.status.used.{}}}", resource.replace('.', "\\."));
        cluster.kubectl(&["get", "resourcequota", "few", "-n", "governed", "-o", &path])
    };
    // A quota is reckoned when it changes; ours are counted once the controller has found and read our kinds.
    let mut hard = 10;
    eventually("the quota counts restore points", || {
        hard += 1;
        let patch = json!({"spec": {"hard": {"count/restorepoints.apps.kio.kasten.io": hard.to_string()}}});
        cluster.kubectl(&[
            "patch",
            "resourcequota",
            "few",
            "-n",
            "governed",
            "--type=merge",
            "-p",
            &patch.to_string(),
        ]);
        (used("count/restorepoints.apps.kio.kasten.io") == "1").then_some(())
    });
    let config_map = |name: &str, owners: serde_json::Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "governed", "ownerReferences": owners},
        })
    };
    cluster.create(&config_map("owner", json!([]))).unwrap();
    // One config map is the cluster's own in every namespace.
    eventually("the quota counts config maps", || (used("count/configmaps") == "2").then_some(()));
    cluster.put("restorepoints", "governed", "rp-2", &[]);
    let uid =
        cluster.kubectl(&["get", "configmap", "owner", "-n", "governed", "-o", "jsonpath={.metadata.uid}"]);
    let owners = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
    cluster.create(&config_map("owned", owners)).unwrap();
    cluster.kubectl(&["delete", "configmap", "owner", "-n", "governed"]);
    eventually("the owned object is collected", || {
        let names = cluster.kubectl(&["get", "configmaps", "-n", "governed", "-o", "name"]);
        (!names.contains("owned")).then_some(())
    });
    let points = cluster.kubectl(&["get", "restorepoints", "-n", "governed", "-o", "name"]);
    assert_eq!(points.lines().count(), 2, "{points}");
}

/// The one that starts must read all of our kinds before it works for anybody.
#[test]
fn a_controller_manager_that_starts_beside_many_objects_does_its_work() {
    let mut cluster = Environment::start();
    cluster.namespace("crowded");
    cluster.put("restorepoints", "crowded", "rp", &[]);
    let begun = Instant::now();
    let few = peak_after_restart(&mut cluster, "beside-few");
    let took = begun.elapsed().as_secs();
    figure(&format!("a controller manager beside 1 object took {few} MiB at most, and {took} s"));
    cluster.fill("restorepoints", "crowded", MANY);
    let begun = Instant::now();
    let many = peak_after_restart(&mut cluster, "beside-many");
    let took = begun.elapsed().as_secs();
    figure(&format!("a controller manager beside {MANY} objects took {many} MiB at most, and {took} s"));
    // A kibibyte and more each, since it holds all of them.
    assert!(many > few + MANY as u64 / 1024, "{few} MiB became {many} MiB: it has not read them");
    cluster.kubectl(&["get", "restorepoints", "-n", "crowded", "filled-099999"]);
}

/// Starts another controller manager, waits until it works in a namespace that has nothing of ours, and says how many
/// MiB it took at most.
fn peak_after_restart(cluster: &mut Environment, namespace: &str) -> u64 {
    cluster.restart_controllers();
    cluster.namespace(namespace);
    assert_quota_refuses(cluster, namespace);
    assert_quota_counts(cluster, namespace);
    assert_owned_is_collected(cluster, namespace);
    let process = cluster.plane.controllers_process().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes / 1024
}

fn config_map(name: &str, namespace: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}})
}

fn assert_quota_refuses(cluster: &Environment, namespace: &str) {
    cluster.kubectl(&["create", "quota", "maps", "-n", namespace, "--hard=count/configmaps=2"]);
    // One config map is the cluster's own in every namespace.
    await_used(cluster, namespace, "maps", "count/configmaps", "1");
    eventually("a map may be made", || cluster.create(&config_map("allowed", namespace)).ok());
    let refused = cluster.create(&config_map("one-too-many", namespace)).unwrap_err();
    assert!(refused.contains("exceeded quota: maps"), "{refused}");
}

fn assert_quota_counts(cluster: &Environment, namespace: &str) {
    cluster.put("restorepoints", namespace, "rp", &[]);
    let resource = "count/restorepoints.apps.kio.kasten.io";
    cluster.kubectl(&["create", "quota", "points", "-n", namespace, &format!("--hard={resource}=5")]);
    await_used(cluster, namespace, "points", resource, "1");
}

fn await_used(cluster: &Environment, namespace: &str, quota: &str, resource: &str, expected: &str) {
    let path = format!("jsonpath={{.status.used.{}}}", resource.replace('.', "\\."));
    eventually(&format!("quota {quota} in {namespace} counts {expected}"), || {
        let used = cluster.kubectl(&["get", "resourcequota", quota, "-n", namespace, "-o", &path]);
        (used == expected).then_some(())
    });
}

fn assert_owned_is_collected(cluster: &Environment, namespace: &str) {
    let words = ["get", "configmap", "allowed", "-n", namespace, "-o", "jsonpath={.metadata.uid}"];
    let uid = cluster.kubectl(&words);
    cluster.kubectl(&["delete", "quota", "maps", "-n", namespace]);
    let mut owned = config_map("owned", namespace);
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "allowed", "uid": uid}]);
    eventually("a map may be made again", || cluster.create(&owned).ok());
    cluster.kubectl(&["delete", "configmap", "allowed", "-n", namespace]);
    eventually("the owned object is collected", || {
        let names = cluster.kubectl(&["get", "configmaps", "-n", namespace, "-o", "name"]);
        (!names.contains("owned")).then_some(())
    });
}
