//! `Meter`: counts what a store is asked, so that tests hold budgets and metrics show costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    Capabilities, ListPage, Listing, ObjectMeta, PutOptions, Read, Store, StoreError, StorePath, VersionId,
    VersionListing, VersionPage, VersionScope, Written,
};

/// What was asked so far. Calls count when they begin, bytes when they have come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "named after the methods")]
pub struct Tally {
    pub puts: u64,
    pub fetches: u64,
    pub heads: u64,
    pub lists: u64,
    pub folder_lists: u64,
    pub version_lists: u64,
    pub deletes: u64,
    pub extensions: u64,
    pub times: u64,
    pub errors: u64,
    pub bytes_put: u64,
    pub bytes_fetched: u64,
}

/// A store that counts. Clones share their counters.
#[derive(Debug, Clone)]
pub struct Meter {
    inner: Arc<dyn Store>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    puts: AtomicU64,
    fetches: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    folder_lists: AtomicU64,
    version_lists: AtomicU64,
    deletes: AtomicU64,
    extensions: AtomicU64,
    times: AtomicU64,
    errors: AtomicU64,
    bytes_put: AtomicU64,
    bytes_fetched: AtomicU64,
}

impl Meter {
    /// Around `inner`, from nought.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// The counters as they stand.
    pub fn tally(&self) -> Tally {
        let Counters {
            puts,
            fetches,
            heads,
            lists,
            folder_lists,
            version_lists,
            deletes,
            extensions,
            times,
            errors,
            bytes_put,
            bytes_fetched,
        } = &*self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally {
            puts: read(puts),
            fetches: read(fetches),
            heads: read(heads),
            lists: read(lists),
            folder_lists: read(folder_lists),
            version_lists: read(version_lists),
            deletes: read(deletes),
            extensions: read(extensions),
            times: read(times),
            errors: read(errors),
            bytes_put: read(bytes_put),
            bytes_fetched: read(bytes_fetched),
        }
    }

    async fn count<T>(
        &self,
        counter: &AtomicU64,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        counter.fetch_add(1, Ordering::Relaxed);
        let answer = work.await;
        if answer.is_err() {
            self.counters.errors.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

#[async_trait]
impl Store for Meter {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        let bytes = body.len() as u64;
        let written = self.count(&self.counters.puts, self.inner.put(path, body, options)).await?;
        self.counters.bytes_put.fetch_add(bytes, Ordering::Relaxed);
        Ok(written)
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        let body = self.count(&self.counters.fetches, self.inner.fetch(path, read)).await?;
        self.counters.bytes_fetched.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok(body)
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        self.count(&self.counters.heads, self.inner.head(path, version)).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        self.count(&self.counters.lists, self.inner.list(folder, page)).await
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.count(&self.counters.folder_lists, self.inner.list_folders(folder)).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        self.count(&self.counters.version_lists, self.inner.list_versions(scope, page)).await
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        self.count(&self.counters.deletes, self.inner.delete(path, version)).await
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.count(&self.counters.extensions, self.inner.extend_retention(path, version, until)).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.count(&self.counters.times, self.inner.time()).await
    }

    async fn sweep(&self, beneath: &StorePath, written_before: Timestamp) -> Result<u64, StoreError> {
        self.inner.sweep(beneath, written_before).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn location(&self) -> &str {
        self.inner.location()
    }
}
