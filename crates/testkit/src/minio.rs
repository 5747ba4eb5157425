//! A real S3 server for tests: MinIO as a process of its own, with random credentials and its own directory.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{
    BucketVersioningStatus, DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRule,
    VersioningConfiguration,
};
use keelson_store::providers::s3::{LockMode, S3Settings, S3Store, Secret, Trust};
use keelson_store::{Store, StorePath};

use crate::ports::{free_port_at, random_hex};
use crate::programs::testbed_program;
use crate::supervisor::{Detached, Program, Supervisor};

const MINIO: &str = "minio";
const START_TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(50);

/// What a bucket does when an object is overwritten or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketProtection {
    /// The old bytes are gone.
    None,
    /// The old version stays beside the new one.
    Versioning,
    /// Versions stay, and may carry a date before which nobody deletes them.
    ObjectLock,
}

/// A running server. Dropping it kills it and deletes its data.
pub struct Minio {
    supervisor: Supervisor,
    address: SocketAddr,
    access_key: String,
    secret_key: String,
}

impl Minio {
    /// Starts one in a directory of its own below `TMPDIR` and waits until it serves.
    pub async fn start() -> Result<Self> {
        Self::start_with(Supervisor::start(MINIO)?, IpAddr::V4(Ipv4Addr::LOCALHOST)).await
    }

    /// One that listens at another address of this machine, where pods reach it (`host_address`).
    pub async fn start_at(address: IpAddr) -> Result<Self> {
        Self::start_with(Supervisor::start(MINIO)?, address).await
    }

    /// Starts one in `directory`, which it owns from now on.
    pub async fn start_in(directory: PathBuf) -> Result<Self> {
        Self::start_with(Supervisor::start_in(directory)?, IpAddr::V4(Ipv4Addr::LOCALHOST)).await
    }

    /// The same at another address of this machine.
    pub async fn start_in_at(directory: PathBuf, address: IpAddr) -> Result<Self> {
        Self::start_with(Supervisor::start_in(directory)?, address).await
    }

    async fn start_with(supervisor: Supervisor, address: IpAddr) -> Result<Self> {
        let (access_key, secret_key) = (random_hex::<8>(), random_hex::<16>());
        let address = SocketAddr::new(address, free_port_at(address)?);
        let mut minio = Self { supervisor, address, access_key, secret_key };
        let data = minio.data();
        fs::create_dir_all(&data).context("create the directory of buckets")?;
        let server = Program::new(testbed_program(MINIO)?)
            .args(["server", "--quiet", "--address"])
            .arg(minio.address.to_string())
            .arg(data)
            .env("MINIO_ROOT_USER", &minio.access_key)
            .env("MINIO_ROOT_PASSWORD", &minio.secret_key)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off");
        minio.supervisor.run(MINIO, &server)?;
        minio.wait_for_readiness().await?;
        Ok(minio)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn region(&self) -> &'static str {
        "us-east-1"
    }

    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// A client with all rights, for what a test does behind the back of the code under test.
    pub fn client(&self) -> Client {
        client(&self.endpoint(), &self.access_key, &self.secret_key)
    }

    /// All that lies in it: every version of every key of every bucket, as `bucket/key` and the version's id.
    pub async fn holdings(&self) -> Result<BTreeSet<(String, String)>> {
        let client = self.client();
        let mut found = BTreeSet::new();
        for bucket in client.list_buckets().send().await.context("list buckets")?.buckets() {
            let bucket = bucket.name().unwrap_or_default();
            let page = client.list_object_versions().bucket(bucket).send().await;
            let page = page.with_context(|| format!("list bucket {bucket}"))?;
            ensure!(page.is_truncated != Some(true), "bucket {bucket} holds more than a page");
            found.insert((bucket.to_owned(), String::new()));
            found.extend(page.versions().iter().map(|version| {
                let key = version.key().unwrap_or_default();
                (format!("{bucket}/{key}"), version.version_id().unwrap_or_default().to_owned())
            }));
        }
        Ok(found)
    }

    pub async fn create_bucket(&self, name: &str, protection: BucketProtection) -> Result<()> {
        create_bucket(&self.client(), name, protection).await
    }

    /// Has a bucket that can lock do so by itself, for a day, in this mode or not at all.
    pub async fn set_default_lock(&self, bucket: &str, mode: Option<LockMode>) -> Result<()> {
        let rule = mode.map(|mode| {
            let retention = DefaultRetention::builder().mode(mode.into()).days(1).build();
            ObjectLockRule::builder().default_retention(retention).build()
        });
        let lock = ObjectLockConfiguration::builder()
            .object_lock_enabled(ObjectLockEnabled::Enabled)
            .set_rule(rule)
            .build();
        let put = self.client().put_object_lock_configuration().bucket(bucket);
        put.object_lock_configuration(lock).send().await.context("set the default retention")?;
        Ok(())
    }

    /// Kills the server; `resume` brings it back with its data and address.
    pub fn interrupt(&self) -> Result<()> {
        self.supervisor.kill(MINIO)
    }

    pub async fn resume(&mut self) -> Result<()> {
        self.supervisor.rerun(MINIO)?;
        self.wait_for_readiness().await
    }

    /// Kills the server, deletes its data and returns when both are gone. Dropping does the same.
    pub async fn stop(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await.context("stop MinIO")
    }

    /// Lets the server outlive this process.
    pub fn detach(self) -> Result<Detached> {
        self.supervisor.detach()
    }

    pub fn directory(&self) -> &Path {
        self.supervisor.directory()
    }

    fn data(&self) -> PathBuf {
        self.supervisor.directory().join("data")
    }

    async fn wait_for_readiness(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let client = self.client();
        while client.list_buckets().send().await.is_err() {
            if !self.supervisor.is_running(MINIO) {
                bail!("MinIO ended:\n{}", self.supervisor.log_tail(MINIO));
            }
            ensure!(Instant::now() < deadline, "MinIO is not ready after {} s", START_TIMEOUT.as_secs());
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// A client of any S3 server on this machine.
pub(crate) fn client(endpoint: &str, access_key: &str, secret_key: &str) -> Client {
    let credentials = Credentials::new(access_key, secret_key, None, None, "testkit");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(credentials)
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

/// A bucket as the code under test sees it.
pub async fn open_bucket(
    endpoint: &str,
    access_key: &str,
    secret_key: &str,
    bucket: &str,
) -> Result<Arc<dyn Store>> {
    let settings = S3Settings {
        bucket: bucket.to_owned(),
        path: StorePath::root(),
        endpoint: Some(endpoint.to_owned()),
        region: None,
        access_key: access_key.to_owned(),
        secret_key: Secret::new(secret_key.to_owned()),
        trust: Trust::System,
        lock_mode: LockMode::Governance,
    };
    Ok(Arc::new(S3Store::connect(settings).await?))
}

pub(crate) async fn create_bucket(client: &Client, name: &str, protection: BucketProtection) -> Result<()> {
    client
        .create_bucket()
        .bucket(name)
        .object_lock_enabled_for_bucket(protection == BucketProtection::ObjectLock)
        .send()
        .await
        .with_context(|| format!("create bucket {name}"))?;
    if protection == BucketProtection::Versioning {
        let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        client
            .put_bucket_versioning()
            .bucket(name)
            .versioning_configuration(versioning)
            .send()
            .await
            .with_context(|| format!("switch on versions of bucket {name}"))?;
    }
    Ok(())
}
