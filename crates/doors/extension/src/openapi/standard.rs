//! What of Kubernetes' own API every kind shares: the metadata of objects and lists, what ends a deletion, and what a
//! request may carry in its query. Only what this server takes is listed.

use serde_json::{Map, Value, json};

pub(super) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
pub(super) const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const STATUS_DETAILS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.StatusDetails";
const STATUS_CAUSE: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.StatusCause";
const PRECONDITIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Preconditions";

pub(super) const GROUP_VERSION_KIND: &str = "x-kubernetes-group-version-kind";

/// What a writing request may carry.
pub(super) const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
/// What narrows a list, a watch, or the deletion of many.
pub(super) const SELECT: [&str; 6] =
    ["fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch", "timeoutSeconds"];
/// What a list or a watch takes beside that.
pub(super) const LIST: [&str; 4] = ["allowWatchBookmarks", "continue", "sendInitialEvents", "watch"];
pub(super) const DELETE: [&str; 4] =
    ["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];

pub(super) fn schemas() -> Map<String, Value> {
    let named = [
        (OBJECT_META, object_meta()),
        (LIST_META, list_meta()),
        (STATUS, status()),
        (STATUS_DETAILS, status_details()),
        (STATUS_CAUSE, status_cause()),
        (DELETE_OPTIONS, delete_options()),
        (PRECONDITIONS, preconditions()),
        (PATCH, patch()),
    ];
    named.map(|(name, schema)| (name.to_owned(), schema)).into_iter().collect()
}

/// How clients show who they are, to the API server, which is who lets them in. No operation demands it: a certificate is as
/// good, and that is no scheme of OpenAPI 3.0.
pub(super) fn security_schemes() -> Value {
    json!({"BearerToken": {
        "type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer Token authentication",
    }})
}

pub(super) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

pub(super) fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

pub(super) fn query_parameters<'a>(names: impl IntoIterator<Item = &'a str>) -> Value {
    let parameter = |name| json!({"name": name, "in": "query", "schema": query_schema(name)});
    names.into_iter().map(parameter).collect()
}

fn query_schema(name: &str) -> Value {
    let kind = match name {
        "allowWatchBookmarks" | "orphanDependents" | "sendInitialEvents" | "watch" => "boolean",
        "gracePeriodSeconds" | "limit" | "timeoutSeconds" => "integer",
        _ => "string",
    };
    json!({"type": kind, "uniqueItems": true})
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn integer(format: &str, description: &str) -> Value {
    json!({"type": "integer", "format": format, "description": description})
}

fn object(description: &str, properties: Value) -> Value {
    json!({"type": "object", "description": description, "properties": properties})
}

/// The metadata that objects of ours have. Owners and finalizers are refused, so they are not in it.
fn object_meta() -> Value {
    let texts = |description: &str| json!({"type": "object", "additionalProperties": {"type": "string"}, "description": description});
    object(
        "ObjectMeta is metadata that all persisted resources must have.",
        json!({
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
        }),
    )
}

fn list_meta() -> Value {
    object(
        "ListMeta describes metadata that synthetic resources must have.",
        json!({
            "continue": text("Where the next page begins."),
            "remainingItemCount": integer("int64", "How many objects follow, where that is known."),
            "resourceVersion": text("The version of the list, from which a watch goes on."),
        }),
    )
}

fn status() -> Value {
    let mut status = object(
        "Status is an answer that is no object: how a request ended.",
        json!({
            "apiVersion": text("The version of this schema."),
            "kind": text("Always Status."),
            "metadata": {"allOf": [reference(LIST_META)], "default": {}},
            "status": text("Success or Failure."),
            "message": text("What happened, for people."),
            "reason": text("What happened, in one word for programs."),
            "details": {"allOf": [reference(STATUS_DETAILS)]},
            "code": integer("int32", "The HTTP status code."),
        }),
    );
    status[GROUP_VERSION_KIND] = json!([{"group": "", "version": "v1", "kind": "Status"}]);
    status
}

fn status_details() -> Value {
    object(
        "StatusDetails says which object a status is about, and why.",
        json!({
            "name": text("The object's name."),
            "group": text("The group of its kind."),
            "kind": text("Its resource."),
            "uid": text("Its unique id."),
            "causes": {"type": "array", "items": {"allOf": [reference(STATUS_CAUSE)], "default": {}}},
            "retryAfterSeconds": integer("int32", "When to come back."),
        }),
    )
}

fn status_cause() -> Value {
    object(
        "StatusCause is one of the reasons of a failure.",
        json!({
            "reason": text("The reason, in one word for programs."),
            "message": text("The reason, for people."),
            "field": text("The field that is to blame."),
        }),
    )
}

fn delete_options() -> Value {
    let mut options = object(
        "DeleteOptions may be given with a deletion.",
        json!({
            "apiVersion": text("The version of this schema."),
            "kind": text("Always DeleteOptions."),
            "dryRun": {"type": "array", "items": {"type": "string"}, "description": "All: check, and change nothing."},
            "gracePeriodSeconds": integer("int64", "Objects go at once whatever is said."),
            "propagationPolicy": text("What becomes of dependents: Orphan, Background or Foreground."),
            "orphanDependents": {
                "type": "boolean", "description": "What propagationPolicy replaced. Only one of them may be given.",
            },
            "preconditions": {"allOf": [reference(PRECONDITIONS)]},
        }),
    );
    options[GROUP_VERSION_KIND] = json!([{"group": "", "version": "v1", "kind": "DeleteOptions"}]);
    options
}

fn patch() -> Value {
    json!({"type": "object", "description": "Patch says what is to become of an object's fields."})
}

fn preconditions() -> Value {
    object(
        "Preconditions must hold before the object is deleted.",
        json!({
            "uid": text("The unique id that it must have."),
            "resourceVersion": text("The version that it must have."),
        }),
    )
}
