//! A second real S3 server for tests: versitygw over a directory. Enforces locks as AWS does and answers with AWS's
//! codes where MinIO has its own. Knows no lifecycle rules.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_s3::Client;

use crate::minio::{BucketProtection, client, create_bucket};
use crate::ports::{free_port, random_hex};
use crate::programs::testbed_program;
use crate::supervisor::{Program, Supervisor};

const VERSITYGW: &str = "versitygw";
const START_TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(50);

/// A running server. Dropping it kills it and deletes its data.
pub struct Versitygw {
    supervisor: Supervisor,
    port: u16,
    access_key: String,
    secret_key: String,
}

impl Versitygw {
    /// Starts one in a directory of its own below `TMPDIR`, whose file system must keep extended attributes, and waits
    /// until it serves.
    pub async fn start() -> Result<Self> {
        let supervisor = Supervisor::start(VERSITYGW)?;
        let (access_key, secret_key) = (random_hex::<8>(), random_hex::<16>());
        let mut server = Self { supervisor, port: free_port()?, access_key, secret_key };
        // Neither name may begin with the other.
        let [data, versions, users] = ["data", "old", "users"].map(|name| server.folder(name));
        for folder in [&data, &versions, &users] {
            fs::create_dir_all(folder).context("create a directory of the server")?;
        }
        let program = Program::new(testbed_program(VERSITYGW)?)
            .args(["--port".to_owned(), format!("127.0.0.1:{}", server.port)])
            .args(["--quiet", "--keep-alive", "--iam-dir"])
            .arg(users)
            .args(["posix", "--versioning-dir"])
            .arg(versions)
            .arg(data)
            .env("ROOT_ACCESS_KEY", &server.access_key)
            .env("ROOT_SECRET_KEY", &server.secret_key);
        server.supervisor.run(VERSITYGW, &program)?;
        server.wait_for_readiness().await?;
        Ok(server)
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
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

    pub async fn create_bucket(&self, name: &str, protection: BucketProtection) -> Result<()> {
        create_bucket(&self.client(), name, protection).await
    }

    /// Kills the server, deletes its data and returns when both are gone. Dropping does the same.
    pub async fn stop(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await.context("stop versitygw")
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.supervisor.directory().join(name)
    }

    async fn wait_for_readiness(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let client = self.client();
        while client.list_buckets().send().await.is_err() {
            if !self.supervisor.is_running(VERSITYGW) {
                bail!("versitygw ended:\n{}", self.supervisor.log_tail(VERSITYGW));
            }
            ensure!(Instant::now() < deadline, "versitygw is not ready after {} s", START_TIMEOUT.as_secs());
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}
