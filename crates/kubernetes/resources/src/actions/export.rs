//! `ExportAction`: copies a restore point to a location.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionDetails, ActionStatus, forbid_scheduled_time};
use crate::check::{Checker, FieldError};
use crate::kind::{AGE, ALL_VERBS, CATEGORIES, NAME, PROGRESS, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope};
use crate::parts::{Hooks, ObjectReference, ReceiveString, Subject, Time};
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "ExportAction",
    plural: "exportactions",
    singular: "exportaction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[NAME, AGE, STATE.wide(), PROGRESS.wide()],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || {
        object_schema::<ExportActionSpec, ExportActionStatus>(
            "ExportAction copies a restore point to a location.",
        )
    },
    references,
    check,
};

/// What is exported, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportActionSpec {
    /// The restore point.
    pub subject: Subject,
    /// The profile of the location; its namespace is the install namespace.
    pub profile: ObjectReference,
    /// The profile for volume data that is exported in block mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_mode_profile: Option<ObjectReference>,
    /// How volume data is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export_data: Option<ExportData>,
    /// When the exported restore point is retired. Without it, it stays until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The time of the schedule that asked for the export; set by the scheduler only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<Time>,
    /// Blueprint actions around the export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// What an import needs: the details of the action show it, and nothing else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_string: Option<String>,
}

/// How volume data is exported.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportData {
    /// Whether volume data is copied, so that the restore point can be restored on any cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The storage class of volumes that are made for the export.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter_storage_class_name: Option<String>,
    /// Other settings for some storage classes.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<ExportDataOverride>,
}

/// Settings for one storage class.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportDataOverride {
    /// The storage class of the claims.
    #[schemars(length(max = 253))]
    pub storage_class_name: String,
    /// Whether their data is copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The storage class of volumes that are made for the export.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter_storage_class_name: Option<String>,
}

/// How far the export is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus<ExportDetails>,
    /// The restore point that was made beside the exported one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point: Option<ObjectReference>,
    /// What was read and written so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_details: Option<ExportProgress>,
}

/// What the details of an export tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportDetails {
    #[serde(flatten)]
    pub phases: ActionDetails,
    /// What another installation needs to import what the policy exports of this application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_string: Option<ReceiveString>,
}

/// What an export read and wrote so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportProgress {
    /// Bytes to export.
    pub total_bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes read or known to be stored already.
    pub processed_bytes: u64,
    /// Bytes written to the location.
    pub transferred_bytes: u64,
    /// Bytes processed a second.
    pub processing_rate: u64,
    /// Volumes to export.
    pub total_volumes: u32,
    /// Volumes exported.
    pub completed_volumes: u32,
    /// When this was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_time: Option<Time>,
}

fn references(object: &Value, install_namespace: &str) -> Vec<Reference> {
    let mut references = vec![super::read_point(object)];
    references.extend(super::profile_at(object, "/spec/profile", install_namespace));
    references.extend(super::profile_at(object, "/spec/blockModeProfile", install_namespace));
    references
}

fn check(object: &Value, install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.in_namespace(install_namespace, "an export on demand is made in the install namespace");
    checker.subject("spec.subject", &["RestorePoint", "ClusterRestorePoint"]);
    match super::is_of_cluster_scope(object) {
        true => super::forbid_subject_namespace(&mut checker),
        false => checker.required_text("spec.subject.namespace"),
    }
    checker.required_text("spec.profile.name");
    checker.profile_namespace("spec.profile.namespace", install_namespace);
    forbid_scheduled_time(&mut checker);
    checker.forbidden("spec.receiveString", "is filled in by the platform");
    checker.not_supported_yet("spec.hooks", "hooks run blueprints, which this version does not have");
    checker.not_supported_yet("spec.blockModeProfile", "this version exports no volumes in block mode");
    checker.finish()
}
