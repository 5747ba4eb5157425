//! What is sent for a captured object, and what of a hostile backup is not.

use serde_json::json;
use serde_json::value::to_raw_value;

use super::*;
use crate::filters::{Filters, ResourceFilter};

fn request() -> RestoreRequest {
    RestoreRequest::in_place("shop".parse().expect("a name"), "test")
}

fn captured(api_version: &str, kind: &str, resource: &str, object: &Value) -> CapturedObject {
    let kind = Kind::namespaced(api_version, kind, resource);
    CapturedObject {
        layer: Layer::of(&kind),
        kind: Arc::new(kind),
        namespace: Some("shop".to_owned()),
        name: "a".to_owned(),
        uid: "old".to_owned(),
        object: to_raw_value(object).expect("JSON"),
        managed_fields: None,
    }
}

fn plain() -> Value {
    json!({"metadata": {"name": "a", "namespace": "shop"}})
}

fn prepared(object: &CapturedObject, request: &RestoreRequest) -> Prepared {
    match prepare(object, request) {
        Ok(Verdict::Restore(prepared)) => *prepared,
        Ok(Verdict::Skip(reason)) => panic!("skipped: {reason}"),
        Err(_) => panic!("refused"),
    }
}

fn skipped(object: &CapturedObject, request: &RestoreRequest) -> Option<OmissionReason> {
    match prepare(object, request) {
        Ok(Verdict::Skip(reason)) => Some(reason),
        Ok(Verdict::Restore(_)) | Err(_) => None,
    }
}

fn refusal(object: &CapturedObject) -> Option<String> {
    match prepare(object, &request()) {
        Err(Stop::Object(error)) => Some(error.to_string()),
        _ => None,
    }
}

#[test]
fn names_inside_the_object_cannot_differ_from_those_outside() {
    let forged = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "b", "namespace": "kube-system", "uid": "forged", "resourceVersion": "1"}});
    let object = captured("v1", "ConfigMap", "configmaps", &forged);
    let body = prepared(&object, &request()).body;
    assert_eq!((&body["apiVersion"], &body["kind"]), (&json!("v1"), &json!("ConfigMap")));
    assert_eq!(body["metadata"], json!({"name": "a", "namespace": "shop"}));
}

#[test]
fn only_the_applications_own_namespace_is_written() {
    let mut object = captured("v1", "ConfigMap", "configmaps", &plain());
    object.namespace = Some("kube-system".to_owned());
    assert_eq!(refusal(&object).as_deref(), Some("it was not captured in namespace 'shop'"));
    for (api_version, kind, resource) in [
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings"),
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        ("v1", "Namespace", "namespaces"),
    ] {
        let mut object = captured(api_version, kind, resource, &plain());
        object.namespace = None;
        let refused = refusal(&object);
        assert_eq!(
            refused.as_deref(),
            Some("objects outside namespaces are not part of an application"),
            "{kind}"
        );
    }
    let broken = captured("v1", "ConfigMap", "configmaps", &json!(["not", "an", "object"]));
    assert_eq!(refusal(&broken).as_deref(), Some("the captured object is not an object"));
}

#[test]
fn rights_claims_and_the_platforms_own_objects_need_to_be_asked_for() {
    let mut request = request();
    let role = captured("rbac.authorization.k8s.io/v1", "Role", "roles", &plain());
    let claim = captured("v1", "PersistentVolumeClaim", "persistentvolumeclaims", &plain());
    let policy = captured("config.kio.kasten.io/v1alpha1", "Policy", "policies", &plain());
    assert_eq!(skipped(&role, &request), Some(OmissionReason::RightsNotAskedFor));
    assert_eq!(skipped(&claim, &request), Some(OmissionReason::ClaimNotRestored));
    request.rbac = RbacRule::Restore;
    request.claims = ClaimRule::CreateEmpty;
    assert_eq!(skipped(&role, &request), None);
    assert_eq!(skipped(&claim, &request), None);
    assert!(matches!(skipped(&policy, &request), Some(OmissionReason::Kind(_))));
}

#[test]
fn a_definition_follows_the_filters_of_its_objects() {
    let definition = json!({"metadata": {"name": "shops.example.com"}, "spec": {"group": "example.com",
        "names": {"plural": "shops", "kind": "Shop"}, "versions": [{"name": "v1"}]}});
    let mut object = captured("apiextensions.k8s.io/v1", "CustomResourceDefinition", "x", &definition);
    object.namespace = None;
    let include = |resource: &str| Filters {
        include_resources: vec![ResourceFilter {
            resource: resource.to_owned(),
            ..ResourceFilter::default()
        }],
        ..Filters::default()
    };
    let with = |filters| RestoreRequest { filters, ..request() };
    assert_eq!(skipped(&object, &with(Filters::default())), None);
    assert_eq!(skipped(&object, &with(include("shops"))), None);
    assert_eq!(skipped(&object, &with(include("configmaps"))), Some(OmissionReason::Filtered));
}

#[test]
fn an_application_follows_its_restore_into_another_namespace() {
    let target: NamespaceName = "copy".parse().expect("a name");
    let scope = RestoreScope::Application { original: "shop".parse().expect("a name"), target };
    let request = RestoreRequest { scope, rbac: RbacRule::Restore, ..request() };
    let binding = json!({"metadata": {"name": "a"}, "subjects": [
        {"kind": "ServiceAccount", "name": "web", "namespace": "shop"},
        {"kind": "ServiceAccount", "name": "other", "namespace": "tools"}]});
    let binding = captured("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", &binding);
    let binding = prepared(&binding, &request);
    assert_eq!(binding.namespace.as_deref(), Some("copy"));
    let namespaces: Vec<_> =
        binding.body["subjects"].as_array().into_iter().flatten().map(|s| s["namespace"].clone()).collect();
    assert_eq!(namespaces, ["copy", "tools"]);

    let service = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80, "nodePort": 30080}]}});
    let service = prepared(&captured("v1", "Service", "services", &service), &request);
    assert_eq!(service.body["spec"]["ports"], json!([{"port": 80}]));

    let mut namespace = captured("v1", "Namespace", "namespaces", &json!({"metadata": {"name": "shop"}}));
    (namespace.namespace, namespace.name) = (None, "shop".to_owned());
    assert_eq!(prepared(&namespace, &request).name, "copy");
}

#[test]
fn of_the_cluster_scope_nothing_in_a_namespace_is_written() {
    let request = RestoreRequest::of_cluster_scope("test");
    let mut role = captured("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", &plain());
    let refused = |object: &CapturedObject| match prepare(object, &request) {
        Err(Stop::Object(error)) => Some(error.to_string()),
        _ => None,
    };
    let told = "objects in namespaces are not part of the cluster scope";
    assert_eq!(refused(&role).as_deref(), Some(told));
    role.namespace = None;
    let forged = json!({"metadata": {"name": "b", "namespace": "kube-system"}});
    role.object = to_raw_value(&forged).expect("JSON");
    assert_eq!(prepared(&role, &request).body["metadata"], json!({"name": "a"}));
    let mut namespace = captured("v1", "Namespace", "namespaces", &json!({"metadata": {"name": "a"}}));
    namespace.namespace = None;
    assert_eq!(prepared(&namespace, &request).name, "a", "it follows no other");
    let mut volume = captured("v1", "PersistentVolume", "persistentvolumes", &plain());
    volume.namespace = None;
    assert!(matches!(skipped(&volume, &request), Some(OmissionReason::Kind(_))));
    let of_storage = ResourceFilter { group: "storage.k8s.io".to_owned(), ..ResourceFilter::default() };
    let filters = Filters { include_resources: vec![of_storage], ..Filters::default() };
    let request = RestoreRequest { filters, ..request.clone() };
    let mut definition = captured("apiextensions.k8s.io/v1", "CustomResourceDefinition", "x", &plain());
    definition.namespace = None;
    assert_eq!(skipped(&definition, &request), Some(OmissionReason::Filtered), "named by itself");
}

#[test]
fn owners_are_kept_apart_from_the_body() {
    let owner = json!({"apiVersion": "example.com/v1", "kind": "Shop", "name": "s", "uid": "u"});
    let object = json!({"metadata": {"name": "a", "ownerReferences": [owner]}});
    let prepared = prepared(&captured("v1", "ConfigMap", "configmaps", &object), &request());
    assert_eq!(prepared.body["metadata"].get("ownerReferences"), None);
    assert_eq!(prepared.owners, std::slice::from_ref(&owner));
    assert_eq!(prepared.body_with_owners(&prepared.owners)["metadata"]["ownerReferences"], json!([owner]));
}

#[test]
fn a_version_that_is_gone_is_named_with_what_is_served() {
    let mut served = ServedKinds::default();
    let kind = Arc::new(Kind::namespaced("example.com/v2", "Shop", "shops"));
    let versions = vec!["v2".to_owned(), "v1".to_owned()];
    let freshness = crate::cluster::Freshness::Current;
    served.add(crate::cluster::ServedKind { kind, verbs: Vec::new(), versions, freshness });
    let check = |version: &str, kind: &str| {
        let captured = Kind::namespaced(version, kind, "shops");
        resolve(&served, &captured).map(|kind| kind.version.clone()).map_err(|error| error.to_string())
    };
    assert_eq!(check("example.com/v2", "Shop"), Ok("v2".to_owned()));
    assert_eq!(check("example.com/v1", "Shop"), Ok("v1".to_owned()));
    let gone = "version 'v1beta1' of 'shops.example.com' is no longer served; the cluster serves v2, v1";
    assert_eq!(check("example.com/v1beta1", "Shop"), Err(gone.to_owned()));
    let absent = "the cluster does not serve 'Bazaar' of 'example.com'";
    assert_eq!(check("example.com/v1", "Bazaar"), Err(absent.to_owned()));
}
