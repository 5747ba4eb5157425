//! Who gets in, and how far.

use std::sync::Once;

use serde_json::{Value, json};

use crate::environment::{Environment, environment, eventually};

/// Goes past the API server, straight to ours.
pub(crate) fn direct(
    cluster: &Environment,
    certificate: Option<(&str, &str)>,
    path: &str,
) -> Result<String, String> {
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
    cluster.await_right("bob", &["create", "restoreactions.actions.kio.kasten.io", "-n", "tenant"]);
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

fn install_roles(cluster: &Environment) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let roles = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../deploy/roles");
        cluster.kubectl(&["apply", "-f", roles]);
    });
}

/// Verb, group, resource, perhaps with a sub-resource, and namespace.
type Right<'a> = [&'a str; 4];

/// What the API server says of a user in a group.
fn is_allowed(cluster: &Environment, who: (&str, &str), right: Right<'_>) -> bool {
    let [verb, group, resource, namespace] = right;
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": who.0, "groups": [who.1], "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource.split('/').next(),
            "subresource": resource.split('/').nth(1), "namespace": namespace}},
    });
    let words = ["create", "-f", "-", "-o", "jsonpath={.status.allowed}"];
    cluster.try_kubectl(&words, &review.to_string()).unwrap() == "true"
}

/// The roles of `deploy/roles` as an installation gets them.
#[test]
fn the_roles_of_an_installation_allow_what_they_are_for() {
    let cluster = environment();
    install_roles(cluster);
    for namespace in ["granted", "other"] {
        cluster.namespace(namespace);
        cluster.put("restorepoints", namespace, "rp", &[]);
    }
    cluster.put_in_state("applications", "granted", "granted", &[], "Active");
    cluster.kubectl(&[
        "create",
        "rolebinding",
        "dana",
        "-n",
        "granted",
        "--clusterrole=k10-basic",
        "--user=dana",
    ]);
    cluster.await_right("dana", &["create", "backupactions.actions.kio.kasten.io", "-n", "granted"]);

    let backup = json!({
        "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "BackupAction",
        "metadata": {"name": "mine", "namespace": "granted"},
        "spec": {"subject": {"name": "granted", "namespace": "granted"}},
    });
    cluster.kubectl_as("dana", &["create", "-f", "-"], &backup.to_string()).unwrap();
    for resource in ["restorepoints", "applications", "backupactions"] {
        cluster.kubectl_as("dana", &["get", resource, "-n", "granted"], "").unwrap();
        let elsewhere = cluster.kubectl_as("dana", &["get", resource, "-n", "other"], "").unwrap_err();
        assert!(elsewhere.contains("Forbidden"), "{elsewhere}");
    }
    let details = "/apis/apps.kio.kasten.io/v1alpha1/namespaces/granted/restorepoints/rp/details";
    cluster.kubectl_as("dana", &["get", "--raw", details], "").unwrap();

    let dana = ("dana", "system:authenticated");
    let admin = ("root-of-backups", "k10:admins");
    for (who, verb, group, resource, namespace, expected) in [
        (dana, "get", "config.kio.kasten.io", "profiles", "kasten-io", false),
        (dana, "create", "config.kio.kasten.io", "policies", "granted", true),
        (dana, "get", "apps.kio.kasten.io", "restorepointcontents", "", false),
        (dana, "get", "", "secrets", "granted", false),
        (admin, "create", "config.kio.kasten.io", "profiles", "kasten-io", true),
        (admin, "delete", "apps.kio.kasten.io", "restorepointcontents", "", true),
        (admin, "create", "dr.kio.kasten.io", "kastendrrestores", "kasten-io", true),
        (dana, "get", "repositories.kio.kasten.io", "storagerepositories", "kasten-io", false),
        (admin, "patch", "repositories.kio.kasten.io", "storagerepositories", "kasten-io", true),
        (admin, "delete", "repositories.kio.kasten.io", "storagerepositories", "kasten-io", true),
        (admin, "get", "repositories.kio.kasten.io", "storagerepositories/details", "kasten-io", true),
        (dana, "get", "vault.kio.kasten.io", "passkeys", "", false),
        (dana, "create", "vault.kio.kasten.io", "passkeys", "", false),
        (admin, "create", "vault.kio.kasten.io", "passkeys", "", true),
        (admin, "delete", "vault.kio.kasten.io", "passkeys", "", true),
        (admin, "update", "", "secrets", "kasten-io", true),
        (admin, "get", "", "secrets", "granted", false),
    ] {
        let allowed = is_allowed(cluster, who, [verb, group, resource, namespace]);
        assert_eq!(allowed, expected, "{} {verb} {resource}.{group} in '{namespace}'", who.0);
    }
}

const CONFIG: &str = "config.kio.kasten.io";
const MACHINES: &str = "kubevirt.io";
const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];

/// Binds a role to a user in one namespace, and shows of each resource, told by its group and name, which verbs the user
/// has there, and that he has none of them in another namespace.
fn check_role(cluster: &Environment, role: &str, namespace: &str, table: &[(&str, &str, &[&str])]) {
    let user = format!("holder-of-{role}");
    let (as_role, as_user) = (format!("--clusterrole={role}"), format!("--user={user}"));
    cluster.kubectl(&["create", "rolebinding", &user, "-n", namespace, &as_role, &as_user]);
    let may = |verb: &str, group: &str, resource: &str, namespace: &str| {
        is_allowed(cluster, (user.as_str(), "system:authenticated"), [verb, group, resource, namespace])
    };
    let (group, resource, verbs) = table[0];
    eventually(&format!("{user} may"), || may(verbs[0], group, resource, namespace).then_some(()));
    for (group, resource, verbs) in table {
        let allowed: Vec<_> =
            VERBS.into_iter().filter(|verb| may(verb, group, resource, namespace)).collect();
        assert_eq!(allowed, *verbs, "{user}: {resource}.{group} in '{namespace}'");
        let elsewhere = verbs.iter().find(|verb| may(verb, group, resource, "aside"));
        assert_eq!(elsewhere, None, "{user}: {resource}.{group} elsewhere");
    }
}

/// Nobody has them by an installation alone: they are there to be bound.
#[test]
fn the_roles_for_configuration_and_for_machines_show_the_one_and_change_the_other() {
    let cluster = environment();
    install_roles(cluster);
    for namespace in ["aside", "machines"] {
        cluster.namespace(namespace);
    }
    let shown: &[&str] = &["get", "list"];
    check_role(
        cluster,
        "k10-config-view",
        "kasten-io",
        &[
            (CONFIG, "profiles", shown),
            (CONFIG, "policies", shown),
            (CONFIG, "policypresets", shown),
            (CONFIG, "transformsets", shown),
            (CONFIG, "blueprintbindings", shown),
            (CONFIG, "storagesecuritycontexts", shown),
            (CONFIG, "storagesecuritycontextbindings", shown),
            (CONFIG, "auditconfigs", &[]),
            (CONFIG, "actionpodspecs", &[]),
            ("", "secrets", &[]),
            ("apps.kio.kasten.io", "restorepoints", &[]),
            ("actions.kio.kasten.io", "runactions", &[]),
        ],
    );
    let changed: &[&str] = &["get", "list", "patch"];
    check_role(
        cluster,
        "k10-virtualmachines-admin",
        "machines",
        &[
            (MACHINES, "virtualmachines", changed),
            (MACHINES, "virtualmachineinstances", changed),
            (MACHINES, "virtualmachines/status", &[]),
            ("", "persistentvolumeclaims", &["get"]),
            ("", "secrets", &[]),
            ("", "pods", &[]),
            (CONFIG, "policies", &[]),
            ("actions.kio.kasten.io", "restoreactions", &[]),
        ],
    );
}

#[test]
fn a_tenant_cancels_an_action_of_its_own_and_nobody_elses() {
    let cluster = environment();
    install_roles(cluster);
    for namespace in ["canceller", "neighbour"] {
        cluster.namespace(namespace);
        cluster.put_in_state("backupactions", namespace, "work", &[], "Pending");
    }
    let words =
        ["create", "rolebinding", "erin", "-n", "canceller", "--clusterrole=k10-basic", "--user=erin"];
    cluster.kubectl(&words);
    cluster.await_right("erin", &["create", "cancelactions.actions.kio.kasten.io", "-n", "canceller"]);
    let cancel = |namespace: &str, subject: Value| {
        let object = json!({
            "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "CancelAction",
            "metadata": {"generateName": "cancel-", "namespace": namespace}, "spec": {"subject": subject},
        });
        cluster.kubectl_as("erin", &["create", "-f", "-"], &object.to_string())
    };
    let work = |namespace: &str| json!({"kind": "BackupAction", "name": "work", "namespace": namespace});
    let there = cancel("neighbour", work("neighbour")).unwrap_err();
    assert!(there.contains("Forbidden") && there.contains("cancelactions"), "{there}");
    let across = cancel("canceller", work("neighbour")).unwrap_err();
    assert!(across.contains("spec.subject.namespace") && across.contains("\"canceller\""), "{across}");
    let state = ["get", "backupaction", "work", "-o", "jsonpath={.status.state}", "-n"];
    let state = |namespace| cluster.kubectl(&[&state[..], &[namespace]].concat());
    assert_eq!(state("neighbour"), "Pending");

    let created = cancel("canceller", work("canceller")).unwrap();
    assert!(created.starts_with("cancelaction.actions.kio.kasten.io/cancel-"), "{created}");
    assert_eq!(state("canceller"), "Cancelled");
    let again = cancel("canceller", work("canceller")).unwrap_err();
    assert!(again.contains("has ended already, Cancelled: it cannot be cancelled"), "{again}");
    let listed = cluster.try_kubectl(&["get", "cancelactions", "-n", "canceller"], "").unwrap_err();
    assert!(listed.contains("does not allow"), "{listed}");
}
