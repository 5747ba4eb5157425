//! What was retired is freed by itself, and what is still needed is not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_model::Clock;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_protection::recovery::state;
use keelson_protection::{maintenance, status};
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::json;

use crate::fixture::World;
use crate::stage::{config, make_valid, profile};

/// Of two applications the backups of one go.
const GOES: &str = "shop";
const STAYS: &str = "wiki";
/// Of what the one has, in hex: half of it is there to be freed.
const BALLAST: usize = 150_000;

/// It may be a damaged backup: nothing is freed that it could need, until a person has decided.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_open_among_the_outcomes_is_told_and_left_alone() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(GOES).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    world.export(GOES, "goes", json!({})).await?;
    let share = world.share.path().to_owned();
    let cluster = format!("k10/{}", world.platform.cluster_id());
    let packs = || -> Result<usize> {
        Ok(world.listing(&cluster)?.iter().filter(|path| path.contains("/packs/")).count())
    };
    let listing = world.listing(&cluster)?;
    let outcome = listing.iter().find(|path| path.contains("/outcomes/")).context("an export")?;
    let (folder, _) = outcome.rsplit_once('/').context("a folder")?;
    let name = format!("outcomes/{}", "5".repeat(32));
    let planted = share.join(&cluster).join(folder).join("5".repeat(32));
    std::fs::write(&planted, b"of a stranger")?;
    for content in world.list("RestorePointContent")? {
        world.delete("RestorePointContent", ("", &content.name)).await?;
    }
    eventually("all is retired", async || Ok(world.list("RestorePointContent")?.is_empty().then_some(())))
        .await?;
    let before = packs()?;
    eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    world.clock.advance(Duration::from_secs(3 * 3600));
    let report = world.maintained(1).await?;
    let told = |it: &String| it.contains(&name) && it.contains("delete the object from the store");
    ensure!(report.failures.iter().any(told), "{report:?}");
    ensure!(planted.exists() && packs()? == before, "nothing was freed there");

    std::fs::remove_file(&planted)?;
    world.clock.advance(Duration::from_secs(25 * 3600));
    let report = world.maintained(2).await?;
    ensure!(report.failures_total == 0 && packs()? < before, "{report:?}");
    world.end().await
}

/// The location was away for as long as its RetireAction tried, and nobody could ever ask again.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_retired_is_retired_when_it_is_asked_for_again() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(GOES).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    world.export(GOES, "goes", json!({})).await?;
    let exported = || -> Result<Option<String>> {
        let mut contents = world.list("RestorePointContent")?.into_iter();
        let exported = contents.find(|it| it.labels.contains_key("k10.kasten.io/exportProfile"));
        Ok(exported.map(|content| content.name))
    };
    let content = exported()?.context("the exported content")?;
    let (here, away) = (world.share.path().join("k10"), world.share.path().join("away"));
    std::fs::rename(&here, &away)?;
    std::fs::write(&here, "not a folder")?;
    world.delete("RestorePointContent", ("", &content)).await?;
    eventually("the action has failed", async || {
        let actions = world.list("RetireAction")?;
        Ok(actions.iter().any(|action| action.body.status["state"] == "Failed").then_some(()))
    })
    .await?;
    ensure!(exported()?.as_ref() == Some(&content), "it is kept");

    std::fs::remove_file(&here)?;
    std::fs::rename(&away, &here)?;
    world.delete("RestorePointContent", ("", &content)).await?;
    eventually("it is retired", async || Ok(exported()?.is_none().then_some(()))).await?;
    world.end().await
}

/// Prunes of the location waited a day for an export that had failed at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_leaves_no_session_that_is_waited_for() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(GOES).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    world.export(GOES, "goes", json!({})).await?;
    let cluster = world.share.path().join("k10").join(world.platform.cluster_id().as_str());
    let repository = world.listing(&format!("k10/{}", world.platform.cluster_id()))?.into_iter();
    let pack = repository.into_iter().find(|path| path.contains("/packs/")).context("a pack")?;
    let (repository, _) = pack.split_once("/packs/").context("a repository")?;
    let repository = cluster.join(repository);
    // What has changed needs a new pack, and has no place for it.
    std::fs::remove_dir_all(repository.join("packs"))?;
    std::fs::write(repository.join("packs"), "not a folder")?;
    let maps = Kind::namespaced("v1", "ConfigMap", "configmaps");
    let map = json!({ "metadata": { "name": "new", "namespace": GOES }, "data": { "is": "new" } });
    world.platform.cluster().apply_object(&maps, &map).await?;
    ensure!(world.export(GOES, "fails", json!({})).await.is_err(), "there is no room");
    let names = |folder: PathBuf| -> Result<BTreeSet<String>> {
        let names =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    };
    for repository in [repository, world.data.path().join("local")] {
        let (begun, ended) = (names(repository.join("sessions"))?, names(repository.join("outcomes"))?);
        ensure!(!begun.is_empty() && begun.is_subset(&ended), "{begun:?} have begun, {ended:?} have ended");
    }
    world.end().await
}

/// What had not expired was retired, and pruned, by a platform whose clock was set ahead.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_where_the_clocks_differ() -> Result<()> {
    let mut world = World::start_now().await?;
    world.namespace(GOES).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (name, life) in [("early", 2), ("late", 60)] {
        world.export(GOES, name, json!({ "expiresAt": world.clock.now() + minutes(life) })).await?;
    }
    let exported = || -> Result<Vec<String>> {
        let contents = world.list("RestorePointContent")?.into_iter();
        let exported = contents.filter(|it| it.labels.contains_key("k10.kasten.io/exportProfile"));
        Ok(exported.map(|content| content.name).collect())
    };
    world.clock.advance(minutes(3));
    eventually("one has expired", async || Ok((exported()?.len() == 1).then_some(()))).await?;
    let retired = world.list("RetireAction")?.len();

    world.clock.advance(minutes(120));
    let told = || status::observe(&world.platform).ownership.waits;
    eventually("the wait is told", async || Ok(told().first().cloned())).await?;
    ensure!(told()[0].contains("differ by"), "{:?}", told());
    let left = exported()?;
    ensure!(left.len() == 1 && world.list("RetireAction")?.len() == retired, "{left:?}");

    // Whoever asks for it is told, too.
    world.delete("RestorePointContent", ("", &left[0])).await?;
    eventually("the deletion was refused", async || {
        let actions = world.list("RetireAction")?.into_iter();
        Ok(actions.into_iter().find(|action| action.body.status["state"] == "Skipped"))
    })
    .await?;
    ensure!(exported()? == left, "it is kept");
    world.end().await
}

/// A page said that people have to do it.
#[tokio::test(flavor = "multi_thread")]
async fn what_dead_writers_left_goes_once_it_is_a_day_old() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(GOES).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    world.export(GOES, "stays", json!({})).await?;
    let cluster = format!("k10/{}", world.platform.cluster_id());
    let before = world.listing(&cluster)?;
    let pack = before.iter().find(|path| path.contains("/packs/")).context("a pack")?;
    let (repository, _) = pack.split_once("/packs/").context("a repository")?;
    let folder = world.share.path().join(&cluster).join(repository);
    let leave = |name: String, hours: u64| -> Result<PathBuf> {
        let path = folder.join(name);
        std::fs::write(&path, "half of a pack")?;
        let file = std::fs::File::options().write(true).open(&path)?;
        file.set_modified(file.metadata()?.modified()? - Duration::from_secs(hours * 3600))?;
        Ok(path)
    };
    let old = leave(format!("packs/.keelson-{}", "0".repeat(32)), 25)?;
    let young = leave(format!("index/.keelson-{}", "1".repeat(32)), 23)?;
    eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    world.clock.advance(Duration::from_secs(3 * 3600));
    let report = eventually("maintenance has passed", async || {
        Ok(maintenance::passes(&world.platform).and_then(|passes| passes.last))
    })
    .await?;
    assert_eq!((report.leftovers_removed, report.failures_total), (1, 0), "{report:?}");
    ensure!(!old.exists() && young.exists(), "only what is a day old goes");
    // Records of sessions that ended go, too.
    let left = world.listing(&cluster)?;
    let data = |path: &&String| ["/packs/", "/index/", "/keys/"].iter().any(|part| path.contains(part));
    let gone: Vec<_> = before.iter().filter(data).filter(|path| !left.contains(*path)).collect();
    ensure!(gone.is_empty(), "{gone:?}");
    world.end().await
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_retired_is_freed_and_what_is_left_restores() -> Result<()> {
    let mut world = World::start().await?;
    for application in [GOES, STAYS] {
        world.namespace(application).await?;
    }
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    let maps = Kind::namespaced("v1", "ConfigMap", "configmaps");
    let ballast: Vec<_> = (0..BALLAST / 256).map(|_| keelson_testkit::random_hex::<128>()).collect();
    let ballast = json!({ "metadata": { "name": "ballast", "namespace": GOES },
        "data": { "content": ballast.join("\n") } });
    world.platform.cluster().apply_object(&maps, &ballast).await?;
    world.export(GOES, "goes", json!({})).await?;
    let export = world.export(STAYS, "stays", json!({})).await?;

    let share = world.share.path().to_owned();
    let before = bytes_below(&share);
    for content in world.list("RestorePointContent")? {
        if content.labels["k10.kasten.io/appNamespace"] == GOES {
            world.delete("RestorePointContent", ("", &content.name)).await?;
        }
    }
    eventually("what was deleted is retired", async || {
        Ok((world.list("RestorePointContent")?.len() == 2).then_some(()))
    })
    .await?;
    eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    world.clock.advance(Duration::from_secs(3 * 3600));
    let report = eventually("maintenance has passed", async || {
        Ok(maintenance::passes(&world.platform).and_then(|passes| passes.last))
    })
    .await?;
    assert_eq!((report.failures_total, report.restore_points_removed), (0, 2), "{report:?}");
    ensure!(report.bytes_freed > BALLAST as u64 / 3, "{report:?}");
    let after = bytes_below(&share);
    ensure!(after + BALLAST as u64 / 3 < before, "{before} bytes were in the location, {after} are left");

    let point = export.body.status["restorePoint"]["name"].as_str().context("the export made no point")?;
    let subject = json!({ "kind": "RestorePoint", "name": point, "namespace": STAYS });
    let spec = json!({ "subject": subject, "targetNamespace": STAYS });
    world.create("RestoreAction", (STAYS, "again"), spec).await?;
    world.completed("RestoreAction", (STAYS, "again")).await?;
    world.end().await
}

/// What a base was to name, had the process not ended, stayed for ever.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_no_base_names_are_freed_after_a_week() -> Result<()> {
    let mut world = World::start().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    for mode in [DrMode::Legacy, DrMode::QuickNoSnapshot] {
        enable(&world.platform, "vault", mode).await?;
    }
    world.serve();
    let repository = state::enabled(&world.platform)?.context("it is enabled")?.repository;
    let folder = format!("k10/{}/dr/{repository}", world.platform.cluster_id());
    let names = |kind: &str| -> Result<Vec<String>> {
        Ok(world.listing(&folder)?.into_iter().filter(|path| path.starts_with(kind)).collect())
    };
    let (bases, outcomes) = (names("bases/")?, names("outcomes/")?.len());
    ensure!(bases.len() == 2 && outcomes >= 2, "{bases:?} {outcomes}");
    std::fs::remove_file(world.share.path().join(&folder).join(&bases[0]))?;

    eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    world.clock.advance(Duration::from_secs(3 * 3600));
    let report = world.maintained(1).await?;
    ensure!(report.failures_total == 0 && names("outcomes/")?.len() == outcomes, "{report:?}");
    world.clock.advance(Duration::from_secs(8 * 24 * 3600));
    let report = world.maintained(2).await?;
    let left = names("outcomes/")?;
    ensure!(report.failures_total == 0 && left.len() == 1, "{report:?} {left:?}");
    ensure!(names("bases/")? == bases[1..], "what a base names stays");
    world.end().await
}

/// They waited for the year that the clock had once shown; meanwhile the locks of what is kept would have ended.
#[tokio::test(flavor = "multi_thread")]
async fn maintenance_and_drills_go_on_after_a_clock_that_was_years_ahead() -> Result<()> {
    let mut world = World::start().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.serve();
    let begun = world.clock.now();
    let ahead = begun + Duration::from_secs(2 * 365 * 24 * 3600);
    eventually("a pass and a drill are due", async || {
        let drills = state::drills(&world.platform)?;
        Ok(maintenance::passes(&world.platform).zip(drills))
    })
    .await?;
    let last = || -> Result<_> {
        let pass = maintenance::passes(&world.platform).and_then(|passes| passes.last);
        let drill = state::drills(&world.platform)?.and_then(|drills| drills.last);
        Ok(pass.map(|pass| pass.at).zip(drill.map(|drill| drill.at)))
    };
    world.clock.set(ahead);
    eventually("both were done while the clock was ahead", async || {
        Ok(last()?.filter(|(pass, drill)| *pass >= ahead && *drill >= ahead))
    })
    .await?;
    world.clock.set(begun);
    eventually("both are done again", async || {
        Ok(last()?.filter(|(pass, drill)| *pass < ahead && *drill < ahead))
    })
    .await?;
    let (passes, drills) = (maintenance::passes(&world.platform), state::drills(&world.platform)?);
    let (next_pass, next_drill) = (passes.context("passes")?.next, drills.context("drills")?.next);
    let day = begun + Duration::from_secs(24 * 3600);
    ensure!(next_pass <= day && next_drill <= day, "{next_pass} {next_drill}");
    world.end().await
}
