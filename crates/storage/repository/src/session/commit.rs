//! The end of a writer's session: everything it needs is there and locked before its outcome says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use keelson_model::{Classified, ErrorClass, PackId, SessionId};
use keelson_store::{StoreError, StoreExt, StorePath, VersionId};

use super::{Session, SessionError, WriteError};
use crate::format::outcome_record::{IndexReference, OutcomeRecord, SessionResult};
use crate::index::{IndexCacheError, IndexedPack};
use crate::limits::COMMIT_REQUESTS_IN_FLIGHT;
use crate::object::{ObjectError, WriteObjectError, extend_recorded, head_recorded, offload};
use crate::outcome::{Outcome, OutcomeDraft, fetch_outcome};
use crate::pack::{PackerReport, WrittenPack};
use crate::paths;

/// A session could not be committed. Nothing names what it wrote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The description or a stream is beyond its bound.
    #[error("the {field} of the outcome is too large")]
    Draft {
        /// What is.
        field: &'static str,
    },
    /// A stream of this session was not written to its end.
    #[error("complete what session '{session}' wrote")]
    Write {
        /// The session.
        session: SessionId,
        /// Why not.
        source: WriteError,
    },
    /// Which packs the outcome needs cannot be looked up.
    #[error("look up the packs that session '{session}' relies on")]
    LookUp {
        /// The session.
        session: SessionId,
        /// Why not.
        source: IndexCacheError,
    },
    /// Until when the store retains what is created now could not be found out.
    #[error("session {session} asks the store's time")]
    AskTime {
        /// The session.
        session: SessionId,
        /// Why not.
        source: StoreError,
    },
    /// What the outcome needs could not be listed in order to lock it.
    #[error("list '{folder}' in order to lock it")]
    ListRetained {
        /// The folder.
        folder: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// Something that the outcome needs could not be locked long enough.
    #[error("lock '{path}' until {until}")]
    Retain {
        /// The object.
        path: StorePath,
        /// Until when.
        until: Timestamp,
        /// Why not.
        source: StoreError,
    },
    /// Packs of earlier sessions that this one relies on are gone. A new session of this process writes anew what they
    /// held.
    #[error("session '{session}' relies on {count} packs that are lost, '{first}' among them")]
    Lost {
        /// The session.
        session: SessionId,
        /// How many.
        count: usize,
        /// One of them.
        first: PackId,
    },
    /// Whether such a pack is there could not be found out.
    #[error("look for pack '{pack}', which session '{session}' relies on")]
    LookFor {
        /// The session.
        session: SessionId,
        /// The pack.
        pack: PackId,
        /// Why not.
        source: StoreError,
    },
    /// It may not commit any more, or whether it may could not be found out.
    #[error("find out whether session '{session}' may commit")]
    Alive {
        /// The session.
        session: SessionId,
        /// Why not.
        source: SessionError,
    },
    /// Maintenance ended the session, whose stated life had passed. What it wrote may be gone.
    #[error("session '{session}' was ended by maintenance before it could commit")]
    Ended {
        /// The session.
        session: SessionId,
    },
    /// Somebody else's outcome lies where this session's should be.
    #[error("the outcome of session '{session}' was made by somebody else")]
    Taken {
        /// The session.
        session: SessionId,
    },
    /// The outcome could not be written.
    #[error("create the outcome of session '{session}'")]
    Create {
        /// The session.
        session: SessionId,
        /// Why not.
        source: WriteObjectError,
    },
    /// Another outcome lies there, and it cannot be read.
    #[error("read the outcome that ended session '{session}'")]
    ReadEnd {
        /// The session.
        session: SessionId,
        /// Why not.
        source: ObjectError,
    },
}

impl Classified for CommitError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Draft { .. } => ErrorClass::Invalid,
            Self::Write { source, .. } => source.class(),
            Self::LookUp { source, .. } => source.class(),
            Self::AskTime { source, .. }
            | Self::ListRetained { source, .. }
            | Self::LookFor { source, .. }
            | Self::Retain { source, .. } => source.class(),
            Self::Alive { source, .. } => source.class(),
            Self::Ended { .. } | Self::Lost { .. } => ErrorClass::Conflict,
            Self::Taken { .. } => ErrorClass::Corrupt,
            Self::Create { source, .. } => source.class(),
            Self::ReadEnd { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Draft { .. } => "repository.commit.draft",
            Self::Write { source, .. } => source.code(),
            Self::LookUp { source, .. } => source.code(),
            Self::AskTime { source, .. }
            | Self::ListRetained { source, .. }
            | Self::LookFor { source, .. }
            | Self::Retain { source, .. } => source.code(),
            Self::Alive { source, .. } => source.code(),
            Self::Ended { .. } => "repository.commit.ended",
            Self::Lost { .. } => "repository.commit.lost",
            Self::Taken { .. } => "repository.commit.taken",
            Self::Create { source, .. } => source.code(),
            Self::ReadEnd { source, .. } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Draft { .. } | Self::Taken { .. } => None,
            Self::Alive { source, .. } => source.hint(),
            Self::Ended { .. } => Some("start again with a new session".to_owned()),
            Self::Write { source, .. } => source.hint(),
            Self::LookUp { source, .. } => source.hint(),
            Self::AskTime { source, .. }
            | Self::ListRetained { source, .. }
            | Self::LookFor { source, .. }
            | Self::Retain { source, .. } => source.hint(),
            Self::Lost { .. } => Some(
                "start again: what they held is written anew. Find out who deletes there; 'keelson tools verify' names \
                 what else needs them"
                    .to_owned(),
            ),
            Self::Create { source, .. } => source.hint(),
            Self::ReadEnd { source, .. } => source.hint(),
        }
    }
}

impl Session {
    /// Steps 3 to 6 of the session's order. Only afterwards can anybody see what was written.
    ///
    /// # Errors
    ///
    /// `Ended` if maintenance was first, `Alive` if it may have been and the record of it be gone: start again with a
    /// new session.
    pub async fn commit(mut self, draft: OutcomeDraft) -> Result<Outcome, CommitError> {
        let (session, created) = (self.id(), draft.created);
        let record = match self.prepare(draft).await {
            Ok(record) => record,
            Err(error) => {
                // Nothing will come of it: nobody need wait for its stated life to pass.
                drop(self.marker.end(SessionResult::Aborted, created).await);
                return Err(error);
            }
        };
        let retain_until = record.retain_until;
        match self.marker.create_outcome(record.clone(), retain_until).await {
            Ok(_) => Ok(Outcome::new(session, record)),
            Err(WriteObjectError::Put { source: StoreError::AlreadyExists { .. }, .. }) => {
                Err(self.explain_end().await)
            }
            Err(source) => Err(CommitError::Create { session, source }),
        }
    }

    /// All that comes before the outcome.
    async fn prepare(&mut self, draft: OutcomeDraft) -> Result<OutcomeRecord, CommitError> {
        let session = self.id();
        let OutcomeDraft { created, description, streams, retain_until: draft_until } = draft;
        let store_until = self.shared.core.store.retention_end().await;
        let store_until = store_until.map_err(|source| CommitError::AskTime { session, source })?;
        let mut record = OutcomeRecord {
            description,
            streams,
            retain_until: draft_until.max(store_until),
            ..OutcomeRecord::bare(SessionResult::Committed, self.marker.new_session().purpose, created)
        };
        if let Some(field) = record.find_excess() {
            return Err(CommitError::Draft { field });
        }
        let write_error = |source| CommitError::Write { session, source };
        // The packer ends when nobody can send to it any more.
        drop(std::mem::replace(&mut self.queue, tokio::sync::mpsc::channel(1).0));
        let report = self.join_packer().await.map_err(write_error)?;
        if self.shared.broken.load(Ordering::Acquire) {
            return Err(write_error(WriteError::Broken));
        }
        let PackerReport { packs, indexes } = report;
        let shared = Arc::clone(&self.shared);
        let named = offload(move || shared.claims.named_packs(&packs).map(|named| (named, packs))).await;
        let (named, written) = named.map_err(|source| CommitError::LookUp { session, source })?;
        (record.packs, record.indexes) = (named, indexes);
        let shared = Arc::clone(&self.shared);
        let reused = offload(move || shared.claims.reused()).await;
        let reused = reused.map_err(|source| CommitError::LookUp { session, source })?;
        self.require_there(&reused).await?;
        match (draft_until, record.retain_until) {
            (Some(_), Some(until)) => self.retain(&reused, &record.indexes, &written, until).await?,
            // What this session wrote was retained when it was created.
            (None, Some(until)) => self.retain(&reused, &[], &[], until).await?,
            (_, None) => {}
        }
        self.marker.require_alive().await.map_err(|source| CommitError::Alive { session, source })?;
        Ok(record)
    }

    /// An outcome that named what is gone would never restore, and nor would any after it that reuses the same.
    async fn require_there(&self, reused: &[IndexedPack]) -> Result<(), CommitError> {
        let (session, core) = (self.id(), &self.shared.core);
        let look = |(id, length, version): (PackId, u32, Option<VersionId>)| async move {
            let found = head_recorded(core.store.as_ref(), &core.paths.pack(id), version).await;
            match found {
                Ok(found) if found.length == u64::from(length) => Ok(None),
                Ok(_) | Err(StoreError::NotFound { .. }) => Ok(Some(id)),
                Err(source) => Err(CommitError::LookFor { session, pack: id, source }),
            }
        };
        let records = reused.iter().map(|pack| &pack.record);
        let wanted: Vec<_> =
            records.map(|record| (record.id, record.length, record.version.clone())).collect();
        let looks = stream::iter(wanted).map(look).buffer_unordered(COMMIT_REQUESTS_IN_FLIGHT);
        let lost: Vec<PackId> =
            looks.try_filter_map(|lost| std::future::ready(Ok(lost))).try_collect().await?;
        let Some(first) = lost.first().copied() else { return Ok(()) };
        let count = lost.len();
        core.index_cache.note_lost(lost);
        Err(CommitError::Lost { session, count, first })
    }

    async fn explain_end(&self) -> CommitError {
        let session = self.id();
        match fetch_outcome(&self.shared.core, session, None).await {
            Ok(outcome) if outcome.result() == SessionResult::Aborted => CommitError::Ended { session },
            Ok(_) => CommitError::Taken { session },
            Err(source) => CommitError::ReadEnd { session, source },
        }
    }

    /// Extends the retention of all that the outcome needs. It only ever lengthens.
    async fn retain(
        &self,
        reused: &[IndexedPack],
        indexes: &[IndexReference],
        written: &[WrittenPack],
        until: Timestamp,
    ) -> Result<(), CommitError> {
        let core = &self.shared.core;
        let mut needed: HashMap<StorePath, Option<VersionId>> = HashMap::new();
        for pack in reused {
            needed.insert(core.paths.pack(pack.record.id), pack.record.version.clone());
            needed.insert(core.paths.index(pack.source.id), pack.source.version.clone());
        }
        for IndexReference { id, version } in indexes {
            needed.insert(core.paths.index(*id), version.clone());
        }
        for pack in written {
            needed.insert(core.paths.pack(pack.id), pack.version.clone());
        }
        needed.insert(core.paths.format(), None);
        let extend = |path: StorePath, version: Option<VersionId>| async move {
            let extended = extend_recorded(core.store.as_ref(), &path, version, until).await;
            extended.map_err(|source| CommitError::Retain { path, until, source })
        };
        let extensions = stream::iter(needed).map(|(path, version)| extend(path, version));
        extensions.buffer_unordered(COMMIT_REQUESTS_IN_FLIGHT).try_collect::<()>().await?;
        // However many a stranger has put there, a page of them is in memory.
        for folder in [paths::SLOTS, paths::KEYS].map(|folder| core.paths.join(folder)) {
            let failed = |source| CommitError::ListRetained { folder: folder.clone(), source };
            let listed = core.store.stream(&folder).map_err(failed);
            let extended = listed.try_for_each_concurrent(COMMIT_REQUESTS_IN_FLIGHT, |object| {
                extend(object.path, object.version)
            });
            extended.await?;
        }
        Ok(())
    }
}
