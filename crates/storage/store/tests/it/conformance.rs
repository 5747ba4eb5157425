//! The conformance suite, once per provider and decorator.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use keelson_store::decorators::{Limit, Limits, Meter, Prefixed, Retry};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::providers::memory::MemoryStore;
use keelson_store::providers::s3::S3Store;
use keelson_store::{Store, StoreExt, StorePath};
use keelson_testkit::store_conformance::{Tamper, run};
use keelson_testkit::{BucketProtection, Minio, Versitygw};

use crate::servers::{Attacker, second_settings, settings};

/// Tampers in memory, at the place where a `Prefixed` store's objects really are.
struct MemoryTamperer(MemoryStore, StorePath);

#[async_trait]
impl Tamper for MemoryTamperer {
    async fn overwrite(&self, path: &StorePath, body: Bytes) -> Result<()> {
        self.0.tamper(&self.1.join_path(path)?, body);
        Ok(())
    }

    async fn delete(&self, path: &StorePath) -> Result<()> {
        self.0.tamper_by_deleting(&self.1.join_path(path)?);
        Ok(())
    }
}

/// Runs the suite on memory with and without versions, each inside a decorator.
async fn check_decorator(root: StorePath, decorate: impl Fn(Arc<dyn Store>) -> Arc<dyn Store>) -> Result<()> {
    for memory in [MemoryStore::new(), MemoryStore::versioned()] {
        let tamperer = Arc::new(MemoryTamperer(memory.clone(), root.clone()));
        run(decorate(Arc::new(memory)), Some(tamperer)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() -> Result<()> {
    check_decorator(StorePath::root(), |store| store).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_conforms_and_keeps_nothing_but_objects() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = Arc::new(FilesystemStore::open(directory.path()).await?);
    run(store.clone(), None).await?;

    let left = store.list_all(&StorePath::root()).await?;
    for object in &left {
        store.delete(&object.path, None).await?;
    }
    assert!(!left.is_empty());
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0, "temporaries or empty folders were left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_bucket_conforms() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket("plain", BucketProtection::None).await?;
    let store = S3Store::connect(settings(&minio, "plain")).await?;
    let cases = run(Arc::new(store), None).await?;
    assert!(cases.contains(&"without_versions_they_are_not_pretended"));
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_versioned_bucket_conforms() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket("versioned", BucketProtection::Versioning).await?;
    let store = S3Store::connect(settings(&minio, "versioned")).await?;
    let attacker = Attacker { client: minio.client(), bucket: "versioned" };
    let cases = run(Arc::new(store), Some(Arc::new(attacker))).await?;
    assert!(cases.contains(&"delete_markers_hide_nothing"));
    assert!(cases.contains(&"without_locks_they_are_not_pretended"));
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_bucket_conforms() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket("locked", BucketProtection::ObjectLock).await?;
    let store = S3Store::connect(settings(&minio, "locked")).await?;
    let attacker = Attacker { client: minio.client(), bucket: "locked" };
    let cases = run(Arc::new(store), Some(Arc::new(attacker))).await?;
    assert!(cases.contains(&"retention_is_extended_and_never_shortened"));
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_of_a_second_server_conform() -> Result<()> {
    let server = Versitygw::start().await?;
    server.create_bucket("plain", BucketProtection::None).await?;
    run(Arc::new(S3Store::connect(second_settings(&server, "plain")).await?), None).await?;
    server.create_bucket("locked", BucketProtection::ObjectLock).await?;
    let store = S3Store::connect(second_settings(&server, "locked")).await?;
    let attacker = Attacker { client: server.client(), bucket: "locked" };
    let cases = run(Arc::new(store), Some(Arc::new(attacker))).await?;
    assert!(cases.contains(&"retention_is_extended_and_never_shortened"));
    assert!(cases.contains(&"delete_markers_hide_nothing"));
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_conforms() -> Result<()> {
    check_decorator(StorePath::root(), |store| Arc::new(Retry::new(store))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_conforms() -> Result<()> {
    let limits = Limits { calls_max: NonZeroUsize::MIN, bytes_per_second_max: NonZeroU64::new(1 << 40) };
    check_decorator(StorePath::root(), |store| Arc::new(Limit::new(store, limits))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn meter_conforms() -> Result<()> {
    check_decorator(StorePath::root(), |store| Arc::new(Meter::new(store))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixed_conforms() -> Result<()> {
    let root: StorePath = "a/folder".parse()?;
    check_decorator(root.clone(), |store| Arc::new(Prefixed::new(store, root.clone()))).await
}
