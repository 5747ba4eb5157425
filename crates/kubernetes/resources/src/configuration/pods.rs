//! `ActionPodSpec` and its binding: what worker pods may use. Stored and validated; this version runs no worker pods.

use std::borrow::Cow;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Around, ConfigurationStatus, SUCCESS, Validation, check_name, namespace_of, spec_of};
use crate::cel::Rules;
use crate::parts::ObjectReference;
use crate::quantity;

pub(super) const SPEC: Validation = Validation {
    looks_at: &[],
    check: check_spec,
    sound: SUCCESS,
    unused: Some("this version runs its work in no pods of their own"),
    type_of: None,
};

pub(super) const BINDING: Validation = Validation {
    looks_at: &["ActionPodSpec"],
    check: check_binding,
    sound: SUCCESS,
    unused: SPEC.unused,
    type_of: None,
};

const OPTIONS: Rules = Rules(&[(
    "self.options.all(option, self.options.exists_one(other, other.podType == option.podType))",
    "options name each podType once",
)]);

/// What worker pods may use.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "config.kio.kasten.io",
    version = "v1alpha1",
    kind = "ActionPodSpec",
    plural = "actionpodspecs",
    namespaced,
    status = "ConfigurationStatus",
    derive = "PartialEq",
    category = "k10",
    doc = "ActionPodSpec says what worker pods may use. It is stored and validated only: this version runs its work in no \
           pods of their own.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("x-kubernetes-validations" = OPTIONS))]
pub struct ActionPodSpecSpec {
    /// One entry for each type of pod.
    #[schemars(length(min = 1, max = 64))]
    pub options: Vec<PodOption>,
}

/// What the pods of one type may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodOption {
    /// The type of pod, as in its annotation k10.kasten.io/actionPodType; * for all that have no entry.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^(\*|[a-z]([-a-z0-9]*[a-z0-9])?)$"))]
    pub pod_type: String,
    /// Their resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<PodResources>,
}

/// What is set aside for a pod, and what it may use at most.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PodResources {
    /// What is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amounts>,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Amounts>,
}

/// Amounts of what a node has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Amounts {
    /// Processors, as in 500m.
    #[schemars(schema_with = "quantity_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Memory, as in 512Mi.
    #[schemars(schema_with = "quantity_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Space on the node's own disk, as in 10Gi.
    #[schemars(schema_with = "quantity_schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<Quantity>,
}

/// A quantity as Kubernetes writes them: a number, or a number with a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    Number(i64),
    Text(String),
}

impl Quantity {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Number(number) => number.to_string().into(),
            Self::Text(text) => text.into(),
        }
    }
}

fn quantity_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true, "pattern": quantity::PATTERN })
}

/// Where the worker pods of an application take their specification from.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "config.kio.kasten.io",
    version = "v1alpha1",
    kind = "ActionPodSpecBinding",
    plural = "actionpodspecbindings",
    namespaced,
    status = "ConfigurationStatus",
    derive = "PartialEq",
    category = "k10",
    doc = "ActionPodSpecBinding names the ActionPodSpec of the application in its namespace. It is stored and validated \
           only: this version runs its work in no pods of their own.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ActionPodSpecBindingSpec {
    /// The ActionPodSpec; its namespace is that of this object if it is not given.
    pub action_pod_spec_ref: ObjectReference,
}

fn check_spec(object: &Value, _: &Around) -> Vec<String> {
    let spec: ActionPodSpecSpec = match spec_of(object) {
        Ok(spec) => spec,
        Err(faults) => return faults,
    };
    let mut faults = Vec::new();
    for (index, option) in spec.options.iter().enumerate() {
        let path = format!("spec.options[{index}]");
        if spec.options[..index].iter().any(|earlier| earlier.pod_type == option.pod_type) {
            faults.push(format!("{path}.podType '{}' appears twice", option.pod_type));
        }
        let Some(PodResources { requests, limits }) = &option.resources else { continue };
        let (requests, limits) = (requests.clone().unwrap_or_default(), limits.clone().unwrap_or_default());
        for (name, requested, limit) in [
            ("cpu", requests.cpu, limits.cpu),
            ("memory", requests.memory, limits.memory),
            ("ephemeral-storage", requests.ephemeral_storage, limits.ephemeral_storage),
        ] {
            let path = |which: &str| format!("{path}.resources.{which}.{name}");
            let requested = requested.map(|amount| measure(&amount, &path("requests"), &mut faults));
            let limit = limit.map(|amount| measure(&amount, &path("limits"), &mut faults));
            if let (Some(Some(requested)), Some(Some(limit))) = (requested, limit)
                && requested > limit
            {
                faults.push(format!("{} is more than the limit", path("requests")));
            }
        }
    }
    faults
}

/// None for what is no amount.
fn measure(amount: &Quantity, path: &str, faults: &mut Vec<String>) -> Option<i128> {
    let text = amount.text();
    let measured = quantity::parse(&text).filter(|billionths| *billionths >= 0);
    if measured.is_none() {
        faults.push(format!("{path} '{text}' is not an amount"));
    }
    measured
}

fn check_binding(object: &Value, around: &Around) -> Vec<String> {
    let spec: ActionPodSpecBindingSpec = match spec_of(object) {
        Ok(spec) => spec,
        Err(faults) => return faults,
    };
    let ObjectReference { name, namespace } = &spec.action_pod_spec_ref;
    let namespace = namespace.as_deref().unwrap_or_else(|| namespace_of(object));
    let mut faults = Vec::new();
    check_name("spec.actionPodSpecRef.name", name, &mut faults);
    if faults.is_empty() && around.find("ActionPodSpec", namespace, name).is_none() {
        faults.push(format!("there is no action pod specification '{name}' in namespace '{namespace}'"));
    }
    faults
}
