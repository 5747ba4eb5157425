//! The S3 server keeps what a bucket promises, over its own restart, and forgets all when it is stopped.

use anyhow::Result;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ObjectLockMode;
use keelson_testkit::{BucketProtection, Minio};

const KEY: &str = "folder/object";

#[tokio::test]
async fn buckets_lose_keep_or_lock_what_is_deleted() -> Result<()> {
    let minio = Minio::start().await?;
    let client = minio.client();
    for (bucket, protection, versions_left) in [
        ("plain", BucketProtection::None, 0),
        ("versions", BucketProtection::Versioning, 1),
        ("locked", BucketProtection::ObjectLock, 1),
    ] {
        minio.create_bucket(bucket, protection).await?;
        client.put_object().bucket(bucket).key(KEY).body(ByteStream::from_static(b"v1")).send().await?;
        client.delete_object().bucket(bucket).key(KEY).send().await?;
        let listed = client.list_object_versions().bucket(bucket).send().await?;
        assert_eq!(listed.versions().len(), versions_left, "{bucket}");
    }

    let written = client
        .put_object()
        .bucket("locked")
        .key(KEY)
        .body(ByteStream::from_static(b"v2"))
        .object_lock_mode(ObjectLockMode::Compliance)
        .object_lock_retain_until_date(DateTime::from_secs(4_000_000_000))
        .send()
        .await?;
    let version = written.version_id().expect("a bucket with locks has versions");
    let refused = client.delete_object().bucket("locked").key(KEY).version_id(version).send().await;
    assert!(refused.is_err(), "deleted a locked version");
    Ok(())
}

#[tokio::test]
async fn an_interrupted_server_comes_back_with_its_data_and_a_stopped_one_leaves_none() -> Result<()> {
    let mut minio = Minio::start().await?;
    minio.create_bucket("kept", BucketProtection::None).await?;
    minio.interrupt()?;
    minio.client().list_buckets().send().await.expect_err("nobody listens");
    minio.resume().await?;
    assert_eq!(minio.client().list_buckets().send().await?.buckets().len(), 1);

    let directory = minio.directory().to_owned();
    minio.stop().await?;
    assert!(!directory.exists());
    Ok(())
}
