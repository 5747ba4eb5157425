//! Says in a profile's status what was found. Pure.

use jiff::Timestamp;
use keelson_model::ErrorClass;
use keelson_protection::validation::{Dialect, ProfileVerdict};
use keelson_resources::condition::{Condition, event, kind, reason};
use keelson_resources::profile::ProfileStatus;
use keelson_workload::EventSeverity;

use super::observe::Observed;
use crate::looks::Found;
use crate::publish::{Note, Report};
use crate::status::{Conditions, Truth, bounded, validation_of};

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
    let events = if changed { vec![note(verdict)] } else { Vec::new() };
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
    list.iter()
        .fold(conditions, |conditions, (kind, truth, reason, message)| {
            conditions.with(kind, *truth, reason, message)
        })
        .list()
}
