//! A confirmed Quick restore in a cluster that asks AWS for the passphrase: those by whom it asks are replaced only by those
//! whom AWS takes.

use anyhow::{Context, Result, ensure};
use keelson_model::names::DR_SECRET;
use keelson_model::recovery::DrMode;
use keelson_protection::AwsEnvironment;
use keelson_protection::recovery::enable::enable;
use keelson_testkit::AwsKeys;
use keelson_workload::{NamespacedName, Secret};
use serde_json::{Value, json};

use crate::fixture::World;
use crate::stage::{NAMESPACE, PASSPHRASE, config, make_valid, profile};

const OF_THE_LOST: &str = "AKIAOFTHELOSTCLUSTER";
const OF_THE_NEW: &str = "AKIAOFTHENEWCLUSTER";
const SECRET: &str = "aws-infra";
/// Not the one that is asked where nothing says which.
const REGION: &str = "us-gov-west-1";

fn infra(secret: &str) -> Value {
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "name": secret, "namespace": NAMESPACE });
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Profile",
        "metadata": { "name": "aws", "namespace": NAMESPACE },
        "spec": { "type": "Infra", "infra": {
            "type": "AWS", "credential": { "secretType": "AwsAccessKey", "secret": secret } } },
    })
}

async fn set_secret(world: &World, name: &str, data: &[(&str, &str)]) -> Result<()> {
    let at = NamespacedName::new(NAMESPACE, name);
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    Ok(world.platform.cluster().apply_secret(&Secret::opaque(at, data)).await?)
}

/// What is made by hand in each cluster. The platform asks by a key that AWS knows.
async fn prepare(world: &mut World, secret: &str, access_key: &str) -> Result<()> {
    set_secret(world, DR_SECRET, &[("source", "aws"), ("aws-region", REGION), ("key", "k10/dr")]).await?;
    let keys = [("aws_access_key_id", access_key), ("aws_secret_access_key", "planted")];
    set_secret(world, secret, &keys).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    world.apply_profile(&infra(secret)).await
}

/// What has become of the way to AWS.
struct Found {
    secret_of_profile: Value,
    access_key: String,
    notes: String,
}

/// Recovers over what bears the same names, where the lost cluster's profile named `secret`, and enables what was
/// recovered. AWS knows `keys` by then.
async fn recover(secret: &str, keys: &[&str]) -> Result<Found> {
    let aws = AwsKeys::start(PASSPHRASE).await?;
    aws.know(&[OF_THE_LOST]);
    let environment = AwsEnvironment { endpoint: Some(aws.url()), ..AwsEnvironment::default() };
    let mut world = World::start_in(environment).await?;
    prepare(&mut world, secret, OF_THE_LOST).await?;
    enable(&world.platform, "vault", DrMode::QuickNoSnapshot).await?;
    let source = world.platform.cluster_id().clone();

    let mut world = world.lose_cluster().await?;
    aws.know(keys);
    prepare(&mut world, SECRET, OF_THE_NEW).await?;
    let spec = json!({
        "sourceClusterInfo": { "profileName": "vault", "sourceClusterID": source },
        "quickMode": { "enabled": true, "overrideResources": true },
    });
    let status = world.ended_restore("recovery", spec).await?.body.status;
    ensure!(status["state"] == "success", "{status}");
    let cluster = world.platform.cluster();
    let profile = cluster.read_object(&config("Profile", "profiles"), Some(NAMESPACE), "aws").await?;
    let found = cluster.read_secret(&NamespacedName::new(NAMESPACE, SECRET)).await?.context("the Secret")?;
    let found = Found {
        secret_of_profile: profile.context("the profile")?["spec"]["infra"]["credential"]["secret"]["name"]
            .take(),
        access_key: String::from_utf8(found.data["aws_access_key_id"].to_vec())?,
        notes: status["notes"].to_string(),
    };
    // What this cluster asks by is still good for it.
    make_valid(&world.platform, &config("Profile", "profiles"), &infra(SECRET)).await?;
    let enabled = enable(&world.platform, "vault", DrMode::QuickNoSnapshot).await;
    enabled.with_context(|| format!("enable what was recovered: {}", found.notes))?;
    world.end().await?;
    Ok(found)
}

/// Keys that AWS knows no more were put back over those by which the passphrase had just been read, and nothing was
/// protected any more.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_aws_knows_no_more_take_the_place_of_none_that_it_knows() -> Result<()> {
    let found = recover(SECRET, &[OF_THE_NEW]).await?;
    ensure!(found.access_key == OF_THE_NEW, "the Secret was replaced: {}", found.notes);
    for told in [
        "Secret 'aws-infra' exists already and differs; it was kept: the backed-up one is not taken by AWS: ",
        "does not know the access key in region 'us-gov-west-1'",
    ] {
        ensure!(found.notes.contains(told), "'{told}' is not in: {}", found.notes);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_whose_keys_aws_knows_no_more_takes_the_place_of_none_either() -> Result<()> {
    let found = recover("aws-before", &[OF_THE_NEW]).await?;
    ensure!(found.secret_of_profile == SECRET, "the profile was replaced: {}", found.notes);
    let told = "Profile 'aws' was kept: the backed-up one is not taken by AWS: ";
    ensure!(found.notes.contains(told), "'{told}' is not in: {}", found.notes);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_aws_knows_are_put_back_as_was_confirmed() -> Result<()> {
    let found = recover(SECRET, &[OF_THE_LOST, OF_THE_NEW]).await?;
    ensure!(found.access_key == OF_THE_LOST, "the Secret was kept: {}", found.notes);
    ensure!(!found.notes.contains("was kept"), "{}", found.notes);
    Ok(())
}
