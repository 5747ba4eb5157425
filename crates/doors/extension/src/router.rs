//! From a request to its answer: who asks, what is meant, whether the kind has the verb; then one handler.
//!
//! The requester is put beside the request by the connection (`server`). Discovery, schemas and health are
//! everybody's to read; all else takes a requester.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use keelson_model::names::group;
use keelson_protection::Requester;
use keelson_protection::audit::{Outcome, note_request};
use keelson_protection::requests::Asked;
use tokio::time::Instant;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tracing::warn;

use crate::accept::choose_representation;
use crate::body::{Format, WithShare, receive};
use crate::control_plane::is_namespace_controller;
use crate::limits::EVENT_TIMEOUT;
use crate::options::{GetOptions, IncludeObject, ReadOptions};
use crate::refusal::Refusal;
use crate::response::{WorthCompressing, hold};
use crate::rows::Extent;
use crate::shared::Shared;
use crate::target::{ObjectPath, Operation, Published, Target};
use crate::view::View;
use crate::{create, delete, get, list, patch, watch};

/// All paths. What is not answered within `patience` is answered that it took too long.
pub(crate) fn router(shared: Arc<Shared>, patience: Duration) -> Router {
    let compression =
        CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(WorthCompressing);
    let answer = move |State(shared): State<Arc<Shared>>, request: Request| async move {
        route(&shared, request, patience).await.unwrap_or_else(Refusal::into_response)
    };
    Router::new().fallback(answer).with_state(shared).layer(compression)
}

async fn route(shared: &Arc<Shared>, request: Request, patience: Duration) -> Result<Response, Refusal> {
    let told_until = Instant::now() + patience + EVENT_TIMEOUT;
    let (parts, body) = request.into_parts();
    let requester = parts.extensions.get::<Requester>();
    let target = match Target::parse(&parts.uri) {
        Ok(target) => target,
        // A stranger does not even learn which paths there are.
        Err(refusal) => return Err(if requester.is_some() { refusal } else { Refusal::unauthorized() }),
    };
    let path = match target {
        Target::Objects(path) => path,
        Target::Published(published) if parts.method == Method::GET => {
            return publish(shared, published, &parts.headers);
        }
        Target::Published(_) => {
            return Err(Refusal::method_not_allowed(format!(
                "the server does not allow {} here",
                parts.method
            )));
        }
    };
    let requester = requester.ok_or_else(Refusal::unauthorized)?;
    let asked = Asked { requester, verb: None, audit_id: audit_id(&parts.headers) };
    let operation = match path.operation(&parts.method) {
        Ok(operation) => operation,
        Err(refusal) => {
            tell(shared, asked, verb_of(&parts.method), path, Some(&refusal), told_until).await;
            return Err(refusal);
        }
    };
    // What comes with a read says nothing, and would take room on its connection while the read waits for its turn.
    let body = if operation.is_write() { body } else { Body::empty() };
    // What is told of a request is not cut with it.
    let handled = tokio::time::timeout(patience, handle(shared, &parts, body, asked, path, operation)).await;
    let result = handled.unwrap_or_else(|_| Err(Refusal::timed_out()));
    // What was carried out is told from the journal.
    let is_told = if operation.is_write() { result.is_err() } else { path.kind.group == group::VAULT };
    if is_told {
        let refusal = result.as_ref().err();
        tell(shared, asked, operation.as_str(), path, refusal, told_until).await;
    }
    result
}

/// How the API server calls the request in its own trail.
fn audit_id(headers: &HeaderMap) -> &str {
    headers.get("audit-id").and_then(|id| id.to_str().ok()).unwrap_or_default()
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// Returns when the event is written. A disk that takes it only after `until` gets it after the answer.
async fn tell(
    shared: &Shared,
    asked: Asked<'_>,
    verb: &'static str,
    path: ObjectPath<'_>,
    refusal: Option<&Refusal>,
    until: Instant,
) {
    let outcome = match refusal {
        Some(refusal) => Outcome { code: refusal.code().as_u16(), reason: refusal.reason() },
        None => Outcome { code: StatusCode::OK.as_u16(), reason: "" },
    };
    let object = (path.kind, path.namespace.unwrap_or_default(), path.name.unwrap_or_default());
    let noting = note_request(&shared.platform, asked, verb, object, outcome);
    if tokio::time::timeout_at(until, noting).await.is_err() {
        warn!(verb, kind = path.kind.kind, "a request is answered before its audit event is written");
    }
}

fn publish(shared: &Shared, published: Published<'_>, headers: &HeaderMap) -> Result<Response, Refusal> {
    let documents = &shared.documents;
    match published {
        Published::Alive => Ok("ok".into_response()),
        Published::Ready => Ok(match check_ready(shared) {
            Ok(()) => "ok".into_response(),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
        }),
        Published::Version => documents.version(headers),
        Published::Groups => documents.groups(headers),
        Published::Group(group) => documents.group(group, headers),
        Published::Resources { group, version } => documents.resources(group, version, headers),
        Published::OpenApiV2 => documents.openapi_v2(headers),
        Published::OpenApiIndex => documents.openapi_index(headers),
        Published::OpenApi { group, version } => documents.openapi(group, version, headers),
    }
}

/// Whether the Service is to send requests here.
fn check_ready(shared: &Shared) -> Result<(), &'static str> {
    shared.readiness.check()?;
    if shared.front_proxy.is_known() { Ok(()) } else { Err("the front proxy's authority is not known yet") }
}

async fn handle(
    shared: &Arc<Shared>,
    parts: &Parts,
    body: Body,
    asked: Asked<'_>,
    path: ObjectPath<'_>,
    operation: Operation,
) -> Result<Response, Refusal> {
    let (requester, uri, headers) = (asked.requester, &parts.uri, &parts.headers);
    let representation = choose_representation(headers)?;
    let view = |include| View { kind: path.kind, representation, include, now: shared.now() };
    let extent = Extent::new(path.kind, path.namespace);
    // While the catalog is away nothing that a namespace holds of ours keeps it. Its rows follow when it is back.
    let holds_nothing = extent.namespace.is_some()
        && is_namespace_controller(requester)
        && shared.database(path.kind).is_err();
    // What is held for a body is held until its answer is taken.
    let received = receive(&shared.bodies, requester, body);
    match operation {
        Operation::Get => {
            let options = GetOptions::parse(uri)?;
            get::get(shared, path, options.freshness, view(options.include)).await
        }
        Operation::Details => {
            let options = GetOptions::parse(uri)?;
            get::details(shared, requester, path, options.freshness).await
        }
        Operation::Read => match ReadOptions::parse(path.kind, uri)? {
            ReadOptions::List(options) => {
                let view = view(options.include);
                if holds_nothing {
                    return Ok(list::empty(&view));
                }
                list::list(shared, requester, extent, options, view).await
            }
            ReadOptions::Watch(options) => {
                let view = view(options.include);
                watch::watch(shared, requester, extent, options, view).await
            }
        },
        Operation::DeleteCollection if holds_nothing => Ok(delete::success(path.kind, None)),
        Operation::Create => {
            let format = Format::of_object(headers)?;
            let object = received.await?.decode(format).await?;
            create::create(shared, asked, path, uri, object, view(IncludeObject::Metadata)).await
        }
        Operation::Patch => {
            let format = Format::of_patch(headers)?;
            let patch = received.await?.decode(format).await?;
            patch::patch(shared, asked, path, uri, patch, view(IncludeObject::Metadata)).await
        }
        Operation::Delete => {
            let WithShare { value: options, share } = received.await?.decode_any(headers).await?;
            delete::delete(shared, asked, path, uri, options).await.map(|deleted| hold(deleted, share))
        }
        Operation::DeleteCollection => {
            let WithShare { value: options, share } = received.await?.decode_any(headers).await?;
            let deleted = delete::delete_collection(shared, asked, extent, uri, options).await;
            deleted.map(|deleted| hold(deleted, share))
        }
    }
}
