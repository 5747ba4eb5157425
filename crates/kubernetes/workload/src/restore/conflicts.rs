//! What is done when an object exists already. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kinds::{Kind, Scope};
use crate::layers::Layer;
use crate::request::Refusal;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConflictRule {
    /// The existing object stays as it is.
    Keep,
    /// It is overwritten; if the server refuses, that is a failure.
    Update,
    /// It is overwritten; one that cannot be changed is deleted and made anew.
    Replace,
    /// It is deleted and made anew.
    Recreate,
    /// It is reported as a failure.
    Fail,
}

/// The rules of one restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflicts {
    /// Overwrite also what is neither a workload nor kept in any case.
    pub overwrite_existing: bool,
    /// By `deployments.apps`; they win over the defaults.
    pub rules: BTreeMap<String, ConflictRule>,
}

impl Conflicts {
    pub(super) fn rule(&self, kind: &Kind) -> ConflictRule {
        if let Some(rule) = self.rules.get(&kind.resource_name()) {
            return *rule;
        }
        if kind.scope == Scope::Cluster || kind.is("", "ServiceAccount") {
            return ConflictRule::Keep;
        }
        match (Layer::of(kind), self.overwrite_existing) {
            (Layer::Workloads, _) | (_, true) => ConflictRule::Replace,
            (_, false) => ConflictRule::Keep,
        }
    }
}

/// Kinds that may be deleted and made anew without losing what they stand for. A claim is its data, a stateful set
/// takes its claims with it when it says so, a namespace is its contents, a service is its address, a definition is
/// its objects: those never.
const RECREATABLE: &[(&str, &str)] = &[
    ("", "Secret"),
    ("", "ConfigMap"),
    ("", "Pod"),
    ("", "PodTemplate"),
    ("", "ReplicationController"),
    ("apps", "Deployment"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
];

/// Whether a refused overwrite is tried as deletion and creation: only when the server says that the object
/// cannot be changed. An object that is plainly wrong would be refused again, after the old one was gone.
pub(super) fn is_recreated_after(kind: &Kind, refusal: &Refusal) -> bool {
    is_built_in_recreatable(kind) && says_immutable(refusal)
}

pub(super) fn may_recreate(kind: &Kind) -> bool {
    is_built_in_recreatable(kind) || Layer::of(kind) == Layer::Custom
}

fn is_built_in_recreatable(kind: &Kind) -> bool {
    RECREATABLE.iter().any(|row| kind.is(row.0, row.1))
}

pub(super) fn says_immutable(refusal: &Refusal) -> bool {
    const IMMUTABLE: &[&str] =
        &["immutable", "may not change", "may not be changed", "updates to", "cannot change"];
    refusal.status == 422 && IMMUTABLE.iter().any(|word| refusal.message.contains(word))
}

/// What becomes of the objects that belong to one that is made anew. The pods of a workload must go with it, or
/// the old ones would run beside the new. Whatever belongs to another object may be data, and stays.
pub(super) fn propagation(kind: &Kind) -> &'static str {
    if Layer::of(kind) == Layer::Workloads { "Background" } else { "Orphan" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(conflicts: &Conflicts, api_version: &str, kind: &str, expected: ConflictRule) {
        let kind = Kind::namespaced(api_version, kind, &format!("{}s", kind.to_lowercase()));
        assert_eq!(conflicts.rule(&kind), expected, "{kind}");
    }

    #[test]
    fn workloads_are_always_restored_and_others_only_when_asked() {
        let plain = Conflicts::default();
        let overwrite = Conflicts { overwrite_existing: true, ..Conflicts::default() };
        for (api_version, kind, usual, asked) in [
            ("apps/v1", "Deployment", ConflictRule::Replace, ConflictRule::Replace),
            ("batch/v1", "CronJob", ConflictRule::Replace, ConflictRule::Replace),
            ("v1", "ConfigMap", ConflictRule::Keep, ConflictRule::Replace),
            ("v1", "ServiceAccount", ConflictRule::Keep, ConflictRule::Keep),
            ("shop.example.com/v1", "Shop", ConflictRule::Keep, ConflictRule::Replace),
        ] {
            check(&plain, api_version, kind, usual);
            check(&overwrite, api_version, kind, asked);
        }
        let definition = crate::configuration::definition_kind();
        assert_eq!(overwrite.rule(&definition), ConflictRule::Keep);
    }

    #[test]
    fn a_rule_for_a_kind_wins() {
        let rules = [("configmaps".to_owned(), ConflictRule::Fail)].into();
        check(&Conflicts { rules, ..Conflicts::default() }, "v1", "ConfigMap", ConflictRule::Fail);
    }

    #[test]
    fn only_what_cannot_be_changed_is_made_anew() {
        let refusal = |status, message: &str| Refusal {
            status,
            reason: "Invalid".to_owned(),
            message: message.to_owned(),
            retry_after: None,
            causes: Vec::new(),
            continue_token: None,
        };
        let immutable = refusal(422, "data: Forbidden: field is immutable when `immutable` is set");
        let wrong = refusal(422, "spec.replicas: Invalid value: -1");
        let secret = Kind::namespaced("v1", "Secret", "secrets");
        let claim = Kind::namespaced("v1", "PersistentVolumeClaim", "persistentvolumeclaims");
        assert!(is_recreated_after(&secret, &immutable));
        assert!(!is_recreated_after(&secret, &wrong));
        assert!(!is_recreated_after(&claim, &immutable));
        let stateful = Kind::namespaced("apps/v1", "StatefulSet", "statefulsets");
        assert!(!is_recreated_after(&stateful, &immutable) && !may_recreate(&stateful));
        assert!(!is_recreated_after(&secret, &refusal(403, "immutable")));
    }
}
