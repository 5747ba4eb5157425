//! A location in which somebody has been who may write there: maintenance frees what was deleted, and nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::SignedDuration;
use keelson_forger::Forgery;
use keelson_model::recovery::DrMode;
use keelson_protection::Record;
use keelson_protection::maintenance::{self, PassReport};
use keelson_protection::recovery::enable::enable;
use keelson_testkit::{Minio, eventually};
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::bucket::{Locks, attack, delete_for_good, serve_to, start_bucket};
use crate::fixture::World;

const APPLICATION: &str = "shop";
const HOUR: Duration = Duration::from_secs(3600);
/// Of what one export alone has, in hex.
const BALLAST: usize = 150_000;

fn maps() -> Kind {
    Kind::namespaced("v1", "ConfigMap", "configmaps")
}

async fn put_map(world: &World, name: &str, content: &str) -> Result<()> {
    let metadata = json!({ "name": name, "namespace": APPLICATION });
    let map = json!({ "metadata": metadata, "data": { "content": content } });
    world.platform.cluster().apply_object(&maps(), &map).await?;
    Ok(())
}

async fn content(world: &World, namespace: &str, name: &str) -> Result<Value> {
    let map = world.platform.cluster().read_object(&maps(), Some(namespace), name).await?;
    Ok(map.unwrap_or_default()["data"]["content"].take())
}

/// The content of an export.
fn content_of(world: &World, export: &str) -> Result<Record> {
    let mut contents = world.list("RestorePointContent")?.into_iter();
    let exported = contents.find(|content| {
        content.labels.contains_key("k10.kasten.io/exportProfile") && content.name.contains(export)
    });
    exported.with_context(|| format!("export {export} is known"))
}

/// Restores an export into a namespace of its own.
async fn restore(world: &World, export: &str, namespace: &str) -> Result<()> {
    world.namespace(namespace).await?;
    let content = content_of(world, export)?;
    let mut subject = content.body.status["restorePointRef"].clone();
    subject["kind"] = json!("RestorePoint");
    let spec = json!({ "subject": subject, "targetNamespace": namespace });
    world.create("RestoreAction", (namespace, "again"), spec).await?;
    world.completed("RestoreAction", (namespace, "again")).await.map(drop)
}

/// Lets time pass until maintenance has been there once more.
async fn maintain(world: &World, after: Duration) -> Result<PassReport> {
    let passes = || maintenance::passes(&world.platform);
    let before = eventually("a pass is due", async || Ok(passes())).await?.count;
    world.clock.advance(after);
    eventually("maintenance has passed", async || {
        Ok(passes().filter(|passes| passes.count > before).and_then(|passes| passes.last))
    })
    .await
}

/// A person deletes each object that a pass names. It names nothing but forgeries.
async fn delete_what_is_told(minio: &Minio, report: &PassReport, forged: &[Forgery]) -> Result<()> {
    let name = |forgery: &Forgery| {
        let mut parts = forgery.path.as_str().rsplit('/');
        let (name, folder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{folder}/{name}")
    };
    for why in &report.failures {
        let named = forged.iter().find(|forgery| why.contains(&name(forgery)));
        let named = named.with_context(|| format!("what went wrong names no forgery: {why}"))?;
        delete_for_good(minio, named.path.as_str()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_attacker_has_been_maintenance_frees_what_was_deleted_and_nothing_else() -> Result<()> {
    let minio = start_bucket(Locks::None).await?;
    let mut world = World::start_today(SignedDuration::MAX).await?;
    world.namespace(APPLICATION).await?;
    serve_to(&mut world, &minio, &minio.endpoint(), Locks::None).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    put_map(&world, "orders", "before").await?;
    world.export(APPLICATION, "first", json!({})).await?;
    world.wait_until_shipped().await?;
    let source = world.platform.cluster_id().clone();

    let mut world = world.lose_cluster().await?;
    // Beside a newer key nothing would be written into these repositories any more, nor maintained there.
    let forged = attack(&minio, source.as_str(), |path| !path.contains("/keys/")).await?;
    world.namespace(APPLICATION).await?;
    serve_to(&mut world, &minio, &minio.endpoint(), Locks::None).await?;
    world.recover(&source).await?;
    world.take_ownership().await?;
    put_map(&world, "orders", "after").await?;
    world.export(APPLICATION, "second", json!({})).await?;
    let ballast: Vec<_> = (0..BALLAST / 256).map(|_| keelson_testkit::random_hex::<128>()).collect();
    put_map(&world, "ballast", &ballast.join("\n")).await?;
    world.export(APPLICATION, "third", json!({})).await?;

    // Later than anybody waits for a session that he cannot read.
    let report = maintain(&world, 30 * 24 * HOUR).await?;
    ensure!(report.failures_total > 0 && report.packs_removed == 0, "{report:?}");
    delete_what_is_told(&minio, &report, &forged).await?;

    let third = content_of(&world, "third")?;
    world.delete("RestorePointContent", ("", &third.name)).await?;
    eventually("it is retired", async || Ok(content_of(&world, "third").is_err().then_some(()))).await?;
    let report = maintain(&world, 25 * HOUR).await?;
    ensure!(report.restore_points_removed == 1 && report.bytes_freed > BALLAST as u64 / 3, "{report:?}");
    delete_what_is_told(&minio, &report, &forged).await?;
    let report = maintain(&world, 25 * HOUR).await?;
    ensure!(report.failures_total == 0 && report.restore_points_removed == 0, "{report:?}");

    for (export, namespace, expected) in [("first", "as-before", "before"), ("second", "as-after", "after")] {
        restore(&world, export, namespace).await?;
        ensure!(content(&world, namespace, "orders").await? == expected, "{export} is not what it was");
    }
    world.end().await?;
    minio.stop().await
}
