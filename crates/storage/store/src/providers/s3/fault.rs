//! What a server's refusal means. Servers agree on the meaning of few codes: where a code is unknown the status
//! decides, and where the same code means two things the caller looks closer.

use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::S3Store;
use super::transport::{Fault, causes};
use crate::error::Source;
use crate::{NetworkFault, Operation, Place, StoreError, StorePath};

/// A server's message is quoted up to here.
const MESSAGE_CHARS_MAX: usize = 300;

/// What the server said. The SDK's own error holds the signed request and is not kept.
#[derive(Debug, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    message: String,
    region: Option<String>,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(response: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Self {
        let header = |name: &str| response.headers().get(name).map(str::to_owned);
        let seconds = header("retry-after").and_then(|seconds| seconds.parse().ok());
        Self {
            status: response.status().as_u16(),
            code: plain(code.unwrap_or("without a code")),
            message: plain(message.unwrap_or("without a message")),
            region: header("x-amz-bucket-region").map(|region| plain(&region)),
            retry_after: seconds.map(Duration::from_secs),
        }
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

/// What came of a request that did not succeed.
pub(super) enum Failure {
    /// The server answered and refused.
    Refused(Refusal),
    /// It was not reached, or its answer was lost.
    Lost(NetworkFault, Source),
    /// Its answer makes no sense.
    Garbled(Source),
}

impl Failure {
    pub(super) fn of<E>(error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match &error {
            SdkError::ServiceError(service) => {
                let (code, message) = (service.err().code(), service.err().message());
                Self::Refused(Refusal::new(service.raw(), code, message))
            }
            SdkError::ResponseError(response) if !response.raw().status().is_success() => {
                Self::Refused(Refusal::new(response.raw(), None, None))
            }
            other => {
                let fault = causes(other).find_map(|cause| cause.downcast_ref::<Fault>());
                let detail: Source = causes(other).last().map_or_else(String::new, plain_error).into();
                match fault {
                    Some(fault) => match fault.fault {
                        Some(network) => Self::Lost(network, fault.to_string().into()),
                        None => Self::Garbled(fault.to_string().into()),
                    },
                    None if matches!(other, SdkError::TimeoutError(_)) => {
                        Self::Lost(NetworkFault::TimedOut, detail)
                    }
                    None => Self::Garbled(detail),
                }
            }
        }
    }

    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Lost(..) | Self::Garbled(_) => None,
        }
    }
}

fn plain_error(error: &(dyn Error + 'static)) -> String {
    plain(&error.to_string())
}

impl S3Store {
    pub(super) fn fault<E>(&self, operation: Operation, path: &StorePath, error: SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        self.explain(operation, path, Failure::of(error))
    }

    pub(super) fn explain(&self, operation: Operation, path: &StorePath, failure: Failure) -> StoreError {
        let (path, location) = (path.clone(), self.location.clone());
        let refusal = match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Lost(fault, source) => {
                return StoreError::Unreachable { operation, location, fault, source };
            }
            Failure::Garbled(source) => return StoreError::Refused { operation, path, location, source },
        };
        let (retry_after, region) = (refusal.retry_after, refusal.region.clone());
        let meaning = meaning_of_code(&refusal.code).unwrap_or_else(|| meaning_of_status(refusal.status));
        let source: Source = refusal.into();
        match meaning {
            Meaning::NotFound => StoreError::NotFound { operation, path },
            Meaning::MissingBucket => {
                let (place, source) = (Place::Bucket, Some(source));
                StoreError::MissingLocation { operation, location, place, source }
            }
            Meaning::BadCredentials => StoreError::BadCredentials { operation, location, source },
            Meaning::Forbidden => StoreError::Forbidden { operation, path, location, source },
            Meaning::WrongRegion => StoreError::WrongRegion { operation, location, actual: region, source },
            Meaning::WrongClock => StoreError::WrongClock { operation, location, source },
            Meaning::Full => StoreError::Full { operation, path, location, source },
            Meaning::Busy => StoreError::Busy { operation, path, location, retry_after, source },
            Meaning::Refused => StoreError::Refused { operation, path, location, source },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    NotFound,
    MissingBucket,
    BadCredentials,
    Forbidden,
    WrongRegion,
    WrongClock,
    Full,
    Busy,
    Refused,
}

fn meaning_of_code(code: &str) -> Option<Meaning> {
    Some(match code {
        "NoSuchKey" | "NoSuchVersion" | "NotFound" => Meaning::NotFound,
        "NoSuchBucket" => Meaning::MissingBucket,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "InvalidSecurity" => Meaning::BadCredentials,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Meaning::Forbidden,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "InvalidRegion" => Meaning::WrongRegion,
        "RequestTimeTooSkewed" | "RequestExpired" => Meaning::WrongClock,
        "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "QuotaExceeded" | "InsufficientCapacity" => {
            Meaning::Full
        }
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "RequestTimeout"
        | "InternalError"
        | "ServiceUnavailable"
        | "OperationAborted"
        | "ConditionalRequestConflict"
        | "TooManyRequests" => Meaning::Busy,
        _ => return None,
    })
}

fn meaning_of_status(status: u16) -> Meaning {
    match status {
        404 => Meaning::NotFound,
        401 => Meaning::BadCredentials,
        403 => Meaning::Forbidden,
        301 | 307 | 308 => Meaning::WrongRegion,
        507 => Meaning::Full,
        408 | 409 | 429 => Meaning::Busy,
        // Not implemented will not pass.
        501 => Meaning::Refused,
        500.. => Meaning::Busy,
        _ => Meaning::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_wins_over_the_status_and_an_unknown_one_leaves_it() {
        let meaning = |code, status| meaning_of_code(code).unwrap_or_else(|| meaning_of_status(status));
        for (code, status, expected) in [
            ("NoSuchBucket", 404, Meaning::MissingBucket),
            ("NoSuchKey", 404, Meaning::NotFound),
            ("SignatureDoesNotMatch", 403, Meaning::BadCredentials),
            ("AccessDenied", 403, Meaning::Forbidden),
            ("ConditionalRequestConflict", 409, Meaning::Busy),
            ("SlowDown", 503, Meaning::Busy),
            ("XMinioStorageFull", 507, Meaning::Full),
            ("NeverHeardOf", 403, Meaning::Forbidden),
            ("NeverHeardOf", 502, Meaning::Busy),
            ("NotImplemented", 501, Meaning::Refused),
            ("InvalidArgument", 400, Meaning::Refused),
        ] {
            assert_eq!(meaning(code, status), expected, "{code} {status}");
        }
    }

    #[test]
    fn a_message_is_quoted_plain_and_short() {
        assert_eq!(plain("a\nb\u{1b}[31m"), "ab[31m");
        assert_eq!(plain(&"x".repeat(1000)).len(), MESSAGE_CHARS_MAX);
    }
}
