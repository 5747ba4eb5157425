//! The kinds of `apps.kio.kasten.io`: what is protected, and what there is to go back to.

pub mod application;
pub mod cluster_restore_point;
pub mod restore_point;
pub mod restore_point_content;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::open_objects;

/// Whether a restore point and its content stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BindingState {
    Bound,
    Unbound,
}

fn binding_states(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["Bound", "Unbound"] })
}

/// What a restore point is made of; only in the sub-resource details.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactDetails {
    /// What was captured, and where it lies.
    #[schemars(schema_with = "open_objects")]
    #[serde(default)]
    pub artifacts: Vec<Value>,
    /// The policies whose runs made it.
    #[schemars(schema_with = "open_objects")]
    #[serde(default)]
    pub originating_policies: Vec<Value>,
}
