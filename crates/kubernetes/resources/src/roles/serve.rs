//! What `keelson serve` asks the API server for: for itself, and for the applications that it protects.
//!
//! Applications are of any kind, and RBAC tells neither kinds from sub-resources nor names by how they begin: the rights
//! to them are an administrator's, whatever is left out. They are a role of their own, which may be bound to some
//! namespaces instead of all. Without it the platform is served and protects itself.

use std::collections::BTreeSet;

use keelson_model::names::{
    API_SERVICE, CONFIRM_CONFIG_MAP, DR_POLICY, DR_SECRET, OWNERSHIP_CONFIG_MAP, REPORTS_CONFIG_MAP,
    SERVE_LEASE, STATUS_CONFIG_MAP, group,
};
use keelson_model::passphrase::VaultAccess;
use serde_json::{Value, json};

use super::{RBAC, account, bind, cluster_role, named, role, rule};
use crate::configuration::CONFIGURATION;
use crate::crd::crds;
use crate::kind::KINDS;

const API_SERVICES: &str = "apiservices";
/// The cluster's own: to read who signs what its API server shows to those whom it hands requests on to.
const AUTHENTICATION_READER: &str = "extension-apiserver-authentication-reader";

/// The account is the one that an installation has always had.
pub(super) fn serve_roles(release: &str, namespace: &str) -> [Value; 7] {
    let name = format!("{release}-serve");
    let account = account(&format!("{release}-k10"), namespace);
    let everywhere = cluster_role(&name, &own_rules(namespace));
    let here = role(&name, namespace, &install_rules());
    let authentication = role(AUTHENTICATION_READER, "kube-system", &[]);
    let applications = cluster_role(&format!("{name}-applications"), &application_rules());
    let bindings = [
        bind(&everywhere, &name, &account),
        bind(&here, &name, &account),
        bind(&authentication, &format!("{name}-authentication"), &account),
        bind(&applications, &format!("{name}-applications"), &account),
    ];
    let [of_everywhere, of_here, of_authentication, of_applications] = bindings;
    [everywhere, here, of_everywhere, of_here, of_authentication, applications, of_applications]
}

/// In every namespace, and outside all.
fn own_rules(namespace: &str) -> Vec<Value> {
    let registration = ["apiregistration.k8s.io"];
    let configuration: Vec<_> = CONFIGURATION.iter().map(|of| of.plural).collect();
    let statuses: Vec<_> = configuration.iter().map(|plural| format!("{plural}/status")).collect();
    vec![
        json!({ "nonResourceURLs": ["/api", "/apis", "/version"], "verbs": ["get"] }),
        rule(&[""], &["namespaces"], &["get", "list", "watch"]),
        named(rule(&[""], &["namespaces"], &["patch"]), &[namespace]),
        // Whether a registration of somebody else still leads to something.
        rule(&[""], &["services"], &["get"]),
        rule(&["events.k8s.io"], &["events"], &["create"]),
        rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
        // What an apply creates has a name when the API server asks whether it may be created.
        named(
            rule(&["apiextensions.k8s.io"], &["customresourcedefinitions"], &["create", "get", "patch"]),
            &borrowed(&definitions()),
        ),
        rule(&registration, &[API_SERVICES], &["list", "watch"]),
        named(rule(&registration, &[API_SERVICES], &["create", "patch"]), &borrowed(&served())),
        named(rule(&registration, &[API_SERVICES], &["delete"]), &borrowed(&taken_away())),
        rule(&[group::CONFIG], &configuration, &["create", "get", "list", "patch", "watch"]),
        rule(&[group::CONFIG], &borrowed(&statuses), &["patch"]),
    ]
}

/// In the namespace of the installation.
fn install_rules() -> Vec<Value> {
    let leases = ["coordination.k8s.io"];
    vec![
        // Those that profiles and Passkeys name are mirrored, and put back after a loss, whatever they are called.
        rule(&[""], &["secrets"], &["create", "get", "list", "patch", "update", "watch"]),
        // What a person changes with `dr enable` and `dr disable` in the pod, and what a refusal takes back.
        named(rule(&[""], &["secrets"], &["delete"]), &[DR_SECRET]),
        named(rule(&[group::CONFIG], &["policies"], &["delete", "update"]), &[DR_POLICY]),
        named(
            rule(&[""], &["configmaps"], &["create", "patch"]),
            &[OWNERSHIP_CONFIG_MAP, REPORTS_CONFIG_MAP, STATUS_CONFIG_MAP],
        ),
        named(rule(&[""], &["configmaps"], &["delete", "get"]), &[CONFIRM_CONFIG_MAP, OWNERSHIP_CONFIG_MAP]),
        // What a person reads with `dr status` in the pod.
        named(rule(&[""], &["configmaps"], &["get"]), &[VaultAccess::CONFIG_MAP, STATUS_CONFIG_MAP]),
        named(rule(&[""], &["services"], &["create", "delete", "patch"]), &[API_SERVICE]),
        rule(&leases, &["leases"], &["create"]),
        named(rule(&leases, &["leases"], &["get", "update"]), &[SERVE_LEASE]),
        // Whose name is the chart's: whether another comes after this one.
        rule(&["apps"], &["deployments"], &["get"]),
        rule(&[group::REPORTING], &["reports"], &["create", "delete", "get", "list"]),
    ]
}

/// To back up and restore whatever there is. Nothing is watched, nothing deleted but by its name.
fn application_rules() -> Vec<Value> {
    vec![
        rule(&["*"], &["*"], &["create", "delete", "get", "list", "patch", "update"]),
        // What a person asks to have restored is written in that person's name. The uid and what else is known of people
        // are resources of any name.
        rule(&[""], &["groups", "users"], &["impersonate"]),
        rule(&["authentication.k8s.io"], &["*"], &["impersonate"]),
        // Names of the cluster are not borrowed: whether they may do this is reviewed, and then it is done for them.
        rule(&[RBAC], &["clusterroles", "roles"], &["bind", "escalate"]),
    ]
}

fn definitions() -> Vec<String> {
    let names = crds().into_iter().map(|(_, definition)| definition["metadata"]["name"].clone());
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn served() -> BTreeSet<String> {
    KINDS.iter().map(|kind| format!("{}.{}", kind.version, kind.group)).collect()
}

/// Those of an installation before us, too.
fn taken_away() -> [String; 7] {
    group::AGGREGATED.map(|of| format!("{}.{of}", group::VERSION))
}

fn borrowed<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    names.into_iter().map(String::as_str).collect()
}
