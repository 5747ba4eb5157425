//! OpenAPI: what `kubectl explain` reads, and what generators make clients of. The schemas belong to the kinds; here they
//! become documents. Operations are named as Kubernetes names those of its own groups, and say which codes we answer.
//!
//! Version 2 is merged by the API server into its own and holds what `kubectl create` asks of it: whether we judge
//! fields ourselves. It looks for the answer at the operation `patch`, which therefore is documented for every kind,
//! though for most all it does is say that objects cannot be changed. Without it, `kubectl` would list CRDs, which few
//! users may.

mod standard;

use http::StatusCode;
use keelson_resources::{KindInfo, Verb};
use serde_json::{Map, Value, json};

use self::standard::{
    DELETE, DELETE_OPTIONS, GROUP_VERSION_KIND, LIST, LIST_META, OBJECT_META, PATCH, SELECT, STATUS, WRITE,
    path_parameter, query_parameters, reference, security_schemes,
};
use crate::body::{BODY_TYPES, MERGE_PATCH};
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
    let components = json!({"schemas": schemas, "securitySchemes": security_schemes()});
    json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": components})
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
    schema[GROUP_VERSION_KIND] = json!([gvk(kind, kind.kind)]);
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
            "items": {"type": "array", "items": reference(&schema_name(kind))},
        },
        GROUP_VERSION_KIND: [gvk(kind, &kind.list_kind())],
    })
}

fn kind_paths(kind: &KindInfo) -> Vec<(String, Value)> {
    let mut paths = Vec::new();
    if kind.is_namespaced() && kind.allows(Verb::List) {
        let name = format!("{}ForAllNamespaces", kind.kind);
        let everywhere = json!({"get": list_operation(kind, &name)});
        paths.push((format!("/apis/{}/{}", kind.api_version(), kind.plural), everywhere));
    }
    let home = home(kind);
    let (mut collection, mut single) = (collection_path(kind), object_path(kind));
    let name = path_parameter("name");
    if kind.is_namespaced() {
        collection["parameters"] = json!([path_parameter("namespace")]);
        single["parameters"] = json!([name, path_parameter("namespace")]);
    } else {
        single["parameters"] = json!([name]);
    }
    if kind.details {
        let read = operation(kind, "get", &format!("{}Details", scoped(kind)), &schema_name(kind));
        let details = json!({"get": read, "parameters": single["parameters"]});
        paths.push((format!("{home}/{{name}}/details"), details));
    }
    paths.push((format!("{home}/{{name}}"), single));
    paths.push((home, collection));
    paths
}

/// What may be done where the objects of a kind live.
fn collection_path(kind: &KindInfo) -> Value {
    let mut path = json!({});
    if kind.allows(Verb::List) {
        path["get"] = list_operation(kind, &scoped(kind));
    }
    if kind.allows(Verb::Create) {
        let mut create = operation(kind, "post", &scoped(kind), &schema_name(kind));
        create["requestBody"] = json!({"content": submitted(&schema_name(kind)), "required": true});
        create["parameters"] = query_parameters(WRITE);
        path["post"] = create;
    }
    if kind.allows(Verb::DeleteCollection) {
        let name = format!("Collection{}", scoped(kind));
        let mut delete = delete_operation(kind, "deletecollection", &name);
        delete["parameters"] = query_parameters(SELECT.into_iter().chain(DELETE));
        path["delete"] = delete;
    }
    path
}

/// What may be done to one object.
fn object_path(kind: &KindInfo) -> Value {
    let mut path = json!({"patch": patch_operation(kind)});
    path["patch"]["parameters"] = query_parameters(WRITE);
    if kind.allows(Verb::Get) {
        path["get"] = operation(kind, "get", &scoped(kind), &schema_name(kind));
    }
    if kind.allows(Verb::Delete) {
        path["delete"] = delete_operation(kind, "delete", &scoped(kind));
    }
    path
}

/// Where the objects of a kind live.
fn home(kind: &KindInfo) -> String {
    let namespace = if kind.is_namespaced() { "/namespaces/{namespace}" } else { "" };
    format!("/apis/{}{namespace}/{}", kind.api_version(), kind.plural)
}

const UNCHANGEABLE: &str = "Objects of this kind cannot be changed.";
const MERGED: &str = "Changes spec by a merge patch (RFC 7386). Nothing else of an object can be changed.";

fn patch_v2(kind: &KindInfo) -> Value {
    let mut patch = described(kind, "patch", &scoped(kind));
    if kind.allows(Verb::Patch) {
        patch["description"] = json!(MERGED);
        patch["consumes"] = json!([MERGE_PATCH]);
        patch["responses"] = json!({"200": {"description": "OK"}});
    } else {
        patch["description"] = json!(UNCHANGEABLE);
        patch["responses"] = json!({"405": {"description": "Method Not Allowed"}});
    }
    patch
}

fn patch_operation(kind: &KindInfo) -> Value {
    if !kind.allows(Verb::Patch) {
        let mut refused = described(kind, "patch", &scoped(kind));
        refused["description"] = json!(UNCHANGEABLE);
        refused["responses"] = responses(StatusCode::METHOD_NOT_ALLOWED, STATUS);
        return refused;
    }
    let mut patch = operation(kind, "patch", &scoped(kind), &schema_name(kind));
    patch["description"] = json!(MERGED);
    patch["requestBody"] = json!({"content": {MERGE_PATCH: {"schema": reference(PATCH)}}, "required": true});
    patch
}

fn list_operation(kind: &KindInfo, name: &str) -> Value {
    let mut list = operation(kind, "list", name, &list_schema_name(kind));
    list["parameters"] = query_parameters(SELECT.into_iter().chain(LIST));
    list
}

fn delete_operation(kind: &KindInfo, action: &str, name: &str) -> Value {
    let mut delete = operation(kind, action, name, STATUS);
    delete["requestBody"] = json!({"content": submitted(DELETE_OPTIONS)});
    delete["parameters"] = query_parameters(DELETE);
    delete
}

/// An operation that answers with what a schema describes.
fn operation(kind: &KindInfo, action: &str, name: &str, answer: &str) -> Value {
    let code = if action == "post" { StatusCode::CREATED } else { StatusCode::OK };
    let mut operation = described(kind, action, name);
    operation["responses"] = responses(code, answer);
    operation
}

/// What is said of every operation. The id is `createActionsKioKastenIoV1alpha1NamespacedBackupAction`: documents of several
/// groups go into one client, and no two of them have it.
fn described(kind: &KindInfo, action: &str, name: &str) -> Value {
    let (verb, does) = match action {
        "get" => ("read", "read the specified"),
        "list" => ("list", "list or watch objects of kind"),
        "post" => ("create", "create one"),
        "delete" => ("delete", "delete the specified"),
        "deletecollection" => ("delete", "delete a collection of"),
        _ => (action, "partially update the specified"),
    };
    let group: String = kind.group.split('.').map(capitalized).collect();
    json!({
        "operationId": format!("{verb}{group}{}{name}", capitalized(kind.version)),
        "description": format!("{does} {}", kind.kind),
        "tags": [tag(kind)],
        "x-kubernetes-action": action,
        GROUP_VERSION_KIND: gvk(kind, kind.kind),
    })
}

/// Which operations go together: `actionsKioKastenIo_v1alpha1`.
fn tag(kind: &KindInfo) -> String {
    let mut words = kind.group.split('.');
    let first = words.next().unwrap_or_default();
    let rest: String = words.map(capitalized).collect();
    format!("{first}{rest}_{}", kind.version)
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// A kind as the ids of its operations name it.
fn scoped(kind: &KindInfo) -> String {
    let scope = if kind.is_namespaced() { "Namespaced" } else { "" };
    format!("{scope}{}", kind.kind)
}

/// The one code of success, the one that the API server answers for us, and what all refusals look like.
fn responses(code: StatusCode, answer: &str) -> Value {
    let reason = code.canonical_reason().unwrap_or_default();
    json!({
        (code.as_str()): {"description": reason, "content": content(answer)},
        "401": {"description": "Unauthorized"},
        "default": {"description": "The request was refused, or failed.", "content": content(STATUS)},
    })
}

/// A schema in the formats that we answer in.
fn content(schema: &str) -> Value {
    json!({"application/json": {"schema": reference(schema)}})
}

/// A schema in the formats that we take.
fn submitted(schema: &str) -> Value {
    BODY_TYPES.into_iter().map(|media_type| (media_type, json!({"schema": reference(schema)}))).collect()
}
