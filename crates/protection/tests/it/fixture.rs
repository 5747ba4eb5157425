//! A platform on a real API server, in this process: what the controllers and the doors do is done by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::DirEntry;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{Actor, Change, Class, Labels, Query, Row, RowKey, RowKind};
use keelson_model::names::OWNERSHIP_CONFIG_MAP;
use keelson_model::{Clock, ClusterId, ManualClock};
use keelson_protection::maintenance::{self, PassReport};
use keelson_protection::requests::{self, Effect, NewObject, Preconditions, RequestError};
use keelson_protection::{
    AwsEnvironment, CLOCK_DIFFERENCE_MAX, Platform, Record, Requester, Settings, User, status,
};
use keelson_resources::{KINDS, KindInfo, check_served};
use keelson_store::Store;
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_testkit::{ReusedPlane, eventually};
use keelson_workload::{Cluster, Kind, NamespacedName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::stage::{NAMESPACE, config, make_valid, open_platform, prepare, settings, take_plane};

/// A platform and all it stands on. Its services run when asked to.
pub(crate) struct World {
    pub plane: ReusedPlane,
    /// The clusters that were lost before: another is none of them.
    lost: Vec<ReusedPlane>,
    pub platform: Arc<Platform>,
    pub clock: Arc<ManualClock>,
    pub share: TempDir,
    pub data: TempDir,
    stop: CancellationToken,
    services: JoinSet<()>,
}

impl World {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_in(AwsEnvironment::default()).await
    }

    /// AWS is where this says.
    pub(crate) async fn start_in(aws: AwsEnvironment) -> Result<Self> {
        let start: Timestamp = "2026-03-04T09:30:00Z".parse()?;
        let (clock, share) = (Arc::new(ManualClock::new(start)), tempfile::tempdir()?);
        Self::start_with(clock, share, SignedDuration::MAX, aws).await
    }

    /// Its clock is that of its share, until it is set forward.
    pub(crate) async fn start_now() -> Result<Self> {
        Self::start_today(CLOCK_DIFFERENCE_MAX).await
    }

    /// Its clock begins as that of this machine, and may differ from a location's by so much.
    pub(crate) async fn start_today(clock_difference_max: SignedDuration) -> Result<Self> {
        let share = tempfile::tempdir()?;
        let now = FilesystemStore::open(share.path()).await?.time().await?;
        let clock = Arc::new(ManualClock::new(now));
        Self::start_with(clock, share, clock_difference_max, AwsEnvironment::default()).await
    }

    async fn start_with(
        clock: Arc<ManualClock>,
        share: TempDir,
        clock_difference_max: SignedDuration,
        aws: AwsEnvironment,
    ) -> Result<Self> {
        let (plane, data) = (take_plane().await?, tempfile::tempdir()?);
        prepare(&Cluster::from_client(plane.client().await?)).await?;
        let settings = Settings { clock_difference_max, aws, ..settings(data.path(), share.path()) };
        Self::open(plane, clock, (data, share), settings).await
    }

    async fn open(
        plane: ReusedPlane,
        clock: Arc<ManualClock>,
        (data, share): (TempDir, TempDir),
        settings: Settings,
    ) -> Result<Self> {
        let cluster = Cluster::from_client(plane.client().await?);
        let shared: Arc<dyn Clock> = clock.clone();
        let platform = open_platform(settings, cluster, shared).await?;
        let (stop, services) = (CancellationToken::new(), JoinSet::new());
        Ok(Self { plane, lost: Vec::new(), platform, clock, share, stop, services, data })
    }

    /// Another cluster whose platform reaches the same share, by the same clock.
    pub(crate) async fn start_beside(&self) -> Result<Self> {
        let (plane, data) = (take_plane().await?, tempfile::tempdir()?);
        prepare(&Cluster::from_client(plane.client().await?)).await?;
        let clock_difference_max = self.platform.settings().clock_difference_max;
        let settings = Settings { clock_difference_max, ..settings(data.path(), self.share.path()) };
        Self::open(plane, self.clock.clone(), (data, tempfile::tempdir()?), settings).await
    }

    /// The platform stops, something becomes of its volume, and it starts again.
    pub(crate) async fn restart(mut self, change: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        self.rest().await;
        let Self { plane, lost, platform, clock, share, data, .. } = self;
        let settings = platform.settings().clone();
        drop(platform);
        change(data.path())?;
        Ok(Self { lost, ..Self::open(plane, clock, (data, share), settings).await? })
    }

    /// The cluster is gone with its volume; an empty one that reaches the same share takes its place.
    pub(crate) async fn lose_cluster(mut self) -> Result<Self> {
        self.rest().await;
        let Self { plane, mut lost, clock, share, platform, .. } = self;
        let Settings { clock_difference_max, aws, .. } = platform.settings().clone();
        // Whoever still asks it finds nothing there, or nobody.
        if plane.empty().await.is_ok() {
            lost.push(plane);
        }
        Ok(Self { lost, ..Self::start_with(clock, share, clock_difference_max, aws).await? })
    }

    /// Recovers the platform from what a lost cluster has left.
    pub(crate) async fn recover(&self, source: &ClusterId) -> Result<Record> {
        self.recover_through("vault", source).await
    }

    pub(crate) async fn recover_through(&self, profile: &str, source: &ClusterId) -> Result<Record> {
        let info = json!({ "profileName": profile, "sourceClusterID": source });
        let restore = self.ended_recovery("recovery", info).await?;
        ensure!(restore.body.status["state"] == "success", "{}", restore.body.status);
        Ok(restore)
    }

    /// Asks for a recovery and waits for its end, whichever way.
    pub(crate) async fn ended_recovery(&self, name: &str, info: Value) -> Result<Record> {
        self.ended_restore(name, json!({ "sourceClusterInfo": info })).await
    }

    /// The same with whatever else a restore may ask for.
    pub(crate) async fn ended_restore(&self, name: &str, spec: Value) -> Result<Record> {
        let at = (NAMESPACE, name);
        self.create("KastenDRRestore", at, spec).await?;
        eventually("the recovery has ended", async || {
            let restore = self.read("KastenDRRestore", at)?.context("the restore")?;
            let state = restore.body.status["state"].as_str().unwrap_or_default();
            Ok(["success", "failed"].contains(&state).then_some(restore))
        })
        .await
    }

    pub(crate) async fn wait_until_shipped(&self) -> Result<()> {
        eventually("everything is shipped", async || {
            let dr = status::observe(&self.platform).disaster_recovery;
            Ok(dr.and_then(|dr| dr.shipped).is_some_and(|shipped| shipped.behind == 0).then_some(()))
        })
        .await
    }

    pub(crate) async fn release_ownership(&self) -> Result<()> {
        let at = NamespacedName::new(NAMESPACE, OWNERSHIP_CONFIG_MAP);
        self.platform.cluster().delete_config_map(&at).await?;
        Ok(())
    }

    /// Deletes the ConfigMap, and waits until all is owned.
    pub(crate) async fn take_ownership(&self) -> Result<()> {
        self.release_ownership().await?;
        eventually("the backups are owned", async || {
            let ownership = status::observe(&self.platform).ownership;
            Ok((ownership.state == "Owned").then_some(()))
        })
        .await
    }

    /// Everything that lies below a folder of the share.
    pub(crate) fn listing(&self, folder: &str) -> Result<BTreeSet<String>> {
        files(&self.share.path().join(folder))
    }

    /// Waits until maintenance has passed so many times; what the last pass did.
    pub(crate) async fn maintained(&self, count: u64) -> Result<PassReport> {
        eventually("maintenance has passed", async || {
            let passes = maintenance::passes(&self.platform).filter(|passes| passes.count >= count);
            Ok(passes.and_then(|passes| passes.last))
        })
        .await
    }

    /// Backs a namespace up and exports that, each with these fields of its spec; gives the export.
    pub(crate) async fn export(&self, namespace: &str, name: &str, fields: Value) -> Result<Record> {
        let subject = json!({ "subject": { "name": namespace, "namespace": namespace } });
        self.create("BackupAction", (namespace, name), subject).await?;
        let backup = self.completed("BackupAction", (namespace, name)).await?;
        let point = &backup.body.status["restorePoint"]["name"];
        let mut spec = json!({ "subject": { "kind": "RestorePoint", "name": point, "namespace": namespace },
            "profile": { "name": "vault", "namespace": NAMESPACE } });
        for (field, value) in fields.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        self.create("ExportAction", (namespace, name), spec).await?;
        self.completed("ExportAction", (namespace, name)).await
    }

    pub(crate) fn serve(&mut self) {
        self.services.spawn(keelson_protection::run(self.platform.clone(), self.stop.clone()));
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        // At rest: what is retired or goes to the history meanwhile is listed, and has no details any more.
        self.rest().await;
        self.assert_as_published().await?;
        let Self { plane, lost, platform, .. } = self;
        // The next test's namespace has the name of this one's.
        drop(platform);
        for plane in lost.into_iter().chain([plane]) {
            plane.give_back().await?;
        }
        Ok(())
    }

    pub(crate) async fn namespace(&self, name: &str) -> Result<Value> {
        let manifest = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let kind = Kind::cluster("v1", "Namespace", "namespaces");
        Ok(self.platform.cluster().apply_object(&kind, &manifest).await?)
    }

    /// Stops what `serve` started.
    pub(crate) async fn rest(&mut self) {
        self.stop.cancel();
        while self.services.join_next().await.is_some() {}
        self.stop = CancellationToken::new();
    }

    pub(crate) async fn create(
        &self,
        kind: &str,
        at: (&str, &str),
        spec: Value,
    ) -> Result<Record, RequestError> {
        self.create_as(&person(), kind, at, spec).await
    }

    pub(crate) async fn create_as(
        &self,
        requester: &Requester,
        kind: &str,
        at: (&str, &str),
        spec: Value,
    ) -> Result<Record, RequestError> {
        let object = NewObject {
            namespace: at.0.to_owned(),
            name: at.1.to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            spec,
        };
        let kind = kind_info(kind);
        let stored = requests::create(&self.platform, requester, kind, object, Effect::Apply).await?;
        Record::parse(&stored).map_err(|source| RequestError::Decode { source })
    }

    pub(crate) async fn delete(&self, kind: &str, at: (&str, &str)) -> Result<(), RequestError> {
        let any = Preconditions::default();
        let kind = kind_info(kind);
        requests::delete(&self.platform, &person(), kind, at, &any, Effect::Apply).await.map(drop)
    }

    /// Gives an object another spec.
    pub(crate) async fn change(&self, kind: &str, at: (&str, &str), spec: Value) -> Result<Record> {
        let kind = kind_info(kind);
        let key = RowKey::new(RowKind::new(kind.row_kind()), at.0, at.1);
        let found = self.platform.database(kind)?.read(&key)?.context("the object")?;
        let changed = requests::change(&self.platform, &person(), kind, found, spec, Effect::Apply).await?;
        Ok(Record::parse(&changed)?)
    }

    pub(crate) fn read(&self, kind: &str, at: (&str, &str)) -> Result<Option<Record>> {
        let kind = kind_info(kind);
        let key = RowKey::new(RowKind::new(kind.row_kind()), at.0, at.1);
        let stored = self.platform.database(kind)?.read(&key)?;
        Ok(stored.map(|stored| Record::parse(&stored)).transpose()?)
    }

    /// What the sub-resource says of an action: its phases and what else the kind has.
    pub(crate) async fn details(&self, kind: &str, at: (&str, &str)) -> Result<Value> {
        self.details_for(&person(), kind, at).await
    }

    pub(crate) async fn details_for(
        &self,
        requester: &Requester,
        kind: &str,
        at: (&str, &str),
    ) -> Result<Value> {
        self.details_in("actionDetails", requester, kind, at).await
    }

    /// What the sub-resource says in a field of the status.
    pub(crate) async fn details_in(
        &self,
        field: &str,
        requester: &Requester,
        kind: &str,
        at: (&str, &str),
    ) -> Result<Value> {
        let mut details = requests::details(&self.platform, requester, kind_info(kind), at.0, at.1).await?;
        Ok(details[field].take())
    }

    pub(crate) fn list(&self, kind: &str) -> Result<Vec<Record>> {
        let kind = kind_info(kind);
        let page = self.platform.database(kind)?.list(&Query::all(RowKind::new(kind.row_kind()), 5000))?;
        Ok(page.rows.iter().map(Record::parse).collect::<Result<_, _>>()?)
    }

    /// Each object that is served, its details too, is as the schema of its kind says. Returns the kinds there were.
    pub(crate) async fn assert_as_published(&self) -> Result<BTreeSet<&'static str>> {
        let mut seen = BTreeSet::new();
        for kind in KINDS {
            for record in self.list(kind.kind)? {
                let mut status = record.body.status.clone();
                if kind.details {
                    let (namespace, name) = (&record.namespace, &record.name);
                    let details = requests::details(&self.platform, &person(), kind, namespace, name).await?;
                    let added = details.as_object().context("details")?.clone();
                    status.as_object_mut().context("a status")?.extend(added);
                }
                let object = json!({
                    "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": { "name": record.name },
                    "spec": record.body.spec, "status": status,
                });
                assert_eq!(check_served(kind, &object), Vec::<String>::new(), "{object}");
                seen.insert(kind.kind);
            }
        }
        Ok(seen)
    }

    /// Makes a policy valid, and waits until the catalog says so.
    pub(crate) async fn apply_policy(&self, policy: &Value) -> Result<()> {
        self.apply_config(&config("Policy", "policies"), policy).await
    }

    /// The same of a profile: each kind is mirrored at a pace of its own.
    pub(crate) async fn apply_profile(&self, profile: &Value) -> Result<()> {
        self.apply_config(&config("Profile", "profiles"), profile).await
    }

    async fn apply_config(&self, kind: &Kind, object: &Value) -> Result<()> {
        make_valid(&self.platform, kind, object).await?;
        let name = object["metadata"]["name"].as_str().context("a name")?;
        let row_kind = RowKind::new(format!("{}.config.kio.kasten.io", kind.resource));
        let key = RowKey::new(row_kind, NAMESPACE, name);
        eventually(&format!("{} '{name}' is mirrored", kind.kind), async || {
            let stored = self.platform.catalog()?.read(&key)?;
            let mirrored =
                stored.map(|stored| serde_json::from_slice::<Value>(&stored.row.body)).transpose()?;
            Ok(mirrored.filter(|object| object["status"]["validation"] == "Success").map(drop))
        })
        .await
    }

    /// Runs a policy once, by hand; the status of the run that has ended.
    pub(crate) async fn run_policy(&self, run: &str, policy: &str) -> Result<Value> {
        let subject = json!({ "kind": "Policy", "name": policy, "namespace": NAMESPACE });
        self.create("RunAction", (NAMESPACE, run), json!({ "subject": subject })).await?;
        Ok(self.ended("RunAction", (NAMESPACE, run)).await?.body.status)
    }

    /// Waits until an action has ended.
    pub(crate) async fn ended(&self, kind: &str, at: (&str, &str)) -> Result<Record> {
        eventually(&format!("{kind} {at:?} has ended"), async || {
            let action = self.read(kind, at)?.context("the action")?;
            let state = action.body.status["state"].as_str().unwrap_or_default();
            Ok(["Complete", "Failed", "Skipped", "Cancelled"].contains(&state).then_some(action))
        })
        .await
    }

    pub(crate) async fn completed(&self, kind: &str, at: (&str, &str)) -> Result<Record> {
        let action = self.ended(kind, at).await?;
        ensure!(action.body.status["state"] == "Complete", "{at:?}: {}", action.body.status);
        Ok(action)
    }
}

/// A store gives what it writes such a name until it is whole, and then a second one for a moment.
pub(crate) fn is_unfinished(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".keelson-")
}

/// Copies what lies in a folder to another, but for what is being written there, and what goes meanwhile.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if is_unfinished(&entry) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&source, &target)?;
        } else if let Err(error) = std::fs::copy(&source, &target)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("copy {}", source.display()));
        }
    }
    Ok(())
}

/// Commits a row that means nothing, so that there is something to ship.
pub(crate) fn put_note(platform: &Platform, name: impl Display) -> Result<()> {
    let row = Row {
        kind: RowKind::new("notes"),
        namespace: String::new(),
        name: name.to_string(),
        uid: String::new(),
        labels: Labels::new(),
        created: platform.clock().now(),
        class: Class::Configuration,
        body: b"{}".to_vec(),
    };
    platform.catalog()?.commit(&Actor::new("test"), vec![Change::put(row)])?;
    Ok(())
}

/// Every file beneath a folder.
pub(crate) fn files(root: &Path) -> Result<BTreeSet<String>> {
    let (mut found, mut open) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => open.push(entry.path()),
                false => drop(found.insert(entry.path().strip_prefix(root)?.display().to_string())),
            }
        }
    }
    Ok(found)
}

fn kind_info(kind: &str) -> &'static KindInfo {
    KINDS.iter().find(|known| known.kind == kind).expect("a kind of ours")
}

/// Who may everything, as the plane's own client does.
pub(crate) fn person() -> Requester {
    user_in("admin", "system:masters")
}

/// Somebody who may nothing that was not granted to him.
pub(crate) fn user(name: &str) -> Requester {
    user_in(name, "system:authenticated")
}

fn user_in(name: &str, group: &str) -> Requester {
    Requester::User(User {
        name: name.to_owned(),
        uid: String::new(),
        groups: vec![group.to_owned()],
        extra: BTreeMap::new(),
    })
}
