//! The kinds of `dr.kio.kasten.io`: looking at what a location holds of a lost platform, and bringing it back.

pub mod restore;
pub mod review;

use keelson_model::ClusterId;
use keelson_model::names::group;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::Checker;
use crate::kind::Reference;
use crate::parts::Time;

/// Where the backups of a lost platform lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceClusterInfo {
    /// The profile of the location, in the install namespace.
    #[schemars(length(max = 253))]
    pub profile_name: String,
    /// The ID of the lost cluster: the UID of its namespace `default`.
    #[serde(rename = "sourceClusterID")]
    #[schemars(length(max = 64))]
    pub source_cluster_id: String,
    /// Takes the state of that moment instead of the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<Time>,
}

/// Where a review or a recovery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecoveryState {
    #[default]
    None,
    Running,
    Failed,
    Success,
}

fn recovery_states(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["none", "running", "failed", "success"] })
}

fn source_profile(object: &Value, install_namespace: &str) -> Option<Reference> {
    let name = object.pointer("/spec/sourceClusterInfo/profileName")?.as_str()?;
    Some(Reference::read(group::CONFIG, "profiles", install_namespace, name))
}

fn check_source(checker: &mut Checker<'_>) {
    checker.required_text("spec.sourceClusterInfo.profileName");
    checker.required_text("spec.sourceClusterInfo.sourceClusterID");
    checker.parsed("spec.sourceClusterInfo.sourceClusterID", |text| text.parse::<ClusterId>().map(drop));
}
