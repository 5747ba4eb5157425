//! `BackupClusterAction`: captures the cluster scope and makes a cluster restore point of it.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionStatus, forbid_scheduled_time};
use crate::check::{Checker, FieldError};
use crate::kind::{ALL_VERBS, CATEGORIES, CREATED_AT, NAME, PROGRESS, STATE};
use crate::kind::{KindInfo, ResourceScope, no_references};
use crate::parts::{ClusterFilters, LocalReference, Time};
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "BackupClusterAction",
    plural: "backupclusteractions",
    singular: "backupclusteraction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Cluster,
    verbs: ALL_VERBS,
    columns: &[NAME, CREATED_AT, STATE.wide(), PROGRESS.wide()],
    field_selectors: &["metadata.name", "status.state"],
    details: true,
    schema: || {
        object_schema::<BackupClusterActionSpec, BackupClusterActionStatus>(
            "BackupClusterAction captures cluster-scoped resources and makes a cluster restore point of them.",
        )
    },
    // It names no object. What it captures is shown by nothing but a restore, which writes by the rights of who asks.
    references: no_references,
    check,
};

/// What is backed up. Without filters StorageClasses, CustomResourceDefinitions, ClusterRoles and ClusterRoleBindings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupClusterActionSpec {
    /// When the restore point is retired. Without it, it stays until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The time of the schedule that asked for the backup; set by the scheduler only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<Time>,
    /// Chooses what is captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<ClusterFilters>,
    /// Completes the backup although some resources could not be captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_exceptions: Option<bool>,
}

/// How far the backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupClusterActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus,
    /// The cluster restore point that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point: Option<LocalReference>,
}

fn check(object: &Value, _install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    forbid_scheduled_time(&mut checker);
    checker.finish()
}
