//! Why one object, or a whole restore, does not come to its end.

use keelson_model::{Classified, ErrorClass};
use serde::{Deserialize, Serialize};

use crate::format::DecodeObjectsError;
use crate::layers::Layer;
use crate::names::NamespaceName;
use crate::objects::ObjectRef;
use crate::omissions::OmissionReason;
use crate::request::RequestError;

/// A restore that stopped. What was restored until then stays; running it again goes on.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("namespace '{namespace}' belongs to the cluster itself")]
    NamespaceOfCluster { namespace: NamespaceName },
    #[error("read namespace '{namespace}'")]
    ReadNamespace { namespace: NamespaceName, source: RequestError },
    #[error("create namespace '{namespace}'")]
    CreateNamespace { namespace: NamespaceName, source: RequestError },
    #[error("namespace '{namespace}' is terminating (since {since}, remaining: {})", if remaining.is_empty() { "unknown".to_owned() } else { remaining.join("; ") })]
    NamespaceTerminating { namespace: NamespaceName, since: String, remaining: Vec<String> },
    #[error("'{user}' may not create namespace '{namespace}'")]
    NamespaceDenied { namespace: NamespaceName, user: String },
    #[error("read which kinds the cluster serves")]
    Discover { source: RequestError },
    #[error("read the captured objects")]
    ReadObjects { source: DecodeObjectsError },
    #[error("{object} comes after the layer '{}'", after.name())]
    LayerOrder { object: ObjectRef, after: Layer },
    #[error("the cluster cannot be reached any more")]
    Unreachable { source: RequestError },
    #[error(
        "{object} was deleted to be made anew and could not be put back: the cluster cannot be reached any more"
    )]
    Lost { object: ObjectRef, source: RequestError },
}

impl Classified for RestoreError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NamespaceOfCluster { .. } => ErrorClass::Invalid,
            Self::NamespaceDenied { .. } => ErrorClass::Denied,
            Self::ReadNamespace { source, .. }
            | Self::CreateNamespace { source, .. }
            | Self::Discover { source }
            | Self::Unreachable { source }
            | Self::Lost { source, .. } => source.class(),
            Self::NamespaceTerminating { .. } => ErrorClass::Conflict,
            Self::ReadObjects { source } => source.class(),
            Self::LayerOrder { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NamespaceOfCluster { .. } => "workload.restore.namespace_of_cluster",
            Self::ReadNamespace { .. } => "workload.restore.read_namespace",
            Self::CreateNamespace { .. } => "workload.restore.create_namespace",
            Self::NamespaceTerminating { .. } => "workload.restore.namespace_terminating",
            Self::NamespaceDenied { .. } => "workload.restore.namespace_denied",
            Self::Discover { .. } => "workload.restore.discover",
            Self::ReadObjects { .. } => "workload.restore.read_objects",
            Self::LayerOrder { .. } => "workload.restore.layer_order",
            Self::Unreachable { .. } => "workload.restore.unreachable",
            Self::Lost { .. } => "workload.restore.lost",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NamespaceTerminating { namespace, .. } => Some(format!(
                "remove what holds the finalizers, or restore into another namespace; \
                 `kubectl get namespace {namespace} -o yaml` tells more"
            )),
            _ => None,
        }
    }
}

/// Why one object was not restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    #[error("the captured object is not readable")]
    ReadCaptured { source: serde_json::Error },
    #[error("the captured object is not an object")]
    NotAnObject,
    #[error("it was not captured in namespace '{namespace}'")]
    Foreign { namespace: NamespaceName },
    #[error("objects outside namespaces are not part of an application")]
    OutsideNamespaces,
    #[error("objects in namespaces are not part of the cluster scope")]
    InNamespace,
    #[error("the cluster does not serve '{kind}' of '{group}'")]
    KindAbsent { kind: String, group: String },
    #[error("version '{version}' of '{kind}' is no longer served; the cluster serves {served}")]
    VersionGone { kind: String, version: String, served: String },
    #[error("'{user}' may not {verb} {resource}")]
    Denied { user: String, verb: &'static str, resource: String },
    #[error("it exists already")]
    Exists,
    #[error("it exists already and changes while it is replaced")]
    KeepsChanging,
    #[error("the former object is still being deleted after {seconds} s")]
    StillDeleted { seconds: u64 },
    #[error("it cannot be changed and is never deleted to be made anew; it differs in {differs}")]
    NotRecreated { differs: String, source: RequestError },
    #[error("it is not deleted to be made anew, because claim '{claim}' belongs to it and would go with it")]
    HoldsClaim { claim: String },
    #[error("it is not deleted to be made anew, because its finalizers let others act on that: {finalizers}")]
    HoldsFinalizers { finalizers: String },
    #[error("the former object was deleted to be made anew, was refused, and was put back")]
    PutBack { source: RequestError },
    #[error("the former object was deleted to be made anew, was refused, and could not be put back")]
    Lost { source: RequestError },
    #[error("the step that makes it anew ended abnormally")]
    Broken { source: tokio::task::JoinError },
    #[error("restored, but without its field managers")]
    FieldManagers { source: RequestError },
    #[error("restored, but without its owners")]
    OwnerReferences { source: RequestError },
    #[error("restored, but without its status")]
    Status { source: RequestError },
    #[error("not restored")]
    Request { source: RequestError },
}

/// What ends the work on one object.
pub(super) enum Stop {
    Skip(OmissionReason),
    Object(Box<ObjectError>),
    Whole(Box<RestoreError>),
}

impl From<ObjectError> for Stop {
    fn from(error: ObjectError) -> Self {
        Self::Object(Box::new(error))
    }
}

/// An object that was not restored, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFailure {
    pub object: ObjectRef,
    pub why: String,
}
