//! Policies as the cluster holds them: fetched, parsed, and what they select.

use std::collections::{BTreeMap, BTreeSet};

use keelson_catalog::{Database, Labels, ReadError, RowKey};
use keelson_model::names::{CLUSTER_SCOPE, label};
use keelson_model::selector::{Application, ApplicationSelector, LabelSelector};
use keelson_model::{Classified, ErrorClass};
use keelson_resources::policy::{self, ParsedPolicy};
use keelson_resources::spec_hash;
use keelson_workload::{NamespacePhase, NamespaceState, RequestError};
use serde_json::Value;

use crate::grants;
use crate::kinds;
use crate::mirror;
use crate::platform::Platform;
use crate::validation::faults_of;

/// Namespaces of the cluster itself: no application lives there.
pub(crate) const EXCLUDED_NAMESPACES: [&str; 4] =
    ["kube-system", "kube-public", "kube-node-lease", "default"];

/// Whether a namespace is the platform's own or the cluster's: no policy selects it.
pub(crate) fn is_reserved(install_namespace: &str, namespace: &str) -> bool {
    namespace == install_namespace || EXCLUDED_NAMESPACES.contains(&namespace)
}

/// Whether what bears this name as its namespace belongs to the platform or the cluster, and not to an application.
pub(crate) fn is_no_application(install_namespace: &str, name: &str) -> bool {
    is_reserved(install_namespace, name) || name == CLUSTER_SCOPE
}

/// Selects what a policy made.
pub(crate) fn made_by(namespace: &str, name: &str) -> LabelSelector {
    LabelSelector::equal(label::POLICY_NAME, name).and_equal(label::POLICY_NAMESPACE, namespace)
}

/// Namespace and name of the policy that something is of, as its labels say.
pub(crate) fn policy_of(labels: &Labels) -> Option<(&str, &str)> {
    let label = |name: &str| labels.get(name).map(String::as_str);
    label(label::POLICY_NAMESPACE).zip(label(label::POLICY_NAME))
}

/// A policy whose specification was found sound.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub namespace: String,
    pub name: String,
    pub object: Value,
    pub parsed: ParsedPolicy,
}

/// A policy that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("read policy '{namespace}/{name}'")]
    Read { namespace: String, name: String, source: RequestError },
    #[error("read preset '{namespace}/{name}'")]
    ReadPreset { namespace: String, name: String, source: RequestError },
    #[error("there is no policy '{name}' in namespace '{namespace}'")]
    Absent { namespace: String, name: String },
    #[error("policy '{name}' is not valid: {}", faults.join("; "))]
    Invalid { name: String, faults: Vec<String> },
    #[error("look for the labels that policy '{name}' selects by")]
    ListLabels { name: String, source: RequestError },
    #[error("policy '{name}' has not been validated as it stands")]
    NotValidated { name: String },
    #[error("list the namespaces that policy '{name}' may select")]
    ListNamespaces { name: String, source: RequestError },
}

impl Classified for PolicyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. }
            | Self::ReadPreset { source, .. }
            | Self::ListNamespaces { source, .. }
            | Self::ListLabels { source, .. } => source.class(),
            Self::Absent { .. } => ErrorClass::NotFound,
            Self::Invalid { .. } => ErrorClass::Invalid,
            Self::NotValidated { .. } => ErrorClass::Unavailable { retry_after: None },
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "policy.read",
            Self::ReadPreset { .. } => "policy.read_preset",
            Self::Absent { .. } => "policy.absent",
            Self::Invalid { .. } => "policy.invalid",
            Self::NotValidated { .. } => "policy.not_validated",
            Self::ListNamespaces { .. } => "policy.list_namespaces",
            Self::ListLabels { .. } => "policy.list_labels",
        }
    }
}

/// Fetches a policy and refuses one that may not run as it stands.
pub(crate) async fn fetch_valid(
    platform: &Platform,
    namespace: &str,
    name: &str,
) -> Result<Policy, PolicyError> {
    let object = fetch(platform, namespace, name).await?;
    let preset = fetch_preset(platform, &object).await?;
    parse_valid(&object, preset.as_ref(), &platform.settings.install_namespace)
}

/// Fetches a policy that somebody may have written a moment ago. None if it is not sound as it stands: it does not run then.
pub(crate) async fn fetch_unjudged(
    platform: &Platform,
    namespace: &str,
    name: &str,
) -> Result<Option<Policy>, PolicyError> {
    let object = fetch(platform, namespace, name).await?;
    let preset = fetch_preset(platform, &object).await?;
    Ok(policy::resolve(&object, preset.as_ref()).and_then(parse).ok())
}

/// The preset that a policy names, if it is there.
async fn fetch_preset(platform: &Platform, policy: &Value) -> Result<Option<Value>, PolicyError> {
    let Some((namespace, name)) = policy::preset_of(policy) else { return Ok(None) };
    let read = platform.cluster.read_object(&kinds::preset(), Some(&namespace), &name).await;
    read.map_err(|source| PolicyError::ReadPreset { namespace, name, source })
}

async fn fetch(platform: &Platform, namespace: &str, name: &str) -> Result<Value, PolicyError> {
    platform
        .cluster
        .read_object(&kinds::policy(), Some(namespace), name)
        .await
        .map_err(|source| PolicyError::Read { namespace: namespace.into(), name: name.into(), source })?
        .ok_or_else(|| PolicyError::Absent { namespace: namespace.into(), name: name.into() })
}

/// A policy that the controller found valid as it stands now. A verdict about an earlier specification counts for
/// nothing, and where a policy may reach is never believed: the hash is short and can be aimed at. `preset` is the one that
/// it names, if that is there.
pub(crate) fn parse_valid(
    object: &Value,
    preset: Option<&Value>,
    install_namespace: &str,
) -> Result<Policy, PolicyError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let status = &object["status"];
    let is_current = status["hash"].as_u64() == Some(u64::from(spec_hash(&object["spec"])));
    match status["validation"].as_str() {
        Some("Success") if is_current => {}
        Some("Failed") if is_current => {
            let mut faults = faults_of(status);
            if faults.is_empty() {
                faults.push("its validation failed".to_owned());
            }
            return Err(PolicyError::Invalid { name, faults });
        }
        _ => return Err(PolicyError::NotValidated { name }),
    }
    if preset.is_some_and(|preset| !policy::is_judged(preset)) {
        return Err(PolicyError::NotValidated { name });
    }
    let policy = match policy::resolve(object, preset).and_then(parse) {
        Ok(policy) => policy,
        Err(faults) => return Err(PolicyError::Invalid { name, faults }),
    };
    match policy.parsed.check_placement(install_namespace) {
        faults if faults.is_empty() => Ok(policy),
        faults => Err(PolicyError::Invalid { name, faults }),
    }
}

/// A policy as it is mirrored, if it runs by itself: one that was found valid and is not paused.
pub(crate) fn runnable(
    catalog: &Database,
    body: &[u8],
    install_namespace: &str,
) -> Result<Option<Policy>, ReadError> {
    let Some(object) = mirror::object_of(body) else { return Ok(None) };
    if object["spec"]["paused"] == true {
        return Ok(None);
    }
    let preset = match policy::preset_of(&object) {
        Some((namespace, name)) => catalog.read(&RowKey::new(kinds::presets(), namespace, name))?,
        None => None,
    };
    let preset = preset.and_then(|stored| mirror::object_of(&stored.row.body));
    Ok(parse_valid(&object, preset.as_ref(), install_namespace).ok())
}

/// Of the object nothing is kept that may not be shown.
pub(crate) fn parse(mut object: Value) -> Result<Policy, Vec<String>> {
    let parsed = policy::parse(&object)?;
    if let Some(spec) = object.get_mut("spec") {
        grants::hide_keys(spec);
    }
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    Ok(Policy { namespace: text("namespace"), name: text("name"), parsed, object })
}

/// The namespaces that a policy selects now, in order, and the cluster scope under the name that stands for it.
pub(crate) async fn select_applications(
    platform: &Platform,
    policy: &Policy,
) -> Result<Vec<String>, PolicyError> {
    let namespaces = platform
        .cluster
        .namespaces()
        .await
        .map_err(|source| PolicyError::ListNamespaces { name: policy.name.clone(), source })?;
    select_among(platform, policy, &namespaces).await
}

/// Those of the cluster's namespaces that are applications, in order.
pub(crate) fn applications(install_namespace: &str, namespaces: &[NamespaceState]) -> Vec<String> {
    let mut found: Vec<String> = namespaces
        .iter()
        .filter(|state| is_application(install_namespace, state))
        .map(|state| state.name.clone())
        .collect();
    found.sort();
    found
}

fn is_application(install_namespace: &str, state: &NamespaceState) -> bool {
    state.phase == NamespacePhase::Active && !is_no_application(install_namespace, &state.name)
}

/// Those of the cluster's namespaces that a policy selects, in order.
pub(crate) async fn select_among(
    platform: &Platform,
    policy: &Policy,
    namespaces: &[NamespaceState],
) -> Result<Vec<String>, PolicyError> {
    let Some(selector) = &policy.parsed.selector else { return Ok(Vec::new()) };
    let labelled = match selector.labels() {
        Some(labels) => platform
            .cluster
            .namespaces_with_labels(&labels.to_string())
            .await
            .map_err(|source| PolicyError::ListLabels { name: policy.name.clone(), source })?,
        None => BTreeSet::new(),
    };
    let install = &platform.settings.install_namespace;
    let mut selected: Vec<String> = namespaces
        .iter()
        .filter(|state| is_application(install, state))
        .filter(|state| policy.namespace == *install || policy.namespace == state.name)
        .filter(|state| {
            let by_resource = labelled.contains(&state.name) && !selector.excludes(&state.name);
            by_resource || selects(selector, &state.name, &state.labels)
        })
        .map(|state| state.name.clone())
        .collect();
    if selector.selects_cluster_scope() && policy.namespace == *install {
        selected.push(CLUSTER_SCOPE.to_owned());
    }
    selected.sort();
    Ok(selected)
}

fn selects(selector: &ApplicationSelector, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    selector.selects(&Application { namespace, labels: std::slice::from_ref(labels) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(namespace: &str, values: &[&str]) -> Value {
        let selector = json!({ "matchExpressions": [
            { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": values } ] });
        let spec =
            json!({ "frequency": "@onDemand", "selector": selector, "actions": [{ "action": "backup" }] });
        json!({
            "metadata": { "name": "own", "namespace": namespace },
            "status": { "validation": "Success", "hash": spec_hash(&spec) },
            "spec": spec,
        })
    }

    /// A tenant patched the selector to '*' and started a run before the controller had looked again.
    #[test]
    fn a_verdict_counts_for_the_specification_it_was_made_of() {
        let check = |object: Value, expected: Option<&str>| {
            let found = parse_valid(&object, None, "kasten-io").map(drop).map_err(|error| error.to_string());
            match expected {
                None => assert_eq!(found, Ok(())),
                Some(part) => assert!(found.as_ref().is_err_and(|fault| fault.contains(part)), "{found:?}"),
            }
        };
        check(policy("shop", &["shop"]), None);
        check(policy("kasten-io", &["*"]), None);
        let mut patched = policy("shop", &["shop"]);
        patched["spec"]["selector"]["matchExpressions"][0]["values"] = json!(["*"]);
        check(patched, Some("has not been validated as it stands"));
        let mut old = policy("kasten-io", &["*"]);
        old["status"].as_object_mut().unwrap().remove("hash");
        check(old, Some("has not been validated as it stands"));
        let mut failed = policy("kasten-io", &["*"]);
        failed["status"]["validation"] = json!("Failed");
        check(failed, Some("its validation failed"));
        check(policy("shop", &["*"]), Some("may select only"));
    }
}
