//! What of a namespace belongs to an application, and why the rest is left out; of the cluster scope as `cluster_scope`
//! says. Pure.

use serde_json::Value;

use super::cluster_scope;
use crate::cluster::{Freshness, ServedKind, ServedKinds, Unanswered};
use crate::filters::{Asked, Filters, Selectable};
use crate::kinds::{Kind, Scope, split_api_version};
use crate::omissions::OmissionReason;

/// Whether a filter that names the kind brings it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Firmness {
    UnlessNamed,
    Always,
}

use Firmness::{Always, UnlessNamed};

/// Stands for all resources of a group.
const ALL: &str = "*";

/// Group, resource (`*` for all of the group), how firmly it is left out, and why.
const LEFT_OUT: &[(&str, &str, Firmness, &str)] = &[
    ("", "events", UnlessNamed, "events tell of the past"),
    ("events.k8s.io", "events", UnlessNamed, "events tell of the past"),
    ("", "endpoints", UnlessNamed, "remade from services"),
    ("apps", "controllerrevisions", UnlessNamed, "remade by their workload"),
    ("autoscaling", "horizontalpodautoscalers", UnlessNamed, "autoscalers are captured only when named"),
    ("coordination.k8s.io", "leases", UnlessNamed, "held by running processes"),
    ("coordination.k8s.io", "leasecandidates", UnlessNamed, "held by running processes"),
    ("storage.k8s.io", "csistoragecapacities", UnlessNamed, "measured by a storage driver"),
    ("snapshot.storage.k8s.io", "volumesnapshots", UnlessNamed, "volumes are not part of this release"),
    (
        "groupsnapshot.storage.k8s.io",
        "volumegroupsnapshots",
        UnlessNamed,
        "volumes are not part of this release",
    ),
    ("cilium.io", "ciliumendpoints", UnlessNamed, "remade by the network"),
    ("metrics.k8s.io", "*", Always, "measurements"),
    ("custom.metrics.k8s.io", "*", Always, "measurements"),
    ("external.metrics.k8s.io", "*", Always, "measurements"),
    // The same objects as in rbac.authorization.k8s.io: taken once, and under the rule for rights.
    ("authorization.openshift.io", "*", Always, "captured as rbac.authorization.k8s.io"),
];

/// Groups of the platform itself. It protects them by its own recovery; captured with an application they
/// would bring back old actions and policies.
pub(super) const OWN_GROUPS_SUFFIX: &str = ".kio.kasten.io";

/// Group, kind, owner's kind (`*` for any controller): what a built-in controller makes again.
/// Objects of other controllers are kept, with their owner references.
const REMADE: &[(&str, &str, &str)] = &[
    ("", "Pod", "*"),
    ("apps", "ReplicaSet", "*"),
    ("batch", "Job", "CronJob"),
    ("", "ReplicationController", "DeploymentConfig"),
    ("discovery.k8s.io", "EndpointSlice", "Service"),
    ("resource.k8s.io", "ResourceClaim", "Pod"),
    ("", "PersistentVolumeClaim", "Pod"),
];

/// ConfigMaps that the cluster writes into every namespace.
const CLUSTER_CONFIG_MAPS: &[&str] = &["kube-root-ca.crt", "openshift-service-ca.crt"];

/// What is done with a kind before any of its objects is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KindVerdict {
    Read,
    /// The filters cannot select any object of it, or it holds no objects at all.
    NotAsked,
    Omit(OmissionReason),
}

#[derive(Clone, Copy)]
pub(super) struct Selection<'a> {
    /// Of the kinds that are read.
    pub(super) scope: Scope,
    pub(super) filters: &'a Filters,
    pub(super) served: &'a ServedKinds,
}

impl Selection<'_> {
    pub(super) fn judge_kind(&self, served: &ServedKind) -> KindVerdict {
        let kind = &served.kind;
        if kind.scope != self.scope || !served.can("list") {
            return KindVerdict::NotAsked;
        }
        let asked = self.filters.ask(kind, &served.versions);
        if self.scope == Scope::Cluster {
            return cluster_scope::judge_kind(served, asked, is_never_captured(kind));
        }
        if asked == Asked::No {
            return KindVerdict::NotAsked;
        }
        match left_out(kind) {
            Some((Always, why)) => KindVerdict::Omit(OmissionReason::Kind(why.to_owned())),
            Some((UnlessNamed, why)) if asked == Asked::ByDefault => {
                KindVerdict::Omit(OmissionReason::Kind(why.to_owned()))
            }
            Some(_) | None if !served.can("create") => {
                KindVerdict::Omit(OmissionReason::Kind("cannot be created through the API".to_owned()))
            }
            Some(_) | None => KindVerdict::Read,
        }
    }

    /// Whether something of a group that does not answer would be read, as far as anybody can tell.
    pub(super) fn misses(&self, unanswered: &Unanswered) -> bool {
        let Unanswered { group, version } = unanswered;
        let told = || {
            let stale = self.served.iter().filter(|served| served.freshness == Freshness::Stale);
            stale.filter(|served| served.kind.group == *group && served.versions.contains(version))
        };
        if told().next().is_some() {
            return told().any(|served| self.judge_kind(served) == KindVerdict::Read);
        }
        let all = Kind::namespaced(&unanswered.to_string(), "", ALL);
        left_out(&all).is_none()
            && match self.scope {
                Scope::Namespaced => self.filters.may_select_of(group, version),
                // The API server itself answers for what is captured by default.
                Scope::Cluster => self.filters.may_name_of(group, version),
            }
    }

    pub(super) fn selects(&self, served: &ServedKind, object: &Value) -> bool {
        let default = match self.scope {
            Scope::Namespaced => left_out(&served.kind).is_none(),
            Scope::Cluster => cluster_scope::is_default(&served.kind),
        };
        self.filters.selects(&served.kind, &served.versions, &Selectable::of(object), default)
    }

    /// Why this selected object is left out all the same.
    pub(super) fn omit(&self, served: &ServedKind, object: &Value) -> Option<OmissionReason> {
        let (kind, metadata) = (&*served.kind, &object["metadata"]);
        if !metadata["deletionTimestamp"].is_null() {
            return Some(OmissionReason::BeingDeleted);
        }
        if self.scope == Scope::Cluster {
            return cluster_scope::omit(kind, object);
        }
        if kind.is("", "Secret") && object["type"] == "kubernetes.io/service-account-token" {
            return Some(OmissionReason::ServiceAccountToken);
        }
        let of_cluster = |name: &Value| CLUSTER_CONFIG_MAPS.iter().any(|known| name == known);
        if kind.is("", "ConfigMap") && of_cluster(&metadata["name"]) {
            return Some(OmissionReason::RemadeByCluster);
        }
        if is_made_by_cluster(kind, metadata) {
            return Some(OmissionReason::RemadeByCluster);
        }
        if let Some(owner_kind) = self.remaking_owner(kind, metadata) {
            return Some(OmissionReason::RemadeBy { owner_kind });
        }
        has_run_to_its_end(kind, object).then_some(OmissionReason::HasRunToItsEnd)
    }

    fn remaking_owner(&self, kind: &Kind, metadata: &Value) -> Option<String> {
        let owners = metadata["ownerReferences"].as_array()?;
        let owner = owners.iter().find(|owner| owner["controller"] == true)?;
        let owner_kind = owner["kind"].as_str()?;
        let remade =
            |row: &&(&str, &str, &str)| kind.is(row.0, row.1) && (row.2 == "*" || row.2 == owner_kind);
        REMADE.iter().find(remade)?;
        let (group, _) = split_api_version(owner["apiVersion"].as_str()?);
        // Without its owner in the backup nobody would make it again.
        let owner_served = self.served.find(group, owner_kind);
        let deselected = |owner: &ServedKind| self.filters.ask(&owner.kind, &owner.versions) == Asked::No;
        (!owner_served.is_some_and(deselected)).then(|| owner_kind.to_owned())
    }
}

fn left_out(kind: &Kind) -> Option<(Firmness, &'static str)> {
    if kind.group.ends_with(OWN_GROUPS_SUFFIX) {
        return Some((Always, "protected by the platform's own recovery"));
    }
    let is_row =
        |row: &&(&str, &str, Firmness, &str)| row.0 == kind.group && (row.1 == ALL || row.1 == kind.resource);
    LEFT_OUT.iter().find(is_row).map(|row| (row.2, row.3))
}

/// Why no object of the kind is captured, whoever asks.
pub(crate) fn is_never_captured(kind: &Kind) -> Option<&'static str> {
    let of_any = left_out(kind).filter(|(firmness, _)| *firmness == Always).map(|(_, why)| why);
    of_any.or_else(|| cluster_scope::left_out(kind))
}

fn is_made_by_cluster(kind: &Kind, metadata: &Value) -> bool {
    let managed_by = &metadata["labels"]["endpointslice.kubernetes.io/managed-by"];
    let slice = managed_by.as_str().is_some_and(|manager| manager.ends_with(".k8s.io"));
    let mirror = !metadata["annotations"]["kubernetes.io/config.mirror"].is_null();
    (kind.is("discovery.k8s.io", "EndpointSlice") && slice) || (kind.is("", "Pod") && mirror)
}

fn has_run_to_its_end(kind: &Kind, object: &Value) -> bool {
    let status = &object["status"];
    if kind.is("", "Pod") {
        return status["phase"] == "Succeeded" || status["phase"] == "Failed";
    }
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let over = |condition: &Value| {
        condition["status"] == "True" && (condition["type"] == "Complete" || condition["type"] == "Failed")
    };
    kind.is("batch", "Job") && conditions.iter().any(over)
}

#[cfg(test)]
mod tests;
