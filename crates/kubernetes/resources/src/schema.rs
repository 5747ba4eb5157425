//! OpenAPI v3 schemas of the aggregated kinds, made from the same structs that read and write them.

use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::generate::SchemaSettings;
use schemars::transform::AddNullable;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// The schema of `Type` as Kubernetes takes it: structural, without references.
pub(crate) fn schema_of<Type: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let generator = settings
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .into_generator();
    let mut schema = generator.into_root_schema_for::<Type>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("title");
    }
    use_common_words(&mut schema);
    schema
}

/// Says the same with the words that Kubernetes knows, and whoever makes types of a schema: no format is of an unsigned
/// number, null is no choice among texts, and no default. That a number is not negative, and that a field may be null or
/// left out, is said beside.
pub(crate) fn use_common_words(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let format = fields.get("format").and_then(Value::as_str);
            if let Some(signed) = format.and_then(signed_format) {
                fields.insert("format".to_owned(), Value::from(signed));
            }
            if let Some(Value::Array(choices)) = fields.get_mut("enum") {
                choices.retain(|choice| !choice.is_null());
            }
            if fields.get("default").is_some_and(Value::is_null) {
                fields.remove("default");
            }
            fields.values_mut().for_each(use_common_words);
        }
        Value::Array(items) => items.iter_mut().for_each(use_common_words),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The format that holds every number of an unsigned one. None of ours comes near the upper half of 64 bits.
fn signed_format(format: &str) -> Option<&'static str> {
    match format {
        "uint8" | "uint16" => Some("int32"),
        "uint32" | "uint64" | "uint" => Some("int64"),
        _ => None,
    }
}

/// The schema of a whole object. `metadata` stays open; a server that publishes it puts its own there.
pub(crate) fn object_schema<Spec: JsonSchema, Status: JsonSchema>(description: &str) -> Value {
    let spec = schema_of::<Spec>();
    let is_needed = spec.get("required").is_some();
    let mut schema = json!({
        "type": "object",
        "description": description,
        "properties": {
            "apiVersion": {
                "type": "string",
                "description": "The versioned schema of this representation of the object.",
            },
            "kind": { "type": "string", "description": "The kind of the object." },
            "metadata": {
                "type": "object",
                "description": "Standard object metadata.",
                "x-kubernetes-preserve-unknown-fields": true,
            },
            "spec": spec,
            "status": schema_of::<Status>(),
        },
    });
    if is_needed {
        schema["required"] = json!(["spec"]);
    }
    schema
}

/// For fields whose content is another's to define.
pub(crate) fn open_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

pub(crate) fn open_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        "maxItems": 1000,
    })
}
