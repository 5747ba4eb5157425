//! The stated life of a session, in the hands of whoever renews it while the session works.

use std::sync::Arc;

use jiff::Timestamp;
use keelson_model::SessionId;

use super::{SessionError, SessionMarker};
use crate::format::outcome_record::SessionResult;

/// A session's stated life. It outlives what it was taken of, so that a session can be renewed while it commits.
#[derive(Debug, Clone)]
pub struct SessionLife(Arc<SessionMarker>);

impl SessionLife {
    pub(crate) fn of(marker: &Arc<SessionMarker>) -> Self {
        Self(Arc::clone(marker))
    }

    /// Until when the session says that it lives. After this maintenance may end it.
    pub fn until(&self) -> Timestamp {
        self.0.lives_until()
    }

    /// States another end.
    ///
    /// # Errors
    ///
    /// `Ended` if maintenance was first: what the session relies on may be gone. Any other may pass.
    pub async fn renew(&self, until: Timestamp) -> Result<(), SessionError> {
        self.0.renew(until).await
    }

    /// What a session tells that has lived longer than it said.
    pub fn outlived(&self) -> SessionError {
        self.0.outlived()
    }

    /// Gives up: records that nothing will come of the session, so that maintenance need not wait for its stated life to
    /// pass. One that has ended stays as it ended.
    pub async fn give_up(&self, now: Timestamp) -> Result<(), SessionError> {
        self.0.end(SessionResult::Aborted, now).await
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.0.id()
    }
}
