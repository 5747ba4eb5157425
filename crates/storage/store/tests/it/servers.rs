//! The real servers that these tests share by starting their own.

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use bytes::Bytes;
use keelson_store::StorePath;
use keelson_store::providers::s3::{LockMode, S3Settings, Secret, Trust};
use keelson_testkit::store_conformance::Tamper;
use keelson_testkit::{Minio, Versitygw};

/// What a right profile for a bucket of that server says.
pub(crate) fn settings(minio: &Minio, bucket: &str) -> S3Settings {
    settings_at(minio.endpoint(), minio.access_key(), minio.secret_key(), bucket)
}

/// The same of the other server.
pub(crate) fn second_settings(server: &Versitygw, bucket: &str) -> S3Settings {
    settings_at(server.endpoint(), server.access_key(), server.secret_key(), bucket)
}

fn settings_at(endpoint: String, access_key: &str, secret_key: &str, bucket: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        path: StorePath::root(),
        endpoint: Some(endpoint),
        region: None,
        access_key: access_key.to_owned(),
        secret_key: Secret::new(secret_key.to_owned()),
        trust: Trust::System,
        lock_mode: LockMode::Governance,
    }
}

/// Somebody with the bucket's credentials and plain S3 calls.
pub(crate) struct Attacker {
    pub(crate) client: Client,
    pub(crate) bucket: &'static str,
}

#[async_trait]
impl Tamper for Attacker {
    async fn overwrite(&self, path: &StorePath, body: Bytes) -> Result<()> {
        let put = self.client.put_object().bucket(self.bucket).key(path.as_str());
        put.body(body.into()).send().await.context("overwrite")?;
        Ok(())
    }

    async fn delete(&self, path: &StorePath) -> Result<()> {
        let deleted = self.client.delete_object().bucket(self.bucket).key(path.as_str()).send().await?;
        ensure!(deleted.delete_marker == Some(true), "a plain delete left no marker");
        Ok(())
    }
}
