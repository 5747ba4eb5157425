//! `ValidateAction`: reads what a restore point holds, and says what of it could not be restored.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionDetails, ActionException, ActionStatus};
use crate::check::{Checker, FieldError};
use crate::kind::{AGE, ALL_VERBS, CATEGORIES, NAME, PROGRESS, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope};
use crate::parts::{Filters, Subject};
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "ValidateAction",
    plural: "validateactions",
    singular: "validateaction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[NAME, AGE, STATE.wide(), PROGRESS.wide()],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || {
        object_schema::<ValidateActionSpec, ValidateActionStatus>(
            "ValidateAction reads what a restore point holds, and says what of it could not be restored.",
        )
    },
    references,
    check,
};

/// What is validated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidateActionSpec {
    /// The restore point, which is the default, or the restore point content or cluster restore point, which live in no
    /// namespace.
    pub subject: Subject,
    /// How much is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_data_check_options: Option<VolumeDataCheckOptions>,
    /// Narrows what is validated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Filters>,
}

/// How much is read. Objects of the cluster are always read to the last byte.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeDataCheckOptions {
    /// The share of the files of volumes whose content is read, in per cent; with 0 only what describes them is.
    #[schemars(range(max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_files_percent: Option<u8>,
    /// Ends with the first damage instead of looking for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_fast: Option<bool>,
}

/// How far the validation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidateActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus<ValidateDetails>,
}

/// What was read, and what is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ValidateDetails {
    #[serde(flatten)]
    pub phases: ActionDetails,
    /// Damages that were found.
    pub error_count: u64,
    /// The data of volumes, volume by volume.
    pub volume_data_check_result: Vec<DataCheckResult>,
    /// The objects of the cluster, stream by stream: they are stored in the order in which they are restored.
    pub object_data_check_result: Vec<DataCheckResult>,
}

/// What was read of one volume or of one stream of objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataCheckResult {
    /// The application.
    pub app_name: String,
    /// The volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// The stream of objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Damages in it.
    pub err_count: u64,
    /// What they are.
    pub errors: Vec<ActionException>,
    /// How much was read.
    pub stats: DataCheckStats,
}

/// How much was read, and how much there is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataCheckStats {
    /// Objects that were looked at.
    pub processed_object_count: u64,
    /// Bytes of them.
    pub processed_bytes: u64,
    /// Files whose content was read.
    pub read_file_count: u64,
    /// Bytes that were read and compared.
    pub read_bytes: u64,
    /// Objects that there are, as far as that is known.
    pub total_object_count: u64,
    /// Files that there are.
    pub total_file_count: u64,
    /// Bytes that there are.
    pub total_bytes: u64,
}

fn is_content(object: &Value) -> bool {
    object.pointer("/spec/subject/kind").and_then(Value::as_str) == Some("RestorePointContent")
}

fn references(object: &Value, _install_namespace: &str) -> Vec<Reference> {
    if is_content(object) {
        let (_, name) = super::subject_of(object);
        return vec![Reference {
            namespace: None,
            ..Reference::read(group::APPS, "restorepointcontents", "", &name)
        }];
    }
    vec![super::read_point(object)]
}

fn check(object: &Value, _install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.subject("spec.subject", &["RestorePoint", "RestorePointContent", "ClusterRestorePoint"]);
    if super::is_of_cluster_scope(object) {
        super::forbid_subject_namespace(&mut checker);
    }
    checker.not_supported_yet("spec.filters", "a restore point is validated as a whole");
    checker.finish()
}
