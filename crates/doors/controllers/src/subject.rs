//! The object that is reconciled, as far as all kinds have it in common.

use keelson_resources::spec_hash;
use keelson_workload::{Kind, NamespacedName};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::runtime::reflector::ObjectRef;
use serde_json::Value;

/// One custom resource as the cluster holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Subject {
    pub at: NamespacedName,
    pub uid: String,
    pub generation: Option<i64>,
    /// Of the specification.
    pub hash: u32,
    pub lifetime: Lifetime,
    pub object: Value,
}

/// Whether the object is there to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Staying,
    BeingDeleted,
}

impl Subject {
    pub(crate) fn of(object: Value) -> Self {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let lifetime = match &metadata["deletionTimestamp"] {
            Value::Null => Lifetime::Staying,
            _ => Lifetime::BeingDeleted,
        };
        Self {
            at: NamespacedName::new(text("namespace"), text("name")),
            uid: text("uid").to_owned(),
            generation: metadata["generation"].as_i64(),
            hash: spec_hash(&object["spec"]),
            lifetime,
            object,
        }
    }
}

/// The same kind in the words of the crate that writes.
pub(crate) fn plain_kind(resource: &ApiResource) -> Kind {
    Kind::namespaced(&resource.api_version, &resource.kind, &resource.plural)
}

pub(crate) fn reference(object: &DynamicObject, resource: &ApiResource) -> ObjectRef<DynamicObject> {
    ObjectRef::from_obj_with(object, resource.clone())
}
