//! Profile and Secret change while the platform ships its journal: it follows without a new start, in the same chain. It kept
//! the store that it had opened first: keys that were rotated stopped it, and a protection that was asked for later was not
//! given.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use keelson_model::names::DR_POLICY;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_protection::status::{self, ShippedStatus};
use keelson_store::StoreExt;
use keelson_testkit::{GateHabit, Minio, PROTECTION_RIGHTS, S3Gate, eventually, leisurely};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::bucket::{BUCKET, Locks, serve_to, start_bucket, store_of, use_bucket, use_keys};
use crate::fixture::{World, put_note};
use crate::stage::{NAMESPACE, config, make_valid, policy};

const FIRST: (&str, &str) = ("AKIAFIRST", "the first secret key");
const SECOND: (&str, &str) = ("AKIASECOND", "the second secret key");
const THIRD: (&str, &str) = ("AKIATHIRD", "the third secret key");
/// What lies in the platform's own backup, but for sessions, which lead nowhere.
const FOLDERS: [&str; 9] =
    ["bases", "segments", "starts", "manifests", "packs", "index", "outcomes", "keys", "cards"];
const DAY: Duration = Duration::from_secs(24 * 3600);
/// No request of ours has a longer head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A door before an S3 server that knows one access key, and signatures of nobody: those are for the server, which would
/// have to know the keys.
struct KeyDoor {
    address: SocketAddr,
    known: watch::Sender<&'static str>,
    _stop: DropGuard,
}

impl KeyDoor {
    async fn open(endpoint: &str, known: &'static str) -> Result<Self> {
        let server = endpoint.strip_prefix("http://").context("the door speaks plain HTTP")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (stop, visits) = (CancellationToken::new(), TaskTracker::new());
        let (stopped, tracker) = (stop.clone(), visits.clone());
        let (known, knows) = watch::channel(known);
        visits.spawn(async move {
            while let Some(Ok((visitor, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (server, stopped, known) = (server.clone(), stopped.clone(), *knows.borrow());
                // A visit that breaks is its visitor's to report.
                tracker
                    .spawn(async move { stopped.run_until_cancelled(pass(visitor, &server, known)).await });
            }
        });
        Ok(Self { address, known, _stop: stop.drop_guard() })
    }

    /// The key before it is revoked.
    fn rotate(&self, known: &'static str) {
        self.known.send_replace(known);
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// One request a connection: the gate behind the door answers so.
async fn pass(mut visitor: TcpStream, server: &str, known: &str) -> Result<()> {
    let mut begun = Vec::new();
    let end = loop {
        if let Some(end) = begun.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        ensure!(begun.len() < HEAD_BYTES_MAX, "the head has no end");
        ensure!(visitor.read_buf(&mut begun).await? > 0, "the connection ended within the head");
    };
    let head = String::from_utf8_lossy(&begun[..end]).into_owned();
    if head.contains(&format!("Credential={known}/")) {
        let mut within = TcpStream::connect(server).await?;
        within.write_all(&begun).await?;
        copy_bidirectional(&mut visitor, &mut within).await?;
        return Ok(());
    }
    // Read to its end: who answers before that breaks the connection.
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(Ok(0), |(_, length)| length.trim().parse())?;
    let rest = (end + 4 + length).saturating_sub(begun.len());
    tokio::io::copy(&mut (&mut visitor).take(rest as u64), &mut tokio::io::sink()).await?;
    let body = match head.starts_with("HEAD ") {
        true => "",
        false => "<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>",
    };
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    visitor.write_all(answer.as_bytes()).await?;
    Ok(visitor.shutdown().await?)
}

/// Everybody may do everything that a profile needs.
async fn allow(minio: &Minio) -> Result<()> {
    let of_object = |right: &str| right.contains("Object") && !right.contains("Bucket");
    let (objects, bucket): (Vec<_>, Vec<_>) =
        PROTECTION_RIGHTS.into_iter().partition(|right| of_object(right));
    let statement = |rights: &[&str], of: &str| {
        let resource = format!("arn:aws:s3:::{BUCKET}{of}");
        json!({ "Effect": "Allow", "Principal": "*", "Action": rights, "Resource": [resource] })
    };
    let statements = [statement(&bucket, ""), statement(&objects, "/*")];
    let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    minio.client().put_bucket_policy().bucket(BUCKET).policy(policy).send().await?;
    Ok(())
}

/// Commits something, and waits until it lies in the location and nothing is wrong. Says in which repository, and how far.
async fn commit_and_ship(world: &World, name: &str) -> Result<(String, ShippedStatus)> {
    put_note(&world.platform, name)?;
    eventually(&format!("what was committed {name} is shipped"), async || {
        let known = status::observe(&world.platform).disaster_recovery.context("it is enabled")?;
        let shipped = known.shipped.filter(|shipped| shipped.behind == 0 && known.alarms.is_empty());
        Ok(shipped.map(|shipped| (known.repository, shipped)))
    })
    .await
}

async fn run_own_policy(world: &World, name: &str) -> Result<()> {
    let run = json!({ "subject": { "kind": "Policy", "name": DR_POLICY, "namespace": NAMESPACE } });
    world.create("RunAction", (NAMESPACE, name), run).await?;
    world.completed("RunAction", (NAMESPACE, name)).await.map(drop)
}

/// Shipping finds out when the store refuses it, and looks at the Secret at once; a run of the policy looks before it begins.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_after_the_keys_were_rotated_is_shipped_without_a_new_start() -> Result<()> {
    let minio = start_bucket(Locks::None).await?;
    allow(&minio).await?;
    let gate = S3Gate::open(&minio.endpoint(), GateHabit::Anonymous).await?;
    let door = KeyDoor::open(&gate.endpoint(), FIRST.0).await?;
    let mut world = World::start_today(SignedDuration::MAX).await?;
    use_keys(&world, FIRST).await?;
    use_bucket(&world, &minio, &door.endpoint(), None).await?;
    let enabled = enable(&world.platform, "vault", DrMode::Legacy).await?;
    world.serve();
    let (_, before) = commit_and_ship(&world, "before").await?;

    use_keys(&world, SECOND).await?;
    door.rotate(SECOND.0);
    let (repository, after) = commit_and_ship(&world, "after").await?;
    assert_eq!(repository, enabled.repository.to_string());
    ensure!(after.through > before.through, "{after:?} behind {before:?}");
    assert_eq!((after.epoch, after.generation, after.base), (before.epoch, before.generation, before.base));

    make_valid(&world.platform, &config("Policy", "policies"), &policy()).await?;
    use_keys(&world, THIRD).await?;
    door.rotate(THIRD.0);
    run_own_policy(&world, "run").await?;
    let (repository, last) = commit_and_ship(&world, "at last").await?;
    assert_eq!((repository, last.base), (enabled.repository.to_string(), before.base));
    world.end().await?;
    minio.stop().await
}

/// The objects in a folder of the platform's own backup, and until when each is locked. Those of one kind lie in folders of
/// one name.
async fn locks_of(world: &World, minio: &Minio, folder: &str) -> Result<Vec<(String, Option<Timestamp>)>> {
    let (store, cluster) = (store_of(minio).await?, world.platform.cluster_id());
    let mut found = Vec::new();
    for object in store.list_all(&format!("k10/{cluster}").parse()?).await? {
        let path = object.path.as_str();
        if path.contains(&format!("/{folder}/")) && !path.contains("/sessions/") {
            let until = store.head(&object.path, None).await?.retain_until;
            found.push((path.to_owned(), until));
        }
    }
    ensure!(!found.is_empty(), "nothing lies in a folder '{folder}'");
    Ok(found)
}

/// Until when everything is locked.
async fn ends(world: &World, minio: &Minio) -> Result<BTreeMap<String, Timestamp>> {
    let mut ends = BTreeMap::new();
    for folder in FOLDERS {
        for (path, until) in locks_of(world, minio, folder).await? {
            let until = until.with_context(|| format!("{path} is not locked"))?;
            ends.insert(path, until);
        }
    }
    Ok(ends)
}

/// No run, and no new start: profile and Secret are looked at once a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_protection_that_is_asked_for_later_is_given_from_then_on_and_by_the_next_run_to_all_before()
-> Result<()> {
    let minio = start_bucket(Locks::Asked).await?;
    let mut world = World::start_today(SignedDuration::MAX).await?;
    serve_to(&mut world, &minio, &minio.endpoint(), Locks::None).await?;
    make_valid(&world.platform, &config("Policy", "policies"), &policy()).await?;
    commit_and_ship(&world, "before").await?;
    run_own_policy(&world, "before").await?;
    commit_and_ship(&world, "since").await?;
    for folder in FOLDERS {
        let locked = locks_of(&world, &minio, folder).await?;
        ensure!(locked.iter().all(|(_, until)| until.is_none()), "{locked:?}");
    }

    use_bucket(&world, &minio, &minio.endpoint(), Some("168h0m0s")).await?;
    leisurely("the location is opened anew", async || {
        let starts = locks_of(&world, &minio, "starts").await?;
        Ok(starts.iter().any(|(_, until)| until.is_some()).then_some(()))
    })
    .await?;
    // Among them those that were shipped until then: that the profile has changed is shipped, too.
    let earlier = locks_of(&world, &minio, "segments").await?;
    commit_and_ship(&world, "after").await?;
    let mut later = locks_of(&world, &minio, "segments").await?;
    later.retain(|segment| !earlier.contains(segment));
    ensure!(!later.is_empty(), "nothing was shipped");
    ensure!(later.iter().all(|(_, until)| until.is_some()), "{later:?}");

    run_own_policy(&world, "after").await?;
    let locked = ends(&world, &minio).await?;
    use_bucket(&world, &minio, &minio.endpoint(), Some("720h0m0s")).await?;
    run_own_policy(&world, "longer").await?;
    let longer = ends(&world, &minio).await?;
    for (path, end) in &locked {
        let later = longer.get(path).with_context(|| format!("{path} is gone"))?;
        ensure!(*later >= *end + 22 * DAY, "{path} is locked until {later}, before until {end}");
    }
    world.end().await?;
    minio.stop().await
}
