//! After a take-over: what would be freed is told, and freed at once if a person says so.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_model::Clock;
use keelson_model::names::CONFIRM_CONFIG_MAP;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_protection::status::{self, ClaimStatus};
use keelson_protection::{Record, maintenance};
use keelson_testkit::eventually;
use keelson_workload::{ConfigMap, NamespacedName};
use serde_json::json;

use crate::fixture::World;
use crate::stage::{NAMESPACE, config, make_valid, profile};

const APPLICATION: &str = "shop";
/// Shares no pack with the other.
const RETIRED: &str = "wiki";
const HOUR: Duration = Duration::from_secs(3600);

async fn prepare_again(world: &mut World) -> Result<()> {
    world.namespace(APPLICATION).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    Ok(())
}

fn exported(world: &World) -> Result<Vec<Record>> {
    let mut contents = world.list("RestorePointContent")?;
    contents.retain(|content| content.labels.contains_key("k10.kasten.io/exportProfile"));
    Ok(contents)
}

async fn confirm(world: &World) -> Result<()> {
    let at = NamespacedName::new(NAMESPACE, CONFIRM_CONFIG_MAP);
    world.platform.cluster().apply_config_map(&ConfigMap::new(at, BTreeMap::new())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_owner_will_free_is_told_and_waits_a_day_or_until_it_is_confirmed() -> Result<()> {
    let mut world = World::start().await?;
    prepare_again(&mut world).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.namespace(RETIRED).await?;
    for (namespace, name, hours) in
        [(RETIRED, "retired", 1000), (APPLICATION, "expires", 5), (APPLICATION, "stays", 1000)]
    {
        world.export(namespace, name, json!({ "expiresAt": world.clock.now() + HOUR * hours })).await?;
    }
    let retired = exported(&world)?.into_iter().find(|content| content.name.contains("retired"));
    world.delete("RestorePointContent", ("", &retired.context("an export")?.name)).await?;
    eventually("it is retired", async || Ok((exported(&world)?.len() == 2).then_some(()))).await?;
    world.wait_until_shipped().await?;
    let source = world.platform.cluster_id().clone();
    let folder = format!("k10/{source}");

    let mut world = world.lose_cluster().await?;
    prepare_again(&mut world).await?;
    world.recover(&source).await?;
    let left = world.listing(&folder)?;
    // Whatever it was made for, it was before anybody could have seen what this take-over frees.
    confirm(&world).await?;
    world.clock.advance(6 * HOUR);
    world.take_ownership().await?;
    let claim = || -> Result<ClaimStatus> {
        let claims = status::observe(&world.platform).ownership.claims;
        claims.into_iter().find(|claim| claim.cluster == source).context("a claim")
    };
    let foreseen = eventually("what would be freed is told", async || Ok(claim()?.foreseen)).await?;
    ensure!((foreseen.retired, foreseen.expired) == (1, 1), "{foreseen:?}");
    ensure!(foreseen.packs >= 1 && foreseen.bytes > 0, "{foreseen:?}");
    ensure!(claim()?.keeps_all_until == Some(world.clock.now() + 24 * HOUR), "{:?}", claim()?);
    let now = world.listing(&folder)?;
    let gone: Vec<_> = left.difference(&now).collect();
    ensure!(gone.is_empty() && exported(&world)?.len() == 2, "{gone:?} went before it was confirmed");

    confirm(&world).await?;
    eventually("the wait has ended", async || Ok(claim()?.keeps_all_until.is_none().then_some(()))).await?;
    // The one that six hours had made due may end only now: it frees nothing.
    eventually("a pass that frees came at once", async || {
        let report = maintenance::passes(&world.platform).and_then(|passes| passes.last);
        let freed = report.filter(|it| it.restore_points_removed >= 1 && it.packs_removed >= 1);
        Ok(freed.map(drop))
    })
    .await?;
    eventually("what has expired goes", async || Ok((exported(&world)?.len() == 1).then_some(()))).await?;
    eventually("it counts once", async || {
        let at = NamespacedName::new(NAMESPACE, CONFIRM_CONFIG_MAP);
        Ok(world.platform.cluster().read_config_map(&at).await?.is_none().then_some(()))
    })
    .await?;
    world.end().await
}
