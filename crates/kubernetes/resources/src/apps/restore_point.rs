//! `RestorePoint`: a moment of an application that its users can go back to.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ArtifactDetails, BindingState, binding_states};
use crate::check::{Checker, FieldError};
use crate::kind::{AGE, ALL_VERBS, CATEGORIES, NAME, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope, Verb};
use crate::parts::{LocalReference, Time};
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::APPS,
    version: group::VERSION,
    kind: "RestorePoint",
    plural: "restorepoints",
    singular: "restorepoint",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[NAME, AGE, STATE.wide()],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || {
        object_schema::<RestorePointSpec, RestorePointStatus>(
            "RestorePoint is a moment of an application that its users can go back to. Deleting it frees \
             nothing; deleting its RestorePointContent does.",
        )
    },
    references,
    check,
};

/// What the restore point stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePointSpec {
    /// The content, which must not be bound to another restore point.
    pub restore_point_content_ref: LocalReference,
}

/// What is known of the restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePointStatus {
    /// Whether the content is there.
    #[schemars(schema_with = "binding_states")]
    pub state: BindingState,
    /// Bytes captured.
    #[serde(default)]
    pub logical_size_bytes: u64,
    /// Bytes stored for it alone.
    #[serde(default)]
    pub physical_size_bytes: u64,
    /// The time of the schedule that asked for it; null if a person did.
    #[serde(default)]
    pub scheduled_time: Option<Time>,
    /// When the application was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_time: Option<Time>,
    /// The state that a virtual machine was captured in; absent, since none is captured as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_info: Option<MachineInfo>,
    /// What it is made of; only in the sub-resource details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point_details: Option<ArtifactDetails>,
}

/// The state that a virtual machine was captured in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineInfo {
    /// Whether the machine was running.
    pub status: String,
    /// What the snapshot can be trusted for.
    pub snapshot_consistency: String,
}

fn references(object: &Value, _install_namespace: &str) -> Vec<Reference> {
    let name = object.pointer("/spec/restorePointContentRef/name").and_then(Value::as_str);
    vec![Reference {
        verb: Verb::Get,
        group: group::APPS,
        resource: super::restore_point_content::KIND.plural,
        namespace: None,
        name: Some(name.unwrap_or_default().to_owned()),
    }]
}

fn check(object: &Value, _install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.required_text("spec.restorePointContentRef.name");
    checker.finish()
}
