//! Checks of what a client wants to create: against the kind's schema and by the kind's rules.

mod checker;
mod metadata;
mod path;
mod structure;

#[cfg(test)]
mod tests;

use std::fmt;

use keelson_model::names::group;
use serde_json::Value;

pub(crate) use checker::Checker;
pub use metadata::LABELS_MAX;
pub use path::FieldPath;

use crate::kind::KindInfo;

/// One thing wrong with one field, in the words of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `spec.subject.name`, `spec.transforms[2].name`, `metadata.labels[app]`. Bounded in size.
    pub path: String,
    pub fault: FieldFault,
    /// What is wrong, without path and fault; may be empty.
    pub message: String,
    /// What the client sent, where that helps. Bounded in size.
    pub value: Option<Value>,
}

/// In which way a field is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldFault {
    Required,
    Invalid,
    /// A value outside a fixed set.
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    /// A value of the wrong JSON type.
    TypeInvalid,
}

impl FieldFault {
    /// The reason of a cause in a Kubernetes `Status`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    /// The words that stand between path and message.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
        }
    }
}

impl FieldError {
    pub(crate) fn new(path: &str, fault: FieldFault, message: impl fmt::Display) -> Self {
        Self { path: path::cut(path), fault, message: message.to_string(), value: None }
    }

    pub(crate) fn with(self, value: &Value) -> Self {
        Self { value: Some(bounded(value)), ..self }
    }

    /// Everything but the path: `Invalid value: "x": must be …`.
    pub fn detail(&self) -> String {
        let mut text = self.fault.phrase().to_owned();
        if let Some(value) = &self.value {
            text.push_str(&format!(": {value}"));
        }
        if !self.message.is_empty() {
            text.push_str(": ");
            text.push_str(&self.message);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.detail())
    }
}

/// An answer must not grow with what a client sent.
fn bounded(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > 256 => {
            Value::from(text.chars().take(253).collect::<String>() + "...")
        }
        Value::Array(_) => Value::from("array"),
        Value::Object(_) => Value::from("object"),
        small => small.clone(),
    }
}

/// An object is told at most so many faults at once.
pub(crate) const ERRORS_MAX: usize = 32;

/// Checks an object whose `spec` a client has changed. Its metadata is as it was.
pub fn validate_change(kind: &KindInfo, object: &Value, install_namespace: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    structure::check_structure(kind.known_schema(), object, &mut errors);
    check_rules(kind, object, install_namespace, errors)
}

/// Checks an object that a client creates. `metadata.namespace` must have been filled in from the request.
///
/// The platform's own objects need not pass: some fields are for the platform to set.
pub fn validate_create(kind: &KindInfo, object: &Value, install_namespace: &str) -> Vec<FieldError> {
    let mut errors = metadata::check_metadata(kind, object);
    structure::check_structure(kind.known_schema(), object, &mut errors);
    check_rules(kind, object, install_namespace, errors)
}

/// The rules of a kind read fields and may count on their types.
fn check_rules(
    kind: &KindInfo,
    object: &Value,
    install_namespace: &str,
    mut errors: Vec<FieldError>,
) -> Vec<FieldError> {
    if errors.is_empty() {
        errors = (kind.check)(object, install_namespace);
    }
    if kind.group == group::VAULT {
        // What stands in the wrong field there may be a passphrase.
        errors.iter_mut().for_each(|error| error.value = None);
    }
    errors.truncate(ERRORS_MAX);
    errors
}

/// What in an object that we serve, status included, is not as the published schema of its kind says.
pub fn check_served(kind: &KindInfo, object: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    structure::check_structure(kind.known_schema(), object, &mut errors);
    let unknown = unknown_fields(kind, object).into_iter().map(|path| format!("{path}: not in the schema"));
    errors.iter().map(FieldError::to_string).chain(unknown).collect()
}

const NO_WAIT: (&str, &str) =
    ("/spec/skipWaitForWorkloadReady", "a restore never waits for workloads to become ready");
const CLUSTER_INCLUDED: (&str, &str) = ("/spec/filters/includeClusterResources", BY_CLUSTER_ACTIONS);
const CLUSTER_EXCLUDED: (&str, &str) = ("/spec/filters/excludeClusterResources", BY_CLUSTER_ACTIONS);
const BY_CLUSTER_ACTIONS: &str =
    "cluster-scoped resources are backed up and restored by BackupClusterAction and RestoreClusterAction";

/// What of an object that is accepted is not done by this version, for the client to be warned of.
pub fn ignored_fields(kind: &KindInfo, object: &Value) -> Vec<String> {
    let known: &[(&str, &str)] = match kind.kind {
        "BackupAction" => &[CLUSTER_INCLUDED, CLUSTER_EXCLUDED],
        "RestoreAction" => &[NO_WAIT, CLUSTER_INCLUDED, CLUSTER_EXCLUDED],
        "BatchRestoreAction" => &[NO_WAIT],
        "ExportAction" => &[("/spec/exportData", "no volume data is exported")],
        "ValidateAction" => &[(
            "/spec/volumeDataCheckOptions/verifyFilesPercent",
            "it is for files of volumes, of which none are stored; objects are always read to the last byte",
        )],
        _ => &[],
    };
    let given =
        known.iter().filter(|(pointer, _)| object.pointer(pointer).is_some_and(|value| !value.is_null()));
    given.map(|(pointer, why)| format!("{} has no effect: {why}", pointer[1..].replace('/', "."))).collect()
}

/// Removes what `unknown_fields` names, however much there is of it.
pub fn prune_fields(kind: &KindInfo, object: &mut Value) {
    structure::prune_unknown(kind.known_schema(), object);
    metadata::prune_metadata(object);
}

/// The paths of fields that the kind does not have, in the order of the object.
pub fn unknown_fields(kind: &KindInfo, object: &Value) -> Vec<String> {
    let mut paths = metadata::unknown_metadata(object);
    structure::collect_unknown(kind.known_schema(), object, &mut paths);
    paths.truncate(ERRORS_MAX);
    paths
}
