//! What the catalog says of the cluster's configuration follows what the cluster says.

use std::collections::BTreeSet;

use anyhow::Result;
use keelson_catalog::{Query, RowKind};
use keelson_testkit::eventually;
use keelson_workload::{NamespacedName, Secret};
use serde_json::{Value, json};

use crate::fixture::World;
use crate::stage::{NAMESPACE, config};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_kept_from_when_it_is_there_until_no_profile_names_it() -> Result<()> {
    let mut world = World::start().await?;
    world.serve();
    let kind = config("Profile", "profiles");
    let cluster = world.platform.cluster().clone();
    let secret = |name: &str, value: &str| {
        let data = [("aws_access_key_id".to_owned(), value.into())];
        Secret::opaque(NamespacedName::new(NAMESPACE, name), data)
    };
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
