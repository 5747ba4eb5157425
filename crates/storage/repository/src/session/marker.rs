//! The announced presence of a session: its records under `sessions/<id>/` and its end under `outcomes/<id>`.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use keelson_crypto::{ObjectId, ObjectKind, random_bytes};
use keelson_model::{SessionId, later};
use keelson_store::{PutOptions, StoreError, StoreExt, StorePath, Written};

use super::{NewSession, SessionError};
use crate::core::Core;
use crate::format::outcome_record::{OutcomeRecord, SessionResult};
use crate::format::session_record::SessionRecord;
use crate::limits::LATE_COMMIT_MAX;
use crate::object::{WriteObjectError, offload, seal_record};

pub(crate) struct SessionMarker {
    core: Arc<Core>,
    id: SessionId,
    new: NewSession,
    renewals: AtomicU32,
    /// Its own outcome is on its way, or there.
    ending: AtomicBool,
    lives_until: Mutex<Timestamp>,
    /// How far the store's clock was ahead of the one that states the life.
    store_ahead: SignedDuration,
}

impl SessionMarker {
    /// Creates `sessions/<id>/0`.
    pub(crate) async fn announce(core: &Arc<Core>, new: NewSession) -> Result<Arc<Self>, SessionError> {
        let mut marker = Self {
            core: Arc::clone(core),
            id: SessionId::from_bytes(random_bytes()),
            new,
            renewals: AtomicU32::new(0),
            ending: AtomicBool::new(false),
            lives_until: Mutex::new(new.lives_until),
            store_ahead: SignedDuration::ZERO,
        };
        let written = marker.write(0, new.lives_until).await?;
        marker.store_ahead = written.stored_at.duration_since(new.now);
        Ok(Arc::new(marker))
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn new_session(&self) -> NewSession {
        self.new
    }

    pub(crate) fn lives_until(&self) -> Timestamp {
        *self.life()
    }

    fn life(&self) -> MutexGuard<'_, Timestamp> {
        self.lives_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes first and looks then: whoever ends sessions reads their renewals before.
    pub(crate) async fn renew(&self, lives_until: Timestamp) -> Result<(), SessionError> {
        let renewal = self.renewals.fetch_add(1, Ordering::Relaxed) + 1;
        self.write(renewal, lives_until).await?;
        if !self.is_ending() {
            let (session, path) = (self.id, self.core.paths.outcome(self.id));
            let ended = self.core.store.exists(&path).await;
            let ended = ended.map_err(|source| SessionError::LookAtEnd { session, source })?;
            // What is there may be our own work of a moment ago.
            if ended && !self.is_ending() {
                return Err(SessionError::Ended { session });
            }
        }
        *self.life() = lives_until;
        Ok(())
    }

    /// Whether it creates its own outcome, and create-only decides.
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    pub(crate) fn outlived(&self) -> SessionError {
        SessionError::Outlived { session: self.id, until: self.lives_until() }
    }

    /// Directly before an outcome that names packs is created. Create-only decides against whoever ends the session,
    /// but the record of that is removed one day: a process that was paused for weeks must not meet nothing there.
    pub(crate) async fn require_alive(&self) -> Result<(), SessionError> {
        let time = self.core.store.time().await;
        let time = time.map_err(|source| SessionError::AskTime { session: self.id, source })?;
        let ours = time.saturating_sub(self.store_ahead).unwrap_or(time);
        match ours > later(self.lives_until(), LATE_COMMIT_MAX) {
            true => Err(self.outlived()),
            false => Ok(()),
        }
    }

    /// Creates `outcomes/<id>` without content. Whoever ended the session first has ended it.
    pub(crate) async fn end(&self, result: SessionResult, now: Timestamp) -> Result<(), SessionError> {
        let record = OutcomeRecord::bare(result, self.new.purpose, now);
        match self.create_outcome(record, None).await {
            Ok(_) | Err(WriteObjectError::Put { source: StoreError::AlreadyExists { .. }, .. }) => Ok(()),
            Err(source) => Err(SessionError::End { session: self.id, source }),
        }
    }

    /// Creates `outcomes/<id>`; create-only decides against whoever ends the session at the same time.
    pub(crate) async fn create_outcome(
        &self,
        record: OutcomeRecord,
        retain_until: Option<Timestamp>,
    ) -> Result<Written, WriteObjectError> {
        self.ending.store(true, Ordering::Release);
        let path = self.core.paths.outcome(self.id);
        let (core, id) = (Arc::clone(&self.core), ObjectId::from_bytes(*self.id.as_bytes()));
        let object =
            offload(move || seal_record(&core.keys, ObjectKind::Outcome, id, &record.encode())).await;
        let bytes = object.map_err(|source| WriteObjectError::Seal { path: path.clone(), source })?.bytes;
        let options = PutOptions::create().retained(retain_until);
        let written = self.core.store.put(&path, bytes, options).await;
        written.map_err(|source| WriteObjectError::Put { path, source })
    }

    async fn write(&self, renewal: u32, lives_until: Timestamp) -> Result<Written, SessionError> {
        let path = self.core.paths.session(self.id, renewal);
        self.try_write(&path, renewal, lives_until)
            .await
            .map_err(|source| SessionError::Announce { session: self.id, source })
    }

    async fn try_write(
        &self,
        path: &StorePath,
        renewal: u32,
        lives_until: Timestamp,
    ) -> Result<Written, WriteObjectError> {
        let record = SessionRecord { purpose: self.new.purpose, renewal, started: self.new.now, lives_until };
        let id = ObjectId::from_bytes(*self.id.as_bytes());
        let object = seal_record(&self.core.keys, ObjectKind::Session, id, &record.encode())
            .map_err(|source| WriteObjectError::Seal { path: path.clone(), source })?;
        let written = self.core.store.put(path, object.bytes, PutOptions::create_unique()).await;
        written.map_err(|source| WriteObjectError::Put { path: path.clone(), source })
    }
}

impl fmt::Debug for SessionMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionMarker({})", self.id)
    }
}
