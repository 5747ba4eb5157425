//! `BackupAction`: captures an application and makes a restore point of it.

use keelson_model::names::{CLUSTER_SCOPE, group};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionStatus, forbid_scheduled_time};
use crate::check::{Checker, FieldError};
use crate::kind::{AGE, ALL_VERBS, CATEGORIES, NAME, PROGRESS, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope};
use crate::parts::{Filters, Hooks, ObjectReference, Subject, Time};
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "BackupAction",
    plural: "backupactions",
    singular: "backupaction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[NAME, AGE, STATE.wide(), PROGRESS.wide()],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || {
        object_schema::<BackupActionSpec, BackupActionStatus>(
            "BackupAction captures an application and makes a restore point of it.",
        )
    },
    references,
    check,
};

/// What is backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupActionSpec {
    /// The application: its name and namespace, which are the same.
    pub subject: Subject,
    /// When the restore point is retired. Without it, it stays until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The time of the schedule that asked for the backup; set by the scheduler only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<Time>,
    /// Narrows what is captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Filters>,
    /// Completes the backup although some resources could not be captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_exceptions: Option<bool>,
    /// Blueprint actions around the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
}

/// How far the backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus,
    /// The restore point that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point: Option<ObjectReference>,
}

fn references(object: &Value, _install_namespace: &str) -> Vec<Reference> {
    let (namespace, name) = super::subject_of(object);
    vec![Reference::read(group::APPS, "applications", &namespace, &name)]
}

fn check(object: &Value, _install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.subject("spec.subject", &["Application", ""]);
    checker.same_namespace("spec.subject.namespace");
    // The name is what gets captured: any other would hand a tenant the namespace of somebody else.
    checker.same_namespace("spec.subject.name");
    checker.parsed("spec.subject.name", |name| match name {
        CLUSTER_SCOPE => Err("stands for the cluster-scoped resources, which a BackupClusterAction backs up"),
        _ => Ok(()),
    });
    forbid_scheduled_time(&mut checker);
    checker.not_supported_yet("spec.hooks", "hooks run blueprints, which this version does not have");
    checker.finish()
}
