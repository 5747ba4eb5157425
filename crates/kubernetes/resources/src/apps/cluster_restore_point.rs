//! `ClusterRestorePoint`: a moment of the cluster scope that can be gone back to. Made by the platform only.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ArtifactDetails;
use crate::kind::{ALL_BUT_CREATE, CATEGORIES, CREATED_AT, NAME};
use crate::kind::{KindInfo, Reference, ResourceScope, Verb, no_references, no_rules};
use crate::parts::{LocalReference, Time};
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::APPS,
    version: group::VERSION,
    kind: "ClusterRestorePoint",
    plural: "clusterrestorepoints",
    singular: "clusterrestorepoint",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Cluster,
    verbs: ALL_BUT_CREATE,
    columns: &[NAME, CREATED_AT],
    field_selectors: &["metadata.name"],
    details: true,
    schema: || {
        object_schema::<ClusterRestorePointSpec, ClusterRestorePointStatus>(
            "ClusterRestorePoint is a moment of the cluster-scoped resources that can be gone back to. Deleting it is \
             permanent: its content goes with it and its storage is freed.",
        )
    },
    references: no_references,
    check: no_rules,
};

/// What the restore point stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRestorePointSpec {
    /// The content, which is bound to it for as long as it lives.
    pub restore_point_content_ref: LocalReference,
}

/// What is known of the restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRestorePointStatus {
    /// The time of the schedule that asked for it; null if a person did.
    #[serde(default)]
    pub scheduled_time: Option<Time>,
    /// When the cluster scope was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_time: Option<Time>,
    /// What it is made of; only in the sub-resource details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_restore_point_details: Option<ArtifactDetails>,
}

/// The right to read one of them.
pub(crate) fn read(name: &str) -> Reference {
    Reference { namespace: None, ..Reference::read(group::APPS, KIND.plural, "", name) }
}

/// The right to learn which there are.
pub(crate) fn list() -> Reference {
    Reference { verb: Verb::List, name: None, ..read("") }
}
