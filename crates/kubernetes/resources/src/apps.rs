//! The kinds of `apps.kio.kasten.io`: what is protected, and what there is to go back to.

pub mod application;
pub mod cluster_restore_point;
pub mod components;
pub mod restore_point;
pub mod restore_point_content;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::components::{Components, Incomplete};
use crate::parts::{LocalReference, Time};
use crate::schema::open_object;

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
#[serde(rename_all = "camelCase", default)]
pub struct ArtifactDetails {
    /// What was stored, and where it lies.
    #[schemars(length(max = 10))]
    pub artifacts: Vec<ArtifactInfo>,
    /// The policies whose runs made it.
    #[schemars(length(max = 10))]
    pub originating_policies: Vec<LocalReference>,
    /// The objects that were captured, by what they are for.
    pub components: Components,
    /// How many objects of each kind were captured, all that are not listed included.
    pub object_counts: BTreeMap<String, u64>,
    /// What is not told here, and why.
    #[schemars(length(max = 200))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Incomplete>,
}

/// Where what was captured lies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactInfo {
    /// The repository.
    pub repository: String,
    /// The outcome in it that names the data.
    pub outcome: String,
    /// Which location it was exported to; absent for what lies on the platform's own volume.
    #[schemars(schema_with = "open_object")]
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub exported: Value,
    /// Where disaster recovery keeps a copy of what lies on the platform's own volume.
    #[schemars(schema_with = "open_object")]
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub copy: Value,
    /// Objects captured.
    pub objects: u64,
    /// Bytes captured.
    pub bytes: u64,
    /// Bytes that were written for it; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// When all of it was stored; absent where the repository is out of reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_end_time: Option<Time>,
}
