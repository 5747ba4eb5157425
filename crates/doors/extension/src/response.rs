//! Answers: JSON in one piece or as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use hyper::body::{Frame, SizeHint};
use tower_http::compression::predicate::Predicate;

use crate::fairness::Share;
use crate::limits::COMPRESSED_FROM;

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

/// Events, which their reader wants as they come.
pub(crate) fn json_events(body: Body) -> Response {
    let mut response = json_stream(body);
    response.extensions_mut().insert(AsItComes);
    response
}

#[derive(Debug, Clone, Copy)]
struct AsItComes;

/// What is compressed where the client takes that: as with the API server's own, what is large and no watch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorthCompressing;

impl Predicate for WorthCompressing {
    fn should_compress<B: HttpBody>(&self, response: &http::Response<B>) -> bool {
        let is_large = response.body().size_hint().exact().is_none_or(|bytes| bytes >= COMPRESSED_FROM);
        is_large && response.extensions().get::<AsItComes>().is_none()
    }
}

/// Keeps a share until the reader has taken the whole answer.
pub(crate) fn hold(response: Response, share: Share) -> Response {
    response.map(|body| Body::new(Held { body, _share: share }))
}

/// A body that holds its share until the reader has taken all of it.
struct Held {
    body: Body,
    _share: Share,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    // Never at its end before it was asked for more than there is: until then bytes of it wait to be sent.

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
