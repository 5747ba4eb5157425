//! Deleting one object, and deleting all that a selector means.
//!
//! The namespace controller calls the latter in every terminating namespace of the cluster, again and again until
//! nothing is left. Each call takes a bounded number of objects.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use http::request::Parts;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusDetails};
use keelson_catalog::Stored;
use keelson_protection::Requester;
use keelson_protection::requests::{self, Effect, RequestError};
use keelson_resources::KindInfo;

use crate::body::read_body;
use crate::delete_options::{DeleteOptions, parse_delete, take_delete};
use crate::get::refuse_request;
use crate::limits::{DELETE_COLLECTION_MAX, DELETIONS_AT_ONCE, PAGE_ROWS};
use crate::object::Object;
use crate::options::{Selection, take_collection};
use crate::parameters::Parameters;
use crate::refusal::{About, Refusal};
use crate::response::json_bytes;
use crate::rows::{Extent, Rows};
use crate::shared::{Shared, blocking, refuse_failure};
use crate::target::ObjectPath;

pub(crate) async fn delete(
    shared: &Arc<Shared>,
    requester: &Requester,
    path: ObjectPath<'_>,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let options = parse_delete(&parts.uri, &parts.headers, &read_body(body).await?)?;
    let (namespace, name) = (path.namespace.unwrap_or_default(), path.name.unwrap_or_default());
    shared.database(path.kind)?;
    let deleted = delete_one(shared, requester, path.kind, (namespace, name), &options)
        .await
        .map_err(|error| refuse_request(About { kind: path.kind, name }, &error))?;
    Ok(success(path.kind, Some(&deleted)))
}

pub(crate) async fn delete_collection(
    shared: &Arc<Shared>,
    requester: &Requester,
    extent: Extent,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let body = read_body(body).await?;
    let mut parameters = Parameters::parse("ListOptions", &parts.uri)?;
    let (selection, limit) = take_collection(extent.kind, &mut parameters)?;
    let options = take_delete(&mut parameters, &parts.headers, &body)?;
    parameters.finish()?;
    let limit = limit.unwrap_or(DELETE_COLLECTION_MAX).min(DELETE_COLLECTION_MAX);
    let kind = extent.kind;
    let names = select(shared, extent, selection, limit).await?;
    // Side by side, so that several deletions share one write to the disk.
    stream::iter(names)
        .map(|(namespace, name)| {
            let options = &options;
            async move {
                match delete_one(shared, requester, kind, (&namespace, &name), options).await {
                    // Somebody else deleted it, which is what was asked for.
                    Ok(_) | Err(RequestError::NotFound { .. }) => Ok(()),
                    Err(error) => Err(refuse_request(About { kind, name: &name }, &error)),
                }
            }
        })
        .buffer_unordered(DELETIONS_AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(success(kind, None))
}

/// The objects that are meant, read before the first is deleted: a walk over rows that vanish would skip some.
async fn select(
    shared: &Arc<Shared>,
    extent: Extent,
    selection: Selection,
    limit: usize,
) -> Result<Vec<(String, String)>, Refusal> {
    let database = shared.database(extent.kind)?;
    blocking(move || {
        let mut rows = Rows::new(database, &extent, &selection, None);
        let mut names = Vec::new();
        while !rows.is_exhausted() && names.len() < limit {
            for stored in rows.next_page(PAGE_ROWS)?.rows {
                let object = Object::parse(extent.kind, &stored).map_err(|error| refuse_failure(&error))?;
                if object.matches(&selection.fields) && names.len() < limit {
                    names.push(object.key());
                }
            }
        }
        Ok(names)
    })
    .await
}

async fn delete_one(
    shared: &Shared,
    requester: &Requester,
    kind: &'static KindInfo,
    (namespace, name): (&str, &str),
    options: &DeleteOptions,
) -> Result<Stored, RequestError> {
    let effect = if options.dry_run { Effect::DryRun } else { Effect::Apply };
    requests::delete(&shared.platform, requester, kind, namespace, name, &options.preconditions, effect).await
}

/// Objects go at once, so the answer is a status, as for every kind without graceful deletion.
pub(crate) fn success(kind: &KindInfo, deleted: Option<&Stored>) -> Response {
    let details = deleted.map(|stored| StatusDetails {
        name: Some(stored.row.name.clone()),
        group: Some(kind.group.to_owned()),
        kind: Some(kind.plural.to_owned()),
        uid: Some(stored.row.uid.clone()),
        ..StatusDetails::default()
    });
    let status = Status { status: Some("Success".to_owned()), details, ..Status::default() };
    json_bytes(serde_json::to_vec(&status).expect("a status of strings is JSON"))
}
