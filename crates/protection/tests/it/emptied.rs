//! A location in which nothing of the platform is left goes by the name of the one that was meant: a folder of the node, where
//! a share is not mounted. Nothing is written there.

use anyhow::{Context, Result, bail, ensure};
use keelson_model::ErrorClass;
use keelson_protection::LocationError;
use keelson_protection::validation::{ProfileVerdict, validate_profile};

use crate::fixture::World;
use crate::stage::{NAMESPACE, config, make_valid, policy, profile};

async fn validate(world: &World) -> Result<ProfileVerdict> {
    let kind = config("Profile", "profiles");
    let object = world.platform.cluster().read_object(&kind, Some(NAMESPACE), "vault").await?;
    Ok(validate_profile(&world.platform, &object.context("the profile")?).await)
}

async fn assert_valid(world: &World) -> Result<()> {
    let verdict = validate(world).await?;
    ensure!(matches!(verdict, ProfileVerdict::Writable(_)), "{verdict:?}");
    world.platform.open_writable("vault").await?;
    Ok(())
}

/// It was valid, exports went there, and were where nobody looks for them once the share was mounted again.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_is_not_taken_for_the_location_in_which_the_platform_has_stored() -> Result<()> {
    let world = World::start_now().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    assert_valid(&world).await.context("nothing was stored yet")?;
    make_valid(&world.platform, &config("Policy", "policies"), &policy()).await?;
    assert_valid(&world).await?;

    let (here, aside) = (world.share.path().join("k10"), world.share.path().join("aside"));
    std::fs::rename(&here, &aside)?;
    let ProfileVerdict::Failed { errors, class } = validate(&world).await? else {
        bail!("it is taken for what was meant");
    };
    let told = errors.join("; ");
    ensure!(class == ErrorClass::NotFound && told.contains("holds nothing of cluster"), "{class:?}: {told}");
    ensure!(told.contains("; hint: mount the share"), "{told}");
    let refused = world.platform.open_writable("vault").await;
    ensure!(matches!(refused, Err(LocationError::Emptied { .. })), "{refused:?}");
    ensure!(!here.exists(), "something was written there");

    std::fs::rename(&aside, &here)?;
    assert_valid(&world).await?;
    world.end().await
}
