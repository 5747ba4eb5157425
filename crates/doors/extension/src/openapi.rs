//! OpenAPI: what `kubectl explain` reads. The schemas belong to the kinds; here they become documents.
//!
//! Version 2 is merged by the API server into its own and holds what `kubectl create` asks of it: whether we judge
//! fields ourselves. It looks for the answer at the operation `patch`, which therefore is documented for every kind,
//! though for most all it does is say that objects cannot be changed. Without it, `kubectl` would list CRDs, which few
//! users may.

mod standard;

use keelson_resources::{KindInfo, Verb};
use serde_json::{Map, Value, json};

use self::standard::{
    DELETE, DELETE_OPTIONS, LIST, LIST_META, OBJECT_META, SELECT, STATUS, WRITE, path_parameter,
    query_parameters, reference,
};
use crate::body::MERGE_PATCH;
use crate::discovery::GroupVersion;

pub(crate) fn v2(versions: &[GroupVersion]) -> Value {
    let kinds = versions.iter().flat_map(|version| version.kinds());
    let paths: Map<String, Value> = kinds
        .map(|kind| {
            let mut patch = patch_v2(kind);
            patch["parameters"] =
                json!(WRITE.map(|name| {
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
    let mut schemas = standard::schemas();
    for kind in version.kinds() {
        schemas.insert(schema_name(kind), object_schema(kind));
        if kind.allows(Verb::List) {
            schemas.insert(list_schema_name(kind), list_schema(kind));
        }
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
    if kind.is_namespaced() && kind.allows(Verb::List) {
        let everywhere = json!({"get": list_operation(kind, "ForAllNamespaces")});
        paths.push((format!("/apis/{}/{}", kind.api_version(), kind.plural), everywhere));
    }
    let home = home(kind);
    let mut collection = json!({});
    if kind.allows(Verb::List) {
        collection["get"] = list_operation(kind, "");
    }
    if kind.allows(Verb::Create) {
        let mut create = operation(kind, "post", "", &schema_name(kind));
        create["requestBody"] = json!({"content": content(&schema_name(kind)), "required": true});
        create["parameters"] = query_parameters(WRITE);
        collection["post"] = create;
    }
    if kind.allows(Verb::DeleteCollection) {
        let mut delete = delete_operation(kind, "deletecollection", "Collection");
        delete["parameters"] = query_parameters(SELECT.into_iter().chain(DELETE));
        collection["delete"] = delete;
    }
    let mut single = json!({});
    if kind.allows(Verb::Get) {
        single["get"] = operation(kind, "get", "", &schema_name(kind));
    }
    if kind.allows(Verb::Delete) {
        single["delete"] = delete_operation(kind, "delete", "");
    }
    single["patch"] = patch_operation(kind);
    single["patch"]["parameters"] = query_parameters(WRITE);
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

const PATCH: &str = "Changes spec by a merge patch (RFC 7386). Nothing else of an object can be changed.";

fn patch_v2(kind: &KindInfo) -> Value {
    let mut patch = refused_patch(kind);
    if kind.allows(Verb::Patch) {
        patch["description"] = json!(PATCH);
        patch["consumes"] = json!([MERGE_PATCH]);
        patch["responses"] = json!({"200": {"description": "OK"}});
    }
    patch
}

fn patch_operation(kind: &KindInfo) -> Value {
    if !kind.allows(Verb::Patch) {
        return refused_patch(kind);
    }
    let mut patch = operation(kind, "patch", "", &schema_name(kind));
    patch["description"] = json!(PATCH);
    patch["requestBody"] =
        json!({"content": {MERGE_PATCH: {"schema": {"type": "object"}}}, "required": true});
    patch
}

fn list_operation(kind: &KindInfo, suffix: &str) -> Value {
    let mut list = operation(kind, "list", suffix, &list_schema_name(kind));
    list["parameters"] = query_parameters(SELECT.into_iter().chain(LIST));
    list
}

fn delete_operation(kind: &KindInfo, action: &str, suffix: &str) -> Value {
    let mut delete = operation(kind, action, suffix, STATUS);
    delete["requestBody"] = json!({"content": content(DELETE_OPTIONS)});
    delete["parameters"] = query_parameters(DELETE);
    delete
}

fn operation(kind: &KindInfo, action: &str, suffix: &str, answer: &str) -> Value {
    let scope = if kind.is_namespaced() && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
    json!({
        "operationId": format!("{action}{scope}{}{suffix}", kind.kind),
        "responses": {"200": {"description": "OK", "content": content(answer)}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(kind, kind.kind),
    })
}

fn content(schema: &str) -> Value {
    json!({"application/json": {"schema": reference(schema)}})
}
