//! What the catalog says of the cluster's configuration follows what the cluster says.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use keelson_catalog::{Query, RowKind};
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_testkit::eventually;
use keelson_workload::{NamespacedName, Secret};
use serde_json::{Value, json};

use crate::fixture::World;
use crate::stage::{NAMESPACE, config, make_valid, profile};

fn bucket(name: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Profile",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": { "type": "Location", "locationSpec": {
            "type": "ObjectStore",
            "credential": { "secretType": "AwsAccessKey",
                "secret": { "apiVersion": "v1", "kind": "Secret", "name": secret, "namespace": NAMESPACE } },
            "objectStore": { "name": name, "objectStoreType": "S3", "region": "eu-1" } } },
    })
}

fn rows(world: &World, kind: &str) -> Result<BTreeSet<String>> {
    let page = world.platform.catalog()?.list(&Query::all(RowKind::new(kind), 100))?;
    Ok(page.rows.into_iter().map(|stored| stored.row.name).collect())
}

async fn wait_for(world: &World, kind: &str, expected: &[&str]) -> Result<()> {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    eventually(&format!("the catalog holds {expected:?} of {kind}"), async || {
        Ok((rows(world, kind)? == expected).then_some(()))
    })
    .await
}

const PROFILES: &str = "profiles.config.kio.kasten.io";
const SECRETS: &str = "secrets";

fn secret(name: &str, value: &str) -> Secret {
    let data = [("aws_access_key_id".to_owned(), value.into())];
    Secret::opaque(NamespacedName::new(NAMESPACE, name), data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_kept_from_when_it_is_there_until_no_profile_names_it() -> Result<()> {
    let mut world = World::start().await?;
    world.serve();
    let kind = config("Profile", "profiles");
    let cluster = world.platform.cluster().clone();
    cluster.apply_object(&kind, &bucket("first", "first-keys")).await?;
    cluster.apply_object(&kind, &bucket("second", "second-keys")).await?;
    wait_for(&world, PROFILES, &["first", "second"]).await?;
    // People create them in any order.
    for name in ["first-keys", "second-keys", "nobodys-keys"] {
        cluster.apply_secret(&secret(name, "before")).await?;
    }
    wait_for(&world, SECRETS, &["first-keys", "second-keys"]).await?;
    cluster.delete_object(&kind, Some(NAMESPACE), "first").await?;
    wait_for(&world, PROFILES, &["second"]).await?;
    wait_for(&world, SECRETS, &["second-keys"]).await?;
    // A profile that names another one lets go of its old one.
    cluster.apply_object(&kind, &bucket("second", "nobodys-keys")).await?;
    wait_for(&world, SECRETS, &["nobodys-keys"]).await?;
    world.end().await
}

/// So many Secrets take longer to be put back than a pass takes.
const MANY: usize = 12;

/// While they were put back a pass wrote what the cluster held over the recovered rows whose turn had not come: what was
/// confirmed to be replaced stayed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_recovered_is_written_over_by_nothing_before_it_is_put_back() -> Result<()> {
    let mut world = World::start().await?;
    let kind = config("Profile", "profiles");
    make_valid(&world.platform, &kind, &profile()).await?;
    world.serve();
    let many: Vec<String> = (0..MANY).map(|number| format!("many-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let cluster = world.platform.cluster().clone();
    for name in &many {
        cluster.apply_secret(&secret(name, "before")).await?;
        cluster.apply_object(&kind, &bucket(name, name)).await?;
    }
    cluster.apply_object(&kind, &bucket("taken", many[0])).await?;
    wait_for(&world, SECRETS, &many).await?;
    wait_for(&world, PROFILES, &[&many[..], &["taken", "vault"]].concat()).await?;
    enable(&world.platform, "vault", DrMode::QuickNoSnapshot).await?;
    let source = world.platform.cluster_id().clone();

    let mut world = world.lose_cluster().await?;
    make_valid(&world.platform, &kind, &profile()).await?;
    world.serve();
    let cluster = world.platform.cluster().clone();
    let mut taken = bucket("taken", many[0]);
    taken["spec"]["locationSpec"]["objectStore"]["region"] = json!("eu-2");
    cluster.apply_object(&kind, &taken).await?;
    wait_for(&world, PROFILES, &["taken", "vault"]).await?;
    let spec = json!({
        "sourceClusterInfo": { "profileName": "vault", "sourceClusterID": source },
        "quickMode": { "enabled": true, "overrideResources": true },
    });
    let status = world.ended_restore("recovery", spec).await?.body.status;
    ensure!(status["state"] == "success", "{status}");
    let found = cluster.read_object(&kind, Some(NAMESPACE), "taken").await?.context("the profile")?;
    let region = &found["spec"]["locationSpec"]["objectStore"]["region"];
    ensure!(region == "eu-1", "the profile is not as it was backed up, but in {region}: {status}");
    world.end().await
}
