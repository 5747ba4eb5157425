//! OpenAPI: what `kubectl explain` reads. The schemas belong to the kinds; here they become documents.
//!
//! Version 2 is merged by the API server into its own and holds what `kubectl create` asks of it: whether we judge
//! fields ourselves. It looks for the answer at the operation `patch`, which therefore is documented, though all it
//! does is say that objects cannot be changed. Without it, `kubectl` would list CRDs, which few users may.

use keelson_resources::{KindInfo, Verb};
use serde_json::{Map, Value, json};

use crate::discovery::GroupVersion;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// What a writing request may carry.
const WRITE_PARAMETERS: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];

pub(crate) fn v2(versions: &[GroupVersion]) -> Value {
    let kinds = versions.iter().flat_map(|version| version.kinds());
    let paths: Map<String, Value> = kinds
        .map(|kind| {
            let mut patch = refused_patch(kind);
            patch["parameters"] =
                json!(WRITE_PARAMETERS.map(|name| {
                    json!({"name": name, "in": "query", "type": "string", "uniqueItems": true})
                }));
            let mut names = vec![json!({"name": "name", "in": "path", "type": "string", "required": true})];
            if kind.is_namespaced() {
                names.push(json!({"name": "namespace", "in": "path", "type": "string", "required": true}));
            }
            (format!("{}/{{name}}", home(kind)), json!({"patch": patch, "parameters": names}))
        })
        .collect();
    json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": {}})
}

/// The index of version 3. The hash makes a link that may be cached for ever.
pub(crate) fn index<'a>(documents: impl Iterator<Item = (GroupVersion, &'a str)>) -> Value {
    let paths: Map<String, Value> = documents
        .map(|(version, hash)| {
            let link = json!({"serverRelativeURL": format!("/openapi/v3/apis/{version}?hash={hash}")});
            (format!("apis/{version}"), link)
        })
        .collect();
    json!({"paths": paths})
}

/// All paths and schemas of one group and version.
pub(crate) fn v3(version: GroupVersion) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    schemas.insert(OBJECT_META.to_owned(), object_meta());
    schemas.insert(LIST_META.to_owned(), list_meta());
    for kind in version.kinds() {
        schemas.insert(schema_name(kind), object_schema(kind));
        schemas.insert(list_schema_name(kind), list_schema(kind));
        paths.extend(kind_paths(kind));
    }
    json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas}})
}

fn info() -> Value {
    json!({"title": "Keelson", "version": format!("v{}", env!("CARGO_PKG_VERSION"))})
}

/// `io.kasten.kio.apps.v1alpha1.RestorePoint`, as Kubernetes names the schemas of groups.
fn schema_name(kind: &KindInfo) -> String {
    let group: Vec<&str> = kind.group.split('.').rev().collect();
    format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
}

fn list_schema_name(kind: &KindInfo) -> String {
    format!("{}List", schema_name(kind))
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn gvk(kind: &KindInfo, name: &str) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": name})
}

fn object_schema(kind: &KindInfo) -> Value {
    let mut schema = (kind.schema)();
    schema["properties"]["metadata"] =
        json!({"allOf": [reference(OBJECT_META)], "default": {}, "description": "Standard object metadata."});
    schema["x-kubernetes-group-version-kind"] = json!([gvk(kind, kind.kind)]);
    schema
}

fn list_schema(kind: &KindInfo) -> Value {
    json!({
        "type": "object",
        "description": format!("A list of {}.", kind.kind),
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [reference(LIST_META)], "default": {}},
            "items": {"type": "array", "items": {"allOf": [reference(&schema_name(kind))], "default": {}}},
        },
        "x-kubernetes-group-version-kind": [gvk(kind, &kind.list_kind())],
    })
}

fn kind_paths(kind: &KindInfo) -> Vec<(String, Value)> {
    let mut paths = Vec::new();
    if kind.is_namespaced() {
        let everywhere = json!({"get": operation(kind, "list", "ForAllNamespaces", &list_schema_name(kind))});
        paths.push((format!("/apis/{}/{}", kind.api_version(), kind.plural), everywhere));
    }
    let home = home(kind);
    let mut collection = json!({"get": operation(kind, "list", "", &list_schema_name(kind))});
    if kind.allows(Verb::Create) {
        let mut create = operation(kind, "post", "", &schema_name(kind));
        create["requestBody"] = json!({"content": content(&schema_name(kind)), "required": true});
        create["parameters"] = json!(WRITE_PARAMETERS.map(query_parameter));
        collection["post"] = create;
    }
    if kind.allows(Verb::DeleteCollection) {
        collection["delete"] = operation(kind, "deletecollection", "Collection", "");
    }
    let mut single = json!({"get": operation(kind, "get", "", &schema_name(kind))});
    if kind.allows(Verb::Delete) {
        single["delete"] = operation(kind, "delete", "", "");
    }
    single["patch"] = refused_patch(kind);
    single["patch"]["parameters"] = json!(WRITE_PARAMETERS.map(query_parameter));
    let name = path_parameter("name");
    if kind.is_namespaced() {
        collection["parameters"] = json!([path_parameter("namespace")]);
        single["parameters"] = json!([name, path_parameter("namespace")]);
    } else {
        single["parameters"] = json!([name]);
    }
    if kind.details {
        let mut details = json!({"get": operation(kind, "get", "Details", &schema_name(kind))});
        details["parameters"] = single["parameters"].clone();
        paths.push((format!("{home}/{{name}}/details"), details));
    }
    paths.push((format!("{home}/{{name}}"), single));
    paths.push((home, collection));
    paths
}

/// Where the objects of a kind live.
fn home(kind: &KindInfo) -> String {
    let namespace = if kind.is_namespaced() { "/namespaces/{namespace}" } else { "" };
    format!("/apis/{}{namespace}/{}", kind.api_version(), kind.plural)
}

fn refused_patch(kind: &KindInfo) -> Value {
    json!({
        "operationId": format!("patch{}", kind.kind),
        "description": "Objects of this kind cannot be changed.",
        "responses": {"405": {"description": "Method Not Allowed"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": gvk(kind, kind.kind),
    })
}

fn operation(kind: &KindInfo, action: &str, suffix: &str, answer: &str) -> Value {
    let scope = if kind.is_namespaced() && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
    let content = if answer.is_empty() { json!({"application/json": {}}) } else { content(answer) };
    json!({
        "operationId": format!("{action}{scope}{}{suffix}", kind.kind),
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(kind, kind.kind),
    })
}

fn content(schema: &str) -> Value {
    json!({"application/json": {"schema": reference(schema)}})
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

fn query_parameter(name: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
}

/// The metadata that objects of ours have. Owners and finalizers are refused, so they are not in it.
fn object_meta() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let texts = |description: &str| json!({"type": "object", "additionalProperties": {"type": "string"}, "description": description});
    json!({
        "type": "object",
        "description": "ObjectMeta is metadata that all persisted resources must have.",
        "properties": {
            "name": text("Name, unique within a namespace. It cannot be changed."),
            "generateName": text("Prefix of a name that the server completes if no name is given."),
            "namespace": text("Namespace of the object; empty for cluster-scoped objects."),
            "uid": text("Unique id, made by the server."),
            "resourceVersion": text("Opaque version of the object, for watches and preconditions."),
            "creationTimestamp": {
                "type": "string", "format": "date-time", "description": "When the server created the object.",
            },
            "labels": texts("Keys and values by which objects are selected."),
            "annotations": texts("Keys and values that are kept with the object."),
        },
    })
}

fn list_meta() -> Value {
    json!({
        "type": "object",
        "description": "ListMeta describes metadata that synthetic resources must have.",
        "properties": {
            "continue": {"type": "string", "description": "Where the next page begins."},
            "remainingItemCount": {"type": "integer", "format": "int64"},
            "resourceVersion": {"type": "string"},
        },
    })
}
