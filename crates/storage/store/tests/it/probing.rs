//! What probing finds out, on real servers and on a store that does not do what it was asked.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use keelson_model::{Classified, Clock, ErrorClass, ManualClock};
use keelson_store::probe::{Unfit, probe};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::providers::memory::MemoryStore;
use keelson_store::providers::s3::S3Store;
use keelson_store::{
    Capabilities, ListPage, Listing, ObjectMeta, Operation, PutOptions, Read, Store, StoreError, StoreExt,
    StorePath, VersionId, VersionListing, VersionPage, VersionScope, Written,
};
use keelson_testkit::{BucketProtection, Calls, Failure, Fault, FaultyStore, Minio, Span};

use crate::servers::settings;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))
}

#[tokio::test(start_paused = true)]
async fn a_plain_memory_is_fit() -> Result<()> {
    let clock = clock();
    let store = MemoryStore::new().with_clock(clock.clone());
    let dialect = probe(&store, "nonce", clock.now()).await?;
    assert_eq!(dialect.unfit(), []);
    assert!(dialect.writable && dialect.conditional_create && !dialect.versions && !dialect.object_lock);
    assert!(store.list_all(&StorePath::root()).await?.is_empty());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_locked_memory_is_fit_and_locks() -> Result<()> {
    let clock = clock();
    let store = MemoryStore::versioned().with_clock(clock.clone());
    let dialect = probe(&store, "nonce", clock.now()).await?;
    assert_eq!(dialect.unfit(), []);
    assert!(dialect.versions && dialect.object_lock);
    Ok(())
}

#[tokio::test]
async fn a_directory_is_fit_and_left_as_it_was() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = FilesystemStore::open(directory.path()).await?;
    let now = store.time().await?;
    let dialect = probe(&store, "nonce", now).await?;
    assert_eq!(dialect.unfit(), []);
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_are_fit_and_left_as_they_were() -> Result<()> {
    let minio = Minio::start().await?;
    for (bucket, protection) in [
        ("plain", BucketProtection::None),
        ("versioned", BucketProtection::Versioning),
        ("locked", BucketProtection::ObjectLock),
    ] {
        minio.create_bucket(bucket, protection).await?;
        let store = S3Store::connect(settings(&minio, bucket)).await?;
        let dialect = probe(&store, "nonce", store.time().await?).await?;
        assert_eq!(dialect.unfit(), [], "{bucket}");
        assert_eq!(dialect.versions, protection != BucketProtection::None, "{bucket}");
        assert_eq!(dialect.object_lock, protection == BucketProtection::ObjectLock, "{bucket}");
        let left = minio.client().list_object_versions().bucket(bucket).send().await?;
        assert!(left.versions().is_empty() && left.delete_markers().is_empty(), "{left:?}");
    }
    minio.stop().await
}

#[tokio::test(start_paused = true)]
async fn a_store_that_overwrites_where_it_should_create_is_found_out() -> Result<()> {
    for memory in [MemoryStore::new(), MemoryStore::versioned()] {
        let clock = clock();
        let store = Overwriting(memory.with_clock(clock.clone()));
        let dialect = probe(&store, "nonce", clock.now()).await?;
        assert!(!dialect.conditional_create);
        assert_eq!(dialect.unfit(), [Unfit::NoConditionalCreate]);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_off_is_found_out() -> Result<()> {
    let clock = clock();
    let store = MemoryStore::new().with_clock(clock.clone());
    let ours = clock.now();
    clock.advance(Duration::from_secs(600));
    let dialect = probe(&store, "nonce", ours).await?;
    assert_eq!(dialect.clock_difference.as_secs(), 600);
    assert_eq!(dialect.unfit(), [Unfit::ClocksDiffer]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_location_that_cannot_be_written_is_a_dialect_and_a_full_one_an_error() -> Result<()> {
    for (failure, expected) in [(Failure::ReadOnly, None), (Failure::Full, Some("store.location.full"))] {
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        store.inject(Calls::Of(Operation::Put), Span::From(1), Fault::Before(failure));
        match (probe(&store, "nonce", Timestamp::UNIX_EPOCH).await, expected) {
            (Ok(dialect), None) => assert_eq!(dialect.unfit(), [Unfit::ReadOnly]),
            (Err(error), Some(code)) => assert_eq!(error.code(), code),
            (outcome, _) => panic!("{outcome:?}"),
        }
    }
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    store.inject(Calls::All, Span::From(1), Fault::Before(Failure::BadCredentials));
    let error = probe(&store, "nonce", Timestamp::UNIX_EPOCH).await.unwrap_err();
    assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Denied, "list the location"));
    Ok(())
}

#[tokio::test]
async fn a_directory_without_hard_links_can_be_read_and_not_written() -> Result<()> {
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("object"), "from elsewhere")?;
    let store = FaultyStore::new(Arc::new(FilesystemStore::open(directory.path()).await?));
    store.inject(Calls::Of(Operation::Put), Span::From(1), Fault::Before(Failure::NoLinks));
    let dialect = probe(&store, "nonce", store.time().await?).await?;
    assert_eq!(dialect.unfit(), [Unfit::ReadOnly]);
    let reason = dialect.reason.unwrap_or_default();
    assert!(reason.contains("the store has no hard links"), "{reason}");

    let (object, new): (StorePath, StorePath) = ("object".parse()?, "new".parse()?);
    let refused = store.create(&new, "x".into()).await.unwrap_err();
    let hint = refused.hint().unwrap_or_default();
    assert!(hint.contains("serves for import and restore alone"), "{hint}");
    assert_eq!(store.fetch_all(&object).await?, "from elsewhere");
    assert_eq!(store.list_all(&StorePath::root()).await?.len(), 1);
    Ok(())
}

#[test]
fn a_dialect_is_printed_into_a_status() {
    let json = serde_json::json!({
        "writable": false,
        "reason": "write 'a' in memory: the location is read-only",
        "conditionalCreate": false,
        "versions": false,
        "objectLock": false,
        "expiresVersions": false,
        "clockDifference": "PT0S",
        "listingDelay": "PT2M30S",
    });
    let dialect = keelson_store::probe::Dialect {
        writable: false,
        reason: Some("write 'a' in memory: the location is read-only".to_owned()),
        conditional_create: false,
        versions: false,
        object_lock: false,
        lock_mode: None,
        expires_versions: false,
        clock_difference: jiff::SignedDuration::ZERO,
        listing_delay: jiff::SignedDuration::from_secs(150),
        warnings: Vec::new(),
    };
    assert_eq!(serde_json::to_value(dialect).unwrap(), json);
}

/// Takes every create for an overwrite, as one server does in buckets with versions.
#[derive(Debug)]
struct Overwriting(MemoryStore);

#[async_trait]
impl Store for Overwriting {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        if options.retain_until.is_some() {
            return self.0.put(path, body, options).await;
        }
        self.0.tamper(path, body);
        let latest = self.0.list_versions(&VersionScope::Object(path.clone()), &VersionPage::first()).await;
        let version = latest.ok().and_then(|latest| Some(latest.versions.first()?.version.clone()));
        Ok(Written { version, stored_at: self.0.time().await? })
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        self.0.fetch(path, read).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        self.0.head(path, version).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        self.0.list(folder, page).await
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.0.list_folders(folder).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        self.0.list_versions(scope, page).await
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        self.0.delete(path, version).await
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.extend_retention(path, version, until).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.0.time().await
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn location(&self) -> &str {
        self.0.location()
    }
}
