//! Tables over what is read, what is left out, and why.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::cluster::Freshness;
use crate::filters::ResourceFilter;

fn served(api_version: &str, kind: &str, resource: &str) -> ServedKind {
    let kind = Arc::new(Kind::namespaced(api_version, kind, resource));
    let versions = vec![kind.version.clone()];
    let verbs = ["get", "list", "create"].map(str::to_owned).into();
    ServedKind { kind, verbs, versions, freshness: Freshness::Current }
}

fn named(group: &str, resource: &str) -> Filters {
    let filter = ResourceFilter {
        group: group.to_owned(),
        resource: resource.to_owned(),
        ..ResourceFilter::default()
    };
    Filters { include_resources: vec![filter], ..Filters::default() }
}

fn judge(filters: &Filters, api_version: &str, resource: &str) -> KindVerdict {
    let selection = Selection { scope: Scope::Namespaced, filters, served: &ServedKinds::default() };
    selection.judge_kind(&served(api_version, "X", resource))
}

fn omit(api_version: &str, kind: &str, object: Value) -> Option<String> {
    let selection =
        Selection { scope: Scope::Namespaced, filters: &Filters::default(), served: &ServedKinds::default() };
    selection.omit(&served(api_version, kind, "x"), &object).map(|reason| reason.to_string())
}

fn controlled_by(api_version: &str, kind: &str) -> Value {
    let owner = json!({"apiVersion": api_version, "kind": kind, "name": "o", "uid": "u", "controller": true});
    json!({"metadata": {"name": "x", "ownerReferences": [owner]}})
}

#[test]
fn kinds_that_say_nothing_about_an_application_are_left_out_with_a_reason() {
    let none = Filters::default();
    for (api_version, resource) in [
        ("v1", "events"),
        ("v1", "endpoints"),
        ("apps/v1", "controllerrevisions"),
        ("autoscaling/v2", "horizontalpodautoscalers"),
        ("snapshot.storage.k8s.io/v1", "volumesnapshots"),
        ("metrics.k8s.io/v1beta1", "pods"),
        ("actions.kio.kasten.io/v1alpha1", "backupactions"),
        ("config.kio.kasten.io/v1alpha1", "policies"),
    ] {
        assert!(
            matches!(judge(&none, api_version, resource), KindVerdict::Omit(_)),
            "{api_version} {resource}"
        );
    }
    for (api_version, resource) in [("v1", "secrets"), ("shop.example.com/v1", "events")] {
        assert_eq!(judge(&none, api_version, resource), KindVerdict::Read, "{api_version} {resource}");
    }
}

#[test]
fn a_filter_brings_back_a_kind_it_names_but_never_the_platforms_own() {
    assert_eq!(judge(&named("core", "endpoints"), "v1", "endpoints"), KindVerdict::Read);
    assert_eq!(judge(&named("core", "endpoints"), "v1", "secrets"), KindVerdict::NotAsked);
    let own = named("actions.kio.kasten.io", "backupactions");
    let verdict = judge(&own, "actions.kio.kasten.io/v1alpha1", "backupactions");
    assert!(matches!(verdict, KindVerdict::Omit(_)));
}

#[test]
fn a_kind_without_list_is_not_read_and_one_without_create_is_told() {
    let none = Filters::default();
    let selection = Selection { scope: Scope::Namespaced, filters: &none, served: &ServedKinds::default() };
    let mut kind = served("v1", "X", "xs");
    kind.verbs = vec!["list".to_owned(), "get".to_owned()];
    assert!(matches!(selection.judge_kind(&kind), KindVerdict::Omit(_)));
    kind.verbs = vec!["create".to_owned()];
    assert_eq!(selection.judge_kind(&kind), KindVerdict::NotAsked);
}

#[test]
fn what_a_built_in_controller_remakes_is_left_out_and_the_rest_is_kept() {
    let remade = |owner: &str| Some(format!("remade by its {owner}"));
    for (api_version, kind, owner_version, owner, expected) in [
        ("v1", "Pod", "apps/v1", "ReplicaSet", remade("ReplicaSet")),
        ("v1", "Pod", "apps/v1", "StatefulSet", remade("StatefulSet")),
        ("apps/v1", "ReplicaSet", "apps/v1", "Deployment", remade("Deployment")),
        ("batch/v1", "Job", "batch/v1", "CronJob", remade("CronJob")),
        ("batch/v1", "Job", "argo.example.com/v1", "Workflow", None),
        ("discovery.k8s.io/v1", "EndpointSlice", "v1", "Service", remade("Service")),
        ("apps/v1", "Deployment", "shop.example.com/v1", "Shop", None),
        ("v1", "ConfigMap", "shop.example.com/v1", "Shop", None),
    ] {
        assert_eq!(
            omit(api_version, kind, controlled_by(owner_version, owner)),
            expected,
            "{kind} of {owner}"
        );
    }
    assert_eq!(omit("v1", "Pod", json!({"metadata": {"name": "alone"}})), None);
    let adopted = json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet"}]}});
    assert_eq!(omit("v1", "Pod", adopted), None, "an owner that does not control remakes nothing");
}

#[test]
fn a_pod_whose_owner_is_deselected_is_kept() {
    let mut served_kinds = ServedKinds::default();
    served_kinds.add(served("apps/v1", "ReplicaSet", "replicasets"));
    let filters = named("core", "pods");
    let selection = Selection { scope: Scope::Namespaced, filters: &filters, served: &served_kinds };
    let pod = controlled_by("apps/v1", "ReplicaSet");
    assert_eq!(selection.omit(&served("v1", "Pod", "pods"), &pod), None);
}

#[test]
fn objects_of_the_cluster_itself_are_left_out() {
    let root = json!({"metadata": {"name": "kube-root-ca.crt"}});
    assert_eq!(omit("v1", "ConfigMap", root.clone()).as_deref(), Some("remade by the cluster"));
    assert_eq!(omit("v1", "Secret", root), None);
    let token = json!({"metadata": {"name": "t"}, "type": "kubernetes.io/service-account-token"});
    assert!(omit("v1", "Secret", token).is_some());
    let helm = json!({"metadata": {"name": "sh.helm.release.v1.web.v1"}, "type": "helm.sh/release.v1"});
    assert_eq!(omit("v1", "Secret", helm), None);
    let going = json!({"metadata": {"name": "x", "deletionTimestamp": "2026-02-03T04:05:06Z"}});
    assert_eq!(omit("v1", "ConfigMap", going).as_deref(), Some("is being deleted"));
    let slice = |by: &str| json!({"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": by}}});
    assert!(omit("discovery.k8s.io/v1", "EndpointSlice", slice("endpointslice-controller.k8s.io")).is_some());
    assert_eq!(omit("discovery.k8s.io/v1", "EndpointSlice", slice("me")), None);
}

#[test]
fn what_has_run_to_its_end_is_not_run_again() {
    let job = |condition: &str| json!({"status": {"conditions": [{"type": condition, "status": "True"}]}});
    assert!(omit("batch/v1", "Job", job("Complete")).is_some());
    assert!(omit("batch/v1", "Job", job("Failed")).is_some());
    assert_eq!(omit("batch/v1", "Job", job("Suspended")), None);
    assert!(omit("v1", "Pod", json!({"status": {"phase": "Succeeded"}})).is_some());
    assert_eq!(omit("v1", "Pod", json!({"status": {"phase": "Running"}})), None);
}

#[test]
fn a_group_that_does_not_answer_matters_only_where_something_of_it_would_be_read() {
    let lost = |group: &str| Unanswered { group: group.to_owned(), version: "v1".to_owned() };
    let misses = |filters: &Filters, served: &ServedKinds, group: &str| {
        Selection { scope: Scope::Namespaced, filters, served }.misses(&lost(group))
    };
    let unknown = ServedKinds::default();
    let none = Filters::default();
    assert!(misses(&none, &unknown, "shop.example.com"));
    for group in ["metrics.k8s.io", "apps.kio.kasten.io", "authorization.openshift.io"] {
        assert!(!misses(&none, &unknown, group), "{group}");
    }
    assert!(!misses(&named("core", "secrets"), &unknown, "shop.example.com"));
    assert!(misses(&named("shop.example.com", "carts"), &unknown, "shop.example.com"));
    let whole = ResourceFilter { group: "shop.example.com".to_owned(), ..ResourceFilter::default() };
    let without = Filters { exclude_resources: vec![whole], ..Filters::default() };
    assert!(!misses(&without, &unknown, "shop.example.com"));
    let some = ResourceFilter { resource: "carts".to_owned(), ..without.exclude_resources[0].clone() };
    let without_some = Filters { exclude_resources: vec![some], ..Filters::default() };
    assert!(misses(&without_some, &unknown, "shop.example.com"));

    // What the server told before it went away is a guide.
    let mut known = ServedKinds::default();
    let stale = |resource: &str| ServedKind {
        freshness: Freshness::Stale,
        ..served("shop.example.com/v1", "Cart", resource)
    };
    known.add(stale("carts"));
    assert!(misses(&none, &known, "shop.example.com"));
    assert!(!misses(&without_some, &known, "shop.example.com"));
}
