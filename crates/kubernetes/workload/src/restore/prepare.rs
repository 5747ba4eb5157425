//! Turns a captured object into what is sent, or says why it is not. Pure. The bytes may be an attacker's.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::failure::{ObjectError, Stop};
use super::{ClaimRule, RbacRule, RestoreRequest};
use crate::capture::{clean, is_never_captured, without_marks};
use crate::cluster::{RESTORE_MARK, ServedKinds, reference};
use crate::comparable::comparable_value;
use crate::filters::{Asked, Selectable};
use crate::kinds::{Kind, Scope};
use crate::layers::Layer;
use crate::names::NamespaceName;
use crate::objects::{CapturedObject, ObjectRef};
use crate::omissions::OmissionReason;
use crate::scope::RestoreScope;

/// Groups whose objects are rights.
const RIGHTS: &[&str] = &["rbac.authorization.k8s.io", "authorization.openshift.io"];

pub(super) enum Verdict {
    Restore(Box<Prepared>),
    Skip(OmissionReason),
}

/// An object ready to be sent, all but its owners.
pub(super) struct Prepared {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) original_uid: String,
    /// Without owner references.
    pub(super) body: Map<String, Value>,
    /// As captured: with the uids of the captured cluster.
    pub(super) owners: Vec<Value>,
    pub(super) managed_fields: Option<Box<RawValue>>,
}

impl Prepared {
    pub(super) fn reference(&self, kind: &Kind) -> ObjectRef {
        reference(kind, self.namespace.as_deref(), &self.name)
    }

    pub(super) fn body_with_owners(&self, owners: &[Value]) -> Value {
        let mut body = self.body.clone();
        if !owners.is_empty()
            && let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.insert("ownerReferences".to_owned(), owners.into());
        }
        Value::Object(body)
    }

    /// What an existing object is compared with.
    pub(super) fn comparable(&self) -> Value {
        let mut value = comparable_value(self.body_with_owners(&self.owners));
        crate::capture::remove_status(&mut value);
        value
    }
}

pub(super) fn prepare(object: &CapturedObject, request: &RestoreRequest) -> Result<Verdict, Stop> {
    let kind = &*object.kind;
    let value: Value = object.to_value().map_err(|source| ObjectError::ReadCaptured { source })?;
    if !value["metadata"].is_object() {
        return Err(ObjectError::NotAnObject.into());
    }
    check_place(object, request)?;
    if let Some(reason) = skip_reason(object, &value, request) {
        return Ok(Verdict::Skip(reason));
    }
    let mut value = value;
    clean(kind, &mut value);
    let Value::Object(mut body) = value else { return Err(ObjectError::NotAnObject.into()) };
    body.insert("apiVersion".to_owned(), kind.api_version().into());
    body.insert("kind".to_owned(), kind.kind.clone().into());
    let target = request.scope.target();
    let followed = target.filter(|_| kind.is("", "Namespace"));
    let name = followed.map_or_else(|| object.name.clone(), NamespaceName::to_string);
    let namespace = target.filter(|_| object.namespace.is_some()).map(NamespaceName::to_string);
    let mut owners = Vec::new();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), name.clone().into());
        match &namespace {
            Some(namespace) => metadata.insert("namespace".to_owned(), namespace.clone().into()),
            None => metadata.remove("namespace"),
        };
        if let Some(Value::Array(references)) = metadata.remove("ownerReferences") {
            owners = references;
        }
    }
    if let RestoreScope::Application { original, target } = &request.scope
        && original != target
    {
        retarget(kind, &mut body, original.as_str(), target.as_str());
    }
    Ok(Verdict::Restore(Box::new(Prepared {
        name,
        namespace,
        original_uid: object.uid.clone(),
        body,
        owners,
        managed_fields: managed_fields(object),
    })))
}

/// A backup of an earlier release may have taken a mark with it.
fn managed_fields(object: &CapturedObject) -> Option<Box<RawValue>> {
    let fields = object.managed_fields.as_deref()?;
    if !fields.get().contains(RESTORE_MARK) {
        return object.managed_fields.clone();
    }
    let clean = without_marks(serde_json::from_str(fields.get()).ok()?)?;
    serde_json::value::to_raw_value(&clean).ok()
}

/// Of an application only its own namespace, and definitions, are written; of the cluster scope nothing in a namespace.
fn check_place(object: &CapturedObject, request: &RestoreRequest) -> Result<(), ObjectError> {
    let RestoreScope::Application { original, .. } = &request.scope else {
        return if object.namespace.is_none() { Ok(()) } else { Err(ObjectError::InNamespace) };
    };
    match object.namespace.as_deref() {
        Some(namespace) if namespace == original.as_str() => Ok(()),
        Some(_) => Err(ObjectError::Foreign { namespace: original.clone() }),
        None if object.kind.is("", "Namespace") && object.name == original.as_str() => Ok(()),
        None if Layer::of(&object.kind) == Layer::Definitions => Ok(()),
        None => Err(ObjectError::OutsideNamespaces),
    }
}

fn skip_reason(object: &CapturedObject, value: &Value, request: &RestoreRequest) -> Option<OmissionReason> {
    let kind = &*object.kind;
    if let Some(why) = is_never_captured(kind) {
        return Some(OmissionReason::Kind(why.to_owned()));
    }
    if !is_selected(kind, value, request) {
        return Some(OmissionReason::Filtered);
    }
    if RIGHTS.contains(&kind.group.as_str()) && request.rbac == RbacRule::Leave {
        return Some(OmissionReason::RightsNotAskedFor);
    }
    if kind.is("", "PersistentVolumeClaim") && request.claims == ClaimRule::Report {
        return Some(OmissionReason::ClaimNotRestored);
    }
    None
}

/// In an application a definition is selected with the objects that need it.
fn is_selected(kind: &Kind, value: &Value, request: &RestoreRequest) -> bool {
    if Layer::of(kind) != Layer::Definitions || request.scope == RestoreScope::Cluster {
        let versions = std::slice::from_ref(&kind.version);
        return request.filters.selects(kind, versions, &Selectable::of(value), true);
    }
    let spec = &value["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let defined = Kind {
        group: text(&spec["group"]),
        version: String::new(),
        kind: text(&spec["names"]["kind"]),
        resource: text(&spec["names"]["plural"]),
        scope: Scope::Namespaced,
    };
    let versions = spec["versions"].as_array().into_iter().flatten();
    let versions: Vec<String> = versions.map(|version| text(&version["name"])).collect();
    request.filters.ask(&defined, &versions) != Asked::No
}

/// Follows the application into another namespace.
fn retarget(kind: &Kind, body: &mut Map<String, Value>, original: &str, target: &str) {
    if kind.is("rbac.authorization.k8s.io", "RoleBinding") {
        let subjects = body.get_mut("subjects").and_then(Value::as_array_mut);
        for subject in subjects.into_iter().flatten() {
            if subject["namespace"] == original {
                subject["namespace"] = target.into();
            }
        }
    }
    if kind.is("", "Service") {
        // The original may still hold these ports, of which a cluster has each only once.
        let ports = body.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            port.as_object_mut().map(|port| port.remove("nodePort"));
        }
    }
}

/// The kind as this cluster serves it. What was captured in a version that is gone cannot be sent.
pub(super) fn resolve(served: &ServedKinds, captured: &Kind) -> Result<Arc<Kind>, ObjectError> {
    let absent = || ObjectError::KindAbsent { kind: captured.kind.clone(), group: captured.group.clone() };
    let found = served.find_resource(&captured.group, &captured.resource).ok_or_else(absent)?;
    if found.kind.scope != captured.scope || found.kind.kind != captured.kind {
        return Err(absent());
    }
    if found.kind.version == captured.version {
        return Ok(found.kind.clone());
    }
    if found.versions.contains(&captured.version) {
        return Ok(Arc::new(Kind { version: captured.version.clone(), ..(*found.kind).clone() }));
    }
    Err(ObjectError::VersionGone {
        kind: captured.resource_name(),
        version: captured.version.clone(),
        served: found.versions.join(", "),
    })
}

#[cfg(test)]
mod tests;
