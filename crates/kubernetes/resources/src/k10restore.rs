//! `K10restore`: asks the operator for a recovery of the platform, once. A custom resource whose specification and status
//! are open for the API server, as documented; what may stand in them is read and said here.

mod form;
mod install;
mod request;

#[cfg(test)]
mod tests;

use keelson_model::names::group;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::condition::Condition;
use crate::recovery::RecoveryState;

pub use install::{ACCOUNT, IMAGE, account_objects, bundle, deployment, files, render};
pub use request::{Asked, QuickMode, RecoveryRequest, TIMEOUT_MINUTES_MAX, Vault, parse};

/// The group of the operator's kinds.
pub const GROUP: &str = "apik10.kasten.io";
pub const KIND: &str = "K10restore";
pub const PLURAL: &str = "k10restores";

/// On a KastenDRRestore for which a K10restore asked: its name, beside its uid as the one who asked.
pub const ASKED_ANNOTATION: &str = "keelson.io/k10restore";
/// And the hash of its specification.
pub const HASH_ANNOTATION: &str = "keelson.io/k10restore-hash";
/// How the name of a KastenDRRestore of a K10restore begins.
pub const RECOVERY_PREFIX: &str = "k10restore-";

/// The type of the condition that says whether the platform is recovered.
pub const READY: &str = "Ready";

/// Reasons of conditions. A failure of the cluster's takes its own from the class of the error.
pub mod reason {
    pub const SUCCEEDED: &str = "Succeeded";
    pub const FAILED: &str = "Failed";
    pub const RUNNING: &str = "Running";
    /// Another recovery is at work, or was asked for before.
    pub const WAITING: &str = "Waiting";
    /// Nobody serves what a recovery is asked of.
    pub const NOT_INSTALLED: &str = "PlatformNotInstalled";
    /// A recovery that has begun took the specification as it was then.
    pub const SPEC_CHANGED: &str = "SpecChanged";
}

/// Reasons of events; how a recovery ended has those of the platform.
pub mod event {
    pub const STARTED: &str = "RecoveryStarted";
    pub const WAITS: &str = "RecoveryWaits";
    pub const REFUSED: &str = "RecoveryRefused";
    pub const SPEC_CHANGED: &str = "SpecChanged";
    pub const GOES_ON: &str = "RecoveryGoesOn";
}

/// Where a K10restore stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct K10restoreStatus {
    /// For people: Pending, Running, Succeeded or Failed.
    #[serde(default)]
    pub phase: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The recovery that was made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RecoveryReference>,
    /// What came of it, or what is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A KastenDRRestore as its K10restore tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryReference {
    pub name: String,
    pub uid: String,
    /// Of the specification that is carried out.
    #[serde(default)]
    pub spec_hash: u32,
    #[serde(default)]
    pub state: RecoveryState,
    /// What is being done, for people.
    #[serde(default)]
    pub phase: String,
    /// Of its steps those that have begun.
    #[serde(default)]
    pub percent: u8,
}

impl RecoveryReference {
    pub fn is_ended(&self) -> bool {
        is_ended(self.state)
    }
}

pub fn is_ended(state: RecoveryState) -> bool {
    match state {
        RecoveryState::Success | RecoveryState::Failed => true,
        RecoveryState::None | RecoveryState::Running => false,
    }
}

/// The definition of the custom resource.
pub fn definition() -> Value {
    let open = |description: &str| {
        json!({
            "type": "object", "description": description, "x-kubernetes-preserve-unknown-fields": true,
        })
    };
    let text = |description: &str| json!({ "type": "string", "description": description });
    let column = |name: &str, path: &str, kind: &str| json!({ "name": name, "jsonPath": path, "type": kind });
    let schema = json!({
        "type": "object",
        "description": "K10restore asks for a recovery of the platform from a location, once.",
        "properties": {
            "apiVersion": text("The versioned schema of this representation of the object."),
            "kind": text("The kind of the object."),
            "metadata": { "type": "object" },
            "spec": open("What is recovered: sourceClusterID and profileName, and perhaps pointInTime and more."),
            "status": open("Where the recovery stands."),
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{PLURAL}.{GROUP}") },
        "spec": {
            "group": GROUP,
            "names": { "kind": KIND, "listKind": "K10restoreList", "plural": PLURAL, "singular": "k10restore" },
            "scope": "Namespaced",
            "versions": [{
                "name": group::VERSION,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": schema },
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    column("Phase", ".status.phase", "string"),
                    column("Source ClusterID", ".spec.sourceClusterID", "string"),
                    column("Age", ".metadata.creationTimestamp", "date"),
                ],
            }],
        },
    })
}
