//! `UpgradeAction`: brings repositories in a location to what this version writes.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ActionStatus;
use crate::check::{Checker, FieldError};
use crate::kind::{AGE, ALL_VERBS, CATEGORIES, NAME, PROGRESS, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope};
use crate::parts::{ObjectReference, Subject};
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "UpgradeAction",
    plural: "upgradeactions",
    singular: "upgradeaction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[NAME, AGE, STATE.wide(), PROGRESS.wide()],
    field_selectors: STATE_FIELDS,
    details: true,
    schema: || {
        object_schema::<UpgradeActionSpec, UpgradeActionStatus>(
            "UpgradeAction brings repositories in a location to the format, the key and the passphrase slots that this \
             installation writes now.",
        )
    },
    references,
    check,
};

/// Which repositories are upgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeActionSpec {
    /// A StorageRepository, or a Policy: all repositories that its exports went to.
    pub subject: Subject,
    /// The profile of the location that they lie in; its namespace is the install namespace.
    pub profile: ObjectReference,
}

/// How far the upgrade is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus,
    /// How many repositories are as this version writes them.
    #[serde(default)]
    pub upgraded_repositories: u32,
}

fn is_policy(object: &Value) -> bool {
    object.pointer("/spec/subject/kind").and_then(Value::as_str) == Some("Policy")
}

fn references(object: &Value, install_namespace: &str) -> Vec<Reference> {
    let (namespace, name) = super::subject_of(object);
    let subject = match is_policy(object) {
        true => Reference::read(group::CONFIG, "policies", &namespace, &name),
        false => Reference::read(group::REPOSITORIES, "storagerepositories", &namespace, &name),
    };
    let profile = super::profile_at(object, "/spec/profile", install_namespace);
    [subject].into_iter().chain(profile).collect()
}

fn check(object: &Value, install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.in_namespace(install_namespace, "repositories are the platform's");
    checker.subject("spec.subject", &["StorageRepository", "Policy"]);
    if !is_policy(object) {
        checker.same_namespace("spec.subject.namespace");
    }
    checker.required_text("spec.profile.name");
    checker.profile_namespace("spec.profile.namespace", install_namespace);
    checker.finish()
}
