//! How long a request to the API server may take, and what one that failed means for whoever asked.

use std::time::Duration;

use keelson_model::ErrorClass;

/// An API server that does not answer is away; a connection that was cut off would wait for hours.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

pub(crate) async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    let answer = tokio::time::timeout(REQUEST_WITHIN, request).await;
    answer.unwrap_or_else(|late| Err(kube::Error::Service(Box::new(late))))
}

pub(crate) fn class_of(error: &kube::Error) -> ErrorClass {
    match error {
        kube::Error::Api(status) => match status.code {
            401 | 403 => ErrorClass::Denied,
            404 => ErrorClass::NotFound,
            409 => ErrorClass::Conflict,
            // Too many requests.
            429 => ErrorClass::Unavailable { retry_after: None },
            400..500 => ErrorClass::Invalid,
            _ => ErrorClass::Unavailable { retry_after: None },
        },
        _ => ErrorClass::Unavailable { retry_after: None },
    }
}
