//! The way to the server: HTTP/1.1 over TCP or TLS, with our trust, our deadlines and our bounds on answers.
//!
//! The SDK's own client neither skips verification nor bounds an answer. This one also notes the server's `Date`,
//! by which retention runs, and tells a fault of the name, the network and the certificate apart.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use tower::ServiceExt;
use tower::util::MapErr;

use crate::{NetworkFault, OBJECT_BYTES_MAX};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request that is sent to the first word of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Slower connections than this count as broken: a large object gets so much more time.
const BYTES_PER_SECOND_MIN: u64 = 128 << 10;
/// Connections that may break in a row before the server counts as out of reach.
const BREAKS_MAX: usize = 3;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// An object, or a page of a listing with every key at its longest.
const ANSWER_BYTES_MAX: u64 = OBJECT_BYTES_MAX;

type Tcp = TcpConnector<MapErr<GaiResolver, fn(std::io::Error) -> UnknownName>>;
type HttpsClient = Client<HttpsConnector<Tcp>, SdkBody>;
type Answer = <HttpsClient as tower::Service<http::Request<SdkBody>>>::Response;

/// Sends requests. Clones share connections and what is known of the server's time.
#[derive(Clone)]
pub(super) struct Transport {
    client: HttpsClient,
    date: Arc<Mutex<Option<(Timestamp, Instant)>>>,
}

impl Transport {
    pub(super) fn new(tls: rustls::ClientConfig) -> Self {
        let resolver = GaiResolver::new().map_err(UnknownName as fn(_) -> _);
        let mut tcp = TcpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls);
        let https = builder.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(https);
        Self { client, date: Arc::default() }
    }

    /// The server's time now, as far as its last answer told; to the second.
    pub(super) fn server_time(&self) -> Option<Timestamp> {
        let (date, at) = (*self.date.lock().unwrap_or_else(PoisonError::into_inner))?;
        date.checked_add(at.elapsed()).ok()
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let (parts, body) = self.send(request).await?.into_parts();
        self.note_date(&parts.headers);
        let body = Limited::new(body, ANSWER_BYTES_MAX as usize).collect();
        let body = within(ANSWER_TIMEOUT, announced_length(&parts.headers), body).await?;
        let body = body.map_err(|error| Fault::of(&*error))?.to_bytes();
        HttpResponse::try_from(http::Response::from_parts(parts, SdkBody::from(body)))
            .map_err(|error| ConnectorError::other(error.into(), None))
    }

    /// A server closes an idle connection, or one whose request it refused, when it likes; whoever sends just then
    /// learns of it by a break. Such a request goes again: every one of ours may be repeated.
    async fn send(&self, request: http::Request<SdkBody>) -> Result<Answer, ConnectorError> {
        let bytes = request.body().content_length().unwrap_or(0);
        let (parts, body) = request.into_parts();
        let mut breaks = 0;
        loop {
            let body =
                body.try_clone().ok_or_else(|| ConnectorError::user("a body must be in memory".into()))?;
            let request = http::Request::from_parts(parts.clone(), body);
            let answer = within(ANSWER_TIMEOUT, bytes, self.client.request(request)).await?;
            match answer.map_err(|error| Fault::of(&error)) {
                Err(Fault { fault: Some(NetworkFault::Broken), .. }) if breaks + 1 < BREAKS_MAX => {
                    breaks += 1
                }
                other => return other.map_err(ConnectorError::from),
            }
        }
    }

    fn note_date(&self, headers: &http::HeaderMap) {
        let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        let parser = rfc2822::DateTimeParser::new();
        if let Some(date) = date.and_then(|date| parser.parse_timestamp(date).ok()) {
            *self.date.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, Instant::now()));
        }
    }
}

/// Only a measure for the time to wait: what is true counts the bound on the body.
fn announced_length(headers: &http::HeaderMap) -> u64 {
    let length = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0).min(ANSWER_BYTES_MAX)
}

async fn within<T>(limit: Duration, bytes: u64, work: impl Future<Output = T>) -> Result<T, ConnectorError> {
    let limit = limit + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
    tokio::time::timeout(limit, work).await.map_err(|_elapsed| Fault::timed_out().into())
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = self.clone();
        HttpConnectorFuture::new(async move { transport.exchange(request).await })
    }
}

impl HttpClient for Transport {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("look up the host's name")]
struct UnknownName(#[source] std::io::Error);

/// Where a request was lost. Holds the text of what was below, never the request.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Fault {
    /// Nothing if the answer came but cannot be an object.
    pub(super) fault: Option<NetworkFault>,
    detail: String,
}

impl Fault {
    fn timed_out() -> Self {
        Self { fault: Some(NetworkFault::TimedOut), detail: "no answer in time".to_owned() }
    }

    fn too_large() -> Self {
        Self { fault: None, detail: format!("the answer is longer than {ANSWER_BYTES_MAX} bytes") }
    }

    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut fault = Some(NetworkFault::Broken);
        for cause in causes(error) {
            if cause.is::<http_body_util::LengthLimitError>() {
                return Self::too_large();
            }
            if cause.is::<UnknownName>() {
                fault = Some(NetworkFault::Name);
                break;
            }
            if cause.is::<rustls::Error>() {
                fault = Some(NetworkFault::Tls);
                break;
            }
            match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(std::io::ErrorKind::ConnectionRefused) => fault = Some(NetworkFault::Refused),
                Some(std::io::ErrorKind::TimedOut) => fault = Some(NetworkFault::TimedOut),
                Some(_) | None => {}
            }
        }
        let detail = causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Self { fault, detail }
    }
}

/// An error and what caused it. What an I/O error wraps is not among its sources, but it is often the cause.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

impl From<Fault> for ConnectorError {
    fn from(fault: Fault) -> Self {
        Self::io(fault.into())
    }
}
