//! A running `keelson serve` and what its users do with it.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::cluster::{Cluster, NAMESPACE, path};
use super::vault::Vault;
use crate::{Instance, answer};

/// Patience for one step: two thousand objects, unoptimised, on a small and busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(200);
/// Seconds that the ownership ConfigMap must be gone; a minute by default, which nobody wants to watch.
pub(super) const OWNERSHIP_GRACE: &str = "3";

const GROUPS: [&str; 3] = ["actions", "apps", "dr"];

pub(super) struct Platform {
    pub(super) cluster: Cluster,
    instance: Instance,
    pub(super) started: Instant,
}

impl Platform {
    /// Starts `keelson serve` with an empty data directory and waits until the cluster knows its kinds.
    pub(super) async fn start(cluster: Cluster, vault: &Vault) -> Result<Self> {
        let started = Instant::now();
        let instance = Instance::serve(cluster.kubeconfig(), |directory| {
            let mut arguments: Vec<OsString> =
                ["--namespace", NAMESPACE, "--listen", "127.0.0.1:0", "--ownership-grace", OWNERSHIP_GRACE]
                    .map(OsString::from)
                    .into();
            arguments.extend(["--data".into(), directory.join("data").into()]);
            arguments.extend(vault.serve_arguments().into_iter().map(OsString::from));
            arguments
        })?;
        let platform = Self { cluster, instance, started };
        platform.wait_until_served().await?;
        Ok(platform)
    }

    async fn wait_until_served(&self) -> Result<()> {
        for group in GROUPS {
            let name = format!("v1alpha1.{group}.kio.kasten.io");
            let at = format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}");
            self.until(&format!("APIService {name} is available"), async || {
                let service = self.cluster.read(&at).await?.unwrap_or_default();
                let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
                let available =
                    conditions.iter().any(|it| it["type"] == "Available" && it["status"] == "True");
                Ok(available.then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Asks `check` until it answers; fails at once when `keelson serve` has ended.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        mut check: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = check().await;
            let answer = answer
                .map_err(|error| anyhow!("{error:#}\nthe end of the log:\n{}", self.instance.log_tail()));
            if let Some(value) = answer? {
                return Ok(value);
            }
            ensure!(self.instance.is_running(), "keelson serve ended:\n{}", self.instance.log_tail());
            ensure!(
                Instant::now() < deadline,
                "waited {} s in vain: {what}\nthe end of the log:\n{}",
                PATIENCE.as_secs(),
                self.instance.log_tail()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until a profile or policy was validated, and fails with what is wrong with it.
    pub(super) async fn wait_valid(&self, resource: &str, name: &str) -> Result<()> {
        let at = path("config", resource, Some(NAMESPACE), Some(name));
        self.until(&format!("{resource}/{name} is validated"), async || {
            let object = self.cluster.read(&at).await?.with_context(|| format!("{at} is gone"))?;
            let status = &object["status"];
            match status["validation"].as_str() {
                Some("Success") => Ok(Some(())),
                Some("Failed") => bail!("{resource}/{name} is not valid: {}", status["error"]),
                _ => Ok(None),
            }
        })
        .await
    }

    /// Runs a policy once and waits until the run is complete.
    pub(super) async fn run_policy(&self, policy: &str) -> Result<()> {
        let run = json!({
            "apiVersion": "actions.kio.kasten.io/v1alpha1",
            "kind": "RunAction",
            "metadata": { "generateName": format!("run-{policy}-"), "namespace": NAMESPACE },
            "spec": { "subject": { "kind": "Policy", "name": policy, "namespace": NAMESPACE } },
        });
        let name = self.cluster.create(&run).await?;
        self.wait_complete("runactions", NAMESPACE, &name).await.map(drop)
    }

    /// Waits until an action is complete and returns it.
    pub(super) async fn wait_complete(&self, resource: &str, namespace: &str, name: &str) -> Result<Value> {
        let at = path("actions", resource, Some(namespace), Some(name));
        self.until(&format!("{resource}/{name} in {namespace} is complete"), async || {
            let object = self.cluster.read(&at).await?.with_context(|| format!("{at} is gone"))?;
            match object["status"]["state"].as_str() {
                Some("Complete") => Ok(Some(object)),
                Some(state @ ("Failed" | "Cancelled" | "Skipped")) => {
                    bail!("{resource}/{name} in {namespace} is {state}: {}", object["status"]["error"])
                }
                _ => Ok(None),
            }
        })
        .await
    }

    /// Waits until a review or a restore of the platform has succeeded and returns it.
    pub(super) async fn wait_recovery(&self, resource: &str, name: &str) -> Result<Value> {
        let at = path("dr", resource, Some(NAMESPACE), Some(name));
        self.until(&format!("{resource}/{name} succeeds"), async || {
            let object = self.cluster.read(&at).await?.with_context(|| format!("{at} is gone"))?;
            match object["status"]["state"].as_str() {
                Some("success") => Ok(Some(object)),
                Some("failed") => bail!("{resource}/{name} failed: {}", object["status"]["error"]),
                _ => Ok(None),
            }
        })
        .await
    }

    /// What `keelson dr status` says.
    pub(super) fn recovery_status(&self) -> Result<Value> {
        let mut arguments: Vec<OsString> =
            ["dr", "status", "--namespace", NAMESPACE, "--output", "json", "--kubeconfig"]
                .map(OsString::from)
                .into();
        arguments.push(self.cluster.kubeconfig().into());
        let said = tokio::task::block_in_place(|| answer(arguments))?;
        ensure!(said.code == 0, "keelson dr status ended with {}: {}", said.code, said.stderr.trim());
        serde_json::from_str(&said.stdout).context("read what keelson dr status said")
    }

    /// SIGKILL for everything, and all it knew is deleted: the data directory and the cluster itself.
    pub(super) async fn destroy(self) -> Result<()> {
        self.instance.kill()?;
        let Self { cluster, instance, .. } = self;
        tokio::task::block_in_place(|| drop(instance));
        cluster.destroy().await
    }
}
