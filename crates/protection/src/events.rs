//! Tells as events what the catalog records, for `kubectl describe` and `kubectl get events`: on policies how their
//! runs ended, on recoveries how they went, on the DR policy who owns the backups and that shipping has stopped, on
//! APIServices that somebody else has them, on Passkeys that they open the volume or do not.
//!
//! An event is told once by the process that saw it happen. What is true for longer stands in a status as well.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keelson_catalog::RowKind;
use keelson_model::Revision;
use keelson_model::names::DR_POLICY;
use keelson_resources::KindInfo;
use keelson_resources::condition::event;
use keelson_workload::{EventRecord, EventSeverity, Kind, NamespacedName};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::kinds;
use crate::ownership;
use crate::platform::{Platform, TakenApi};
use crate::policies::Policy;
use crate::records::Record;
use crate::status::ownership_status;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const EVENTS_PER_LOOK: usize = 200;
/// A row that changes this long after its end has not ended now.
const ENDED_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// How many endings are remembered, so that none is told twice.
const REMEMBERED: usize = 1024;

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    severity: EventSeverity,
    reason: &'static str,
    note: String,
}

impl Told {
    fn normal(reason: &'static str, note: String) -> Self {
        Self { severity: EventSeverity::Normal, reason, note }
    }

    fn warning(reason: &'static str, note: String) -> Self {
        Self { severity: EventSeverity::Warning, reason, note }
    }
}

pub(crate) async fn run_events(platform: Arc<Platform>, stop: CancellationToken) {
    let mut runs = Endings::of(kinds::run_action());
    let mut recoveries = Endings::of(kinds::dr_restore());
    let mut standing = Standing::of(&platform);
    let mut taken = BTreeMap::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        for run in runs.look(&platform) {
            if let Some((policy, told)) = of_run(&run) {
                record_on_policy(&platform, policy, told).await;
            }
        }
        for recovery in recoveries.look(&platform) {
            let about = kind_of(kinds::dr_restore());
            let at = NamespacedName::new(&recovery.namespace, &recovery.name);
            record(&platform, about, at, recovery.uid.clone(), of_recovery(&recovery)).await;
        }
        let before = std::mem::replace(&mut standing, Standing::of(&platform));
        for told in standing.since(&before) {
            let policy = NamespacedName::new(&platform.settings.install_namespace, DR_POLICY);
            record_on_policy(&platform, policy, told).await;
        }
        let before = std::mem::replace(&mut taken, platform.taken_apis());
        for (name, TakenApi { uid, by }) in newly_taken(&before, &taken) {
            let note = format!(
                "it leads to {by}, which is not of this installation: our kinds of this group are not served"
            );
            let about = Kind::cluster("apiregistration.k8s.io/v1", "APIService", "apiservices");
            let told = Told::warning(event::API_TAKEN, note);
            record(&platform, about, NamespacedName::new("", name), uid.clone(), told).await;
        }
    }
}

/// Those that somebody has now and had not, or somebody else had.
fn newly_taken<'a>(
    before: &BTreeMap<String, TakenApi>,
    now: &'a BTreeMap<String, TakenApi>,
) -> impl Iterator<Item = (&'a String, &'a TakenApi)> {
    now.iter().filter(move |(name, taken)| before.get(*name) != Some(*taken))
}

/// Rows of a kind that have ended since it was last looked.
struct Endings {
    kind: &'static KindInfo,
    /// Nothing before the first look.
    since: Option<Revision>,
    /// The uids of the newest ones, oldest first.
    told: VecDeque<String>,
}

impl Endings {
    fn of(kind: &'static KindInfo) -> Self {
        Self { kind, since: None, told: VecDeque::new() }
    }

    /// What ended in a catalog that cannot be read, or before a recovery changed it, is not told.
    fn look(&mut self, platform: &Platform) -> Vec<Record> {
        let Ok(database) = platform.database(self.kind) else { return Vec::new() };
        let head = database.head().revision;
        let since = match self.since {
            Some(since) if since.generation() == head.generation() => since,
            _ => {
                self.since = Some(head);
                return Vec::new();
            }
        };
        let row_kind = RowKind::new(self.kind.row_kind());
        let Ok(changes) = database.changes(&row_kind, None, since, EVENTS_PER_LOOK) else {
            self.since = Some(head);
            return Vec::new();
        };
        self.since = Some(changes.through);
        let now = platform.clock.now();
        let rows = changes.events.iter().filter_map(|event| Record::parse(&event.stored).ok());
        rows.filter(|row| self.is_new(row, now)).collect()
    }

    fn is_new(&mut self, row: &Record, now: Timestamp) -> bool {
        let ended_now = end_of(row).is_some_and(|end| now.duration_since(end) < ENDED_WITHIN);
        if !ended_now || self.told.contains(&row.uid) {
            return false;
        }
        if self.told.len() == REMEMBERED {
            self.told.pop_front();
        }
        self.told.push_back(row.uid.clone());
        true
    }
}

fn end_of(record: &Record) -> Option<Timestamp> {
    record.body.status["endTime"].as_str()?.parse().ok()
}

fn error_of(record: &Record) -> &str {
    let error = &record.body.status["error"];
    error["message"]
        .as_str()
        .or(error.as_str())
        .filter(|text| !text.is_empty())
        .unwrap_or("no reason was recorded")
}

/// The policy of a run, and how the run ended.
fn of_run(run: &Record) -> Option<(NamespacedName, Told)> {
    let subject = &run.body.spec["subject"];
    let text = |field: &str| subject[field].as_str().unwrap_or_default();
    let policy = NamespacedName::new(text("namespace"), text("name"));
    let name = &run.name;
    let told = match run.body.status["state"].as_str()? {
        "Complete" => Told::normal(event::RUN_COMPLETED, format!("run '{name}' is complete")),
        "Skipped" => Told::normal(event::RUN_SKIPPED, format!("run '{name}' was skipped: {}", error_of(run))),
        "Failed" => Told::warning(event::RUN_FAILED, format!("run '{name}' failed: {}", error_of(run))),
        _ => return None,
    };
    Some((policy, told))
}

fn of_recovery(recovery: &Record) -> Told {
    match recovery.body.status["state"].as_str() {
        Some("success") => {
            let point = recovery.body.status["restorePoint"].as_str().unwrap_or_default();
            Told::normal(event::RECOVERY_COMPLETED, format!("the platform is recovered as of '{point}'"))
        }
        _ => Told::warning(event::RECOVERY_FAILED, error_of(recovery).to_owned()),
    }
}

/// What is told when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    /// Not known where the instance's file cannot be read.
    ownership: Option<String>,
    /// Why nothing is shipped.
    trouble: Option<String>,
}

impl Standing {
    fn of(platform: &Platform) -> Self {
        let trouble = platform.shipping_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ownership = ownership::read(&platform.instance).ok();
        let ownership = ownership.map(|known| ownership_status(platform, known).state);
        Self { ownership, trouble: trouble.map(|(_, why)| why) }
    }

    fn since(&self, before: &Self) -> Vec<Told> {
        let mut told = Vec::new();
        match (before.ownership.as_deref(), self.ownership.as_deref()) {
            (Some(before), Some("Owned")) if before != "Owned" => {
                told.push(Told::normal(event::OWNERSHIP_TAKEN, "this instance owns its backups".to_owned()));
            }
            (Some(before), Some("Fenced")) if before != "Fenced" => {
                let note =
                    "another instance has claimed the backups: this one writes and removes none any more";
                told.push(Told::warning(event::OWNERSHIP_LOST, note.to_owned()));
            }
            _ => {}
        }
        if let (None, Some(why)) = (&before.trouble, &self.trouble) {
            told.push(Told::warning(event::SHIPPING_STOPPED, format!("nothing is shipped: {why}")));
        }
        told
    }
}

fn kind_of(info: &KindInfo) -> Kind {
    let group = format!("{}/{}", info.group, keelson_model::names::group::VERSION);
    Kind::namespaced(&group, info.kind, info.plural)
}

/// A policy that is due and waits for a run of its own: one that hangs would stop it in silence.
pub(crate) async fn tell_delay(platform: &Platform, policy: &Policy, run: &str, since: Timestamp) {
    let note = format!(
        "due since {since}, and run '{run}' is still under way: the next one starts when it has ended"
    );
    let at = NamespacedName::new(&policy.namespace, &policy.name);
    record_on_policy(platform, at, Told::warning(event::RUN_DELAYED, note)).await;
}

/// A Passkey opens the volume again, or does not any more, and why.
pub(crate) async fn tell_passkey(platform: &Platform, passkey: &Record, error: Option<&str>) {
    let info = kinds::passkey();
    let about = Kind::cluster(&info.api_version(), info.kind, info.plural);
    let told = match error {
        None => Told::normal(event::PASSKEY_VALID, "it opens the volume".to_owned()),
        Some(why) => Told::warning(event::PASSKEY_INVALID, format!("it does not open the volume: {why}")),
    };
    record(platform, about, NamespacedName::new("", &passkey.name), passkey.uid.clone(), told).await;
}

/// A policy that is gone has nobody who looks.
async fn record_on_policy(platform: &Platform, at: NamespacedName, told: Told) {
    let policy = match platform.cluster.read_object(&kinds::policy(), Some(&at.namespace), &at.name).await {
        Ok(Some(policy)) => policy,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(
                reason = told.reason,
                error = &error as &dyn std::error::Error,
                "an event was not recorded"
            );
            return;
        }
    };
    let uid = policy["metadata"]["uid"].as_str().map(str::to_owned).unwrap_or_default();
    record(platform, kinds::policy(), at, uid, told).await;
}

async fn record(platform: &Platform, about: Kind, at: NamespacedName, uid: String, told: Told) {
    let record = EventRecord {
        about,
        at,
        uid,
        severity: told.severity,
        reason: told.reason.to_owned(),
        action: "Run".to_owned(),
        note: told.note,
        instance: platform.identity().instance.to_string(),
    };
    if let Err(error) = platform.cluster.record_event(&record, platform.clock.now()).await {
        tracing::warn!(
            reason = told.reason,
            error = &error as &dyn std::error::Error,
            "an event was not recorded"
        );
    }
}

#[cfg(test)]
mod tests {
    use keelson_catalog::Class;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ending_is_told_once_whatever_order_the_times_have() {
        let (begun, now) =
            ("2026-01-02T03:04:05Z".parse().unwrap(), "2026-01-02T03:04:06.7Z".parse().unwrap());
        let ended = |uid: &str, end: &str| {
            let mut run = Record::new(kinds::run_action(), "a", uid, begun, Class::Local);
            uid.clone_into(&mut run.uid);
            run.body.status = json!({ "endTime": end });
            run
        };
        let mut endings = Endings::of(kinds::run_action());
        let mut check = |uid: &str, end: &str, expected| {
            assert_eq!(endings.is_new(&ended(uid, end), now), expected, "{uid} {end}");
        };
        check("one", "2026-01-02T03:04:06Z", true);
        check("earlier-and-committed-later", "2026-01-02T03:04:05Z", true);
        check("one", "2026-01-02T03:04:06Z", false);
        check("by-a-clock-that-was-ahead", "2026-01-02T04:00:00Z", true);
        check("long-ago", "2026-01-02T02:54:00Z", false);
        check("still-running", "", false);
    }

    #[test]
    fn a_group_that_somebody_has_is_told_once_and_again_when_it_is_another() {
        let taken = |by: &str| {
            let taken = TakenApi { uid: "u".to_owned(), by: by.to_owned() };
            BTreeMap::from([("v1alpha1.apps.kio.kasten.io".to_owned(), taken)])
        };
        let check = |before: &BTreeMap<_, _>, now: &BTreeMap<_, _>, expected: usize| {
            assert_eq!(newly_taken(before, now).count(), expected, "{before:?} {now:?}");
        };
        check(&BTreeMap::new(), &taken("a"), 1);
        check(&taken("a"), &taken("a"), 0);
        check(&taken("a"), &taken("b"), 1);
        check(&taken("a"), &BTreeMap::new(), 0);
    }

    fn standing(ownership: &str, trouble: Option<&str>) -> Standing {
        let ownership = (!ownership.is_empty()).then(|| ownership.to_owned());
        Standing { ownership, trouble: trouble.map(str::to_owned) }
    }

    #[test]
    fn a_change_of_standing_is_told_once() {
        let check = |before: Standing, now: Standing, reasons: &[&str]| {
            let told = now.since(&before);
            assert_eq!(
                told.iter().map(|told| told.reason).collect::<Vec<_>>(),
                reasons,
                "{before:?} {now:?}"
            );
        };
        check(standing("Owned", None), standing("Owned", None), &[]);
        check(standing("Pending", None), standing("Partial", None), &[]);
        check(standing("", None), standing("Owned", None), &[]);
        check(standing("Fenced", None), standing("", None), &[]);
        check(standing("Partial", None), standing("Owned", None), &[event::OWNERSHIP_TAKEN]);
        check(standing("Owned", None), standing("Fenced", None), &[event::OWNERSHIP_LOST]);
        check(standing("Owned", None), standing("Owned", Some("away")), &[event::SHIPPING_STOPPED]);
        check(standing("Owned", Some("away")), standing("Owned", Some("still away")), &[]);
        check(standing("Owned", Some("away")), standing("Owned", None), &[]);
    }
}
