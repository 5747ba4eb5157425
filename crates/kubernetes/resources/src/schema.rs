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
    schema
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
