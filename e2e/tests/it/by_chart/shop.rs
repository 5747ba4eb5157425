//! The application of the scenarios: a Deployment with pods that run and answer, the ConfigMap that they hand out, a Secret
//! that they read, and a Service.

use anyhow::{Context, Result, ensure};
use keelson_testkit::BOX_IMAGE;
use serde_json::{Value, json};

use super::installation::Cluster;
use crate::stage::{ACTIONS, APPS, CONFIG, NAMESPACE};

pub(super) const SHOP: &str = "shop";
pub(super) const POLICY: &str = "shop-daily";
/// Words that are nowhere else in a cluster.
pub(super) const PAGE: &str = "planted as the page of the shop dT4wQ8";
pub(super) const TILL: &str = "planted as the key of the till mB7xR1";

fn objects() -> Value {
    let metadata = |name: &str| json!({ "name": name, "namespace": SHOP });
    let container = json!({
        "name": "web", "image": BOX_IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", "test -s /till/key && exec httpd -f -p 8080 -h /page"],
        "ports": [{ "containerPort": 8080 }],
        "readinessProbe": { "tcpSocket": { "port": 8080 }, "periodSeconds": 1 },
        "volumeMounts": [{ "name": "page", "mountPath": "/page" }, { "name": "till", "mountPath": "/till" }],
    });
    let pod = json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [
            { "name": "page", "configMap": { "name": "page" } },
            { "name": "till", "secret": { "secretName": "till" } },
        ],
    });
    let labels = json!({ "app": "web" });
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SHOP } },
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("page"), "data": { "index.html": PAGE } },
        { "apiVersion": "v1", "kind": "Secret", "metadata": metadata("till"), "stringData": { "key": TILL } },
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("web"),
            "spec": {
                "replicas": 1, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": metadata("web"),
            "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": 8080 }] },
        },
    ]})
}

/// What the shop was: of each object what its owner wrote.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shop([Value; 4]);

impl Shop {
    pub(super) fn open(cluster: &Cluster<'_>) -> Result<Self> {
        cluster.apply(&objects())?;
        serves(cluster)?;
        Self::of(cluster)
    }

    fn of(cluster: &Cluster<'_>) -> Result<Self> {
        let field = |resource: &str, name: &str, field: &str| -> Result<Value> {
            let object = cluster.get(&[resource, name, "-n", SHOP])?;
            let object = object.with_context(|| format!("{resource} '{name}' of the shop is gone"))?;
            Ok(object[field].clone())
        };
        Ok(Self([
            field("configmap", "page", "data")?,
            field("secret", "till", "data")?,
            field("deployment", "web", "spec")?,
            // Its address is the cluster's to give.
            field("service", "web", "spec")?["ports"].clone(),
        ]))
    }

    /// A policy of the user's that backs it up and exports it.
    pub(super) fn protect(cluster: &Cluster<'_>) -> Result<()> {
        cluster.apply(&json!({
            "apiVersion": CONFIG, "kind": "Policy", "metadata": { "name": POLICY, "namespace": NAMESPACE },
            "spec": {
                "frequency": "@daily", "retention": { "daily": 7 },
                "selector": { "matchExpressions": [
                    { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": [SHOP] },
                ]},
                "actions": [
                    { "action": "backup" },
                    { "action": "export", "exportParameters": {
                        "frequency": "@daily", "profile": { "name": "vault", "namespace": NAMESPACE },
                        "exportData": { "enabled": true },
                    }},
                ],
            },
        }))?;
        cluster.wait_valid("policy", POLICY)
    }

    /// The application is listed as removed, is restored from `content`, and is what it was, with pods that run.
    pub(super) fn restore(&self, cluster: &Cluster<'_>, content: &str) -> Result<()> {
        let removed = ["applications", "-n", NAMESPACE, "--field-selector=status.state=Deleted"];
        cluster.until("the shop is listed as removed", || {
            Ok(cluster.names(&removed)?.contains(SHOP).then_some(()))
        })?;
        cluster.kubectl(&["create", "namespace", SHOP], "")?;
        // A name of its own each time: what was restored before is a part of the history that comes back.
        let metadata = json!({ "generateName": "back-", "namespace": SHOP });
        let point = cluster.create(&json!({
            "apiVersion": APPS, "kind": "RestorePoint", "metadata": metadata,
            "spec": { "restorePointContentRef": { "name": content } },
        }))?;
        cluster.until("the restore point is bound", || {
            let point = cluster.get(&["restorepoints.apps.kio.kasten.io", &point, "-n", SHOP])?;
            Ok(point.filter(|point| point["status"]["state"] == "Bound"))
        })?;
        let subject = json!({ "kind": "RestorePoint", "name": point, "namespace": SHOP });
        let restore = cluster.create(&json!({
            "apiVersion": ACTIONS, "kind": "RestoreAction", "metadata": metadata,
            "spec": { "subject": subject, "targetNamespace": SHOP },
        }))?;
        let restored = cluster.complete("restoreaction", SHOP, &restore)?;
        ensure!(restored["status"]["restoreDetails"]["failed"] == 0, "{}", restored["status"]);
        serves(cluster)?;
        assert_eq!(Self::of(cluster)?, *self);
        Ok(())
    }
}

/// The pods run, and give the page to whoever asks for the Service by its name.
fn serves(cluster: &Cluster<'_>) -> Result<()> {
    cluster.kubectl(&["rollout", "status", "deployment/web", "-n", SHOP, "--timeout=5m"], "")?;
    let ask = ["get", "web.shop.svc.cluster.local", "80", "/index.html"];
    let exec = [&["exec", "-n", SHOP, "deployment/web", "--"], &ask[..]].concat();
    cluster.until("the shop hands out its page", || {
        let said = cluster.try_kubectl(&exec, "")?;
        Ok((said.code == 0 && said.stdout == PAGE).then_some(()))
    })
}
