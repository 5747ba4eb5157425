//! `Limit`: so many calls at a time, and so many bytes a second.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::{
    Capabilities, ListPage, Listing, ObjectMeta, PutOptions, Read, Store, StoreError, StorePath, VersionId,
    VersionListing, VersionPage, VersionScope, Written,
};

/// What a store is not asked beyond.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls that may run at a time; others wait.
    pub calls_max: NonZeroUsize,
    /// Of objects' bytes, both ways together; without it as fast as it goes.
    pub bytes_per_second_max: Option<NonZeroU64>,
}

/// A store that is not asked too much at once.
#[derive(Debug, Clone)]
pub struct Limit {
    inner: Arc<dyn Store>,
    calls: Arc<Semaphore>,
    pace: Option<Arc<Pace>>,
}

impl Limit {
    /// Around `inner`.
    pub fn new(inner: Arc<dyn Store>, limits: Limits) -> Self {
        let pace = limits.bytes_per_second_max.map(|bytes_per_second| {
            Arc::new(Pace { bytes_per_second, free_from: Mutex::new(Instant::now()) })
        });
        Self { inner, calls: Arc::new(Semaphore::new(limits.calls_max.get())), pace }
    }

    async fn within<T>(&self, work: impl Future<Output = T>) -> T {
        // The semaphore is never closed, so that the permit is always there.
        let _permit = self.calls.acquire().await;
        work.await
    }

    async fn pay(&self, bytes: u64) {
        if let Some(pace) = &self.pace {
            pace.pay(bytes).await;
        }
    }
}

/// Bytes are paid for in time: each payment begins when those before it are through.
#[derive(Debug)]
struct Pace {
    bytes_per_second: NonZeroU64,
    free_from: Mutex<Instant>,
}

impl Pace {
    async fn pay(&self, bytes: u64) {
        tokio::time::sleep_until(self.book(bytes)).await;
    }

    fn book(&self, bytes: u64) -> Instant {
        let price = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64);
        let mut free_from = self.free_from.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*free_from).max(Instant::now());
        *free_from = begin + price;
        *free_from
    }
}

#[async_trait]
impl Store for Limit {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        let bytes = body.len() as u64;
        let work = async {
            self.pay(bytes).await;
            self.inner.put(path, body, options).await
        };
        self.within(work).await
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        let work = async {
            let body = self.inner.fetch(path, read).await?;
            self.pay(body.len() as u64).await;
            Ok(body)
        };
        self.within(work).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        self.within(self.inner.head(path, version)).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        self.within(self.inner.list(folder, page)).await
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.within(self.inner.list_folders(folder)).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        self.within(self.inner.list_versions(scope, page)).await
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        self.within(self.inner.delete(path, version)).await
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.within(self.inner.extend_retention(path, version, until)).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.within(self.inner.time()).await
    }

    async fn sweep(&self, beneath: &StorePath, written_before: Timestamp) -> Result<u64, StoreError> {
        self.within(self.inner.sweep(beneath, written_before)).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn location(&self) -> &str {
        self.inner.location()
    }
}
