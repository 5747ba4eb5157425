//! Recovery by a `K10restore`, a part of a story: the operator is installed as the documentation says, and its pod may go at
//! any time.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::installation::{Cluster, DR_POLICY, Lost};
use super::shop::POLICY;
use crate::stage::NAMESPACE;

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/operator");
const DEFINITION: &str = "crd/k10restores.apik10.kasten.io";

fn installs_operator(cluster: &Cluster<'_>) -> Result<()> {
    let crds = format!("{MANIFESTS}/crds");
    cluster.kubectl(&["apply", "-f", &crds, "-f", &format!("{MANIFESTS}/operator.yaml")], "")?;
    cluster.kubectl(&["wait", DEFINITION, "--for=condition=Established", "--timeout=2m"], "")?;
    let rollout = ["rollout", "status", "deployment/keelson-operator", "-n", NAMESPACE, "--timeout=5m"];
    cluster.kubectl(&rollout, "").map(drop)
}

fn creates(cluster: &Cluster<'_>, name: &str, spec: &Value) -> Result<()> {
    let object = json!({
        "apiVersion": "apik10.kasten.io/v1alpha1", "kind": "K10restore",
        "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
    });
    cluster.create(&object).map(drop)
}

fn status(cluster: &Cluster<'_>, name: &str) -> Result<Value> {
    let object = cluster.get(&["k10restore", name, "-n", NAMESPACE])?.context("the K10restore is gone")?;
    Ok(object["status"].clone())
}

/// On a fresh platform. What is wrong is told first; profiles and policies are left out.
pub(super) fn recovers_through_operator(cluster: &Cluster<'_>, lost: &Lost) -> Result<()> {
    installs_operator(cluster)?;
    creates(cluster, "wrong", &json!({ "profileName": "vault", "skipResource": "catalog" }))?;
    let wrong = cluster.until("what is wrong is told", || {
        Ok(Some(status(cluster, "wrong")?).filter(|status| status["phase"] == "Failed"))
    })?;
    ensure!(wrong["message"].to_string().contains("sourceClusterID"), "{wrong}");
    cluster.kubectl(&["delete", "k10restore", "wrong", "-n", NAMESPACE, "--timeout=2m"], "")?;

    let spec = json!({
        "sourceClusterID": lost.id, "profileName": "vault", "pointInTime": null,
        "skipResource": "profile,policies", "vault": { "enabled": false },
    });
    creates(cluster, "k10restore", &spec)?;
    let selector = "app.kubernetes.io/name=keelson-operator";
    cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, "-l", selector, "--timeout=2m"], "")?;
    let done = ["wait", "k10restore/k10restore", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=5m"];
    let waited = cluster.kubectl(&done, "");
    waited.with_context(|| format!("its status is {:?}", status(cluster, "k10restore")))?;
    let policies = cluster.names(&["policies", "-n", NAMESPACE])?;
    ensure!(!policies.contains(POLICY) && !policies.contains(DR_POLICY), "left out are {policies:?}");
    let restores = cluster.names(&["kastendrrestores", "-n", NAMESPACE])?;
    ensure!(restores.len() == 1, "it ran once: {restores:?}");

    cluster.kubectl(&["delete", "k10restore", "k10restore", "-n", NAMESPACE, "--timeout=2m"], "")?;
    cluster.until("its recovery is cleaned up", || {
        Ok(cluster.names(&["kastendrrestores", "-n", NAMESPACE])?.is_empty().then_some(()))
    })
}
