//! Takes out of an object what its cluster put in and another would put in anew. Pure.

use serde_json::{Map, Value};

use crate::cluster::RESTORE_MARK;
use crate::kinds::Kind;

/// Fields of every object's metadata that belong to the cluster it lives in.
const METADATA: &[&str] = &[
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// Finalizers that a deletion in progress put there.
const DELETION_FINALIZERS: &[&str] = &["foregroundDeletion", "orphan"];

/// Annotations that controllers write, by kind.
const ANNOTATIONS: &[(&str, &str, &[&str])] = &[
    ("apps", "Deployment", &["deployment.kubernetes.io/revision"]),
    ("apps", "DaemonSet", &["deprecated.daemonset.template.generation"]),
    ("", "Endpoints", &["endpoints.kubernetes.io/last-change-trigger-time"]),
    (
        "",
        "PersistentVolumeClaim",
        &[
            "pv.kubernetes.io/bind-completed",
            "pv.kubernetes.io/bound-by-controller",
            "volume.kubernetes.io/selected-node",
            "volume.kubernetes.io/storage-provisioner",
            "volume.beta.kubernetes.io/storage-provisioner",
        ],
    ),
];

/// Labels that tie a Job's pods to one uid.
const JOB_LABELS: &[&str] =
    &["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];

/// Cleans the object and returns its `managedFields`. The status stays: whether it is kept is asked apart.
pub(crate) fn clean(kind: &Kind, object: &mut Value) -> Option<Value> {
    let managed_fields = clean_metadata(object);
    clean_annotations(kind, object);
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => clean_namespace(object),
        ("", "Pod") => clean_pod(object),
        ("", "Service") => clean_service(object),
        ("", "ServiceAccount") => clean_service_account(object),
        ("", "PersistentVolumeClaim") => drop(fields(object, "spec").map(|spec| spec.remove("volumeName"))),
        ("batch", "Job") => clean_job(object),
        ("rbac.authorization.k8s.io", "ClusterRole") => clean_cluster_role(object),
        _ => {}
    }
    managed_fields
}

pub(crate) fn remove_status(object: &mut Value) {
    object.as_object_mut().map(|object| object.remove("status"));
}

fn fields<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    value.get_mut(key)?.as_object_mut()
}

fn clean_metadata(object: &mut Value) -> Option<Value> {
    let metadata = fields(object, "metadata")?;
    for key in METADATA {
        metadata.remove(*key);
    }
    if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        finalizers.retain(|name| !DELETION_FINALIZERS.iter().any(|known| name == known));
    }
    remove_if_empty(metadata, "finalizers");
    metadata.remove("managedFields").and_then(without_marks)
}

/// Field managers without the marks of restores, which tell of the cluster and not of the application.
pub(crate) fn without_marks(mut managed_fields: Value) -> Option<Value> {
    let entries = managed_fields.as_array_mut()?;
    entries.retain(|entry| !entry["manager"].as_str().is_some_and(|name| name.starts_with(RESTORE_MARK)));
    (!entries.is_empty()).then_some(managed_fields)
}

fn clean_annotations(kind: &Kind, object: &mut Value) {
    let Some((_, _, keys)) = ANNOTATIONS.iter().find(|row| kind.is(row.0, row.1)) else { return };
    remove_keys(object, "annotations", keys);
}

/// Removes keys from the annotations or labels in `value.metadata`.
fn remove_keys(value: &mut Value, map: &str, keys: &[&str]) {
    let Some(metadata) = fields(value, "metadata") else { return };
    if let Some(map) = metadata.get_mut(map).and_then(Value::as_object_mut) {
        map.retain(|key, _| !keys.contains(&key.as_str()));
    }
    remove_if_empty(metadata, map);
}

fn remove_if_empty(fields: &mut Map<String, Value>, key: &str) {
    let empty = match fields.get(key) {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => false,
    };
    if empty {
        fields.remove(key);
    }
}

fn clean_namespace(object: &mut Value) {
    // Its finalizers are the cluster's own, and the label repeats its name.
    object.as_object_mut().map(|object| object.remove("spec"));
    remove_keys(object, "labels", &["kubernetes.io/metadata.name"]);
}

fn clean_pod(object: &mut Value) {
    let Some(spec) = fields(object, "spec") else { return };
    // Priority is computed from the class; a pod is born without ephemeral containers.
    for key in ["nodeName", "priority", "preemptionPolicy", "ephemeralContainers"] {
        spec.remove(key);
    }
}

fn clean_service(object: &mut Value) {
    let Some(spec) = fields(object, "spec") else { return };
    // "None" is the user's wish for a headless service; an address is the cluster's gift.
    if spec.get("clusterIP").is_some_and(|address| address != "None") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    spec.remove("healthCheckNodePort");
}

/// Token secrets that the cluster made for the account are named after it.
fn clean_service_account(object: &mut Value) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let issued = |reference: &Value| {
        let rest = reference["name"].as_str().and_then(|secret| secret.strip_prefix(&name));
        rest.is_some_and(|rest| rest.starts_with("-token-") || rest.starts_with("-dockercfg-"))
    };
    let Some(account) = object.as_object_mut() else { return };
    for list in ["secrets", "imagePullSecrets"] {
        if let Some(references) = account.get_mut(list).and_then(Value::as_array_mut) {
            references.retain(|reference| !issued(reference));
        }
        remove_if_empty(account, list);
    }
}

/// The rules of a role that gathers other roles are the controller's.
fn clean_cluster_role(object: &mut Value) {
    if object["aggregationRule"].is_object() {
        object.as_object_mut().map(|role| role.remove("rules"));
    }
}

fn clean_job(object: &mut Value) {
    if object["spec"]["manualSelector"] == true {
        return;
    }
    remove_keys(object, "labels", JOB_LABELS);
    let Some(spec) = fields(object, "spec") else { return };
    spec.remove("selector");
    if let Some(template) = spec.get_mut("template") {
        remove_keys(template, "labels", JOB_LABELS);
    }
}

#[cfg(test)]
mod tests;
