//! A control plane with a `keelson serve` beside it, and what a user does with the two.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use keelson_e2e::{Answer, Instance, answer_of, start};
use keelson_testkit::{ControlPlane, OwnedChild};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Resource, TypeMeta};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};

use crate::accounts::{self, Account};

pub(crate) const NAMESPACE: &str = "kasten-io";
/// The claim under which every stage finds the directory of all locations.
pub(crate) const CLAIM: &str = "share";
pub(crate) const CONFIG: &str = "config.kio.kasten.io/v1alpha1";
pub(crate) const ACTIONS: &str = "actions.kio.kasten.io/v1alpha1";
pub(crate) const APPS: &str = "apps.kio.kasten.io/v1alpha1";
pub(crate) const RECOVERY: &str = "dr.kio.kasten.io/v1alpha1";

/// No commit for this long, and the instance is believed to have nothing left to do.
const QUIET: Duration = Duration::from_millis(1500);
/// So often it must have answered in that time: a machine that stands still is quiet, too.
const QUIET_LOOKS: u32 = 10;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Also from within what another call waits for.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    match Handle::try_current() {
        Ok(handle) => tokio::task::block_in_place(|| handle.block_on(work)),
        Err(_) => RUNTIME.block_on(work),
    }
}

pub(crate) struct Stage {
    pub(crate) instance: Instance,
    plane: ControlPlane,
    /// For who looks again and again: `kubectl` takes a tenth of a second of a processor for each look.
    observer: kube::Client,
}

/// What the `serve` of a stage is given beside a directory of its own.
struct Given<'a> {
    kubeconfig: &'a Path,
    /// What is found under `CLAIM`, and under further ones.
    share: &'a Path,
    claims: &'a [(&'a str, &'a Path)],
    flags: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
}

/// What must not have changed after a refusal: the catalog's digests, and the revision that the API tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) digests: Value,
    revision: String,
}

impl Stage {
    /// An empty cluster and a fresh platform that finds `share` and further claims.
    pub(crate) fn raise(share: &Path, claims: &[(&str, &Path)]) -> Result<Self> {
        Self::raise_with(share, claims, &[], None)
    }

    /// The same, with further flags, and with logs of what the filter lets pass.
    pub(crate) fn raise_with(
        share: &Path,
        claims: &[(&str, &Path)],
        flags: &[&str],
        filter: Option<&str>,
    ) -> Result<Self> {
        let plane = block_on(ControlPlane::start())?;
        let kubeconfig = plane.kubeconfig().to_owned();
        let filter = filter.map(|filter| ("RUST_LOG", filter));
        let environment = filter.as_slice();
        Self::raise_on(plane, Given { kubeconfig: &kubeconfig, share, claims, flags, environment })
    }

    /// The same on a cluster that is there already, in an environment that names more.
    pub(crate) fn raise_in(plane: ControlPlane, share: &Path, environment: &[(&str, &str)]) -> Result<Self> {
        let kubeconfig = plane.kubeconfig().to_owned();
        let given = Given { kubeconfig: &kubeconfig, share, claims: &[], flags: &[], environment };
        Self::raise_on(plane, given)
    }

    /// Under the account of an installation, with these flags, on a cluster that knows what it was refused.
    pub(crate) fn raise_installed(share: &Path, flags: &[&str]) -> Result<Self> {
        let plane = block_on(ControlPlane::start_audited())?;
        let kubeconfig = accounts::install(&plane, Account::Platform)?;
        let given = Given { kubeconfig: &kubeconfig, share, claims: &[], flags, environment: &[] };
        Self::raise_on(plane, given)
    }

    fn raise_on(plane: ControlPlane, given: Given<'_>) -> Result<Self> {
        let Given { kubeconfig, share, claims, flags, environment } = given;
        let instance = Instance::serve_in(kubeconfig, environment, |directory| {
            let mut arguments: Vec<String> =
                ["--namespace", NAMESPACE, "--listen", "127.0.0.1:0", "--ownership-grace", "1"]
                    .map(str::to_owned)
                    .into();
            arguments.extend(["--metrics", "127.0.0.1:0"].map(str::to_owned));
            arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
            arguments.extend(["--data".to_owned(), directory.join("data").display().to_string()]);
            for (claim, directory) in [(CLAIM, share)].iter().chain(claims) {
                arguments.extend(["--claim".to_owned(), format!("{claim}={}", directory.display())]);
            }
            arguments
        })?;
        let observer = block_on(plane.client())?;
        let stage = Self { instance, plane, observer };
        stage.wait_until_served()?;
        Ok(stage)
    }

    pub(crate) fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    pub(crate) fn wait_until_served(&self) -> Result<()> {
        let groups = ["actions", "apps", "dr", "repositories", "vault"];
        let names = groups.map(|group| format!("v1alpha1.{group}.kio.kasten.io"));
        self.until("our groups are served", || {
            let Some(services) = self.look("/apis/apiregistration.k8s.io/v1/apiservices")? else {
                return Ok(None);
            };
            let services = services["items"].as_array().context("a list without items")?;
            let is_served = |name: &String| {
                let is_meant = |service: &&Value| service["metadata"]["name"] == *name;
                services.iter().find(is_meant).is_some_and(is_available)
            };
            Ok(names.iter().all(is_served).then_some(()))
        })
    }

    /// Kills `serve` and starts it on the same files.
    pub(crate) fn kill_and_restart(&mut self) -> Result<()> {
        self.instance.kill()?;
        self.instance.restart()?;
        self.wait_until_served()
    }

    /// Asks until there is an answer; fails at once when `serve` has ended.
    pub(crate) fn until<T>(&self, what: &str, mut check: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        block_on(self.instance.wait_until(what, async || check()))
            .with_context(|| format!("the end of the log:\n{}", self.instance.log_tail()))
    }

    /// Asks until it holds, longer than a story usually waits. How long that took.
    pub(crate) fn patiently(
        &self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut() -> Result<bool>,
    ) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            match self.until(what, || Ok(holds()?.then_some(()))) {
                Ok(()) => return Ok(begun.elapsed()),
                Err(error) if begun.elapsed() >= within || !self.instance.is_running() => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Kills the cluster's API server and starts it again on what it had stored.
    pub(crate) fn restart_api_server(&mut self) -> Result<()> {
        self.plane.interrupt()?;
        block_on(self.plane.resume())
    }

    /// A client of the administrator, for who looks often.
    pub(crate) fn client(&self) -> Result<kube::Client> {
        block_on(self.plane.client())
    }

    /// A `keelson guard` beside the platform, with all rights.
    pub(crate) fn guard(&self) -> Result<Instance> {
        self.guard_as(self.plane.kubeconfig())
    }

    /// The same with the rights of a kubeconfig.
    pub(crate) fn guard_as(&self, kubeconfig: &Path) -> Result<Instance> {
        Instance::guard(kubeconfig, NAMESPACE)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.instance.directory().join("data")
    }

    /// Runs `keelson` against this cluster, whatever comes of it.
    pub(crate) fn keelson(&self, words: &[&str]) -> Result<Answer> {
        answer_of(self.start_keelson(words)?)
    }

    /// Starts `keelson` against this cluster.
    pub(crate) fn start_keelson(&self, words: &[&str]) -> Result<OwnedChild> {
        let kubeconfig = self.plane.kubeconfig().display().to_string();
        start(words.iter().copied().chain(["--kubeconfig", &kubeconfig]))
    }

    /// Runs `kubectl`, whatever comes of it.
    pub(crate) fn try_kubectl(&self, words: &[&str], input: &str) -> Result<Answer> {
        kubectl(&self.plane, words, input)
    }

    /// Runs `kubectl`, again while the cluster has not noticed yet that a killed `serve` is back.
    fn patient_kubectl(&self, words: &[&str], input: &str) -> Result<Answer> {
        self.until("the API is served", || {
            let said = self.try_kubectl(words, input)?;
            Ok((!said.stderr.contains("(ServiceUnavailable)")).then_some(said))
        })
    }

    pub(crate) fn kubectl(&self, words: &[&str], input: &str) -> Result<String> {
        let said = self.patient_kubectl(words, input)?;
        ensure!(said.code == 0, "kubectl {}: {}", words.join(" "), said.stderr.trim());
        Ok(said.stdout)
    }

    /// `kubectl get`: one object, or none.
    pub(crate) fn get(&self, words: &[&str]) -> Result<Option<Value>> {
        let said = self.patient_kubectl(&[&["get", "-o", "json"], words].concat(), "")?;
        match said.code {
            0 => Ok(Some(serde_json::from_str(&said.stdout)?)),
            _ if said.stderr.contains("NotFound") => Ok(None),
            _ => bail!("kubectl get {}: {}", words.join(" "), said.stderr.trim()),
        }
    }

    /// What the API server has at a path. None: it, or who serves that, is away for now.
    fn look(&self, path: &str) -> Result<Option<Value>> {
        let request = http::Request::get(path).body(Vec::new())?;
        answered(block_on(self.observer.request(request))).with_context(|| format!("look at {path}"))
    }

    /// An object once it is as it is meant to be. `kubectl` finds it; what is asked again and again starts no program.
    fn until_object(
        &self,
        what: &str,
        (resource, namespace, name): (&str, &str, &str),
        is_meant: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let found = self.get(&[resource, name, "-n", namespace])?;
        let found = found.with_context(|| format!("{resource}/{name} is gone"))?;
        if is_meant(&found) {
            return Ok(found);
        }
        let kind = ApiResource::from_gvk(&GroupVersionKind::try_from(TypeMeta::deserialize(&found)?)?);
        let path = DynamicObject::url_path(&kind, found["metadata"]["namespace"].as_str());
        let path = format!("{path}/{name}");
        self.until(what, || Ok(self.look(&path)?.filter(&is_meant)))
    }

    pub(crate) fn apply(&self, object: &Value) -> Result<()> {
        self.kubectl(&["apply", "-f", "-"], &object.to_string()).map(drop)
    }

    pub(crate) fn create(&self, object: &Value) -> Result<String> {
        let name = self.kubectl(&["create", "-f", "-", "-o", "name"], &object.to_string())?;
        Ok(name.trim().rsplit('/').next().unwrap_or_default().to_owned())
    }

    pub(crate) fn delete(&self, words: &[&str]) -> Result<()> {
        self.kubectl(&[&["delete", "--ignore-not-found"], words].concat(), "").map(drop)
    }

    pub(crate) fn namespace(&self, name: &str) -> Result<()> {
        self.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
    }

    pub(crate) fn cluster_id(&self) -> Result<String> {
        self.kubectl(&["get", "namespace", "default", "-o", "jsonpath={.metadata.uid}"], "")
    }

    /// A profile of the directory `path` below `share`.
    pub(crate) fn profile(&self, name: &str, path: &str) -> Result<()> {
        let spec = json!({ "type": "FileStore", "fileStore": { "claimName": CLAIM, "path": path } });
        self.apply(&profile(name, &json!({ "type": "Location", "locationSpec": spec })))
    }

    /// The status of a profile or policy once it was looked at.
    pub(crate) fn validation(&self, resource: &str, name: &str) -> Result<Value> {
        let told = format!("{resource}/{name} is looked at");
        let mut object = self.until_object(&told, (resource, NAMESPACE, name), |object| {
            let observed = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            observed && matches!(object["status"]["validation"].as_str(), Some("Success" | "Failed"))
        })?;
        Ok(object["status"].take())
    }

    pub(crate) fn wait_valid(&self, resource: &str, name: &str) -> Result<()> {
        let status = self.validation(resource, name)?;
        ensure!(status["validation"] == "Success", "{resource}/{name} is not valid: {status}");
        Ok(())
    }

    /// Puts the Secret `k10-dr-secret` in place, with these fields and no others.
    pub(crate) fn passphrase(&self, fields: &[(&str, &str)]) -> Result<()> {
        self.delete(&["secret", "k10-dr-secret", "-n", NAMESPACE])?;
        let fields: serde_json::Map<_, _> =
            fields.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "k10-dr-secret", "namespace": NAMESPACE }, "stringData": fields,
        }))
    }

    /// An action that has ended, whichever way.
    pub(crate) fn ended(&self, resource: &str, namespace: &str, name: &str) -> Result<Value> {
        self.until_object(&format!("{resource}/{name} ends"), (resource, namespace, name), |object| {
            let ends = ["Complete", "Failed", "Skipped", "Cancelled", "success", "failed"];
            ends.contains(&object["status"]["state"].as_str().unwrap_or_default())
        })
    }

    /// An action that has ended well.
    pub(crate) fn complete(&self, resource: &str, namespace: &str, name: &str) -> Result<Value> {
        let action = self.ended(resource, namespace, name)?;
        let state = &action["status"]["state"];
        ensure!(state == "Complete" || state == "success", "{resource}/{name} ended: {}", action["status"]);
        Ok(action)
    }

    /// What `keelson dr status` says.
    pub(crate) fn status(&self) -> Result<Value> {
        let said = self.keelson(&["dr", "status", "--output", "json"])?;
        ensure!(said.code == 0, "dr status ended with {}: {}", said.code, said.stderr);
        serde_json::from_str(&said.stdout).context("read the status")
    }

    /// Waits until `kubectl describe` of an object would show an event for this reason.
    pub(crate) fn wait_event(&self, about: &Value, reason: &str) -> Result<()> {
        let metadata = &about["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        let uid = metadata["uid"].as_str().context("no uid")?;
        let selector = format!("reason={reason},involvedObject.uid={uid}");
        let path = format!("/api/v1/namespaces/{namespace}/events?fieldSelector={selector}");
        self.until(&format!("event {reason}"), || {
            let events = self.look(&path)?;
            let found =
                events.is_some_and(|events| events["items"].as_array().is_some_and(|it| !it.is_empty()));
            Ok(found.then_some(()))
        })
    }

    pub(crate) fn dr_policy(&self) -> Result<Value> {
        let policy = self.get(&["policy", "k10-disaster-recovery-policy", "-n", NAMESPACE])?;
        policy.context("there is no DR policy")
    }

    pub(crate) fn revision(&self) -> Result<String> {
        let path = format!("/apis/{APPS}/restorepointcontents?limit=1");
        let list = self.until("the API is served", || self.look(&path))?;
        Ok(list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned())
    }

    /// The state once nothing changes any more and the status has caught up with it.
    pub(crate) fn state(&self) -> Result<State> {
        let mut seen = (String::new(), Instant::now(), 0);
        self.until("the catalog is quiet", || {
            let revision = self.revision()?;
            if revision != seen.0 {
                seen = (revision, Instant::now(), 0);
                return Ok(None);
            }
            seen.2 += 1;
            if seen.1.elapsed() < QUIET || seen.2 < QUIET_LOOKS {
                return Ok(None);
            }
            let status = self.status()?;
            let catalog = &status["catalog"];
            let (generation, sequence) = (catalog["generation"].as_u64(), catalog["sequence"].as_u64());
            let told = revision_of(generation.unwrap_or(0), sequence.unwrap_or(0));
            Ok((told == seen.0).then(|| State { digests: catalog["digests"].clone(), revision }))
        })
    }
}

/// What was answered. None: nobody did, or somebody who said that another is away.
fn answered<T>(said: kube::Result<T>) -> Result<Option<T>> {
    match said {
        Ok(answer) => Ok(Some(answer)),
        Err(kube::Error::Api(status)) if status.code == 503 => Ok(None),
        Err(kube::Error::Service(_) | kube::Error::HyperError(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_available(service: &Value) -> bool {
    let conditions = service["status"]["conditions"].as_array();
    let is_available = |it: &Value| it["type"] == "Available" && it["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(is_available))
}

/// Runs `kubectl` against a cluster, as its administrator, whatever comes of it.
pub(crate) fn kubectl(plane: &ControlPlane, words: &[&str], input: &str) -> Result<Answer> {
    let mut command = plane.kubectl();
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start kubectl")?;
    child.stdin.take().context("kubectl has no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output().context("wait for kubectl")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().context("kubectl was killed")?;
    Ok(Answer { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// As the API writes it: the generation above 40 bits of sequence.
fn revision_of(generation: u64, sequence: u64) -> String {
    ((generation << 40) | sequence).to_string()
}

pub(crate) fn profile(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": CONFIG, "kind": "Profile",
        "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
    })
}

/// Asserts how a command ended and that it said each of `words`.
#[track_caller]
pub(crate) fn assert_said(said: &Answer, code: i32, words: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "'{word}' is not in: {}", said.stderr);
    }
}
