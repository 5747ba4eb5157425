//! An application of realistic shape, and the few steps that every test takes with it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use keelson_testkit::{ControlPlane, eventually};
use keelson_workload::{
    CaptureReport, CaptureRequest, CaptureScope, CapturedObject, Cluster, Filters, Kind, NamespaceName,
    ObjectEncoder, RbacRule, Requester, RestoreError, RestoreReport, RestoreRequest, RestoreScope,
    StatusRule, SubjectReview, comparable, decode_objects,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A namespace of its own on the control plane that all tests share.
pub(crate) struct Scene {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) cluster: Cluster,
    pub(crate) namespace: NamespaceName,
    /// The group of this scene's custom kinds: definitions are shared by the whole cluster.
    group: String,
}

impl Scene {
    pub(crate) async fn set(namespace: &str) -> Result<Self> {
        let plane = ControlPlane::shared().await?;
        let cluster = Cluster::from_client(plane.client().await?);
        let group = format!("{namespace}.example.com");
        let scene = Self { plane, cluster, namespace: namespace.parse()?, group };
        scene.apply(&[json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"team": "shop"}}})])?;
        let accounts = Kind::namespaced("v1", "ServiceAccount", "serviceaccounts");
        eventually("the namespace has what the cluster makes in each", async || {
            let read = async |kind, name| scene.cluster.read_object(kind, Some(namespace), name).await;
            let account = read(&accounts, "default").await?;
            let map = read(&config_maps(), "kube-root-ca.crt").await?;
            Ok((account.is_some() && map.is_some()).then_some(()))
        })
        .await?;
        Ok(scene)
    }

    /// Waits until the API server knows of a role that was made just now.
    pub(crate) async fn await_right(
        &self,
        requester: &Requester,
        verb: &str,
        (group, resource): (&str, &str),
        namespace: &str,
    ) -> Result<()> {
        let review = SubjectReview { requester, verb, group, resource, subresource: "", namespace, name: "" };
        eventually(&format!("{} may {verb} {resource}", requester.user), async || {
            Ok(self.cluster.subject_access_review(&review).await?.is_allowed().then_some(()))
        })
        .await
    }

    pub(crate) fn name(&self) -> &str {
        self.namespace.as_str()
    }

    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// The same cluster and kinds, seen from a namespace that may not exist yet: restoring into it is quicker
    /// than waiting until the original is gone.
    pub(crate) fn beside(&self) -> Result<Self> {
        let namespace = format!("{}-copy", self.namespace).parse()?;
        Ok(Self { plane: self.plane, cluster: self.cluster.clone(), namespace, group: self.group.clone() })
    }

    /// Applies as a chart would: server-side, as field manager `helm`.
    pub(crate) fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let mut kubectl = self.plane.kubectl();
        kubectl.args([
            "apply",
            "--server-side",
            "--field-manager=helm",
            "--namespace",
            self.name(),
            "-f",
            "-",
        ]);
        let mut child = kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("stdin")?.write_all(list.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    pub(crate) async fn capture(&self) -> Result<(Vec<CapturedObject>, CaptureReport)> {
        self.capture_with(Filters::default(), StatusRule::Drop).await
    }

    /// The objects in the order of their layers, after a trip through stored bytes.
    pub(crate) async fn capture_with(
        &self,
        filters: Filters,
        status: StatusRule,
    ) -> Result<(Vec<CapturedObject>, CaptureReport)> {
        self.capture_scope(CaptureScope::Application(self.namespace.clone()), filters, status).await
    }

    pub(crate) async fn capture_scope(
        &self,
        scope: CaptureScope,
        filters: Filters,
        status: StatusRule,
    ) -> Result<(Vec<CapturedObject>, CaptureReport)> {
        let request = CaptureRequest { scope, filters, status };
        let (sink, mut source) = mpsc::channel(64);
        let mut objects = Vec::new();
        let gather = async {
            while let Some(object) = source.recv().await {
                objects.push(object);
            }
        };
        let (report, ()) = tokio::join!(self.cluster.capture(&request, sink), gather);
        objects.sort_by_key(|object| object.layer);
        let mut encoder = ObjectEncoder::default();
        let mut chunks: Vec<_> = objects.iter().filter_map(|object| encoder.push(object)).collect();
        chunks.push(encoder.finish());
        let stored = stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>));
        let objects: Vec<_> = decode_objects(stored).collect::<Vec<_>>().await;
        Ok((objects.into_iter().collect::<Result<_, _>>()?, report?))
    }

    pub(crate) fn request(&self) -> RestoreRequest {
        RestoreRequest { rbac: RbacRule::Restore, ..RestoreRequest::in_place(self.namespace.clone(), "test") }
    }

    /// A restore into another namespace.
    pub(crate) fn request_into(&self, target: &NamespaceName) -> RestoreRequest {
        let scope = RestoreScope::Application { original: self.namespace.clone(), target: target.clone() };
        RestoreRequest { scope, ..self.request() }
    }

    pub(crate) async fn restore(
        &self,
        request: &RestoreRequest,
        objects: &[CapturedObject],
    ) -> Result<RestoreReport, RestoreError> {
        let objects = stream::iter(objects.iter().cloned().map(Ok));
        self.cluster.restore(request, objects, &|_| {}).await
    }

    pub(crate) async fn read(&self, kind: &Kind, name: &str) -> Result<Value> {
        let object = self.cluster.read_object(kind, Some(self.name()), name).await?;
        object.with_context(|| format!("{kind} '{name}' is not there"))
    }

    /// Deletes the namespace and waits until it is gone.
    pub(crate) async fn vanish(&self) -> Result<()> {
        self.cluster.delete_object(&namespaces(), None, self.name()).await?;
        eventually("the namespace is gone", async || {
            Ok(self.cluster.namespace_state(&self.namespace).await?.is_none().then_some(()))
        })
        .await
    }

    pub(crate) async fn delete_definition(&self, name: &str) -> Result<()> {
        self.cluster.delete_object(&definitions(), None, name).await?;
        eventually("the definition is gone", async || {
            Ok(self.cluster.read_object(&definitions(), None, name).await?.is_none().then_some(()))
        })
        .await
    }

    /// Waits until the controllers made the pods of the application, and captures nothing half-made.
    pub(crate) async fn await_pods(&self, count: usize) -> Result<()> {
        let pods = Kind::namespaced("v1", "Pod", "pods");
        eventually("the controllers made the pods", async || {
            let list = self.cluster.list_objects(&pods, Some(self.name()), None).await?;
            Ok((list.len() >= count).then_some(()))
        })
        .await
    }

    /// A web application with workers, configuration, rights, a claim, and custom objects with owners.
    pub(crate) async fn install_shop(&self) -> Result<()> {
        self.apply(&[self.definition("shops", "Shop"), self.definition("shelves", "Shelf")])?;
        for plural in ["shops", "shelves"] {
            let name = format!("{plural}.{}", self.group());
            self.cluster.wait_established(&name, std::time::Duration::from_secs(180)).await?;
        }
        self.apply(&workloads())?;
        self.apply(&configuration())?;
        self.apply(&rights(self.name()))?;
        eventually("the custom kinds are served", async || Ok(self.apply(&[self.shop()]).ok())).await?;
        let owner = self.shop_owner().await?;
        self.apply(&[
            json!({"apiVersion": format!("{}/v1", self.group()), "kind": "Shelf",
                "metadata": {"name": "books", "ownerReferences": [owner]}, "spec": {"size": 7, "ratio": 0.25}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "made-by-shop", "ownerReferences": [owner]}, "data": {"k": "v"}}),
        ])?;
        self.await_pods(3).await
    }

    pub(crate) fn shop_kind(&self) -> Kind {
        Kind::namespaced(&format!("{}/v1", self.group()), "Shop", "shops")
    }

    pub(crate) async fn shop_owner(&self) -> Result<Value> {
        let shop = self.read(&self.shop_kind(), "front").await?;
        Ok(json!({"apiVersion": format!("{}/v1", self.group()), "kind": "Shop", "name": "front",
            "uid": shop["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}))
    }

    fn shop(&self) -> Value {
        json!({"apiVersion": format!("{}/v1", self.group()), "kind": "Shop",
            "metadata": {"name": "front", "labels": {"app": "web"}}, "spec": {"size": 3}})
    }

    pub(crate) fn definition(&self, plural: &str, kind: &str) -> Value {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"size": {"type": "integer", "maximum": 100}, "ratio": {"type": "number"}}},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{}", self.group())},
            "spec": {"group": self.group(), "scope": "Namespaced",
                "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}]}})
    }
}

pub(crate) fn namespaces() -> Kind {
    Kind::cluster("v1", "Namespace", "namespaces")
}

pub(crate) fn definitions() -> Kind {
    Kind::cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
}

pub(crate) fn config_maps() -> Kind {
    Kind::namespaced("v1", "ConfigMap", "configmaps")
}

/// Every object in comparable form, by kind and name.
pub(crate) fn contents(objects: &[CapturedObject]) -> BTreeMap<(String, String), Value> {
    let entry =
        |object: &CapturedObject| ((object.kind.resource_name(), object.name.clone()), comparable(object));
    objects.iter().map(entry).collect()
}

fn pod_template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"serviceAccountName": "web", "containers": [{"name": "main",
        "image": "registry.example.com/web:1", "ports": [{"containerPort": 8080}],
        "envFrom": [{"configMapRef": {"name": "settings"}}], "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}]}],
        "volumes": [{"name": "scratch", "emptyDir": {}}]}})
}

fn workloads() -> Vec<Value> {
    let selector = |app: &str| json!({"matchLabels": {"app": app}});
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "queue"},
            "spec": {"clusterIP": "None", "selector": {"app": "queue"}, "ports": [{"port": 5672}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 2, "selector": selector("web"), "template": pod_template("web")}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "queue"},
            "spec": {"replicas": 1, "serviceName": "queue", "selector": selector("queue"), "template": pod_template("queue")}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
            "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "main", "image": "registry.example.com/report:1"}]}}}}}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"},
            "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "main", "image": "registry.example.com/migrate:1"}]}}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"},
            "spec": {"rules": [{"host": "shop.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "web"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
            "spec": {"minAvailable": 1, "selector": selector("web")}}),
    ]
}

fn configuration() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"MODE": "shop"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"},
            "stringData": {"password": "horse staple"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sealed"}, "immutable": true,
            "stringData": {"k": "v"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sh.helm.release.v1.web.v1"},
            "type": "helm.sh/release.v1", "stringData": {"release": "x"}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"},
            "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "10m"}}]}}),
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"},
            "spec": {"hard": {"configmaps": "5000"}}}),
    ]
}

fn rights(namespace: &str) -> Vec<Value> {
    vec![
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "web"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "web"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "web"},
            "subjects": [{"kind": "ServiceAccount", "name": "web", "namespace": namespace}]}),
    ]
}
