//! Checks of `metadata` in what a client creates, as the API server does them for its own kinds.

use keelson_model::naming::{check_label_key, check_label_value, check_object_name};
use serde_json::{Map, Value};

use super::{ERRORS_MAX, FieldError, FieldFault, FieldPath};
use crate::kind::KindInfo;

const KNOWN: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// Not a third of what the catalog takes of one object: a restore point bears the labels of its backup, of its export and its
/// own, and those of the platform besides.
pub const LABELS_MAX: usize = 80;

pub(super) fn check_metadata(kind: &KindInfo, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::Object(Map::new());
    let metadata = object.get("metadata").unwrap_or(&empty);
    check_name(metadata, &mut errors);
    if !kind.is_namespaced() && is_given(metadata, "namespace") {
        let message = "not allowed on this type";
        errors.push(FieldError::new("metadata.namespace", FieldFault::Forbidden, message));
    }
    for field in ["finalizers", "ownerReferences"] {
        if is_given(metadata, field) {
            let path = format!("metadata.{field}");
            let message = "objects of this kind are removed by the platform only";
            errors.push(FieldError::new(&path, FieldFault::Forbidden, message));
        }
    }
    if is_given(metadata, "resourceVersion") {
        let message = "must not be set on objects to be created";
        errors.push(FieldError::new("metadata.resourceVersion", FieldFault::Forbidden, message));
    }
    check_labels(metadata, &mut errors);
    check_annotations(metadata, &mut errors);
    errors
}

fn is_given(metadata: &Value, field: &str) -> bool {
    match metadata.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

fn check_name(metadata: &Value, errors: &mut Vec<FieldError>) {
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("name"), text("generateName")) {
        (Some(name), _) => {
            if let Err(fault) = check_object_name(name) {
                let value = Value::from(name);
                errors.push(FieldError::new("metadata.name", FieldFault::Invalid, fault).with(&value));
            }
        }
        (None, Some(prefix)) => {
            // The generated part begins with a letter, so a prefix may end as a name may not.
            if let Err(fault) = check_object_name(&format!("{prefix}x")) {
                let value = Value::from(prefix);
                errors
                    .push(FieldError::new("metadata.generateName", FieldFault::Invalid, fault).with(&value));
            }
        }
        (None, None) => {
            let message = "name or generateName is required";
            errors.push(FieldError::new("metadata.name", FieldFault::Required, message));
        }
    }
}

fn texts<'a>(
    metadata: &'a Value,
    field: &str,
    errors: &mut Vec<FieldError>,
) -> impl Iterator<Item = (&'a String, &'a str)> {
    let path = format!("metadata.{field}");
    let fields = match metadata.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::Object(fields)) => Some(fields),
        Some(other) => {
            errors.push(FieldError::new(&path, FieldFault::TypeInvalid, "must be an object").with(other));
            None
        }
    };
    let others = fields.into_iter().flatten().filter(|(_, value)| !value.is_string());
    for (key, value) in others.take(ERRORS_MAX) {
        let path = format!("{path}[{key}]");
        errors.push(FieldError::new(&path, FieldFault::TypeInvalid, "must be a string").with(value));
    }
    fields.into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)))
}

fn check_labels(metadata: &Value, errors: &mut Vec<FieldError>) {
    let labels: Vec<_> = texts(metadata, "labels", errors).collect();
    if labels.len() > LABELS_MAX {
        let message = format!("must have at most {LABELS_MAX} items");
        errors.push(FieldError::new("metadata.labels", FieldFault::TooMany, message));
        return;
    }
    for (key, value) in labels {
        if errors.len() >= ERRORS_MAX {
            return;
        }
        if let Err(fault) = check_label_key(key) {
            let shown = Value::from(key.as_str());
            errors.push(FieldError::new("metadata.labels", FieldFault::Invalid, fault).with(&shown));
        }
        if let Err(fault) = check_label_value(value) {
            let shown = Value::from(value);
            let path = format!("metadata.labels[{key}]");
            errors.push(FieldError::new(&path, FieldFault::Invalid, fault).with(&shown));
        }
    }
}

fn check_annotations(metadata: &Value, errors: &mut Vec<FieldError>) {
    let annotations: Vec<_> = texts(metadata, "annotations", errors).collect();
    let mut bytes = 0;
    for (key, value) in annotations {
        bytes += key.len() + value.len();
        if errors.len() >= ERRORS_MAX {
            continue;
        }
        if let Err(fault) = check_label_key(&key.to_ascii_lowercase()) {
            let shown = Value::from(key.as_str());
            errors.push(FieldError::new("metadata.annotations", FieldFault::Invalid, fault).with(&shown));
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        let message = format!("may not be more than {ANNOTATIONS_BYTES_MAX} bytes");
        errors.push(FieldError::new("metadata.annotations", FieldFault::TooLong, message));
    }
}

pub(super) fn prune_metadata(object: &mut Value) {
    if let Some(fields) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        fields.retain(|name, _| KNOWN.contains(&name.as_str()));
    }
}

pub(super) fn unknown_metadata(object: &Value) -> Vec<String> {
    let metadata = FieldPath::Field(&FieldPath::Object, "metadata");
    let fields = object.get("metadata").and_then(Value::as_object);
    let unknown =
        fields.into_iter().flatten().map(|(name, _)| name).filter(|name| !KNOWN.contains(&name.as_str()));
    unknown.take(ERRORS_MAX).map(|name| FieldPath::Field(&metadata, name).text()).collect()
}
