//! `CancelAction`: ends an action before it is done. It is carried out when it is made, and not kept.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ActionStatus;
use crate::check::{Checker, FieldError};
use crate::kind::{AGE, KINDS, KindInfo, NAME, Reference, ResourceScope, STATE, Verb};
use crate::parts::Subject;
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "CancelAction",
    plural: "cancelactions",
    singular: "cancelaction",
    short_names: &[],
    // A category is listed, and this cannot be.
    categories: &[],
    scope: ResourceScope::Namespaced,
    verbs: &[Verb::Create],
    columns: &[NAME, AGE, STATE.wide()],
    field_selectors: &[],
    details: false,
    schema: || {
        object_schema::<CancelActionSpec, CancelActionStatus>(
            "CancelAction ends an action before it is done. It is carried out when it is created, and not kept.",
        )
    },
    references,
    check,
};

/// What is cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelActionSpec {
    /// The action, in the namespace of the CancelAction; a cluster-scoped action is cancelled from the install namespace.
    pub subject: Subject,
}

/// That the wish was taken. How the action ends is told by the action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus,
}

/// The kinds of actions that can be cancelled.
const TARGETS: [&str; 10] = [
    "BackupAction",
    "BackupClusterAction",
    "RestoreAction",
    "RestoreClusterAction",
    "ExportAction",
    "ImportAction",
    "RunAction",
    "RetireAction",
    "ValidateAction",
    "BatchRestoreAction",
];

/// The kind that a subject of a CancelAction names.
pub fn target_kind(kind: &str) -> Option<&'static KindInfo> {
    TARGETS.contains(&kind).then(|| KINDS.iter().find(|info| info.kind == kind)).flatten()
}

fn kind_of(object: &Value) -> Option<&'static KindInfo> {
    object.pointer("/spec/subject/kind").and_then(Value::as_str).and_then(target_kind)
}

/// Who may make a CancelAction where the action is may cancel there; this is for those who name actions by guessing.
fn references(object: &Value, _install_namespace: &str) -> Vec<Reference> {
    let (namespace, name) = super::subject_of(object);
    let read = |kind: &'static KindInfo| Reference {
        namespace: kind.is_namespaced().then_some(namespace),
        ..Reference::read(group::ACTIONS, kind.plural, "", &name)
    };
    kind_of(object).map(read).into_iter().collect()
}

fn check(object: &Value, install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.required_text("spec.subject.kind");
    checker.subject("spec.subject", &TARGETS);
    checker.same_namespace("spec.subject.namespace");
    if kind_of(object).is_some_and(|kind| !kind.is_namespaced()) {
        checker.in_namespace(install_namespace, "a cluster-scoped action is cancelled from there");
    }
    checker.finish()
}
