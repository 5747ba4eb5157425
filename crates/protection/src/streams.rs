//! Sessions in repositories, and the streams between a cluster, one repository and another.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use keelson_model::{Chain, Classified, Clock, ErrorClass, later};
use keelson_repository::{
    Indexed, NewSession, Outcome, ReadError, Reader, Repository, SessionError, SessionLife, SessionPurpose,
};
use keelson_workload::Layer;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::platform::Platform;

/// A session says that it lives this long; maintenance waits for it no longer. One that works longer is renewed.
const SESSION_LIFE: Duration = Duration::from_secs(24 * 3600);
/// With less than this left of its life a session is renewed: there is time for many tries.
const RENEWED_BELOW: SignedDuration = SignedDuration::from_hours(18);
/// How often it is looked at what is left: so late it is noticed that the machine was suspended.
const LIFE_LOOK_EVERY: Duration = Duration::from_secs(60);
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

/// Works while sessions live: each is renewed, by the platform's clock, long before its stated life ends.
///
/// # Errors
///
/// A session was ended by maintenance, or its life has passed since nothing could be written. The work is dropped: what
/// it relies on may be gone.
pub(crate) async fn hold<T>(
    clock: &dyn Clock,
    lives: impl IntoIterator<Item = SessionLife>,
    work: impl Future<Output = T>,
) -> Result<T, SessionError> {
    let lives: Vec<SessionLife> = lives.into_iter().collect();
    tokio::select! {
        biased;
        done = work => Ok(done),
        ended = keep_alive(clock, &lives) => Err(ended),
    }
}

/// The same for one who writes. Unless it succeeded nobody need wait for the session; what it left is garbage to be pruned.
pub(crate) async fn hold_writer<T, E>(
    clock: &dyn Clock,
    life: SessionLife,
    work: impl Future<Output = Result<T, E>>,
    ended: impl FnOnce(SessionError) -> E,
) -> Result<T, E> {
    let done = hold(clock, [life.clone()], work).await;
    if !matches!(&done, Ok(Ok(_))) {
        drop(life.give_up(clock.now()).await);
    }
    done.map_err(ended)?
}

async fn keep_alive(clock: &dyn Clock, lives: &[SessionLife]) -> SessionError {
    loop {
        tokio::time::sleep(LIFE_LOOK_EVERY).await;
        for life in lives {
            if let Err(ended) = renew_if_due(life, clock.now()).await {
                return ended;
            }
        }
    }
}

async fn renew_if_due(life: &SessionLife, now: Timestamp) -> Result<(), SessionError> {
    let left = life.until().duration_since(now);
    if left >= RENEWED_BELOW {
        return Ok(());
    }
    if left.is_negative() {
        return Err(life.outlived());
    }
    match life.renew(later(now, SESSION_LIFE)).await {
        Err(error @ SessionError::Ended { .. }) => Err(error),
        Err(error) => {
            let session = life.id();
            tracing::warn!(%session, cause = %Chain(&error), "a session was not renewed; trying again");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// A reader whose session ends however it is left: done, failed, or dropped since its time was over.
pub(crate) struct EndingReader {
    reader: Option<Reader>,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
}

impl EndingReader {
    pub(crate) fn of(platform: &Platform, reader: Reader) -> Self {
        Self { reader: Some(reader), clock: platform.clock.clone(), tasks: platform.tasks().clone() }
    }
}

impl Deref for EndingReader {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        self.reader.as_ref().expect("a reader is there until it is dropped")
    }
}

impl Drop for EndingReader {
    fn drop(&mut self) {
        let (Some(reader), Ok(runtime)) = (self.reader.take(), Handle::try_current()) else { return };
        let clock = self.clock.clone();
        let ending = async move {
            if let Err(error) = reader.finish(clock.now()).await {
                tracing::debug!(cause = %Chain(&error), "a reading session stays open until its stated end");
            }
        };
        self.tasks.spawn_on(ending, &runtime);
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

#[cfg(test)]
mod tests;
