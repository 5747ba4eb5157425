//! Turns disaster recovery off once its policy is gone: deleted, or absent from a full list.
//!
//! Being gone is a state and not an event: it is looked at again and again, so that a stop between the deletion and
//! turning off, or an enabling that was under way, changes nothing in the end.
//!
//! Tells on the policy, too, that shipping left a chain which was not this instance's alone, that a chain had lost its
//! bases, that a drill failed, and that the passphrase cannot be read where it is kept.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use keelson_model::names::DR_POLICY;
use keelson_protection::Platform;
use keelson_protection::recovery::drill::DrillReport;
use keelson_protection::recovery::{RecoveryError, enable, state};
use keelson_resources::condition::event;
use keelson_resources::policy::Policy;
use keelson_workload::{ChangeKind, ConfigEvent, EventSeverity, Kind};
use kube::discovery::ApiResource;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::publish::{Note, record};
use crate::subject::{Subject, plain_kind};

/// Tools replace an object by deleting and creating it.
const GRACE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Nothing, before the first full list.
    Unknown,
    Listing {
        seen: bool,
    },
    Present,
    Absent {
        since: Timestamp,
    },
}

impl Presence {
    fn after(self, change: ChangeKind, name: &str, now: Timestamp) -> Self {
        match (change, self) {
            (ChangeKind::Restarted, _) => Self::Listing { seen: false },
            (ChangeKind::Listed, Self::Listing { seen: false }) => Self::Absent { since: now },
            (ChangeKind::Listed, Self::Listing { seen: true }) => Self::Present,
            (ChangeKind::Applied, Self::Listing { .. }) if name == DR_POLICY => Self::Listing { seen: true },
            (ChangeKind::Applied, _) if name == DR_POLICY => Self::Present,
            (ChangeKind::Deleted, _) if name == DR_POLICY => Self::Absent { since: now },
            (ChangeKind::Listed | ChangeKind::Applied | ChangeKind::Deleted, same) => same,
        }
    }

    fn is_gone(self, now: Timestamp) -> bool {
        match self {
            Self::Unknown | Self::Listing { .. } | Self::Present => false,
            Self::Absent { since } => now.duration_since(since).unsigned_abs() >= GRACE,
        }
    }
}

pub(crate) async fn run(platform: Arc<Platform>, stop: CancellationToken) {
    let kind = plain_kind(&ApiResource::erase::<Policy>(&()));
    let namespace = platform.settings().install_namespace.clone();
    let mut events = pin!(platform.cluster().watch(vec![kind.clone()], Some(&namespace)));
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut presence = Presence::Unknown;
    let now = platform.clock().now();
    let mut told = Told { moved: now, bases_lost: now, drill: now, source: now };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => match event {
                Some(Ok(ConfigEvent { change, name, .. })) => {
                    presence = presence.after(change, &name, platform.clock().now());
                }
                Some(Err(error)) => {
                    debug!(error = &error as &dyn std::error::Error, "the watch of policies was interrupted");
                }
                None => return,
            },
            _ = tick.tick() => {
                if presence.is_gone(platform.clock().now()) {
                    disable(&platform, &kind, &namespace).await;
                }
                told.moved = tell_moved(&platform, &kind, &namespace, told.moved).await;
                told.bases_lost = tell_bases_lost(&platform, &kind, &namespace, told.bases_lost).await;
                told.drill = tell_drill(&platform, &kind, &namespace, told.drill).await;
                told.source = tell_source(&platform, &kind, &namespace, told.source).await;
            },
        }
    }
}

/// Up to when what happened was told.
struct Told {
    moved: Timestamp,
    bases_lost: Timestamp,
    drill: Timestamp,
    source: Timestamp,
}

/// Answers with the time up to which everything was told.
async fn tell_moved(platform: &Platform, kind: &Kind, namespace: &str, told: Timestamp) -> Timestamp {
    let Ok(Some(moved)) = state::moved(platform) else { return told };
    if moved.at <= told {
        return told;
    }
    let text = format!("shipping left repository {} for a new one: {}", moved.from, moved.why);
    note_on_policy(platform, kind, namespace, event::SHIPPING_MOVED, text).await;
    moved.at
}

/// The same for a chain that got a new base because none could be used.
async fn tell_bases_lost(platform: &Platform, kind: &Kind, namespace: &str, told: Timestamp) -> Timestamp {
    let Ok(Some(lost)) = state::bases_lost(platform) else { return told };
    if lost.at <= told {
        return told;
    }
    note_on_policy(platform, kind, namespace, event::BASES_LOST, lost.tell()).await;
    lost.at
}

/// The same for drills that failed.
async fn tell_drill(platform: &Platform, kind: &Kind, namespace: &str, told: Timestamp) -> Timestamp {
    let Ok(Some(drill)) = state::drills(platform).map(|drills| drills.and_then(|drills| drills.last)) else {
        return told;
    };
    if drill.at <= told {
        return told;
    }
    if let Some(text) = tell_findings(&drill) {
        note_on_policy(platform, kind, namespace, event::DRILL_FAILED, text).await;
    }
    drill.at
}

/// The same for a source of the passphrase that is away.
async fn tell_source(platform: &Platform, kind: &Kind, namespace: &str, told: Timestamp) -> Timestamp {
    let Ok(Some(known)) = state::passphrase_source(platform) else { return told };
    let Some(trouble) = known.trouble.filter(|trouble| trouble.since > told) else { return told };
    let why = &trouble.why;
    let text = format!("the platform goes on under the passphrase in force, which cannot be read now: {why}");
    note_on_policy(platform, kind, namespace, event::PASSPHRASE_SOURCE_FAILED, text).await;
    trouble.since
}

/// What an operator is told of a drill; nothing if it went well.
fn tell_findings(drill: &DrillReport) -> Option<String> {
    let first = drill.findings.first()?;
    Some(format!("a recovery might not succeed: {first} ({} findings)", drill.findings_total))
}

async fn note_on_policy(
    platform: &Platform,
    kind: &Kind,
    namespace: &str,
    reason: &'static str,
    text: String,
) {
    // `kubectl describe` finds events by the uid; a policy that is gone has none.
    let policy = platform.cluster().read_object(kind, Some(namespace), DR_POLICY).await.ok().flatten();
    let gone = || json!({ "metadata": { "name": DR_POLICY, "namespace": namespace } });
    let subject = Subject::of(policy.unwrap_or_else(gone));
    record(platform, kind, &subject, &Note { severity: EventSeverity::Warning, reason, text }).await;
}

async fn disable(platform: &Platform, kind: &Kind, namespace: &str) {
    match disable_enabled(platform).await {
        Ok(Changed::No) => {}
        Ok(Changed::Disabled) => {
            info!(policy = DR_POLICY, "disaster recovery is off: its policy is gone");
            let text = "the policy is gone: the platform protects itself no longer; what was stored stays";
            note_on_policy(platform, kind, namespace, event::PROTECTION_DISABLED, text.to_owned()).await;
        }
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "disaster recovery is not turned off yet; trying again"
            );
        }
    }
}

enum Changed {
    No,
    Disabled,
}

async fn disable_enabled(platform: &Platform) -> Result<Changed, RecoveryError> {
    // A recovered platform gets its policies back one by one.
    if state::is_unfinished(platform) || state::enabled(platform)?.is_none() {
        return Ok(Changed::No);
    }
    enable::disable(platform).await?;
    Ok(Changed::Disabled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_list_or_a_deletion_shows_that_the_policy_is_gone() {
        use ChangeKind::*;
        let check = |events: &[(ChangeKind, &str)], gone: bool| {
            let now = Timestamp::UNIX_EPOCH;
            let start = Presence::Unknown;
            let presence =
                events.iter().fold(start, |presence, (change, name)| presence.after(*change, name, now));
            assert_eq!(presence.is_gone(now + GRACE), gone, "{events:?}");
            assert!(!presence.is_gone(now), "{events:?}");
        };
        check(&[], false);
        check(&[(Applied, "other")], false);
        check(&[(Restarted, ""), (Applied, "other")], false);
        check(&[(Restarted, ""), (Applied, "other"), (Listed, "")], true);
        check(&[(Restarted, ""), (Applied, DR_POLICY), (Applied, "other"), (Listed, "")], false);
        let present = [(Restarted, ""), (Applied, DR_POLICY), (Listed, "")];
        let then = |more: &[(ChangeKind, &'static str)]| [&present, more].concat();
        check(&then(&[(Deleted, "other")]), false);
        check(&then(&[(Deleted, DR_POLICY)]), true);
        check(&then(&[(Deleted, DR_POLICY), (Applied, "other")]), true);
        check(&then(&[(Deleted, DR_POLICY), (Applied, DR_POLICY)]), false);
        check(&then(&[(Restarted, "")]), false);
        check(&then(&[(Restarted, ""), (Listed, "")]), true);
    }

    #[test]
    fn a_drill_that_failed_is_told_and_one_that_went_well_is_not() {
        assert_eq!(tell_findings(&DrillReport::default()), None);
        let findings = vec!["pack 'a' is gone".to_owned(), "pack 'b' is gone".to_owned()];
        let failed = DrillReport { findings, findings_total: 7, ..DrillReport::default() };
        let told = tell_findings(&failed).unwrap();
        assert_eq!(told, "a recovery might not succeed: pack 'a' is gone (7 findings)");
    }
}
