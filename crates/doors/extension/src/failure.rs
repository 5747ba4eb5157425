//! What a request to the API server that failed means for whoever asked.

use keelson_model::ErrorClass;

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
