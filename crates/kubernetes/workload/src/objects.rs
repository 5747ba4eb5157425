//! One captured object: cleaned of what its cluster owns, with its field managers beside it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::kinds::Kind;
use crate::layers::Layer;

/// An object as it was read and as it will be written back.
#[derive(Clone)]
pub struct CapturedObject {
    pub layer: Layer,
    pub kind: Arc<Kind>,
    /// None for the few objects outside namespaces that belong to an application.
    pub namespace: Option<String>,
    pub name: String,
    /// The uid it had when it was captured: owner references are rewritten by it.
    pub uid: String,
    /// The cleaned object.
    pub object: Box<RawValue>,
    /// Its `managedFields`, which tell who owns which field.
    pub managed_fields: Option<Box<RawValue>>,
}

impl CapturedObject {
    pub fn reference(&self) -> ObjectRef {
        ObjectRef {
            resource: self.kind.resource_name(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// The object as a tree. It was checked to be JSON when it was captured or decoded.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(self.object.get())
    }
}

/// Names the object and never prints it: it may be a Secret.
impl fmt::Debug for CapturedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CapturedObject({})", self.reference())
    }
}

/// Names an object for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// `deployments.apps`
    pub resource: String,
    pub namespace: Option<String>,
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} '{namespace}/{}'", self.resource, self.name),
            None => write!(f, "{} '{}'", self.resource, self.name),
        }
    }
}
