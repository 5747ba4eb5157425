//! Starts policies when they are due. One place keeps the next time of each: a row of the instance file.
//!
//! A time that passed while the platform was down, or while the scheduled run before was under way, is not made up: the
//! policy runs once, at the next moment that the scheduler looks, for the time of them that counts for most, and then at
//! its next due time. After a recovery every policy waits for its next due time, and so it does where a clock that was ahead
//! has brought it to a time that lies behind that.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{Change, Class, CommitError, Database, Expect, Query, ReadError, Row, RowKey, RowKind};
use keelson_crypto::Sha256;
use keelson_model::names::label;
use keelson_model::schedule::Schedule;
use keelson_model::{PUT_RIGHT_MAX, later};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::actions;
use crate::events;
use crate::kinds;
use crate::namespaces::{self, NamespaceId};
use crate::platform::{Platform, commit};
use crate::policies::{self, Policy};
use crate::records::Record;
use crate::requester::Requester;

/// How often the clock is looked at; schedules are made of minutes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of the times that have passed those of so long are looked through: a yearly one is among them.
const PASSED_WITHIN: SignedDuration = SignedDuration::from_hours(400 * 24);
/// Letters of a digest in a run's name: 48 bits.
const NAME_LETTERS: usize = 12;
const ACTOR: &str = "scheduler";

/// When a policy runs next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Due {
    /// Of the policy: a new one of the same name starts afresh.
    uid: String,
    /// Changes when the policy's schedule does.
    schedule: String,
    next: Timestamp,
    /// The time that its last run was scheduled for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<Timestamp>,
}

pub(crate) async fn run_scheduler(platform: Arc<Platform>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut delays = Delays::default();
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        let Ok(catalog) = platform.catalog() else { continue };
        if let Err(fault) = start_due(&platform, &catalog, &mut delays).await {
            warn!(error = &fault as &dyn std::error::Error, "due policies could not be started");
        }
    }
}

/// One look: starts what is due and remembers when it is due next. A policy in trouble does not hold up the others.
async fn start_due(platform: &Platform, catalog: &Database, delays: &mut Delays) -> Result<(), CommitOrRead> {
    let now = platform.clock.now();
    let mut known = HashSet::new();
    let mut first = None;
    for stored in catalog.rows(Query::of(kinds::policies())) {
        let row = stored.map_err(CommitOrRead::Read)?.row;
        known.insert(row.uid.clone());
        let policy = policies::runnable(catalog, &row.body, &platform.settings.install_namespace);
        let Some(policy) = policy.map_err(CommitOrRead::Read)? else { continue };
        match consider(platform, catalog, &policy, &row.uid, now).await {
            Ok(Considered::Settled) => {}
            Ok(Considered::Waits { run, since }) if delays.is_new(&row.uid, since) => {
                warn!(policy = policy.name, run, due = %since, "due, and the run before is still under way");
                events::tell_delay(platform, &policy, &run, since).await;
            }
            Ok(Considered::Waits { .. }) => {}
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    delays.0.retain(|uid, _| known.contains(uid));
    forget_gone(platform, &known).await?;
    first.map_or(Ok(()), Err)
}

/// What has become of a policy.
enum Considered {
    /// It was started, or is not due.
    Settled,
    /// It has been due since then, and a run before is still under way.
    Waits { run: String, since: Timestamp },
}

/// Since when policies wait for their run before, by uid: each wait is told once.
#[derive(Debug, Default)]
struct Delays(HashMap<String, Timestamp>);

impl Delays {
    fn is_new(&mut self, uid: &str, since: Timestamp) -> bool {
        self.0.insert(uid.to_owned(), since) != Some(since)
    }
}

async fn consider(
    platform: &Platform,
    catalog: &Database,
    policy: &Policy,
    uid: &str,
    now: Timestamp,
) -> Result<Considered, CommitOrRead> {
    let Some(schedule) = &policy.parsed.schedule else { return Ok(Considered::Settled) };
    let key = due_key(policy);
    let fingerprint = format!("{schedule:?}");
    let known: Option<Due> = platform
        .instance
        .read(&key)
        .map_err(CommitOrRead::Read)?
        .and_then(|stored| serde_json::from_slice(&stored.row.body).ok())
        .filter(|due: &Due| due.uid == uid);
    let mut last = known.as_ref().and_then(|due| due.last);
    let known = known.filter(|due| due.schedule == fingerprint && !is_passed_over(schedule, due.next, now));
    let due = |next, last| Due { uid: uid.to_owned(), schedule: fingerprint.clone(), next, last };
    let due_now = known.as_ref().filter(|due| due.next <= now).map(|due| due.next);
    if known.is_some() && due_now.is_none() {
        return Ok(Considered::Settled);
    }
    if let Some(since) = due_now
        && let Some(run) = find_running(catalog, policy, uid, last)?
    {
        return Ok(Considered::Waits { run, since });
    }
    if let Some(first) = due_now
        && let Some(namespace) = find_staying(platform, &policy.namespace).await?
    {
        let at = decide_time(schedule, first, now);
        last = Some(at);
        // Before it starts: if this process dies, the next one must know what may be under way.
        remember(platform, key.clone(), &due(first, last)).await?;
        start(catalog, (policy, uid), &namespace, at, now).await?;
    }
    if let Some(next) = schedule.next_after(now) {
        remember(platform, key, &due(next, last)).await?;
    }
    Ok(Considered::Settled)
}

/// Whether a time is not the next one, by more than a clock is put right by: it was remembered by a clock that was ahead, and
/// the policy would not run before it.
fn is_passed_over(schedule: &Schedule, next: Timestamp, now: Timestamp) -> bool {
    schedule.next_after(later(now, PUT_RIGHT_MAX)).is_some_and(|earlier| earlier < next)
}

/// The run before if it is still under way: two at once would take each other's place, and back up the same twice.
fn find_running(
    catalog: &Database,
    policy: &Policy,
    uid: &str,
    last: Option<Timestamp>,
) -> Result<Option<String>, CommitOrRead> {
    let Some(last) = last else { return Ok(None) };
    let key = RowKey::new(kinds::run_actions(), &*policy.namespace, run_name(uid, last));
    let stored = catalog.read(&key).map_err(CommitOrRead::Read)?;
    let state = stored.and_then(|stored| actions::state(&Record::parse(&stored).ok()?));
    Ok(state.is_some_and(|state| !state.is_finished()).then_some(key.name))
}

/// Of the times that have passed the latest of those that count for most: no daily run is lost to an hourly one.
fn decide_time(schedule: &Schedule, first: Timestamp, now: Timestamp) -> Timestamp {
    let passed = |at: Timestamp| schedule.next_after(at).filter(|at| *at <= now);
    let from = now.saturating_sub(PASSED_WITHIN).unwrap_or(first);
    let begin = if first < from { passed(from) } else { Some(first) };
    let times = std::iter::successors(begin, |at| passed(*at));
    times.max_by_key(|at| schedule.tiers_at(*at)).unwrap_or(first)
}

/// A namespace on its way out takes nothing new, and a run there would come back to life in a recovery.
async fn find_staying(platform: &Platform, namespace: &str) -> Result<Option<NamespaceId>, CommitOrRead> {
    namespaces::find_staying(platform, namespace).await.map_err(CommitOrRead::Namespace)
}

/// A run is named after its policy and time: when it was started, and the process then died before it had remembered
/// so, it is not started a second time.
async fn start(
    catalog: &Database,
    (policy, uid): (&Policy, &str),
    namespace: &NamespaceId,
    at: Timestamp,
    now: Timestamp,
) -> Result<(), CommitOrRead> {
    let name = run_name(uid, at);
    let mut run = Record::new(kinds::run_action(), &policy.namespace, &name, now, Class::Local);
    namespaces::note(&mut run, namespace);
    run.labels.insert(label::POLICY_NAME.to_owned(), policy.name.clone());
    run.labels.insert(label::POLICY_NAMESPACE.to_owned(), policy.namespace.clone());
    run.body.spec = json!({
        "subject": { "kind": "Policy", "name": policy.name, "namespace": policy.namespace },
        "scheduledTime": at,
    });
    let key = run.key();
    let changes = actions::submit(run, &Requester::Platform, serde_json::Value::Null);
    match commit(catalog, ACTOR, changes).await {
        Ok(_) => info!(policy = policy.name, run = name, scheduled = %at, "policy is due"),
        Err(CommitError::Conflict { key: taken, .. }) if taken == key => {
            info!(policy = policy.name, run = name, scheduled = %at, "the run was started before");
        }
        Err(error) => return Err(CommitOrRead::Commit(error)),
    }
    Ok(())
}

/// The same for the same policy and time, and no other's.
fn run_name(uid: &str, at: Timestamp) -> String {
    let digest = Sha256::of(format!("{uid}/{at}").as_bytes()).to_string();
    format!("scheduled-{}", &digest[..NAME_LETTERS])
}

fn due_kind() -> RowKind {
    RowKind::new("schedules")
}

fn due_key(policy: &Policy) -> RowKey {
    RowKey::new(due_kind(), policy.namespace.clone(), policy.name.clone())
}

async fn remember(platform: &Platform, key: RowKey, due: &Due) -> Result<(), CommitOrRead> {
    let row = Row {
        kind: key.kind,
        namespace: key.namespace,
        name: key.name,
        uid: due.uid.clone(),
        labels: BTreeMap::new(),
        created: platform.clock.now(),
        class: Class::Derived,
        body: serde_json::to_vec(due).expect("plain data"),
    };
    let change = Change::Put { row, expect: Expect::Any };
    commit(&platform.instance, ACTOR, vec![change]).await.map(drop).map_err(CommitOrRead::Commit)
}

/// Rows of policies that are gone would pile up.
async fn forget_gone(platform: &Platform, known: &HashSet<String>) -> Result<(), CommitOrRead> {
    for stored in platform.instance.rows(Query::of(due_kind())) {
        let row = stored.map_err(CommitOrRead::Read)?.row;
        if !known.contains(&row.uid) {
            let gone = vec![Change::delete(row.key())];
            commit(&platform.instance, ACTOR, gone).await.map_err(CommitOrRead::Commit)?;
        }
    }
    Ok(())
}

/// A look at the schedules that did not come to its end; the next one starts over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitOrRead {
    #[error("read the schedules")]
    Read(#[source] ReadError),
    #[error("look for the namespace of a policy that is due")]
    Namespace(#[source] namespaces::ReadNamespaceError),
    #[error("write the schedules")]
    Commit(#[source] CommitError),
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keelson_catalog::DataDir;
    use keelson_crypto::CatalogKey;
    use keelson_model::ManualClock;

    use super::*;

    fn hourly() -> Policy {
        let object = json!({
            "metadata": { "name": "hourly", "namespace": "kasten-io" },
            "spec": { "frequency": "@hourly", "retention": { "hourly": 1 },
                "selector": { "matchLabels": { "k10.kasten.io/appNamespace": "shop" } }, "actions": [{ "action": "backup" }] },
        });
        policies::parse(object).unwrap()
    }

    /// A run that took its time would cost the day its daily restore point.
    #[test]
    fn a_late_run_is_for_the_latest_of_the_passed_times_that_count_for_most() {
        let schedule = hourly().parsed.schedule.unwrap();
        let check = |first: &str, now: &str, expected: &str| {
            let [first, now, expected] = [first, now, expected].map(|at| at.parse().unwrap());
            assert_eq!(decide_time(&schedule, first, now), expected, "{first} {now}");
        };
        check("2026-03-03T09:00:00Z", "2026-03-03T09:00:01Z", "2026-03-03T09:00:00Z");
        check("2026-03-03T09:00:00Z", "2026-03-03T11:30:00Z", "2026-03-03T11:00:00Z");
        check("2026-03-03T23:00:00Z", "2026-03-04T02:30:00Z", "2026-03-04T00:00:00Z");
        check("2026-02-27T23:00:00Z", "2026-03-04T02:30:00Z", "2026-03-01T00:00:00Z");
        check("2025-06-27T23:00:00Z", "2026-03-04T02:30:00Z", "2026-01-01T00:00:00Z");
        check("2001-01-01T00:00:00Z", "2026-03-04T02:30:00Z", "2026-01-01T00:00:00Z");
    }

    /// A policy waited for the year that a clock had once shown.
    #[test]
    fn a_time_of_a_clock_that_was_ahead_is_not_waited_for() {
        let schedule = hourly().parsed.schedule.unwrap();
        for (next, now, passed_over) in [
            ("2026-03-04T10:00:00Z", "2026-03-04T09:30:00Z", false),
            ("2026-03-04T10:00:00Z", "2026-03-04T11:30:00Z", false),
            // Put back by a second just after ten, and by an hour.
            ("2026-03-04T11:00:00Z", "2026-03-04T09:59:59Z", false),
            ("2026-03-04T12:00:00Z", "2026-03-04T10:30:00Z", false),
            ("2026-03-04T13:00:00Z", "2026-03-04T10:30:00Z", true),
            ("2028-03-04T10:00:00Z", "2026-03-04T09:30:00Z", true),
        ] {
            let [at, by] = [next, now].map(|text| text.parse().unwrap());
            assert_eq!(is_passed_over(&schedule, at, by), passed_over, "{next} {now}");
        }
    }

    /// The times of a policy are in the instance's file and its runs in the catalog: a process may die in between.
    #[tokio::test]
    async fn a_run_whose_start_was_not_remembered_is_not_started_again() {
        let directory = tempfile::tempdir().unwrap();
        let data =
            DataDir::open(directory.path(), Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))).unwrap();
        let catalog = data.create_first(&CatalogKey::generate(), b"").unwrap();
        let (first, second) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(3600).unwrap());
        let cluster = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".parse().unwrap();
        let namespace = NamespaceId { cluster, uid: "u".to_owned() };
        for at in [first, first, second] {
            start(&catalog, (&hourly(), "the-uid"), &namespace, at, second).await.unwrap();
        }
        assert_eq!(catalog.count(&RowKind::new(kinds::run_action().row_kind())).unwrap(), 2);
    }
}
