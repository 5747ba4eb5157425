//! `ReportAction`: writes a `Report` of how the platform stands and of what it did in a span of time.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionStatus, forbid_scheduled_time};
use crate::check::{Checker, FieldError};
use crate::kind::{AGE, ALL_VERBS, CATEGORIES, NAME, PROGRESS, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope, Verb};
use crate::parts::{ObjectReference, Subject, Time};
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "ReportAction",
    plural: "reportactions",
    singular: "reportaction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[NAME, AGE, STATE.wide(), PROGRESS.wide()],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || {
        object_schema::<ReportActionSpec, ReportActionStatus>(
            "ReportAction writes a Report of how the platform stands and of what it did in a span of time.",
        )
    },
    references,
    check,
};

/// What is reported on, and of which span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportActionSpec {
    /// The platform: name and namespace are those of its install namespace.
    pub subject: Subject,
    /// The time of the schedule that asked for the report; set by the scheduler only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<Time>,
    /// Days of the span that ends when the report is made. The sum of days and hours must not be zero.
    #[schemars(range(min = 0, max = 3660))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats_interval_days: Option<u32>,
    /// Hours of the span, added to its days.
    #[schemars(range(min = 0, max = 87840))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats_interval_hours: Option<u32>,
}

/// How far the report is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus,
    /// The Report that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ObjectReference>,
}

/// A report tells of every application, and is an object that somebody else reads.
fn references(object: &Value, install_namespace: &str) -> Vec<Reference> {
    let (_, name) = super::subject_of(object);
    let platform = Reference { namespace: None, ..Reference::read("", "namespaces", "", &name) };
    let written = Reference {
        verb: Verb::Create,
        group: group::REPORTING,
        resource: "reports",
        namespace: Some(install_namespace.to_owned()),
        name: None,
    };
    vec![platform, written]
}

fn check(object: &Value, install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.in_namespace(install_namespace, "a report is of the platform as a whole");
    checker.subject("spec.subject", &["Namespace", ""]);
    checker.same_namespace("spec.subject.name");
    checker.same_namespace("spec.subject.namespace");
    forbid_scheduled_time(&mut checker);
    let span = |field: &str| object["spec"][field].as_u64().unwrap_or(0);
    if span("statsIntervalDays") + span("statsIntervalHours") == 0 {
        checker.missing(
            "spec.statsIntervalDays",
            "the sum of statsIntervalDays and statsIntervalHours must not be zero",
        );
    }
    checker.finish()
}
