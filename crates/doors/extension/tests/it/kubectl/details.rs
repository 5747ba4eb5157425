//! The sub-resource details, as people ask for it, with rights of their own.

use keelson_resources::find_kind;
use serde_json::{Value, json};

use crate::environment::environment;

fn grant(namespace: &str, user: &str, resources: &[&str]) -> Value {
    let rbac = "rbac.authorization.k8s.io";
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": user, "namespace": namespace},
         "rules": [{"apiGroups": ["apps.kio.kasten.io"], "resources": resources, "verbs": ["get"]}]},
        {"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": user, "namespace": namespace},
         "roleRef": {"apiGroup": rbac, "kind": "Role", "name": user},
         "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}]},
    ]})
}

#[test]
fn details_of_an_application_take_a_right_of_their_own_and_show_names_alone() {
    let cluster = environment();
    let looked = "looked-into";
    cluster.namespace(looked);
    let literal = "--from-literal=word=hunter2";
    cluster.kubectl(&["create", "secret", "generic", "password", "-n", looked, literal]);
    cluster.kubectl(&["annotate", "secret", "password", "-n", looked, "copy=hunter2"]);
    let kind = find_kind("apps.kio.kasten.io", "applications").unwrap();
    let body = json!({"spec": {"namespace": {"name": looked}}, "status": {"state": "Active"}});
    cluster.put_object(kind, looked, looked, &body);
    cluster.create(&grant(looked, "grace", &["applications"])).unwrap();
    cluster.create(&grant(looked, "frank", &["applications/details"])).unwrap();

    let of = |name: &str| {
        format!("/apis/apps.kio.kasten.io/v1alpha1/namespaces/{looked}/applications/{name}/details")
    };
    let path = of(looked);
    let asked = ["get", "--raw", &path];
    let refused = cluster.kubectl_as("grace", &asked, "").unwrap_err();
    assert!(refused.contains("Forbidden") || refused.contains("forbidden"), "{refused}");
    let secrets = cluster.kubectl_as("frank", &["get", "secrets", "-n", looked], "").unwrap_err();
    assert!(secrets.contains("Forbidden"), "{secrets}");
    let told = cluster.kubectl_as("frank", &asked, "").unwrap();
    assert!(!told.contains("hunter2"), "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["kind"], &told["status"]["state"]), (&json!("Application"), &json!("Active")));
    let config = told["status"]["appDetails"]["components"]["config"].as_array().unwrap();
    let secret = json!({
        "kind": "Secret", "name": "password", "namespace": looked, "apiVersion": "v1", "group": "",
        "resource": "secrets",
    });
    assert!(config.contains(&secret), "{config:?}");
    let absent = cluster.try_kubectl(&["get", "--raw", &of("none")], "").unwrap_err();
    assert!(absent.contains("\"none\" not found") || absent.contains("NotFound"), "{absent}");
}
