//! Each repository has an object: what that tells, what people decide by it, and that it decides nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_model::recovery::DrMode;
use keelson_protection::maintenance::{self, PassReport};
use keelson_protection::recovery::enable::enable;
use keelson_protection::{Record, requests};
use keelson_resources::find_kind;
use keelson_testkit::eventually;
use serde_json::{Value, json};

use crate::fixture::{World, person, put_note};
use crate::stage::{NAMESPACE, config, make_valid, profile};

const KIND: &str = "StorageRepository";
const SHOP: &str = "shop";
const WIKI: &str = "wiki";
const HOUR: Duration = Duration::from_secs(3600);

/// A platform with exports of these applications.
async fn exported(applications: &[&str]) -> Result<World> {
    let mut world = World::start().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    for application in applications {
        world.namespace(application).await?;
        world.export(application, "first", json!({})).await?;
    }
    Ok(world)
}

/// The objects by application; that of the platform's own volume has none.
fn objects(world: &World) -> Result<BTreeMap<String, Record>> {
    let of = |record: Record| {
        let application = record.body.status["appName"].as_str().unwrap_or_default().to_owned();
        (application, record)
    };
    Ok(world.list(KIND)?.into_iter().map(of).collect())
}

/// The object of an application's repository, once it is as asked.
async fn object(world: &World, application: &str, is: impl Fn(&Record) -> bool) -> Result<Record> {
    eventually(&format!("the object of '{application}' is as it should be"), async || {
        Ok(objects(world)?.remove(application).filter(|record| is(record)))
    })
    .await
}

async fn decide(world: &World, record: &Record, spec: Value) -> Result<Record> {
    world.change(KIND, (NAMESPACE, &record.name), spec).await
}

async fn details(world: &World, record: &Record) -> Result<Value> {
    let kind = find_kind("repositories.kio.kasten.io", "storagerepositories").context("the kind")?;
    Ok(requests::details(&world.platform, &person(), kind, NAMESPACE, &record.name).await?["details"].clone())
}

/// Waits for the next pass of maintenance.
async fn pass(world: &World) -> Result<PassReport> {
    let before = eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    world.clock.advance(25 * HOUR);
    eventually("maintenance has passed", async || {
        let passes = maintenance::passes(&world.platform).filter(|passes| passes.count > before.count);
        Ok(passes.and_then(|passes| passes.last))
    })
    .await
}

/// Deletes the exported content of an application, and waits until it is retired.
async fn retire_export(world: &World, application: &str) -> Result<()> {
    let of = |record: &Record| {
        record.labels["k10.kasten.io/appNamespace"] == application
            && record.labels.contains_key("k10.kasten.io/exportProfile")
    };
    let content = world.list("RestorePointContent")?.into_iter().find(of).context("an export")?;
    world.delete("RestorePointContent", ("", &content.name)).await?;
    eventually("it is retired", async || {
        Ok((!world.list("RestorePointContent")?.iter().any(of)).then_some(()))
    })
    .await
}

fn packs(world: &World) -> Result<BTreeSet<String>> {
    let listing = world.listing(&format!("k10/{}/exports", world.platform.cluster_id()))?;
    Ok(listing.into_iter().filter(|path| path.contains("/packs/")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_repository_is_an_object_under_a_name_that_it_keeps() -> Result<()> {
    let world = exported(&[SHOP]).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let told = |record: &Record| {
        let status = &record.body.status;
        let prefix = record.name.rsplit_once('-').map(|(prefix, _)| prefix.to_owned());
        (prefix.unwrap_or_default(), status["contentType"].clone(), status["location"].clone())
    };
    let share = json!({ "type": "FileStore", "fileStore": { "claimName": "share" } });
    let label = |record: &Record, name: &str| record.labels.get(&format!("k10.kasten.io/{name}")).cloned();

    let shop = object(&world, SHOP, |_| true).await?;
    assert_eq!(told(&shop), ("metadata-repository".to_owned(), json!("metadata"), share.clone()));
    assert_eq!(
        (label(&shop, "appName"), label(&shop, "exportProfile")),
        (Some(SHOP.into()), Some("vault".into()))
    );
    let recovery = object(&world, NAMESPACE, |_| true).await?;
    assert_eq!(told(&recovery), ("dr-repository".to_owned(), json!("dr"), share));
    assert_eq!(label(&recovery, "policyName").as_deref(), Some("k10-disaster-recovery-policy"));
    assert_eq!(label(&recovery, "appName").as_deref(), Some(NAMESPACE));
    let local = object(&world, "", |_| true).await?;
    assert_eq!(
        told(&local),
        ("metadata-repository".to_owned(), json!("metadata"), json!({ "type": "Volume" }))
    );
    for record in [&shop, &recovery, &local] {
        let status = &record.body.status;
        assert_eq!((&status["backendType"], &status["readOnly"]), (&json!("keelson"), &json!(false)));
        assert_eq!(record.body.spec, json!({ "disableMaintenance": false }));
        let details = details(&world, record).await?;
        let packs = &details["storageUsage"]["blobStats"]["sizeStat"];
        ensure!(packs["count"].as_u64() > Some(0) && packs["sizeB"].as_u64() > Some(100), "{details}");
        ensure!(details["modifiedTime"].is_string() && details["error"].is_null(), "{details}");
        assert_eq!(details["nextProcessTime"], json!(next_pass(&world)?), "{details}");
    }
    let shops = details(&world, &shop).await?;
    let root = shops["root"].as_str().context("a root")?;
    ensure!(world.share.path().join(root).join("format").is_file(), "{shops}");
    assert_eq!(
        (&shops["profile"], &shops["clusterId"]),
        (&json!("vault"), &json!(world.platform.cluster_id()))
    );

    let keys = |world: &World| -> Result<BTreeSet<(String, String)>> {
        Ok(world.list(KIND)?.into_iter().map(|record| (record.name, record.uid)).collect())
    };
    let before = keys(&world)?;
    let mut world = world.restart(|_| Ok(())).await?;
    world.serve();
    world.export(SHOP, "second", json!({})).await?;
    assert_eq!(keys(&world)?, before);

    std::fs::rename(world.share.path().join("k10"), world.share.path().join("away"))?;
    let away = details(&world, &shop).await?;
    ensure!(away["error"].is_string() && away["storageUsage"].is_null(), "{away}");
    world.end().await
}

fn next_pass(world: &World) -> Result<String> {
    let passes = maintenance::passes(&world.platform).context("a pass is due")?;
    Ok(keelson_resources::Time(passes.next).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_freed_in_a_repository_whose_maintenance_is_disabled() -> Result<()> {
    let world = exported(&[SHOP, WIKI]).await?;
    let shop = object(&world, SHOP, |_| true).await?;
    object(&world, WIKI, |_| true).await?;
    decide(&world, &shop, json!({ "disableMaintenance": true })).await?;
    ensure!(details(&world, &shop).await?["nextProcessTime"].is_null(), "no pass comes there");
    for application in [SHOP, WIKI] {
        retire_export(&world, application).await?;
    }
    let report = pass(&world).await?;
    ensure!(report.failures_total == 0, "{report:?}");
    ensure!(report.refused.iter().any(|why| why.contains(SHOP) && why.contains("disabled")), "{report:?}");
    let left = packs(&world)?;
    ensure!(!left.is_empty() && left.iter().all(|path| path.starts_with(SHOP)), "{left:?}");
    let runs = |record: &Record| record.body.status["processResults"].clone();
    assert_eq!(runs(&object(&world, SHOP, |_| true).await?)["processCount"], 0);
    let wikis = runs(&object(&world, WIKI, |_| true).await?);
    let run = &wikis["recentResults"][0];
    assert_eq!((&wikis["processCount"], &run["procedure"]), (&json!(1), &json!("maintenanceRun")), "{wikis}");
    assert_eq!((&run["succeeded"], &run["error"]), (&json!(true), &Value::Null), "{wikis}");
    let steps: Vec<_> =
        run["commandResults"].as_array().context("steps")?.iter().map(|it| &it["desc"]).collect();
    assert_eq!(steps, ["sweep", "retire", "prune"]);

    decide(&world, &shop, json!({ "disableMaintenance": false })).await?;
    pass(&world).await?;
    assert_eq!(packs(&world)?, BTreeSet::new());
    assert_eq!(runs(&object(&world, SHOP, |_| true).await?)["processCount"], 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_maintenance_ends_when_its_time_is_over_and_the_next_one_goes_on() -> Result<()> {
    let world = exported(&[SHOP]).await?;
    let shop = object(&world, SHOP, |_| true).await?;
    decide(&world, &shop, json!({ "backgroundProcessTimeout": "1ns" })).await?;
    retire_export(&world, SHOP).await?;
    let before = packs(&world)?;
    let report = pass(&world).await?;
    let why = "backgroundProcessTimeout of 1ns";
    ensure!(report.failures.iter().any(|failure| failure.contains(why)), "{report:?}");
    ensure!(packs(&world)? == before, "nothing was freed");
    let told =
        object(&world, SHOP, |_| true).await?.body.status["processResults"]["recentResults"][0].clone();
    ensure!(told["succeeded"] == false && told["error"].to_string().contains(why), "{told}");

    decide(&world, &shop, json!({})).await?;
    let report = pass(&world).await?;
    ensure!(report.failures_total == 0 && packs(&world)?.is_empty(), "{report:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_deleted_comes_back_when_its_repository_is_used_and_no_data_is_touched()
-> Result<()> {
    let world = exported(&[SHOP]).await?;
    let shop = object(&world, SHOP, |_| true).await?;
    decide(&world, &shop, json!({ "disableMaintenance": true })).await?;
    let before = world.listing("k10")?;
    world.delete(KIND, (NAMESPACE, &shop.name)).await?;
    // Somebody else's repository is new, so the list has been brought up to date since.
    world.namespace(WIKI).await?;
    world.export(WIKI, "first", json!({})).await?;
    object(&world, WIKI, |_| true).await?;
    ensure!(!objects(&world)?.contains_key(SHOP), "nobody has used it");
    let shops = |listing: BTreeSet<String>| -> BTreeSet<String> {
        listing.into_iter().filter(|path| path.contains(SHOP)).collect()
    };
    assert_eq!(shops(world.listing("k10")?), shops(before), "no data is touched");

    world.export(SHOP, "second", json!({})).await?;
    let again = object(&world, SHOP, |_| true).await?;
    assert_eq!((&again.name, &again.body.spec), (&shop.name, &json!({ "disableMaintenance": false })));
    assert_ne!(again.uid, shop.uid, "it is another object");
    let backups =
        details(&world, &again).await?["storageUsage"]["snapshotStats"]["sizeStat"]["count"].as_u64();
    ensure!(backups >= Some(2), "both backups are there: {backups:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovered_platform_keeps_names_and_decisions_and_only_reads_what_it_does_not_own() -> Result<()> {
    let world = exported(&[SHOP]).await?;
    enable(&world.platform, "vault", DrMode::QuickNoSnapshot).await?;
    let shop = object(&world, SHOP, |_| true).await?;
    let recovery = object(&world, NAMESPACE, |_| true).await?;
    let spec = json!({ "disableMaintenance": true, "backgroundProcessTimeout": "90m" });
    decide(&world, &shop, spec.clone()).await?;
    put_note(&world.platform, "last")?;
    world.wait_until_shipped().await?;
    let (source, local) = (world.platform.cluster_id().clone(), object(&world, "", |_| true).await?);

    let mut world = world.lose_cluster().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    world.recover(&source).await?;
    let found = object(&world, SHOP, |record| record.body.status["readOnly"] == true).await?;
    assert_eq!((&found.name, &found.body.spec), (&shop.name, &spec));
    object(&world, NAMESPACE, |record| {
        record.name == recovery.name && record.body.status["readOnly"] == true
    })
    .await?;
    ensure!(
        details(&world, &found).await?["nextProcessTime"].is_null(),
        "it is not for this instance to maintain"
    );
    let own = object(&world, "", |_| true).await?;
    assert_ne!(own.name, local.name, "this platform has a volume of its own");

    world.take_ownership().await?;
    object(&world, SHOP, |record| record.body.status["readOnly"] == false).await?;
    world.end().await
}
