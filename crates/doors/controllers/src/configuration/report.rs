//! Says in the status of an object of configuration what was found. Pure.

use jiff::Timestamp;
use keelson_resources::condition::{event, kind, reason};
use keelson_resources::configuration::{ConfigurationStatus, Validation};
use keelson_workload::EventSeverity;
use serde_json::Value;

use super::observe::Observed;
use crate::looks::Found;
use crate::publish::{Note, Report};
use crate::status::{Conditions, FAILED, Truth, bounded};

/// In the word of the status.
pub(super) fn validation_of(observed: &Observed, validation: &Validation) -> &'static str {
    if observed.basis.faults.is_empty() { validation.sound } else { FAILED }
}

pub(super) fn report(observed: &Observed, validation: &Validation, now: Timestamp) -> Report {
    let faults = &observed.basis.faults;
    let found = if faults.is_empty() { Found::Sound } else { Found::Failed };
    let told = faults.join("; ");
    let (truth, why) = match found {
        Found::Sound => (Truth::True, reason::VALIDATED),
        Found::Failed => (Truth::False, reason::SPEC_INVALID),
    };
    let mut conditions = Conditions::after(&observed.status.conditions, observed.subject.generation, now)
        .with(kind::VALID, truth, why, &told);
    if let Some(unused) = validation.unused {
        conditions = conditions.with(kind::IGNORED, Truth::True, reason::NOT_SUPPORTED, unused);
    }
    let status = ConfigurationStatus {
        validation: Some(validation_of(observed, validation).to_owned()),
        error: bounded(faults),
        hash: Some(i64::from(observed.subject.hash)),
        observed_generation: observed.subject.generation,
        conditions: conditions.list(),
    };
    let changed = observed.status.validation != status.validation;
    let events = if changed { vec![note(found, told)] } else { Vec::new() };
    let mut status = serde_json::to_value(&status).expect("plain data");
    if let Some(type_of) = validation.type_of {
        let object = Some(&observed.subject.object).filter(|_| found == Found::Sound);
        status["type"] = Value::from(type_of(object));
    }
    Report { status, events, found }
}

fn note(found: Found, told: String) -> Note {
    match found {
        Found::Sound => Note {
            severity: EventSeverity::Normal,
            reason: event::CONFIGURATION_VALIDATED,
            text: "the object is understood".to_owned(),
        },
        Found::Failed => {
            Note { severity: EventSeverity::Warning, reason: event::CONFIGURATION_FAILED, text: told }
        }
    }
}
