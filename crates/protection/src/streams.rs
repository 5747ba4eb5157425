//! Sessions in repositories, and the streams between a cluster, one repository and another.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use keelson_model::{Chain, Classified, ErrorClass, later};
use keelson_repository::{
    Indexed, NewSession, Outcome, ReadError, Reader, Repository, SessionError, SessionPurpose,
};
use keelson_workload::Layer;
use tokio::sync::mpsc;

/// A session says that it lives this long; maintenance waits for it no longer.
const SESSION_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Pieces of a stream between its two ends: bounds memory, at 256 KiB a piece.
pub(crate) const PIECES_IN_FLIGHT: usize = 8;

pub(crate) fn new_session(purpose: SessionPurpose, now: Timestamp) -> NewSession {
    let lives_until = later(now, SESSION_LIFE);
    NewSession { purpose, lives_until, now }
}

/// Begins to read. Where the location takes no announcement, because it is read-only, full, or only readable with these
/// credentials, it is read without one: maintenance then does not wait for this reader.
pub(crate) async fn begin_reading(
    repository: &Repository<Indexed>,
    now: Timestamp,
) -> Result<Reader, SessionError> {
    match repository.begin_reading(new_session(SessionPurpose::Restore, now)).await {
        Err(error) if error.is_not_writable() => {
            tracing::warn!(cause = %Chain(&error), "the location takes no announcement; reading without one");
            repository.begin_reading_unannounced().await
        }
        begun => begun,
    }
}

/// The writing end of a stream went away before the stream was whole.
#[derive(Debug, thiserror::Error)]
#[error("the source of the stream stopped early")]
pub(crate) struct SourceStopped;

impl Classified for SourceStopped {
    fn class(&self) -> ErrorClass {
        ErrorClass::Cancelled
    }

    fn code(&self) -> &'static str {
        "stream.source_stopped"
    }
}

/// What a channel brings, as a stream. An end without the closing `None` is an error, so that a writer that failed
/// never looks like one that was done.
pub(crate) fn from_channel(
    pieces: mpsc::Receiver<Option<Bytes>>,
) -> impl Stream<Item = Result<Bytes, SourceStopped>> + Send {
    stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Some(piece)) => Some((Ok(piece), Some(pieces))),
            Some(None) => None,
            None => Some((Err(SourceStopped), None)),
        }
    })
}

/// The objects of an application as they were stored, in the order in which they are restored.
pub(crate) fn stored_objects<'a>(
    reader: &'a Reader,
    outcome: &'a Outcome,
) -> impl Stream<Item = Result<keelson_workload::CapturedObject, keelson_workload::DecodeObjectsError>> + Send + 'a
{
    let references = Layer::ALL.into_iter().filter_map(|layer| outcome.stream(layer.name()));
    stream::iter(references.map(|stream| stream.reference).collect::<Vec<_>>()).flat_map(move |reference| {
        let bytes = reader.read(&reference).map(|piece: Result<Bytes, ReadError>| piece);
        keelson_workload::decode_objects(bytes).boxed()
    })
}
