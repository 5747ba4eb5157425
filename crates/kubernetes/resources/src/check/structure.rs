//! Compares JSON with a structural schema: types, required fields, bounds, and fields the schema does not know.

use keelson_model::GoDuration;
use serde_json::Value;

use super::{ERRORS_MAX, FieldError, FieldFault, FieldPath};

const OPEN: &str = "x-kubernetes-preserve-unknown-fields";

/// Appends what contradicts the schema.
pub(super) fn check_structure(schema: &Value, value: &Value, errors: &mut Vec<FieldError>) {
    check_at(schema, value, &FieldPath::Object, errors);
}

fn check_at(schema: &Value, value: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if errors.len() >= ERRORS_MAX || is_true(schema, OPEN) && !schema["properties"].is_object() {
        return;
    }
    if value.is_null() {
        // A null stands for an absent field, as in the typed kinds of Kubernetes.
        return;
    }
    let expected = schema["type"].as_str().unwrap_or_default();
    if !has_type(expected, value) {
        let path = path.text();
        let message = format!("{path} in body must be of type {expected}");
        errors.push(FieldError::new(&path, FieldFault::TypeInvalid, message).with(value));
        return;
    }
    match value {
        Value::String(text) => check_text(schema, text, path, errors),
        Value::Number(number) => check_number(schema, number.as_f64(), value, path, errors),
        Value::Array(items) => {
            if let Some(most) = schema["maxItems"].as_u64().filter(|most| items.len() as u64 > *most) {
                let message = format!("must have at most {most} items");
                errors.push(FieldError::new(&path.text(), FieldFault::TooMany, message));
                return;
            }
            for (index, item) in items.iter().enumerate() {
                check_at(&schema["items"], item, &FieldPath::Item(path, index), errors);
            }
        }
        Value::Object(fields) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            for name in required.filter(|name| fields.get(*name).is_none_or(Value::is_null)) {
                let path = FieldPath::Field(path, name).text();
                errors.push(FieldError::new(&path, FieldFault::Required, ""));
            }
            for (name, field) in fields {
                if let Some(schema) = field_schema(schema, name) {
                    check_at(schema, field, &FieldPath::Field(path, name), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn has_type(expected: &str, value: &Value) -> bool {
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn check_text(schema: &Value, text: &str, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let value = Value::from(text);
    if let Some(known) = schema["enum"].as_array().filter(|known| !known.contains(&value)) {
        let known: Vec<_> = known.iter().filter(|known| known.is_string()).map(Value::to_string).collect();
        let message = format!("supported values: {}", known.join(", "));
        errors.push(FieldError::new(&path.text(), FieldFault::NotSupported, message).with(&value));
    }
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| text.chars().count() as u64 > *most) {
        let message = format!("may not be more than {most} characters");
        errors.push(FieldError::new(&path.text(), FieldFault::TooLong, message));
    }
    let unreadable = match schema["format"].as_str() {
        Some("date-time") => text.parse::<jiff::Timestamp>().is_err(),
        Some("duration") => text.parse::<GoDuration>().is_err(),
        _ => false,
    };
    if unreadable {
        let (path, format) = (path.text(), schema["format"].as_str().unwrap_or_default());
        let message = format!("{path} in body must be of type {format}");
        errors.push(FieldError::new(&path, FieldFault::Invalid, message).with(&value));
    }
}

fn check_number(
    schema: &Value,
    number: Option<f64>,
    value: &Value,
    path: &FieldPath<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(number) = number else { return };
    if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
        let path = path.text();
        let message = format!("{path} in body should be greater than or equal to {least}");
        errors.push(FieldError::new(&path, FieldFault::Invalid, message).with(value));
    }
    if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
        let path = path.text();
        let message = format!("{path} in body should be less than or equal to {most}");
        errors.push(FieldError::new(&path, FieldFault::Invalid, message).with(value));
    }
}

/// Appends the paths of fields that the schema does not know.
pub(super) fn collect_unknown(schema: &Value, value: &Value, paths: &mut Vec<String>) {
    unknown_at(schema, value, &FieldPath::Object, paths);
}

fn unknown_at(schema: &Value, value: &Value, path: &FieldPath<'_>, paths: &mut Vec<String>) {
    if paths.len() >= ERRORS_MAX {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = FieldPath::Field(path, name);
                match field_schema(schema, name) {
                    Some(known) => unknown_at(known, field, &path, paths),
                    None if is_true(schema, OPEN) => {}
                    None if paths.len() >= ERRORS_MAX => return,
                    None => paths.push(path.text()),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                unknown_at(&schema["items"], item, &FieldPath::Item(path, index), paths);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Removes the fields that the schema does not know.
pub(super) fn prune_unknown(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let open = is_true(schema, OPEN);
            fields.retain(|name, _| open || field_schema(schema, name).is_some());
            for (name, field) in fields {
                if let Some(known) = field_schema(schema, name) {
                    prune_unknown(known, field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| prune_unknown(&schema["items"], item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn field_schema<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let open = schema.get("additionalProperties").filter(|schema| schema.is_object());
    schema.get("properties").and_then(|properties| properties.get(name)).or(open)
}

fn is_true(schema: &Value, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}
