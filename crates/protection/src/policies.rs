//! Policies as the cluster holds them: fetched, parsed, and what they select.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_model::retention::Tiers;
use keelson_model::selector::{Application, ApplicationSelector};
use keelson_model::{Classified, ErrorClass};
use keelson_resources::policy::{self, ParsedPolicy};
use keelson_workload::{NamespacePhase, RequestError};
use serde_json::Value;

use crate::kinds;
use crate::platform::Platform;

/// Namespaces of the cluster itself: no application lives there.
pub(crate) const EXCLUDED_NAMESPACES: [&str; 4] =
    ["kube-system", "kube-public", "kube-node-lease", "default"];

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
pub(crate) enum PolicyError {
    #[error("read policy '{namespace}/{name}'")]
    Read { namespace: String, name: String, source: RequestError },
    #[error("there is no policy '{name}' in namespace '{namespace}'")]
    Absent { namespace: String, name: String },
    #[error("policy '{name}' is not valid: {}", faults.join("; "))]
    Invalid { name: String, faults: Vec<String> },
    #[error("list the namespaces that policy '{name}' may select")]
    ListNamespaces { name: String, source: RequestError },
}

impl Classified for PolicyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } | Self::ListNamespaces { source, .. } => source.class(),
            Self::Absent { .. } => ErrorClass::NotFound,
            Self::Invalid { .. } => ErrorClass::Invalid,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "policy.read",
            Self::Absent { .. } => "policy.absent",
            Self::Invalid { .. } => "policy.invalid",
            Self::ListNamespaces { .. } => "policy.list_namespaces",
        }
    }
}

/// Fetches a policy and refuses one that the controller found invalid or has not looked at yet.
pub(crate) async fn fetch_valid(
    platform: &Platform,
    namespace: &str,
    name: &str,
) -> Result<Policy, PolicyError> {
    let object = platform
        .cluster
        .read_object(&kinds::policy(), Some(namespace), name)
        .await
        .map_err(|source| PolicyError::Read { namespace: namespace.into(), name: name.into(), source })?
        .ok_or_else(|| PolicyError::Absent { namespace: namespace.into(), name: name.into() })?;
    let status = &object["status"];
    let faults = match status["validation"].as_str() {
        Some("Success") => Vec::new(),
        Some("Failed") => status["error"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|fault| fault.as_str().unwrap_or_default().to_owned())
            .collect(),
        _ => vec!["it has not been validated yet; try again in a moment".to_owned()],
    };
    if !faults.is_empty() {
        return Err(PolicyError::Invalid { name: name.to_owned(), faults });
    }
    parse(object).map_err(|faults| PolicyError::Invalid { name: name.to_owned(), faults })
}

pub(crate) fn parse(object: Value) -> Result<Policy, Vec<String>> {
    let parsed = policy::parse(&object)?;
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    Ok(Policy { namespace: text("namespace"), name: text("name"), parsed, object })
}

/// The namespaces that a policy selects now, in order.
pub(crate) async fn select_applications(
    platform: &Platform,
    policy: &Policy,
) -> Result<Vec<String>, PolicyError> {
    let Some(selector) = &policy.parsed.selector else { return Ok(Vec::new()) };
    let namespaces = platform
        .cluster
        .namespaces()
        .await
        .map_err(|source| PolicyError::ListNamespaces { name: policy.name.clone(), source })?;
    let install = &platform.settings.install_namespace;
    let mut selected: Vec<String> = namespaces
        .iter()
        .filter(|state| state.phase == NamespacePhase::Active && state.name != *install)
        .filter(|state| !EXCLUDED_NAMESPACES.contains(&state.name.as_str()))
        .filter(|state| selects(selector, &state.name, &state.labels))
        .map(|state| state.name.clone())
        .collect();
    selected.sort();
    Ok(selected)
}

fn selects(selector: &ApplicationSelector, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    selector.selects(&Application { namespace, labels: std::slice::from_ref(labels) })
}

/// The tiers of retention that a run of a policy at this time counts for. A policy that is gone keeps nothing.
pub(crate) async fn tiers_at(platform: &Platform, namespace: &str, name: &str, at: Timestamp) -> Tiers {
    match fetch_valid(platform, namespace, name).await {
        Ok(policy) => policy.parsed.schedule.map_or(Tiers::NONE, |schedule| schedule.tiers_at(at)),
        Err(error) => {
            tracing::warn!(policy = name, error = &error as &dyn std::error::Error, "tiers are not known");
            Tiers::NONE
        }
    }
}
