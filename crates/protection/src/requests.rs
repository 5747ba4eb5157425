//! The doors' way in: what may be created, changed, deleted and looked into, and what that means for the platform.
//!
//! A door has already authenticated the requester, checked the schema and reviewed the requester's access to every
//! reference. What depends on the state of the platform is decided here.

mod cancel;
mod change;
mod create;
mod delete;
mod details;
mod passkey;

use std::collections::BTreeMap;

use keelson_catalog::{CommitError, ReadError, RowKey};
use keelson_model::{Classified, ErrorClass, Revision};
use serde_json::Value;

pub use change::change;
pub(crate) use create::application_labels;
pub use create::create;
pub use delete::delete;
pub use details::details;

use crate::access::AccessError;
use crate::audit::Deed;
use crate::engine::ReadRecordError;
use crate::namespaces::{self, Lifetime, ReadNamespaceError};
use crate::passkeys::PasskeyError;
use crate::platform::{CatalogAway, Platform};
use crate::policies::PolicyError;
use crate::records::DecodeRecordError;
use crate::requester::Requester;

/// An object as a client sent it, after the door has parsed it and chosen its name.
#[derive(Debug, Clone)]
pub struct NewObject {
    pub namespace: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub spec: Value,
}

/// Who asks, and by which request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub requester: &'a Requester,
    /// Where it is another than that of the function that is called.
    pub verb: Option<&'static str>,
    /// The name of the request in the trail of the API server; empty where it has none.
    pub audit_id: &'a str,
}

impl<'a> From<&'a Requester> for Asked<'a> {
    fn from(requester: &'a Requester) -> Self {
        Self { requester, verb: None, audit_id: "" }
    }
}

impl Asked<'_> {
    /// What was asked for, as the journal keeps it.
    pub(crate) fn deed(&self, verb: &'static str, object: RowKey) -> Deed {
        Deed::new(self.requester, self.verb.unwrap_or(verb), object, self.audit_id)
    }
}

/// Whether a request is carried out or only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Apply,
    DryRun,
}

/// Whether something new may be put into a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespacePlace {
    Staying,
    Terminating,
    Absent,
}

/// As far as the cluster has told. The cluster is asked only where it has not, or has told that the namespace goes.
pub async fn find_place(platform: &Platform, namespace: &str) -> Result<NamespacePlace, RequestError> {
    let found = namespaces::recall(platform, namespace).await;
    let found = found.map_err(|source| RequestError::Namespace { source })?;
    Ok(match found.map(|live| live.lifetime) {
        Some(Lifetime::Staying) => NamespacePlace::Staying,
        Some(Lifetime::Terminating) => NamespacePlace::Terminating,
        None => NamespacePlace::Absent,
    })
}

/// What the object must still be when it is deleted.
#[derive(Debug, Clone, Default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub revision: Option<Revision>,
}

/// A request that is not carried out. The message is meant for the client.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("{kind} '{name}' already exists")]
    AlreadyExists { kind: &'static str, name: String },
    #[error("{kind} '{name}' was not found")]
    NotFound { kind: &'static str, name: String },
    /// A field of the object is wrong in a way that only the state of the platform shows.
    #[error("{field}: {message}")]
    InvalidField { field: &'static str, message: String },
    /// The precondition or the state of the object forbids it.
    #[error("{message}")]
    Conflict { message: String },
    #[error("{kind} '{name}' is not made, changed or removed by clients")]
    NotByClients { kind: &'static str, name: String },
    #[error(transparent)]
    Away(CatalogAway),
    #[error("read the catalog")]
    Read { source: ReadError },
    #[error("decode the catalog")]
    Decode { source: DecodeRecordError },
    #[error(transparent)]
    Access { source: AccessError },
    #[error(transparent)]
    Policy { source: PolicyError },
    #[error("look for the namespace")]
    Namespace { source: ReadNamespaceError },
    #[error("write the catalog")]
    Commit { source: CommitError },
    #[error("change what opens the volume")]
    Passkey { source: PasskeyError },
}

impl From<ReadRecordError> for RequestError {
    fn from(error: ReadRecordError) -> Self {
        match error {
            ReadRecordError::Read { source, .. } => Self::Read { source },
            ReadRecordError::Decode { source, .. } => Self::Decode { source },
        }
    }
}

impl Classified for RequestError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::AlreadyExists { .. } | Self::Conflict { .. } => ErrorClass::Conflict,
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::InvalidField { .. } => ErrorClass::Invalid,
            Self::NotByClients { .. } => ErrorClass::Denied,
            Self::Away(source) => source.class(),
            Self::Read { source } => source.class(),
            Self::Decode { .. } => ErrorClass::Corrupt,
            Self::Access { source } => source.class(),
            Self::Policy { source } => source.class(),
            Self::Namespace { source } => source.class(),
            Self::Commit { source } => source.class(),
            Self::Passkey { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyExists { .. } => "request.already_exists",
            Self::NotFound { .. } => "request.not_found",
            Self::InvalidField { .. } => "request.invalid_field",
            Self::Conflict { .. } => "request.conflict",
            Self::NotByClients { .. } => "request.not_by_clients",
            Self::Away(_) => "request.catalog_away",
            Self::Read { .. } => "request.read",
            Self::Decode { .. } => "request.decode",
            Self::Access { source } => source.code(),
            Self::Policy { source } => source.code(),
            Self::Namespace { .. } => "request.namespace",
            Self::Commit { .. } => "request.commit",
            Self::Passkey { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Away(source) => source.hint(),
            Self::Access { source } => source.hint(),
            _ => None,
        }
    }
}
