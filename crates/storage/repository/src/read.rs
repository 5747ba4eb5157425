//! Reading outcomes and their streams, under a session of one's own so that pruning waits.

mod chunks;
mod plan;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use jiff::Timestamp;
use keelson_model::{ChunkId, Classified, ErrorClass, SessionId};
use keelson_store::{StorePath, VersionId};

pub(crate) use chunks::ChunkReader;
pub(crate) use plan::walk_chunks;

use crate::core::Core;
use crate::format::DecodeError;
use crate::format::outcome_record::SessionResult;
use crate::index::{Index, IndexCacheError, LocalIndex};
use crate::limits::READS_IN_FLIGHT;
use crate::maintenance::retire::{FoundRetirement, find_retirement, list_retired_ids};
use crate::object::ObjectError;
use crate::outcome::{Outcome, fetch_outcome};
use crate::session::{NewSession, SessionError, SessionLife, SessionMarker};
use crate::tree::StreamRef;

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The outcome was retired: what it needs may be removed at any time.
    #[error("outcome '{outcome}' was retired")]
    Retired {
        /// The outcome.
        outcome: SessionId,
    },
    /// Its session ended without writing anything that could be read.
    #[error("session '{outcome}' did not commit anything")]
    NotCommitted {
        /// The session.
        outcome: SessionId,
    },
    /// The outcome is lost, or its session never ended.
    #[error("there is no outcome '{path}'")]
    MissingOutcome {
        /// Where it should be.
        path: StorePath,
    },
    /// The outcome is damaged or out of reach.
    #[error("read outcome '{outcome}'")]
    Outcome {
        /// The outcome.
        outcome: SessionId,
        /// Why not.
        source: Box<ObjectError>,
    },
    /// A chunk is damaged or out of reach in every pack that holds it.
    #[error("read chunk '{chunk}'")]
    Chunk {
        /// The chunk.
        chunk: ChunkId,
        /// Why not.
        source: Box<ObjectError>,
    },
    /// Where a chunk lies cannot be looked up.
    #[error("look up chunk '{chunk}'")]
    LookUp {
        /// The chunk.
        chunk: ChunkId,
        /// Why not.
        source: IndexCacheError,
    },
    /// No index object knows the chunk.
    #[error("no index object says where chunk '{chunk}' lies: one is lost")]
    UnknownChunk {
        /// The chunk.
        chunk: ChunkId,
    },
    /// No readable index object knows the chunk.
    #[error("no index object says where chunk '{chunk}' lies, and one cannot be read")]
    DamagedIndex {
        /// The chunk.
        chunk: ChunkId,
        /// The first that cannot be read.
        source: Arc<ObjectError>,
    },
    /// A node of the stream's tree is no list of chunks.
    #[error("chunk '{chunk}' is not the tree node that it should be")]
    Node {
        /// The node.
        chunk: ChunkId,
        /// What is wrong.
        source: DecodeError,
    },
}

impl Classified for ReadError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Retired { .. } | Self::NotCommitted { .. } | Self::MissingOutcome { .. } => {
                ErrorClass::NotFound
            }
            Self::Outcome { source, .. } | Self::Chunk { source, .. } => source.class(),
            Self::LookUp { source, .. } => source.class(),
            Self::UnknownChunk { .. } | Self::DamagedIndex { .. } => ErrorClass::Corrupt,
            Self::Node { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Retired { .. } => "repository.outcome.retired",
            Self::NotCommitted { .. } => "repository.outcome.not_committed",
            Self::MissingOutcome { .. } => "repository.outcome.missing",
            Self::Outcome { source, .. } | Self::Chunk { source, .. } => source.code(),
            Self::LookUp { source, .. } => source.code(),
            Self::UnknownChunk { .. } => "repository.index.lost",
            Self::DamagedIndex { .. } => "repository.index.damaged",
            Self::Node { source, .. } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Outcome { source, .. } | Self::Chunk { source, .. } => source.hint(),
            Self::LookUp { source, .. } => source.hint(),
            Self::UnknownChunk { .. } | Self::DamagedIndex { .. } => {
                Some("verify the repository: it names what is lost and which outcomes need it".to_owned())
            }
            Self::MissingOutcome { .. } => {
                Some("list the repository's outcomes: others may still be there".to_owned())
            }
            Self::Retired { .. } | Self::NotCommitted { .. } | Self::Node { .. } => None,
        }
    }
}

/// Reads while pruning waits.
pub struct Reader {
    pub(crate) core: Arc<Core>,
    pub(crate) index: Arc<Index>,
    marker: Option<Arc<SessionMarker>>,
    /// What is named in `retired/`; whether an owner has stated it is looked up when it matters.
    retired: HashMap<SessionId, Option<VersionId>>,
}

impl Reader {
    /// Announces itself first, then looks at the index and at what was retired.
    pub(crate) async fn begin(
        core: &Arc<Core>,
        local: &Arc<LocalIndex>,
        new: Option<NewSession>,
    ) -> Result<Self, SessionError> {
        let marker = match new {
            Some(new) => Some(SessionMarker::announce(core, new).await?),
            None => None,
        };
        let index =
            crate::index::refresh(core, local).await.map_err(|source| SessionError::LoadIndex { source })?;
        let folder = core.paths.join(crate::paths::RETIRED);
        let retired = list_retired_ids(core).await.map_err(|source| SessionError::List { folder, source })?;
        let retired = retired.into_iter().collect();
        Ok(Self { core: Arc::clone(core), index, marker, retired })
    }

    /// Its session's id, if it was announced.
    pub fn id(&self) -> Option<SessionId> {
        self.marker.as_ref().map(|marker| marker.id())
    }

    /// Its stated life, to be renewed while it reads, if it was announced.
    pub fn life(&self) -> Option<SessionLife> {
        self.marker.as_ref().map(SessionLife::of)
    }

    /// Reads a committed outcome that was not retired when the reader began.
    pub async fn outcome(&self, id: SessionId) -> Result<Outcome, ReadError> {
        if let Some(version) = self.retired.get(&id) {
            let found = find_retirement(&self.core, id, version.clone()).await;
            let found =
                found.map_err(|source| ReadError::Outcome { outcome: id, source: Box::new(source) })?;
            if found.stated().is_some() {
                return Err(ReadError::Retired { outcome: id });
            }
        }
        let outcome = fetch_outcome(&self.core, id, None).await.map_err(|source| match source {
            ObjectError::Missing { path, .. } => ReadError::MissingOutcome { path },
            source => ReadError::Outcome { outcome: id, source: Box::new(source) },
        })?;
        match outcome.result() {
            SessionResult::Committed => Ok(outcome),
            SessionResult::Done | SessionResult::Aborted => Err(ReadError::NotCommitted { outcome: id }),
        }
    }

    /// The outcomes that an owner has retired, and what else lies in `retired/`.
    pub(crate) async fn judge_retired(&self) -> Result<(HashSet<SessionId>, Vec<StorePath>), ObjectError> {
        let (mut stated, mut strangers) = (HashSet::new(), Vec::new());
        for (id, version) in &self.retired {
            match find_retirement(&self.core, *id, version.clone()).await? {
                FoundRetirement::Stated(_) => drop(stated.insert(*id)),
                FoundRetirement::Stranger => strangers.push(self.core.paths.retired(*id)),
                FoundRetirement::Gone => {}
            }
        }
        Ok((stated, strangers))
    }

    /// Gives a stream's bytes in order and in flat memory. Every byte was authenticated and compared with its
    /// chunk's id; after an error nothing more comes.
    pub fn read(&self, reference: &StreamRef) -> impl Stream<Item = Result<Bytes, ReadError>> + Send + use<> {
        let chunks = ChunkReader::new(&self.core, &self.index);
        plan::plan_groups(chunks.clone(), reference)
            .map_ok(move |group| {
                let chunks = chunks.clone();
                async move { chunks.fetch_group(group).await }
            })
            .try_buffered(READS_IN_FLIGHT)
            .map_ok(|group| stream::iter(group.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Records that it is done, so that maintenance need not wait for its stated life to pass.
    pub async fn finish(self, now: Timestamp) -> Result<(), SessionError> {
        match self.marker {
            Some(marker) => marker.end(SessionResult::Done, now).await,
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({})", self.core.paths.root().as_str())
    }
}
