//! Stores that take a rule of taking over out of the code above them, by answering what is not so.

use async_trait::async_trait;
use keelson_store::{
    Capabilities, ListPage, Listing, ObjectMeta, PutOptions, Read, StorePath, VersionId, VersionListing,
    VersionPage, VersionScope, Written,
};

use super::*;

/// Which rule is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Nobody claims anything after the first look at the claims, which comes before retirements are listed.
    FreezeClaims,
    /// What was retired is listed before the claim is put.
    ListBeforeClaim,
    /// The first list is told to be created, and is not: its owner dies before.
    JudgeBeforeList,
    /// A list that is there is told to be the one that was to be created.
    OverlookList,
}

#[derive(Debug)]
pub(super) struct Liar {
    inner: Arc<dyn Store>,
    lie: Lie,
    /// The names of claims when they were first listed.
    claims: Mutex<Option<Vec<StorePath>>>,
    retired: Mutex<Option<Listing>>,
    has_judged: Mutex<bool>,
}

impl Liar {
    pub(super) fn new(inner: Arc<dyn Store>, lie: Lie) -> Self {
        Self { inner, lie, claims: Mutex::default(), retired: Mutex::default(), has_judged: Mutex::default() }
    }
}

fn is_claim(path: &StorePath) -> bool {
    path.as_str().contains("/epochs/") && !is_list(path)
}

fn is_list(path: &StorePath) -> bool {
    path.name().ends_with(RETIRED_SUFFIX)
}

fn is_retired(folder: &StorePath) -> bool {
    folder.name() == "retired"
}

fn written() -> Written {
    Written { version: None, stored_at: Timestamp::UNIX_EPOCH }
}

#[async_trait]
impl Store for Liar {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        if self.lie == Lie::ListBeforeClaim && is_claim(path) {
            let folder = handover::repository_root().join("retired").unwrap();
            let listing = self.inner.list(&folder, &ListPage::first()).await?;
            *self.retired.lock().unwrap() = Some(listing);
        }
        if self.lie == Lie::JudgeBeforeList
            && is_list(path)
            && !std::mem::replace(&mut *self.has_judged.lock().unwrap(), true)
        {
            return Ok(written());
        }
        match self.inner.put(path, body, options).await {
            Err(StoreError::AlreadyExists { .. }) if self.lie == Lie::OverlookList && is_list(path) => {
                Ok(written())
            }
            answer => answer,
        }
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        self.inner.fetch(path, read).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        self.inner.head(path, version).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        let mut listing = self.inner.list(folder, page).await?;
        if is_retired(folder)
            && let Some(before) = self.retired.lock().unwrap().take()
        {
            return Ok(before);
        }
        if self.lie == Lie::FreezeClaims && folder.as_str().contains("/epochs/") {
            let mut claims = self.claims.lock().unwrap();
            let names = || listing.objects.iter().map(|object| object.path.clone()).collect();
            let known = claims.get_or_insert_with(names);
            listing.objects.retain(|object| known.contains(&object.path));
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
