//! Stores that take a rule of the protocol out of the code above them, by answering what is not so.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use keelson_store::{
    Capabilities, ListPage, Listing, ObjectMeta, Operation, PutOptions, Read, Store, StoreError, StorePath,
    VersionId, VersionListing, VersionPage, VersionScope, Written,
};

use crate::world::*;

/// Which rule is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// A session is announced only after marks and index were listed.
    AnnounceLate,
    /// There never is a mark.
    HideMarks,
    /// Nothing commits after the first look at the outcomes.
    FreezeOutcomes,
    /// There never is a session.
    HideSessions,
    /// The outcome that ends a session replaces whatever is there.
    OverwriteOutcomes,
    /// There never is a verdict, and ours always wins.
    HideVerdicts,
    /// Nothing was ever retired.
    HideRetired,
}

#[derive(Debug)]
pub(super) struct Liar {
    inner: Arc<dyn Store>,
    lie: Lie,
    held_back: Mutex<Option<(StorePath, Bytes, PutOptions)>>,
    frozen: Mutex<Option<Vec<StorePath>>>,
}

impl Liar {
    pub(super) fn new(inner: Arc<dyn Store>, lie: Lie) -> Self {
        Self { inner, lie, held_back: Mutex::default(), frozen: Mutex::default() }
    }

    fn lies(&self, lie: Lie, path: &StorePath, folder: &str) -> bool {
        let folder = root().join(folder).unwrap();
        self.lie == lie && (*path == folder || path.strip_prefix(&folder).is_some())
    }

    async fn announce(&self) -> Result<(), StoreError> {
        let held_back = self.held_back.lock().unwrap().take();
        match held_back {
            Some((path, body, options)) => self.inner.put(&path, body, options).await.map(drop),
            None => Ok(()),
        }
    }
}

fn written() -> Written {
    Written { version: None, stored_at: now() }
}

#[async_trait]
impl Store for Liar {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        if self.lies(Lie::AnnounceLate, path, "sessions") {
            *self.held_back.lock().unwrap() = Some((path.clone(), body, options));
            return Ok(written());
        }
        self.announce().await?;
        if self.lies(Lie::OverwriteOutcomes, path, "outcomes") {
            return self.inner.put(path, body, PutOptions::overwrite()).await;
        }
        match self.inner.put(path, body, options).await {
            Err(StoreError::AlreadyExists { .. }) if self.lies(Lie::HideVerdicts, path, "verdicts") => {
                Ok(written())
            }
            answer => answer,
        }
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        if self.lies(Lie::HideVerdicts, path, "verdicts") {
            return Err(StoreError::NotFound { operation: Operation::Fetch, path: path.clone() });
        }
        self.inner.fetch(path, read).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        // A clock that is ahead makes it end the session; whether it has ended is not looked at.
        if self.lies(Lie::OverwriteOutcomes, path, "outcomes") {
            return Err(StoreError::NotFound { operation: Operation::Head, path: path.clone() });
        }
        self.inner.head(path, version).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        let mut listing = self.inner.list(folder, page).await?;
        let hidden = self.lies(Lie::HideMarks, folder, "marks")
            || self.lies(Lie::HideSessions, folder, "sessions")
            || self.lies(Lie::HideVerdicts, folder, "verdicts")
            || self.lies(Lie::HideRetired, folder, "retired");
        if hidden {
            listing.objects.clear();
        }
        if self.lies(Lie::FreezeOutcomes, folder, "outcomes") {
            let mut frozen = self.frozen.lock().unwrap();
            let names = || listing.objects.iter().map(|object| object.path.clone()).collect();
            let known = frozen.get_or_insert_with(names);
            listing.objects.retain(|object| known.contains(&object.path));
        }
        if *folder == root().join("index").unwrap() {
            self.announce().await?;
        }
        Ok(listing)
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

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn location(&self) -> &str {
        self.inner.location()
    }
}
