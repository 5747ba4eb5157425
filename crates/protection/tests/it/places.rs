//! A place is reached through whichever profile leads there, whatever became of the one that it was known by; and one that
//! is out of reach holds up nothing that lies elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_catalog::{Actor, Change, Class, Labels, Row, RowKind};
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::{disable, enable};
use keelson_protection::{Place, Platform, maintenance};
use keelson_testkit::{eventually, random_hex};
use keelson_workload::{NamespacedName, Secret};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fixture::World;
use crate::stage::{NAMESPACE, config, make_valid, profile};

const APPLICATION: &str = "shop";
/// Less than a store that says nothing is waited for.
const SOON: Duration = Duration::from_secs(30);

/// A profile to the share.
async fn make_profile(world: &World, name: &str) -> Result<()> {
    let mut profile = profile();
    profile["metadata"]["name"] = json!(name);
    make_valid(&world.platform, &config("Profile", "profiles"), &profile).await
}

fn through(profile: &str) -> Value {
    json!({ "profile": { "name": profile, "namespace": NAMESPACE } })
}

/// The name that an export had come through decided: where that profile was gone, ownership could not be taken, nor
/// anything be exported there again.
#[tokio::test(flavor = "multi_thread")]
async fn ownership_is_taken_through_any_profile_that_leads_to_the_place() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(APPLICATION).await?;
    make_profile(&world, "prod").await?;
    world.serve();
    enable(&world.platform, "prod", DrMode::Legacy).await?;
    world.export(APPLICATION, "first", through("prod")).await?;
    world.wait_until_shipped().await?;
    let source = world.platform.cluster_id().clone();

    let mut world = world.lose_cluster().await?;
    world.namespace(APPLICATION).await?;
    make_profile(&world, "rescue").await?;
    world.serve();
    let info = json!({ "profileName": "rescue", "sourceClusterID": source });
    let spec = json!({ "sourceClusterInfo": info, "skipResources": "profiles" });
    let restore = world.ended_restore("recovery", spec).await?;
    ensure!(restore.body.status["state"] == "success", "{}", restore.body.status);
    ensure!(world.platform.profile("prod").await.is_err(), "the source's profile has not come back");

    world.take_ownership().await?;
    let export = world.export(APPLICATION, "second", through("rescue")).await?;
    ensure!(export.body.status["state"] == "Complete", "{}", export.body.status);
    let exports = world.listing(&format!("k10/{source}/exports"))?;
    let repositories = exports.iter().filter(|path| path.ends_with("/format")).count();
    ensure!(repositories == 1, "exports go on where they were: {exports:?}");
    world.end().await
}

/// One old export through a profile that was deleted since, and nothing in its place was freed any more.
#[tokio::test(flavor = "multi_thread")]
async fn maintenance_goes_on_where_a_profile_was_deleted_and_another_leads() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(APPLICATION).await?;
    make_profile(&world, "old").await?;
    world.serve();
    world.export(APPLICATION, "first", through("old")).await?;
    let cluster = world.platform.cluster();
    cluster.delete_object(&config("Profile", "profiles"), Some(NAMESPACE), "old").await?;
    eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    world.clock.advance(Duration::from_secs(3 * 3600));
    let report = world.maintained(1).await?;
    let told = |why: &String| why.contains("claim 'share'") && why.contains("no profile 'old'");
    ensure!(report.failures_total == 1 && report.failures.iter().all(told), "{report:?}");

    make_profile(&world, "new").await?;
    world.clock.advance(Duration::from_secs(25 * 3600));
    let report = world.maintained(2).await?;
    ensure!(report.failures_total == 0 && report.repositories == 2, "{report:?}");
    world.end().await
}

/// How a store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// To each request that it may not be made.
    Refusal,
    Never,
}

/// Stands where a store should, and counts who comes for which bucket.
struct Door {
    endpoint: String,
    visits: Arc<Mutex<Vec<String>>>,
    _attends: JoinSet<()>,
}

impl Door {
    async fn open(answer: Answer) -> Result<Self> {
        let door = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", door.local_addr()?);
        let visits = Arc::new(Mutex::new(Vec::new()));
        let (mut attends, visited) = (JoinSet::new(), visits.clone());
        attends.spawn(async move {
            let mut visitors = JoinSet::new();
            while let Ok((visitor, _)) = door.accept().await {
                visitors.spawn(receive(visitor, visited.clone(), answer));
            }
        });
        Ok(Self { endpoint, visits, _attends: attends })
    }

    fn visits(&self, bucket: &str) -> usize {
        let visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        visits.iter().filter(|visited| *visited == bucket).count()
    }

    /// A profile of a bucket's name that leads there.
    async fn make_profile(&self, platform: &Platform, bucket: &str) -> Result<()> {
        let credentials = ["aws_access_key_id", "aws_secret_access_key"];
        let credentials = credentials.map(|key| (key.to_owned(), "told to nobody".into()));
        let secret = Secret::opaque(NamespacedName::new(NAMESPACE, "s3-creds"), credentials);
        platform.cluster().apply_secret(&secret).await?;
        let mut profile = profile();
        profile["metadata"]["name"] = json!(bucket);
        profile["spec"]["locationSpec"] = json!({
            "type": "ObjectStore",
            "credential": { "secretType": "AwsAccessKey",
                "secret": { "apiVersion": "v1", "kind": "Secret", "name": "s3-creds", "namespace": NAMESPACE } },
            "objectStore": { "objectStoreType": "S3", "name": bucket, "region": "us-east-1",
                "pathType": "Directory", "endpoint": self.endpoint },
        });
        make_valid(platform, &config("Profile", "profiles"), &profile).await
    }

    /// As if an application had been exported to a bucket while its store could be reached.
    fn note_export(&self, platform: &Platform, application: &str, bucket: &str) -> Result<()> {
        let place = Place::ObjectStore {
            endpoint: self.endpoint.clone(),
            bucket: bucket.to_owned(),
            path: String::new(),
        };
        let repository = random_hex::<16>();
        let body = json!({ "application": application, "profile": bucket, "place": place,
            "cluster": platform.cluster_id(), "repository": repository });
        let row = Row {
            kind: RowKind::new("repositories"),
            namespace: application.to_owned(),
            name: place.key(),
            uid: repository,
            labels: Labels::new(),
            created: platform.clock().now(),
            class: Class::Configuration,
            body: serde_json::to_vec(&body)?,
        };
        platform.catalog()?.commit(&Actor::new("test"), vec![Change::put(row)])?;
        Ok(())
    }
}

/// One request, of which the head is enough.
async fn receive(mut visitor: TcpStream, visits: Arc<Mutex<Vec<String>>>, answer: Answer) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match visitor.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let bucket = path.split(['/', '?']).next().unwrap_or_default().to_owned();
    visits.lock().unwrap_or_else(PoisonError::into_inner).push(bucket);
    match answer {
        Answer::Never => std::future::pending().await,
        Answer::Refusal => {
            let body = "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>";
            let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\nconnection: close";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            // Whoever has gone meanwhile needs none.
            drop(visitor.write_all(answer.as_bytes()).await);
        }
    }
}

/// Each of the exports there was waited for in turn, by whoever enabled, disabled or recovered.
#[tokio::test(flavor = "multi_thread")]
async fn exports_in_a_place_that_never_answers_hold_up_nobody() -> Result<()> {
    let mut world = World::start().await?;
    let door = Door::open(Answer::Never).await?;
    door.make_profile(&world.platform, "away").await?;
    for application in ["bank", "shop", "wiki"] {
        door.note_export(&world.platform, application, "away")?;
    }
    make_profile(&world, "vault").await?;
    let enabled = timeout(SOON, enable(&world.platform, "vault", DrMode::Legacy)).await;
    enabled.context("enabling waits for another place")??;
    ensure!(door.visits("away") == 0, "another place was asked");

    world.serve();
    let is_visited = async || Ok((door.visits("away") > 0).then_some(()));
    eventually("the other place is tried", is_visited).await?;
    let disabled = timeout(SOON, disable(&world.platform)).await;
    disabled.context("disabling waits for another place")??;
    // Who asks for the details of its repositories would be kept waiting.
    let profiles = config("Profile", "profiles");
    world.platform.cluster().delete_object(&profiles, Some(NAMESPACE), "away").await?;
    world.end().await
}

/// It was opened anew for each of the exports.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_opened_once_for_all_exports_that_lack_slots() -> Result<()> {
    let mut world = World::start().await?;
    let door = Door::open(Answer::Refusal).await?;
    for bucket in ["first", "second"] {
        door.make_profile(&world.platform, bucket).await?;
    }
    make_profile(&world, "vault").await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    ensure!(world.platform.open_location("first").await.is_err(), "nothing opens there");
    let opening = door.visits("first");
    ensure!(opening > 0, "it is not this door that is asked");

    for (application, bucket) in [("a", "first"), ("b", "first"), ("c", "first"), ("d", "second")] {
        door.note_export(&world.platform, application, bucket)?;
    }
    world.serve();
    let is_visited = async || Ok((door.visits("second") >= opening).then_some(()));
    eventually("the last place is tried", is_visited).await?;
    let visits = door.visits("first");
    ensure!(visits == 2 * opening, "{visits} requests, where one opening makes {opening}");
    world.end().await
}
