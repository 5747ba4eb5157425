//! Fills a catalog with rows as the use cases write them, on a data directory that no program has open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{Actor, Change, Class, CommitError, Database, Expect, RowKind};
use keelson_model::names::label;
use keelson_model::{Clock, Revision};
use keelson_protection::{OWNERSHIP_GRACE, Platform, Record, RecoveryBounds, Settings, random_suffix};
use keelson_resources::{KINDS, KindInfo};
use keelson_workload::{Cluster as Access, ClusterAccess};
use serde_json::{Value, json};

use super::PROFILE;
use crate::clock::WallClock;
use crate::cluster::{CLAIM, Cluster, NAMESPACE};

const APPLICATIONS: usize = 200;
/// Changes in one commit while the catalog is filled.
pub(crate) const BATCH: usize = 250;
/// Commits on their way to the writer, which lets several share one fsync as it does for many running actions.
const IN_FLIGHT: usize = 64;
const POLICY: &str = "hourly-export";
const ACTIONS: [&str; 3] = ["RunAction", "BackupAction", "ExportAction"];

#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub points: usize,
    pub actions: usize,
}

impl Size {
    /// With three actions for each restore point: its run, its backup, an export.
    pub(crate) fn of_points(points: usize) -> Self {
        Self { points, actions: ACTIONS.len() * points }
    }
}

pub(crate) fn applications() -> impl Iterator<Item = String> {
    (0..APPLICATIONS).map(application)
}

pub(crate) fn application(number: usize) -> String {
    format!("team-{:03}-shop", number % APPLICATIONS)
}

/// Restore points with their contents, and finished actions, in large commits.
pub(crate) async fn fill(cluster: &Cluster, data: &Path, size: Size) -> Result<()> {
    with_catalog(cluster, data, move |catalog, now| {
        let mut commits = Commits::new(catalog);
        let points = (0..size.points).flat_map(|number| point(number, now));
        let actions = (0..size.actions).map(|number| ended(action(number, now), now).put(Expect::Absent));
        let mut batch = Vec::new();
        for change in points.chain(actions) {
            batch.push(change);
            if batch.len() == BATCH {
                commits.put(std::mem::take(&mut batch))?;
            }
        }
        commits.put(batch)?;
        commits.finish()
    })
    .await
    .map(drop)
}

/// The same, entry by entry as a platform at work writes them. Returns how many entries that were.
pub(super) async fn follow(cluster: &Cluster, data: &Path, size: Size) -> Result<u64> {
    with_catalog(cluster, data, move |catalog, now| {
        let mut commits = Commits::new(catalog);
        let mut points = (0..size.points).map(|number| point(number, now));
        for number in 0..size.actions {
            let mut record = action(number, now);
            record.body.status = json!({ "state": "Pending", "progress": 0 });
            commits.put(vec![record.put(Expect::Absent), work(&record).put(Expect::Absent)])?;
            record.body.status = json!({ "state": "Running", "progress": 0, "startTime": now });
            commits.put(vec![record.put(Expect::Present)])?;
            let mut last =
                vec![ended(record.clone(), now).put(Expect::Present), Change::delete(work(&record).key())];
            // As many restore points as actions of one kind.
            if number % ACTIONS.len() == 0 {
                last.extend(points.next().into_iter().flatten());
            }
            commits.put(last)?;
        }
        commits.finish()
    })
    .await
}

pub(crate) async fn with_catalog<T: Send + 'static>(
    cluster: &Cluster,
    data: &Path,
    work: impl FnOnce(Database, Timestamp) -> Result<T> + Send + 'static,
) -> Result<T> {
    let access = ClusterAccess::Kubeconfig(cluster.kubeconfig().to_owned());
    let access = Access::connect(&access).await.context("connect to the cluster")?;
    let settings = Settings {
        install_namespace: NAMESPACE.to_owned(),
        data: data.to_owned(),
        mounts: PathBuf::from("/mnt/claims"),
        claims: BTreeMap::new(),
        ownership_grace: OWNERSHIP_GRACE,
        clock_difference_max: keelson_protection::CLOCK_DIFFERENCE_MAX,
        quick_mode: false,
        recovery_bounds: RecoveryBounds::USUAL,
        passphrase_cost: keelson_protection::KdfCost::RECOMMENDED,
        aws: keelson_protection::AwsEnvironment::default(),
    };
    let platform =
        Platform::open(settings, access, Arc::new(WallClock)).await.context("open the data directory")?;
    let catalog = platform.catalog().context("open the catalog")?;
    let now = WallClock.now();
    let worked = tokio::task::spawn_blocking(move || work(catalog, now)).await.context("fill the catalog")?;
    // Closing joins the writer's thread.
    tokio::task::spawn_blocking(move || drop(platform)).await.context("close the data directory")?;
    worked
}

type Answer = Result<Revision, CommitError>;

/// Sends commits to the writer, a window of them at a time.
pub(crate) struct Commits {
    catalog: Database,
    actor: Actor,
    answers: (Sender<Answer>, Receiver<Answer>),
    in_flight: usize,
    count: u64,
}

impl Commits {
    pub(crate) fn new(catalog: Database) -> Self {
        Self { catalog, actor: Actor::new("bench"), answers: channel(), in_flight: 0, count: 0 }
    }

    pub(crate) fn put(&mut self, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if self.in_flight == IN_FLIGHT {
            self.take_answer()?;
        }
        let answer = self.answers.0.clone();
        let done = Box::new(move |result| drop(answer.send(result)));
        self.catalog.commit_with(&self.actor, changes, done);
        self.in_flight += 1;
        self.count += 1;
        Ok(())
    }

    fn take_answer(&mut self) -> Result<()> {
        let answer = self.answers.1.recv().context("the writer answers")?;
        self.in_flight -= 1;
        answer.map(drop).map_err(|error| anyhow!(error).context("commit rows"))
    }

    pub(crate) fn finish(mut self) -> Result<u64> {
        while self.in_flight > 0 {
            self.take_answer()?;
        }
        Ok(self.count)
    }
}

/// The kinds of all rows that are written here and shipped.
pub(super) fn row_kinds() -> impl Iterator<Item = RowKind> {
    let names = ["RestorePointContent", "RestorePoint"].into_iter().chain(ACTIONS);
    names.map(|name| RowKind::new(kind(name).row_kind()))
}

fn kind(name: &str) -> &'static KindInfo {
    KINDS.iter().find(|info| info.kind == name).expect("the table of resources holds every kind")
}

fn labels(application: &str) -> BTreeMap<String, String> {
    [
        (label::APP_NAME, application),
        (label::APP_NAMESPACE, application),
        (label::POLICY_NAME, POLICY),
        (label::POLICY_NAMESPACE, NAMESPACE),
        (label::RUN_ACTION_NAME, "policy-run-8wqz4"),
        (label::RUN_ACTION_NAMESPACE, NAMESPACE),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Times lie in the past, an hour apart for each application.
fn time_of(number: usize, now: Timestamp) -> Timestamp {
    let hours = i64::try_from(number / APPLICATIONS).unwrap_or(0);
    now.saturating_sub(SignedDuration::from_hours(hours)).unwrap_or(now)
}

/// A restore point bound to its content. Every other one is an export.
fn point(number: usize, now: Timestamp) -> [Change; 2] {
    let application = application(number);
    let name = format!("scheduled-{}{number}", random_suffix());
    let mut content = content(number, &format!("{application}-{name}"), now);
    content.body.status["state"] = json!("Bound");
    content.body.status["restorePointRef"] = json!({ "namespace": application, "name": name });

    let mut point = Record::new(kind("RestorePoint"), &application, &name, content.created, content.class);
    point.labels.clone_from(&content.labels);
    point.body.spec = json!({ "restorePointContentRef": { "name": content.name } });
    point.body.status = bound_status(&content);
    [content.put(Expect::Absent), point.put(Expect::Absent)]
}

/// What a restore point that is bound to the content tells.
pub(crate) fn bound_status(content: &Record) -> Value {
    json!({
        "state": "Bound",
        "actionTime": content.body.status["actionTime"],
        "scheduledTime": content.body.status["scheduledTime"],
        "logicalSizeBytes": content.body.internal["artifact"]["bytes"],
        "physicalSizeBytes": content.body.internal["artifact"]["storedBytes"],
    })
}

/// A content that no restore point is bound to. Every other one is an export.
pub(crate) fn content(number: usize, name: &str, now: Timestamp) -> Record {
    let application = application(number);
    let exported = number % 2 == 1;
    let class = if exported { Class::Configuration } else { Class::Local };
    let at = time_of(number, now);
    let mut content = Record::new(kind("RestorePointContent"), "", name, at, class);
    content.labels = labels(&application);
    let (objects, bytes) = (120 + number % 900, 400_000 + 37 * (number % 90_000));
    let mut artifact = json!({
        "repository": keelson_testkit::random_hex::<16>(), "outcome": keelson_testkit::random_hex::<16>(),
        "objects": objects, "bytes": bytes, "storedBytes": bytes / 9,
    });
    if exported {
        content.labels.insert(label::EXPORT_PROFILE.to_owned(), PROFILE.to_owned());
        artifact["exported"] = json!({
            "profile": PROFILE,
            "place": { "type": "fileStore", "claim": CLAIM, "path": "" },
            "root": format!("k10/2f0d7a1c-5b0e-4c3e-9a44-1f2f6c1d8e10/exports/{application}/{}",
                keelson_testkit::random_hex::<16>()),
        });
    }
    content.body.status = json!({ "state": "Unbound", "actionTime": at, "scheduledTime": at });
    content.body.internal = json!({ "artifact": artifact, "manual": false, "tiers": ["hourly", "daily"] });
    content
}

/// Runs, backups and exports in turn.
fn action(number: usize, now: Timestamp) -> Record {
    let application = application(number / ACTIONS.len());
    let at = time_of(number / ACTIONS.len(), now);
    let kind_name = ACTIONS[number % ACTIONS.len()];
    let namespace = if kind_name == "RunAction" { NAMESPACE } else { &application };
    let name = format!("scheduled-{}{number}", random_suffix());
    let mut record = Record::new(kind(kind_name), namespace, &name, at, Class::Local);
    record.labels = labels(&application);
    // It stays where it is: otherwise most would be moved to the history while what changed is shipped, and be counted.
    record.labels.insert(label::DO_NOT_RETIRE.to_owned(), "true".to_owned());
    record.body.spec = match kind_name {
        "RunAction" => json!({
            "subject": { "kind": "Policy", "name": POLICY, "namespace": NAMESPACE }, "scheduledTime": at,
        }),
        "BackupAction" => json!({
            "subject": { "name": application, "namespace": application }, "scheduledTime": at,
        }),
        _ => json!({
            "subject": { "kind": "RestorePoint", "name": format!("scheduled-{number}"), "namespace": application },
            "profile": { "name": PROFILE, "namespace": NAMESPACE },
        }),
    };
    record.body.internal =
        json!({ "requester": "platform", "attempts": 1, "subject": { "scheduled": true } });
    record
}

fn ended(mut action: Record, now: Timestamp) -> Record {
    let extra = match action.kind.to_string().split('.').next() {
        Some("runactions") => json!({ "policySpec": {
            "actions": [{ "action": "backup" }, { "action": "export", "exportParameters": {
                "frequency": "@hourly", "profile": { "name": PROFILE, "namespace": NAMESPACE } } }],
            "selector": { "matchLabels": { "tier": "web" } },
        }}),
        Some("exportactions") => json!({ "progressDetails": {
            "totalBytes": 1_482_113, "processedBytes": 1_482_113, "transferredBytes": 164_679, "totalVolumes": 0,
            "completedVolumes": 0,
        }, "restorePoint": { "name": action.name, "namespace": action.namespace } }),
        _ => json!({ "restorePoint": { "name": action.name, "namespace": action.namespace } }),
    };
    let mut status =
        json!({ "state": "Complete", "progress": 100, "startTime": action.created, "endTime": now });
    if let (Value::Object(status), Value::Object(extra)) = (&mut status, extra) {
        status.extend(extra);
    }
    action.body.status = status;
    action
}

/// The row by which the engine finds an unfinished action.
fn work(action: &Record) -> Record {
    let mut work = action.clone();
    work.kind = RowKind::new("work");
    work.namespace = String::new();
    work.name.clone_from(&action.uid);
    work.labels = BTreeMap::new();
    work.class = Class::Derived;
    work.body.status = Value::Null;
    work
}
