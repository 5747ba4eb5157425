//! An attacker holds everything that the cluster holds: he deletes, overwrites and re-creates every key of a protected
//! bucket and forges objects of every kind. The platform comes back as of before, restores, and goes on backing up.

mod vault;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use keelson_forger::Hand;
use keelson_testkit::{BucketProtection, Minio, Supervisor, Versitygw, eventually};
use serde_json::Value;

use self::vault::{BUCKET, PATH, Vault};
use crate::stage::{NAMESPACE, Stage, assert_said, block_on};
use crate::world::{
    APPLICATION, PASSPHRASE, back_up, config_map, create_application, export, export_to, wait_until_shipped,
};

const LATER: Duration = Duration::from_secs(12);
const MAPS: [&str; 3] = ["orders", "prices", "parcels"];

/// A location that was attacked, and what it held before.
struct Attacked {
    share: Supervisor,
    source_id: String,
    /// What the application was.
    genuine: Vec<Value>,
    before: Timestamp,
    keys: BTreeSet<String>,
}

/// A platform that protects an application and itself in the bucket.
fn raise_protected(share: &Supervisor, vault: &Vault) -> Result<Stage> {
    let stage = Stage::raise(share.directory(), &[])?;
    vault.apply_profile(&stage, "vault", PATH)?;
    create_application(&stage)?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    assert_said(&stage.keelson(&["dr", "enable", "--profile", "vault"])?, 0, &[]);
    back_up(&stage, "first")?;
    export(&stage, "first")?;
    assert_said(&stage.keelson(&["dr", "run"])?, 0, &[]);
    wait_until_shipped(&stage)?;
    Ok(stage)
}

/// What the application holds of the maps that a story makes; one that is not there is nothing.
fn contents(stage: &Stage) -> Result<Vec<Value>> {
    let map = |name| Ok(stage.get(&["configmap", name, "-n", APPLICATION])?.unwrap_or_default());
    MAPS.into_iter().map(|name| map(name).map(|mut map: Value| map["data"].take())).collect()
}

/// A platform lived there and is gone; then the attacker came.
fn attacked(vault: &Vault, hand: Hand<'_>) -> Result<Attacked> {
    let share = Supervisor::start("share")?;
    let source = raise_protected(&share, vault)?;
    let (source_id, genuine) = (source.cluster_id()?, contents(&source)?);
    source.instance.kill()?;
    drop(source);
    let before = block_on(vault.last_written())?;
    // What was shipped soon after a moment belongs to it.
    let written = Instant::now();
    block_on(eventually("the attack is later", async || Ok((written.elapsed() > LATER).then_some(()))))?;
    let keys: BTreeSet<_> = block_on(vault.versions())?.into_iter().map(|(key, _)| key).collect();
    let attacked = block_on(vault.attack(&source_id, hand))?;
    ensure!(attacked == keys.len(), "a key had two versions before the attack");
    Ok(Attacked { share, source_id, genuine, before, keys })
}

impl Attacked {
    /// A new platform is told to bring the lost one back, and then the application.
    fn recover(&self, vault: &Vault, wanted: &[&str]) -> Result<Stage> {
        let stage = Stage::raise(self.share.directory(), &[])?;
        vault.apply_profile(&stage, "vault", PATH)?;
        stage.passphrase(&[("key", PASSPHRASE)])?;
        let restore = ["dr", "restore", "--profile", "vault", "--source-cluster-id", &self.source_id];
        assert_said(&stage.keelson(&[&restore[..], wanted].concat())?, 0, &[]);
        assert_said(&stage.keelson(&["restore", APPLICATION])?, 0, &[]);
        assert_eq!(contents(&stage)?, self.genuine);
        Ok(stage)
    }

    /// Everything that the attacker did to genuine objects is undone for whoever looks without our eyes.
    fn lay_bare(&self, vault: &Vault) -> Result<()> {
        let looked = vault.repair(&[])?;
        let altered = looked["altered"].as_u64();
        ensure!(altered >= Some(self.keys.len() as u64) && looked["removed"] == 0, "{looked}");
        let undone = vault.repair(&["--yes"])?;
        ensure!(undone["locked"] == 0 && undone["removed"].as_u64() > Some(0), "{undone}");
        ensure!(vault.repair(&[])?["altered"] == 0, "something lies over objects still");
        let visible = block_on(vault.versions())?;
        let is_there = |key: &String| visible.iter().any(|(there, _)| there == key);
        ensure!(self.keys.iter().all(is_there), "a key is gone");
        Ok(())
    }
}

/// The application changes, is backed up and exported to a profile, and shipped. What it is then.
fn go_on(stage: &Stage, profile: &str) -> Result<Vec<Value>> {
    stage.create(&config_map("parcels"))?;
    let changed = contents(stage)?;
    back_up(stage, "after")?;
    export_to(stage, profile, "after")?;
    // After a recovery it begins anew once the policy was looked at.
    stage.until("disaster recovery is enabled", || {
        Ok((!stage.status()?["disasterRecovery"].is_null()).then_some(()))
    })?;
    assert_said(&stage.keelson(&["dr", "run"])?, 0, &[]);
    Ok(changed)
}

/// The application is lost, and comes back as its newest export has it.
fn comes_back(stage: &Stage, expected: &[Value]) -> Result<()> {
    stage.delete(&[&["configmap", "-n", APPLICATION][..], &MAPS].concat())?;
    assert_said(&stage.keelson(&["restore", APPLICATION])?, 0, &[]);
    assert_eq!(contents(stage)?, expected);
    Ok(())
}

/// As if nothing had happened, into the same bucket, as the owner of what lies there.
fn survives(vault: &Vault, attacked: &Attacked, wanted: &[&str]) -> Result<()> {
    let stage = attacked.recover(vault, wanted)?;
    stage.delete(&["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE])?;
    stage.until("ownership is taken", || {
        Ok((stage.status()?["ownership"]["state"] == "Owned").then_some(()))
    })?;
    let changed = go_on(&stage, "vault")?;
    comes_back(&stage, &changed)?;
    attacked.lay_bare(vault)?;
    comes_back(&stage, &changed)
}

#[test]
fn an_attacker_with_the_clusters_credentials_loses_to_a_recovery_as_of_before() -> Result<()> {
    let minio = block_on(Minio::start())?;
    block_on(minio.create_bucket(BUCKET, BucketProtection::ObjectLock))?;
    let vault = block_on(Vault::open(&minio.endpoint(), minio.access_key(), minio.secret_key()))?;
    let attacked = attacked(&vault, Hand::Stranger)?;
    survives(&vault, &attacked, &["--point-in-time", &attacked.before.to_string()])?;
    block_on(minio.stop())
}

/// That server tells of an object that something was laid over that it was written then: there is no earlier moment to
/// look at, but what the attacker cannot seal counts for nothing anyhow.
#[test]
fn an_attacker_loses_on_a_second_server_to_a_recovery_of_the_latest_state() -> Result<()> {
    let server = block_on(Versitygw::start())?;
    block_on(server.create_bucket(BUCKET, BucketProtection::ObjectLock))?;
    let vault = block_on(Vault::open(&server.endpoint(), server.access_key(), server.secret_key()))?;
    let attacked = attacked(&vault, Hand::Stranger)?;
    survives(&vault, &attacked, &[])?;
    block_on(server.stop())
}

/// He had the passphrase too: his claims, marks, verdicts and retirements open like ours, and none of it was there
/// before. Backups go on where he has not been.
#[test]
fn an_attacker_who_seals_with_stolen_keys_loses_to_a_recovery_as_of_before() -> Result<()> {
    let minio = block_on(Minio::start())?;
    block_on(minio.create_bucket(BUCKET, BucketProtection::ObjectLock))?;
    let vault = block_on(Vault::open(&minio.endpoint(), minio.access_key(), minio.secret_key()))?;
    let attacked = attacked(&vault, Hand::Thief { passphrase: PASSPHRASE })?;
    let stage = attacked.recover(&vault, &["--point-in-time", &attacked.before.to_string()])?;

    vault.apply_profile(&stage, "safe", "elsewhere")?;
    assert_said(&stage.keelson(&["dr", "enable", "--profile", "safe"])?, 0, &[]);
    let changed = go_on(&stage, "safe")?;
    comes_back(&stage, &changed)?;
    let points = stage.get(&["restorepointcontents"])?.context("a list")?;
    ensure!(points["items"].as_array().map(Vec::len) == Some(4), "two backups and two exports: {points}");
    attacked.lay_bare(&vault)?;
    block_on(minio.stop())
}

#[test]
fn a_profile_that_cannot_be_held_is_refused_with_every_reason() -> Result<()> {
    let minio = block_on(Minio::start())?;
    block_on(minio.create_bucket(BUCKET, BucketProtection::Versioning))?;
    let vault = block_on(Vault::open(&minio.endpoint(), minio.access_key(), minio.secret_key()))?;
    let share = Supervisor::start("share")?;
    let stage = Stage::raise(share.directory(), &[])?;
    let Err(refused) = vault.apply_profile(&stage, "vault", PATH) else {
        bail!("a bucket without locks was taken")
    };
    let words = "protectionPeriod cannot be held: Object Lock of the bucket is not on";
    ensure!(refused.to_string().contains(words), "{refused:#}");
    let said = stage.keelson(&["dr", "enable", "--profile", "vault"])?;
    ensure!(said.code != 0, "a profile that was refused holds the platform's backups: {said:?}");
    block_on(minio.stop())
}
