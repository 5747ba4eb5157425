//! The catalog of a platform that rests: what would take long to be made through the API is put there in seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{Actor, Change, Class, Database, Query, Row, RowKey, RowKind};
use keelson_model::Clock;
use keelson_model::names::label;
use keelson_protection::{KdfCost, Platform, RecoveryBounds, Settings};
use keelson_workload::{Cluster, ClusterAccess};
use serde_json::{Value, json};

use crate::stage::{ACTIONS, NAMESPACE, Stage, block_on};

/// An entry of the journal may have some MiB.
const ROWS_TOGETHER: usize = 100;
const PAGE: usize = 1_000;
const BACKUPS: &str = "backupactions.actions.kio.kasten.io";
const POINTS: &str = "restorepoints.apps.kio.kasten.io";
const CONTENTS: &str = "restorepointcontents.apps.kio.kasten.io";

#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "the program whose files these are lives by it")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Kills `serve`, works on its catalog, and starts it again.
fn with_catalog(stage: &mut Stage, work: impl FnOnce(&Database) -> Result<()>) -> Result<()> {
    stage.instance.kill()?;
    let settings = Settings {
        install_namespace: NAMESPACE.to_owned(),
        data: stage.data(),
        mounts: stage.data().join("mounts"),
        claims: BTreeMap::new(),
        ownership_grace: Duration::from_secs(60),
        clock_difference_max: SignedDuration::MAX,
        quick_mode: false,
        recovery_bounds: RecoveryBounds::USUAL,
        passphrase_cost: KdfCost::RECOMMENDED,
        aws: keelson_protection::AwsEnvironment::default(),
    };
    let access = ClusterAccess::Kubeconfig(stage.plane().kubeconfig().to_owned());
    let platform = block_on(async {
        let cluster = Cluster::connect(&access).await?;
        anyhow::Ok(Platform::open(settings, cluster, Arc::new(WallClock)).await?)
    })?;
    work(&platform.catalog()?)?;
    drop(platform);
    stage.instance.restart()?;
    stage.wait_until_served()?;
    // What the cluster says of us may be from before: an answer is from the new one.
    stage.kubectl(&["get", "--raw", &format!("/apis/{ACTIONS}/backupactions?limit=1")], "").map(drop)
}

fn put(catalog: &Database, rows: Vec<Row>) -> Result<()> {
    for rows in rows.chunks(ROWS_TOGETHER) {
        catalog.commit(&Actor::new("test"), rows.iter().cloned().map(Change::create).collect())?;
    }
    Ok(())
}

/// Of each backup the action, the restore point and the content, `count` times in all.
pub(crate) fn multiply_backups(stage: &mut Stage, count: usize) -> Result<()> {
    with_catalog(stage, |catalog| {
        let actions = catalog.rows(Query::all(RowKind::new(BACKUPS), PAGE));
        let actions: Vec<Row> = actions.map(|stored| Ok(stored?.row)).collect::<Result<_>>()?;
        for action in actions {
            let made = what_it_made(catalog, action)?;
            let copies = (1..count).flat_map(|number| copy_of(&made, number));
            put(catalog, copies.collect::<Result<_>>()?)?;
        }
        Ok(())
    })
}

/// An action and what came of it.
fn what_it_made(catalog: &Database, action: Row) -> Result<[Row; 3]> {
    let named = |row: &Row, pointer: &str| {
        let body: Value = serde_json::from_slice(&row.body)?;
        let name = body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        name.with_context(|| format!("{pointer} of {body}"))
    };
    let read = |kind: &str, namespace: &str, name: &str| {
        let key = RowKey::new(RowKind::new(kind), namespace, name);
        anyhow::Ok(catalog.read(&key)?.with_context(|| format!("no {key}"))?.row)
    };
    let point = named(&action, "/status/restorePoint/name")?;
    let point = read(POINTS, &action.namespace, &point)?;
    let content = named(&point, "/spec/restorePointContentRef/name")?;
    let content = read(CONTENTS, "", &content)?;
    Ok([action, point, content])
}

/// The same under other names, by which they refer to each other. More than a thousand actions of a kind are served only
/// where somebody wants to keep them.
fn copy_of(made: &[Row; 3], number: usize) -> Vec<Result<Row>> {
    let renamed: BTreeMap<&str, String> =
        made.iter().map(|row| (row.name.as_str(), format!("{}-{number}", row.name))).collect();
    let copy = |row: &Row| {
        let mut body: Value = serde_json::from_slice(&row.body)?;
        rename(&mut body, &renamed);
        let kept = (label::DO_NOT_RETIRE.to_owned(), "true".to_owned());
        anyhow::Ok(Row {
            name: renamed[row.name.as_str()].clone(),
            uid: format!("{}-{number}", row.uid),
            labels: row.labels.clone().into_iter().chain([kept]).collect(),
            body: serde_json::to_vec(&body)?,
            ..row.clone()
        })
    };
    made.iter().map(copy).collect()
}

fn rename(value: &mut Value, renamed: &BTreeMap<&str, String>) {
    match value {
        Value::String(text) => {
            if let Some(name) = renamed.get(text.as_str()) {
                name.clone_into(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, renamed)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Actions that have ended, each with so many KiB that do not compress.
pub(crate) fn fill_with_large_actions(stage: &mut Stage, count: usize, kibibytes: usize) -> Result<()> {
    let note = || (0..4 * kibibytes).map(|_| keelson_testkit::random_hex::<128>()).collect::<String>();
    let row = |number: usize| {
        anyhow::Ok(Row {
            kind: RowKind::new(BACKUPS),
            namespace: "default".to_owned(),
            name: format!("large-{number:05}"),
            uid: format!("large-{number:05}"),
            labels: BTreeMap::new(),
            created: WallClock.now(),
            class: Class::Local,
            body: serde_json::to_vec(&json!({
                "annotations": { "note": note() },
                "spec": { "subject": { "name": "default", "namespace": "default" } },
                "status": { "state": "Complete" },
            }))?,
        })
    };
    with_catalog(stage, |catalog| put(catalog, (0..count).map(row).collect::<Result<_>>()?))
}
