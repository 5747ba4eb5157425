//! Where local copies of indexes are kept, and the one copy that a process has of each repository's.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use keelson_model::{PackId, RepositoryId};

use super::folder::Folder;
use super::layer::{Layer, Rows};
use super::merge::{Sizes, Workplace};
use super::pages::Pages;
use super::roll::Roll;
use super::{Index, IndexCacheError};
use crate::limits::INDEX_FILTER_BYTES;

const LOCK: &str = "LOCK";

/// A folder for local copies of indexes, and the memory that they share. Clones are the same one.
///
/// Guarantees: nothing in it is ever relied upon. What is damaged, torn, of another repository or out of date is
/// noticed and made again from the location; losing the folder costs the time to load the indexes once.
#[derive(Clone)]
pub struct IndexCache {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` for one that leaves nothing behind.
    folder: Option<PathBuf>,
    pages: Arc<Pages>,
    open: Mutex<HashMap<RepositoryId, Weak<LocalIndex>>>,
    lost: Mutex<HashSet<PackId>>,
    /// The lock belongs to this open file.
    _lock: Option<File>,
}

impl IndexCache {
    /// Uses a folder, which is made if it is absent. No other process may use it at the same time.
    pub fn open(folder: &Path) -> Result<Self, IndexCacheError> {
        let fail = |source| IndexCacheError::Folder { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK));
        let lock = lock.map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self::new(Some(folder.to_owned()), Some(lock))),
            Err(TryLockError::WouldBlock) => Err(IndexCacheError::Locked { path: folder.to_owned() }),
            Err(TryLockError::Error(source)) => Err(fail(source)),
        }
    }

    /// Leaves nothing behind. Indexes that are too large for memory use the system's folder for temporary files.
    pub fn temporary() -> Self {
        Self::new(None, None)
    }

    fn new(folder: Option<PathBuf>, lock: Option<File>) -> Self {
        let pages = Arc::new(Pages::new(INDEX_FILTER_BYTES));
        let (open, lost) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { folder, pages, open, lost, _lock: lock }) }
    }

    /// Packs that an index names and that were not there when somebody relied on them.
    pub(crate) fn note_lost(&self, packs: impl IntoIterator<Item = PackId>) {
        self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner).extend(packs);
    }

    /// Those that this process has met. Another one meets them again.
    pub(crate) fn lost(&self) -> HashSet<PackId> {
        self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process's copy of a repository's index, as far as it was kept. Reads the disk.
    pub(crate) fn local(&self, repository: RepositoryId) -> Result<Arc<LocalIndex>, IndexCacheError> {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = open.get(&repository).and_then(Weak::upgrade) {
            return Ok(local);
        }
        let folder = match &self.shared.folder {
            Some(folder) => Folder::kept(folder.join(repository.to_string())),
            None => Folder::temporary(),
        };
        let (folder, pages) = (Arc::new(folder), Arc::clone(&self.shared.pages));
        let sizes = Sizes::default();
        let local = Arc::new(LocalIndex::open(Workplace { folder, pages, repository, sizes })?);
        open.retain(|_, local| local.strong_count() > 0);
        open.insert(repository, Arc::downgrade(&local));
        Ok(local)
    }
}

impl Default for IndexCache {
    fn default() -> Self {
        Self::temporary()
    }
}

impl fmt::Debug for IndexCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexCache({:?})", self.shared.folder)
    }
}

/// A repository's index on this machine: its newest state, and where the next one is made.
#[derive(Debug)]
pub(crate) struct LocalIndex {
    workplace: Workplace,
    current: Mutex<Arc<Index>>,
    /// Held from listing the store to the new state.
    pub(super) refreshing: Arc<tokio::sync::Mutex<()>>,
}

impl LocalIndex {
    /// Takes up what is whole. Of an index object that two rolls hold, which a kill in a merge leaves, one is passed
    /// over.
    pub(super) fn open(workplace: Workplace) -> Result<Self, IndexCacheError> {
        let mut rolls = Vec::new();
        for (path, file) in workplace.folder.find_rolls()? {
            match Roll::open(file, path.clone(), workplace.repository, &workplace.pages) {
                Some(roll) => rolls.push(Layer::disk(roll)),
                None => {
                    tracing::info!(path = %path.display(), "local copy of an index is of no use and was removed");
                    let _ = std::fs::remove_file(path);
                }
            }
        }
        rolls.sort_by_key(|layer| std::cmp::Reverse(layer.rows()));
        let mut layers = Vec::with_capacity(rolls.len());
        let mut known = HashSet::new();
        for layer in rolls {
            let layer = layer.without(|source| !known.insert(source.id));
            if layer.live_sources().next().is_some() {
                layers.push(layer);
            } else {
                layer.set_transient(true);
            }
        }
        let current = Mutex::new(Arc::new(Index::new(layers, Vec::new())));
        Ok(Self { workplace, current, refreshing: Arc::default() })
    }

    pub(crate) fn current(&self) -> Arc<Index> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn workplace(&self) -> &Workplace {
        &self.workplace
    }

    /// Makes `next` the newest state. The files that it does without go when nobody reads them any more.
    pub(super) fn install(&self, next: Index) -> Arc<Index> {
        let next = Arc::new(next);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in &current.layers {
            layer.set_transient(true);
        }
        for layer in &next.layers {
            layer.set_transient(false);
        }
        *current = Arc::clone(&next);
        next
    }
}

impl Layer {
    fn set_transient(&self, transient: bool) {
        match &self.body {
            Rows::Memory(_) => {}
            Rows::Disk(roll) => roll.file.set_transient(transient),
        }
    }
}
