//! A recovery with a passphrase that was replaced: what it leads to is taken over, and nothing is written under it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use keelson_crypto::Fingerprint;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use serde_json::json;

use crate::fixture::World;
use crate::stage::{config, make_valid, open_repository, profile, set_passphrase};

const FIRST: &str = "the first of the phrases";
const SECOND: &str = "the second of the phrases";
const THIRD: &str = "a third and longer phrase";
const APPLICATION: &str = "shop";

/// The number of the newest vault key that a passphrase leads to, and what tells it from others.
async fn newest(repository: &Path, phrase: &str) -> Result<(u32, Fingerprint)> {
    let opened = open_repository(repository, phrase).await?;
    let newest = opened.vault_keys().newest();
    Ok((newest.number(), newest.fingerprint()))
}

/// The repositories below a folder of the share.
fn repositories(world: &World, folder: &str) -> Result<Vec<PathBuf>> {
    let formats =
        world.listing(folder)?.into_iter().filter_map(|path| path.strip_suffix("/format").map(str::to_owned));
    Ok(formats.map(|path| world.share.path().join(folder).join(path)).collect())
}

async fn prepare_again(world: &mut World, phrase: &str) -> Result<()> {
    set_passphrase(world.platform.cluster(), phrase).await?;
    world.namespace(APPLICATION).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    Ok(())
}

/// What is written into a repository but by those who read: they only say that they are there.
fn written(world: &World, folder: &str) -> Result<Vec<String>> {
    let all = world.listing(folder)?.into_iter();
    Ok(all.filter(|path| !["/sessions/", "/outcomes/"].iter().any(|part| path.contains(part))).collect())
}

/// The recovered instance took the replaced key for the newest: everything it wrote could be read with the passphrase
/// that had been given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_with_a_replaced_passphrase_writes_nothing_under_the_key_that_it_leads_to() -> Result<()> {
    let mut world = World::start().await?;
    prepare_again(&mut world, FIRST).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.export(APPLICATION, "early", json!({})).await?;
    set_passphrase(world.platform.cluster(), SECOND).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.export(APPLICATION, "late", json!({})).await?;
    let source = world.platform.cluster_id().clone();
    let folder = format!("k10/{source}");
    ensure!(repositories(&world, &folder)?.len() == 3, "two of the platform, one of the application");

    let mut world = world.lose_cluster().await?;
    prepare_again(&mut world, FIRST).await?;
    let before = written(&world, &folder)?;
    let recovery = world.recover(&source).await?;
    let warnings = recovery.body.status["plan"].to_string();
    ensure!(warnings.contains("was replaced"), "the plan does not warn: {warnings}");
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.export(APPLICATION, "pending", json!({})).await?;
    ensure!(written(&world, &folder)? == before, "nothing is written into what the source has left");
    world.take_ownership().await?;
    let exported = world.export(APPLICATION, "owned", json!({})).await?;
    ensure!(exported.body.status["state"] == "Complete");
    // A new owner leaves its claim, and a card that says where backups go on.
    let of_owners = |path: &String| path.starts_with("epochs/") || path.starts_with("cards/");
    let after: Vec<_> = written(&world, &folder)?.into_iter().filter(|path| !of_owners(path)).collect();
    let before: Vec<_> = before.into_iter().filter(|path| !of_owners(path)).collect();
    ensure!(after == before, "nor once it is owned");

    let theirs = newest(&repositories(&world, &format!("{folder}/exports"))?[0], SECOND).await?;
    let own = repositories(&world, &format!("k10/{}", world.platform.cluster_id()))?;
    ensure!(own.len() == 3, "the platform's, and one export before and one after it was owned: {own:?}");
    for repository in &own {
        let (number, fingerprint) = newest(repository, FIRST).await?;
        ensure!(number == 2 && fingerprint != theirs.1, "a key of its own, above the one that was replaced");
        ensure!(open_repository(repository, SECOND).await.is_err(), "it belongs to another installation");
        ensure!(open_repository(repository, FIRST).await?.keyring().newest().number() == 2);
    }

    // The passphrase that is put in force now makes the next key, like any other.
    set_passphrase(world.platform.cluster(), THIRD).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let own = repositories(&world, &format!("k10/{}/dr", world.platform.cluster_id()))?;
    let mut numbers = Vec::new();
    for repository in &own {
        numbers.push(newest(repository, THIRD).await?.0);
    }
    ensure!(numbers == [3, 3], "{numbers:?}");
    world.end().await
}

/// A second passphrase in the Secret leads further than the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_goes_on_under_the_newest_key_that_any_of_its_passphrases_leads_to() -> Result<()> {
    let mut world = World::start().await?;
    prepare_again(&mut world, FIRST).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    set_passphrase(world.platform.cluster(), SECOND).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let source = world.platform.cluster_id().clone();
    let old = repositories(&world, &format!("k10/{source}/dr"))?;
    let theirs = newest(old.first().context("a repository")?, SECOND).await?;

    let mut world = world.lose_cluster().await?;
    prepare_again(&mut world, FIRST).await?;
    let fields = [("key".to_owned(), FIRST.into()), ("key-new".to_owned(), SECOND.into())];
    let at = keelson_workload::NamespacedName::new("kasten-io", keelson_model::names::DR_SECRET);
    world.platform.cluster().apply_secret(&keelson_workload::Secret::opaque(at.clone(), fields)).await?;
    let recovery = world.recover(&source).await?;
    ensure!(!recovery.body.status["plan"].to_string().contains("was replaced"), "{}", recovery.body.status);
    set_passphrase(world.platform.cluster(), SECOND).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let own = repositories(&world, &format!("k10/{}/dr", world.platform.cluster_id()))?;
    ensure!(own.len() == 1 && newest(&own[0], SECOND).await? == theirs, "the lineage's own key");
    ensure!(open_repository(&own[0], FIRST).await.is_err());
    world.end().await
}
