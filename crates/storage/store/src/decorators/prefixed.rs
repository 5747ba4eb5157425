//! `Prefixed`: a folder of a store as a store of its own. Nothing outside of it can be named.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    Capabilities, ListPage, Listing, ObjectMeta, PutOptions, Read, Store, StoreError, StorePath, VersionId,
    VersionListing, VersionPage, VersionScope, Written,
};

/// A folder of a store. Its errors name objects by their whole path.
#[derive(Debug, Clone)]
pub struct Prefixed {
    inner: Arc<dyn Store>,
    root: StorePath,
    location: String,
}

impl Prefixed {
    /// The folder `root` of `inner`.
    pub fn new(inner: Arc<dyn Store>, root: StorePath) -> Self {
        let location = match root.is_root() {
            true => inner.location().to_owned(),
            false => format!("{}/{root}", inner.location()),
        };
        Self { inner, root, location }
    }

    fn outer(&self, path: &StorePath) -> Result<StorePath, StoreError> {
        self.root.join_path(path).map_err(|source| StoreError::NameObject { source })
    }

    /// Nothing for a path that is not beneath the root, which the inner store has no reason to answer.
    fn inner_path(&self, path: &StorePath) -> Option<StorePath> {
        path.strip_prefix(&self.root)
    }

    fn inner_meta(&self, meta: ObjectMeta) -> Option<ObjectMeta> {
        Some(ObjectMeta { path: self.inner_path(&meta.path)?, ..meta })
    }
}

#[async_trait]
impl Store for Prefixed {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        self.inner.put(&self.outer(path)?, body, options).await
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        self.inner.fetch(&self.outer(path)?, read).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        let meta = self.inner.head(&self.outer(path)?, version).await?;
        Ok(ObjectMeta { path: path.clone(), ..meta })
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        let after = page.after.as_ref().map(|after| self.outer(after)).transpose()?;
        let page = ListPage { after, limit: page.limit };
        let Listing { objects, more } = self.inner.list(&self.outer(folder)?, &page).await?;
        let objects = objects.into_iter().filter_map(|meta| self.inner_meta(meta)).collect();
        Ok(Listing { objects, more })
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.inner.list_folders(&self.outer(folder)?).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        let scope = match scope {
            VersionScope::Object(path) => VersionScope::Object(self.outer(path)?),
            VersionScope::Beneath(folder) => VersionScope::Beneath(self.outer(folder)?),
        };
        let VersionListing { versions, next } = self.inner.list_versions(&scope, page).await?;
        let versions = versions.into_iter().filter_map(|mut version| {
            version.path = self.inner_path(&version.path)?;
            Some(version)
        });
        Ok(VersionListing { versions: versions.collect(), next })
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        self.inner.delete(&self.outer(path)?, version).await
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner.extend_retention(&self.outer(path)?, version, until).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time().await
    }

    async fn sweep(&self, beneath: &StorePath, written_before: Timestamp) -> Result<u64, StoreError> {
        self.inner.sweep(&self.outer(beneath)?, written_before).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn location(&self) -> &str {
        &self.location
    }
}
