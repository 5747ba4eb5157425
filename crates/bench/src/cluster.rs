//! A control plane, perhaps with a node that runs pods, and what a user asks it for with `kubectl`.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use keelson_testkit::{ControlPlane, NodeCluster};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

pub(crate) const NAMESPACE: &str = "kasten-io";
/// The claim that stands for the location's directory.
pub(crate) const CLAIM: &str = "share";

const GROUPS: [&str; 3] = ["actions", "apps", "dr"];
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(100);

pub(crate) struct Cluster {
    made_of: MadeOf,
}

enum MadeOf {
    Plane(ControlPlane),
    Nodes(NodeCluster),
}

impl Cluster {
    pub(crate) async fn start() -> Result<Self> {
        Self::beside(MadeOf::Plane(ControlPlane::start().await?)).await
    }

    /// One that keeps what it is told as durably as we do.
    pub(crate) async fn start_durable() -> Result<Self> {
        Self::beside(MadeOf::Plane(ControlPlane::start_durable().await?)).await
    }

    /// One with a node, which runs pods.
    pub(crate) async fn start_with_node(name: &str) -> Result<Self> {
        Self::beside(MadeOf::Nodes(NodeCluster::start(name).await?)).await
    }

    async fn beside(made_of: MadeOf) -> Result<Self> {
        let cluster = Self { made_of };
        cluster.create_namespaces([NAMESPACE.to_owned()]).await?;
        Ok(cluster)
    }

    pub(crate) fn plane(&self) -> &ControlPlane {
        match &self.made_of {
            MadeOf::Plane(plane) => plane,
            MadeOf::Nodes(nodes) => nodes.control_plane(),
        }
    }

    /// The cluster with its nodes, if it was started with any.
    pub(crate) fn nodes(&self) -> Result<&NodeCluster> {
        match &self.made_of {
            MadeOf::Plane(_) => bail!("the cluster has no nodes"),
            MadeOf::Nodes(nodes) => Ok(nodes),
        }
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        self.plane().kubeconfig()
    }

    pub(crate) async fn create_passphrase(&self, passphrase: &str) -> Result<()> {
        self.create(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": { "name": "k10-dr-secret", "namespace": NAMESPACE },
            "stringData": { "key": passphrase },
        }))
        .await
    }

    pub(crate) async fn create_namespaces(&self, names: impl IntoIterator<Item = String>) -> Result<()> {
        let namespace =
            |name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let items: Vec<Value> = names.into_iter().map(namespace).collect();
        self.create(&json!({ "apiVersion": "v1", "kind": "List", "items": items })).await
    }

    /// Creates the profile as soon as its kind is known, and waits until it was validated.
    pub(crate) async fn connect_location(&self, profile: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Profile",
            "metadata": { "name": profile, "namespace": NAMESPACE },
            "spec": {
                "type": "Location",
                "locationSpec": { "type": "FileStore", "fileStore": { "claimName": CLAIM } },
            },
        });
        self.until("the profile is created", async || self.create(&object).await).await?;
        let profile = format!("profile/{profile}");
        let valid = "--for=jsonpath={.status.validation}=Success";
        self.kubectl(&["wait", "-n", NAMESPACE, &profile, valid, "--timeout=120s"], b"").await.map(drop)
    }

    /// What holds up the next instance, as long as the one before it might only be slow.
    pub(crate) async fn forget_instance(&self) -> Result<()> {
        self.kubectl(&["delete", "lease", "keelson-serve", "-n", NAMESPACE], b"").await.map(drop)
    }

    /// Waits until the cluster passes requests for our kinds on to who answers them.
    pub(crate) async fn wait_served(&self) -> Result<()> {
        for group in GROUPS {
            let service = format!("apiservice/v1alpha1.{group}.kio.kasten.io");
            let words = ["wait", &service, "--for=condition=Available", "--timeout=5s"];
            self.until("our kinds are served", async || self.kubectl(&words, b"").await.map(drop)).await?;
            // For a while the API server believes of an instance what was true of the one before.
            let path = format!("/apis/{group}.kio.kasten.io/v1alpha1");
            let words = ["get", "--raw", &path];
            self.until("our kinds are answered", async || self.kubectl(&words, b"").await.map(drop)).await?;
        }
        Ok(())
    }

    /// Creates a custom resource definition and waits until it is served.
    pub(crate) async fn define(&self, definition: &Value) -> Result<()> {
        self.create(definition).await?;
        let name = definition["metadata"]["name"].as_str().context("the definition has a name")?;
        let words = ["wait", &format!("crd/{name}"), "--for=condition=Established", "--timeout=60s"];
        self.kubectl(&words, b"").await.map(drop)
    }

    /// How many objects of a resource the API serves: on its first page, or in all pages.
    pub(crate) async fn count(&self, resource: &str, page: Option<usize>) -> Result<usize> {
        let Some(limit) = page else {
            let words = ["get", resource, "--chunk-size=500", "--no-headers", "-o", "name"];
            return Ok(self.kubectl(&words, b"").await?.lines().count());
        };
        let path = format!("/apis/apps.kio.kasten.io/v1alpha1/{resource}?limit={limit}");
        let page = self.kubectl(&["get", "--raw", &path], b"").await?;
        let page: Value = serde_json::from_str(&page).context("read a page")?;
        Ok(page["items"].as_array().map_or(0, Vec::len))
    }

    pub(crate) async fn id(&self) -> Result<String> {
        let words = ["get", "namespace", "default", "-o", "jsonpath={.metadata.uid}"];
        Ok(self.kubectl(&words, b"").await?.trim().to_owned())
    }

    pub(crate) async fn destroy(self) -> Result<()> {
        match self.made_of {
            MadeOf::Plane(plane) => plane.stop().await,
            MadeOf::Nodes(nodes) => nodes.stop().await,
        }
    }

    pub(crate) async fn create(&self, object: &Value) -> Result<()> {
        self.kubectl(&["create", "-f", "-"], object.to_string().as_bytes()).await.map(drop)
    }

    pub(crate) async fn until(&self, what: &str, attempt: impl AsyncFn() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = attempt().await {
            ensure!(Instant::now() < deadline, "waited {} s in vain: {what}: {error:#}", PATIENCE.as_secs());
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Runs `kubectl` to its end and returns what it printed.
    pub(crate) async fn kubectl(&self, words: &[&str], input: &[u8]) -> Result<String> {
        let mut command = tokio::process::Command::from(self.plane().kubectl());
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().context("start kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input).await.context("write to kubectl")?;
        }
        let output = child.wait_with_output().await.context("wait for kubectl")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {}", words.join(" "), complaint.trim());
        String::from_utf8(output.stdout).context("read what kubectl printed")
    }
}
