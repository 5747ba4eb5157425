//! A recovery that did not take ownership leaves its source alone, however long it lives, whatever is exported, restored
//! and retired meanwhile; one that did waits a day.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_catalog::{Actor, Change, Class, Expect, Labels, Row, RowKind};
use keelson_model::Clock;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::CardDocument;
use keelson_protection::recovery::enable::enable;
use keelson_protection::status;
use keelson_protection::{Record, Requester};
use keelson_resources::find_kind;
use keelson_testkit::eventually;
use serde_json::json;

use crate::fixture::World;
use crate::stage::{config, make_valid, policy, profile};

const HOUR: Duration = Duration::from_secs(3600);
const APPLICATION: &str = "shop";

async fn prepare_again(world: &mut World) -> Result<()> {
    world.namespace(APPLICATION).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    Ok(())
}

fn ended_runs(world: &World) -> Result<usize> {
    let runs = world.list("RunAction")?;
    Ok(runs.iter().filter(|run| run.body.status["state"] == "Complete").count())
}

/// Restores an export into a namespace of its own.
async fn restore(world: &World, export: &str) -> Result<()> {
    let content = exported(world)?.into_iter().find(|content| content.name.contains(export));
    let mut subject = content.context("the export is known")?.body.status["restorePointRef"].clone();
    subject["kind"] = json!("RestorePoint");
    let namespace = format!("again-{export}");
    world.namespace(&namespace).await?;
    let spec = json!({ "subject": subject, "targetNamespace": namespace });
    world.create("RestoreAction", (&namespace, "again"), spec).await?;
    world.completed("RestoreAction", (&namespace, "again")).await.map(drop)
}

/// As if it had been asked for before this instance knew that it owns nothing: the door refuses by now.
fn retire_in_flight(world: &World, content: &Record) -> Result<Record> {
    let kind = find_kind("actions.kio.kasten.io", "retireactions").context("a kind")?;
    let mut action = Record::new(kind, "", "in-flight", world.clock.now(), Class::Local);
    action.body.spec = json!({ "scheduledTime": world.clock.now() });
    action.body.status = json!({ "state": "Pending", "progress": 0, "requester": { "name": "keelson" } });
    action.body.internal = json!({
        "requester": Requester::Platform,
        "subject": { "content": content.name, "uid": content.uid },
    });
    let work = Row {
        kind: RowKind::new("work"),
        namespace: String::new(),
        name: action.uid.clone(),
        uid: action.uid.clone(),
        labels: Labels::new(),
        created: action.created,
        class: Class::Derived,
        body: serde_json::to_vec(&json!({
            "kind": action.kind.to_string(), "namespace": "", "name": action.name, "uid": action.uid,
        }))?,
    };
    let work = Change::Put { row: work, expect: Expect::Absent };
    world.platform.catalog()?.commit(&Actor::new("test"), vec![action.put(Expect::Absent), work])?;
    Ok(action)
}

/// A reader leaves in the repository that it came, so that maintenance waits for it, and that it went.
fn ensure_only_read(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Result<()> {
    let gone: Vec<_> = before.difference(after).collect();
    let new: Vec<_> = after.difference(before).collect();
    let parts = |part: &str| {
        let found = new.iter().filter(|path| path.starts_with("exports/") && path.contains(part));
        found.filter_map(|path| path.rsplit('/').next()).collect::<Vec<_>>()
    };
    let (came, went) = (parts("/sessions/"), parts("/outcomes/"));
    ensure!(gone.is_empty() && new.len() == 2 && came.len() == 1 && went.len() == 1, "{gone:?} {new:?}");
    Ok(())
}

/// The content of an export.
fn exported(world: &World) -> Result<Vec<Record>> {
    let mut contents = world.list("RestorePointContent")?;
    contents.retain(|content| content.labels.contains_key("k10.kasten.io/exportProfile"));
    Ok(contents)
}

fn without_claims(listing: &BTreeSet<String>) -> Vec<&String> {
    let claims = |path: &String| path.starts_with("epochs/") || path.starts_with("cards/");
    listing.iter().filter(|path| !claims(path)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_changes_nothing_of_its_source_and_a_new_owner_removes_nothing_for_a_day() -> Result<()> {
    let mut world = World::start().await?;
    prepare_again(&mut world).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let in_hours = |world: &World, hours: u32| json!({ "expiresAt": world.clock.now() + HOUR * hours });
    world.export(APPLICATION, "first", in_hours(&world, 10)).await?;
    let source = world.platform.cluster_id().clone();
    let folder = format!("k10/{source}");

    let mut world = world.lose_cluster().await?;
    prepare_again(&mut world).await?;
    world.recover(&source).await?;
    let found = world.listing(&folder)?;
    restore(&world, "first").await?;
    let left = world.listing(&folder)?;
    ensure_only_read(&found, &left)?;
    ensure!(left.iter().any(|path| path.contains("/outcomes/")), "the source has left an export: {left:?}");
    let first = exported(&world)?.into_iter().find(|content| content.name.contains("first"));
    let retiring = retire_in_flight(&world, &first.context("the source's export is known")?)?;
    make_valid(&world.platform, &config("Policy", "policies"), &policy()).await?;
    // Until it has seen the policy, the scheduler does not know what was due.
    eventually("a first run has ended", async || {
        world.clock.advance(HOUR);
        Ok((ended_runs(&world)? > 0).then_some(()))
    })
    .await?;
    for number in 0..4 {
        let ended = ended_runs(&world)?;
        let name = format!("rehearsed-{number}");
        world.export(APPLICATION, &name, in_hours(&world, 1)).await?;
        restore(&world, &name).await?;
        world.clock.advance(12 * HOUR);
        let more = async || Ok((ended_runs(&world)? > ended).then_some(()));
        eventually("the next run has ended", more).await?;
    }
    let content = exported(&world)?.into_iter().find(|content| content.name.contains("first"));
    let content = content.context("the source's export is known")?;
    let refusal = world.delete("RestorePointContent", ("", &content.name)).await.unwrap_err();
    ensure!(refusal.to_string().contains("does not own its backups yet"), "{refusal}");
    let retired = world.ended("RetireAction", ("", &retiring.name)).await?.body.status;
    ensure!(retired["state"] == "Skipped" && retired.to_string().contains("does not own"), "{retired}");
    ensure!(world.listing(&folder)? == left, "two days of a rehearsal have changed what the source has left");

    world.take_ownership().await?;
    let held = status::observe(&world.platform).ownership.claims;
    let until = held.iter().find(|claim| claim.cluster == source).and_then(|claim| claim.keeps_all_until);
    ensure!(until == Some(world.clock.now() + 24 * HOUR), "{held:?}");
    world.clock.advance(23 * HOUR);
    // What this instance has exported itself is nobody else's, and goes.
    eventually("its own exports have expired", async || Ok((exported(&world)?.len() == 1).then_some(())))
        .await?;
    let refusal = world.delete("RestorePointContent", ("", &content.name)).await.unwrap_err();
    ensure!(refusal.to_string().contains("nothing is removed before"), "{refusal}");
    let owned = world.listing(&folder)?;
    ensure!(without_claims(&owned) == without_claims(&left), "a day has not passed");
    let card = std::fs::read(world.share.path().join(&folder).join("cards/00000002"))?;
    let card: CardDocument = serde_json::from_slice(&card)?;
    ensure!(card.continued_by.as_ref() == Some(world.platform.cluster_id()), "{card:?}");

    world.clock.advance(2 * HOUR);
    eventually("the source's export has expired", async || Ok(exported(&world)?.is_empty().then_some(())))
        .await?;
    let retired = world.listing(&folder)?.into_iter().filter(|path| path.contains("/retired/")).count();
    ensure!(retired == 1, "{retired} are retired");
    world.end().await
}
