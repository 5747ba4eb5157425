//! What a run of a policy does, and the parameters of each action.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rules;
use super::timing::{FrequencyName, Retention};
use crate::actions::export::ExportData;
use crate::parts::{Filters, Hooks, ObjectReference, ReceiveString};
use crate::schema::open_object;

/// One action of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = rules::POLICY_ACTION))]
#[serde(rename_all = "camelCase")]
pub struct PolicyAction {
    /// What is done.
    pub action: PolicyActionKind,
    /// For action backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_parameters: Option<BackupParameters>,
    /// For action export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export_parameters: Option<ExportParameters>,
    /// For action import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_parameters: Option<ImportParameters>,
    /// For action restore.
    #[schemars(schema_with = "open_object")]
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub restore_parameters: Value,
    /// For action report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_parameters: Option<ReportParameters>,
    /// How many exported restore points of each tier are kept; as the policy says if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// What a run may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PolicyActionKind {
    Backup,
    Export,
    Import,
    Restore,
    Report,
}

impl PolicyActionKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Export => "export",
            Self::Import => "import",
            Self::Restore => "restore",
            Self::Report => "report",
        }
    }
}

/// How applications are backed up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupParameters {
    /// Narrows what is captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Filters>,
    /// The profile for blueprints and generic backup; in the policy k10-disaster-recovery-policy the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ObjectReference>,
    /// Completes a backup although some resources could not be captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_exceptions: Option<bool>,
    /// The resources of worker pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_pod_spec: Option<ObjectReference>,
    /// Blueprint actions around each backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
}

/// How restore points are exported.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportParameters {
    /// Which runs export: the policy's frequency or a coarser one; every run if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<FrequencyName>,
    /// The profile of the location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ObjectReference>,
    /// The profile for volume data that is exported in block mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_mode_profile: Option<ObjectReference>,
    /// How volume data is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export_data: Option<ExportData>,
    /// Where snapshots are copied to by exports that are not portable.
    #[schemars(schema_with = "open_object")]
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub volume_snapshots: Value,
    /// Blueprint actions around each export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// What an import needs to find the exports; filled in by the platform.
    #[schemars(length(max = 65536))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_string: Option<String>,
    /// The Secret that receiveString is derived from; filled in by the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration_token: Option<ObjectReference>,
}

/// Where restore points are imported from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportParameters {
    /// The profile of the location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ObjectReference>,
    /// As the details of the exporting run, or of one of its exports, show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_string: Option<ReceiveString>,
}

/// Which span a report covers. The sum must not be zero.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = rules::REPORT_PARAMETERS))]
#[serde(rename_all = "camelCase")]
pub struct ReportParameters {
    /// Days.
    #[schemars(range(min = 0, max = 3660))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats_interval_days: Option<i32>,
    /// Hours.
    #[schemars(range(min = 0, max = 87840))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats_interval_hours: Option<i32>,
}
