//! The place that outlives everything: a directory, or a bucket of an S3 server of our own.

use std::path::Path;

use anyhow::Result;
use keelson_testkit::{BucketProtection, Minio, Supervisor};
use serde_json::{Value, json};

use super::cluster::{Cluster, NAMESPACE};

/// The claim that a file store is reached by; outside a cluster it is a directory.
const CLAIM: &str = "dr-share";
const BUCKET: &str = "acme-dr";
const CREDENTIALS: &str = "s3-creds";

/// The profile of everything, and the one that only continuous shipping can save.
pub(super) const PROFILE: &str = "vault";
pub(super) const LATE_PROFILE: &str = "vault-2";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocationKind {
    Filesystem,
    S3,
}

pub(super) enum Vault {
    /// Runs nothing; its directory goes when this process does, however it ends.
    Directory(Supervisor),
    Bucket(Minio),
}

impl Vault {
    pub(super) async fn create(kind: LocationKind) -> Result<Self> {
        Ok(match kind {
            LocationKind::Filesystem => Self::Directory(Supervisor::start("vault")?),
            LocationKind::S3 => {
                let minio = Minio::start().await?;
                minio.create_bucket(BUCKET, BucketProtection::None).await?;
                Self::Bucket(minio)
            }
        })
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Directory(owner) => format!("directory {}", owner.directory().display()),
            Self::Bucket(minio) => format!("bucket {BUCKET} at {}", minio.endpoint()),
        }
    }

    /// What `keelson serve` must be told to reach it.
    pub(super) fn serve_arguments(&self) -> Vec<String> {
        match self {
            Self::Directory(owner) => claim_argument(owner.directory()),
            Self::Bucket(_) => Vec::new(),
        }
    }

    /// Creates what a user creates to get at the location: credentials, if need be, and the profile.
    pub(super) async fn connect(&self, cluster: &Cluster) -> Result<()> {
        if let Self::Bucket(minio) = self {
            cluster.apply_object(&credentials(minio)).await?;
        }
        self.add_profile(cluster, PROFILE, "backups").await
    }

    pub(super) async fn add_profile(&self, cluster: &Cluster, name: &str, path: &str) -> Result<()> {
        cluster
            .apply_object(&json!({
                "apiVersion": "config.kio.kasten.io/v1alpha1",
                "kind": "Profile",
                "metadata": { "name": name, "namespace": NAMESPACE },
                "spec": { "type": "Location", "locationSpec": self.location_spec(path) },
            }))
            .await
    }

    fn location_spec(&self, path: &str) -> Value {
        match self {
            Self::Directory(_) => {
                json!({ "type": "FileStore", "fileStore": { "claimName": CLAIM, "path": path } })
            }
            Self::Bucket(minio) => json!({
                "type": "ObjectStore",
                "objectStore": {
                    "objectStoreType": "S3",
                    "name": BUCKET,
                    "region": minio.region(),
                    "endpoint": minio.endpoint(),
                    "path": path,
                    "pathType": "Directory",
                },
                "credential": {
                    "secretType": "AwsAccessKey",
                    "secret": {
                        "apiVersion": "v1", "kind": "Secret", "name": CREDENTIALS, "namespace": NAMESPACE,
                    },
                },
            }),
        }
    }
}

fn claim_argument(directory: &Path) -> Vec<String> {
    vec!["--claim".to_owned(), format!("{CLAIM}={}", directory.display())]
}

fn credentials(minio: &Minio) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": CREDENTIALS, "namespace": NAMESPACE },
        "type": "Opaque",
        "stringData": {
            "aws_access_key_id": minio.access_key(),
            "aws_secret_access_key": minio.secret_key(),
        },
    })
}
