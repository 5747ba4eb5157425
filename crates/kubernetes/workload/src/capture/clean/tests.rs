//! A table of objects before and after cleaning.

use serde_json::json;

use super::*;

fn check(api_version: &str, kind: &str, mut before: Value, after: &Value) {
    clean(&Kind::namespaced(api_version, kind, "x"), &mut before);
    assert_eq!(before, *after, "{kind}");
}

#[test]
fn metadata_of_the_cluster_goes_and_managed_fields_come_out() {
    let mut object = json!({"metadata": {
        "name": "a", "uid": "u", "resourceVersion": "7", "generation": 2, "creationTimestamp": "t",
        "selfLink": "/x", "labels": {"app": "a"}, "finalizers": ["example.com/hold", "foregroundDeletion"],
        "managedFields": [{"manager": "helm"}]}, "status": {"ready": true}});
    let managed = clean(&Kind::namespaced("v1", "ConfigMap", "configmaps"), &mut object);
    assert_eq!(managed, Some(json!([{"manager": "helm"}])));
    let expected = json!({"metadata": {"name": "a", "labels": {"app": "a"}, "finalizers": ["example.com/hold"]},
        "status": {"ready": true}});
    assert_eq!(object, expected);
    remove_status(&mut object);
    assert_eq!(object.get("status"), None);
}

#[test]
fn a_service_keeps_its_wish_to_be_headless_and_loses_its_address() {
    let headless = json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}});
    check("v1", "Service", headless.clone(), &headless);
    check(
        "v1",
        "Service",
        json!({"spec": {"clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "healthCheckNodePort": 31000,
            "ports": [{"port": 80, "nodePort": 30080}]}}),
        &json!({"spec": {"ports": [{"port": 80, "nodePort": 30080}]}}),
    );
}

#[test]
fn each_kind_loses_what_its_controllers_write() {
    check(
        "v1",
        "Namespace",
        json!({"metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}},
            "spec": {"finalizers": ["kubernetes"]}}),
        &json!({"metadata": {"name": "shop"}}),
    );
    check(
        "v1",
        "Pod",
        json!({"spec": {"nodeName": "n1", "priority": 0, "preemptionPolicy": "PreemptLowerPriority", "containers": []}}),
        &json!({"spec": {"containers": []}}),
    );
    check(
        "v1",
        "ServiceAccount",
        json!({"metadata": {"name": "web"}, "secrets": [{"name": "web-token-x7k2p"}, {"name": "mine"}],
            "imagePullSecrets": [{"name": "web-dockercfg-4"}]}),
        &json!({"metadata": {"name": "web"}, "secrets": [{"name": "mine"}]}),
    );
    check(
        "apps/v1",
        "Deployment",
        json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "4"}}}),
        &json!({"metadata": {}}),
    );
    check(
        "v1",
        "PersistentVolumeClaim",
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes", "mine": "1"}},
            "spec": {"volumeName": "pv-1", "storageClassName": "fast"}}),
        &json!({"metadata": {"annotations": {"mine": "1"}}, "spec": {"storageClassName": "fast"}}),
    );
}

#[test]
fn a_job_is_untied_from_its_uid_unless_its_selector_was_made_by_hand() {
    let labels = json!({"controller-uid": "u", "batch.kubernetes.io/job-name": "j", "app": "a"});
    let job = |manual: bool| {
        json!({"metadata": {"labels": labels}, "spec": {"manualSelector": manual,
            "selector": {"matchLabels": {"controller-uid": "u"}}, "template": {"metadata": {"labels": labels}}}})
    };
    check("batch/v1", "Job", job(true), &job(true));
    let clean = json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"manualSelector": false, "template": {"metadata": {"labels": {"app": "a"}}}}});
    check("batch/v1", "Job", job(false), &clean);
}

#[test]
fn an_object_that_is_not_one_is_left_alone() {
    for object in [json!(null), json!([1]), json!({"metadata": 7, "spec": "x"})] {
        for kind in ["Pod", "Service", "ServiceAccount", "Namespace", "PersistentVolumeClaim"] {
            let mut broken = object.clone();
            assert_eq!(clean(&Kind::namespaced("v1", kind, "x"), &mut broken), None);
        }
    }
}

#[test]
fn a_role_that_gathers_others_keeps_its_wish_and_loses_what_was_gathered() {
    let role = |rules: Value| json!({"metadata": {"name": "a"}, "rules": rules});
    let own = role(json!([{"verbs": ["get"]}]));
    check("rbac.authorization.k8s.io/v1", "ClusterRole", own.clone(), &own);
    let mut gathering = own;
    gathering["aggregationRule"] = json!({"clusterRoleSelectors": []});
    let mut expected = gathering.clone();
    expected.as_object_mut().map(|role| role.remove("rules"));
    check("rbac.authorization.k8s.io/v1", "ClusterRole", gathering, &expected);
}
