//! `AsOf`: a store as it was at an instant. What was first written later is not there, whatever it says of itself.
//!
//! An object is its first version, so nothing has to be rebuilt: keys whose first version is older are seen, others are
//! not. What the owner removed for good since then is gone here too.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    Capabilities, Feature, ListPage, Listing, ObjectMeta, Operation, PutOptions, Read, Store, StoreError,
    StorePath, VersionId, VersionListing, VersionPage, VersionScope, Written,
};

/// A store of the past. Reads only. Times are the store's own.
#[derive(Debug, Clone)]
pub struct AsOf {
    inner: Arc<dyn Store>,
    instant: Timestamp,
    location: String,
}

impl AsOf {
    /// What `inner` held at `instant`.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the store keeps no versions: there nobody can tell what was overwritten since.
    pub fn new(inner: Arc<dyn Store>, instant: Timestamp) -> Result<Self, StoreError> {
        if !inner.capabilities().versions {
            return Err(StoreError::Unsupported {
                operation: Operation::ListVersions,
                location: inner.location().to_owned(),
                feature: Feature::Versions,
            });
        }
        let location = format!("{} as of {instant}", inner.location());
        Ok(Self { inner, instant, location })
    }

    fn was_there(&self, meta: &ObjectMeta) -> bool {
        meta.modified <= self.instant
    }

    fn refuse(&self, operation: Operation, path: &StorePath) -> StoreError {
        StoreError::ReadOnly {
            operation,
            path: path.clone(),
            location: self.location.clone(),
            source: "the past cannot be changed".into(),
        }
    }
}

#[async_trait]
impl Store for AsOf {
    async fn put(&self, path: &StorePath, _: Bytes, _: PutOptions) -> Result<Written, StoreError> {
        Err(self.refuse(Operation::Put, path))
    }

    /// A recorded version was named by an object that was there, so it was there as well.
    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        if read.version.is_some() {
            return self.inner.fetch(path, read).await;
        }
        let version = match self.head(path, None).await {
            Err(StoreError::NotFound { path, .. }) => {
                return Err(StoreError::NotFound { operation: Operation::Fetch, path });
            }
            head => head?.version,
        };
        self.inner.fetch(path, read.of_version(version)).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        let meta = self.inner.head(path, version).await?;
        match self.was_there(&meta) {
            true => Ok(meta),
            false => Err(StoreError::NotFound { operation: Operation::Head, path: path.clone() }),
        }
    }

    /// Goes on to the next page where a whole one is of later objects: an empty page would look like the end.
    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        let mut page = page.clone();
        loop {
            let Listing { mut objects, more } = self.inner.list(folder, &page).await?;
            let last = objects.last().map(|object| object.path.clone());
            objects.retain(|object| self.was_there(object));
            match last {
                Some(last) if more && objects.is_empty() => page.after = Some(last),
                _ => return Ok(Listing { objects, more }),
            }
        }
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for name in self.inner.list_folders(folder).await? {
            let child = folder.join(&name).map_err(|source| StoreError::NameObject { source })?;
            let first = self.list(&child, &ListPage::first()).await?;
            if !first.objects.is_empty() {
                names.push(name);
            }
        }
        Ok(names)
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        let mut listing = self.inner.list_versions(scope, page).await?;
        listing.versions.retain(|version| version.modified <= self.instant);
        Ok(listing)
    }

    async fn delete(&self, path: &StorePath, _: Option<&VersionId>) -> Result<(), StoreError> {
        Err(self.refuse(Operation::Delete, path))
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        _: Option<&VersionId>,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        Err(self.refuse(Operation::ExtendRetention, path))
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time().await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn location(&self) -> &str {
        &self.location
    }
}
