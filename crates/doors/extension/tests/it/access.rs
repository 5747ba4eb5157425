//! Who gets in, and how far.

use serde_json::json;

use crate::environment::{Environment, environment};

/// Goes past the API server, straight to ours.
fn direct(cluster: &Environment, certificate: Option<(&str, &str)>, path: &str) -> Result<String, String> {
    let directory = cluster.plane.directory();
    let mut command = cluster.plane.kubectl();
    let empty = directory.join("empty-kubeconfig");
    std::fs::write(&empty, "apiVersion: v1\nkind: Config\n").unwrap();
    command.arg("--kubeconfig").arg(&empty);
    command.arg("--server").arg(format!("https://localhost:{}", cluster.port));
    command.arg("--certificate-authority").arg(&cluster.authority);
    if let Some((user, group)) = certificate {
        let signed = cluster.plane.client_certificate(user, Some(group)).unwrap();
        let (certificate, key) = (directory.join("direct.crt"), directory.join("direct.key"));
        std::fs::write(&certificate, signed.certificate).unwrap();
        std::fs::write(&key, signed.key).unwrap();
        command.arg("--client-certificate").arg(certificate).arg("--client-key").arg(key);
    }
    let output = command.args(["--token", "of-nobody", "get", "--raw", path]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn nobody_reaches_data_past_the_api_server() {
    let cluster = environment();
    let path = "/apis/apps.kio.kasten.io/v1alpha1/restorepoints";
    let anonymous = direct(cluster, None, path).unwrap_err();
    assert!(anonymous.contains("Unauthorized") || anonymous.contains("logged in"), "{anonymous}");
    let stranger = direct(cluster, Some(("admin", "system:masters")), path).unwrap_err();
    assert!(stranger.contains("Unauthorized") || stranger.contains("logged in"), "{stranger}");
    assert!(direct(cluster, None, "/apis").unwrap().contains("apps.kio.kasten.io"));
    assert_eq!(direct(cluster, None, "/readyz").unwrap(), "ok");
}

#[test]
fn a_user_needs_the_right_to_what_a_spec_refers_to() {
    let cluster = environment();
    for namespace in ["tenant", "victim"] {
        cluster.namespace(namespace);
    }
    cluster.put("restorepoints", "victim", "secrets", &[]);
    cluster.put("restorepoints", "tenant", "own", &[]);
    let rules = json!({
        "apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
             "metadata": {"name": "restorer", "namespace": "tenant"},
             "rules": [{"apiGroups": ["actions.kio.kasten.io", "apps.kio.kasten.io"],
                        "resources": ["restoreactions", "restorepoints"], "verbs": ["*"]}]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
             "metadata": {"name": "restorer", "namespace": "tenant"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "restorer"},
             "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]},
        ],
    });
    cluster.create(&rules).unwrap();
    let restore = |name: &str, namespace: &str, point: &str| {
        json!({
            "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "RestoreAction",
            "metadata": {"name": name, "namespace": "tenant"},
            "spec": {"subject": {"kind": "RestorePoint", "name": point, "namespace": namespace}},
        })
        .to_string()
    };
    let create = ["create", "-f", "-"];
    let theft = cluster.kubectl_as("bob", &create, &restore("theft", "victim", "secrets")).unwrap_err();
    assert!(
        theft.contains("User \"bob\" cannot get resource \"restorepoints\"") && theft.contains("victim"),
        "{theft}"
    );
    cluster.kubectl_as("bob", &create, &restore("own", "tenant", "own")).unwrap();
    let listed = cluster.kubectl_as("bob", &["get", "restorepoints", "-n", "victim"], "").unwrap_err();
    assert!(listed.contains("Forbidden"), "{listed}");
}
