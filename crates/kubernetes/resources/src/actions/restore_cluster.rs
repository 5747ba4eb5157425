//! `RestoreClusterAction`: puts back what is missing of the cluster scope, from a cluster restore point.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ActionStatus;
use super::restore::{RestoreDetails, refuse_transforms};
use crate::apps::cluster_restore_point;
use crate::check::{Checker, FieldError};
use crate::kind::{ALL_VERBS, CATEGORIES, CREATED_AT, NAME, PROGRESS, STATE};
use crate::kind::{KindInfo, Reference, ResourceScope};
use crate::parts::{ClusterFilters, Subject};
use crate::schema::{object_schema, open_objects};

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "RestoreClusterAction",
    plural: "restoreclusteractions",
    singular: "restoreclusteraction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Cluster,
    verbs: ALL_VERBS,
    columns: &[NAME, CREATED_AT, STATE.wide(), PROGRESS.wide()],
    field_selectors: &["metadata.name", "status.state"],
    details: true,
    schema: || {
        object_schema::<RestoreClusterActionSpec, RestoreClusterActionStatus>(
            "RestoreClusterAction puts back what is missing of the cluster-scoped resources, from a cluster restore \
             point. What exists is left as it is.",
        )
    },
    references,
    check,
};

/// What is restored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreClusterActionSpec {
    /// The cluster restore point.
    pub subject: Subject,
    /// Narrows what is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<ClusterFilters>,
    /// Changes to objects before they are made.
    #[schemars(schema_with = "open_objects")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Value>,
}

/// How far the restore is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreClusterActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus,
    /// What became of the captured objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_details: Option<RestoreDetails>,
}

/// What is written is judged as the requester's own, object by object; this is for reading what was captured.
fn references(object: &Value, install_namespace: &str) -> Vec<Reference> {
    let (_, name) = super::subject_of(object);
    let mut references = vec![cluster_restore_point::read(&name)];
    references.extend(super::transform_sets(object, install_namespace));
    references
}

fn check(object: &Value, _install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.subject("spec.subject", &[cluster_restore_point::KIND.kind]);
    super::forbid_subject_namespace(&mut checker);
    refuse_transforms(&mut checker);
    checker.finish()
}
