//! Imports: two clusters and one share. The one exports by a policy, the other imports by the receive string. What is
//! granted with the string, `imports/grants.rs`; where the location is there twice, or has moved, `imports/places.rs`; what
//! of it is restored, by the policy and by hand, `imports/restores.rs`.

mod grants;
mod places;
mod restores;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use keelson_catalog::Database;
use keelson_model::names::label;
use keelson_model::{Revision, SessionId};
use keelson_protection::Record;
use keelson_protection::validation::{PolicyVerdict, validate_policy};
use keelson_store::OBJECT_BYTES_MAX;
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::fixture::{World, files};
use crate::stage::{NAMESPACE, config, make_valid, plain_policy, policy, profile};

pub(crate) const EXPORTING: &str = "nightly";
const IMPORTING: &str = "theirs";
pub(crate) const SHOP: &str = "shop";
pub(crate) const BANK: &str = "bank";

/// Of the journal, read in one go.
const JOURNAL_BYTES: usize = 1 << 20;

fn config_maps() -> Kind {
    Kind::namespaced("v1", "ConfigMap", "configmaps")
}

/// The cluster that exports: two applications, and a policy for both.
async fn raise_source(beside: &World) -> Result<World> {
    furnish(beside.start_beside().await?).await
}

/// Gives a cluster two applications, and a policy that exports both.
pub(crate) async fn furnish(mut source: World) -> Result<World> {
    for namespace in [SHOP, BANK] {
        source.namespace(namespace).await?;
        let map =
            json!({ "metadata": { "name": "goods", "namespace": namespace }, "data": { "of": namespace } });
        source.platform.cluster().create_object(&config_maps(), &map).await?;
    }
    source.serve();
    make_valid(&source.platform, &config("Profile", "profiles"), &profile()).await?;
    source.apply_policy(&exporting(EXPORTING, &[SHOP, BANK])).await?;
    Ok(source)
}

fn exporting(name: &str, applications: &[&str]) -> Value {
    let selector = json!({ "matchExpressions": [
        { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": applications } ] });
    let export = json!({ "profile": { "name": "vault", "namespace": NAMESPACE } });
    let spec = json!({
        "frequency": "@onDemand", "selector": selector,
        "actions": [{ "action": "backup" }, { "action": "export", "exportParameters": export }],
    });
    plain_policy(name, &spec)
}

fn importing(name: &str, receive_string: &str, restore: Option<Value>) -> Value {
    let import =
        json!({ "profile": { "name": "vault", "namespace": NAMESPACE }, "receiveString": receive_string });
    let mut actions = vec![json!({ "action": "import", "importParameters": import })];
    actions.extend(restore.map(|it| json!({ "action": "restore", "restoreParameters": it })));
    plain_policy(name, &json!({ "frequency": "@onDemand", "actions": actions }))
}

/// The policy that imports through another profile, which leads to a folder of the share.
async fn importing_from(world: &World, name: &str, folder: &str, receive_string: &str) -> Result<Value> {
    let mut elsewhere = profile();
    elsewhere["metadata"]["name"] = json!(name);
    elsewhere["spec"]["locationSpec"]["fileStore"]["path"] = json!(folder);
    make_valid(&world.platform, &config("Profile", "profiles"), &elsewhere).await?;
    let mut policy = importing(name, receive_string, None);
    policy["spec"]["actions"][0]["importParameters"]["profile"]["name"] = json!(name);
    Ok(policy)
}

/// The cluster that imports. It reaches the share by a profile of the same name.
async fn raise_target() -> Result<World> {
    let mut target = World::start().await?;
    target.serve();
    make_valid(&target.platform, &config("Profile", "profiles"), &profile()).await?;
    Ok(target)
}

pub(crate) async fn run(world: &World, run: &str, policy: &str) -> Result<Value> {
    let status = world.run_policy(run, policy).await?;
    ensure!(status["state"] == "Complete", "{run}: {status}");
    Ok(status)
}

/// What the details of an action show, and nothing else does.
async fn receive_string(world: &World, kind: &str, at: (&str, &str)) -> Result<String> {
    let text =
        world.details(kind, at).await?["receiveString"].as_str().context("no receive string")?.to_owned();
    let shown = serde_json::to_string(&world.read(kind, at)?.context("the action")?.body)?;
    ensure!(!shown.contains(&text), "it stands in the action itself: {shown}");
    Ok(text)
}

/// The imported contents, by application.
fn imported(world: &World) -> Result<Vec<(String, Record)>> {
    let mut contents: Vec<_> = world
        .list("RestorePointContent")?
        .into_iter()
        .filter(|content| !content.body.internal["artifact"]["exported"]["granted"].is_null())
        .map(|content| (content.labels["k10.kasten.io/appNamespace"].clone(), content))
        .collect();
    contents.sort_by(|left, right| (&left.0, &left.1.name).cmp(&(&right.0, &right.1.name)));
    Ok(contents)
}

fn applications(world: &World) -> Result<Vec<String>> {
    Ok(imported(world)?.into_iter().map(|(application, _)| application).collect())
}

/// The import that a run has made.
fn import_of(world: &World, run: &str) -> Result<Record> {
    let mut actions = world.list("ImportAction")?.into_iter();
    actions
        .find(|action| action.labels["k10.kasten.io/runActionName"] == run)
        .context("the import of the run")
}

async fn details_of(world: &World, run: &str) -> Result<Value> {
    let import = import_of(world, run)?;
    world.details("ImportAction", (NAMESPACE, &import.name)).await
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The text lies in no file as it is, and in no row that the catalog has had since. Larger bodies lie compressed, so rows
/// are looked at as they are read.
fn assert_unwritten(folder: &Path, catalog: &Database, since: Revision, text: &str) -> Result<()> {
    for file in files(folder)? {
        let Ok(bytes) = fs::read(folder.join(&file)) else { continue };
        ensure!(!holds(&bytes, text), "it lies in {file}");
    }
    let (mut kinds, mut after) = (BTreeSet::new(), since.sequence());
    loop {
        let entries = catalog.entries(after, JOURNAL_BYTES)?;
        let Some(last) = entries.last() else { break };
        after = last.revision.sequence();
        kinds.extend(entries.into_iter().flat_map(|entry| entry.changes).map(|(_, key)| key.kind));
    }
    let mut are_names = false;
    for kind in kinds {
        let mut since = since;
        loop {
            let changes = catalog.changes(&kind, None, since, 1_000)?;
            for event in &changes.events {
                let row = &event.stored.row;
                ensure!(!holds(&row.body, text), "it lies in {}", row.key());
                are_names |= holds(&row.body, "keelson0.");
            }
            if changes.complete {
                break;
            }
            since = changes.through;
        }
    }
    ensure!(are_names, "what stands for it is nowhere: the wrong rows were looked at");
    Ok(())
}

/// The first outcome of an application that the source has exported.
fn outcome_of(source: &World, share: &World, application: &str) -> Result<PathBuf> {
    let exports =
        share.share.path().join(format!("k10/{}/exports/{application}", source.platform.cluster_id()));
    let found = files(&exports)?.into_iter().find(|path| path.contains("/outcomes/"));
    Ok(exports.join(found.context("an outcome")?))
}

/// Where the source's grants lie.
fn grants_of(source: &World, share: &World) -> PathBuf {
    share.share.path().join(format!("k10/{}/grants", source.platform.cluster_id()))
}

/// Deletes an exported content of an application of the source, and waits until that is stated.
async fn retire_export(source: &World, application: &str, policy: &str) -> Result<()> {
    let is_meant = |content: &Record| {
        content.label(label::APP_NAMESPACE) == application
            && content.labels.contains_key(label::EXPORT_PROFILE)
            && content.label(label::POLICY_NAME) == policy
    };
    let theirs = source.list("RestorePointContent")?.into_iter().find(is_meant).context("an export")?;
    source.delete("RestorePointContent", ("", &theirs.name)).await?;
    eventually("it is retired", async || {
        Ok(source.read("RestorePointContent", ("", &theirs.name))?.is_none().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_exports_is_imported_by_another_cluster_once_and_follows_its_source() -> Result<()> {
    let target = raise_target().await?;
    let since = target.platform.catalog()?.head().revision;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    // Of another policy: the same repository, and not meant.
    source.apply_policy(&exporting("others", &[SHOP])).await?;
    run(&source, "others", "others").await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;

    let exports = format!("k10/{}", source.platform.cluster_id());
    let written = target.listing(&exports)?;
    let parsed = keelson_resources::policy::parse(&importing(IMPORTING, &whole, None));
    let verdict = validate_policy(&target.platform, &parsed.map_err(|faults| anyhow!("{faults:?}"))?).await;
    let warned = |warnings: &[String]| warnings.iter().any(|told| told.contains("that can only read"));
    assert!(matches!(&verdict, PolicyVerdict::Sound { warnings, .. } if warned(warnings)), "{verdict:?}");
    target.apply_policy(&importing(IMPORTING, &whole, None)).await?;
    run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, SHOP]);
    let (_, content) = imported(&target)?.swap_remove(1);
    assert_eq!(content.body.status["state"], "Unbound", "{}", content.body.status);
    assert_eq!(content.labels["k10.kasten.io/policyName"], IMPORTING);
    assert_eq!(content.label(label::IMPORTED_FROM), source.platform.cluster_id().as_str());
    assert!(!content.labels.contains_key("k10.kasten.io/runActionName"), "{:?}", content.labels);
    let details = details_of(&target, "one").await?;
    assert_eq!((&details["importedCount"], &details["foundCount"]), (&json!(2), &json!(3)), "{details}");
    let import = import_of(&target, "one")?;
    let named = import.body.status["restorePointContent"]["name"].as_str().context("a content")?;
    assert!(imported(&target)?.iter().any(|(_, content)| content.name == named), "{named}");
    eventually("the source's repositories are listed as read-only", async || {
        let read_only = |record: &Record| record.body.status["readOnly"] == true;
        Ok((target.list("StorageRepository")?.iter().filter(|it| read_only(it)).count() == 2).then_some(()))
    })
    .await?;
    assert_eq!(target.listing(&exports)?, written, "an import writes nothing");

    // Nothing new, and then one more of each.
    run(&target, "two", IMPORTING).await?;
    assert_eq!(details_of(&target, "two").await?["importedCount"], 0);
    run(&source, "second", EXPORTING).await?;
    run(&target, "three", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, BANK, SHOP, SHOP]);

    // What somebody deletes here does not come back, and nothing happens to it there.
    let written = target.listing(&exports)?;
    let (_, deleted) = imported(&target)?.swap_remove(0);
    target.delete("RestorePointContent", ("", &deleted.name)).await?;
    eventually("it is gone", async || Ok((applications(&target)? == [BANK, SHOP, SHOP]).then_some(())))
        .await?;
    run(&target, "four", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, SHOP, SHOP]);
    assert_eq!(target.listing(&exports)?, written, "a deletion writes nothing");

    // What its source retires goes, and that is told.
    retire_export(&source, SHOP, EXPORTING).await?;
    let status = run(&target, "five", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, SHOP]);
    assert!(status["exceptions"].to_string().contains("its source has retired"), "{status}");

    // The key lies in no row, though the policy in the cluster holds it.
    let key = whole.split('.').nth(1).context("the middle")?;
    assert_unwritten(target.data.path(), &target.platform.catalog()?, since, &key[key.len() - 80..])?;
    assert!(!status["policySpec"].to_string().contains(&whole), "{status}");
    source.end().await?;
    target.end().await
}

/// Of the policy only the name of the grant comes back; its key is in the catalog.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_after_its_platform_was_lost_and_recovered() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    make_valid(&target.platform, &config("Policy", "policies"), &policy()).await?;
    target.apply_policy(&importing(IMPORTING, &whole, None)).await?;
    run(&target, "one", IMPORTING).await?;
    target.wait_until_shipped().await?;
    let lost = target.platform.cluster_id().clone();
    let mut target = target.lose_cluster().await?;
    target.serve();
    make_valid(&target.platform, &config("Profile", "profiles"), &profile()).await?;
    target.recover(&lost).await?;
    assert_eq!(applications(&target)?, [BANK, SHOP]);
    let kind = config("Policy", "policies");
    let recovered = target.platform.cluster().read_object(&kind, Some(NAMESPACE), IMPORTING).await?;
    let recovered = recovered.context("the policy")?;
    assert!(!recovered.to_string().contains(&whole), "{recovered}");
    target
        .apply_policy(&json!({ "apiVersion": recovered["apiVersion"], "kind": "Policy",
        "metadata": { "name": IMPORTING, "namespace": NAMESPACE }, "spec": recovered["spec"] }))
        .await?;
    run(&source, "second", EXPORTING).await?;
    run(&target, "two", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, BANK, SHOP, SHOP]);
    let (_, content) = imported(&target)?.swap_remove(0);
    target
        .create(
            "ValidateAction",
            (NAMESPACE, "look"),
            json!({ "subject": { "kind": "RestorePointContent", "name": content.name } }),
        )
        .await?;
    target.completed("ValidateAction", (NAMESPACE, "look")).await?;
    // Nothing is owned yet, and nothing needs to be.
    target.delete("RestorePointContent", ("", &content.name)).await?;
    eventually("it is forgotten", async || {
        Ok(target.read("RestorePointContent", ("", &content.name))?.is_none().then_some(()))
    })
    .await?;
    source.end().await?;
    target.end().await
}

/// A text that is no receive string, one of this cluster, a location without the exports, and objects that somebody has
/// damaged or planted.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_receive_string_is_refused_and_what_is_damaged_is_passed_over() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    run(&source, "second", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    for (text, told) in [
        (&whole[..whole.len() - 1], "a part of it is missing or was changed"),
        ("by heart", "it does not begin with 'keelson0.'"),
    ] {
        let refused = target.apply_policy(&importing("wrong", text, None)).await.unwrap_err().to_string();
        assert!(refused.contains(told) && !refused.contains(text), "{refused}");
    }
    let own = source.apply_policy(&importing("own", &whole, None)).await.unwrap_err().to_string();
    assert!(own.contains("is of this cluster itself"), "{own}");

    fs::create_dir_all(target.share.path().join("another/path"))?;
    let policy = importing_from(&target, "elsewhere", "another/path", &whole).await?;
    target.apply_policy(&policy).await?;
    let status = target.run_policy("nowhere", "elsewhere").await?;
    let error = status["error"]["message"].as_str().unwrap_or_default();
    assert!(status["state"] == "Failed" && error.contains("nothing of policy 'nightly'"), "{status}");

    let grants = grants_of(&source, &target);
    let granted: Vec<_> = files(&grants)?.into_iter().collect();
    let of_bank = granted.iter().find(|path| path.contains(BANK)).context("what is granted of the bank")?;
    let mut bytes = fs::read(grants.join(of_bank))?;
    bytes[60] ^= 1;
    fs::write(grants.join(of_bank), bytes)?;
    fs::create_dir_all(
        grants.join(granted[0].split('/').next().context("the grant")?).join("NO NAMESPACE/x"),
    )?;
    let outcome = outcome_of(&source, &target, SHOP)?;
    let mut bytes = fs::read(&outcome)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&outcome, bytes)?;
    let planted = outcome.with_file_name(SessionId::from_bytes([7; 16]).to_string());
    fs::File::create(planted)?.set_len(OBJECT_BYTES_MAX + 1)?;
    target.apply_policy(&importing(IMPORTING, &whole, None)).await?;
    let status = run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [SHOP], "one of two is whole, and the bank's key is not");
    let told = status["exceptions"].to_string();
    assert!(told.contains("exports/bank") && told.contains("an export of 'shop' was passed over"), "{told}");

    for granted in granted.iter().filter(|path| path.contains(SHOP)) {
        fs::write(grants.join(granted), "of a stranger")?;
    }
    let status = target.run_policy("two", IMPORTING).await?;
    let told = status["error"]["message"].as_str().unwrap_or_default();
    assert!(status["state"] == "Failed" && told.contains("none of the 2 repositories"), "{status}");
    assert_eq!(applications(&target)?, [SHOP], "nobody said that it was retired");
    source.end().await?;
    target.end().await
}
