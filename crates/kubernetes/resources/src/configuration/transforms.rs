//! `TransformSet`: changes to objects while they are restored. Stored and validated; no restore makes them.

mod commands;

use std::collections::BTreeSet;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Around, ConfigurationStatus, SUCCESS, Validation, check_name, name_of, namespace_of, spec_of};
use crate::cel::Rules;
use crate::parts::ObjectReference;

pub(super) const VALIDATION: Validation = Validation {
    looks_at: &["TransformSet"],
    check,
    sound: SUCCESS,
    unused: Some("this version's restores have no transforms"),
    type_of: None,
};

const TRANSFORM: Rules = Rules(&[
    (
        "(has(self.json) && size(self.json) > 0) != has(self.transformSetRef)",
        "a transform has either json or transformSetRef",
    ),
    (
        "has(self.transformSetRef) || (has(self.name) && self.name != '')",
        "name is required for a transform with json",
    ),
    (
        "has(self.transformSetRef) || (has(self.subject) && (has(self.subject.group) || has(self.subject.version) \
         || has(self.subject.resource) || has(self.subject.name)))",
        "subject needs at least one of group, version, resource and name",
    ),
]);

const COMMAND: Rules = Rules(&[
    ("!(self.op in ['copy', 'move']) || has(self.from)", "copy and move need from"),
    ("self.op in ['copy', 'move'] || !has(self.from)", "from is for copy and move only"),
    ("self.path.startsWith('/')", "path must begin with '/'"),
    ("!has(self.from) || self.from.startsWith('/')", "from must begin with '/'"),
]);

/// Changes to objects while they are restored.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "config.kio.kasten.io",
    version = "v1alpha1",
    kind = "TransformSet",
    plural = "transformsets",
    namespaced,
    status = "ConfigurationStatus",
    derive = "PartialEq",
    category = "k10",
    doc = "TransformSet holds changes to objects while they are restored. It is stored and validated only: a restore that \
           names one is refused by this version.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct TransformSetSpec {
    /// A note for people.
    #[schemars(length(max = 4096))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The changes, each on its own.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Transform>,
}

/// Commands for the objects that match, or another set of such.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = TRANSFORM))]
#[serde(rename_all = "camelCase")]
pub struct Transform {
    /// Which objects are changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<TransformSubject>,
    /// What the transform is called.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Commands, in order. One of op test that fails ends the transform; any other that fails ends the restore.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json: Vec<Command>,
    /// Another set, in place of commands; its namespace is that of this object if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform_set_ref: Option<ObjectReference>,
}

/// Matches objects. What is not given matches any.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TransformSubject {
    /// API group.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// API version.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Resource, in the plural.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Name of the object.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A command of RFC 6902, with wildcards and regular expressions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = COMMAND))]
pub struct Command {
    /// What is done.
    pub op: Op,
    /// Where, from the root of the object: ~1 stands for /, ~0 for ~, - appends to a list, * is any one level, ** any number
    /// of them, and for copy and move $1 is what the first wildcard of from stood for.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// What is copied or moved.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// A regular expression, in the syntax of RE2, that the text there must match.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Any value but null. With regex, $1 is what its first group matched.
    #[schemars(schema_with = "any_value")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    Test,
    Add,
    Remove,
    Copy,
    Move,
    Replace,
}

fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

fn check(object: &Value, around: &Around) -> Vec<String> {
    let spec: TransformSetSpec = match spec_of(object) {
        Ok(spec) => spec,
        Err(faults) => return faults,
    };
    let mut faults = Vec::new();
    for (index, transform) in spec.transforms.iter().enumerate() {
        let path = format!("spec.transforms[{index}]");
        let Transform { subject, name, json, transform_set_ref } = transform;
        match transform_set_ref {
            Some(_) if !json.is_empty() => {
                faults.push(format!("{path}: a transform has either json or transformSetRef"));
            }
            Some(set) => check_reference(object, set, &path, around, &mut faults),
            None => {
                if json.is_empty() {
                    faults.push(format!("{path}: a transform has either json or transformSetRef"));
                }
                if name.as_deref().is_none_or(str::is_empty) {
                    faults.push(format!("{path}.name is required for a transform with json"));
                }
                if subject.as_ref().is_none_or(|subject| *subject == TransformSubject::default()) {
                    let needed = "needs at least one of group, version, resource and name";
                    faults.push(format!("{path}.subject {needed}"));
                }
            }
        }
        for (index, command) in json.iter().enumerate() {
            let told = commands::faults_of(command);
            faults.extend(told.into_iter().map(|fault| format!("{path}.json[{index}]: {fault}")));
        }
    }
    faults
}

fn check_reference(
    object: &Value,
    set: &ObjectReference,
    path: &str,
    around: &Around,
    faults: &mut Vec<String>,
) {
    let path = format!("{path}.transformSetRef");
    let before = faults.len();
    check_name(&format!("{path}.name"), &set.name, faults);
    if faults.len() > before {
        return;
    }
    let at = resolve(set, namespace_of(object));
    let own = (namespace_of(object).to_owned(), name_of(object).to_owned());
    let (namespace, name) = &at;
    if around.find("TransformSet", namespace, name).is_none() {
        faults.push(format!("{path}: there is no transform set '{name}' in namespace '{namespace}'"));
    } else if leads_to(at.clone(), &own, around) {
        faults.push(format!("{path}: '{name}' leads back to this set"));
    }
}

fn resolve(set: &ObjectReference, namespace: &str) -> (String, String) {
    (set.namespace.clone().unwrap_or_else(|| namespace.to_owned()), set.name.clone())
}

/// Whether references lead from one set to another, or are the same.
fn leads_to(from: (String, String), to: &(String, String), around: &Around) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        if at == *to {
            return true;
        }
        if seen.insert(at.clone())
            && let Some(set) = around.find("TransformSet", &at.0, &at.1)
            && let Ok(spec) = spec_of::<TransformSetSpec>(set)
        {
            let references = spec.transforms.iter().filter_map(|one| one.transform_set_ref.as_ref());
            next.extend(references.map(|reference| resolve(reference, &at.0)));
        }
    }
    false
}
