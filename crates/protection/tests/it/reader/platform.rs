//! A platform that protected an application and itself: exports, a base, segments, a manifest, claims and a card.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_catalog::{Actor, Change, Class, Expect, Row, RowKey, RowKind, Stored};
use keelson_model::names::DR_POLICY;
use keelson_model::{Clock, LineageId, ManualClock};
use keelson_protection::requests::{Effect, NewObject, create};
use keelson_protection::{Platform, Record, Requester};
use keelson_repository::Ownership;
use keelson_testkit::{FormatReader, eventually, random_hex};
use keelson_workload::Cluster;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Ours, compare, ensure_sound, files, flip_each_kind, repositories};
use crate::stage::{
    NAMESPACE, PASSPHRASE, config, make_valid, open_repository, policy, prepare, profile, settings,
    take_plane,
};

const APPLICATION: &str = "shop";
const CONFIG_MAPS: [&str; 3] = ["orders", "prices", "customers"];
const LINES: usize = 600;
/// What a repository does not have by itself. All others are flipped in a repository of their own.
const KINDS: [&str; 5] = ["bases", "segments", "manifests", "starts", "epochs"];

async fn request(
    platform: &Platform,
    resource: &str,
    namespace: &str,
    name: &str,
    spec: Value,
) -> Result<RowKey> {
    let kind = keelson_resources::find_kind("actions.kio.kasten.io", resource).context("the kind")?;
    let object = NewObject {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec,
    };
    let made = create(platform, &Requester::Platform, kind, object, Effect::Apply).await?;
    Ok(made.row.key())
}

/// Waits for an action and returns its status.
async fn complete(platform: &Platform, action: &RowKey) -> Result<Value> {
    eventually("an action is complete", async || {
        let stored = platform.catalog()?.read(action)?.context("the action is gone")?;
        let status = Record::parse(&stored)?.body.status;
        ensure!(status["state"] != "Failed" && status["state"] != "Skipped", "it ended badly: {status}");
        Ok((status["state"] == "Complete").then_some(status))
    })
    .await
}

async fn make_application(platform: &Platform) -> Result<()> {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": APPLICATION } });
    platform.cluster().apply_manifest(&namespace).await?;
    for name in CONFIG_MAPS {
        let lines: Vec<_> = (0..LINES).map(|_| random_hex::<128>()).collect();
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": APPLICATION },
            "data": { "content": lines.join("\n") },
        });
        platform.cluster().apply_manifest(&map).await?;
    }
    Ok(())
}

async fn back_up_and_export(platform: &Platform, name: &str) -> Result<()> {
    let spec = json!({ "subject": { "name": APPLICATION, "namespace": APPLICATION } });
    let backup = request(platform, "backupactions", APPLICATION, name, spec).await?;
    let status = complete(platform, &backup).await?;
    let point = status["restorePoint"]["name"].as_str().context("a restore point")?;
    let spec = json!({
        "subject": { "kind": "RestorePoint", "name": point, "namespace": APPLICATION },
        "profile": { "name": "vault", "namespace": NAMESPACE },
    });
    let export = request(platform, "exportactions", NAMESPACE, &format!("{name}-export"), spec).await?;
    complete(platform, &export).await.map(drop)
}

fn row(name: &str, class: Class, label: &str, body: &[u8]) -> Change {
    let row = Row {
        kind: RowKind::new("independent-reader"),
        namespace: "größe".to_owned(),
        name: name.to_owned(),
        uid: format!("uid of {name}"),
        labels: BTreeMap::from([("label".to_owned(), label.to_owned())]),
        created: Timestamp::constant(1_770_000_000, 1_000),
        class,
        body: body.to_vec(),
    };
    Change::Put { row, expect: Expect::Any }
}

/// Each effect that an entry can have, on rows of every class and with bodies of either encoding.
fn change_everything(platform: &Platform) -> Result<()> {
    let long = serde_json::to_vec(&json!({ "metadata": { "name": "x".repeat(5_000) } }))?;
    let deleted = |name: &str| Change::delete(RowKey::new(RowKind::new("independent-reader"), "größe", name));
    let entries = [
        vec![
            row("updated", Class::Configuration, "a", b"{}"),
            row("relabelled", Class::Local, "a", &long),
            row("deleted", Class::Configuration, "a", b"{\"a\":1}"),
            row("promoted", Class::Local, "a", b"{}"),
            row("demoted", Class::Configuration, "a", &long),
            row("hidden", Class::Local, "a", b"{}"),
            row("shown", Class::Derived, "a", b"not JSON"),
        ],
        vec![row("updated", Class::Configuration, "a", &long), row("relabelled", Class::Local, "b", &long)],
        vec![
            deleted("deleted"),
            row("promoted", Class::Configuration, "b", b"{}"),
            row("demoted", Class::Local, "a", b"{\"b\":2}"),
        ],
        vec![row("hidden", Class::Derived, "a", b"{}"), row("shown", Class::Local, "a", b"not JSON either")],
    ];
    for changes in entries {
        platform.catalog()?.commit(&Actor::new("independent-reader"), changes)?;
    }
    Ok(())
}

/// What the reader makes of the newest chain: the rows, then the summary.
fn read_catalog(reader: &FormatReader, location: &Path) -> Result<(Vec<Value>, Value)> {
    let told = reader.read(location, PASSPHRASE, &["catalog"])?;
    ensure!(told.code == 0, "{}", told.stderr);
    let mut rows = told.lines()?;
    let summary = rows.pop().context("a summary")?;
    Ok((rows, summary))
}

/// Each row is ours to the last byte of its body.
fn assert_same_row(printed: &Value, stored: &Stored) -> Result<()> {
    let Stored { row, revision } = stored;
    assert_eq!(printed["uid"], row.uid.as_str());
    assert_eq!(printed["labels"], serde_json::to_value(&row.labels)?);
    assert_eq!(printed["revision"], json!([revision.generation().0, revision.sequence().0]));
    assert_eq!(printed["class"], row.class as u8);
    let created: Timestamp = printed["created"].as_str().context("a time")?.parse()?;
    assert_eq!(created, row.created);
    assert_eq!(printed["body"], super::printed(&row.body));
    Ok(())
}

async fn assert_same_catalog(
    reader: &FormatReader,
    location: &Path,
    platform: &Platform,
    classes: &[Class],
) -> Result<()> {
    let catalog = platform.catalog()?;
    let (rows, summary) = eventually("all is shipped and read by the reader", async || {
        let head = catalog.head();
        let (rows, summary) = read_catalog(reader, location)?;
        let reached = summary["chain"] == hex::encode(head.chain) && head.chain == catalog.head().chain;
        Ok(reached.then_some((rows, summary)))
    })
    .await?;
    let head = catalog.head();
    let digests: Vec<_> = classes.iter().map(|class| head.digests.of(*class).to_string()).collect();
    assert_eq!(summary["digests"], json!(digests));
    assert!(
        summary["at"]
            .as_str()
            .is_some_and(|at| at.ends_with(&format!("-{:014}", head.revision.sequence().0)))
    );
    assert!(summary["at"] != summary["base"], "something came in segments");
    for printed in &rows {
        let text = |field: &str| printed[field].as_str().unwrap_or_default().to_owned();
        let key = RowKey::new(RowKind::new(text("kind")), text("namespace"), text("name"));
        assert_same_row(printed, &catalog.read(&key)?.context("a row that is not ours")?)?;
    }
    let ours = rows.iter().filter(|row| row["kind"] == "independent-reader").count();
    assert_eq!(
        ours,
        if classes.len() == 1 { 2 } else { 5 },
        "deleted and hidden rows are gone, the others there"
    );
    Ok(())
}

async fn assert_same_repositories(reader: &FormatReader, location: &Path) -> Result<()> {
    let keys = repositories(location)?;
    assert_eq!(keys.len(), 2, "the platform's and the application's: {keys:?}");
    let mut compared = 0;
    for key in keys {
        let ours = Ours::open(location, &key, PASSPHRASE).await?;
        compared += compare(reader, location, PASSPHRASE, &ours).await?;
    }
    assert!(compared >= 3, "two exports and a base: {compared}");
    Ok(())
}

/// The application's objects come out of an export as they were in the cluster.
fn assert_reads_objects(reader: &FormatReader, location: &Path) -> Result<()> {
    let lines = reader.read(location, PASSPHRASE, &["list"])?.lines()?;
    let export = lines.iter().find(|line| line["purpose"] == "export").context("an export")?;
    let [repository, outcome] =
        ["repository", "outcome"].map(|field| export[field].as_str().unwrap_or_default());
    let told = reader.read(location, PASSPHRASE, &["objects", repository, outcome, "configuration"])?;
    ensure!(told.code == 0, "{}", told.stderr);
    let objects = told.lines()?;
    for name in CONFIG_MAPS {
        let object = objects.iter().find(|object| object["name"] == name).context("an object is missing")?;
        assert_eq!(object["object"]["kind"], "ConfigMap");
        let content = object["object"]["data"]["content"].as_str().context("content")?;
        assert_eq!(content.lines().count(), LINES);
    }
    Ok(())
}

fn assert_lists_what_stands_beside(
    reader: &FormatReader,
    location: &Path,
    platform: &Platform,
) -> Result<()> {
    let lines = reader.read(location, PASSPHRASE, &["list"])?.lines()?;
    let lineage = lines.iter().find(|line| line["lineage"].is_string()).context("a lineage")?;
    assert_eq!(lineage["cluster"], platform.cluster_id().as_str());
    assert_eq!(lineage["epochs"][0]["epoch"], 1);
    assert_eq!(lineage["epochs"][0]["cluster"], platform.cluster_id().as_str());
    assert_eq!(lineage["strangers"], json!([]));
    let card = lines.iter().find(|line| line["card"].is_string()).context("a card")?;
    assert_eq!(card["content"]["format"], 0);
    for repository in lines.iter().filter(|line| line["slots"].is_array()) {
        assert_eq!(repository["slots"][0]["opens"], true, "{repository}");
        assert_eq!(repository["keys"], json!([{ "number": 1, "opens": true }]));
    }
    let wrong = reader.read(location, "another passphrase", &["verify"])?;
    assert_eq!(wrong.code, 3, "{}", wrong.stderr);
    Ok(())
}

/// A claim that a stranger wrote counts for nothing, and those after it still do.
fn assert_strangers_are_named(reader: &FormatReader, location: &Path) -> Result<()> {
    let files = files(location)?;
    let claim =
        files.iter().find(|path| path.iter().any(|segment| segment == "epochs")).context("a claim")?;
    let forged = location.join(claim).with_file_name("00000002");
    std::fs::copy(location.join(claim), &forged)?;
    let told = reader.read(location, PASSPHRASE, &["verify"])?;
    assert_eq!(told.code, 1, "{}", told.stderr);
    assert!(told.stderr.contains("/00000002: "), "{}", told.stderr);
    std::fs::remove_file(forged)?;
    Ok(())
}

/// Outcomes of runs and of bases were retired and pruned; their documents stay for a while.
async fn assert_what_was_retired_is_no_damage(reader: &FormatReader, location: &Path) -> Result<()> {
    let lines = reader.read(location, PASSPHRASE, &["list"])?.lines()?;
    let proof = Ownership::proven_by_newest_epoch(LineageId::from_bytes([3; 16]), 1);
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    for purpose in ["backup", "base"] {
        let is_meant =
            |line: &&Value| line["purpose"] == purpose && text(line, "repository").contains("/dr/");
        let meant: Vec<_> = lines.iter().filter(is_meant).collect();
        ensure!(!meant.is_empty(), "the platform has no outcome of purpose {purpose}");
        for line in meant {
            let (folder, outcome) = (location.join(text(line, "repository")), text(line, "outcome"));
            let opened = open_repository(&folder, PASSPHRASE).await?;
            opened.retire(outcome.parse()?, &proof, Timestamp::constant(1_770_000_000, 0)).await?;
            ensure_sound(reader, location, PASSPHRASE)?;
            std::fs::remove_file(folder.join("outcomes").join(outcome))?;
        }
        ensure_sound(reader, location, PASSPHRASE)?;
    }
    Ok(())
}

async fn check(quick_mode: bool, classes: &[Class]) -> Result<()> {
    let reader = FormatReader::prepare()?;
    let plane = take_plane().await?;
    let (data, share) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let cluster = Cluster::from_client(plane.client().await?);
    prepare(&cluster).await?;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new("2026-03-04T09:30:00Z".parse()?));
    let mut settings = settings(data.path(), share.path());
    settings.quick_mode = quick_mode;
    // As outside of tests: the reader opens what is shipped there.
    settings.passphrase_cost = keelson_protection::KdfCost::RECOMMENDED;
    let platform = Platform::open(settings, cluster, clock).await?;
    let stop = CancellationToken::new();
    let mut services = tokio::task::JoinSet::new();
    services.spawn(keelson_protection::run(platform.clone(), stop.clone()));

    make_valid(&platform, &config("Profile", "profiles"), &profile()).await?;
    make_valid(&platform, &config("Policy", "policies"), &policy()).await?;
    make_application(&platform).await?;
    back_up_and_export(&platform, "first").await?;
    let spec = json!({ "subject": { "kind": "Policy", "name": DR_POLICY, "namespace": NAMESPACE } });
    let run = request(&platform, "runactions", NAMESPACE, "run", spec).await?;
    complete(&platform, &run).await?;
    back_up_and_export(&platform, "second").await?;
    change_everything(&platform)?;
    assert_same_catalog(&reader, share.path(), &platform, classes).await?;
    stop.cancel();
    while services.join_next().await.is_some() {}
    plane.give_back().await?;

    assert_lists_what_stands_beside(&reader, share.path(), &platform)?;
    assert_same_repositories(&reader, share.path()).await?;
    assert_reads_objects(&reader, share.path())?;
    assert_strangers_are_named(&reader, share.path())?;
    flip_each_kind(&reader, share.path(), PASSPHRASE, &KINDS)?;
    assert_what_was_retired_is_no_damage(&reader, share.path()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reads_what_a_platform_ships_in_legacy_mode() -> Result<()> {
    check(false, &[Class::Configuration, Class::Local]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reads_what_a_platform_ships_in_quick_mode() -> Result<()> {
    check(true, &[Class::Configuration]).await
}
