//! What a client is told when its request is not carried out: a `metav1.Status` in the words of Kubernetes.
//!
//! Clients act on `reason` and `code`; people read `message`. Causes of an error are logged, never sent.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, Status, StatusCause, StatusDetails};
use keelson_model::Revision;
use keelson_resources::{FieldFault, KindInfo};

use crate::body::MERGE_PATCH;
use crate::limits::RETRY_AFTER_SECONDS;

/// A request that is not carried out.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Option<Box<StatusDetails>>,
}

/// One field or option that is wrong, in the shape that `kubectl` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldError {
    fault: FieldFault,
    field: String,
    /// Everything but the field: `Invalid value: must be a number`.
    detail: String,
}

impl FieldError {
    pub(crate) fn invalid(field: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self::new(FieldFault::Invalid, field, message)
    }

    pub(crate) fn forbidden(field: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self::new(FieldFault::Forbidden, field, message)
    }

    pub(crate) fn unsupported(field: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self::new(FieldFault::NotSupported, field, message)
    }

    pub(crate) fn too_many(field: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self::new(FieldFault::TooMany, field, message)
    }

    fn new(fault: FieldFault, field: impl Into<String>, message: impl AsRef<str>) -> Self {
        let detail = format!("{}: {}", fault.phrase(), message.as_ref());
        Self { fault, field: cut(field.into()), detail: cut(detail) }
    }
}

impl From<keelson_resources::FieldError> for FieldError {
    fn from(error: keelson_resources::FieldError) -> Self {
        Self { fault: error.fault, detail: cut(error.detail()), field: cut(error.path) }
    }
}

/// What was sent is not repeated at any length to whoever sent it: so much in one place,
const QUOTED_BYTES_MAX: usize = 4 << 10;
/// and so much in a message.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

fn cut(text: String) -> String {
    cut_to(text, QUOTED_BYTES_MAX)
}

fn cut_to(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// The resource that a refusal is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) kind: &'a KindInfo,
    pub(crate) name: &'a str,
}

impl About<'_> {
    /// `restorepoints.apps.kio.kasten.io "shop-x1"`.
    fn resource(&self) -> String {
        format!("{}.{} \"{}\"", self.kind.plural, self.kind.group, cut(self.name.to_owned()))
    }

    fn details(&self) -> Box<StatusDetails> {
        Box::new(StatusDetails {
            name: (!self.name.is_empty()).then(|| cut(self.name.to_owned())),
            group: Some(self.kind.group.to_owned()),
            kind: Some(self.kind.plural.to_owned()),
            ..StatusDetails::default()
        })
    }
}

/// Refusals that name an object.
impl Refusal {
    pub(crate) fn not_found(about: About<'_>) -> Self {
        let message = format!("{} not found", about.resource());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with(about.details())
    }

    pub(crate) fn already_exists(about: About<'_>) -> Self {
        let message = format!("{} already exists", about.resource());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).with(about.details())
    }

    pub(crate) fn conflict(about: About<'_>, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {}: {why}", about.resource());
        Self::new(StatusCode::CONFLICT, "Conflict", message).with(about.details())
    }

    pub(crate) fn forbidden(about: About<'_>, why: &str) -> Self {
        let message = format!("{} is forbidden: {why}", about.resource());
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with(about.details())
    }

    /// The words and the cause by which the namespace controller and `kubectl` know a dying namespace.
    pub(crate) fn namespace_terminating(about: About<'_>, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut details = about.details();
        details.causes = Some(vec![StatusCause {
            reason: Some("NamespaceTerminating".to_owned()),
            message: Some(format!("namespace {namespace} is being terminated")),
            field: Some("metadata.namespace".to_owned()),
        }]);
        Self::forbidden(about, &why).with(details)
    }

    pub(crate) fn namespace_not_found(namespace: &str) -> Self {
        let details = StatusDetails {
            name: Some(namespace.to_owned()),
            kind: Some("namespaces".to_owned()),
            ..StatusDetails::default()
        };
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("namespaces \"{namespace}\" not found"))
            .with(Box::new(details))
    }

    pub(crate) fn invalid(about: About<'_>, errors: &[FieldError]) -> Self {
        let subject = format!("{}.{}", about.kind.kind, about.kind.group);
        let mut details = about.details();
        details.kind = Some(about.kind.kind.to_owned());
        Self::unprocessable(&subject, about.name, details, errors)
    }

    pub(crate) fn invalid_options(options: &str, errors: &[FieldError]) -> Self {
        let details = StatusDetails {
            group: Some("meta.k8s.io".to_owned()),
            kind: Some(options.to_owned()),
            ..StatusDetails::default()
        };
        Self::unprocessable(&format!("{options}.meta.k8s.io"), "", Box::new(details), errors)
    }

    fn unprocessable(
        subject: &str,
        name: &str,
        mut details: Box<StatusDetails>,
        errors: &[FieldError],
    ) -> Self {
        let causes: Vec<StatusCause> = errors
            .iter()
            .map(|error| StatusCause {
                reason: Some(error.fault.reason().to_owned()),
                message: Some(error.detail.clone()),
                field: Some(error.field.clone()),
            })
            .collect();
        details.causes = Some(causes);
        let mut sentences: Vec<String> =
            errors.iter().map(|error| format!("{}: {}", error.field, error.detail)).collect();
        let sentence = match sentences.len() {
            1 => sentences.remove(0),
            _ => format!("[{}]", sentences.join(", ")),
        };
        let message = format!("{subject} \"{name}\" is invalid: {sentence}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with(details)
    }
}

/// Refusals of a request as such.
impl Refusal {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message.into())
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized".to_owned())
    }

    pub(crate) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource".to_owned();
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(crate) fn method_not_allowed(why: String) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", why)
    }

    pub(crate) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json".to_owned();
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        let message = "the body of the request was in an unknown format - accepted media types include: \
                       application/json, application/yaml";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message.to_owned())
    }

    pub(crate) fn unsupported_patch_type() -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {MERGE_PATCH}"
        );
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// Its bytes are few enough, and what they say is too much.
    pub(crate) fn decoded_too_large(limit: usize) -> Self {
        let message =
            format!("Request entity too large: it has too many fields, limit is {limit} bytes decoded");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    pub(crate) fn too_many_requests(what: &str) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            format!("too many {what}, try again later"),
        )
        .retry_after(RETRY_AFTER_SECONDS)
    }

    /// As Kubernetes says it: clients wait for as long as they are told, and go on from where they were.
    pub(crate) fn shutting_down() -> Self {
        let message = "the server is shutting down, please try again later".to_owned();
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message).retry_after(RETRY_AFTER_SECONDS)
    }

    pub(crate) fn timed_out() -> Self {
        let message = "the request did not complete within the allowed time".to_owned();
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).retry_after(RETRY_AFTER_SECONDS)
    }

    pub(crate) fn unavailable(why: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", why.to_owned())
            .retry_after(RETRY_AFTER_SECONDS)
    }

    /// Data is away until a person does something. Whoever is told when to come back, as client-go understands it, asks ten times
    /// within one call: the garbage collector would still ask for an object when its group is taken off the cluster, and
    /// take it for gone.
    pub(crate) fn away(why: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", why.to_owned())
    }

    pub(crate) fn internal() -> Self {
        let message = "an internal error occurred; the log of the platform tells more".to_owned();
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// A version of another generation or from before the kept part of the journal: the client lists anew.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message.into())
    }

    /// A version we have not reached. Reflectors know it by the cause and list anew.
    pub(crate) fn version_too_large(wanted: Revision, head: Revision) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {head}");
        let details = StatusDetails {
            causes: Some(vec![StatusCause {
                reason: Some("ResourceVersionTooLarge".to_owned()),
                message: Some("Too large resource version".to_owned()),
                field: None,
            }]),
            ..StatusDetails::default()
        };
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).with(Box::new(details)).retry_after(1)
    }
}

impl Refusal {
    fn new(code: StatusCode, reason: &'static str, message: String) -> Self {
        Self { code, reason, message: cut_to(message, MESSAGE_BYTES_MAX), details: None }
    }

    fn with(self, details: Box<StatusDetails>) -> Self {
        Self { details: Some(details), ..self }
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        let details = self.details.get_or_insert_default();
        details.retry_after_seconds = i32::try_from(seconds).ok();
        self
    }

    pub(crate) fn code(&self) -> StatusCode {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn reason(&self) -> &'static str {
        self.reason
    }

    pub(crate) fn into_status(self) -> Status {
        Status {
            code: Some(i32::from(self.code.as_u16())),
            details: self.details.map(|details| *details),
            message: Some(self.message),
            metadata: ListMeta::default(),
            reason: Some(self.reason.to_owned()),
            status: Some("Failure".to_owned()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.code;
        let status = self.into_status();
        let retry_after = status.details.as_ref().and_then(|details| details.retry_after_seconds);
        let body = serde_json::to_vec(&status).expect("a status of strings and numbers is JSON");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = code;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if code == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, POST, PATCH, DELETE"));
        }
        response
    }
}
