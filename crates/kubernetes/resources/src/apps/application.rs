//! `Application`: a namespace that can be protected, or one that is gone and can be brought back. Read-only.

use keelson_model::names::group;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::components::{Components, Incomplete};
use crate::kind::{AGE, CATEGORIES, NAME, READ_VERBS, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, ResourceScope, no_references, no_rules};
use crate::parts::LocalReference;
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::APPS,
    version: group::VERSION,
    kind: "Application",
    plural: "applications",
    singular: "application",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: READ_VERBS,
    columns: &[NAME, AGE, STATE.wide()],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || {
        object_schema::<ApplicationSpec, ApplicationStatus>(
            "Application is a namespace that can be protected. A deleted one appears in the install namespace \
             as long as something of it can be restored.",
        )
    },
    references: no_references,
    check: no_rules,
};

/// What the application is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ApplicationSpec {
    /// The namespace.
    pub namespace: LocalReference,
}

/// Whether the application is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationStatus {
    /// Whether the namespace exists.
    #[schemars(schema_with = "application_states")]
    pub state: ApplicationState,
    /// The parts of the application; only in the sub-resource details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_details: Option<ApplicationDetails>,
}

/// What a backup of the application would capture now, as far as names and kinds tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ApplicationDetails {
    /// The objects, by what they are for.
    pub components: Components,
    /// What is not told here, and why.
    #[schemars(length(max = 200))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Incomplete>,
}

/// Whether the namespace of an application exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ApplicationState {
    Active,
    Deleted,
}

fn application_states(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["Active", "Deleted"] })
}
