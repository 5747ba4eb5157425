//! Says in the status of a K10restore, and by events, where it stands. Pure.

use jiff::Timestamp;
use keelson_model::ErrorClass;
use keelson_model::names::OWNERSHIP_CONFIG_MAP;
use keelson_resources::condition;
use keelson_resources::condition::kind::{IGNORED, VALID};
use keelson_resources::k10restore::{K10restoreStatus, READY, RecoveryReference, event, reason};
use keelson_resources::recovery::{LEFT_AFTER_END, RecoveryState};
use keelson_workload::EventSeverity;
use serde_json::Value;

use super::act::Outcome;
use super::decide::{Orphan, Verdict, Waiting};
use super::observe::{Asked, Recovery, Trouble};
use crate::publish::Note;
use crate::status::{Conditions, Truth, bounded};

const PENDING: &str = "Pending";
const RUNNING: &str = "Running";
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";

/// The phases of a recovery in their order; what comes instead of another shares its place.
const STEPS: [&[&str]; 9] = [
    &["", "Waiting to start"],
    &["Reading the location"],
    &["Rebuilding the catalog"],
    &["Placing the ownership ConfigMap"],
    &["Switching to the recovered catalog", "Going on after the switch"],
    &["Restoring secrets"],
    &["Restoring profiles"],
    &["Restoring other configuration", "Restoring policies"],
    &["Successfully restored resources"],
];

/// How an error that is told in one text begins to say what to do.
const HINT: &str = "; hint: ";

/// What is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Report {
    pub status: Value,
    pub events: Vec<Note>,
}

/// What the condition `Ready` and the texts beside it say.
#[derive(Debug, Clone, PartialEq)]
struct Standing {
    phase: &'static str,
    ready: Truth,
    reason: &'static str,
    message: String,
    hint: Option<String>,
    restore: Option<RecoveryReference>,
}

pub(super) fn report(asked: &Asked, verdict: &Verdict, outcome: Option<&Outcome>, now: Timestamp) -> Report {
    let Some(standing) = standing(asked, verdict, outcome) else {
        return Report { status: asked.subject.object["status"].clone(), events: Vec::new() };
    };
    let generation = asked.subject.generation;
    let (valid, why, faults) = validity(asked, verdict, outcome, &standing);
    let Standing { phase, ready, reason, message, hint, restore } = standing;
    let mut conditions = Conditions::after(&asked.status.conditions, generation, now)
        .with(VALID, valid, why, &faults)
        .with(READY, ready, reason, &message);
    let unknown = &asked.wanted.unknown;
    if !unknown.is_empty() {
        let told =
            format!("these fields of the spec are not known and have no effect: {}", unknown.join(", "));
        conditions = conditions.with(IGNORED, Truth::True, condition::reason::NOT_SUPPORTED, &told);
    }
    let status = K10restoreStatus {
        phase: phase.to_owned(),
        observed_generation: generation,
        conditions: conditions.list(),
        restore,
        message: clipped(message),
        hint: hint.and_then(clipped),
    };
    let events = notes(&asked.status, &status);
    Report { status: serde_json::to_value(&status).expect("plain data"), events }
}

/// None where nothing is to be said.
fn standing(asked: &Asked, verdict: &Verdict, outcome: Option<&Outcome>) -> Option<Standing> {
    let said = match verdict {
        Verdict::Leaves => return None,
        Verdict::Ended(reference) => ended(asked, reference),
        Verdict::Followed(recovery) => followed(asked, recovery),
        Verdict::Lost(reference) => Standing {
            phase: FAILED,
            ready: Truth::False,
            reason: reason::FAILED,
            message: format!("KastenDRRestore '{}' was removed before it was seen to end", reference.name),
            hint: Some(
                "keelson dr status tells what the platform holds; ask again by another K10restore".to_owned(),
            ),
            restore: Some(RecoveryReference { state: RecoveryState::Failed, ..reference.clone() }),
        },
        Verdict::OutOfSight(reference, trouble) => Standing {
            phase: RUNNING,
            ready: Truth::Unknown,
            reason: trouble.class.reason(),
            message: format!("KastenDRRestore '{}' cannot be looked at: {}", reference.name, trouble.message),
            hint: trouble.hint.clone(),
            restore: Some(reference.clone()),
        },
        Verdict::Invalid(faults) => Standing {
            phase: FAILED,
            hint: Some("correct it: nothing has begun".to_owned()),
            ..unbegun(condition::reason::SPEC_INVALID, faults.join("; "))
        },
        Verdict::Waits(waiting) => match (waiting, outcome) {
            (Waiting::Room(_), Some(Outcome::Refused(trouble))) => troubled(trouble),
            _ => waits(asked, waiting),
        },
        Verdict::Refused(trouble) => refused(trouble),
        Verdict::Begins { name, spec_hash } => begins(name, *spec_hash, outcome),
    };
    Some(said)
}

fn unbegun(reason: &'static str, message: String) -> Standing {
    Standing { phase: PENDING, ready: Truth::False, reason, message, hint: None, restore: None }
}

/// What was told when it ended stays, whatever becomes of its KastenDRRestore.
fn ended(asked: &Asked, reference: &RecoveryReference) -> Standing {
    let succeeded = reference.state == RecoveryState::Success;
    let (phase, ready, reason) = if succeeded {
        (SUCCEEDED, Truth::True, reason::SUCCEEDED)
    } else {
        (FAILED, Truth::False, reason::FAILED)
    };
    let message = asked.status.message.clone().unwrap_or_default();
    Standing {
        phase,
        ready,
        reason,
        message,
        hint: asked.status.hint.clone(),
        restore: Some(reference.clone()),
    }
}

fn followed(asked: &Asked, recovery: &Recovery) -> Standing {
    let Recovery { name, uid, asked_by: _, end_to_see: _, spec_hash, state, phase, error, notes } = recovery;
    let before = asked.status.restore.as_ref().filter(|before| before.uid == *uid);
    let reference = RecoveryReference {
        name: name.clone(),
        uid: uid.clone(),
        spec_hash: *spec_hash,
        state: *state,
        phase: phase.clone(),
        percent: percent(phase).unwrap_or(0).max(before.map_or(0, |before| before.percent)),
    };
    match state {
        RecoveryState::Success => Standing {
            phase: SUCCEEDED,
            ready: Truth::True,
            reason: reason::SUCCEEDED,
            message: recovered(name, *notes),
            hint: Some(format!(
                "when no other instance uses the same backups: kubectl delete configmap --namespace={} {}",
                asked.subject.at.namespace, OWNERSHIP_CONFIG_MAP
            )),
            restore: Some(RecoveryReference { percent: 100, ..reference }),
        },
        RecoveryState::Failed => {
            let (message, hint) = match error.split_once(HINT) {
                Some((message, hint)) => (message, Some(hint.to_owned())),
                None => (error.as_str(), None),
            };
            let message = if message.is_empty() { "no reason was recorded" } else { message };
            Standing {
                phase: FAILED,
                ready: Truth::False,
                reason: reason::FAILED,
                message: message.to_owned(),
                hint,
                restore: Some(reference),
            }
        }
        RecoveryState::None | RecoveryState::Running => Standing {
            phase: RUNNING,
            ready: Truth::False,
            reason: reason::RUNNING,
            message: format!(
                "KastenDRRestore '{name}': {}",
                if phase.is_empty() { "begins" } else { phase.as_str() }
            ),
            hint: None,
            restore: Some(reference),
        },
    }
}

fn recovered(name: &str, notes: usize) -> String {
    if notes == 0 {
        return "the platform is recovered".to_owned();
    }
    format!(
        "the platform is recovered; {notes} objects were kept as they are or could not be written: see status.notes of \
         KastenDRRestore '{name}'"
    )
}

/// Of the steps of a recovery those that have begun; none for a phase that is not known.
fn percent(phase: &str) -> Option<u8> {
    let place = STEPS.iter().position(|phases| phases.contains(&phase))?;
    u8::try_from(place * 100 / (STEPS.len() - 1)).ok()
}

fn waits(asked: &Asked, waiting: &Waiting) -> Standing {
    let waits = |message: String| unbegun(reason::WAITING, message);
    match waiting {
        Waiting::NotServed => Standing {
            hint: Some(
                "install the platform in this namespace, make the profile and k10-dr-secret".to_owned(),
            ),
            ..unbegun(
                reason::NOT_INSTALLED,
                format!(
                    "the platform is not installed here: nobody serves KastenDRRestores; namespace '{}'",
                    asked.subject.at.namespace
                ),
            )
        },
        Waiting::Unreachable(trouble) => troubled(trouble),
        Waiting::Recovery(name) => {
            waits(format!("KastenDRRestore '{name}' is at work; this one comes after it"))
        }
        Waiting::Turn(name) => waits(format!("K10restore '{name}' was asked for before and comes first")),
        Waiting::Room(name) => Standing {
            hint: Some(format!(
                "one that a Job or a command asked for is left for {} s after its end: whoever follows it is to see \
                 how it ended",
                LEFT_AFTER_END.as_secs()
            )),
            ..waits(format!("KastenDRRestore '{name}', which has ended, is removed first"))
        },
    }
}

fn troubled(trouble: &Trouble) -> Standing {
    let Trouble { class, message, hint } = trouble;
    Standing { hint: hint.clone(), ..unbegun(class.reason(), message.clone()) }
}

/// The platform has not taken it.
fn refused(trouble: &Trouble) -> Standing {
    match trouble.class {
        ErrorClass::Conflict => unbegun(reason::WAITING, trouble.message.clone()),
        ErrorClass::Invalid => {
            Standing { phase: FAILED, reason: condition::reason::SPEC_INVALID, ..troubled(trouble) }
        }
        _ => troubled(trouble),
    }
}

fn begins(name: &str, spec_hash: u32, outcome: Option<&Outcome>) -> Standing {
    match outcome {
        Some(Outcome::Created { uid }) => Standing {
            phase: RUNNING,
            ready: Truth::False,
            reason: reason::RUNNING,
            message: format!("KastenDRRestore '{name}': begins"),
            hint: None,
            restore: Some(RecoveryReference {
                name: name.to_owned(),
                uid: uid.clone(),
                spec_hash,
                ..RecoveryReference::default()
            }),
        },
        Some(Outcome::Refused(trouble)) => refused(trouble),
        Some(Outcome::Existed | Outcome::Removed) | None => {
            unbegun(reason::WAITING, format!("there is a KastenDRRestore '{name}' already"))
        }
    }
}

/// Whether the specification is understood, and is the one that is carried out.
fn validity(
    asked: &Asked,
    verdict: &Verdict,
    outcome: Option<&Outcome>,
    standing: &Standing,
) -> (Truth, &'static str, String) {
    let invalid = |faults: String| (Truth::False, condition::reason::SPEC_INVALID, faults);
    match (verdict, outcome) {
        (Verdict::Invalid(faults), _) => return invalid(faults.join("; ")),
        (Verdict::Begins { .. }, Some(Outcome::Refused(trouble))) | (Verdict::Refused(trouble), _)
            if trouble.class == ErrorClass::Invalid =>
        {
            return invalid(trouble.message.clone());
        }
        _ => {}
    }
    let carried_out = standing.restore.as_ref().map(|restore| restore.spec_hash);
    if carried_out.is_some_and(|hash| hash != asked.subject.hash) {
        let told =
            "a K10restore runs once, and this one has begun with another spec: make another K10restore";
        return (Truth::False, reason::SPEC_CHANGED, told.to_owned());
    }
    (Truth::True, condition::reason::VALIDATED, String::new())
}

fn clipped(text: String) -> Option<String> {
    let text = Some(text).filter(|text| !text.is_empty())?;
    bounded(&[text])?.pop()
}

/// What has changed between two statuses.
fn notes(before: &K10restoreStatus, after: &K10restoreStatus) -> Vec<Note> {
    let said = |status: &K10restoreStatus, of: &str| {
        let condition = status.conditions.iter().find(|condition| condition.r#type == of)?;
        Some((condition.reason.clone(), condition.message.clone()))
    };
    let changed = |of: &str| {
        let was = said(before, of).map(|(reason, _)| reason);
        said(after, of).filter(|(reason, _)| was.as_ref() != Some(reason))
    };
    let ready = changed(READY).map(|(reason, message)| note_of(&reason, message));
    let valid = changed(VALID).filter(|(reason, _)| reason == reason::SPEC_CHANGED);
    let valid = valid.map(|(_, message)| warning(event::SPEC_CHANGED, message));
    ready.into_iter().chain(valid).collect()
}

fn note_of(why: &str, text: String) -> Note {
    match why {
        reason::SUCCEEDED => normal(condition::event::RECOVERY_COMPLETED, text),
        reason::FAILED => warning(condition::event::RECOVERY_FAILED, text),
        reason::RUNNING => normal(event::STARTED, text),
        reason::WAITING => normal(event::WAITS, text),
        condition::reason::SPEC_INVALID => warning(event::REFUSED, text),
        // Whatever else there is in the way.
        _ => warning(event::WAITS, text),
    }
}

fn normal(reason: &'static str, text: String) -> Note {
    Note { severity: EventSeverity::Normal, reason, text }
}

fn warning(reason: &'static str, text: String) -> Note {
    Note { severity: EventSeverity::Warning, reason, text }
}

pub(super) fn note_of_orphan(orphan: &Orphan) -> Note {
    let text = format!(
        "the K10restore was deleted, and KastenDRRestore '{}' goes on; it is removed once it has ended",
        orphan.recovery
    );
    normal(event::GOES_ON, text)
}
