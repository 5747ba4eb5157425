//! Says in a policy's status what was found. Pure.

use jiff::Timestamp;
use keelson_model::ErrorClass;
use keelson_model::location::ProfileHealth;
use keelson_model::names::DR_POLICY;
use keelson_protection::validation::PolicyVerdict;
use keelson_resources::Time;
use keelson_resources::condition::{Condition, event, kind, reason};
use keelson_resources::policy::PolicyStatus;
use keelson_workload::EventSeverity;

use super::observe::Observed;
use crate::looks::Found;
use crate::publish::{Note, Report};
use crate::status::{Conditions, PENDING, Truth, bounded, is_verdict, validation_of};

pub(super) fn report(observed: &Observed, verdict: &PolicyVerdict, now: Timestamp) -> Report {
    let subject = &observed.subject;
    let before = &observed.status;
    let hash = Some(i64::from(subject.hash));
    let (found, error) = match verdict {
        PolicyVerdict::Sound { warnings: _, source_trouble: _ } => (Found::Sound, None),
        PolicyVerdict::Failed { errors, class: _ } => (Found::Failed, bounded(errors)),
    };
    let unchanged_since = before.spec_modified_time.filter(|_| before.hash == hash);
    let status = PolicyStatus {
        validation: Some(validation_of(found).to_owned()),
        error,
        hash,
        spec_modified_time: Some(unchanged_since.unwrap_or(Time(now))),
        observed_generation: subject.generation,
        observed_passphrase: observed.basis.passphrase.clone(),
        conditions: conditions(observed, verdict, now),
    };
    let changed = before.validation != status.validation;
    let events = if changed { notes(observed, verdict) } else { Vec::new() };
    Report { status: serde_json::to_value(&status).expect("plain data"), events, found }
}

/// What stands while a changed specification is looked at: the verdict about the one before counts no more.
pub(super) fn report_pending(observed: &Observed) -> Option<Report> {
    let before = &observed.status;
    let is_stale = before.hash != Some(i64::from(observed.subject.hash));
    if !is_stale || !is_verdict(before.validation.as_deref()) {
        return None;
    }
    let status =
        PolicyStatus { validation: Some(PENDING.to_owned()), error: None, ..observed.status.clone() };
    let status = serde_json::to_value(&status).expect("plain data");
    Some(Report { status, events: Vec::new(), found: Found::Failed })
}

fn protects_the_platform(observed: &Observed) -> bool {
    observed.parsed.as_ref().is_ok_and(|policy| policy.disaster_recovery.is_some())
}

fn notes(observed: &Observed, verdict: &PolicyVerdict) -> Vec<Note> {
    let note = |severity, reason, text: String| Note { severity, reason, text };
    match verdict {
        PolicyVerdict::Sound { warnings, source_trouble: _ } => {
            let (severity, enabled) = match warnings.join("; ").as_str() {
                "" => (EventSeverity::Normal, "the platform protects itself".to_owned()),
                weak => (EventSeverity::Warning, format!("the platform protects itself; {weak}")),
            };
            let sound = "the policy can run".to_owned();
            let mut notes = vec![note(EventSeverity::Normal, event::POLICY_VALIDATED, sound)];
            if protects_the_platform(observed) {
                notes.push(note(severity, event::PROTECTION_ENABLED, enabled));
            }
            notes
        }
        PolicyVerdict::Failed { errors, class: _ } => vec![Note {
            severity: EventSeverity::Warning,
            reason: event::POLICY_FAILED,
            text: errors.join("; "),
        }],
    }
}

fn conditions(observed: &Observed, verdict: &PolicyVerdict, now: Timestamp) -> Vec<Condition> {
    let (truth, reason, message) = match verdict {
        PolicyVerdict::Sound { warnings: _, source_trouble: _ } => {
            (Truth::True, reason::VALIDATED, String::new())
        }
        PolicyVerdict::Failed { errors, class } => {
            (Truth::False, failure_reason(observed, *class), errors.join("; "))
        }
    };
    let mut conditions = Conditions::after(&observed.status.conditions, observed.subject.generation, now)
        .with(kind::VALID, truth, reason, &message);
    let ignored = observed.parsed.as_ref().map(|policy| policy.ignored.join("; ")).unwrap_or_default();
    if !ignored.is_empty() {
        conditions = conditions.with(kind::IGNORED, Truth::True, reason::NOT_SUPPORTED, &ignored);
    }
    if observed.subject.at.name != DR_POLICY {
        return conditions.list();
    }
    let (weak, trouble) = match verdict {
        PolicyVerdict::Sound { warnings, source_trouble } => (warnings.join("; "), source_trouble.as_deref()),
        PolicyVerdict::Failed { .. } => (message, None),
    };
    let conditions = conditions.with(kind::PROTECTED, truth, reason, &weak);
    match trouble {
        Some(trouble) => {
            let (kind, reason) = (kind::PASSPHRASE_READABLE, reason::PASSPHRASE_SOURCE_FAILED);
            conditions.with(kind, Truth::False, reason, trouble).list()
        }
        None => conditions.list(),
    }
}

fn failure_reason(observed: &Observed, class: ErrorClass) -> &'static str {
    let is_unfit = |health| health != Some(ProfileHealth::Writable);
    let unfit =
        observed.basis.profiles.iter().any(|profile| is_unfit(profile.found.map(|(_, health)| health)));
    match class {
        _ if observed.parsed.is_err() => reason::SPEC_INVALID,
        _ if unfit => reason::PROFILE_UNFIT,
        class => class.reason(),
    }
}
