//! `Report`: how the platform stood at a moment, and what it did in the span before. A custom resource that only the
//! platform writes; what is not known here, a cloud's region or a licence, has no field.

#![expect(clippy::duplicated_attributes, reason = "two columns of one type are no mistake")]

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parts::Time;

/// The definition. What was found stands beside `spec`, as documented, and not in a status of its own.
pub(crate) fn definition() -> CustomResourceDefinition {
    let mut definition = Report::crd();
    for version in &mut definition.spec.versions {
        version.subresources = None;
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let properties = schema.and_then(|schema| schema.properties.as_mut());
        if let Some(properties) = properties
            && let Some(results) = properties.remove("status")
        {
            properties.insert("results".to_owned(), results);
        }
    }
    definition
}

/// Which span was looked at.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "reporting.kio.kasten.io",
    version = "v1alpha1",
    kind = "Report",
    plural = "reports",
    namespaced,
    status = "ReportResults",
    derive = "PartialEq",
    category = "k10",
    doc = "Report says how the platform stood at a moment, and what it did in the span before.",
    printcolumn(name = "License", type_ = "string", json_path = ".results.licensing.status"),
    printcolumn(name = "DR", type_ = "string", json_path = ".results.polices.k10DR.status"),
    printcolumn(name = "Time", type_ = "string", json_path = ".spec.reportTimestamp"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ReportSpec {
    /// When the report was made.
    pub report_timestamp: Time,
    /// Days of the span.
    pub stats_interval_days: u32,
    /// Hours of the span, added to its days.
    pub stats_interval_hours: u32,
    /// When the span begins.
    pub stats_interval_start_timestamp: Time,
    /// When the span ends.
    pub stats_interval_end_timestamp: Time,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportResults {
    /// The platform.
    pub general: GeneralResults,
    /// Licensing.
    pub licensing: LicensingResults,
    /// Actions that ended in the span.
    pub actions: ActionResults,
    /// Policies; the field is spelt so.
    pub polices: PolicyResults,
    /// Profiles.
    pub profiles: ProfileResults,
    /// Whether applications are protected as their policies say.
    pub compliance: ComplianceResults,
    /// What restore points hold.
    pub storage: StorageResults,
    /// What the platform's own data takes of its volume.
    #[serde(rename = "k10Services")]
    pub services: Vec<ServiceResult>,
}

/// The platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GeneralResults {
    /// The version of the platform.
    #[serde(rename = "k10Version")]
    pub version: String,
    /// Its install namespace.
    #[serde(rename = "k10Namespace")]
    pub namespace: String,
    /// The version of the cluster; absent where it did not say.
    #[serde(rename = "k8sVersion", default, skip_serializing_if = "Option::is_none")]
    pub cluster_version: Option<String>,
    /// The cluster: the UID of namespace default.
    #[serde(rename = "clusterId")]
    pub cluster_id: String,
}

/// Licensing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LicensingResults {
    /// NotRequired: nothing of the platform asks for a licence.
    pub status: String,
}

impl LicensingResults {
    pub fn not_required() -> Self {
        Self { status: "NotRequired".to_owned() }
    }
}

/// Actions that ended in the span.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionResults {
    /// How they ended, by what they do.
    pub count_stats: BTreeMap<String, ActionCounts>,
}

/// How actions ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ActionCounts {
    /// Those that did what was asked for.
    pub completed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that somebody wanted no more.
    pub cancelled: u64,
    /// Those that had nothing to do.
    pub skipped: u64,
}

/// Policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyResults {
    /// The protection of the platform itself.
    #[serde(rename = "k10DR")]
    pub disaster_recovery: DisasterRecoveryResult,
    /// How many policies there are.
    pub count: u64,
    /// The policies; of very many only the first by namespace and name.
    pub summaries: Vec<PolicySummary>,
}

/// The protection of the platform itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisasterRecoveryResult {
    /// Enabled or Disabled.
    pub status: String,
    /// How often its policy runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_frequency: Option<String>,
    /// The profile that it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether that keeps what was written from being changed; absent where the profile is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutability: Option<Immutability>,
}

/// Whether what is written cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Immutability {
    /// Enabled or Disabled.
    pub protection: String,
    /// For how many days.
    pub protection_days: u64,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicySummary {
    /// Name of the policy.
    pub name: String,
    /// Namespace of the policy.
    pub namespace: String,
    /// What a run does.
    pub actions: Vec<String>,
    /// How often it runs; absent where a preset says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<String>,
    /// The preset that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The profiles that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profile_names: Vec<String>,
    /// Whether it waits for nobody but people.
    pub paused: bool,
    /// Success, Failed or Pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
}

/// Profiles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProfileResults {
    /// How many profiles there are.
    pub count: u64,
    /// The profiles; of very many only the first by name.
    pub summaries: Vec<ProfileSummary>,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileSummary {
    /// Name of the profile.
    pub name: String,
    /// Namespace of the profile.
    pub namespace: String,
    /// ObjectStore, FileStore, VBR or Infra.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// The protocol of a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store_type: Option<String>,
    /// Whether what is written cannot be changed; of locations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutability: Option<Immutability>,
    /// Success, Failed or Pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
}

/// Whether applications are protected as their policies say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComplianceResults {
    /// Applications in the cluster.
    pub application_count: u64,
    /// Those that a policy selects and that each such policy has protected when it was due last.
    pub compliant_count: u64,
    /// Those that a policy selects and has not protected, or not since it was due twice.
    pub non_compliant_count: u64,
    /// Those that no policy selects that is valid and not paused.
    pub unmanaged_count: u64,
    /// Some of those that are not compliant.
    pub some_non_compliant_apps: Vec<String>,
}

/// What restore points hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageResults {
    /// Restore points on the platform's own volume.
    pub snapshot_storage: StorageUse,
    /// Restore points in buckets.
    pub object_storage: StorageUse,
    /// Restore points on shares.
    pub file_storage: StorageUse,
}

/// What restore points of one sort hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageUse {
    /// How many there are.
    pub count: u64,
    /// Bytes of what was captured.
    pub logical_bytes: u64,
    /// Bytes that were written for them: what was stored already is not written again. Absent where that is not recorded of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_bytes: Option<u64>,
}

/// A part of the platform that keeps data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceResult {
    /// catalog, snapshots, audit or index.
    pub name: String,
    /// What it takes.
    pub disk_usage: DiskUsage,
}

/// What something takes of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskUsage {
    /// Bytes that it takes.
    pub used_bytes: u64,
}
