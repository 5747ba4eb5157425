//! A platform whose location is a real bucket, and what somebody does to it who may write there.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use keelson_forger::{Forgery, Hand, forge};
use keelson_store::Store;
use keelson_testkit::{BucketProtection, Minio, open_bucket};
use keelson_workload::{NamespacedName, Secret};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::fixture::World;
use crate::stage::{NAMESPACE, config, make_valid, profile};

pub(crate) const BUCKET: &str = "vault";

/// Whether the profile asks for locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locks {
    Asked,
    None,
}

pub(crate) async fn start_bucket(locks: Locks) -> Result<Minio> {
    let minio = Minio::start().await?;
    let protection = match locks {
        Locks::Asked => BucketProtection::ObjectLock,
        Locks::None => BucketProtection::Versioning,
    };
    minio.create_bucket(BUCKET, protection).await?;
    Ok(minio)
}

/// The profile `vault` leads to the bucket at `endpoint`, and the platform serves.
pub(crate) async fn serve_to(world: &mut World, minio: &Minio, endpoint: &str, locks: Locks) -> Result<()> {
    make_credentials(world, minio).await?;
    let period = (locks == Locks::Asked).then_some("168h0m0s");
    use_bucket(world, minio, endpoint, period).await?;
    world.serve();
    Ok(())
}

async fn make_credentials(world: &World, minio: &Minio) -> Result<()> {
    use_keys(world, (minio.access_key(), minio.secret_key())).await
}

/// What the profile's Secret holds from now on: an access key and its secret key.
pub(crate) async fn use_keys(world: &World, (access_key, secret_key): (&str, &str)) -> Result<()> {
    let credentials = [("aws_access_key_id", access_key), ("aws_secret_access_key", secret_key)];
    let credentials = credentials.map(|(name, value)| (name.to_owned(), value.into()));
    let secret = Secret::opaque(NamespacedName::new(NAMESPACE, "s3-creds"), credentials);
    Ok(world.platform.cluster().apply_secret(&secret).await?)
}

/// What the profile `vault` asks of the bucket from now on.
pub(crate) async fn use_bucket(
    world: &World,
    minio: &Minio,
    endpoint: &str,
    period: Option<&str>,
) -> Result<()> {
    let mut profile = profile();
    profile["spec"]["locationSpec"] = json!({
        "type": "ObjectStore",
        "credential": { "secretType": "AwsAccessKey",
            "secret": { "apiVersion": "v1", "kind": "Secret", "name": "s3-creds", "namespace": NAMESPACE } },
        "objectStore": { "objectStoreType": "S3", "name": BUCKET, "region": minio.region(),
            "pathType": "Directory", "endpoint": endpoint },
    });
    if let Some(period) = period {
        profile["spec"]["locationSpec"]["objectStore"]["protectionPeriod"] = json!(period);
    }
    make_valid(&world.platform, &config("Profile", "profiles"), &profile).await
}

pub(crate) async fn store_of(minio: &Minio) -> Result<Arc<dyn Store>> {
    open_bucket(&minio.endpoint(), minio.access_key(), minio.secret_key(), BUCKET).await
}

/// The keys that have a version with bytes.
pub(crate) async fn keys(minio: &Minio) -> Result<BTreeSet<String>> {
    let folder = format!("{BUCKET}/");
    let held = minio.holdings().await?.into_iter();
    Ok(held.filter_map(|(key, _)| Some(key.strip_prefix(&folder)?.to_owned())).collect())
}

/// A request whose connection breaks is sent so often in all.
const VISITS_OF_A_REQUEST: usize = 3;

async fn turn_the_first_away(door: TcpListener, server: String) -> Result<()> {
    for _ in 0..VISITS_OF_A_REQUEST {
        drop(door.accept().await?);
    }
    let visits = TaskTracker::new();
    loop {
        let (mut visitor, _) = door.accept().await?;
        let mut within = TcpStream::connect(&server).await?;
        // A visit that breaks is its visitor's to report.
        visits.spawn(async move { drop(copy_bidirectional(&mut visitor, &mut within).await) });
    }
}

/// A restore that the operator had begun failed for good, since the store was away for a second when it was opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_while_it_is_opened_is_asked_again() -> Result<()> {
    let (world, minio) = (World::start().await?, start_bucket(Locks::None).await?);
    make_credentials(&world, &minio).await?;
    let door = TcpListener::bind("127.0.0.1:0").await?;
    use_bucket(&world, &minio, &format!("http://{}", door.local_addr()?), None).await?;
    let server = minio.endpoint().trim_start_matches("http://").to_owned();
    let location = tokio::select! {
        opened = world.platform.open_location("vault") => opened?,
        ended = turn_the_first_away(door, server) => return ended,
    };
    assert_eq!(location.profile, "vault");
    world.end().await
}

/// Without a key of ours, and without the right to delete a version: everything is laid over and hidden, and forgeries
/// are put beside it.
pub(crate) async fn attack(
    minio: &Minio,
    cluster: &str,
    takes: impl Fn(&str) -> bool,
) -> Result<Vec<Forgery>> {
    let (client, store) = (minio.client(), store_of(minio).await?);
    let mut forged = forge(&store, cluster, Hand::Stranger).await?;
    forged.retain(|forgery| takes(forgery.path.as_str()));
    for key in keys(minio).await? {
        client.put_object().bucket(BUCKET).key(&key).body(b"forged".to_vec().into()).send().await?;
        client.delete_object().bucket(BUCKET).key(&key).send().await?;
    }
    for Forgery { path, bytes } in &forged {
        client.put_object().bucket(BUCKET).key(path.as_str()).body(bytes.clone().into()).send().await?;
    }
    Ok(forged)
}

/// What a person does whom a message has told to delete an object from the store.
pub(crate) async fn delete_for_good(minio: &Minio, key: &str) -> Result<()> {
    let client = minio.client();
    let versions = client.list_object_versions().bucket(BUCKET).prefix(key).send().await?;
    for version in versions.versions() {
        let id = version.version_id().context("a version")?;
        client.delete_object().bucket(BUCKET).key(key).version_id(id).send().await?;
    }
    Ok(())
}
