//! An attacker holds everything that the cluster holds: he deletes, overwrites and re-creates every key of a protected
//! bucket and forges what he can. The platform comes back as of before, restores, and goes on backing up.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use keelson_testkit::{
    BucketProtection, GateHabit, Minio, S3Gate, Supervisor, Versitygw, eventually, random_hex,
};
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, Stage, assert_said, block_on, profile};
use crate::world::{APPLICATION, PASSPHRASE, back_up, create_application, export, wait_until_shipped};

const BUCKET: &str = "vault";
const LATER: Duration = Duration::from_secs(12);
const PERIOD: &str = "168h0m0s";

/// A server, and a way to it for whoever holds the cluster's credentials: they may do all but bypass locks.
struct Vault {
    gate: S3Gate,
    access_key: String,
    secret_key: String,
}

impl Vault {
    async fn open(endpoint: &str, access_key: &str, secret_key: &str) -> Result<Self> {
        let gate = S3Gate::open(endpoint, GateHabit::Lacks("s3:BypassGovernanceRetention")).await?;
        Ok(Self { gate, access_key: access_key.to_owned(), secret_key: secret_key.to_owned() })
    }

    fn apply_profile(&self, stage: &Stage) -> Result<()> {
        stage.apply(&json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "s3-creds", "namespace": NAMESPACE }, "type": "secrets.kanister.io/aws",
            "stringData": { "aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key },
        }))?;
        let secret =
            json!({ "apiVersion": "v1", "kind": "Secret", "name": "s3-creds", "namespace": NAMESPACE });
        stage.apply(&profile(
            "vault",
            &json!({ "type": "Location", "locationSpec": {
                "type": "ObjectStore",
                "credential": { "secretType": "AwsAccessKey", "secret": secret },
                "objectStore": {
                    "objectStoreType": "S3", "name": BUCKET, "region": "us-east-1", "path": "backups",
                    "pathType": "Directory", "endpoint": self.gate.endpoint(), "protectionPeriod": PERIOD,
                },
            }}),
        ))?;
        stage.wait_valid("profile", "vault")
    }

    fn repair(&self, more: &[&str]) -> Result<Value> {
        let endpoint = self.gate.endpoint();
        let words = ["tools", "repair", "undelete", "--bucket", BUCKET, "--path", "backups"];
        let place =
            ["--endpoint", &endpoint, "--access-key", &self.access_key, "--secret-key", &self.secret_key];
        let said = keelson_e2e::answer([&words[..], &place, more, &["--output", "json"]].concat())?;
        ensure!(said.code == 0, "{said:?}");
        Ok(serde_json::from_str(&said.stdout)?)
    }

    /// The keys that are there, and each version of them.
    async fn versions(&self) -> Result<Vec<(String, String)>> {
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

    /// Nothing that was there can be removed, and everything is laid over and hidden.
    async fn attack(&self) -> Result<usize> {
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
            // Another genuine object in its place is more cunning than noise.
            let other = std::mem::replace(&mut bytes, read.body.collect().await?.to_vec());
            client.put_object().bucket(BUCKET).key(key).body(other.into()).send().await?;
            client.delete_object().bucket(BUCKET).key(key).send().await?;
            client.put_object().bucket(BUCKET).key(key).body(b"forged".to_vec().into()).send().await?;
            client.delete_object().bucket(BUCKET).key(key).send().await?;
        }
        for (key, version) in &versions {
            let Some((forged, body)) = forge(key) else { continue };
            let body = match body {
                Some(noise) => noise,
                None => {
                    let read = client.get_object().bucket(BUCKET).key(key).version_id(version).send().await?;
                    read.body.collect().await?.to_vec()
                }
            };
            client.put_object().bucket(BUCKET).key(forged).body(body.into()).send().await?;
        }
        Ok(versions.len())
    }
}

/// A name that nobody has taken, beside a genuine object: where names are numbers a later one. With bytes of its own,
/// or with those of the genuine object.
fn forge(key: &str) -> Option<(String, Option<Vec<u8>>)> {
    let (folder, name) = key.rsplit_once('/')?;
    let kind = folder.split('/').find(|part| {
        [
            "cards",
            "epochs",
            "slots",
            "keys",
            "index",
            "outcomes",
            "marks",
            "starts",
            "bases",
            "segments",
            "manifests",
        ]
        .contains(part)
    })?;
    let card = json!({
        "format": 0, "productVersion": "0", "fips": false, "created": "2026-01-01T00:00:00Z",
        "continuedBy": "00000000-0000-4000-8000-000000000000",
    });
    let forged = match kind {
        "cards" => ("00000002".to_owned(), Some(card.to_string().into_bytes())),
        "epochs" if name.contains('.') => return None,
        "epochs" => ("00000002".to_owned(), None),
        "starts" => ("00000099".to_owned(), None),
        "bases" | "segments" | "manifests" => ("00000009-00000009-00000000009999".to_owned(), None),
        "keys" => ("00000009".to_owned(), None),
        _ if name.len() == 32 => (random_hex::<16>(), (kind == "slots").then(|| b"forged".to_vec())),
        _ => return None,
    };
    Some((format!("{folder}/{}", forged.0), forged.1))
}

/// A platform that protects an application and itself in the bucket.
fn raise_protected(share: &Supervisor, vault: &Vault) -> Result<Stage> {
    let stage = Stage::raise(share.directory(), &[])?;
    vault.apply_profile(&stage)?;
    create_application(&stage)?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    assert_said(&stage.keelson(&["dr", "enable", "--profile", "vault"])?, 0, &[]);
    back_up(&stage, "first")?;
    export(&stage, "first")?;
    assert_said(&stage.keelson(&["dr", "run"])?, 0, &[]);
    wait_until_shipped(&stage)?;
    Ok(stage)
}

fn contents(stage: &Stage) -> Result<Vec<Value>> {
    ["orders", "prices"]
        .into_iter()
        .map(|name| {
            let map = stage.get(&["configmap", name, "-n", APPLICATION])?;
            Ok(map.with_context(|| format!("{name} is not there"))?["data"].clone())
        })
        .collect()
}

/// The second before which all that is there was written.
async fn before_the_attack(vault: &Vault) -> Result<Timestamp> {
    let client = vault.gate.client(&vault.access_key, &vault.secret_key);
    let page = client.list_object_versions().bucket(BUCKET).send().await?;
    let written = page.versions().iter().filter_map(|version| Some(version.last_modified.as_ref()?.secs()));
    Ok(Timestamp::from_second(written.max().context("an empty bucket")?)?)
}

/// What an attack leaves, told from the lost platform to the new one that goes on.
fn survives(vault: &Vault, wanted: impl Fn(Timestamp) -> Vec<String>) -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise_protected(&share, vault)?;
    let (source_id, genuine) = (source.cluster_id()?, contents(&source)?);
    source.instance.kill()?;
    drop(source);
    let before = block_on(before_the_attack(vault))?;
    // What was shipped soon after a moment belongs to it.
    let written = Instant::now();
    block_on(eventually("the attack is later", async || Ok((written.elapsed() > LATER).then_some(()))))?;
    let keys: BTreeSet<_> = block_on(vault.versions())?.into_iter().map(|(key, _)| key).collect();
    let attacked = block_on(vault.attack())?;
    ensure!(attacked == keys.len(), "a key had two versions before the attack");

    let stage = Stage::raise(share.directory(), &[])?;
    vault.apply_profile(&stage)?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    let restore =
        ["dr", "restore", "--profile", "vault", "--source-cluster-id", &source_id].map(str::to_owned);
    let words = [restore.to_vec(), wanted(before)].concat();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    assert_said(&stage.keelson(&words)?, 0, &[]);
    let restored = stage.keelson(&["restore", APPLICATION])?;
    assert_said(&restored, 0, &[]);
    assert_eq!(contents(&stage)?, genuine);

    // From here on as if nothing had happened, into the same bucket, as the owner of what lies there.
    stage.delete(&["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE])?;
    stage.until("ownership is taken", || {
        Ok((stage.status()?["ownership"]["state"] == "Owned").then_some(()))
    })?;
    back_up(&stage, "after")?;
    export(&stage, "after")?;
    assert_said(&stage.keelson(&["dr", "run"])?, 0, &[]);

    let looked = vault.repair(&[])?;
    ensure!(looked["altered"].as_u64() >= Some(attacked as u64) && looked["removed"] == 0, "{looked}");
    let undone = vault.repair(&["--yes"])?;
    ensure!(undone["locked"] == 0 && undone["removed"].as_u64() > Some(0), "{undone}");
    ensure!(vault.repair(&[])?["altered"] == 0, "something lies over objects still");
    let visible = block_on(vault.versions())?;
    ensure!(keys.iter().all(|key| visible.iter().any(|(there, _)| there == key)), "a key is gone");
    Ok(())
}

#[test]
fn an_attacker_with_the_clusters_credentials_loses_to_a_recovery_as_of_before() -> Result<()> {
    let minio = block_on(Minio::start())?;
    block_on(minio.create_bucket(BUCKET, BucketProtection::ObjectLock))?;
    let vault = block_on(Vault::open(&minio.endpoint(), minio.access_key(), minio.secret_key()))?;
    survives(&vault, |before| vec!["--point-in-time".to_owned(), before.to_string()])?;
    block_on(minio.stop())
}

/// That server tells of an object that something was laid over that it was written then: there is no earlier moment to
/// look at, but what the attacker cannot seal counts for nothing anyhow.
#[test]
fn an_attacker_loses_on_a_second_server_to_a_recovery_of_the_latest_state() -> Result<()> {
    let server = block_on(Versitygw::start())?;
    block_on(server.create_bucket(BUCKET, BucketProtection::ObjectLock))?;
    let vault = block_on(Vault::open(&server.endpoint(), server.access_key(), server.secret_key()))?;
    survives(&vault, |_| Vec::new())?;
    block_on(server.stop())
}

#[test]
fn a_profile_that_cannot_be_held_is_refused_with_every_reason() -> Result<()> {
    let minio = block_on(Minio::start())?;
    block_on(minio.create_bucket(BUCKET, BucketProtection::Versioning))?;
    let vault = block_on(Vault::open(&minio.endpoint(), minio.access_key(), minio.secret_key()))?;
    let share = Supervisor::start("share")?;
    let stage = Stage::raise(share.directory(), &[])?;
    let Err(refused) = vault.apply_profile(&stage) else { bail!("a bucket without locks was taken") };
    let words = "protectionPeriod cannot be held: Object Lock of the bucket is not on";
    ensure!(refused.to_string().contains(words), "{refused:#}");
    let said = stage.keelson(&["dr", "enable", "--profile", "vault"])?;
    ensure!(said.code != 0, "a profile that was refused holds the platform's backups: {said:?}");
    block_on(minio.stop())
}
