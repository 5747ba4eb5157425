//! Imports: two clusters and one share. The one exports by a policy, the other imports by the receive string. What is
//! granted with the string, `imports/grants.rs`; where the location is there twice, or has moved, `imports/places.rs`.

mod grants;
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use keelson_catalog::{Actor, Change, Class, Database, Row, RowKey, RowKind};
use keelson_model::names::{CLUSTER_SCOPE, label};
use keelson_model::{Revision, SessionId};
use keelson_protection::validation::{PolicyVerdict, validate_policy};
use keelson_protection::{Record, Requester};
use keelson_store::OBJECT_BYTES_MAX;
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::fixture::{World, copy, files, user};
use crate::stage::{NAMESPACE, config, make_valid, plain_policy, policy, profile};

pub(crate) const EXPORTING: &str = "nightly";
const IMPORTING: &str = "theirs";
pub(crate) const SHOP: &str = "shop";
pub(crate) const BANK: &str = "bank";

const RBAC: &str = "rbac.authorization.k8s.io/v1";
/// Of the journal, read in one go.
const JOURNAL_BYTES: usize = 1 << 20;

fn config_maps() -> Kind {
    Kind::namespaced("v1", "ConfigMap", "configmaps")
}

fn cluster_roles() -> Kind {
    Kind::cluster(RBAC, "ClusterRole", "clusterroles")
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

async fn goods(world: &World, namespace: &str) -> Result<Option<Value>> {
    let map = world.platform.cluster().read_object(&config_maps(), Some(namespace), "goods").await?;
    Ok(map.map(|mut map| map["data"].take()))
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

/// Somebody without a right of his own.
fn dana() -> Requester {
    user("dana")
}

async fn may_read_secrets(world: &World, who: &Requester, namespace: &str) -> Result<()> {
    let metadata = json!({ "name": who.name(), "namespace": namespace });
    let rule = json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] });
    let role = json!({ "metadata": metadata, "rules": [rule] });
    let binding = json!({ "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": who.name() },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": who.name() }] });
    let cluster = world.platform.cluster();
    cluster.apply_object(&Kind::namespaced(RBAC, "Role", "roles"), &role).await?;
    cluster.apply_object(&Kind::namespaced(RBAC, "RoleBinding", "rolebindings"), &binding).await?;
    Ok(())
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

#[tokio::test(flavor = "multi_thread")]
async fn an_import_restores_if_its_policy_says_so_and_a_content_by_hand() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let export =
        source.list("ExportAction")?.into_iter().find(|it| it.namespace == SHOP).context("an export")?;
    // Of one application.
    let at = (SHOP, export.name.as_str());
    let part = receive_string(&source, "ExportAction", at).await?;
    // Only for whoever may read here what it lets him read elsewhere.
    let shown_to_dana = async |kind: &str, at: (&str, &str)| -> Result<Value> {
        Ok(source.details_for(&dana(), kind, at).await?["receiveString"].take())
    };
    assert_eq!(shown_to_dana("ExportAction", at).await?, Value::Null);
    may_read_secrets(&source, &dana(), SHOP).await?;
    eventually("the right is known", async || {
        Ok((shown_to_dana("ExportAction", at).await? == part).then_some(()))
    })
    .await?;
    assert_eq!(shown_to_dana("RunAction", (NAMESPACE, "first")).await?, Value::Null, "it opens the bank");
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
    let latest = json!({ "subjects": [{ "namespace": BANK }] });
    target.create("BatchRestoreAction", (NAMESPACE, "latest"), latest).await?;
    let status = target.ended("BatchRestoreAction", (NAMESPACE, "latest")).await?.body.status;
    let none = "there is no restore point that could be restored from here";
    assert!(status["state"] == "Failed" && status.to_string().contains(none), "{status}");
    let spec = json!({ "subject": { "kind": "Policy", "name": "all", "namespace": NAMESPACE },
        "expiresAt": "2030-01-01T00:00:00Z" });
    target.create("RunAction", (NAMESPACE, "expires"), spec).await?;
    let status = target.completed("RunAction", (NAMESPACE, "expires")).await?.body.status;
    assert!(status["exceptions"].to_string().contains("spec.expiresAt has no effect"), "{status}");
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
/// It was restored over what was newer, as the newest that no import had named.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_seen_after_a_newer_one_is_imported_and_not_restored() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let first = outcome_of(&source, &target, SHOP)?;
    let changed = json!({ "metadata": { "name": "goods", "namespace": SHOP }, "data": { "of": "today" } });
    source.platform.cluster().apply_object(&config_maps(), &changed).await?;
    source.clock.advance(Duration::from_secs(60));
    run(&source, "second", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "second")).await?;
    let aside = target.share.path().join("aside");
    fs::rename(&first, &aside)?;

    target.apply_policy(&importing(IMPORTING, &whole, Some(json!({})))).await?;
    run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, BANK, SHOP]);
    assert_eq!(goods(&target, SHOP).await?, Some(json!({ "of": "today" })));
    let named = async |run: &str| -> Result<usize> {
        let details = details_of(&target, run).await?;
        Ok(details["restorePointContents"].as_array().map_or(0, Vec::len))
    };
    assert_eq!((target.list("BatchRestoreAction")?.len(), named("one").await?), (1, 2));
    fs::rename(&aside, &first)?;
    for (later, contents) in [("two", 1), ("three", 0)] {
        run(&target, later, IMPORTING).await?;
        assert_eq!(details_of(&target, later).await?["importedCount"], contents, "{later}");
        assert_eq!(applications(&target)?, [BANK, BANK, SHOP, SHOP]);
        assert_eq!((target.list("BatchRestoreAction")?.len(), named(later).await?), (1, 0), "{later}");
    }
    source.end().await?;
    target.end().await
}

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

/// As if an export that is gone since had become a content that nobody understands: an import ends where it would let it go.
fn plant_senseless_content(source: &World, target: &World) -> Result<[RowKey; 2]> {
    let outcome = outcome_of(source, target, SHOP)?;
    let repository = outcome.ancestors().nth(2).and_then(Path::file_name).context("a repository")?;
    let granted = files(&grants_of(source, target))?.into_iter().next().context("a grant")?;
    let grant = granted.split('/').next().context("a grant")?;
    let gone = SessionId::from_bytes([7; 16]).to_string();
    let taken = json!({ "repository": repository.to_str(), "content": "senseless", "by": "nobody" });
    let content = json!({ "internal": { "artifact": 7 } });
    let rows = [
        ("exports-taken", grant, gone.as_str(), taken),
        ("restorepointcontents.apps.kio.kasten.io", "", "senseless", content),
    ]
    .map(|(kind, namespace, name, body)| Row {
        kind: RowKind::new(kind),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: String::new(),
        labels: BTreeMap::new(),
        created: target.platform.clock().now(),
        class: Class::Configuration,
        body: body.to_string().into_bytes(),
    });
    let keys = rows.clone().map(|row| RowKey::new(row.kind, row.namespace, row.name));
    target.platform.catalog()?.commit(&Actor::new("test"), rows.map(Change::create).into())?;
    Ok(keys)
}

/// What was taken in before an import failed was known to the next, and restored by none.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_import_took_in_before_it_failed_is_restored_by_the_next() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    let senseless = plant_senseless_content(&source, &target)?;
    target.apply_policy(&importing(IMPORTING, &whole, Some(json!({})))).await?;
    let status = target.run_policy("one", IMPORTING).await?;
    assert_eq!(status["state"], "Failed", "{status}");
    assert_eq!(applications(&target)?, [BANK, SHOP]);
    assert!(target.list("BatchRestoreAction")?.is_empty());

    let deletions = senseless.into_iter().map(Change::delete).collect();
    target.platform.catalog()?.commit(&Actor::new("test"), deletions)?;
    run(&target, "two", IMPORTING).await?;
    assert_eq!(details_of(&target, "two").await?["importedCount"], 0);
    for application in [BANK, SHOP] {
        assert_eq!(goods(&target, application).await?, Some(json!({ "of": application })));
    }
    run(&target, "three", IMPORTING).await?;
    assert_eq!(target.list("BatchRestoreAction")?.len(), 1, "each is restored once");
    source.end().await?;
    target.end().await
}

/// Whoever administers the one cluster would have become an administrator of the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_no_application_is_restored_by_hand_only_and_goes_when_its_source_retires_it() -> Result<()>
{
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] });
    let role = json!({ "metadata": { "name": "theirs" }, "rules": [rule] });
    source.platform.cluster().create_object(&cluster_roles(), &role).await?;
    source.apply_policy(&exporting("all", &[SHOP, CLUSTER_SCOPE])).await?;
    run(&source, "first", "all").await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    // Of a namespace that no policy exports, by somebody who can write there.
    let grants = grants_of(&source, &target);
    let grant = fs::read_dir(&grants)?.next().context("a grant")??.path();
    copy(&grant.join(SHOP), &grant.join("default"))?;
    target.apply_policy(&importing(IMPORTING, &whole, Some(json!({})))).await?;
    let status = run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [CLUSTER_SCOPE, SHOP]);
    assert_eq!(goods(&target, SHOP).await?, Some(json!({ "of": SHOP })));
    let told = status["exceptions"].to_string();
    assert!(told.contains("left to be restored by hand"), "{told}");
    assert!(told.contains("'default' was passed over"), "{told}");
    let there = async || target.platform.cluster().read_object(&cluster_roles(), None, "theirs").await;
    assert!(there().await?.is_none());

    let (_, content) = imported(&target)?.swap_remove(0);
    let point = content.body.status["restorePointRef"]["name"].as_str().context("a point")?.to_owned();
    let bound = target.read("ClusterRestorePoint", ("", &point))?.context("the point")?;
    assert_eq!(bound.label(label::IMPORTED_FROM), source.platform.cluster_id().as_str());
    let latest = json!({ "subjects": [{ "namespace": CLUSTER_SCOPE }] });
    target.create("BatchRestoreAction", (NAMESPACE, "latest"), latest).await?;
    let status = target.ended("BatchRestoreAction", (NAMESPACE, "latest")).await?.body.status;
    assert_eq!(status["state"], "Failed", "{status}");
    let subject = json!({ "subject": { "kind": "ClusterRestorePoint", "name": point } });
    target.create("RestoreClusterAction", ("", "back"), subject).await?;
    target.completed("RestoreClusterAction", ("", "back")).await?;
    assert!(there().await?.is_some());

    retire_export(&source, CLUSTER_SCOPE, "all").await?;
    run(&target, "two", IMPORTING).await?;
    assert_eq!(applications(&target)?, [SHOP]);
    assert!(target.list("ClusterRestorePoint")?.is_empty(), "its point led nowhere");
    source.end().await?;
    target.end().await
}
