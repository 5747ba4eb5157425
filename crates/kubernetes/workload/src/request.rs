//! One request to the API server: how it is sent, how often it is tried again, and what can go wrong with it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use keelson_model::{Classified, ErrorClass};
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::impersonation::Impersonation;
use crate::names::InvalidName;

/// An answer that is read whole is at most this long; lists of applications are streamed instead.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// From sending a request to the last byte of an answer that is read whole.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Tries of one request when the server is busy or away, the first included: about 12 s of waiting.
const TRIES_MAX: u32 = 8;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(4);
/// A server's own `Retry-After` is obeyed up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// A server that cannot leave the contents out answers with the whole object.
const ACCEPT_METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;q=0.5";
/// What is kept of an answer that is not a `Status`.
const MESSAGE_CHARS_MAX: usize = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Read,
    List,
    Create,
    Replace,
    Patch,
    Apply,
    Delete,
    Watch,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Patch => "patch",
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::Watch => "watch",
        })
    }
}

/// What the API server said when it refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub status: u16,
    /// `AlreadyExists`, `Invalid`; empty when the server gave none.
    pub reason: String,
    pub message: String,
    pub retry_after: Option<Duration>,
    /// Reasons of the single causes, `NamespaceTerminating` among them.
    pub causes: Vec<String>,
    /// Where an expired list may go on.
    pub(crate) continue_token: Option<String>,
}

/// A request that did not do what it was sent for.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("{verb} {target}")]
    Name { verb: Verb, target: String, source: InvalidName },
    #[error("{verb} {target}")]
    Refused { verb: Verb, target: String, source: Box<Refusal> },
    #[error("{verb} {target}")]
    Send { verb: Verb, target: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{verb} {target}: no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout { verb: Verb, target: String },
    #[error("{verb} {target}: the answer is longer than {bytes_max} bytes")]
    AnswerTooLong { verb: Verb, target: String, bytes_max: usize },
    #[error("{verb} {target}: the answer is not what was asked for")]
    DecodeAnswer { verb: Verb, target: String, source: serde_json::Error },
    #[error("{verb} {target}: the object is not what its kind is")]
    EncodeObject { verb: Verb, target: String, source: serde_json::Error },
    #[error("{verb} {target}: no '{field}' in the object")]
    FieldMissing { verb: Verb, target: String, field: &'static str },
    #[error("the cluster does not serve '{kind}' in '{api_version}'")]
    KindNotServed { api_version: String, kind: String },
    #[error("{target} did not become {condition} within {} s", within.as_secs())]
    ConditionNotMet { target: String, condition: String, within: Duration },
}

impl RequestError {
    /// What the server said, if it answered at all.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether the server was busy, starting or away all the time; it says nothing about the request.
    pub fn is_passing(&self) -> bool {
        self.refusal().is_some_and(Refusal::is_passing)
    }

    pub(crate) fn is_status(&self, status: u16) -> bool {
        self.refusal().is_some_and(|refusal| refusal.status == status)
    }

    pub(crate) fn is_already_exists(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.reason == "AlreadyExists")
    }
}

impl Classified for RequestError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Name { .. } | Self::FieldMissing { .. } | Self::EncodeObject { .. } => ErrorClass::Invalid,
            Self::Refused { source, .. } => source.class(),
            Self::Send { .. } | Self::Timeout { .. } | Self::ConditionNotMet { .. } => {
                ErrorClass::Unavailable { retry_after: None }
            }
            Self::AnswerTooLong { .. } | Self::DecodeAnswer { .. } => ErrorClass::Corrupt,
            Self::KindNotServed { .. } => ErrorClass::NotFound,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "workload.request.name",
            Self::Refused { .. } => "workload.request.refused",
            Self::Send { .. } => "workload.request.send",
            Self::Timeout { .. } => "workload.request.timeout",
            Self::AnswerTooLong { .. } => "workload.request.answer_too_long",
            Self::DecodeAnswer { .. } => "workload.request.decode_answer",
            Self::EncodeObject { .. } => "workload.request.encode_object",
            Self::FieldMissing { .. } => "workload.request.field_missing",
            Self::KindNotServed { .. } => "workload.request.kind_not_served",
            Self::ConditionNotMet { .. } => "workload.request.condition_not_met",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Send { .. } | Self::Timeout { .. } => {
                Some("does the API server answer? kubectl cluster-info".to_owned())
            }
            Self::Refused { source, .. } if source.status == 503 => Some(
                "kubectl get apiservices shows which servers do not answer; of *.kio.kasten.io it is keelson serve"
                    .to_owned(),
            ),
            Self::KindNotServed { .. } => {
                Some("kubectl api-resources lists what the cluster serves; is keelson serve running?".to_owned())
            }
            _ => None,
        }
    }
}

impl Refusal {
    fn class(&self) -> ErrorClass {
        match self.status {
            401 | 403 => ErrorClass::Denied,
            404 => ErrorClass::NotFound,
            409 | 410 => ErrorClass::Conflict,
            429 | 500 | 502..=504 => ErrorClass::Unavailable { retry_after: self.retry_after },
            _ => ErrorClass::Invalid,
        }
    }

    /// The server is busy, starting or away; it says nothing about the request.
    fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 502..=504)
            || (self.status == 500 && self.retry_after.is_some())
            // A quota whose usage is not counted yet refuses for a moment only.
            || (self.status == 403 && self.message.contains("status unknown for quota"))
    }
}

/// A request before it is sent.
pub(crate) struct Call<'a> {
    pub(crate) verb: Verb,
    pub(crate) target: &'a Target,
    pub(crate) url: String,
    pub(crate) body: Bytes,
    pub(crate) content: Content,
    pub(crate) accept: &'static str,
    pub(crate) on_behalf_of: Option<&'a Impersonation>,
}

/// What a request is about; spelled out only when something goes wrong.
pub(crate) type Target = dyn fmt::Display + Send + Sync;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    JsonPatch,
    MergePatch,
    Apply,
}

impl Content {
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonPatch => "application/json-patch+json",
            Self::MergePatch => "application/merge-patch+json",
            // JSON is YAML, and the only spelling that every supported server takes.
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(verb: Verb, target: &'a Target, url: String) -> Self {
        Self {
            verb,
            target,
            url,
            body: Bytes::new(),
            content: Content::Json,
            accept: "application/json",
            on_behalf_of: None,
        }
    }

    pub(crate) fn body(self, content: Content, body: impl Into<Bytes>) -> Self {
        Self { content, body: body.into(), ..self }
    }

    /// Spares the server and us the contents in the answer to a write.
    pub(crate) fn answer_metadata(self) -> Self {
        Self { accept: ACCEPT_METADATA, ..self }
    }

    pub(crate) fn on_behalf_of(self, on_behalf_of: Option<&'a Impersonation>) -> Self {
        Self { on_behalf_of, ..self }
    }

    fn method(&self) -> Method {
        match self.verb {
            Verb::Read | Verb::List | Verb::Watch => Method::GET,
            Verb::Create => Method::POST,
            Verb::Replace => Method::PUT,
            Verb::Patch | Verb::Apply => Method::PATCH,
            Verb::Delete => Method::DELETE,
        }
    }

    fn send_error(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RequestError {
        RequestError::Send { verb: self.verb, target: self.target.to_string(), source: source.into() }
    }

    fn request(&self) -> Result<Request<Body>, RequestError> {
        let mut request = Request::builder()
            .method(self.method())
            .uri(&self.url)
            .header(header::ACCEPT, self.accept)
            .header(header::CONTENT_TYPE, self.content.media_type())
            .body(Body::from(self.body.clone()))
            .map_err(|source| self.send_error(source))?;
        if let Some(impersonation) = self.on_behalf_of {
            request.headers_mut().extend(impersonation.headers().clone());
        }
        Ok(request)
    }
}

/// Sends requests. The only place where the client of the Kubernetes library is called for single requests.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) client: kube::Client,
}

impl Wire {
    /// Sends, waits out a busy server, and reads the answer whole.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Bytes, RequestError> {
        let once = || async {
            let answer =
                async { read_whole(call, self.open_once(call).await?.into_body(), ANSWER_BYTES_MAX).await };
            tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| {
                Err(RequestError::Timeout { verb: call.verb, target: call.target.to_string() })
            })
        };
        retry(once).await
    }

    pub(crate) async fn send_json<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, RequestError> {
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer).map_err(|source| RequestError::DecodeAnswer {
            verb: call.verb,
            target: call.target.to_string(),
            source,
        })
    }

    /// Sends and hands the answer over as it arrives.
    pub(crate) async fn open(
        &self,
        call: &Call<'_>,
    ) -> Result<impl Stream<Item = Result<Bytes, RequestError>> + use<>, RequestError> {
        let response = retry(|| async {
            tokio::time::timeout(ANSWER_TIMEOUT, self.open_once(call)).await.unwrap_or_else(|_| {
                Err(RequestError::Timeout { verb: call.verb, target: call.target.to_string() })
            })
        })
        .await?;
        let (verb, target) = (call.verb, call.target.to_string());
        Ok(response.into_body().into_data_stream().map(move |chunk| {
            chunk.map_err(|source| RequestError::Send { verb, target: target.clone(), source: source.into() })
        }))
    }

    async fn open_once(&self, call: &Call<'_>) -> Result<Response<Body>, RequestError> {
        let response = self.client.send(call.request()?).await.map_err(|source| call.send_error(source))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = read_whole(call, response.into_body(), ANSWER_BYTES_MAX).await?;
        let source = Box::new(decode_refusal(status, retry_after, &body));
        Err(RequestError::Refused { verb: call.verb, target: call.target.to_string(), source })
    }
}

async fn read_whole(call: &Call<'_>, body: Body, bytes_max: usize) -> Result<Bytes, RequestError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(RequestError::AnswerTooLong { verb: call.verb, target: call.target.to_string(), bytes_max })
        }
        Err(error) => Err(call.send_error(error)),
    }
}

/// Tries again while the server is busy or cannot be reached. Every request of ours may be sent twice: a create
/// that did arrive the first time is found by its conflict, a patch or a delete says the same again.
async fn retry<T, F>(once: impl Fn() -> F) -> Result<T, RequestError>
where
    F: Future<Output = Result<T, RequestError>>,
{
    let mut wait = BACKOFF_FIRST;
    for _ in 1..TRIES_MAX {
        let pause = match once().await {
            Err(RequestError::Send { .. }) => wait,
            Err(RequestError::Refused { source, .. }) if source.is_passing() => {
                source.retry_after.map_or(wait, |asked| asked.min(RETRY_AFTER_MAX))
            }
            settled => return settled,
        };
        tokio::time::sleep(pause).await;
        wait = (wait * 2).min(BACKOFF_MAX);
    }
    once().await
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireStatus {
    reason: String,
    message: String,
    details: Option<WireDetails>,
    metadata: WireMetadata,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireDetails {
    retry_after_seconds: Option<u64>,
    causes: Vec<WireCause>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireCause {
    reason: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireMetadata {
    r#continue: Option<String>,
}

fn decode_refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Refusal {
    let decoded: WireStatus = serde_json::from_slice(body).unwrap_or_default();
    let details = decoded.details.unwrap_or_default();
    let message = if decoded.message.is_empty() {
        let text = String::from_utf8_lossy(body);
        let start: String = text.trim().chars().take(MESSAGE_CHARS_MAX).collect();
        if start.is_empty() { format!("the server answered {status}") } else { start }
    } else {
        decoded.message
    };
    Refusal {
        status,
        reason: decoded.reason,
        message,
        retry_after: retry_after.or(details.retry_after_seconds.map(Duration::from_secs)),
        causes: details.causes.into_iter().map(|cause| cause.reason).collect(),
        continue_token: decoded.metadata.r#continue,
    }
}

/// An answer that refuses, for `fuzz`.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_refusal(body: &[u8]) -> bool {
    let refusal = decode_refusal(500, None, body);
    assert!(!refusal.message.is_empty(), "it says something");
    let _ = (refusal.class(), refusal.is_passing());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_what_the_server_said() {
        let body = br#"{"kind":"Status","code":403,"reason":"Forbidden","message":"no",
            "details":{"retryAfterSeconds":2,"causes":[{"reason":"NamespaceTerminating"}]}}"#;
        let refusal = decode_refusal(403, None, body);
        assert_eq!((refusal.message.as_str(), refusal.reason.as_str()), ("no", "Forbidden"));
        assert_eq!(refusal.causes, ["NamespaceTerminating"]);
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(2)));
        assert_eq!(refusal.class(), ErrorClass::Denied);
        assert_eq!(decode_refusal(502, None, b" bad gateway\n").message, "bad gateway");
        assert_eq!(decode_refusal(500, None, b"").message, "the server answered 500");
    }

    #[test]
    fn only_a_passing_refusal_is_tried_again() {
        let passing = |status, message: &str| Refusal {
            status,
            reason: String::new(),
            message: message.to_owned(),
            retry_after: None,
            causes: Vec::new(),
            continue_token: None,
        };
        assert!(passing(429, "").is_passing() && passing(503, "").is_passing());
        assert!(passing(403, "status unknown for quota: q").is_passing());
        for status in [400, 401, 403, 404, 409, 410, 422, 500] {
            assert!(!passing(status, "").is_passing(), "{status}");
        }
    }
}
