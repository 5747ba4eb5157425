//! `ImportAction`: takes in what another installation has exported. Made by policies only.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionDetails, ActionStatus};
use crate::kind::{AGE, ALL_BUT_CREATE, CATEGORIES, NAME, PROGRESS, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope, no_rules};
use crate::parts::ObjectReference;
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "ImportAction",
    plural: "importactions",
    singular: "importaction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_BUT_CREATE,
    columns: &[NAME, AGE, STATE.wide(), PROGRESS.wide()],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || {
        object_schema::<ImportActionSpec, ImportActionStatus>(
            "ImportAction takes in what another installation has exported. It is made by policies only.",
        )
    },
    references,
    check: no_rules,
};

/// Where exports lie, and which are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportActionSpec {
    /// The profile of the location; its namespace is the install namespace.
    pub profile: ObjectReference,
    /// Whose exports are meant: the receive string of the policy, without its key.
    pub receive_string: String,
}

/// How far the import is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus<ImportDetails>,
    /// The newest of the restore point contents that the details name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point_content: Option<ObjectReference>,
}

/// What was taken in, and what went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImportDetails {
    #[serde(flatten)]
    pub phases: ActionDetails,
    /// Exports that are there.
    pub found_count: u64,
    /// Restore point contents that were made.
    pub imported_count: u64,
    /// Restore point contents that went, because their exports did.
    pub removed_count: u64,
    /// Of each application the newest restore point content that no import has named before.
    pub restore_point_contents: Vec<String>,
}

fn references(object: &Value, install_namespace: &str) -> Vec<Reference> {
    super::profile_at(object, "/spec/profile", install_namespace).into_iter().collect()
}
