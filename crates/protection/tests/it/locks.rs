//! A bucket with locks: what is kept longer than a lock lasts is locked anew by maintenance.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use keelson_protection::maintenance::{self, PassReport};
use keelson_store::{Store, StoreExt};
use keelson_testkit::eventually;
use serde_json::json;

use crate::bucket::{Locks, serve_to, start_bucket, store_of, use_bucket};
use crate::fixture::World;

const APPLICATION: &str = "shop";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Until when each object is locked that an export needs.
async fn ends(store: &dyn Store, cluster: &str) -> Result<BTreeMap<String, Timestamp>> {
    let mut ends = BTreeMap::new();
    for object in store.list_all(&format!("k10/{cluster}/exports").parse()?).await? {
        let end = store.head(&object.path, None).await?.retain_until.context("a lock")?;
        ends.insert(object.path.as_str().to_owned(), end);
    }
    ends.retain(|path, _| !path.contains("/sessions/"));
    Ok(ends)
}

async fn maintain(world: &World, count: u64) -> Result<PassReport> {
    eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    world.clock.advance(DAY + DAY / 24);
    eventually("maintenance has passed", async || {
        let passes = maintenance::passes(&world.platform).filter(|passes| passes.count >= count);
        Ok(passes.and_then(|passes| passes.last))
    })
    .await
}

/// The bucket's time cannot be moved, so the period is: to the pass it is the same whether a lock ends early because time
/// has passed or because more is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_lock_ends_too_early_is_locked_anew_with_all_that_it_needs() -> Result<()> {
    let minio = start_bucket(Locks::Asked).await?;
    let mut world = World::start_today(SignedDuration::MAX).await?;
    world.namespace(APPLICATION).await?;
    serve_to(&mut world, &minio, &minio.endpoint(), Locks::Asked).await?;
    world.export(APPLICATION, "kept", json!({})).await?;
    let (store, cluster) = (store_of(&minio).await?, world.platform.cluster_id().to_string());
    let first = ends(&*store, &cluster).await?;
    for folder in ["packs", "index", "outcomes", "keys"] {
        ensure!(first.keys().any(|path| path.contains(&format!("/{folder}/"))), "{folder}: {first:?}");
    }
    let report = maintain(&world, 1).await?;
    ensure!((report.locks_lengthened, report.failures_total) == (0, 0), "{report:?}");
    ensure!(ends(&*store, &cluster).await? == first, "what is locked long enough is left alone");

    use_bucket(&world, &minio, &minio.endpoint(), Some("720h0m0s")).await?;
    let report = maintain(&world, 2).await?;
    ensure!((report.locks_lengthened, report.failures_total) == (1, 0), "{report:?}");
    let lengthened = ends(&*store, &cluster).await?;
    ensure!(lengthened.len() == first.len(), "{lengthened:?}");
    for (path, end) in &lengthened {
        ensure!(*end >= first[path] + 22 * DAY, "{path} is locked until {end}, before until {}", first[path]);
    }
    world.end().await?;
    minio.stop().await
}
