//! Answers: JSON in one piece or as it comes.

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};

/// An answer that is ready.
pub(crate) fn json_bytes(bytes: Vec<u8>) -> Response {
    json_stream(Body::from(bytes))
}

/// An answer that is still being written.
pub(crate) fn json_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}
