//! `FilesystemStore`: a directory, local or a mounted share, as a store.
//!
//! Needs a file system with hard links: linking is the one way to give a finished file its name without replacing
//! another that also works over NFS and SMB. Without links it can be read but not written. Keeps no versions and
//! enforces no retention. What a share asks of its mount is in `docs/operations/shares.md`.

mod fault;
mod folder;
mod mount;
mod pool;
mod read;
mod sweep;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use self::folder::FolderMaker;
#[cfg(any(test, fuzzing))]
pub(crate) use self::mount::withstand_mounts;
use self::pool::{Call, Pool};
use crate::{
    ByteRange, Capabilities, Feature, ListPage, Listing, OBJECT_BYTES_MAX, ObjectMeta, Operation, PutOptions,
    Read, Store, StoreError, StorePath, VersionId, VersionListing, VersionPage, VersionScope, Written,
};

/// Objects as files beneath a directory. Clones share one pool of threads.
#[derive(Debug, Clone)]
pub struct FilesystemStore {
    root: Arc<Path>,
    location: Arc<str>,
    pool: Arc<Pool>,
    folders: Arc<FolderMaker>,
    listing_delay: Duration,
}

impl FilesystemStore {
    /// Opens a directory that is there already: one that is made on the fly may hide a share that is not mounted.
    ///
    /// # Errors
    ///
    /// `MissingLocation` if there is no such directory, `Forbidden` if it cannot be read, `Unanswered` if the share
    /// hangs.
    pub async fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root: Arc<Path> = directory.into().into();
        let location = root.display().to_string().into();
        let (pool, folders, listing_delay) = (Arc::new(Pool::new()), Arc::default(), Duration::ZERO);
        let mut store = Self { root, location, pool, folders, listing_delay };
        let look = |call: &Call, root: &Path, _: &FolderMaker| {
            folder::open_root(call, root).map(|directory| mount::listing_delay(&directory))
        };
        store.listing_delay = store.run(Operation::Connect, &StorePath::root(), 0, look).await?;
        Ok(store)
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        path: &StorePath,
        bytes: u64,
        work: impl FnOnce(&Call, &Path, &FolderMaker) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let call = Call { operation, path: path.clone(), location: Arc::clone(&self.location) };
        let (root, folders) = (Arc::clone(&self.root), Arc::clone(&self.folders));
        self.pool.run(call, bytes, move |call| work(call, &root, &folders)).await
    }

    fn lacks(&self, operation: Operation, feature: Feature) -> StoreError {
        StoreError::Unsupported { operation, location: self.location.to_string(), feature }
    }
}

#[async_trait]
impl Store for FilesystemStore {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        let length = body.len() as u64;
        if length > OBJECT_BYTES_MAX {
            let (operation, path, limit) = (Operation::Put, path.clone(), OBJECT_BYTES_MAX);
            return Err(StoreError::TooLarge { operation, path, length, limit });
        }
        if options.retain_until.is_some() {
            return Err(self.lacks(Operation::Put, Feature::ObjectLock));
        }
        self.run(Operation::Put, path, length, move |call, root, folders| {
            write::write(call, root, folders, &body, options.mode)
        })
        .await
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        let bytes = match read.range {
            ByteRange::All => OBJECT_BYTES_MAX,
            ByteRange::Span { length, .. } | ByteRange::Last(length) => length.min(OBJECT_BYTES_MAX),
        };
        self.run(Operation::Fetch, path, bytes, move |call, root, _| read::read(call, root, read.range)).await
    }

    async fn head(&self, path: &StorePath, _version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        self.run(Operation::Head, path, 0, |call, root, _| read::describe(call, root)).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        let page = page.clone();
        self.run(Operation::List, folder, 0, move |call, root, _| read::list(call, root, &page)).await
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.run(Operation::List, folder, 0, |call, root, _| read::list_folders(call, root)).await
    }

    async fn list_versions(
        &self,
        _scope: &VersionScope,
        _page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        Err(self.lacks(Operation::ListVersions, Feature::Versions))
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        if version.is_some() {
            return Err(self.lacks(Operation::Delete, Feature::Versions));
        }
        self.run(Operation::Delete, path, 0, |call, root, _| write::delete(call, root)).await
    }

    async fn extend_retention(
        &self,
        _path: &StorePath,
        _version: Option<&VersionId>,
        _until: Timestamp,
    ) -> Result<(), StoreError> {
        Err(self.lacks(Operation::ExtendRetention, Feature::ObjectLock))
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.run(Operation::ReadTime, &StorePath::root(), 0, |call, root, _| write::read_time(call, root))
            .await
    }

    async fn sweep(&self, beneath: &StorePath, written_before: Timestamp) -> Result<u64, StoreError> {
        let folder = beneath.clone();
        self.run(Operation::Delete, beneath, 0, move |call, root, _| {
            sweep::sweep(call, root, folder, written_before)
        })
        .await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            conditional_create: true,
            overwrite: true,
            versions: false,
            object_lock: false,
            expires_versions: false,
            retention: None,
            listing_delay: self.listing_delay,
        }
    }

    fn location(&self) -> &str {
        &self.location
    }
}

/// When a file was last written. What no calendar can hold counts as the epoch.
fn timestamp(stat: &rustix::fs::Stat) -> Timestamp {
    Timestamp::new(stat.st_mtime, stat.st_mtime_nsec as i32).unwrap_or(Timestamp::UNIX_EPOCH)
}
