//! From a request to its answer: who asks, what is meant, whether the kind has the verb; then one handler.
//!
//! The requester is put beside the request by the connection (`server`). Discovery, schemas and health are
//! everybody's to read; all else takes a requester.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use keelson_protection::Requester;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tracing::info;

use crate::accept::choose_representation;
use crate::control_plane::is_namespace_controller;
use crate::create::CreatedName;
use crate::limits::REQUEST_TIMEOUT;
use crate::options::{GetOptions, IncludeObject, ReadOptions};
use crate::refusal::Refusal;
use crate::response::WorthCompressing;
use crate::rows::Extent;
use crate::shared::Shared;
use crate::target::{ObjectPath, Operation, Published, Target};
use crate::view::View;
use crate::{create, delete, get, list, patch, watch};

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let compression =
        CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(WorthCompressing);
    Router::new().fallback(answer).with_state(shared).layer(compression)
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, route(&shared, request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => refusal.into_response(),
        Err(_) => Refusal::timed_out().into_response(),
    }
}

async fn route(shared: &Arc<Shared>, request: Request) -> Result<Response, Refusal> {
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
    let operation = path.operation(&parts.method)?;
    let result = handle(shared, &parts, body, requester, path, operation).await;
    if operation.is_write() {
        audit(requester, path, operation, &result);
    }
    result
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
    parts: &http::request::Parts,
    body: Body,
    requester: &Requester,
    path: ObjectPath<'_>,
    operation: Operation,
) -> Result<Response, Refusal> {
    let representation = choose_representation(&parts.headers)?;
    let view = |include| View { kind: path.kind, representation, include, now: shared.now() };
    let extent = Extent::new(path.kind, path.namespace);
    // While the catalog is away nothing that a namespace holds of ours keeps it. Its rows follow when it is back.
    let holds_nothing = extent.namespace.is_some()
        && is_namespace_controller(requester)
        && shared.database(path.kind).is_err();
    match operation {
        Operation::Get => {
            let options = GetOptions::parse(&parts.uri)?;
            get::get(shared, path, options.freshness, view(options.include)).await
        }
        Operation::Details => {
            let options = GetOptions::parse(&parts.uri)?;
            get::details(shared, path, options.freshness).await
        }
        Operation::Read => match ReadOptions::parse(path.kind, &parts.uri)? {
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
        Operation::Create => {
            create::create(shared, requester, path, parts, body, view(IncludeObject::Metadata)).await
        }
        Operation::Patch => {
            patch::patch(shared, requester, path, parts, body, view(IncludeObject::Metadata)).await
        }
        Operation::Delete => delete::delete(shared, requester, path, parts, body).await,
        Operation::DeleteCollection if holds_nothing => Ok(delete::success(path.kind, None)),
        Operation::DeleteCollection => {
            delete::delete_collection(shared, requester, extent, parts, body).await
        }
    }
}

/// One line for every attempt to change something, whatever came of it.
fn audit(
    requester: &Requester,
    path: ObjectPath<'_>,
    operation: Operation,
    result: &Result<Response, Refusal>,
) {
    let (code, why) = match result {
        Ok(response) => (response.status(), ""),
        Err(refusal) => (refusal.code(), refusal.message()),
    };
    let created = result.as_ref().ok().and_then(|response| response.extensions().get::<CreatedName>());
    let name = path.name.or(created.map(|created| created.0.as_str()));
    info!(
        user = requester.name,
        verb = operation.as_str(),
        group = path.kind.group,
        resource = path.kind.plural,
        namespace = path.namespace.unwrap_or_default(),
        name = name.unwrap_or_default(),
        code = code.as_u16(),
        why,
        "a write was requested"
    );
}
