//! A platform that exports by a policy, and another that takes over what it has left: grants, and what each owner notes
//! of its forerunners.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_protection::maintenance;
use keelson_testkit::{FormatReader, eventually};
use serde_json::json;

use super::{ensure_sound, flip_last};
use crate::fixture::World;
use crate::imports::{BANK, EXPORTING, SHOP, furnish, run};
use crate::stage::{PASSPHRASE, config, make_valid, policy, profile};

/// What was retired when the second owner came.
const SECOND_LIST: &str = "00000002.retired";

fn is_grant(path: &Path) -> bool {
    path.iter().any(|segment| segment == "grants")
}

/// Each granted key is opened by the key that the shipped catalog has of its grant.
fn ensure_grants_open(reader: &FormatReader, location: &Path) -> Result<()> {
    let found = ensure_sound(reader, location, PASSPHRASE)?;
    ensure!(found["grantedKeys"] == json!({ "found": 2, "opened": 2 }), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reads_what_a_policy_grants_and_what_a_second_owner_notes() -> Result<()> {
    let reader = FormatReader::prepare()?;
    let source = furnish(World::start().await?).await?;
    make_valid(&source.platform, &config("Policy", "policies"), &policy()).await?;
    run(&source, "first", EXPORTING).await?;
    source.wait_until_shipped().await?;
    let lost = source.platform.cluster_id().clone();
    let mut world = source.lose_cluster().await?;
    ensure_grants_open(&reader, world.share.path())?;
    flip_last(&reader, world.share.path(), PASSPHRASE, is_grant)?;

    world.serve();
    for namespace in [SHOP, BANK] {
        world.namespace(namespace).await?;
    }
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.recover(&lost).await?;
    world.take_ownership().await?;
    // An owner judges nothing for a day; the pass after that needs to know what was retired before it came.
    eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    for hours in [3, 25] {
        let before = maintenance::passes(&world.platform).map_or(0, |passes| passes.count);
        world.clock.advance(Duration::from_hours(hours));
        eventually("maintenance has passed since", async || {
            let passes = maintenance::passes(&world.platform);
            Ok(passes.filter(|passes| passes.count > before).map(drop))
        })
        .await?;
    }
    let claims = world.listing(&format!("k10/{lost}/epochs"))?;
    ensure!(
        claims.iter().any(|path| path.ends_with(SECOND_LIST)),
        "the second owner has no list: {claims:?}"
    );
    world.rest().await;
    ensure_grants_open(&reader, world.share.path())?;
    flip_last(&reader, world.share.path(), PASSPHRASE, |path| path.ends_with(SECOND_LIST))?;
    world.end().await
}
