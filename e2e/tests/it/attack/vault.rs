//! A bucket that protects, and what somebody does to it who holds the cluster's credentials.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_forger::{Hand, forge};
use keelson_store::Store;
use keelson_store::decorators::Prefixed;
use keelson_testkit::{GateHabit, S3Gate, open_bucket, random_hex};
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, Stage, profile};

pub(super) const BUCKET: &str = "vault";
pub(super) const PATH: &str = "backups";
const PERIOD: &str = "168h0m0s";

/// A server, and a way to it for whoever holds the cluster's credentials: they may do all but bypass locks.
pub(super) struct Vault {
    gate: S3Gate,
    access_key: String,
    secret_key: String,
}

impl Vault {
    pub(super) async fn open(endpoint: &str, access_key: &str, secret_key: &str) -> Result<Self> {
        let gate = S3Gate::open(endpoint, GateHabit::Lacks("s3:BypassGovernanceRetention")).await?;
        Ok(Self { gate, access_key: access_key.to_owned(), secret_key: secret_key.to_owned() })
    }

    /// A profile of a folder of the bucket.
    pub(super) fn apply_profile(&self, stage: &Stage, name: &str, path: &str) -> Result<()> {
        stage.apply(&json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "s3-creds", "namespace": NAMESPACE }, "type": "secrets.kanister.io/aws",
            "stringData": { "aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key },
        }))?;
        let secret =
            json!({ "apiVersion": "v1", "kind": "Secret", "name": "s3-creds", "namespace": NAMESPACE });
        stage.apply(&profile(
            name,
            &json!({ "type": "Location", "locationSpec": {
                "type": "ObjectStore",
                "credential": { "secretType": "AwsAccessKey", "secret": secret },
                "objectStore": {
                    "objectStoreType": "S3", "name": BUCKET, "region": "us-east-1", "path": path,
                    "pathType": "Directory", "endpoint": self.gate.endpoint(), "protectionPeriod": PERIOD,
                },
            }}),
        ))?;
        stage.wait_valid("profile", name)
    }

    pub(super) fn repair(&self, more: &[&str]) -> Result<Value> {
        let endpoint = self.gate.endpoint();
        let words = ["tools", "repair", "undelete", "--bucket", BUCKET, "--path", PATH];
        let place =
            ["--endpoint", &endpoint, "--access-key", &self.access_key, "--secret-key", &self.secret_key];
        let said = keelson_e2e::answer([&words[..], &place, more, &["--output", "json"]].concat())?;
        ensure!(said.code == 0, "{said:?}");
        Ok(serde_json::from_str(&said.stdout)?)
    }

    /// The keys that are there, and each version of them.
    pub(super) async fn versions(&self) -> Result<Vec<(String, String)>> {
        let client = self.gate.client(&self.access_key, &self.secret_key);
        let (mut found, mut key, mut version) = (Vec::new(), None, None);
        loop {
            let page = client.list_object_versions().bucket(BUCKET);
            let page = page.set_key_marker(key.take()).set_version_id_marker(version.take()).send().await?;
            found.extend(
                page.versions().iter().filter_map(|version| {
                    Some((version.key()?.to_owned(), version.version_id()?.to_owned()))
                }),
            );
            match page.is_truncated {
                Some(true) => (key, version) = (page.next_key_marker, page.next_version_id_marker),
                _ => return Ok(found),
            }
        }
    }

    /// The second before which all that is there was written.
    pub(super) async fn last_written(&self) -> Result<Timestamp> {
        let client = self.gate.client(&self.access_key, &self.secret_key);
        let page = client.list_object_versions().bucket(BUCKET).send().await?;
        let written =
            page.versions().iter().filter_map(|version| Some(version.last_modified.as_ref()?.secs()));
        Ok(Timestamp::from_second(written.max().context("an empty bucket")?)?)
    }

    /// Nothing that was there can be removed; everything is laid over and hidden, and forgeries of every kind are put
    /// beside it.
    pub(super) async fn attack(&self, cluster: &str, hand: Hand<'_>) -> Result<usize> {
        let client = self.gate.client(&self.access_key, &self.secret_key);
        let versions = self.versions().await?;
        let mut bytes = Vec::new();
        for (key, version) in &versions {
            for bypass in [false, true] {
                let delete = client.delete_object().bucket(BUCKET).key(key).version_id(version);
                let deleted = delete.bypass_governance_retention(bypass).send().await;
                ensure!(deleted.is_err(), "{key} was deleted for good");
            }
            let read = client.get_object().bucket(BUCKET).key(key).version_id(version).send().await?;
            let genuine = read.body.collect().await?.to_vec();
            if let Some(name) = name_of_a_copy(key) {
                client.put_object().bucket(BUCKET).key(name).body(genuine.clone().into()).send().await?;
            }
            // Another genuine object in its place is more cunning than noise.
            let other = std::mem::replace(&mut bytes, genuine);
            client.put_object().bucket(BUCKET).key(key).body(other.into()).send().await?;
            client.delete_object().bucket(BUCKET).key(key).send().await?;
            client.put_object().bucket(BUCKET).key(key).body(b"forged".to_vec().into()).send().await?;
            client.delete_object().bucket(BUCKET).key(key).send().await?;
        }
        for forgery in forge(&self.store().await?, cluster, hand).await? {
            let key = format!("{PATH}/{}", forgery.path);
            client.put_object().bucket(BUCKET).key(key).body(forgery.bytes.into()).send().await?;
        }
        Ok(versions.len())
    }

    async fn store(&self) -> Result<Arc<dyn Store>> {
        let endpoint = self.gate.endpoint();
        let bucket = open_bucket(&endpoint, &self.access_key, &self.secret_key, BUCKET).await?;
        Ok(Arc::new(Prefixed::new(bucket, PATH.parse()?)))
    }
}

/// A free name beside a genuine object: where names are numbers a later one.
fn name_of_a_copy(key: &str) -> Option<String> {
    let (folder, name) = key.rsplit_once('/')?;
    let kinds = ["epochs", "keys", "slots", "index", "outcomes", "starts", "bases", "segments", "manifests"];
    let kind = folder.split('/').find(|part| kinds.contains(part))?;
    let name = match kind {
        "epochs" if name.contains('.') => return None,
        "epochs" => "00000099".to_owned(),
        "starts" => "00000098".to_owned(),
        "bases" | "segments" | "manifests" => "00000009-00000009-00000000009999".to_owned(),
        "keys" => "9".to_owned(),
        _ => random_hex::<16>(),
    };
    Some(format!("{folder}/{name}"))
}
