//! Restores on a real API server that are stopped at a chosen step, and what the cluster does not take of them.

mod going_on;
mod leaving;

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};
use futures::poll;
use keelson_catalog::{Actor, Change, Class, Expect, RowKey, RowKind};
use keelson_model::names::{DR_SECRET, OWNERSHIP_CONFIG_MAP};
use keelson_model::recovery::DrMode;
use keelson_model::{Generation, ManualClock};
use keelson_resources::{crd, spec_hash};
use keelson_testkit::{Planes, ReusedPlane, eventually};
use keelson_workload::{Cluster, Kind, NamespacedName, Secret};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::platform::{RecoveryBounds, Settings};
use crate::recovery::enable::enable;
use crate::recovery::state::Owed;
use crate::{mirror, ownership, status};

const NAMESPACE: &str = "kasten-io";
const CONFIG: &str = "config.kio.kasten.io/v1alpha1";
const BOUNDS: RecoveryBounds = RecoveryBounds { restore: 7, review: 3 };

async fn define_kinds(cluster: &Cluster) -> Result<()> {
    for (_, definition) in crd::crds() {
        cluster.apply_manifest(&definition).await?;
    }
    for (_, definition) in crd::crds() {
        let name = definition["metadata"]["name"].as_str().context("a name")?;
        cluster.wait_established(name, Duration::from_secs(180)).await?;
    }
    Ok(())
}

/// A platform that protects itself to a share, and recovers from there what it has shipped itself.
struct Site {
    plane: ReusedPlane,
    platform: Arc<Platform>,
    clock: Arc<ManualClock>,
    _data: TempDir,
    _share: TempDir,
}

impl Site {
    /// Rows that are in the catalog before the first base is.
    async fn start(rows: Vec<Change>) -> Result<Self> {
        Self::start_in(DrMode::Legacy, rows).await
    }

    async fn start_in(mode: DrMode, rows: Vec<Change>) -> Result<Self> {
        static PLANES: LazyLock<Planes> = LazyLock::new(Planes::default);
        let plane = PLANES
            .take(async |plane| define_kinds(&Cluster::from_client(plane.client().await?)).await)
            .await?;
        let (data, share) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let cluster = Cluster::from_client(plane.client().await?);
        make_namespace(&cluster, NAMESPACE).await?;
        let spec = json!({ "type": "Location",
            "locationSpec": { "type": "FileStore", "fileStore": { "claimName": "share" } } });
        let profile = object("Profile", NAMESPACE, "vault", spec);
        let applied = cluster.apply_object(&kinds::profile(), &profile).await?;
        let verdict = json!({ "validation": "Success", "hash": spec_hash(&applied["spec"]) });
        cluster.patch_status(&kinds::profile(), Some(NAMESPACE), "vault", &verdict).await?;
        let phrase = [("key".to_owned(), b"a long enough phrase".to_vec())];
        cluster.apply_secret(&Secret::opaque(NamespacedName::new(NAMESPACE, DR_SECRET), phrase)).await?;
        let settings = Settings {
            claims: BTreeMap::from([("share".to_owned(), share.path().to_owned())]),
            clock_difference_max: jiff::SignedDuration::MAX,
            recovery_bounds: BOUNDS,
            ..Settings::of_a_test(data.path())
        };
        let clock = Arc::new(ManualClock::new("2026-03-04T09:30:00Z".parse()?));
        let platform = Platform::open(settings, cluster, clock.clone()).await?;
        if !rows.is_empty() {
            platform.catalog()?.commit(&Actor::new("test"), rows)?;
        }
        enable(&platform, "vault", mode).await?;
        Ok(Self { plane, platform, clock, _data: data, _share: share })
    }

    fn source(&self) -> Value {
        json!({ "profileName": "vault", "sourceClusterID": self.platform.cluster_id })
    }

    async fn ask(&self, kind: &KindInfo, name: &str, spec: Value) -> Result<Record> {
        self.ask_as(Record::new(kind, NAMESPACE, name, self.platform.clock.now(), Class::Local), spec).await
    }

    async fn ask_as(&self, mut request: Record, spec: Value) -> Result<Record> {
        request.body.spec = spec;
        commit(&self.platform.instance, "test", vec![request.put(Expect::Absent)]).await?;
        self.read(&request)
    }

    /// What a restore asks for as of a moment.
    fn as_of(&self, moment: &str) -> Value {
        let mut source = self.source();
        source["pointInTime"] = json!(moment);
        json!({ "sourceClusterInfo": source })
    }

    async fn ask_restore(&self, name: &str) -> Result<Record> {
        self.ask(kinds::dr_restore(), name, json!({ "sourceClusterInfo": self.source() })).await
    }

    fn read(&self, request: &Record) -> Result<Record> {
        read(&self.platform.instance, &request.key())?.context("the request is there")
    }

    /// Waits until a request is at this.
    async fn at(&self, request: &Record, phase: &str) -> Result<()> {
        eventually(phase, async || Ok((self.read(request)?.body.status["phase"] == phase).then_some(())))
            .await
    }

    /// Waits until a restore is about to switch, and only waits for what is shipped to stand still.
    async fn about_to_switch(&self) -> Result<()> {
        let prepared = RowKey::new(RowKind::new("disaster-recovery"), "", "recovered");
        eventually("the switch is prepared", async || Ok(self.platform.instance.read(&prepared)?.map(drop)))
            .await
    }

    /// Why a request failed, as bad input, before anything was touched.
    async fn refuse(&self, request: Record) -> Result<String> {
        let generation = self.generation()?;
        carry_out_within(&self.platform, kinds::dr_restore(), request.clone(), std::future::pending()).await;
        let status = self.read(&request)?.body.status;
        ensure!(status["state"] == "failed" && status["errorClass"] == "Invalid", "{status}");
        ensure!(self.generation()? == generation && !self.has_config_map().await?, "it was refused too late");
        Ok(status["error"].as_str().unwrap_or_default().to_owned())
    }

    /// A restore whose time is up when it has switched and put nothing back.
    async fn end_after_the_switch(&self, name: &str) -> Result<Record> {
        let request = self.ask_restore(name).await?;
        let (end, limit) = limit();
        let platform = self.platform.clone();
        let uploading = platform.shipper.lock().await;
        let mut carrying = pin!(carry_out_within(&platform, kinds::dr_restore(), request.clone(), limit));
        meanwhile(carrying.as_mut(), self.about_to_switch()).await?;
        drop(end);
        assert!(poll!(carrying.as_mut()).is_pending());
        drop(uploading);
        carrying.await;
        self.read(&request)
    }

    async fn succeed(&self, kind: &'static KindInfo, request: Record) -> Result<Record> {
        carry_out_within(&self.platform, kind, request.clone(), std::future::pending()).await;
        let request = self.read(&request)?;
        ensure!(request.body.status["state"] == "success", "{}", request.body.status);
        Ok(request)
    }

    fn generation(&self) -> Result<Generation> {
        Ok(self.platform.catalog()?.generation())
    }

    async fn has_config_map(&self) -> Result<bool> {
        let at = NamespacedName::new(NAMESPACE, OWNERSHIP_CONFIG_MAP);
        Ok(self.platform.cluster.read_config_map(&at).await?.is_some())
    }

    fn is_pending(&self) -> Result<bool> {
        Ok(ownership::read(&self.platform.instance)?.pending.is_some())
    }

    fn holds(&self, key: &RowKey) -> Result<bool> {
        Ok(self.platform.catalog()?.read(key)?.is_some())
    }

    async fn end(self) -> Result<()> {
        self.platform.tasks().close();
        self.platform.tasks().wait().await;
        self.plane.give_back().await
    }
}

async fn make_namespace(cluster: &Cluster, name: &str) -> Result<()> {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let kind = Kind::cluster("v1", "Namespace", "namespaces");
    cluster.apply_object(&kind, &namespace).await?;
    Ok(())
}

fn object(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({ "name": name, "namespace": namespace });
    json!({ "apiVersion": CONFIG, "kind": kind, "metadata": metadata, "spec": spec })
}

/// A row of the mirror.
fn mirrored(key: &RowKey, object: &Value) -> Change {
    let row =
        crate::records::plain_row(key.clone(), Class::Configuration, object, jiff::Timestamp::UNIX_EPOCH);
    Change::put(row)
}

/// Waits for something that comes about while a request is carried out, or a service runs.
async fn meanwhile<T>(
    running: Pin<&mut impl Future<Output = ()>>,
    awaited: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        () = running => bail!("it has ended too early"),
        done = awaited => done,
    }
}

/// A limit, and what ends it.
fn limit() -> (oneshot::Sender<()>, impl Future<Output = RecoveryError>) {
    let (end, ended) = oneshot::channel();
    let limit = async {
        drop(ended.await);
        RecoveryError::TimedOut { minutes: 1 }
    };
    (end, limit)
}

/// The switch was a task that a timeout did not stop: it waited for its turn, the ConfigMap was taken back, and then it
/// switched.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_whose_time_is_up_before_its_switch_has_its_turn_leaves_all_as_it_was() -> Result<()> {
    let site = Site::start(Vec::new()).await?;
    let generation = site.generation()?;
    let request = site.ask_restore("late").await?;
    let (end, limit) = limit();
    let platform = site.platform.clone();
    let (first, mut second) = (platform.enabling.lock().await, pin!(platform.enabling.lock()));
    let mut carrying = pin!(carry_out_within(&platform, kinds::dr_restore(), request.clone(), limit));
    meanwhile(carrying.as_mut(), site.at(&request, "Placing the ownership ConfigMap")).await?;
    assert!(poll!(second.as_mut()).is_pending());
    drop(first);
    let second = meanwhile(carrying.as_mut(), async { Ok(second.await) }).await?;
    meanwhile(carrying.as_mut(), site.at(&request, "Switching to the recovered catalog")).await?;
    ensure!(site.has_config_map().await? && site.is_pending()?, "it is placed before the switch");

    drop(end);
    assert!(poll!(carrying.as_mut()).is_pending());
    drop(second);
    carrying.await;
    let status = site.read(&request)?.body.status;
    ensure!(status["state"] == "failed" && status["errorClass"] == "Cancelled", "{status}");
    ensure!(status["partlyDone"].is_null(), "nothing is done: {status}");
    site.platform.tasks().close();
    site.platform.tasks().wait().await;
    assert_eq!(site.generation()?, generation);
    ensure!(!site.has_config_map().await? && !site.is_pending()?, "it is taken back");
    site.end().await
}

/// Both had run out: the bucket that did not answer for as long as the restore was given was told, and the Job tried again.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_when_its_time_is_up_has_run_out_of_time() -> Result<()> {
    let site = Site::start(Vec::new()).await?;
    let nowhere = json!({ "sourceClusterInfo": { "profileName": "", "sourceClusterID": "" } });
    let request = site.ask(kinds::dr_restore(), "late", nowhere).await?;
    let up = std::future::ready(RecoveryError::TimedOut { minutes: 1 });
    carry_out_within(&site.platform, kinds::dr_restore(), request.clone(), up).await;
    let status = site.read(&request)?.body.status;
    ensure!(status["state"] == "failed" && status["errorClass"] == "Cancelled", "{status}");
    site.end().await
}

/// Each began eight minutes ago, by another process, but for one that has waited behind a review as long.
#[tokio::test(flavor = "multi_thread")]
async fn what_names_no_bound_of_its_own_has_that_of_the_settings() -> Result<()> {
    let site = Site::start(Vec::new()).await?;
    let (generation, source) = (site.generation()?, json!({ "sourceClusterInfo": site.source() }));
    let mut own = source.clone();
    own["timeoutMinutes"] = json!(5);
    let eight_minutes_ago = "2026-03-04T09:22:00Z";
    let stop = CancellationToken::new();
    let mut running = pin!(run_recovery(site.platform.clone(), stop.clone()));
    for (kind, name, spec, has_begun, minutes) in [
        (kinds::dr_review(), "review", source.clone(), true, BOUNDS.review),
        (kinds::dr_restore(), "restore", source.clone(), true, BOUNDS.restore),
        (kinds::dr_restore(), "own", own, true, 5),
        (kinds::dr_restore(), "behind", source, false, BOUNDS.restore),
    ] {
        let mut request = Record::new(kind, NAMESPACE, name, eight_minutes_ago.parse()?, Class::Local);
        if has_begun {
            request.body.status = json!({ "state": "running", "startTime": eight_minutes_ago });
        }
        let request = site.ask_as(request, spec).await?;
        let told = eventually("its time is up", async || {
            let status = site.read(&request)?.body.status;
            Ok(matches!(status["state"].as_str(), Some("failed" | "success")).then_some(status))
        });
        let status = meanwhile(running.as_mut(), told).await?;
        let error = status["error"].as_str().unwrap_or_default();
        ensure!(error.contains(&format!("did not end within {minutes} minutes")), "{name}: {status}");
    }
    ensure!(site.generation()? == generation, "nothing was recovered");
    stop.cancel();
    running.await;
    site.end().await
}

fn profile_at(path: &str) -> Value {
    let location = json!({ "type": "FileStore", "fileStore": { "claimName": "share", "path": path } });
    object("Profile", NAMESPACE, "mine", json!({ "type": "Location", "locationSpec": location }))
}

/// Another profile has taken the name of one that was backed up.
async fn recover_beside(quick: Option<Value>) -> Result<(Site, Record, Value)> {
    let mine = RowKey::new(kinds::profiles(), NAMESPACE, "mine");
    let rows = vec![mirrored(&mine, &profile_at("before"))];
    let site = Site::start_in(DrMode::QuickNoSnapshot, rows).await?;
    let cluster = &site.platform.cluster;
    let mut taken = profile_at("now");
    taken["spec"]["locationSpec"]["infraPortable"] = json!(true);
    cluster.apply_object(&kinds::profile(), &taken).await?;
    let mut spec = json!({ "sourceClusterInfo": site.source() });
    if let Some(quick) = quick {
        spec["quickMode"] = quick;
    }
    let request = site.ask(kinds::dr_restore(), "quick", spec).await?;
    let request = site.succeed(kinds::dr_restore(), request).await?;
    let found = site.platform.cluster.read_object(&kinds::profile(), Some(NAMESPACE), "mine").await?;
    Ok((site, request, found.context("the profile")?["spec"].clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_is_kept_where_nobody_confirmed_that_it_is_replaced() -> Result<()> {
    let (site, request, spec) = recover_beside(None).await?;
    ensure!(spec["locationSpec"]["fileStore"]["path"] == "now", "{spec}");
    let status = request.body.status;
    let notes = status["notes"].to_string();
    ensure!(notes.contains("Profile 'kasten-io/mine' exists already and differs; it was kept"), "{notes}");
    ensure!(status["warnings"].to_string().contains("quickMode.overrideResources"), "{status}");
    site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_quick_restore_point_replaces_what_exists() -> Result<()> {
    let (site, _, spec) = recover_beside(Some(json!({ "enabled": true, "overrideResources": true }))).await?;
    assert_eq!(spec, profile_at("before")["spec"], "as it was backed up, and nothing beside");
    site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_that_is_not_the_points_or_not_confirmed_is_refused_with_the_right_flag() -> Result<()> {
    let (quick, confirmed) =
        (json!({ "enabled": true }), json!({ "enabled": true, "overrideResources": true }));
    let site = Site::start_in(DrMode::QuickNoSnapshot, Vec::new()).await?;
    for (name, said, told) in [
        ("unconfirmed", quick.clone(), "confirm it with --override-resources"),
        ("legacy", json!({ "enabled": false }), "--quick-mode --override-resources"),
        ("denied", json!({ "overrideResources": false }), "confirm it with --override-resources"),
    ] {
        let spec = json!({ "sourceClusterInfo": site.source(), "quickMode": said });
        let why = site.refuse(site.ask(kinds::dr_restore(), name, spec).await?).await?;
        ensure!(why.contains("Quick DR (No Catalog Snapshot)") && why.contains(told), "{name}: {why}");
    }
    site.end().await?;

    let site = Site::start(Vec::new()).await?;
    for (name, said) in [("quick", quick), ("confirmed", confirmed)] {
        let spec = json!({ "sourceClusterInfo": site.source(), "quickMode": said });
        let why = site.refuse(site.ask(kinds::dr_restore(), name, spec).await?).await?;
        ensure!(why.contains("Legacy DR") && why.contains("leave --quick-mode out"), "{name}: {why}");
    }
    site.end().await
}

/// It failed after some seconds, and what had switched was left as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_waits_for_an_api_server_that_is_away() -> Result<()> {
    let mut site = Site::start(Vec::new()).await?;
    let (request, platform) = (site.ask_restore("patient").await?, site.platform.clone());
    site.plane.interrupt()?;
    let restore = carry_out_within(
        &platform,
        kinds::dr_restore(),
        request.clone(),
        std::future::pending::<RecoveryError>(),
    );
    let mut carrying = pin!(restore);
    meanwhile(carrying.as_mut(), site.at(&request, "Waiting for the API server")).await?;
    meanwhile(carrying.as_mut(), site.plane.resume()).await?;
    carrying.await;
    let status = site.read(&request)?.body.status;
    ensure!(status["state"] == "success", "{status}");
    site.end().await
}

/// A policy in the namespace of an application, and whatever the API server refused once, was told, and half a minute
/// later the mirror took its row for that of an object that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_does_not_take_stays_in_the_catalog_and_is_put_back_when_it_can_be() -> Result<()> {
    let own = RowKey::new(kinds::policies(), "shop", "own");
    let broken = RowKey::new(kinds::profiles(), NAMESPACE, "broken");
    let spec = json!({ "frequency": "@daily", "retention": { "daily": 7 }, "actions": [{ "action": "backup" }],
        "selector": { "matchLabels": { "k10.kasten.io/appNamespace": "shop" } } });
    let policy = object("Policy", "shop", "own", spec);
    let nowhere = json!({ "type": "Location", "locationSpec": { "type": "Nowhere" } });
    let profile = object("Profile", NAMESPACE, "broken", nowhere);
    let site = Site::start(vec![mirrored(&own, &policy), mirrored(&broken, &profile)]).await?;
    let restore = site.ask_restore("whole").await?;
    let notes = site.succeed(kinds::dr_restore(), restore).await?.body.status["notes"].to_string();
    for told in [
        "Policy 'shop/own' was refused; it is kept",
        "namespaces \\\"shop\\\" not found",
        "'kasten-io/broken'",
    ] {
        ensure!(notes.contains(told), "'{told}' is not in {notes}");
    }
    enable(&site.platform, "vault", DrMode::Legacy).await?;
    let alarms = status::observe(&site.platform).disaster_recovery.context("it is enabled")?.alarms;
    ensure!(alarms.iter().any(|alarm| alarm.contains("'shop/own'")), "{alarms:?}");

    let gone = [kinds::policies(), kinds::profiles()].map(|kind| RowKey::new(kind, NAMESPACE, "gone"));
    let of_gone = gone.iter().map(|key| mirrored(key, &policy)).collect();
    site.platform.catalog()?.commit(&Actor::new("test"), of_gone)?;
    let stop = CancellationToken::new();
    let mut mirroring = pin!(mirror::run_mirror(site.platform.clone(), stop));
    let absent = async |keys: &[RowKey]| {
        eventually("rows of what is gone are removed", async || {
            let present: Vec<bool> = keys.iter().map(|key| site.holds(key)).collect::<Result<_>>()?;
            Ok((!present.contains(&true)).then_some(()))
        })
        .await
    };
    meanwhile(mirroring.as_mut(), absent(&gone)).await?;
    ensure!(site.holds(&own)? && site.holds(&broken)?, "what is owed is not gone");

    let owed = || -> Result<Vec<RowKey>> { Ok(state::owed(&site.platform)?.iter().map(Owed::key).collect()) };
    try_owed(&site.platform).await;
    assert_eq!(owed()?, [broken.clone(), own.clone()]);
    let cluster = &site.platform.cluster;
    make_namespace(cluster, "shop").await?;
    try_owed(&site.platform).await;
    let restored = cluster.read_object(&kinds::policy(), Some("shop"), "own").await?.context("the policy")?;
    assert_eq!(restored["spec"]["retention"], policy["spec"]["retention"]);
    try_owed(&site.platform).await;
    assert_eq!(owed()?, [broken]);
    // From here on it is the user's again.
    let seen = eventually("the mirror has seen it", async || {
        let row = site.platform.catalog()?.read(&own)?.context("the row")?;
        Ok((row.row.uid == restored["metadata"]["uid"].as_str().unwrap_or_default()).then_some(()))
    });
    meanwhile(mirroring.as_mut(), seen).await?;
    cluster.delete_object(&kinds::policy(), Some("shop"), "own").await?;
    meanwhile(mirroring.as_mut(), absent(&[own])).await?;
    try_owed(&site.platform).await;
    let found = cluster.read_object(&kinds::policy(), Some("shop"), "own").await?;
    ensure!(found.is_none(), "what a user deletes stays away");
    site.end().await
}
