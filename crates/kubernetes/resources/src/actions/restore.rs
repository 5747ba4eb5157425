//! `RestoreAction`: puts an application back from a restore point.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ActionStatus;
use crate::check::{Checker, FieldError};
use crate::kind::{AGE, ALL_VERBS, CATEGORIES, NAME, PROGRESS, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope, Verb};
use crate::parts::{Filters, Hooks, LocalReference, Subject, Time};
use crate::schema::{object_schema, open_object, open_objects};

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "RestoreAction",
    plural: "restoreactions",
    singular: "restoreaction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[NAME, AGE, STATE.wide(), PROGRESS.wide()],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || {
        object_schema::<RestoreActionSpec, RestoreActionStatus>(
            "RestoreAction puts an application back from a restore point.",
        )
    },
    references,
    check,
};

/// What is restored, where to and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreActionSpec {
    /// The restore point.
    pub subject: Subject,
    /// The namespace restored into: the one of the RestoreAction, which is the default.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_namespace: Option<String>,
    #[serde(flatten)]
    pub options: RestoreOptions,
}

/// How something is restored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreOptions {
    /// Replaces objects that exist. Without it only missing ones are made; workloads always are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwrite_existing: Option<bool>,
    /// Restores the data of volumes only, into workloads that exist. Excludes filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_only: Option<bool>,
    /// Restores volumes beside the existing ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_clones: Option<bool>,
    /// Narrows what is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Filters>,
    /// Changes to objects before they are made.
    #[schemars(schema_with = "open_objects")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Value>,
    /// For blueprints that can restore any moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<Time>,
    /// Ends the restore without waiting for workloads to become ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_wait_for_workload_ready: Option<bool>,
    /// Another profile through which the location of the restore point is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_override_profile: Option<LocalReference>,
    /// Starts virtual machines from the backup itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instant_recovery: Option<bool>,
    /// The storage that instantly recovered machines move to.
    #[schemars(schema_with = "open_object")]
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub target_vsphere_storage: Value,
    /// Blueprint actions around the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
}

/// How far the restore is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus,
    /// What became of the captured objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_details: Option<RestoreDetails>,
}

/// What became of the captured objects, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RestoreDetails {
    /// Made because they were missing.
    pub created: u64,
    /// Overwritten.
    pub replaced: u64,
    /// Deleted and made anew.
    pub recreated: u64,
    /// As captured already.
    pub unchanged: u64,
    /// Left as they were.
    pub skipped: u64,
    /// Not restored.
    pub failed: u64,
}

fn references(object: &Value, install_namespace: &str) -> Vec<Reference> {
    let (namespace, name) = super::subject_of(object);
    let mut references = vec![Reference::read(group::APPS, "restorepoints", &namespace, &name)];
    let target = object.pointer("/spec/targetNamespace").and_then(Value::as_str);
    if let Some(target) = target.filter(|target| *target != super::namespace_of(object)) {
        references.push(Reference {
            verb: Verb::Create,
            group: group::ACTIONS,
            resource: KIND.plural,
            namespace: Some(target.to_owned()),
            name: None,
        });
    }
    references.extend(option_references(object, install_namespace));
    references
}

/// What the options of a restore name.
pub(super) fn option_references(
    object: &Value,
    install_namespace: &str,
) -> impl Iterator<Item = Reference> + use<> {
    let profile = super::profile_at(object, "/spec/artifactOverrideProfile", install_namespace);
    profile.into_iter().chain(super::transform_sets(object, super::namespace_of(object)))
}

fn check(object: &Value, _install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.subject("spec.subject", &["RestorePoint"]);
    checker.same_namespace("spec.targetNamespace");
    check_options(&mut checker);
    checker.finish()
}

/// What every restore is told, one or many.
pub(super) fn check_options(checker: &mut Checker<'_>) {
    if checker.is_set("spec.dataOnly") && checker.is_set("spec.filters") {
        checker.forbidden("spec.filters", "cannot be combined with dataOnly");
    }
    refuse_transforms(checker);
    for (path, why) in [
        ("spec.dataOnly", "this version restores no volume data"),
        ("spec.volumeClones", "this version restores no volume data"),
        ("spec.pointInTime", "it is for blueprints, which this version does not have"),
        ("spec.artifactOverrideProfile", "this version restores through the profile of the export only"),
        ("spec.instantRecovery", "this version restores no virtual machines"),
        ("spec.targetVsphereStorage", "this version restores no virtual machines"),
        ("spec.hooks", "hooks run blueprints, which this version does not have"),
    ] {
        checker.not_supported_yet(path, why);
    }
}

pub(super) fn refuse_transforms(checker: &mut Checker<'_>) {
    checker.not_supported_yet("spec.transforms", "this version has no transforms");
}
