//! The kinds of configuration that live in the cluster as custom resources: which there are, and how those are checked
//! that have no reconciler of their own. Pure.

pub mod audit;
pub mod blueprints;
pub mod pods;
pub mod preset;
pub mod security;
pub mod transforms;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use keelson_model::naming::check_object_name;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::condition::Condition;

/// A kind of configuration.
#[derive(Debug, Clone, Copy)]
pub struct ConfigurationKind {
    pub kind: &'static str,
    pub plural: &'static str,
    /// None for kinds that have a reconciler of their own.
    pub validation: Option<&'static Validation>,
}

/// How objects of a kind are checked once the API server has taken them.
#[derive(Debug)]
pub struct Validation {
    /// The kinds whose objects the verdict depends on.
    pub looks_at: &'static [&'static str],
    /// Every fault, as a sentence.
    pub check: fn(&Value, &Around) -> Vec<String>,
    /// The word of `status.validation` for an object without a fault.
    pub sound: &'static str,
    /// What the platform does not do with such an object, as a sentence; none if it uses it.
    pub unused: Option<&'static str>,
    /// The word of `status.type`, in the kind that has one, of a sound object or of any other.
    pub type_of: Option<fn(Option<&Value>) -> &'static str>,
}

/// Every kind of configuration, each after those that it refers to.
pub static CONFIGURATION: [ConfigurationKind; 10] = [
    ConfigurationKind { kind: "Profile", plural: "profiles", validation: None },
    ConfigurationKind {
        kind: "StorageSecurityContext",
        plural: "storagesecuritycontexts",
        validation: Some(&security::CONTEXT),
    },
    ConfigurationKind {
        kind: "StorageSecurityContextBinding",
        plural: "storagesecuritycontextbindings",
        validation: Some(&security::BINDING),
    },
    ConfigurationKind { kind: "ActionPodSpec", plural: "actionpodspecs", validation: Some(&pods::SPEC) },
    ConfigurationKind {
        kind: "ActionPodSpecBinding",
        plural: "actionpodspecbindings",
        validation: Some(&pods::BINDING),
    },
    ConfigurationKind {
        kind: "TransformSet",
        plural: "transformsets",
        validation: Some(&transforms::VALIDATION),
    },
    ConfigurationKind {
        kind: "BlueprintBinding",
        plural: "blueprintbindings",
        validation: Some(&blueprints::VALIDATION),
    },
    ConfigurationKind { kind: "AuditConfig", plural: "auditconfigs", validation: Some(&audit::VALIDATION) },
    ConfigurationKind {
        kind: "PolicyPreset",
        plural: "policypresets",
        validation: Some(&preset::VALIDATION),
    },
    ConfigurationKind { kind: "Policy", plural: "policies", validation: None },
];

/// What a verdict about an object depends on besides the object.
#[derive(Debug, Default)]
pub struct Around {
    pub install_namespace: String,
    /// All objects of the kinds that are looked at.
    pub objects: BTreeMap<&'static str, Vec<Value>>,
}

impl Around {
    fn all(&self, kind: &str) -> &[Value] {
        self.objects.get(kind).map_or(&[], Vec::as_slice)
    }

    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.all(kind).iter().find(|object| {
            let metadata = &object["metadata"];
            metadata["namespace"] == namespace && metadata["name"] == name
        })
    }

    /// Kinds about the whole cluster are the administrator's to make.
    fn check_placement(&self, object: &Value, what: &str) -> Vec<String> {
        let install = &self.install_namespace;
        let misplaced = object["metadata"]["namespace"] != install.as_str();
        let fault = format!("{what} counts only in namespace '{install}': create it there");
        Vec::from_iter(misplaced.then_some(fault))
    }
}

/// What validating an object of configuration found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigurationStatus {
    /// Success, Failed or Pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Vec<String>>,
    /// The hash of the spec that was validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<i64>,
    /// The generation that was validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The same and more for tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

const SUCCESS: &str = "Success";

/// The specification, or why it cannot be read.
fn spec_of<Spec: DeserializeOwned>(object: &Value) -> Result<Spec, Vec<String>> {
    Spec::deserialize(&object["spec"]).map_err(|error| vec![format!("spec: {error}")])
}

fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn check_name(path: &str, name: &str, faults: &mut Vec<String>) {
    if let Err(fault) = check_object_name(name) {
        faults.push(format!("{path} '{name}': {fault}"));
    }
}
