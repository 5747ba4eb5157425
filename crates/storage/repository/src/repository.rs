//! `Repository<Locked>` → `Repository<Open>` → `Repository<Indexed>`: what can be done follows from what is at hand.

mod create;
mod grant;
mod slots;
mod unlock;
mod usage;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use keelson_crypto::{Keyring, ObjectKind, SealObjectError, SealedObject, Sealer, Slot, VaultKeyring};
use keelson_model::{ChunkId, RepositoryId, SessionId};
use keelson_store::{Store, StoreError, StoreExt, StorePath};

pub use create::{CreateRepositoryError, NewRepository};
pub use grant::GrantError;
pub use unlock::{OpenRepositoryError, Unlock};
pub use usage::{Counted, Usage};

use crate::core::Core;
use crate::format::outcome_record::SessionResult;
use crate::index::{Index, IndexCache, IndexCacheError, LoadIndexError, LocalIndex, refresh};
use crate::limits::OUTCOME_READS_IN_FLIGHT;
use crate::object::{ObjectError, offload};
use crate::outcome::{Outcome, fetch_outcome};
use crate::paths::{self, Paths};
use crate::read::Reader;
use crate::session::{NewSession, Session, SessionError};

/// A repository in a folder of a store.
pub struct Repository<S> {
    state: S,
}

/// Only its place is known.
pub struct Locked {
    store: Arc<dyn Store>,
    paths: Paths,
    index_cache: IndexCache,
}

/// Its keys are at hand.
pub struct Open {
    core: Arc<Core>,
}

/// Its index was loaded; every session and reader brings it up to date. What an open one can, it can too.
pub struct Indexed {
    open: Repository<Open>,
    index: Arc<LocalIndex>,
}

impl Deref for Repository<Indexed> {
    type Target = Repository<Open>;

    fn deref(&self) -> &Repository<Open> {
        &self.state.open
    }
}

impl Repository<Locked> {
    /// Names a repository. Nothing is read yet.
    ///
    /// # Errors
    ///
    /// `NameObject` if the root leaves no room for the names of objects.
    pub fn at(store: Arc<dyn Store>, root: StorePath) -> Result<Self, StoreError> {
        let (paths, index_cache) = (Paths::new(root)?, IndexCache::temporary());
        Ok(Self { state: Locked { store, paths, index_cache } })
    }

    /// Says where the local copy of its index is kept. Without this it lasts as long as the repository is in use.
    #[must_use]
    pub fn indexed_in(mut self, cache: &IndexCache) -> Self {
        self.state.index_cache = cache.clone();
        self
    }

    /// Its folder.
    pub fn root(&self) -> &StorePath {
        self.state.paths.root()
    }
}

impl Repository<Open> {
    pub(crate) fn opened(core: Core) -> Self {
        Self { state: Open { core: Arc::new(core) } }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.state.core
    }

    /// Its id.
    pub fn id(&self) -> RepositoryId {
        self.core().summary.id
    }

    /// Its folder.
    pub fn root(&self) -> &StorePath {
        self.core().paths.root()
    }

    /// Its store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core().store
    }

    /// The vault keys that opened it, and all older ones.
    pub fn vault_keys(&self) -> &VaultKeyring {
        &self.core().vault
    }

    /// The slot that the passphrase opened; none where vault keys did.
    pub fn opened_slot(&self) -> Option<&Slot> {
        self.core().slot.as_ref()
    }

    /// Whether the newest key that may be ours is at hand: without it nothing can be written.
    pub fn holds_newest_key(&self) -> bool {
        self.keyring().newest().number() == self.core().newest_key
    }

    /// Whether a key lies there that is newer than those at hand. Then these may be old ones; or somebody without any
    /// put it there.
    pub fn names_newer_key(&self) -> bool {
        self.keyring().newest().number() < self.newest_key_named()
    }

    /// The number of the newest key that lies there, whoever wrote it.
    pub fn newest_key_named(&self) -> u32 {
        self.core().newest_named
    }

    /// Objects among its keys and slots that somebody else put there: they count for nothing and tell of tampering.
    pub fn strangers(&self) -> &[StorePath] {
        &self.core().strangers
    }

    /// Its data keys.
    pub fn keyring(&self) -> &Keyring {
        &self.core().keys
    }

    /// Seals an object that lies beside the repository, under its newest key.
    pub fn seal(
        &self,
        kind: ObjectKind,
        parts: &[&[u8]],
        directory: &[u8],
    ) -> Result<SealedObject, SealObjectError> {
        let mut sealer = Sealer::new(self.keyring().newest(), kind);
        for part in parts {
            sealer.part(part)?;
        }
        sealer.finish(directory)
    }

    /// Removes what processes that died have left beneath it, last written this long ago by the store's clock.
    pub async fn sweep(&self, age: SignedDuration) -> Result<u64, StoreError> {
        let core = self.core();
        let written_before = core.store.time().await?.saturating_sub(age).unwrap_or(Timestamp::MIN);
        core.store.sweep(core.paths.root(), written_before).await
    }

    /// Names every outcome, of whatever result, retired or not.
    pub async fn list_outcomes(&self) -> Result<Vec<SessionId>, StoreError> {
        let folder = self.core().paths.join(paths::OUTCOMES);
        let mut objects = self.core().store.stream(&folder);
        let mut ids = Vec::new();
        while let Some(object) = objects.next().await {
            ids.extend(paths::parse_name::<SessionId>(&object?.path));
        }
        Ok(ids)
    }

    /// Reads one outcome of any result, retired or not. Its absence is `ObjectError::Missing`.
    pub async fn fetch_outcome(&self, id: SessionId) -> Result<Outcome, ObjectError> {
        fetch_outcome(self.core(), id, None).await
    }

    /// Reads all committed outcomes but repacks, several at a time and in no order. One that is damaged is an error among the
    /// others, not their end.
    pub fn committed_outcomes(
        &self,
        ids: Vec<SessionId>,
    ) -> impl Stream<Item = Result<Outcome, ObjectError>> + Send + use<> {
        let core = Arc::clone(self.core());
        stream::iter(ids)
            .map(move |id| {
                let core = Arc::clone(&core);
                async move { fetch_outcome(&core, id, None).await }
            })
            .buffer_unordered(OUTCOME_READS_IN_FLIGHT)
            .filter(|outcome| {
                let holds_streams = outcome.as_ref().map_or(true, |outcome| {
                    outcome.result() == SessionResult::Committed && !outcome.is_repack()
                });
                std::future::ready(holds_streams)
            })
    }

    /// Loads the index, as far as it is not on this machine. Index objects that are damaged are skipped with a
    /// warning; verification names them.
    pub async fn load_index(&self) -> Result<Repository<Indexed>, LoadIndexError> {
        let (cache, id) = (self.core().index_cache.clone(), self.id());
        let index = offload(move || cache.local(id)).await;
        let index = index.map_err(|source| LoadIndexError::Local { source })?;
        refresh(self.core(), &index).await?;
        Ok(Repository { state: Indexed { open: self.clone(), index } })
    }
}

impl Repository<Indexed> {
    /// Begins a writer's session.
    pub async fn begin(&self, new: NewSession) -> Result<Session, SessionError> {
        Session::begin(self.core(), &self.state.index, new).await
    }

    /// Begins a reader's session.
    pub async fn begin_reading(&self, new: NewSession) -> Result<Reader, SessionError> {
        Reader::begin(self.core(), &self.state.index, Some(new)).await
    }

    /// Begins to read without announcing it: for locations that cannot be written. Maintenance does not wait for
    /// such a reader, which may then find packs missing.
    pub async fn begin_reading_unannounced(&self) -> Result<Reader, SessionError> {
        Reader::begin(self.core(), &self.state.index, None).await
    }

    #[cfg(test)]
    pub(crate) fn local(&self) -> &LocalIndex {
        &self.state.index
    }

    /// The index as it is now.
    pub(crate) async fn refreshed_index(&self) -> Result<Arc<Index>, LoadIndexError> {
        refresh(self.core(), &self.state.index).await
    }

    /// Which of these chunks some index object has a place for, as of the last session that began.
    pub async fn known_chunks(&self, ids: Vec<ChunkId>) -> Result<Vec<bool>, IndexCacheError> {
        let index = self.state.index.current();
        offload(move || ids.iter().map(|id| index.find(id).map(|places| !places.is_empty())).collect()).await
    }
}

impl Clone for Repository<Open> {
    fn clone(&self) -> Self {
        Self { state: Open { core: Arc::clone(self.core()) } }
    }
}

impl fmt::Debug for Repository<Locked> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository<Locked>({})", self.root().as_str())
    }
}

impl fmt::Debug for Repository<Open> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository<Open>({}, {})", self.id(), self.root().as_str())
    }
}

impl fmt::Debug for Repository<Indexed> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository<Indexed>({}, {})", self.id(), self.root().as_str())
    }
}
