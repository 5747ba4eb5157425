//! `Retained`: whatever is created stays for a period, counted from the store's own time. No writer has to think of it,
//! and none can forget it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    Capabilities, ListPage, Listing, ObjectMeta, PutOptions, RETENTION_MARGIN, Read, Store, StoreError,
    StorePath, VersionId, VersionListing, VersionPage, VersionScope, Written,
};

/// So long the store's time is carried on by ours before it is asked again.
const CLOCK_FRESH: Duration = Duration::from_secs(300);

/// A store whose objects are locked when they are created. Where the store enforces no retention, creating fails and
/// reading goes on.
#[derive(Debug, Clone)]
pub struct Retained {
    inner: Arc<dyn Store>,
    retention: Duration,
    clock: Arc<Mutex<Option<(Timestamp, Instant)>>>,
}

impl Retained {
    /// Keeps every object for `period` and [`RETENTION_MARGIN`].
    pub fn new(inner: Arc<dyn Store>, period: Duration) -> Self {
        Self { inner, retention: period.saturating_add(RETENTION_MARGIN), clock: Arc::default() }
    }

    async fn until(&self) -> Result<Timestamp, StoreError> {
        let known = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.filter(|(_, asked)| asked.elapsed() < CLOCK_FRESH);
        let (time, asked) = match known {
            Some(known) => known,
            None => {
                let fresh = (self.inner.time().await?, Instant::now());
                *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
                fresh
            }
        };
        // Servers keep whole seconds.
        let elapsed = Duration::from_secs(asked.elapsed().as_secs());
        Ok(time.saturating_add(elapsed + self.retention).unwrap_or(Timestamp::MAX))
    }
}

#[async_trait]
impl Store for Retained {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        let until = options.retain_until.max(Some(self.until().await?));
        self.inner.put(path, body, options.retained(until)).await
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        self.inner.fetch(path, read).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        self.inner.head(path, version).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        self.inner.list(folder, page).await
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.inner.list_folders(folder).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        self.inner.list_versions(scope, page).await
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        self.inner.delete(path, version).await
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner.extend_retention(path, version, until).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time().await
    }

    async fn sweep(&self, beneath: &StorePath, written_before: Timestamp) -> Result<u64, StoreError> {
        self.inner.sweep(beneath, written_before).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { retention: Some(self.retention), ..self.inner.capabilities() }
    }

    fn location(&self) -> &str {
        self.inner.location()
    }
}
