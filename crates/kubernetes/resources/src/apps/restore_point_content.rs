//! `RestorePointContent`: what a restore point stands for; outlives the namespace of its application.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ArtifactDetails, BindingState, binding_states};
use crate::kind::{AGE, ALL_BUT_CREATE, CATEGORIES, NAME, STATE};
use crate::kind::{KindInfo, ResourceScope, no_references, no_rules};
use crate::parts::{ObjectReference, Time};
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::APPS,
    version: group::VERSION,
    kind: "RestorePointContent",
    plural: "restorepointcontents",
    singular: "restorepointcontent",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Cluster,
    verbs: ALL_BUT_CREATE,
    columns: &[NAME, AGE, STATE.wide()],
    field_selectors: &["metadata.name", "status.state"],
    details: true,
    schema: || {
        object_schema::<RestorePointContentSpec, RestorePointContentStatus>(
            "RestorePointContent is what a restore point stands for. Deleting it is permanent: its restore \
             point goes and its storage is freed.",
        )
    },
    references: no_references,
    check: no_rules,
};

/// A content is described by its labels and status.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RestorePointContentSpec {}

/// What is known of the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePointContentStatus {
    /// Whether a restore point stands for it.
    #[schemars(schema_with = "binding_states")]
    pub state: BindingState,
    /// The restore point that stands for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point_ref: Option<ObjectReference>,
    /// The time of the schedule that asked for it; null if a person did.
    #[serde(default)]
    pub scheduled_time: Option<Time>,
    /// When the application was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_time: Option<Time>,
    /// When it is retired whatever the retention says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// What it is made of; only in the sub-resource details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point_content_details: Option<ArtifactDetails>,
}
