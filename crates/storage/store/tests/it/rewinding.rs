//! What an attack leaves on stores with versions: the past can be read, and the present be laid bare again. On memory
//! and on two real servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use aws_sdk_s3::Client;
use bytes::Bytes;
use jiff::Timestamp;
use keelson_model::ManualClock;
use keelson_store::decorators::{AsOf, Retained};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::providers::memory::MemoryStore;
use keelson_store::providers::s3::{LockMode, S3Settings, S3Store};
use keelson_store::undelete::{Undelete, undelete};
use keelson_store::{ListPage, Store, StoreError, StoreExt, StorePath};
use keelson_testkit::{BucketProtection, Minio, Versitygw, eventually};

use crate::servers::{second_settings, settings};

const DAY: Duration = Duration::from_secs(86_400);
const BUCKET: &str = "vault";
const OBJECTS: usize = 12;

fn path(text: &str) -> StorePath {
    text.parse().unwrap()
}

/// Writes objects of several folders and answers what they hold.
async fn write_objects(store: &dyn Store) -> Result<BTreeMap<StorePath, Bytes>> {
    let mut written = BTreeMap::new();
    for number in 0..OBJECTS {
        let key = path(&format!("k10/{}/object-{number}", number % 3));
        let body = Bytes::from(format!("genuine {number}"));
        store.create(&key, body.clone()).await?;
        written.insert(key, body);
    }
    Ok(written)
}

async fn read_all(store: &dyn Store) -> Result<BTreeMap<StorePath, Bytes>> {
    let mut read = BTreeMap::new();
    for object in store.list_all(&StorePath::root()).await? {
        let bytes = store.fetch_all(&object.path).await?;
        read.insert(object.path, bytes);
    }
    Ok(read)
}

/// Everything that plain S3 calls can do to a key, by somebody with all rights. What he created anew is unlocked.
async fn attack(client: &Client, written: &BTreeMap<StorePath, Bytes>) -> Result<()> {
    for key in written.keys().map(StorePath::as_str) {
        let versions = client.list_object_versions().bucket(BUCKET).prefix(key).send().await?;
        for version in versions.versions().iter().filter(|version| version.key() == Some(key)) {
            let delete = client.delete_object().bucket(BUCKET).key(key);
            let delete = delete.set_version_id(version.version_id.clone()).bypass_governance_retention(true);
            ensure!(delete.send().await.is_err(), "a locked version of {key} was deleted");
        }
        let put = |body: &'static str| {
            client.put_object().bucket(BUCKET).key(key).body(body.as_bytes().to_vec().into())
        };
        put("overwritten").send().await?;
        client.delete_object().bucket(BUCKET).key(key).send().await?;
        put("re-created").send().await?;
        client.delete_object().bucket(BUCKET).key(key).send().await?;
    }
    for forged in ["k10/0/forged", "k10/forged/object", "forged"] {
        client.put_object().bucket(BUCKET).key(forged).body(Bytes::from("forged").into()).send().await?;
    }
    Ok(())
}

/// Lets the store's clock pass a second: times of objects have no smaller parts.
async fn next_second(store: &dyn Store) -> Result<Timestamp> {
    let now = store.time().await? + Duration::from_secs(1);
    eventually("the store's clock moves on", async || {
        let later = store.time().await?;
        Ok((later >= now + Duration::from_secs(1)).then_some(()))
    })
    .await?;
    Ok(now)
}

/// What a server says of the time of an object over which something was laid.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Stay,
    /// It becomes the time at which that happened: nobody can tell what was there before.
    Move,
}

async fn shows_what_was(past: &AsOf, written: &BTreeMap<StorePath, Bytes>) -> Result<()> {
    assert_eq!(&read_all(past).await?, written);
    assert_eq!(past.list_folders(&path("k10")).await?, ["0", "1", "2"]);
    let forged = past.fetch_all(&path("k10/0/forged")).await;
    assert!(matches!(forged, Err(StoreError::NotFound { .. })), "{forged:?}");
    let refused = past.create(&path("new"), "x".into()).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })), "{refused:?}");
    Ok(())
}

async fn is_undone(settings: S3Settings, client: &Client, times: Times) -> Result<()> {
    let settings = S3Settings { lock_mode: LockMode::Compliance, ..settings };
    let bare: Arc<dyn Store> = Arc::new(S3Store::connect(settings).await?);
    let store: Arc<dyn Store> = Arc::new(Retained::new(bare.clone(), DAY));
    let written = write_objects(&*store).await?;
    let before = next_second(&*store).await?;
    attack(client, &written).await?;

    let past = AsOf::new(store.clone(), before)?;
    if times == Times::Move {
        assert_eq!(read_all(&past).await?, BTreeMap::new());
    } else {
        shows_what_was(&past, &written).await?;
    }
    let looked = undelete(&*store, &StorePath::root(), Undelete::DryRun).await?;
    let altered = written.len() as u64;
    assert_eq!((looked.objects, looked.altered), (altered + 3, altered));
    assert_eq!((looked.markers, looked.later_versions, looked.removed), (2 * altered, 2 * altered, 0));
    let hidden = client.get_object().bucket(BUCKET).key("k10/0/object-0").send().await;
    assert!(hidden.is_err(), "a look has changed something");

    let undone = undelete(&*store, &StorePath::root(), Undelete::Execute).await?;
    assert_eq!((undone.removed, undone.locked), (4 * altered, 0));
    for (key, body) in &written {
        let got = client.get_object().bucket(BUCKET).key(key.as_str()).send().await?;
        assert_eq!(got.body.collect().await?.into_bytes(), body);
    }
    let again = undelete(&*store, &StorePath::root(), Undelete::DryRun).await?;
    assert_eq!((again.altered, again.markers, again.later_versions), (0, 0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attack_on_every_key_of_a_locked_bucket_is_undone() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket(BUCKET, BucketProtection::ObjectLock).await?;
    is_undone(settings(&minio, BUCKET), &minio.client(), Times::Stay).await?;
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attack_on_every_key_of_a_second_servers_locked_bucket_is_undone() -> Result<()> {
    let server = Versitygw::start().await?;
    server.create_bucket(BUCKET, BucketProtection::ObjectLock).await?;
    is_undone(second_settings(&server, BUCKET), &server.client(), Times::Move).await?;
    server.stop().await
}

#[tokio::test]
async fn a_page_of_nothing_but_later_objects_is_not_the_end_of_the_past() -> Result<()> {
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    let memory = MemoryStore::versioned().with_clock(clock.clone());
    memory.create(&path("a/9"), "genuine".into()).await?;
    let before = memory.time().await?;
    clock.advance(Duration::from_secs(1));
    for number in 0..5 {
        memory.tamper(&path(&format!("a/{number}")), "forged".into());
        memory.tamper(&path(&format!("b/{number}")), "forged".into());
    }
    let past = AsOf::new(Arc::new(memory), before)?;
    let listing = past.list(&path("a"), &ListPage { after: None, limit: 2 }).await?;
    assert_eq!(listing.objects.len(), 1);
    assert_eq!(listing.objects[0].path, path("a/9"));
    assert_eq!(past.list_folders(&StorePath::root()).await?, ["a"]);
    Ok(())
}

#[tokio::test]
async fn a_store_without_versions_has_no_past() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let share = Arc::new(FilesystemStore::open(directory.path()).await?);
    for store in [share as Arc<dyn Store>, Arc::new(MemoryStore::new())] {
        let past = AsOf::new(store.clone(), Timestamp::UNIX_EPOCH);
        assert!(matches!(past, Err(StoreError::Unsupported { .. })), "{past:?}");
        let undone = undelete(&*store, &StorePath::root(), Undelete::DryRun).await;
        assert!(undone.is_err());
    }
    Ok(())
}
