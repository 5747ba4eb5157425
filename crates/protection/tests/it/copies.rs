//! What lies only on the platform's volume follows disaster recovery wherever that moves, and goes with its content.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_model::names::DR_POLICY;
use keelson_model::{Clock, SessionId};
use keelson_protection::{Record, maintenance};
use keelson_repository::{NewSession, Open, OutcomeDraft, Repository, SessionPurpose};
use keelson_testkit::eventually;
use serde_json::{Value, json};

use crate::fixture::World;
use crate::stage::{NAMESPACE, PASSPHRASE, config, make_valid, open_repository, policy, profile};

const APPLICATION: &str = "shop";

/// A profile that leads to a folder of the share which bears its name.
async fn make_profile(world: &World, name: &str) -> Result<()> {
    let mut profile = profile();
    profile["metadata"]["name"] = json!(name);
    profile["spec"]["locationSpec"]["fileStore"]["path"] = json!(name);
    std::fs::create_dir_all(world.share.path().join(name))?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile).await
}

async fn lose_profile(world: &World, name: &str) -> Result<()> {
    world.platform.cluster().delete_object(&config("Profile", "profiles"), Some(NAMESPACE), name).await?;
    Ok(())
}

/// Protects the platform to a profile, and runs that once.
async fn protect(world: &World, profile: &str) -> Result<Record> {
    let mut policy = policy();
    let backup = &mut policy["spec"]["actions"][0]["backupParameters"];
    backup["profile"]["name"] = json!(profile);
    make_valid(&world.platform, &config("Policy", "policies"), &policy).await?;
    let run = format!("to-{profile}");
    let subject = json!({ "subject": { "kind": "Policy", "name": DR_POLICY, "namespace": NAMESPACE } });
    world.create("RunAction", (NAMESPACE, &run), subject).await?;
    world.completed("RunAction", (NAMESPACE, &run)).await
}

async fn back_up(world: &World, name: &str) -> Result<String> {
    let subject = json!({ "subject": { "name": APPLICATION, "namespace": APPLICATION } });
    world.create("BackupAction", (APPLICATION, name), subject).await?;
    let backup = world.completed("BackupAction", (APPLICATION, name)).await?;
    Ok(backup.body.status["restorePoint"]["name"].as_str().context("no restore point")?.to_owned())
}

/// The copies of the only content, the newest first.
fn copies(world: &World) -> Result<Vec<Value>> {
    let contents = world.list("RestorePointContent")?;
    ensure!(contents.len() == 1, "{contents:?}");
    let mut copies = Vec::new();
    let mut copy = &contents[0].body.internal["artifact"]["copy"];
    while !copy.is_null() {
        copies.push(copy.clone());
        copy = &copy["copy"];
    }
    Ok(copies)
}

fn profiles_of(copies: &[Value]) -> Vec<&str> {
    copies.iter().filter_map(|copy| copy["exported"]["profile"].as_str()).collect()
}

/// Whether an outcome is no longer wanted: stated as retired, or removed after that.
fn is_retired(world: &World, copy: &Value) -> Result<bool> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
    let exported = &copy["exported"];
    let folder: PathBuf = world.share.path().join(text(&exported["profile"])?).join(text(&exported["root"])?);
    ensure!(folder.join("format").exists(), "{} is no repository", folder.display());
    let outcome = text(&copy["outcome"])?;
    Ok(folder.join("retired").join(&outcome).exists() || !folder.join("outcomes").join(&outcome).exists())
}

/// Lets maintenance pass, and says how many things went wrong.
async fn maintain(world: &World) -> Result<maintenance::PassReport> {
    let before = eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    world.clock.advance(Duration::from_secs(25 * 3600));
    let passed = async || -> Result<Option<maintenance::PassReport>> {
        let passes = maintenance::passes(&world.platform).filter(|passes| passes.count > before.count);
        Ok(passes.and_then(|passes| passes.last))
    };
    // The policy's run is due as well: a pass that meets its session looks again after a minute.
    match eventually("maintenance has passed", passed).await {
        Err(_) => eventually("maintenance has passed, after a session", passed).await,
        passed => passed,
    }
}

async fn restore(world: &World, point: &str) -> Result<()> {
    let subject = json!({ "kind": "RestorePoint", "name": point, "namespace": APPLICATION });
    let spec = json!({ "subject": subject, "targetNamespace": APPLICATION });
    world.create("RestoreAction", (APPLICATION, "again"), spec).await?;
    world.completed("RestoreAction", (APPLICATION, "again")).await?;
    Ok(())
}

/// Whatever had a copy anywhere was never copied again: when the first location was given up, so were all local restore
/// points of before, and nothing said so.
#[tokio::test(flavor = "multi_thread")]
async fn local_restore_points_follow_disaster_recovery_to_each_location() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(APPLICATION).await?;
    for name in ["first", "second"] {
        make_profile(&world, name).await?;
    }
    world.serve();
    let point = back_up(&world, "only").await?;
    protect(&world, "first").await?;
    ensure!(profiles_of(&copies(&world)?) == ["first"]);
    protect(&world, "second").await?;
    ensure!(profiles_of(&copies(&world)?) == ["second", "first"], "the one before stays named");
    let source = world.platform.cluster_id().clone();

    let mut world = world.lose_cluster().await?;
    std::fs::remove_dir_all(world.share.path().join("first"))?;
    world.namespace(APPLICATION).await?;
    make_profile(&world, "second").await?;
    world.serve();
    world.recover_through("second", &source).await?;
    restore(&world, &point).await?;

    // What the lost cluster has left moves on, too: it is all that is left of that backup.
    make_profile(&world, "third").await?;
    let run = protect(&world, "third").await?;
    ensure!(run.body.status["exceptions"].is_null(), "{}", run.body.status);
    ensure!(profiles_of(&copies(&world)?) == ["third", "second", "first"]);
    world.end().await
}

/// A run that could never copy what a lost location held would fail for ever, and protect nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_tells_of_restore_points_that_stay_in_a_location_out_of_reach() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(APPLICATION).await?;
    make_profile(&world, "first").await?;
    world.serve();
    back_up(&world, "only").await?;
    protect(&world, "first").await?;
    let source = world.platform.cluster_id().clone();

    let mut world = world.lose_cluster().await?;
    world.namespace(APPLICATION).await?;
    for name in ["first", "second"] {
        make_profile(&world, name).await?;
    }
    world.serve();
    world.recover_through("first", &source).await?;
    lose_profile(&world, "first").await?;
    let run = protect(&world, "second").await?;
    let told = run.body.status["exceptions"].to_string();
    ensure!(told.contains("was not copied") && told.contains("no profile 'first'"), "{told}");
    ensure!(profiles_of(&copies(&world)?) == ["first"]);

    // The next run tries it again.
    make_profile(&world, "first").await?;
    world.delete("RunAction", (NAMESPACE, "to-second")).await?;
    let run = protect(&world, "second").await?;
    ensure!(run.body.status["exceptions"].is_null(), "{}", run.body.status);
    ensure!(profiles_of(&copies(&world)?) == ["second", "first"]);
    world.end().await
}

/// Only what lay on the platform's volume was retired: every local restore point stayed in the location for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_copies_of_a_content_go_with_it_and_those_out_of_reach_once_they_are_back() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(APPLICATION).await?;
    for name in ["first", "second"] {
        make_profile(&world, name).await?;
    }
    world.serve();
    back_up(&world, "only").await?;
    protect(&world, "first").await?;
    protect(&world, "second").await?;
    let copies = copies(&world)?;
    ensure!(profiles_of(&copies) == ["second", "first"]);
    maintain(&world).await?;
    for copy in &copies {
        ensure!(!is_retired(&world, copy)?, "it is needed: {copy}");
    }

    for content in world.list("RestorePointContent")? {
        world.delete("RestorePointContent", ("", &content.name)).await?;
    }
    eventually("all is retired", async || Ok(world.list("RestorePointContent")?.is_empty().then_some(())))
        .await?;
    lose_profile(&world, "first").await?;
    maintain(&world).await?;
    ensure!(is_retired(&world, &copies[0])?, "the copy in force");
    ensure!(!is_retired(&world, &copies[1])?, "nobody can reach it");
    make_profile(&world, "first").await?;
    let report = maintain(&world).await?;
    ensure!(report.failures_total == 0, "{report:?}");
    ensure!(is_retired(&world, &copies[1])?, "the one in the location before");
    world.end().await
}

/// After a recovery only the repository that was recovered from was known: what lay in one of before stayed for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovered_platform_knows_every_repository_that_was_in_force_before() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(APPLICATION).await?;
    for name in ["first", "second"] {
        make_profile(&world, name).await?;
    }
    world.serve();
    back_up(&world, "only").await?;
    protect(&world, "first").await?;
    protect(&world, "second").await?;
    let source = world.platform.cluster_id().clone();

    let mut world = world.lose_cluster().await?;
    world.namespace(APPLICATION).await?;
    make_profile(&world, "second").await?;
    world.serve();
    world.recover_through("second", &source).await?;
    // As the recovery put it back, and a controller has looked at it since.
    make_profile(&world, "first").await?;
    let copies = copies(&world)?;
    ensure!(profiles_of(&copies) == ["second", "first"]);
    world.take_ownership().await?;
    maintain(&world).await?;
    for content in world.list("RestorePointContent")? {
        world.delete("RestorePointContent", ("", &content.name)).await?;
    }
    eventually("all is retired", async || Ok(world.list("RestorePointContent")?.is_empty().then_some(())))
        .await?;
    let report = maintain(&world).await?;
    ensure!(report.failures_total == 0 && report.refused.is_empty(), "{report:?}");
    for copy in &copies {
        ensure!(is_retired(&world, copy)?, "{copy}");
    }
    world.end().await
}

/// A process that ended between the outcome and what names it left the outcome there for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_names_in_the_repository_in_force_is_retired_after_a_week() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(APPLICATION).await?;
    make_profile(&world, "first").await?;
    world.serve();
    back_up(&world, "only").await?;
    protect(&world, "first").await?;
    let copies = copies(&world)?;
    let root =
        world.share.path().join("first").join(copies[0]["exported"]["root"].as_str().context("a root")?);
    let repository = open_repository(&root, PASSPHRASE).await?;
    let mut left = BTreeSet::new();
    for purpose in [SessionPurpose::Export, SessionPurpose::Backup] {
        left.insert(commit_nothing(&repository, purpose, world.clock.now()).await?);
    }
    let retired = async || -> Result<BTreeSet<SessionId>> {
        Ok(repository.list_retired().await?.into_iter().map(|retirement| retirement.outcome).collect())
    };

    maintain(&world).await?;
    ensure!(retired().await?.is_empty(), "they may be named yet");
    for _ in 0..8 {
        world.clock.advance(Duration::from_secs(24 * 3600));
    }
    let report = maintain(&world).await?;
    ensure!(report.failures_total == 0, "{report:?}");
    ensure!(retired().await? == left, "and nothing that is named: {:?}", retired().await?);
    world.end().await
}

/// What is left by a process that ended before it named its outcome.
async fn commit_nothing(
    repository: &Repository<Open>,
    purpose: SessionPurpose,
    now: Timestamp,
) -> Result<SessionId> {
    let indexed = repository.load_index().await?;
    let lives_until = now + Duration::from_secs(3600);
    let session = indexed.begin(NewSession { purpose, lives_until, now }).await?;
    let draft =
        OutcomeDraft { created: now, description: b"{}".to_vec(), streams: Vec::new(), retain_until: None };
    Ok(session.commit(draft).await?.id)
}
