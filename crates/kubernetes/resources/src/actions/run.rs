//! `RunAction`: one execution of a policy, by the schedule or by hand.

use keelson_model::names::group;
use keelson_model::naming::check_label_value;
use keelson_model::recovery::DrMode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionDetails, ActionStatus, forbid_scheduled_time};
use crate::check::{Checker, FieldError};
use crate::kind::{ALL_VERBS, CATEGORIES, CREATED_AT, NAME, PROGRESS, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope};
use crate::parts::{ReceiveString, Subject, Time};
use crate::recovery::CatalogState;
use crate::schema::{object_schema, open_object};

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "RunAction",
    plural: "runactions",
    singular: "runaction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[NAME, CREATED_AT, STATE, PROGRESS],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || object_schema::<RunActionSpec, RunActionStatus>("RunAction is one execution of a policy."),
    references,
    check,
};

/// Which policy is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunActionSpec {
    /// The policy, in the namespace of the RunAction.
    pub subject: Subject,
    /// When what the run made is retired. Without it, what a manual run made stays until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The time of the schedule that started the run; set by the scheduler only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<Time>,
}

/// How far the run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus<RunDetails>,
    /// The part of the policy that the run uses, as it was when the run began.
    #[schemars(schema_with = "open_object")]
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub policy_spec: Value,
    /// Runs of the policy k10-disaster-recovery-policy only: what they made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disaster_recovery: Option<DrRun>,
}

/// What the details of a run tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RunDetails {
    #[serde(flatten)]
    pub phases: ActionDetails,
    /// What another installation needs to import what the policy exports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_string: Option<ReceiveString>,
}

/// A restore point of the platform itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrRun {
    /// How it was made: v2 is Legacy, v3 and its variants are Quick.
    #[schemars(with = "String")]
    pub mode: DrMode,
    /// Where in the shipped journal it lies.
    pub at: String,
    /// The base from which the journal leads there.
    pub base: String,
    /// The catalog at that position.
    pub state: CatalogState,
}

fn references(object: &Value, _install_namespace: &str) -> Vec<Reference> {
    let (namespace, name) = super::subject_of(object);
    vec![Reference::read(group::CONFIG, "policies", &namespace, &name)]
}

fn check(object: &Value, _install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.subject("spec.subject", &["Policy"]);
    checker.same_namespace("spec.subject.namespace");
    // Its children bear it as a label.
    checker.parsed("metadata.name", check_label_value);
    forbid_scheduled_time(&mut checker);
    checker.finish()
}
