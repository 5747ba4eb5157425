//! `Retry`: asks again when the store was busy or out of reach, a bounded number of times.
//!
//! Repeating is safe: creates recognise their own bytes, deletes and extensions are idempotent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use keelson_model::{Classified, ErrorClass};
use tokio::time::Instant;

use crate::{
    Capabilities, ListPage, Listing, ObjectMeta, PutOptions, Read, Store, StoreError, StorePath, VersionId,
    VersionListing, VersionPage, VersionScope, Written,
};

/// How often and how soon to ask again.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first one included.
    pub attempts_max: u32,
    /// Before the second attempt; doubles from one to the next.
    pub first: Duration,
    /// No pause is longer, and a store that wants a longer one is not asked again.
    pub longest: Duration,
    /// No attempt begins later than this after the first.
    pub within: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        let (first, longest) = (Duration::from_millis(200), Duration::from_secs(10));
        Self { attempts_max: 6, first, longest, within: Duration::MAX }
    }
}

impl Backoff {
    /// How long to pause after the attempt of that number, counted from 1; nothing if there is no use in another.
    fn pause(&self, error: &StoreError, attempt: u32, jitter: f64) -> Option<Duration> {
        if attempt >= self.attempts_max || matches!(error, StoreError::Unanswered { .. }) {
            return None;
        }
        let ErrorClass::Unavailable { retry_after } = error.class() else { return None };
        let doubled = self.first.saturating_mul(1 << (attempt - 1).min(16)).min(self.longest);
        let jittered = doubled.mul_f64(0.5 + jitter / 2.0);
        let wanted = retry_after.unwrap_or_default();
        (wanted <= self.longest).then(|| jittered.max(wanted))
    }

    /// Does what may be done twice again, while the store is busy or out of reach.
    ///
    /// # Errors
    ///
    /// The last one, or the first that another attempt would not change.
    pub async fn repeat<T, F>(&self, mut work: impl FnMut() -> F + Send) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let (began, mut attempt) = (Instant::now(), 1);
        loop {
            let error = match work().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let pause = self.pause(&error, attempt, crate::random::fraction());
            let Some(pause) = pause.filter(|pause| began.elapsed() + *pause <= self.within) else {
                return Err(error);
            };
            tracing::debug!(
                attempt,
                ?pause,
                error = &error as &dyn std::error::Error,
                "store is asked again"
            );
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }
}

/// A store that is asked again.
#[derive(Debug, Clone)]
pub struct Retry {
    inner: Arc<dyn Store>,
    backoff: Backoff,
}

impl Retry {
    /// Around `inner`, with the usual pauses.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self::with_backoff(inner, Backoff::default())
    }

    /// Around `inner`.
    pub fn with_backoff(inner: Arc<dyn Store>, backoff: Backoff) -> Self {
        Self { inner, backoff }
    }
}

#[async_trait]
impl Store for Retry {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        self.backoff.repeat(|| self.inner.put(path, body.clone(), options)).await
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        self.backoff.repeat(|| self.inner.fetch(path, read.clone())).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        self.backoff.repeat(|| self.inner.head(path, version)).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        self.backoff.repeat(|| self.inner.list(folder, page)).await
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.backoff.repeat(|| self.inner.list_folders(folder)).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        self.backoff.repeat(|| self.inner.list_versions(scope, page)).await
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        self.backoff.repeat(|| self.inner.delete(path, version)).await
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.backoff.repeat(|| self.inner.extend_retention(path, version, until)).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.backoff.repeat(|| self.inner.time()).await
    }

    async fn sweep(&self, beneath: &StorePath, written_before: Timestamp) -> Result<u64, StoreError> {
        self.backoff.repeat(|| self.inner.sweep(beneath, written_before)).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn location(&self) -> &str {
        self.inner.location()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NetworkFault, Operation};

    fn busy(retry_after: Option<Duration>) -> StoreError {
        StoreError::Busy {
            operation: Operation::List,
            path: StorePath::root(),
            location: "here".to_owned(),
            retry_after,
            source: "slow down".into(),
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(3));
        let backoff = Backoff { attempts_max: 5, first, longest, within: Duration::MAX };
        let pauses: Vec<_> = (1..=5).map(|attempt| backoff.pause(&busy(None), attempt, 1.0)).collect();
        let expected = [Some(1), Some(2), Some(3), Some(3), None].map(|s| s.map(Duration::from_secs));
        assert_eq!(pauses, expected);
        assert_eq!(backoff.pause(&busy(None), 1, 0.0), Some(Duration::from_millis(500)));
    }

    #[test]
    fn the_store_says_how_long_and_too_long_ends_it() {
        let backoff = Backoff::default();
        let soon = Duration::from_secs(7);
        assert_eq!(backoff.pause(&busy(Some(soon)), 1, 0.0), Some(soon));
        assert_eq!(backoff.pause(&busy(Some(Duration::from_secs(60))), 1, 0.0), None);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let backoff = Backoff::default();
        let (path, location, operation) = (StorePath::root(), "here".to_owned(), Operation::Put);
        let unreachable = StoreError::Unreachable {
            operation,
            location: location.clone(),
            fault: NetworkFault::Refused,
            source: "refused".into(),
        };
        assert!(backoff.pause(&unreachable, 1, 0.0).is_some());
        let waited = Duration::from_secs(30);
        for error in [
            StoreError::AlreadyExists { path: path.clone() },
            StoreError::NotFound { operation, path: path.clone() },
            StoreError::Full { operation, path: path.clone(), location: location.clone(), source: "".into() },
            StoreError::Unanswered { operation, path, location, waited },
        ] {
            assert_eq!(backoff.pause(&error, 1, 0.0), None, "{error}");
        }
    }
}
