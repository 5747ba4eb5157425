//! A cluster as we reach it: connecting, its id, its namespaces.

mod discovery;
mod labelled;
mod objects;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keelson_model::{Classified, ClusterId, ErrorClass, ParseIdError};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::task::TaskTracker;

pub(crate) use discovery::{Freshness, ServedKind, ServedKinds, Unanswered};
pub(crate) use objects::{PAGE_OBJECTS, named, reference};

use crate::kinds::Kind;
use crate::names::NamespaceName;
use crate::request::{Call, RequestError, Verb, Wire};

/// The name under which we own fields.
pub(crate) const FIELD_MANAGER: &str = "keelson";
/// How the names begin under which restores own the fields of objects they have not finished.
pub(crate) const RESTORE_MARK: &str = "keelson-restore";

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterAccess {
    /// With the account of the pod that we run in.
    InCluster,
    /// A file, or a list of them as in `KUBECONFIG`.
    Kubeconfig(PathBuf),
    /// The kubeconfig in the usual place or, where there is none, the pod's account.
    Usual,
}

/// A connection to one cluster's API server.
#[derive(Clone)]
pub struct Cluster {
    wire: Wire,
    /// Steps that end well or not at all, whoever started them.
    steps: TaskTracker,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

/// Why a cluster cannot be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("read kubeconfig '{}': {why}", path.display())]
    ReadKubeconfig { path: PathBuf, why: String },
    #[error("there is no kubeconfig, and this is not a pod with an account of its own")]
    NoneFound,
    #[error("read the service account of this pod")]
    ReadServiceAccount { source: Box<kube::config::InClusterError> },
    #[error("set up the connection to the cluster")]
    SetUp { source: Box<kube::Error> },
    #[error("read the cluster's id")]
    ReadClusterId { source: RequestError },
    #[error("the uid of namespace 'default' is no cluster id")]
    ParseClusterId { source: ParseIdError },
}

impl Classified for ConnectError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ReadKubeconfig { .. }
            | Self::NoneFound
            | Self::ReadServiceAccount { .. }
            | Self::SetUp { .. } => ErrorClass::Invalid,
            Self::ReadClusterId { source } => source.class(),
            Self::ParseClusterId { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ReadKubeconfig { .. } => "workload.connect.read_kubeconfig",
            Self::NoneFound => "workload.connect.none_found",
            Self::ReadServiceAccount { .. } => "workload.connect.read_service_account",
            Self::SetUp { .. } => "workload.connect.set_up",
            Self::ReadClusterId { .. } => "workload.connect.read_cluster_id",
            Self::ParseClusterId { .. } => "workload.connect.parse_cluster_id",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::ReadKubeconfig { .. } | Self::NoneFound | Self::ReadServiceAccount { .. } => {
                Some("name the file by --kubeconfig or KUBECONFIG".to_owned())
            }
            Self::ReadClusterId { source } => source.hint(),
            Self::SetUp { .. } | Self::ParseClusterId { .. } => None,
        }
    }
}

/// One file, or several as `KUBECONFIG` names them; like `kubectl`, of several those that are there.
fn read_kubeconfig(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let files: Vec<PathBuf> =
        std::env::split_paths(path).filter(|file| !file.as_os_str().is_empty()).collect();
    let [_, _, ..] = files.as_slice() else { return Kubeconfig::read_from(path) };
    let mut there = files.iter().filter(|file| file.exists()).map(Kubeconfig::read_from);
    let first = there.next().unwrap_or_else(|| Kubeconfig::read_from(&files[0]))?;
    there.try_fold(first, |merged, next| merged.merge(next?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespacePhase {
    Active,
    Terminating,
}

/// A namespace as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceState {
    pub name: String,
    pub uid: String,
    pub phase: NamespacePhase,
    pub labels: BTreeMap<String, String>,
    /// When its deletion began.
    pub terminating_since: Option<String>,
    /// What still keeps it from going, in the cluster's words.
    pub remaining: Vec<String>,
}

impl Cluster {
    pub async fn connect(access: &ClusterAccess) -> Result<Self, ConnectError> {
        let mut config = match access {
            ClusterAccess::InCluster => kube::Config::incluster()
                .map_err(|source| ConnectError::ReadServiceAccount { source: Box::new(source) })?,
            ClusterAccess::Kubeconfig(path) => {
                let read = async {
                    let kubeconfig = read_kubeconfig(path)?;
                    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
                };
                read.await.map_err(|error| ConnectError::ReadKubeconfig {
                    path: path.clone(),
                    why: match error {
                        // The others say all in one text.
                        KubeconfigError::ReadConfig(cause, _) => cause.to_string(),
                        error => error.to_string(),
                    },
                })?
            }
            ClusterAccess::Usual => kube::Config::infer().await.map_err(|_| ConnectError::NoneFound)?,
        };
        // Our requests know what may be sent again and obey the server's own pace.
        config.default_retry = false;
        let client = kube::Client::try_from(config)
            .map_err(|source| ConnectError::SetUp { source: Box::new(source) })?;
        Ok(Self::from_client(client))
    }

    pub fn from_client(client: kube::Client) -> Self {
        let steps = TaskTracker::new();
        // Closed, it takes steps as before, and can be waited for.
        steps.close();
        Self { wire: Wire { client }, steps }
    }

    /// For what needs one of its own; requests that share it know themselves what may be sent again.
    pub fn client(&self) -> kube::Client {
        self.wire.client.clone()
    }

    pub(crate) fn steps(&self) -> &TaskTracker {
        &self.steps
    }

    /// Waits for the steps that whoever started them no longer waits for. Each is bounded in time; the process
    /// must not end before them.
    pub async fn finish_steps(&self) {
        self.steps.wait().await;
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The UID of the namespace `default`.
    pub async fn cluster_id(&self) -> Result<ClusterId, ConnectError> {
        let namespace = self
            .read_object(&namespace_kind(), None, "default")
            .await
            .map_err(|source| ConnectError::ReadClusterId { source })?
            .unwrap_or_default();
        let uid = namespace["metadata"]["uid"].as_str().unwrap_or_default();
        uid.parse().map_err(|source| ConnectError::ParseClusterId { source })
    }

    /// The version of the API server, as it tells it: `v1.33.1`.
    pub async fn version(&self) -> Result<String, RequestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        let target = "the version of the API server";
        let call = Call::new(Verb::Read, &target, "/version".to_owned());
        self.wire().send_json::<Version>(&call).await.map(|version| version.git_version)
    }

    pub async fn namespace_state(
        &self,
        name: &NamespaceName,
    ) -> Result<Option<NamespaceState>, RequestError> {
        let namespace = self.read_object(&namespace_kind(), None, name.as_str()).await?;
        Ok(namespace.as_ref().map(parse_namespace))
    }

    pub async fn namespaces(&self) -> Result<Vec<NamespaceState>, RequestError> {
        let list = self.list_objects(&namespace_kind(), None, None).await?;
        Ok(list.iter().map(parse_namespace).collect())
    }
}

pub(crate) fn namespace_kind() -> Kind {
    Kind::cluster("v1", "Namespace", "namespaces")
}

fn parse_namespace(object: &Value) -> NamespaceState {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let terminating_since = metadata["deletionTimestamp"].as_str().map(str::to_owned);
    let terminating = terminating_since.is_some() || object["status"]["phase"] == "Terminating";
    NamespaceState {
        name: text(&metadata["name"]),
        uid: text(&metadata["uid"]),
        phase: if terminating { NamespacePhase::Terminating } else { NamespacePhase::Active },
        labels: string_map(&metadata["labels"]),
        terminating_since,
        remaining: remaining(object),
    }
}

/// The namespace controller tells in conditions which objects and finalizers it waits for.
fn remaining(namespace: &Value) -> Vec<String> {
    let conditions = namespace["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let telling = |condition: &&Value| {
        condition["status"] == "True"
            && condition["type"].as_str().is_some_and(|name| name.starts_with("Namespace"))
    };
    conditions
        .iter()
        .filter(telling)
        .filter_map(|condition| condition["message"].as_str().map(str::to_owned))
        .collect()
}

pub(crate) fn string_map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// A namespace as a server shows it, for `fuzz`.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_namespace(object: &Value) {
    let state = parse_namespace(object);
    assert!(state.terminating_since.is_none() || state.phase == NamespacePhase::Terminating);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_terminating_namespace_tells_what_it_waits_for() {
        let state = parse_namespace(&json!({
            "metadata": {"name": "shop", "uid": "u", "deletionTimestamp": "2026-02-03T04:05:06Z"},
            "status": {"phase": "Terminating", "conditions": [
                {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all fine"},
                {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "example.com/hold in 1 instances"}]}
        }));
        assert_eq!(state.phase, NamespacePhase::Terminating);
        assert_eq!(state.remaining, ["example.com/hold in 1 instances"]);
    }
}
