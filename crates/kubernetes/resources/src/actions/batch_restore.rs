//! `BatchRestoreAction`: restores many applications at once, each by a RestoreAction of its own, and the cluster scope by
//! a RestoreClusterAction before them.

use std::collections::BTreeSet;

use keelson_model::names::{CLUSTER_SCOPE, group};
use keelson_model::naming::{check_label_value, check_namespace, check_object_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::restore::{RestoreOptions, check_options, option_references};
use super::{ActionDetails, ActionStatus};
use crate::apps::cluster_restore_point;
use crate::check::{Checker, FieldError};
use crate::kind::{ALL_VERBS, CATEGORIES, CREATED_AT, Column, NAME, PROGRESS, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope, Verb};
use crate::parts::Time;
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "BatchRestoreAction",
    plural: "batchrestoreactions",
    singular: "batchrestoreaction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[NAME, CREATED_AT, STATE, PROGRESS, SUBJECTS],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || {
        object_schema::<BatchRestoreActionSpec, BatchRestoreActionStatus>(
            "BatchRestoreAction restores many applications at once, each by a RestoreAction of its own.",
        )
    },
    references,
    check,
};

const SUBJECTS: Column =
    Column::integer("Subjects", "/status/actionDetails/subjectsCount", "How many applications are restored");

/// What is restored, where to and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchRestoreActionSpec {
    /// The applications, each once.
    #[schemars(length(min = 1, max = 100))]
    pub subjects: Vec<BatchSubject>,
    /// Put before the name of each namespace to make the name of the one that is restored into.
    #[schemars(length(max = 62))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_namespace_prefix: Option<String>,
    /// Put behind the name of each namespace to make the name of the one that is restored into.
    #[schemars(length(max = 62))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_namespace_suffix: Option<String>,
    /// Where the latest restore point is taken, only those of actions at a time in one of these ranges are looked at.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restore_points_discovery_range: Vec<DiscoveryRange>,
    #[serde(flatten)]
    pub options: RestoreOptions,
}

/// One application, and what it is restored from: the latest that there is, if neither is named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchSubject {
    /// The namespace that was backed up; `kasten-io-cluster` stands for the cluster-scoped resources.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// A restore point in that namespace, or a cluster restore point.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point_name: Option<String>,
    /// A restore point content of that namespace.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point_content_name: Option<String>,
}

/// From a moment to another; either may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DiscoveryRange {
    /// The first moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// The last moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
}

/// How far the restores are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchRestoreActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus<BatchDetails>,
}

/// What became of the applications.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchDetails {
    #[serde(flatten)]
    pub phases: ActionDetails,
    /// The restores, by their states.
    pub actions: BatchCounts,
    /// How many applications are restored.
    pub subjects_count: u32,
    /// Applications that were restored.
    pub restored_applications: Vec<String>,
    /// Applications that were not restored.
    pub failed_applications: Vec<String>,
}

/// Restores, by their states.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BatchCounts {
    /// All of them.
    pub total: u32,
    /// Cancelled, or deleted before they had ended.
    pub cancelled: u32,
    /// At work, or waiting for another attempt.
    pub running: u32,
    /// Ended without having restored anything, or never begun for a reason that the exceptions tell.
    pub failed: u32,
    /// Skipped.
    pub skipped: u32,
    /// Complete.
    pub completed: u32,
    /// Waiting for their turn.
    pub pending: u32,
}

/// The namespace that an application is restored into.
pub fn target_namespace(spec: &Value, namespace: &str) -> String {
    let part = |field: &str| spec.get(field).and_then(Value::as_str).unwrap_or_default();
    format!("{}{namespace}{}", part("targetNamespacePrefix"), part("targetNamespaceSuffix"))
}

fn subjects(object: &Value) -> impl Iterator<Item = (&str, Option<&str>, Option<&str>)> {
    let subjects = object.pointer("/spec/subjects").and_then(Value::as_array);
    subjects.into_iter().flatten().map(|subject| {
        let text = |field: &str| subject.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (point, content) = (text("restorePointName"), text("restorePointContentName"));
        (text("namespace").unwrap_or_default(), point, content)
    })
}

fn references(object: &Value, install_namespace: &str) -> Vec<Reference> {
    let mut references = Vec::new();
    for (namespace, point, content) in subjects(object) {
        let is_cluster = namespace == CLUSTER_SCOPE;
        references.push(match (point, content) {
            (Some(point), _) if is_cluster => cluster_restore_point::read(point),
            (Some(point), _) => Reference::read(group::APPS, "restorepoints", namespace, point),
            (None, Some(content)) => {
                let read = Reference::read(group::APPS, "restorepointcontents", "", content);
                Reference { namespace: None, ..read }
            }
            (None, None) if is_cluster => cluster_restore_point::list(),
            (None, None) => Reference {
                verb: Verb::List,
                name: None,
                ..Reference::read(group::APPS, "restorepoints", namespace, "")
            },
        });
        references.push(create_child(&object["spec"], namespace));
    }
    references.extend(option_references(object, install_namespace));
    references
}

/// The right to make what restores one of the applications.
fn create_child(spec: &Value, namespace: &str) -> Reference {
    let (plural, target) = match namespace {
        CLUSTER_SCOPE => (super::restore_cluster::KIND.plural, None),
        _ => (super::restore::KIND.plural, Some(target_namespace(spec, namespace))),
    };
    let read = Reference::read(group::ACTIONS, plural, "", "");
    Reference { verb: Verb::Create, namespace: target, name: None, ..read }
}

fn check(object: &Value, install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.in_namespace(install_namespace, "a batch of restores is made in the install namespace");
    // Its children bear it as a label.
    checker.parsed("metadata.name", check_label_value);
    if subjects(object).next().is_none() {
        checker.missing("spec.subjects", "at least one application");
    }
    let mut known = BTreeSet::new();
    for (number, (namespace, point, content)) in subjects(object).enumerate() {
        let path = format!("spec.subjects[{number}]");
        let at = format!("{path}.namespace");
        if namespace.is_empty() {
            checker.missing(&at, "");
        } else if !known.insert(namespace) {
            checker.invalid(&at, namespace, "is named twice");
        } else if let Err(error) = check_namespace(namespace) {
            checker.invalid(&at, namespace, error);
        } else if namespace != CLUSTER_SCOPE {
            let target = target_namespace(&object["spec"], namespace);
            if let Err(error) = check_namespace(&target) {
                checker.invalid(&at, namespace, format!("would be restored into '{target}': {error}"));
            }
        }
        for (field, name) in [("restorePointName", point), ("restorePointContentName", content)] {
            let Some(name) = name else { continue };
            if let Err(error) = check_object_name(name) {
                checker.invalid(&format!("{path}.{field}"), name, error);
            }
        }
        if let (Some(_), Some(content)) = (point, content) {
            let at = format!("{path}.restorePointContentName");
            checker.invalid(&at, content, "cannot be combined with restorePointName");
        }
    }
    check_options(&mut checker);
    checker.finish()
}
