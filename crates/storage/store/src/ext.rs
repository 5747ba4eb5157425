//! `StoreExt`: what every caller wants and no implementer should have to write.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use jiff::Timestamp;

use crate::{ListPage, ObjectMeta, PutOptions, Read, Store, StoreError, StorePath, Written};

/// The most that `list_all` collects. What can be longer is streamed.
pub const LIST_ALL_MAX: usize = 100_000;

/// Convenience over any store.
#[async_trait]
pub trait StoreExt: Store {
    /// Creates an object under a key that others could create too.
    async fn create(&self, path: &StorePath, body: Bytes) -> Result<Written, StoreError> {
        self.put(path, body, PutOptions::create()).await
    }

    /// Reads a whole object.
    async fn fetch_all(&self, path: &StorePath) -> Result<Bytes, StoreError> {
        self.fetch(path, Read::all()).await
    }

    /// Reads a whole object that need not be there.
    async fn fetch_if_present(&self, path: &StorePath) -> Result<Option<Bytes>, StoreError> {
        match self.fetch_all(path).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Until when everything that is created now is retained, by the store's clock; nothing where nothing is.
    async fn retention_end(&self) -> Result<Option<Timestamp>, StoreError> {
        let Some(retention) = self.capabilities().retention else { return Ok(None) };
        let now = self.time().await?;
        Ok(Some(now.saturating_add(retention).unwrap_or(Timestamp::MAX)))
    }

    /// Says whether an object is there.
    async fn exists(&self, path: &StorePath) -> Result<bool, StoreError> {
        match self.head(path, None).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lists everything beneath a folder, in order.
    ///
    /// # Errors
    ///
    /// `TooMany` beyond `LIST_ALL_MAX` objects.
    async fn list_all(&self, folder: &StorePath) -> Result<Vec<ObjectMeta>, StoreError> {
        let found: Vec<_> = self.stream(folder).take(LIST_ALL_MAX + 1).try_collect().await?;
        if found.len() > LIST_ALL_MAX {
            return Err(StoreError::TooMany { folder: folder.clone(), limit: LIST_ALL_MAX });
        }
        Ok(found)
    }

    /// Lists everything beneath a folder, in order, a page in memory at a time.
    fn stream(&self, folder: &StorePath) -> BoxStream<'_, Result<ObjectMeta, StoreError>> {
        self.stream_from(folder, ListPage::first())
    }

    /// The same from a page on; `ListPage::after` leaves out what comes before.
    fn stream_from(
        &self,
        folder: &StorePath,
        first: ListPage,
    ) -> BoxStream<'_, Result<ObjectMeta, StoreError>>;
}

#[async_trait]
impl<S: Store + ?Sized> StoreExt for S {
    fn stream_from(
        &self,
        folder: &StorePath,
        first: ListPage,
    ) -> BoxStream<'_, Result<ObjectMeta, StoreError>> {
        let folder = folder.clone();
        let pages = stream::try_unfold(Some(first), move |page| {
            let folder = folder.clone();
            async move {
                let Some(page) = page else { return Ok(None) };
                let listing = self.list(&folder, &page).await?;
                let last = listing.objects.last().filter(|_| listing.more);
                let next = last.map(|object| ListPage::after(object.path.clone()));
                Ok(Some((stream::iter(listing.objects.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }
}
