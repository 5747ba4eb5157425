//! The roles that an installation offers to its users, as documented, and the one of its guard. `release` is the name of
//! the release.

use keelson_model::names::{API_SERVICE, SERVE_LEASE, group};
use serde_json::{Value, json};

/// The groups whose resources an administrator may do anything with.
const ADMIN_GROUPS: [&str; 8] = [
    group::ACTIONS,
    group::APPS,
    group::CONFIG,
    group::DATAMOVER,
    group::DR,
    group::REPORTING,
    group::REPOSITORIES,
    group::VAULT,
];

const CONFIGURATION: [&str; 7] = [
    "profiles",
    "policies",
    "policypresets",
    "transformsets",
    "blueprintbindings",
    "storagesecuritycontexts",
    "storagesecuritycontextbindings",
];

/// The group that administrators belong to.
pub const ADMIN_GROUP: &str = "k10:admins";

/// The roles and bindings of a release, each with the name of its file.
pub fn roles(release: &str, install_namespace: &str) -> Vec<(String, Value)> {
    let admin_groups: Vec<_> = ADMIN_GROUPS.into_iter().chain(["cr.kanister.io"]).collect();
    let admin = cluster_role(
        &format!("{release}-admin"),
        &[rule(&admin_groups, &["*"], &["*"]), rule(&[""], &["namespaces"], &["create", "get", "list"])],
    );
    let basic = cluster_role(&format!("{release}-basic"), &basic_rules());
    let config_view = cluster_role(
        &format!("{release}-config-view"),
        &[rule(&[group::CONFIG], &CONFIGURATION, &["get", "list"])],
    );
    let machines = cluster_role(
        &format!("{release}-virtualmachines-admin"),
        &[
            rule(
                &["kubevirt.io"],
                &["virtualmachines", "virtualmachineinstances"],
                &["get", "list", "patch"],
            ),
            rule(&[""], &["persistentvolumeclaims"], &["get"]),
        ],
    );
    let ns_admin = namespace_admin(release, install_namespace);
    let bindings = admin_bindings(release, install_namespace);
    let guard = guard_roles(release, install_namespace);
    let roles = [admin, basic, config_view, machines, ns_admin].into_iter().chain(bindings).chain(guard);
    roles.map(with_file).collect()
}

fn basic_rules() -> Vec<Value> {
    let actions = ["backupactions", "restoreactions", "exportactions", "runactions"];
    let details: Vec<_> = actions.iter().map(|action| format!("{action}/details")).collect();
    let mut resources: Vec<&str> = actions.to_vec();
    resources.extend(details.iter().map(String::as_str));
    resources.push("cancelactions");
    vec![
        rule(&[group::ACTIONS], &resources, &["*"]),
        rule(
            &[group::APPS],
            &["restorepoints", "restorepoints/details", "applications", "applications/details"],
            &["*"],
        ),
        rule(&[group::CONFIG], &["policies"], &["*"]),
        rule(&["datamover.kio.kasten.io"], &["filerecoverysessions"], &["*"]),
        rule(&[""], &["namespaces"], &["get"]),
    ]
}

fn namespace_admin(release: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": { "name": format!("{release}-ns-admin"), "namespace": namespace },
        "rules": [
            rule(&["apps"], &["deployments"], &["get", "list"]),
            rule(&[""], &["pods"], &["get", "list"]),
            rule(&[""], &["secrets", "configmaps"], &["create", "delete", "get", "list", "update"]),
            rule(&["batch"], &["jobs"], &["get"]),
        ],
    })
}

fn admin_bindings(release: &str, namespace: &str) -> [Value; 2] {
    let subjects = json!([{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": ADMIN_GROUP }]);
    let role_ref = |kind: &str, name: String| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
    [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("{release}-k10-admin") },
            "roleRef": role_ref("ClusterRole", format!("{release}-admin")),
            "subjects": subjects,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "name": format!("{release}-k10-ns-admin"), "namespace": namespace },
            "roleRef": role_ref("Role", format!("{release}-ns-admin")),
            "subjects": subjects,
        }),
    ]
}

/// What `keelson guard` needs, and no more: it reads no Secret and writes nothing.
fn guard_roles(release: &str, namespace: &str) -> [Value; 4] {
    let name = format!("{release}-guard");
    let api_services = group::AGGREGATED.map(|of| format!("{}.{of}", group::VERSION));
    let api_services: Vec<_> = api_services.iter().map(String::as_str).collect();
    let metadata = json!({ "name": name, "namespace": namespace });
    let subjects = json!([{ "kind": "ServiceAccount", "name": name, "namespace": namespace }]);
    let role_ref =
        |kind: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
    let registration = [
        rule(&["apiregistration.k8s.io"], &["apiservices"], &["list"]),
        named(rule(&["apiregistration.k8s.io"], &["apiservices"], &["delete"]), &api_services),
        named(rule(&[""], &["namespaces"], &["get", "list", "watch"]), &[namespace]),
    ];
    let own = [
        named(rule(&["coordination.k8s.io"], &["leases"], &["get", "delete"]), &[SERVE_LEASE]),
        named(rule(&[""], &["services"], &["delete"]), &[API_SERVICE]),
    ];
    [
        cluster_role(&name, &registration),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": own }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": role_ref("ClusterRole"),
            "subjects": subjects,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": role_ref("Role"),
            "subjects": subjects,
        }),
    ]
}

fn cluster_role(name: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": name },
        "rules": rules,
    })
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": groups, "resources": resources, "verbs": verbs })
}

/// The rule for objects of these names alone.
fn named(mut rule: Value, names: &[&str]) -> Value {
    rule["resourceNames"] = json!(names);
    rule
}

fn with_file(object: Value) -> (String, Value) {
    let kind = object["kind"].as_str().unwrap_or_default().to_ascii_lowercase();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    (format!("{kind}-{name}.yaml"), object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_roles_and_bindings_are_there() {
        let files: Vec<_> = roles("k10", "kasten-io").into_iter().map(|(file, _)| file).collect();
        assert_eq!(
            files,
            [
                "clusterrole-k10-admin.yaml",
                "clusterrole-k10-basic.yaml",
                "clusterrole-k10-config-view.yaml",
                "clusterrole-k10-virtualmachines-admin.yaml",
                "role-k10-ns-admin.yaml",
                "clusterrolebinding-k10-k10-admin.yaml",
                "rolebinding-k10-k10-ns-admin.yaml",
                "clusterrole-k10-guard.yaml",
                "role-k10-guard.yaml",
                "clusterrolebinding-k10-guard.yaml",
                "rolebinding-k10-guard.yaml",
            ]
        );
    }

    #[test]
    fn a_basic_user_may_cancel_and_restore_but_reads_no_profile() {
        let (_, basic) = roles("k10", "kasten-io").swap_remove(1);
        let text = basic.to_string();
        assert!(text.contains("cancelactions") && text.contains("restoreactions/details"));
        assert!(!text.contains("profiles") && !text.contains("secrets"));
    }
}
