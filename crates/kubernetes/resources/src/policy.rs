//! `Policy`: what is protected, when, and how long it is kept. A custom resource.

mod actions;
mod parse;
mod preset;
mod rules;
mod timing;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use actions::{
    BackupParameters, ExportParameters, ImportParameters, PolicyAction, PolicyActionKind, ReportParameters,
};
pub use parse::{DrPolicy, ParsedExport, ParsedImport, ParsedPolicy, ParsedReport, ParsedRestore, parse};
pub use preset::{is_judged, preset_of, resolve};
pub(crate) use rules::TIMING;
pub use timing::{BackupWindow, FrequencyName, Retention, SubFrequency, TimeOfDay};

use crate::condition::Condition;
use crate::parts::{ObjectReference, Time};

/// What is protected, when, and how long it is kept.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "config.kio.kasten.io",
    version = "v1alpha1",
    kind = "Policy",
    plural = "policies",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    category = "k10",
    doc = "Policy says what is protected, when, and how long it is kept.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("!has(self.spec.kdrSnapshotConfiguration) || self.metadata.name == 'k10-disaster-recovery-policy'")
        .message("spec.kdrSnapshotConfiguration is for the policy k10-disaster-recovery-policy only"),
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("metadata.name must be no more than 63 characters: what the policy makes bears it as a label")
)]
#[schemars(extend("x-kubernetes-validations" = rules::POLICY_SPEC))]
#[serde(rename_all = "camelCase")]
pub struct PolicySpec {
    /// A note for people.
    #[schemars(length(max = 4096))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who made the policy.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who changed it last.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_by: Option<String>,
    /// Bookkeeping of the dashboard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modify_hash: Option<i64>,
    /// How often the policy runs. Required without presetRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<FrequencyName>,
    /// Narrows the frequency. Times are UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_frequency: Option<SubFrequency>,
    /// The hours of the day in which runs may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_window: Option<BackupWindow>,
    /// Lets the platform choose the moment inside the backup window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_staggering: Option<bool>,
    /// Stops scheduled runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// How many restore points of each tier are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Which applications are protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// What a run does, in order.
    #[schemars(length(min = 1, max = 8))]
    pub actions: Vec<PolicyAction>,
    /// A preset that gives frequency, retention and profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset_ref: Option<ObjectReference>,
    /// How the platform's own catalog is protected; for the policy k10-disaster-recovery-policy only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kdr_snapshot_configuration: Option<KdrSnapshotConfiguration>,
}

/// Which applications are protected: by expressions, or by labels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Conditions on namespaces or labels.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<MatchExpression>,
    /// Labels, all of which a resource of the application must carry.
    #[schemars(extend("maxProperties" = 50))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

impl Selector {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { match_expressions, match_labels } = self;
        match_expressions.is_empty() && match_labels.is_empty()
    }
}

/// One condition of a selector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MatchExpression {
    /// A label, or k10.kasten.io/appNamespace, or k10.kasten.io/virtualMachineRef.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the values are compared.
    pub operator: MatchOperator,
    /// The values; for namespaces with wildcards.
    #[schemars(length(max = 1000), inner(length(max = 317)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MatchOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// How the platform's own catalog is protected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KdrSnapshotConfiguration {
    /// Asks for a local snapshot of the catalog with each run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_local_catalog_snapshot: Option<bool>,
    /// Asks for the snapshot to be exported too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export_catalog_snapshot: Option<bool>,
}

/// What validating the policy found. Only a policy with Success runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// Success, Failed or Pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Vec<String>>,
    /// The hash of the spec that was validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<i64>,
    /// When the spec was last seen to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_modified_time: Option<Time>,
    /// The generation that was validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Of the policy that protects the platform: the version of the Secret k10-dr-secret that was validated with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_passphrase: Option<String>,
    /// The same and more for tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
