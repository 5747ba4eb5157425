//! Reads an application out of a cluster and writes it back, and keeps our configuration in the cluster.
//!
//! Knows nothing of storage and decides no use case: it is handed a namespace and rules, and answers with plain
//! values. Types of the Kubernetes client stay inside; only `Cluster::from_client` takes one, for composition.
//! Whoever starts the process installs the rustls provider (aws-lc-rs) before the first connection.

mod capture;
mod cluster;
mod comparable;
mod components;
mod configuration;
mod filters;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod impersonation;
mod inventory;
mod kinds;
mod layers;
mod names;
mod objects;
mod omissions;
mod request;
mod restore;
mod scope;

pub use capture::{CaptureError, CaptureReport, CaptureRequest, KindFailure, StatusRule};
pub use cluster::{Cluster, ClusterAccess, ConnectError, NamespacePhase, NamespaceState};
pub use comparable::comparable;
pub use components::Component;
pub use configuration::{
    AccessDecision, ChangeKind, ConfigEvent, ConfigMap, Creation, EventRecord, EventSeverity, Secret,
    SubjectReview,
};
pub use filters::{ClusterFilters, Filters, ResourceFilter};
pub use format::{
    CHUNK_BYTES, DecodeObjectsError, FRAME_BYTES_MAX, OBJECT_BYTES_MAX, ObjectEncoder, decode_objects,
};
pub use impersonation::{Impersonation, ImpersonationRefused, Requester};
pub use inventory::{Inventory, InventoryGap, KIND_OBJECTS_MAX, ListedClaim, ListedObject};
pub use kinds::{Kind, Scope};
pub use layers::Layer;
pub use names::{InvalidName, NamespaceName, NamespacedName};
pub use objects::{CapturedObject, ObjectRef};
pub use omissions::{NAMES_MAX, Omission, OmissionReason};
pub use request::{Refusal, RequestError, Verb};
pub use restore::{
    Authority, ClaimRule, ConflictRule, Conflicts, ObjectFailure, OwnerDropped, RbacRule, RestoreError,
    RestoreProgress, RestoreReport, RestoreRequest,
};
pub use scope::{CaptureScope, RestoreScope};
