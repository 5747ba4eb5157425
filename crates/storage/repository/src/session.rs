//! A session: the span in which a writer or reader is safe from pruning.
//!
//! Order of a writer: 1 create `sessions/<id>/0`; 2 only then list marks and verdicts and load the index; 3 write
//! packs, then index objects; 4 look whether what is reused is still there; 5 extend the retention of everything needed;
//! 6 create `outcomes/<id>`.

mod claims;
mod commit;
mod cut;
mod life;
mod marker;
pub(crate) mod reuse;
mod write;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use keelson_model::{Classified, ErrorClass, SessionId};
use keelson_store::{StoreError, StorePath};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use commit::CommitError;
pub use life::SessionLife;
pub(crate) use marker::SessionMarker;
pub use write::WriteError;

use crate::chunk::EncodedChunk;
use crate::core::Core;
use crate::format::session_record::SessionPurpose;
use crate::index::{LoadIndexError, LocalIndex};
use crate::limits::CHUNKS_QUEUED;
use crate::object::{ObjectError, WriteObjectError};
use crate::pack::{PackerReport, WriteFault, run_packer};
use claims::Claims;

/// What a session wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSession {
    /// What it is for.
    pub purpose: SessionPurpose,
    /// After this maintenance may end it; [`SessionLife::renew`] moves it.
    pub lives_until: Timestamp,
    /// The time to record as its start.
    pub now: Timestamp,
}

/// A session could not begin, go on or end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The repository has a newer key than the passphrase opened: what is written would be readable to an old
    /// passphrase.
    #[error("the repository has a newer key ({newest}) than the one at hand ({at_hand})")]
    OutdatedKey {
        /// The newest in the repository.
        newest: u32,
        /// The newest that was opened.
        at_hand: u32,
    },
    /// Its own record could not be written.
    #[error("announce session '{session}'")]
    Announce {
        /// The session.
        session: SessionId,
        /// Why not.
        source: WriteObjectError,
    },
    /// What else runs or was decided could not be listed.
    #[error("list '{folder}'")]
    List {
        /// Which folder.
        folder: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// A mark or verdict cannot be read: without it nobody knows which packs may be named again.
    #[error("read what maintenance decided")]
    ReadDecision {
        /// Which and why.
        source: ObjectError,
    },
    /// The index could not be loaded.
    #[error("load the index")]
    LoadIndex {
        /// Why not.
        source: LoadIndexError,
    },
    /// Maintenance ended the session, whose stated life had passed. What it relies on may be gone.
    #[error("session '{session}' was ended by maintenance")]
    Ended {
        /// The session.
        session: SessionId,
    },
    /// It was not renewed in time. What it relies on may be gone.
    #[error("session '{session}' lives no more: its stated life ended at {until}")]
    Outlived {
        /// The session.
        session: SessionId,
        /// Until when it said that it lives.
        until: Timestamp,
    },
    /// Whether somebody has ended it could not be found out.
    #[error("look whether session '{session}' was ended")]
    LookAtEnd {
        /// The session.
        session: SessionId,
        /// Why not.
        source: StoreError,
    },
    /// Whether it still lives could not be found out.
    #[error("session '{session}' asks the store's time")]
    AskTime {
        /// The session.
        session: SessionId,
        /// Why not.
        source: StoreError,
    },
    /// Its end could not be recorded.
    #[error("end session '{session}'")]
    End {
        /// The session.
        session: SessionId,
        /// Why not.
        source: WriteObjectError,
    },
}

impl SessionError {
    /// Whether the location is such that nothing can be announced in it, while it may well be read.
    pub fn is_not_writable(&self) -> bool {
        let Self::Announce { source: WriteObjectError::Put { source, .. }, .. } = self else { return false };
        matches!(source, StoreError::ReadOnly { .. } | StoreError::Full { .. } | StoreError::Forbidden { .. })
    }
}

impl Classified for SessionError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::OutdatedKey { .. } => ErrorClass::Denied,
            Self::Announce { source, .. } | Self::End { source, .. } => source.class(),
            Self::Ended { .. } | Self::Outlived { .. } => ErrorClass::Conflict,
            Self::List { source, .. } | Self::LookAtEnd { source, .. } | Self::AskTime { source, .. } => {
                source.class()
            }
            Self::ReadDecision { source } => source.class(),
            Self::LoadIndex { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::OutdatedKey { .. } => "repository.session.outdated_key",
            Self::Announce { source, .. } | Self::End { source, .. } => source.code(),
            Self::Ended { .. } => "repository.session.ended",
            Self::Outlived { .. } => "repository.session.outlived",
            Self::List { source, .. } | Self::LookAtEnd { source, .. } | Self::AskTime { source, .. } => {
                source.code()
            }
            Self::ReadDecision { source } => source.code(),
            Self::LoadIndex { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::OutdatedKey { .. } => Some("use the passphrase that is in force now".to_owned()),
            Self::Announce { source, .. } | Self::End { source, .. } => source.hint(),
            Self::Ended { .. } | Self::Outlived { .. } => Some("start again with a new session".to_owned()),
            Self::List { source, .. } | Self::LookAtEnd { source, .. } | Self::AskTime { source, .. } => {
                source.hint()
            }
            Self::ReadDecision { source } => source.hint(),
            Self::LoadIndex { source } => source.hint(),
        }
    }
}

/// How far a session is. Counters only grow.
#[derive(Debug, Default)]
pub struct Progress {
    bytes_read: AtomicU64,
    bytes_sent: AtomicU64,
    packs_sent: AtomicU64,
    chunks_new: AtomicU64,
    chunks_known: AtomicU64,
}

/// One reading of a session's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgressReading {
    /// Bytes taken from the streams.
    pub bytes_read: u64,
    /// Bytes of packs that the store has taken.
    pub bytes_sent: u64,
    /// Packs that the store has taken.
    pub packs_sent: u64,
    /// Chunks that were not there before.
    pub chunks_new: u64,
    /// Chunks that were.
    pub chunks_known: u64,
}

impl Progress {
    /// The counters now.
    pub fn read(&self) -> ProgressReading {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProgressReading {
            bytes_read: read(&self.bytes_read),
            bytes_sent: read(&self.bytes_sent),
            packs_sent: read(&self.packs_sent),
            chunks_new: read(&self.chunks_new),
            chunks_known: read(&self.chunks_known),
        }
    }

    pub(crate) fn count_pack(&self, bytes: u64) {
        self.packs_sent.fetch_add(1, Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A writer's session. Several streams may be written at once through a shared reference.
///
/// A write that fails or is dropped half-way breaks the session: other streams may already rely on chunks that it
/// announced. A broken session cannot be committed; start again.
pub struct Session {
    marker: Arc<SessionMarker>,
    shared: Arc<Shared>,
    queue: mpsc::Sender<EncodedChunk>,
    packer: Mutex<JoinSet<Result<PackerReport, WriteFault>>>,
}

/// What the tasks of one session share.
struct Shared {
    core: Arc<Core>,
    claims: Claims,
    progress: Arc<Progress>,
    broken: AtomicBool,
}

impl Session {
    /// Steps 1 and 2 of the order above. `local` may be stale; the session's index is not.
    pub(crate) async fn begin(
        core: &Arc<Core>,
        local: &Arc<LocalIndex>,
        new: NewSession,
    ) -> Result<Self, SessionError> {
        require_newest_key(core)?;
        let marker = SessionMarker::announce(core, new).await?;
        let condemned = reuse::find_condemned(core).await?.with(core.index_cache.lost());
        let index =
            crate::index::refresh(core, local).await.map_err(|source| SessionError::LoadIndex { source })?;

        let progress = Arc::new(Progress::default());
        let (queue, chunks) = mpsc::channel(CHUNKS_QUEUED);
        let mut packer = JoinSet::new();
        packer.spawn(run_packer(Arc::clone(core), Arc::clone(&progress), chunks));
        let shared = Arc::new(Shared {
            core: Arc::clone(core),
            claims: Claims::new(index, condemned, local.workplace()),
            progress,
            broken: AtomicBool::new(false),
        });
        Ok(Self { marker, shared, queue, packer: Mutex::new(packer) })
    }

    /// Its id, which its outcome will have.
    pub fn id(&self) -> SessionId {
        self.marker.id()
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.shared.progress)
    }

    /// Its stated life, to be renewed while it works.
    pub fn life(&self) -> SessionLife {
        SessionLife::of(&self.marker)
    }

    fn take_packer(&self) -> JoinSet<Result<PackerReport, WriteFault>> {
        std::mem::take(&mut *self.packer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whoever writes must hold the newest key, or an old passphrase would open what is written.
pub(crate) fn require_newest_key(core: &Core) -> Result<(), SessionError> {
    let at_hand = core.keys.newest().number();
    if at_hand != core.newest_key {
        return Err(SessionError::OutdatedKey { newest: core.newest_key, at_hand });
    }
    Ok(())
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.id())
    }
}

#[cfg(test)]
mod tests;
