//! The custom resource definitions, as objects and as the files of the installation.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::configuration::audit::AuditConfig;
use crate::configuration::blueprints::BlueprintBinding;
use crate::configuration::pods::{ActionPodSpec, ActionPodSpecBinding};
use crate::configuration::preset::PolicyPreset;
use crate::configuration::security::{StorageSecurityContext, StorageSecurityContextBinding};
use crate::configuration::transforms::TransformSet;
use crate::policy::Policy;
use crate::profile::Profile;
use crate::report;
use crate::schema::use_common_words;

#[cfg(test)]
mod tests;

/// The definitions with the names of their files, in the order of the names.
pub fn crds() -> Vec<(String, Value)> {
    let definitions = [
        ActionPodSpec::crd(),
        ActionPodSpecBinding::crd(),
        AuditConfig::crd(),
        BlueprintBinding::crd(),
        Policy::crd(),
        PolicyPreset::crd(),
        Profile::crd(),
        report::definition(),
        StorageSecurityContext::crd(),
        StorageSecurityContextBinding::crd(),
        TransformSet::crd(),
    ];
    let mut definitions: Vec<_> = definitions
        .into_iter()
        .map(|definition| {
            let mut value = serde_json::to_value(definition).expect("a definition is plain data");
            use_common_words(&mut value["spec"]["versions"]);
            forbid_nulls(&mut value["spec"]["versions"]);
            let name = value["metadata"]["name"].as_str().unwrap_or_default();
            (format!("{name}.yaml"), value)
        })
        .collect();
    definitions.sort_by(|(left, _), (right, _)| left.cmp(right));
    definitions
}

/// The API server prunes a null whose field is not nullable, so that no rule has to tell it from an absent one.
fn forbid_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            fields.values_mut().for_each(forbid_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Renders an object as the text of a file. The same object always gives the same text.
pub fn render_yaml(object: &Value) -> String {
    // A folded scalar would be prettier to read and harder to compare.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&sorted(object), options).expect("JSON is always YAML")
}

/// Whether JSON keeps or sorts its keys is the choice of whoever else is in the build.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            fields.into_iter().map(|(name, field)| (name.clone(), sorted(field))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        plain => plain.clone(),
    }
}
