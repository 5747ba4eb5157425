//! What was exported long ago and lost its slots opens with the passphrase again once it is upgraded.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use keelson_model::recovery::DrMode;
use keelson_protection::Record;
use keelson_protection::recovery::enable::enable;
use keelson_testkit::eventually;
use serde_json::{Value, json};

use crate::fixture::{World, copy};
use crate::stage::{NAMESPACE, config, make_valid, open_repository, plain_policy, profile, set_passphrase};

const PASSPHRASE: &str = "the passphrase of the platform";
const CHANGED: &str = "a later passphrase of the platform";
const SHOP: &str = "shop";
const WIKI: &str = "wiki";
const POLICY: &str = "nightly";

fn folder(world: &World, application: &str) -> Result<PathBuf> {
    let exports = format!("k10/{}/exports/{application}", world.platform.cluster_id());
    let mut found = std::fs::read_dir(world.share.path().join(exports))?;
    Ok(found.next().context("a repository")??.path())
}

async fn opens(world: &World, application: &str) -> Result<bool> {
    Ok(open_repository(&folder(world, application)?, PASSPHRASE).await.is_ok())
}

fn lose_slots(world: &World, application: &str) -> Result<()> {
    std::fs::remove_dir_all(folder(world, application)?.join("slots")).context("lose the slots")
}

async fn repository(world: &World, is: impl Fn(&Record) -> bool) -> Result<Value> {
    let found = eventually("the repository is an object", async || {
        Ok(world.list("StorageRepository")?.into_iter().find(|found| is(found)))
    });
    Ok(json!({ "kind": "StorageRepository", "name": found.await?.name, "namespace": NAMESPACE }))
}

fn of_application(application: &str) -> impl Fn(&Record) -> bool {
    move |record| record.body.status["appName"] == application
}

fn policy(name: &str) -> Value {
    json!({ "kind": "Policy", "name": name, "namespace": NAMESPACE })
}

async fn upgrade(world: &World, name: &str, subject: Value) -> Result<Record> {
    let profile = json!({ "name": "vault", "namespace": NAMESPACE });
    world
        .create("UpgradeAction", (NAMESPACE, name), json!({ "subject": subject, "profile": profile }))
        .await?;
    world.ended("UpgradeAction", (NAMESPACE, name)).await
}

async fn refused(world: &World, name: &str, subject: Value, message: &str) -> Result<()> {
    let ended = upgrade(world, name, subject).await?.body.status;
    let error = &ended["error"];
    let told = format!("{} {}", error["message"], error["cause"]);
    ensure!(ended["state"] == "Failed" && told.contains(message), "{name}: {ended}");
    Ok(())
}

async fn exported() -> Result<World> {
    let mut world = World::start().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    set_passphrase(world.platform.cluster(), PASSPHRASE).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.serve();
    for application in [SHOP, WIKI] {
        world.namespace(application).await?;
    }
    world.export(SHOP, "by-hand", json!({})).await?;
    export_by_policy(&world, POLICY, &[WIKI]).await?;
    Ok(world)
}

async fn export_by_policy(world: &World, policy: &str, applications: &[&str]) -> Result<()> {
    let profile = json!({ "name": "vault", "namespace": NAMESPACE });
    let names = json!({ "key": "k10.kasten.io/appNamespace", "operator": "In", "values": applications });
    let spec = json!({
        "frequency": "@onDemand",
        "selector": { "matchExpressions": [names] },
        "actions": [{ "action": "backup" }, { "action": "export", "exportParameters": {
            "frequency": "@onDemand", "profile": profile, "exportData": { "enabled": true } } }],
    });
    world.apply_policy(&plain_policy(policy, &spec)).await?;
    let status = world.run_policy(&format!("run-{policy}"), policy).await?;
    ensure!(status["state"] == "Complete", "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_lets_exports_open_with_the_passphrase_again() -> Result<()> {
    let world = exported().await?;
    for application in [SHOP, WIKI] {
        ensure!(opens(&world, application).await?, "'{application}' has its slot");
        lose_slots(&world, application)?;
        ensure!(!opens(&world, application).await?, "'{application}' has lost it");
    }

    let done = upgrade(&world, "of-policy", policy(POLICY)).await?.body.status;
    ensure!((&done["state"], &done["upgradedRepositories"]) == (&json!("Complete"), &json!(1)), "{done}");
    ensure!(opens(&world, WIKI).await? && !opens(&world, SHOP).await?, "the policy exported '{WIKI}' alone");
    let subject = repository(&world, of_application(SHOP)).await?;
    for name in ["lost", "nothing-to-do"] {
        let done = upgrade(&world, name, subject.clone()).await?.body.status;
        ensure!(done["state"] == "Complete", "{done}");
        ensure!(opens(&world, SHOP).await?);
    }
    world.end().await
}

/// The newest keys of an application's exports, if they open with the passphrase.
async fn keys(world: &World, application: &str, passphrase: &str) -> Result<Option<u32>> {
    let opened = open_repository(&folder(world, application)?, passphrase).await;
    Ok(opened.ok().map(|open| open.keyring().newest().number()))
}

/// The location was put back to what it held before the passphrase was changed, while the platform went on.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_gives_exports_of_older_keys_the_newest_key_and_the_passphrase_of_today() -> Result<()> {
    let world = exported().await?;
    let (root, older) = (folder(&world, SHOP)?, world.share.path().join("older"));
    copy(&root, &older)?;
    set_passphrase(world.platform.cluster(), CHANGED).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    std::fs::remove_dir_all(&root)?;
    copy(&older, &root)?;
    ensure!(keys(&world, SHOP, PASSPHRASE).await? == Some(1), "it has the keys of before");
    ensure!(keys(&world, SHOP, CHANGED).await?.is_none(), "nothing of it opens with the new passphrase");

    let subject = repository(&world, of_application(SHOP)).await?;
    let done = upgrade(&world, "of-older-keys", subject).await?.body.status;
    ensure!((&done["state"], &done["upgradedRepositories"]) == (&json!("Complete"), &json!(1)), "{done}");
    ensure!(keys(&world, SHOP, CHANGED).await? == Some(2), "it has the key of the new passphrase");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_refused_one_repository_mends_the_others_and_names_it() -> Result<()> {
    let world = exported().await?;
    export_by_policy(&world, "both", &[SHOP, WIKI]).await?;
    std::fs::rename(folder(&world, WIKI)?, world.share.path().join("aside"))?;
    lose_slots(&world, SHOP)?;
    ensure!(!opens(&world, SHOP).await?, "'{SHOP}' has lost its slots");

    refused(&world, "partly", policy("both"), "1 of 2 repositories were upgraded, the others not: ").await?;
    ensure!(opens(&world, SHOP).await?, "'{SHOP}' is upgraded whatever became of '{WIKI}'");
    let message = format!("exports/{WIKI}");
    refused(&world, "again", policy("both"), &message).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_finds_nothing_to_upgrade_says_what_it_looked_for() -> Result<()> {
    let world = exported().await?;
    let absent =
        json!({ "kind": "StorageRepository", "name": "metadata-repository-x", "namespace": NAMESPACE });
    refused(&world, "absent", absent, "there is no storage repository 'metadata-repository-x'").await?;
    let elsewhere = "holds no exports of this installation that profile 'vault' leads to";
    for (name, of) in [("recovery", "dr"), ("local", "Volume")] {
        let is = |record: &Record| {
            let status = &record.body.status;
            status["contentType"] == of || status["location"]["type"] == of
        };
        refused(&world, name, repository(&world, is).await?, elsewhere).await?;
    }
    let subject = repository(&world, of_application(WIKI)).await?;
    std::fs::rename(folder(&world, WIKI)?, world.share.path().join("aside"))?;
    refused(&world, "gone", subject, "is not in 'vault' any more").await?;
    let spec = json!({
        "frequency": "@onDemand", "selector": { "matchLabels": { "app": "none" } }, "actions": [{ "action": "backup" }],
    });
    world.apply_policy(&plain_policy("other", &spec)).await?;
    refused(
        &world,
        "nothing",
        policy("other"),
        "no export of policy 'other' lies where profile 'vault' leads to",
    )
    .await?;
    refused(&world, "no-policy", policy("none"), "there is no policy 'none'").await?;
    world.end().await
}
