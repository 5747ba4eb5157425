//! Says in a profile's status what was found. Pure.

use jiff::Timestamp;
use keelson_model::ErrorClass;
use keelson_protection::validation::{Dialect, LockMode, ProfileVerdict};
use keelson_resources::condition::{Condition, event, kind, reason};
use keelson_resources::profile::ProfileStatus;
use keelson_workload::EventSeverity;

use super::observe::Observed;
use crate::looks::Found;
use crate::publish::{Note, Report};
use crate::status::{Conditions, Truth, bounded, validation_of};

const LESS_FIRMLY: &str = "the bucket has no default retention in COMPLIANCE mode any more: what is written now is locked \
                           in GOVERNANCE mode, and whoever has the right s3:BypassGovernanceRetention can delete it; \
                           give the bucket that default again, or, if this is meant, make the profile anew";

pub(super) fn report(observed: &Observed, verdict: &ProfileVerdict, now: Timestamp) -> Report {
    let subject = &observed.subject;
    let (found, error, read_only) = match verdict {
        ProfileVerdict::Writable(_) => (Found::Sound, None, None),
        ProfileVerdict::ReadOnly { reason: _ } => (Found::Sound, None, Some(true)),
        ProfileVerdict::Failed { errors, class: _ } => (Found::Failed, bounded(errors), None),
    };
    let status = ProfileStatus {
        validation: Some(validation_of(found).to_owned()),
        error,
        hash: Some(i64::from(subject.hash)),
        read_only,
        observed_generation: subject.generation,
        conditions: conditions(observed, verdict, now),
    };
    let before = (observed.status.validation.as_deref(), observed.status.read_only);
    let changed = before != (status.validation.as_deref(), status.read_only);
    let mut events = if changed { vec![note(verdict)] } else { Vec::new() };
    events.extend(note_of_locks(observed, verdict));
    Report { status: serde_json::to_value(&status).expect("plain data"), events, found }
}

fn note(verdict: &ProfileVerdict) -> Note {
    let validated = |text: &str| Note {
        severity: EventSeverity::Normal,
        reason: event::PROFILE_VALIDATED,
        text: text.to_owned(),
    };
    match verdict {
        ProfileVerdict::Writable(dialect) => match weaknesses(dialect.as_ref()).as_str() {
            "" => validated("the profile can be used"),
            weak => Note {
                severity: EventSeverity::Warning,
                reason: event::PROFILE_VALIDATED,
                text: format!("the profile can be used; {weak}"),
            },
        },
        ProfileVerdict::ReadOnly { reason } => {
            validated(&format!("the location can be read, which is enough to import and restore: {reason}"))
        }
        ProfileVerdict::Failed { errors, class: _ } => {
            Note { severity: EventSeverity::Warning, reason: event::PROFILE_FAILED, text: errors.join("; ") }
        }
    }
}

fn weaknesses(dialect: Option<&Dialect>) -> String {
    dialect.map_or_else(String::new, |dialect| dialect.warnings.join("; "))
}

/// How firmly the bucket was found to lock, by the reason of the condition: nothing else remembers it.
fn locks_before(observed: &Observed) -> Option<&'static str> {
    let status = &observed.status;
    // What was found of another spec may have been of another bucket.
    if status.hash != Some(i64::from(observed.subject.hash)) {
        return None;
    }
    let told = status.conditions.iter().find(|told| told.r#type == kind::LOCKED)?;
    let known = [reason::GOVERNANCE, reason::COMPLIANCE, reason::COMPLIANCE_LOST];
    known.into_iter().find(|known| told.reason == *known)
}

/// Whether the bucket locks as firmly as it ever did, and how; nothing where the profile asks for no locks.
fn decide_locks(observed: &Observed, verdict: &ProfileVerdict) -> Option<(Truth, &'static str)> {
    let before = locks_before(observed);
    let mode = match verdict {
        ProfileVerdict::Writable(dialect) => dialect.as_ref()?.lock_mode?,
        // Whoever makes a look fail in between must not make it forgotten.
        ProfileVerdict::ReadOnly { reason: _ } | ProfileVerdict::Failed { errors: _, class: _ } => {
            return before.map(|reason| (Truth::Unknown, reason));
        }
    };
    Some(match (mode, before) {
        (LockMode::Compliance, _) => (Truth::True, reason::COMPLIANCE),
        (LockMode::Governance, Some(reason::COMPLIANCE | reason::COMPLIANCE_LOST)) => {
            (Truth::False, reason::COMPLIANCE_LOST)
        }
        (LockMode::Governance, _) => (Truth::True, reason::GOVERNANCE),
    })
}

/// Told once.
fn note_of_locks(observed: &Observed, verdict: &ProfileVerdict) -> Option<Note> {
    let (_, reason) = decide_locks(observed, verdict)?;
    let is_new = reason == reason::COMPLIANCE_LOST && locks_before(observed) != Some(reason);
    is_new.then(|| Note {
        severity: EventSeverity::Warning,
        reason: event::COMPLIANCE_LOST,
        text: LESS_FIRMLY.to_owned(),
    })
}

fn conditions(observed: &Observed, verdict: &ProfileVerdict, now: Timestamp) -> Vec<Condition> {
    let conditions = Conditions::after(&observed.status.conditions, observed.subject.generation, now);
    let valid = (kind::VALID, Truth::True, reason::VALIDATED, "");
    let reachable = (kind::REACHABLE, Truth::True, reason::VALIDATED, "");
    let told;
    let list: &[(&str, Truth, &str, &str)] = match verdict {
        // What is no location of ours is not tried.
        ProfileVerdict::Writable(None) => &[valid],
        ProfileVerdict::Writable(Some(dialect)) => {
            told = weaknesses(Some(dialect));
            &[valid, reachable, (kind::WRITABLE, Truth::True, reason::VALIDATED, &told)]
        }
        ProfileVerdict::ReadOnly { reason: why } => {
            &[valid, reachable, (kind::WRITABLE, Truth::False, reason::READ_ONLY, why)]
        }
        ProfileVerdict::Failed { errors, class: ErrorClass::Invalid } => {
            told = errors.join("; ");
            let unknown = |kind| (kind, Truth::Unknown, reason::SPEC_INVALID, "");
            &[
                (kind::VALID, Truth::False, reason::SPEC_INVALID, &told),
                unknown(kind::REACHABLE),
                unknown(kind::WRITABLE),
            ]
        }
        ProfileVerdict::Failed { errors, class } => {
            told = errors.join("; ");
            &[
                valid,
                (kind::REACHABLE, Truth::False, class.reason(), &told),
                (kind::WRITABLE, Truth::Unknown, reason::PROBE_FAILED, ""),
            ]
        }
    };
    let conditions = list.iter().fold(conditions, |conditions, (kind, truth, reason, message)| {
        conditions.with(kind, *truth, reason, message)
    });
    match decide_locks(observed, verdict) {
        Some((truth, reason)) => {
            let weak = if truth == Truth::False { LESS_FIRMLY } else { "" };
            conditions.with(kind::LOCKED, truth, reason, weak).list()
        }
        None => conditions.list(),
    }
}
