//! A control plane as a person uses it: `kubectl` to change things, plain reads to look at them.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use keelson_testkit::ControlPlane;
use kube::Client;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// Where the platform lives.
pub(super) const NAMESPACE: &str = "kasten-io";

const PAGE: usize = 500;

pub(super) struct Cluster {
    plane: ControlPlane,
    client: Client,
}

impl Cluster {
    pub(super) async fn start() -> Result<Self> {
        let plane = ControlPlane::start().await?;
        let client = plane.client().await?;
        Ok(Self { plane, client })
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        self.plane.kubeconfig()
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Runs `kubectl` and returns what it printed.
    pub(super) async fn kubectl(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let mut command = tokio::process::Command::from(self.plane.kubectl());
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().context("start kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input).await.context("write to kubectl")?;
        }
        let output = child.wait_with_output().await.context("wait for kubectl")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), complaint.trim());
        String::from_utf8(output.stdout).context("read what kubectl printed")
    }

    pub(super) async fn apply(&self, manifest: &str) -> Result<()> {
        self.kubectl(&["apply", "-f", "-"], manifest.as_bytes()).await.map(drop)
    }

    pub(super) async fn apply_object(&self, object: &Value) -> Result<()> {
        self.apply(&object.to_string()).await
    }

    /// Creates an object and returns its name, which the server may have made.
    pub(super) async fn create(&self, object: &Value) -> Result<String> {
        let created =
            self.kubectl(&["create", "-f", "-", "-o", "json"], object.to_string().as_bytes()).await?;
        let created: Value = serde_json::from_str(&created).context("read what kubectl created")?;
        let name = created["metadata"]["name"].as_str().context("the created object has no name")?;
        Ok(name.to_owned())
    }

    pub(super) async fn create_namespace(&self, name: &str) -> Result<()> {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.create(&object).await.map(drop)
    }

    /// The object at an API path, or none.
    pub(super) async fn read(&self, path: &str) -> Result<Option<Value>> {
        let request = http::Request::get(path).body(Vec::new())?;
        match self.client.request(request).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {path}")),
        }
    }

    /// All objects at an API path, page by page.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut objects = Vec::new();
        let mut token = String::new();
        loop {
            let page = format!("{path}?limit={PAGE}&continue={token}");
            let mut page = self.read(&page).await?.with_context(|| format!("{path} is not served"))?;
            if let Value::Array(items) = page["items"].take() {
                objects.extend(items);
            }
            match page["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => token = next.to_owned(),
                _ => return Ok(objects),
            }
        }
    }

    /// The UID of the namespace `default`.
    pub(super) async fn id(&self) -> Result<String> {
        let printed =
            self.kubectl(&["get", "namespace", "default", "-o", "jsonpath={.metadata.uid}"], &[]).await?;
        Ok(printed.trim().to_owned())
    }

    /// Kills the servers and deletes all that the cluster was.
    pub(super) async fn destroy(self) -> Result<()> {
        self.plane.stop().await
    }
}

/// The API path of our resources: all of them, those of a namespace, or one.
pub(super) fn path(group: &str, resource: &str, namespace: Option<&str>, name: Option<&str>) -> String {
    let mut path = format!("/apis/{group}.kio.kasten.io/v1alpha1");
    if let Some(namespace) = namespace {
        path.push_str(&format!("/namespaces/{namespace}"));
    }
    path.push_str(&format!("/{resource}"));
    if let Some(name) = name {
        path.push_str(&format!("/{name}"));
    }
    path
}
