//! The controllers of the cluster go on working beside us. They are the strictest clients there are: one that cannot
//! read one of our kinds stops working for all kinds.

use serde_json::json;

use crate::environment::{environment, eventually};

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
