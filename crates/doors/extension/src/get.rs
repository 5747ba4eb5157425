//! One object, and what its sub-resource `details` adds.

use std::sync::Arc;

use axum::response::Response;
use keelson_catalog::{CommitError, RowKey, RowKind, Stored};
use keelson_model::names::group;
use keelson_model::{Classified, ErrorClass};
use keelson_protection::Requester;
use keelson_protection::requests::{self, RequestError};
use keelson_resources::KindInfo;
use serde_json::Value;

use crate::accept::Representation;
use crate::fairness::Share;
use crate::limits::LIST_PATIENCE;
use crate::object::Object;
use crate::options::Freshness;
use crate::refusal::{About, FieldError, Refusal};
use crate::response::{hold, json_bytes};
use crate::rows::check_reached;
use crate::shared::{Shared, blocking, refuse_away, refuse_failure, refuse_read};
use crate::target::ObjectPath;
use crate::view::View;

pub(crate) async fn get(
    shared: &Arc<Shared>,
    path: ObjectPath<'_>,
    freshness: Freshness,
    view: View,
) -> Result<Response, Refusal> {
    let stored = read(shared, path, freshness).await?;
    let object = match view.representation {
        // The garbage collector looks owners up so, and takes a failure for a reason to ask again for ever.
        Representation::PartialMetadata(_) => Object::one_of_many(path.kind, &stored),
        Representation::Object | Representation::Table(_) => {
            Object::parse(path.kind, &stored).map_err(|error| refuse_failure(&error))?
        }
    };
    Ok(json_bytes(view.single(&object)))
}

/// The object with a richer status, reckoned for this request alone.
pub(crate) async fn details(
    shared: &Arc<Shared>,
    requester: &Requester,
    path: ObjectPath<'_>,
    freshness: Freshness,
) -> Result<Response, Refusal> {
    let stored = read(shared, path, freshness).await?;
    let (namespace, name) = (path.namespace.unwrap_or_default(), path.name.unwrap_or_default());
    let share = take_turn(shared, requester, path.kind).await?;
    let details = requests::details(&shared.platform, requester, path.kind, namespace, name)
        .await
        .map_err(|error| refuse_request(About { kind: path.kind, name }, &error))?;
    let object = Object::parse(path.kind, &stored).map_err(|error| refuse_failure(&error))?;
    let mut whole = object.to_value();
    if let Value::Object(added) = details {
        match &mut whole["status"] {
            Value::Object(status) => status.extend(added),
            status => *status = Value::Object(added),
        }
    }
    let bytes = serde_json::to_vec(&whole).expect("a JSON tree has string keys");
    Ok(hold(json_bytes(bytes), share))
}

/// Details that cost something are made for few at a time. A turn lasts until the answer is taken.
async fn take_turn(shared: &Shared, requester: &Requester, kind: &KindInfo) -> Result<Share, Refusal> {
    if kind.group == group::ACTIONS {
        return shared.take_turn(requester, "details").await;
    }
    let share = shared.details.take_within(requester, LIST_PATIENCE).await;
    share.ok_or_else(|| Refusal::too_many_requests("details"))
}

pub(crate) async fn read(
    shared: &Arc<Shared>,
    path: ObjectPath<'_>,
    freshness: Freshness,
) -> Result<Stored, Refusal> {
    let database = shared.database(path.kind)?;
    let (namespace, name) = (path.namespace.unwrap_or_default(), path.name.unwrap_or_default());
    let key = RowKey::new(RowKind::new(path.kind.row_kind()), namespace, name);
    let stored = blocking(move || {
        if let Freshness::NotOlderThan(revision) | Freshness::Exactly(revision) = freshness {
            check_reached(&database, revision)?;
        }
        database.read(&key).map_err(refuse_read)
    })
    .await?;
    stored.ok_or_else(|| Refusal::not_found(About { kind: path.kind, name }))
}

/// A use case's refusal in the words of the protocol.
pub(crate) fn refuse_request(about: About<'_>, error: &RequestError) -> Refusal {
    match error {
        RequestError::AlreadyExists { .. } => Refusal::already_exists(about),
        RequestError::NotFound { .. } => Refusal::not_found(about),
        RequestError::InvalidField { field, message } => {
            Refusal::invalid(about, &[FieldError::invalid(*field, message)])
        }
        RequestError::Conflict { message } => Refusal::conflict(about, message),
        RequestError::NotByClients { .. } => Refusal::method_not_allowed(error.to_string()),
        RequestError::Away(away) => refuse_away(away),
        RequestError::Commit { source: CommitError::Conflict { .. } } => {
            Refusal::conflict(about, "something that it goes with has just changed; try again")
        }
        RequestError::Access { source } if source.class() == ErrorClass::Denied => {
            Refusal::forbidden(about, &source.to_string())
        }
        RequestError::Read { .. }
        | RequestError::Decode { .. }
        | RequestError::Access { .. }
        | RequestError::Policy { .. }
        | RequestError::Namespace { .. }
        | RequestError::Commit { .. }
        | RequestError::Passkey { .. } => refuse_failure(error),
    }
}
