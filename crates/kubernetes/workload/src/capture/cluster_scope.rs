//! What of the cluster scope is captured, and why the rest is left out. Pure.
//!
//! Left out is what comes back by itself: what the API server makes when it starts, and what an installation of this
//! platform brings along. Whatever else bears a name of the system was made by somebody, and nobody would make it again.

use serde_json::Value;

use super::select::{KindVerdict, OWN_GROUPS_SUFFIX};
use crate::cluster::ServedKind;
use crate::filters::Asked;
use crate::kinds::Kind;
use crate::omissions::OmissionReason;

/// Group and resource of what is captured when nothing is said.
const DEFAULTS: &[(&str, &str)] = &[
    ("storage.k8s.io", "storageclasses"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
];

/// Group, resource, and why no filter brings it back. A volume that comes back without its claim is released, and what is
/// released may be deleted with its data.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("", "nodes", "nodes register themselves"),
    ("", "persistentvolumes", "volumes are not part of this release"),
    ("storage.k8s.io", "csinodes", "made by the storage driver of each node"),
    ("storage.k8s.io", "volumeattachments", "made for running pods"),
    ("resource.k8s.io", "resourceslices", "made by the device driver of each node"),
    ("networking.k8s.io", "ipaddresses", "made for the addresses of services"),
    ("snapshot.storage.k8s.io", "volumesnapshotcontents", "volumes are not part of this release"),
    ("groupsnapshot.storage.k8s.io", "volumegroupsnapshotcontents", "volumes are not part of this release"),
    ("certificates.k8s.io", "certificatesigningrequests", "each asks for one certificate of one cluster"),
];

/// Groups of the platform that its own suffix does not tell.
const OWN_GROUPS: &[&str] = &["apik10.kasten.io"];

pub(super) fn is_default(kind: &Kind) -> bool {
    DEFAULTS.iter().any(|row| row.0 == kind.group && row.1 == kind.resource)
}

/// Why no object of the kind is captured, whoever asks.
pub(super) fn left_out(kind: &Kind) -> Option<&'static str> {
    LEFT_OUT.iter().find(|row| row.0 == kind.group && row.1 == kind.resource).map(|row| row.2)
}

/// `never` says why no object of the kind is captured at all. What nobody asked for needs no reason.
pub(super) fn judge_kind(served: &ServedKind, asked: Asked, never: Option<&'static str>) -> KindVerdict {
    if asked == Asked::No || (asked == Asked::ByDefault && !is_default(&served.kind)) {
        return KindVerdict::NotAsked;
    }
    let cannot = (!served.can("create")).then_some("cannot be created through the API");
    match never.or(cannot) {
        Some(why) => KindVerdict::Omit(OmissionReason::Kind(why.to_owned())),
        None => KindVerdict::Read,
    }
}

/// Why this selected object is left out all the same.
pub(super) fn omit(kind: &Kind, object: &Value) -> Option<OmissionReason> {
    if is_made_by_cluster(kind, &object["metadata"]) {
        return Some(OmissionReason::RemadeByCluster);
    }
    is_of_platform(kind, &object["spec"]).then_some(OmissionReason::OfPlatform)
}

fn is_made_by_cluster(kind: &Kind, metadata: &Value) -> bool {
    match kind.group.as_str() {
        "rbac.authorization.k8s.io" => metadata["labels"]["kubernetes.io/bootstrapping"].is_string(),
        "apiregistration.k8s.io" => {
            metadata["labels"]["kube-aggregator.kubernetes.io/automanaged"].is_string()
        }
        "flowcontrol.apiserver.k8s.io" => {
            metadata["annotations"]["apf.kubernetes.io/autoupdate-spec"] == "true"
        }
        _ => false,
    }
}

/// Definitions and registrations come with the installation, in its own version.
fn is_of_platform(kind: &Kind, spec: &Value) -> bool {
    let names_group = kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
        || kind.is("apiregistration.k8s.io", "APIService");
    let group = spec["group"].as_str().unwrap_or_default();
    names_group && (group.ends_with(OWN_GROUPS_SUFFIX) || OWN_GROUPS.contains(&group))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::cluster::Freshness;

    fn judge(api_version: &str, resource: &str, asked: Asked, verbs: &[&str]) -> KindVerdict {
        let kind = Arc::new(Kind::cluster(api_version, "X", resource));
        let verbs = verbs.iter().map(|verb| (*verb).to_owned()).collect();
        let served =
            ServedKind { kind: kind.clone(), verbs, versions: Vec::new(), freshness: Freshness::Current };
        judge_kind(&served, asked, left_out(&kind))
    }

    const ALL: &[&str] = &["create", "get", "list"];

    #[test]
    fn four_kinds_are_captured_by_default_and_others_when_they_are_named() {
        for (api_version, resource) in [
            ("storage.k8s.io/v1", "storageclasses"),
            ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
            ("rbac.authorization.k8s.io/v1", "clusterroles"),
            ("rbac.authorization.k8s.io/v1", "clusterrolebindings"),
        ] {
            assert_eq!(judge(api_version, resource, Asked::ByDefault, ALL), KindVerdict::Read, "{resource}");
            assert_eq!(judge(api_version, resource, Asked::No, ALL), KindVerdict::NotAsked, "{resource}");
        }
        for (api_version, resource) in
            [("scheduling.k8s.io/v1", "priorityclasses"), ("example.com/v1", "clusterroles")]
        {
            assert_eq!(judge(api_version, resource, Asked::ByDefault, ALL), KindVerdict::NotAsked);
            assert_eq!(judge(api_version, resource, Asked::ByName, ALL), KindVerdict::Read);
        }
    }

    #[test]
    fn what_belongs_to_one_cluster_is_captured_by_no_filter() {
        for (api_version, resource) in [
            ("v1", "nodes"),
            ("v1", "persistentvolumes"),
            ("storage.k8s.io/v1", "csinodes"),
            ("resource.k8s.io/v1", "resourceslices"),
            ("networking.k8s.io/v1", "ipaddresses"),
            ("certificates.k8s.io/v1", "certificatesigningrequests"),
        ] {
            let verdict = judge(api_version, resource, Asked::ByName, ALL);
            assert!(matches!(verdict, KindVerdict::Omit(_)), "{resource}: {verdict:?}");
        }
        let cannot = judge("v1", "componentstatuses", Asked::ByName, &["get", "list"]);
        assert!(matches!(cannot, KindVerdict::Omit(_)), "{cannot:?}");
    }

    #[test]
    fn what_comes_back_by_itself_is_left_out_and_what_somebody_made_is_not() {
        let check = |api_version: &str, kind: &str, object: Value, expected: Option<OmissionReason>| {
            assert_eq!(omit(&Kind::cluster(api_version, kind, "x"), &object), expected, "{object}");
        };
        let rbac = "rbac.authorization.k8s.io/v1";
        let default =
            json!({"metadata": {"name": "view", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}});
        let somebodys =
            json!({"metadata": {"name": "system:metrics-server", "labels": {"k8s-app": "metrics-server"}}});
        check(rbac, "ClusterRole", default.clone(), Some(OmissionReason::RemadeByCluster));
        check(rbac, "ClusterRoleBinding", default.clone(), Some(OmissionReason::RemadeByCluster));
        check(rbac, "ClusterRole", somebodys, None);
        check("storage.k8s.io/v1", "StorageClass", default, None);
        let definition = |group: &str| json!({"metadata": {"name": "x"}, "spec": {"group": group}});
        let definitions = "apiextensions.k8s.io/v1";
        for group in ["config.kio.kasten.io", "apik10.kasten.io"] {
            let own = Some(OmissionReason::OfPlatform);
            check(definitions, "CustomResourceDefinition", definition(group), own);
        }
        for group in ["cr.kanister.io", "shop.example.com"] {
            check(definitions, "CustomResourceDefinition", definition(group), None);
        }
        check("example.com/v1", "Widget", definition("config.kio.kasten.io"), None);
        let registered =
            json!({"metadata": {"labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}}});
        check("apiregistration.k8s.io/v1", "APIService", registered, Some(OmissionReason::RemadeByCluster));
    }
}
