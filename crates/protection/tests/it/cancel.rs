//! Actions that are cancelled while they wait, work, wait for another attempt, or lie where a killed process left them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_catalog::{Actor, Expect};
use keelson_model::names::DR_POLICY;
use keelson_protection::Record;
use keelson_protection::requests::RequestError;
use keelson_repository::SessionResult;
use keelson_testkit::{eventually, promptly};
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::fixture::{World, files};
use crate::stage::{
    NAMESPACE, PASSPHRASE, config, make_valid, open_repository, policy as own_policy, profile,
};
use crate::unanswered::{lose_a_group, policy};

const SHOP: &str = "shop";
/// Of the attempts to come in the middle of something; each waits a little longer than the one before.
const TRIES: u32 = 12;

async fn cancel(world: &World, kind: &str, (namespace, name): (&str, &str)) -> Result<Record, RequestError> {
    let spec = json!({ "subject": { "kind": kind, "name": name } });
    let namespace = if namespace.is_empty() { NAMESPACE } else { namespace };
    world.create("CancelAction", (namespace, &format!("cancel-{name}")), spec).await
}

/// Something that takes a while to back up.
async fn fill(world: &World) -> Result<()> {
    world.namespace(SHOP).await?;
    let kind = Kind::namespaced("v1", "ConfigMap", "configmaps");
    for number in 0..120 {
        let text: String = (0..4_000).map(|at| format!("{:08x}", at * 7 + number * 4_001)).collect();
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "text": text },
            "metadata": { "name": format!("shelf-{number}"), "namespace": SHOP } });
        world.platform.cluster().create_object(&kind, &object).await?;
    }
    Ok(())
}

fn point_of(action: &Record) -> Option<&str> {
    action.body.status["restorePoint"]["name"].as_str()
}

/// Nobody is left to be waited for by maintenance.
fn assert_no_open_session(root: &Path) -> Result<()> {
    let found = files(root)?;
    let beneath = |folder: &str| -> BTreeSet<String> {
        let names = found.iter().filter_map(|file| file.split_once(&format!("{folder}/")));
        names.map(|(before, name)| format!("{before}{}", &name[..32.min(name.len())])).collect()
    };
    let (begun, ended) = (beneath("sessions"), beneath("outcomes"));
    ensure!(!begun.is_empty(), "nothing was begun in {}", root.display());
    assert_eq!(begun.difference(&ended).collect::<Vec<_>>(), Vec::<&String>::new(), "open sessions");
    Ok(())
}

/// How often it was cancelled in the middle.
pub(crate) struct Tally {
    pub cancelled: u32,
    pub completed: u32,
}

/// Waits until an action is at work, or was.
async fn begun(world: &World, kind: &str, at: (&str, &str)) -> Result<()> {
    promptly(&format!("{kind} {at:?} has begun"), async || {
        let action = world.read(kind, at)?.context("the action")?;
        Ok(action.body.status["startTime"].is_string().then_some(()))
    })
    .await
}

/// Makes an action again and again and cancels it: at once, as soon as it is at work, and each time a little later. A moment
/// that is counted from its creation would be before its beginning on a busy machine.
pub(crate) async fn cancel_at_many_moments(
    world: &World,
    kind: &str,
    (namespace, step): (&str, Duration),
    spec: &Value,
) -> Result<Tally> {
    let mut tally = Tally { cancelled: 0, completed: 0 };
    for number in 0..TRIES {
        let name = format!("{}-{number}", kind.to_lowercase());
        let at = (namespace, name.as_str());
        world.create(kind, at, spec.clone()).await?;
        if let Some(later) = number.checked_sub(1) {
            begun(world, kind, at).await?;
            drop(tokio::time::timeout(step * later, world.ended(kind, at)).await);
        }
        let refused = cancel(world, kind, at).await.err();
        let ended = world.ended(kind, at).await?;
        let (state, has_begun) =
            (ended.body.status["state"].as_str(), ended.body.status["startTime"].is_string());
        match state {
            Some("Cancelled") => {
                assert_eq!(ended.body.status["error"]["message"], "cancelled by user 'admin'");
                assert!(ended.body.status["endTime"].is_string() && point_of(&ended).is_none());
                assert!(refused.is_none(), "{refused:?}");
                tally.cancelled += u32::from(has_begun);
            }
            Some("Complete") => tally.completed += 1,
            _ => anyhow::bail!("{at:?}: {}", ended.body.status),
        }
    }
    Ok(tally)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_export_or_restore_that_is_cancelled_at_any_moment_leaves_nothing_half_made() -> Result<()> {
    let mut world = World::start().await?;
    fill(&world).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    make_valid(&world.platform, &config("Policy", "policies"), &own_policy()).await?;
    world.serve();
    // From here on repositories open with the passphrase.
    let run = json!({ "subject": { "kind": "Policy", "name": DR_POLICY, "namespace": NAMESPACE } });
    world.create("RunAction", (NAMESPACE, "enable"), run).await?;
    world.completed("RunAction", (NAMESPACE, "enable")).await?;
    let subject = json!({ "subject": { "name": SHOP, "namespace": SHOP } });
    let step = Duration::from_millis(25);
    let backups = cancel_at_many_moments(&world, "BackupAction", (SHOP, step), &subject).await?;
    assert!(backups.cancelled > 0, "no backup was cancelled in the middle");
    world.create("BackupAction", (SHOP, "last"), subject).await?;
    let last = world.completed("BackupAction", (SHOP, "last")).await?;
    assert_eq!(world.list("RestorePoint")?.len() as u32, backups.completed + 1);
    assert_eq!(world.list("RestorePointContent")?.len() as u32, backups.completed + 1);

    let point = json!({ "kind": "RestorePoint", "name": point_of(&last), "namespace": SHOP });
    let spec = json!({ "subject": point, "profile": { "name": "vault", "namespace": NAMESPACE } });
    let exports = cancel_at_many_moments(&world, "ExportAction", (NAMESPACE, step), &spec).await?;
    assert!(exports.cancelled > 0, "no export was cancelled in the middle");
    world.create("ExportAction", (NAMESPACE, "last"), spec).await?;
    world.completed("ExportAction", (NAMESPACE, "last")).await?;
    assert_exports_are_named(&world, exports.completed + 1).await?;

    let spec = json!({ "subject": point, "overwriteExisting": true });
    let restores = cancel_at_many_moments(&world, "RestoreAction", (SHOP, step), &spec).await?;
    assert!(restores.cancelled > 0, "no restore was cancelled in the middle");
    let kind = Kind::namespaced("v1", "ConfigMap", "configmaps");
    for number in 0..120 {
        let name = format!("shelf-{number}");
        let found = world.platform.cluster().read_object(&kind, Some(SHOP), &name).await?;
        assert!(found.is_some(), "{name} was left deleted");
    }
    world.rest().await;
    assert_no_open_session(&world.data.path().join("local"))?;
    let cluster = world.platform.cluster_id();
    assert_no_open_session(&world.share.path().join(format!("k10/{cluster}/exports")))?;
    world.end().await
}

/// What lies in the location is what the catalog names: the other outcomes are the ends of sessions that stored nothing.
async fn assert_exports_are_named(world: &World, expected: u32) -> Result<()> {
    let contents = world.list("RestorePointContent")?;
    let exported: Vec<_> = contents.iter().map(|content| &content.body.internal["artifact"]).collect();
    let exported: Vec<_> = exported.into_iter().filter(|artifact| artifact["exported"].is_object()).collect();
    assert_eq!(exported.len() as u32, expected);
    let root = exported.first().context("an export")?["exported"]["root"].as_str().context("its folder")?;
    let folder = world.share.path().join(root);
    let repository = open_repository(&folder, PASSPHRASE).await?;
    let mut committed = BTreeSet::new();
    for file in files(&folder)? {
        let Some(id) = file.strip_prefix("outcomes/") else { continue };
        let outcome = repository.fetch_outcome(id.parse()?).await?;
        if outcome.result() == SessionResult::Committed {
            committed.insert(id.to_owned());
        }
    }
    let named =
        exported.iter().filter_map(|artifact| artifact["outcome"].as_str().map(str::to_owned)).collect();
    assert_eq!(committed, named, "every outcome has a name");
    Ok(())
}

/// A process was killed in the middle of the work, or just after it was stored, and somebody cancels before the next starts.
#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_a_killed_process_left_is_cancelled_by_the_next() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(SHOP).await?;
    let subject = json!({ "subject": { "name": SHOP, "namespace": SHOP } });
    world.serve();
    world.create("BackupAction", (SHOP, "first"), subject.clone()).await?;
    let first = world.completed("BackupAction", (SHOP, "first")).await?;
    let content = format!("{SHOP}-{}", point_of(&first).context("a point")?);
    world.rest().await;

    let mut left = world.create("BackupAction", (SHOP, "left"), subject).await?;
    left = world.read("BackupAction", (SHOP, &left.name))?.context("the backup")?;
    world.delete("RestorePointContent", ("", &content)).await?;
    let mut retire = world.list("RetireAction")?.pop().context("the retirement")?;
    for action in [&mut left, &mut retire] {
        action.body.internal["attempts"] = json!(3);
        action.body.status["state"] = json!("Running");
        let change = action.put(Expect::Present);
        world.platform.catalog()?.commit(&Actor::new("killed"), vec![change])?;
    }
    cancel(&world, "BackupAction", (SHOP, "left")).await?;
    cancel(&world, "BackupAction", (SHOP, "left")).await.context("asked for twice")?;
    cancel(&world, "RetireAction", ("", &retire.name)).await?;
    assert_eq!(world.read("BackupAction", (SHOP, "left"))?.context("it")?.body.status["state"], "Running");
    world.serve();
    for (kind, at) in [("BackupAction", (SHOP, "left")), ("RetireAction", ("", retire.name.as_str()))] {
        let ended = world.ended(kind, at).await?;
        assert_eq!(ended.body.status["state"], "Cancelled", "{}", ended.body.status);
        assert_eq!(ended.body.status["error"]["class"], "Cancelled");
        let refused = cancel(&world, kind, at).await.unwrap_err();
        assert!(refused.to_string().contains("has ended already, Cancelled"), "{refused}");
    }
    let contents = world.list("RestorePointContent")?;
    assert_eq!(contents.len(), 1, "what was to be retired stays, and nothing came to it");
    world.delete("RestorePointContent", ("", &content)).await?;
    eventually("it is retired after all", async || {
        Ok(world.list("RestorePointContent")?.is_empty().then_some(()))
    })
    .await?;
    world.end().await
}

/// Two of its attempts were still to come.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_takes_its_children_with_it_and_nothing_is_tried_again() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(SHOP).await?;
    lose_a_group(&world).await?;
    make_valid(&world.platform, &config("Policy", "policies"), &policy(&json!({}))).await?;
    world.serve();
    let run = json!({ "subject": { "kind": "Policy", "name": "nightly", "namespace": NAMESPACE } });
    world.create("RunAction", (NAMESPACE, "run"), run).await?;
    let backup = eventually("an attempt at its backup has failed", async || {
        let backup = world.list("BackupAction")?.pop();
        Ok(backup.filter(|backup| backup.body.status["state"] == "AttemptFailed"))
    })
    .await?;
    cancel(&world, "RunAction", (NAMESPACE, "run")).await?;
    let run = world.ended("RunAction", (NAMESPACE, "run")).await?;
    assert_eq!(run.body.status["state"], "Cancelled", "{}", run.body.status);
    let backup = world.read("BackupAction", (SHOP, &backup.name))?.context("the backup")?;
    assert_eq!(backup.body.status["state"], "Cancelled", "it had not ended before its run did");
    assert_eq!(backup.body.status["error"]["message"], "cancelled by user 'admin'");
    assert_eq!(world.list("RestorePoint")?.len(), 0);
    world.end().await
}
