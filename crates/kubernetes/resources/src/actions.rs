//! The kinds of `actions.kio.kasten.io`: what was asked for, and how far it is.

pub mod backup;
pub mod backup_cluster;
pub mod batch_restore;
pub mod cancel;
pub mod export;
pub mod import;
pub mod report;
pub mod restore;
pub mod restore_cluster;
pub mod retire;
pub mod run;
pub mod upgrade;
pub mod validate;

use keelson_model::action::ActionState;
use keelson_model::names::group;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::apps::{cluster_restore_point, restore_point};
use crate::check::Checker;
use crate::kind::Reference;
use crate::parts::{Requester, Time};

/// What every action reports. Some kinds have more to tell in their details than phases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionStatus<Details = ActionDetails> {
    /// Where the action stands.
    #[schemars(schema_with = "action_states")]
    pub state: ActionState,
    /// How much is done, in per cent.
    #[schemars(range(max = 100))]
    #[serde(default)]
    pub progress: u8,
    /// When the first attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the action ended; null while it runs.
    #[serde(default)]
    pub end_time: Option<Time>,
    /// Why the action failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ActionError>,
    /// What went wrong without failing the action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<ActionException>,
    /// Who asked for the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Requester>,
    /// The phases of the action; only in the sub-resource details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_details: Option<Details>,
}

impl ActionStatus {
    /// An action that waits for its turn.
    pub fn pending() -> Self {
        Self {
            state: ActionState::Pending,
            progress: 0,
            start_time: None,
            end_time: None,
            error: None,
            exceptions: Vec::new(),
            requester: None,
            action_details: None,
        }
    }
}

fn action_states(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ActionState::ALL.map(ActionState::as_str) })
}

/// Why an action failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ActionError {
    /// What failed.
    pub message: String,
    /// The reasons, innermost first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// What sort of failure it was, for programs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
}

/// Something that went wrong without failing the action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ActionException {
    /// What went wrong.
    pub message: String,
}

/// What an action did, phase by phase.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ActionDetails {
    /// The phases in order.
    #[serde(default)]
    pub phases: Vec<Phase>,
}

/// One phase of an action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Name for people.
    pub name: String,
    /// Where the phase stands.
    pub state: String,
    /// Which attempt it belongs to, counted from 1.
    #[serde(default)]
    pub attempt: u32,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// When it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_time: Option<Time>,
    /// What went wrong in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ActionError>,
    /// What was done to volumes in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_operations: Vec<VolumeOperation>,
}

/// One transfer of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeOperation {
    /// Namespace of the claim.
    pub namespace: String,
    /// Name of the claim.
    pub pvc_name: String,
    /// Upload or Download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Filesystem or Block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_format: Option<String>,
    /// The driver of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The storage class of the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// CSI or another interface to the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_type: Option<String>,
    /// The snapshot at the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// The class of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class: Option<String>,
    /// How the volume is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export_directive: Option<String>,
}

/// Namespace and name of `spec.subject`. The namespace defaults to the object's own.
fn subject_of(object: &Value) -> (String, String) {
    let text =
        |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let namespace = text("/spec/subject/namespace").unwrap_or_else(|| namespace_of(object));
    (namespace.to_owned(), text("/spec/subject/name").unwrap_or_default().to_owned())
}

/// The right to read the restore point that `spec.subject` names, of an application or of the cluster scope.
fn read_point(object: &Value) -> Reference {
    let (namespace, name) = subject_of(object);
    if is_of_cluster_scope(object) {
        return cluster_restore_point::read(&name);
    }
    Reference::read(group::APPS, restore_point::KIND.plural, &namespace, &name)
}

fn is_of_cluster_scope(object: &Value) -> bool {
    let kind = object.pointer("/spec/subject/kind").and_then(Value::as_str);
    kind == Some(cluster_restore_point::KIND.kind)
}

/// What is of the cluster scope lies in no namespace.
fn forbid_subject_namespace(checker: &mut Checker<'_>) {
    checker.forbidden("spec.subject.namespace", "a ClusterRestorePoint lives in no namespace");
}

fn namespace_of(object: &Value) -> &str {
    object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default()
}

/// Profiles live in the install namespace, whatever a reference says; the check refuses any other.
fn profile_at(object: &Value, pointer: &str, install_namespace: &str) -> Option<Reference> {
    let name = object.pointer(pointer)?.get("name")?.as_str()?;
    Some(Reference::read(group::CONFIG, "profiles", install_namespace, name))
}

/// Sets are looked for in this namespace where nothing else is said.
fn transform_sets(object: &Value, own_namespace: &str) -> Vec<Reference> {
    let transforms = object.pointer("/spec/transforms").and_then(Value::as_array);
    let sets = transforms.into_iter().flatten().filter_map(|transform| transform.get("transformSetRef"));
    let reference = |set: &Value| {
        let namespace = set.get("namespace").and_then(Value::as_str).unwrap_or(own_namespace);
        let name = set.get("name").and_then(Value::as_str)?;
        Some(Reference::read(group::CONFIG, "transformsets", namespace, name))
    };
    sets.filter_map(reference).collect()
}

/// A client must not pass a manual run off as a scheduled one, which retention would remove.
fn forbid_scheduled_time(checker: &mut Checker<'_>) {
    checker.forbidden("spec.scheduledTime", "is set by the scheduler");
}
