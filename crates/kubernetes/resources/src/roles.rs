//! The roles that an installation offers to its users, as documented, and those of its own accounts. `release` is the name
//! of the release.

mod serve;

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

const RBAC: &str = "rbac.authorization.k8s.io";
const RBAC_VERSION: &str = "rbac.authorization.k8s.io/v1";

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
    let ns_admin = role(&format!("{release}-ns-admin"), install_namespace, &namespace_admin_rules());
    let admins = json!({ "apiGroup": RBAC, "kind": "Group", "name": ADMIN_GROUP });
    let bindings = [
        bind(&admin, &format!("{release}-k10-admin"), &admins),
        bind(&ns_admin, &format!("{release}-k10-ns-admin"), &admins),
    ];
    let accounts = guard_roles(release, install_namespace)
        .into_iter()
        .chain(serve::serve_roles(release, install_namespace));
    let roles = [admin, basic, config_view, machines, ns_admin].into_iter().chain(bindings).chain(accounts);
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

fn namespace_admin_rules() -> Vec<Value> {
    vec![
        rule(&["apps"], &["deployments"], &["get", "list"]),
        rule(&[""], &["pods"], &["get", "list"]),
        rule(&[""], &["secrets", "configmaps"], &["create", "delete", "get", "list", "update"]),
        rule(&["batch"], &["jobs"], &["get"]),
    ]
}

/// What `keelson guard` needs, and no more: it reads no Secret and writes nothing.
fn guard_roles(release: &str, namespace: &str) -> [Value; 4] {
    let name = format!("{release}-guard");
    let api_services = group::AGGREGATED.map(|of| format!("{}.{of}", group::VERSION));
    let api_services: Vec<_> = api_services.iter().map(String::as_str).collect();
    let registration = [
        rule(&["apiregistration.k8s.io"], &["apiservices"], &["list"]),
        named(rule(&["apiregistration.k8s.io"], &["apiservices"], &["delete"]), &api_services),
        named(rule(&[""], &["namespaces"], &["get", "list", "watch"]), &[namespace]),
    ];
    let own = [
        named(rule(&["coordination.k8s.io"], &["leases"], &["get", "delete"]), &[SERVE_LEASE]),
        named(rule(&[""], &["services"], &["delete"]), &[API_SERVICE]),
    ];
    let registration = cluster_role(&name, &registration);
    let own = role(&name, namespace, &own);
    let account = account(&name, namespace);
    let (everywhere, here) = (bind(&registration, &name, &account), bind(&own, &name, &account));
    [registration, own, everywhere, here]
}

pub(crate) fn account(name: &str, namespace: &str) -> Value {
    json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace })
}

fn cluster_role(name: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": RBAC_VERSION,
        "kind": "ClusterRole",
        "metadata": { "name": name },
        "rules": rules,
    })
}

pub(crate) fn role(name: &str, namespace: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": RBAC_VERSION,
        "kind": "Role",
        "metadata": { "name": name, "namespace": namespace },
        "rules": rules,
    })
}

/// Gives a role to somebody, for as far as the role reaches.
pub(crate) fn bind(role: &Value, name: &str, subject: &Value) -> Value {
    let kind = role["kind"].as_str().unwrap_or_default();
    let mut metadata = role["metadata"].clone();
    metadata["name"] = json!(name);
    json!({
        "apiVersion": RBAC_VERSION,
        "kind": format!("{kind}Binding"),
        "metadata": metadata,
        "roleRef": { "apiGroup": RBAC, "kind": kind, "name": role["metadata"]["name"] },
        "subjects": [subject],
    })
}

pub(crate) fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": groups, "resources": resources, "verbs": verbs })
}

/// The rule for objects of these names alone.
pub(crate) fn named(mut rule: Value, names: &[&str]) -> Value {
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
                "clusterrole-k10-serve.yaml",
                "role-k10-serve.yaml",
                "clusterrolebinding-k10-serve.yaml",
                "rolebinding-k10-serve.yaml",
                "rolebinding-k10-serve-authentication.yaml",
                "clusterrole-k10-serve-applications.yaml",
                "clusterrolebinding-k10-serve-applications.yaml",
            ]
        );
    }

    /// Roles of users, and the binding of one, stayed behind.
    #[test]
    fn what_does_not_go_with_the_install_namespace_is_named_where_its_removal_is_described() {
        let page = include_str!("../../../../docs/operations/api.md");
        let (_, section) = page.split_once("## Remove the platform").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let deletions: Vec<_> =
            section.lines().filter_map(|line| line.strip_prefix("kubectl delete ")).collect();
        for (file, object) in roles("k10", "kasten-io") {
            if object["metadata"]["namespace"] == "kasten-io" {
                continue;
            }
            let kind = object["kind"].as_str().unwrap().to_ascii_lowercase();
            let is_named = |deletion: &&str| {
                let (kinds, names) = deletion.split_once(' ').unwrap();
                kinds.split(',').any(|found| found == kind)
                    && names.split(' ').any(|found| object["metadata"]["name"] == found)
            };
            assert!(deletions.iter().any(is_named), "{file}");
        }
    }

    #[test]
    fn a_basic_user_may_cancel_and_restore_but_reads_no_profile() {
        let (_, basic) = roles("k10", "kasten-io").swap_remove(1);
        let text = basic.to_string();
        assert!(text.contains("cancelactions") && text.contains("restoreactions/details"));
        assert!(!text.contains("profiles") && !text.contains("secrets"));
    }

    /// The rules of a role that allow this.
    fn allowed<'a>(roles: &'a [(String, Value)], file: &str, verb: &str) -> Vec<&'a Value> {
        let (_, role) = roles.iter().find(|(name, _)| name == file).unwrap();
        let rules = role["rules"].as_array().unwrap().iter();
        rules.filter(|rule| rule["verbs"].as_array().unwrap().contains(&json!(verb))).collect()
    }

    #[test]
    fn only_the_rights_to_applications_are_wide_and_they_are_bound_apart() {
        let roles = roles("k10", "kasten-io");
        for (file, object) in roles.iter().filter(|(file, _)| file.contains("-serve")) {
            assert!(!object.to_string().contains(r#""verbs":["*"]"#), "{file}");
        }
        let own = roles.iter().filter(|(file, _)| file.ends_with("role-k10-serve.yaml"));
        for (file, object) in own {
            assert!(!object.to_string().contains(r#""*""#), "{file}");
        }
        // Whoever may write these is an administrator of the cluster.
        for verb in ["impersonate", "escalate", "bind"] {
            assert!(allowed(&roles, "clusterrole-k10-serve.yaml", verb).is_empty(), "{verb}");
        }
        for rule in allowed(&roles, "clusterrole-k10-serve.yaml", "delete") {
            assert_eq!(rule["resources"], json!(["apiservices"]));
            assert_eq!(rule["resourceNames"].as_array().map(Vec::len), Some(group::AGGREGATED.len()));
        }
        for rule in allowed(&roles, "role-k10-serve.yaml", "delete") {
            assert!(rule["resources"] == json!(["reports"]) || rule["resourceNames"].is_array(), "{rule}");
        }
        let of_configuration = allowed(&roles, "clusterrole-k10-serve.yaml", "watch");
        assert!(of_configuration.iter().any(|rule| rule["resources"].to_string().contains("policypresets")));
        assert!(!of_configuration.iter().any(|rule| rule["resources"].to_string().contains("secrets")));
    }
}
