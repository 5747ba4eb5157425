//! Imports: two clusters and one share. The one exports by a policy, the other imports by the receive string.

use std::fs;

use anyhow::{Context, Result, ensure};
use keelson_protection::Record;
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::fixture::{World, files};
use crate::stage::{NAMESPACE, config, make_valid, plain_policy, policy, profile};

const EXPORTING: &str = "nightly";
const IMPORTING: &str = "theirs";
const SHOP: &str = "shop";
const BANK: &str = "bank";

fn config_maps() -> Kind {
    Kind::namespaced("v1", "ConfigMap", "configmaps")
}

/// The cluster that exports: two applications, and a policy for both.
async fn raise_source(beside: &World) -> Result<World> {
    let mut source = beside.start_beside().await?;
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

/// The cluster that imports. It reaches the share by a profile of the same name.
async fn raise_target() -> Result<World> {
    let mut target = World::start().await?;
    target.serve();
    make_valid(&target.platform, &config("Profile", "profiles"), &profile()).await?;
    Ok(target)
}

async fn run(world: &World, run: &str, policy: &str) -> Result<Value> {
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

async fn goods(world: &World, namespace: &str) -> Result<Option<Value>> {
    let map = world.platform.cluster().read_object(&config_maps(), Some(namespace), "goods").await?;
    Ok(map.map(|mut map| map["data"].take()))
}

/// No byte of a folder is part of the text.
fn assert_unwritten(folder: &std::path::Path, text: &str) -> Result<()> {
    for file in files(folder)? {
        let Ok(bytes) = fs::read(folder.join(&file)) else { continue };
        let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
        ensure!(!found, "it lies in {file}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_exports_is_imported_by_another_cluster_once_and_follows_its_source() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    // Of another policy: the same repository, and not meant.
    source.apply_policy(&exporting("others", &[SHOP])).await?;
    run(&source, "others", "others").await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;

    let exports = format!("k10/{}", source.platform.cluster_id());
    let written = target.listing(&exports)?;
    target.apply_policy(&importing(IMPORTING, &whole, None)).await?;
    run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, SHOP]);
    let (_, content) = imported(&target)?.swap_remove(1);
    assert_eq!(content.body.status["state"], "Unbound", "{}", content.body.status);
    assert_eq!(content.labels["k10.kasten.io/policyName"], IMPORTING);
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
    let is_of_shop = |content: &Record| {
        content.labels["k10.kasten.io/appNamespace"] == SHOP
            && content.labels.contains_key("k10.kasten.io/exportProfile")
            && content.labels["k10.kasten.io/policyName"] == EXPORTING
    };
    let theirs = source.list("RestorePointContent")?.into_iter().find(is_of_shop).context("an export")?;
    source.delete("RestorePointContent", ("", &theirs.name)).await?;
    eventually("it is retired", async || {
        Ok(source.read("RestorePointContent", ("", &theirs.name))?.is_none().then_some(()))
    })
    .await?;
    let status = run(&target, "five", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, SHOP]);
    assert!(status["exceptions"].to_string().contains("its source has retired"), "{status}");

    // The key lies in no row, though the policy in the cluster holds it.
    let key = whole.split('.').nth(1).context("the middle")?;
    assert_unwritten(target.data.path(), &key[key.len() - 80..])?;
    assert!(!status["policySpec"].to_string().contains(&whole), "{status}");
    source.end().await?;
    target.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_restores_if_its_policy_says_so_and_a_content_by_hand() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let export =
        source.list("ExportAction")?.into_iter().find(|it| it.namespace == SHOP).context("an export")?;
    // Of one application.
    let part = receive_string(&source, "ExportAction", (SHOP, &export.name)).await?;
    target.apply_policy(&importing(IMPORTING, &part, Some(json!({})))).await?;
    run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [SHOP]);
    assert_eq!(goods(&target, SHOP).await?, Some(json!({ "of": SHOP })));
    let batches = target.list("BatchRestoreAction")?;
    assert_eq!(batches.len(), 1);
    // There is nothing new to restore.
    run(&target, "two", IMPORTING).await?;
    assert_eq!(target.list("BatchRestoreAction")?.len(), 1);

    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    target.apply_policy(&importing("all", &whole, None)).await?;
    run(&target, "three", "all").await?;
    assert_eq!(applications(&target)?, [BANK, SHOP], "what was taken by the part is not taken twice");
    let (_, content) = imported(&target)?.swap_remove(0);
    target.namespace(BANK).await?;
    let content = json!({ "restorePointContentRef": { "name": content.name } });
    target.create("RestorePoint", (BANK, "theirs"), content).await?;
    let subject = json!({ "subject": { "kind": "RestorePoint", "name": "theirs", "namespace": BANK } });
    target.create("ValidateAction", (BANK, "look"), subject.clone()).await?;
    target.completed("ValidateAction", (BANK, "look")).await?;
    target.create("RestoreAction", (BANK, "back"), subject).await?;
    target.completed("RestoreAction", (BANK, "back")).await?;
    assert_eq!(goods(&target, BANK).await?, Some(json!({ "of": BANK })));
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

    let mut elsewhere = profile();
    elsewhere["metadata"]["name"] = json!("elsewhere");
    elsewhere["spec"]["locationSpec"]["fileStore"]["path"] = json!("another/path");
    fs::create_dir_all(target.share.path().join("another/path"))?;
    make_valid(&target.platform, &config("Profile", "profiles"), &elsewhere).await?;
    let mut policy = importing("elsewhere", &whole, None);
    policy["spec"]["actions"][0]["importParameters"]["profile"]["name"] = json!("elsewhere");
    target.apply_policy(&policy).await?;
    let status = target.run_policy("nowhere", "elsewhere").await?;
    let error = status["error"]["message"].as_str().unwrap_or_default();
    assert!(status["state"] == "Failed" && error.contains("nothing of policy 'nightly'"), "{status}");

    let grants = target.share.path().join(format!("k10/{}/grants", source.platform.cluster_id()));
    let granted: Vec<_> = files(&grants)?.into_iter().collect();
    let of_bank = granted.iter().find(|path| path.contains(BANK)).context("what is granted of the bank")?;
    let mut bytes = fs::read(grants.join(of_bank))?;
    bytes[60] ^= 1;
    fs::write(grants.join(of_bank), bytes)?;
    fs::create_dir_all(
        grants.join(granted[0].split('/').next().context("the grant")?).join("NO NAMESPACE/x"),
    )?;
    let exports = target.share.path().join(format!("k10/{}/exports/{SHOP}", source.platform.cluster_id()));
    let outcome =
        files(&exports)?.into_iter().find(|path| path.contains("/outcomes/")).context("an outcome")?;
    let mut bytes = fs::read(exports.join(&outcome))?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(exports.join(&outcome), bytes)?;
    target.apply_policy(&importing(IMPORTING, &whole, None)).await?;
    let status = run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [SHOP], "one of two is whole, and the bank's key is not");
    let told = status["exceptions"].to_string();
    assert!(told.contains("exports/bank") && told.contains("an export of 'shop' was passed over"), "{told}");
    source.end().await?;
    target.end().await
}
