//! Decides whether the verdict on an object of configuration is told now. Pure.

use std::time::Duration;

use jiff::Timestamp;
use keelson_resources::configuration::Validation;

use super::observe::Observed;
use super::report::validation_of;
use crate::looks::{Attention, decide_attention};
use crate::subject::Lifetime;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// What the status says still counts: look again after a pause, or when something changes.
    Wait(Option<Duration>),
    Tell,
}

pub(super) fn decide(observed: &Observed, validation: &Validation, now: Timestamp) -> Decision {
    if observed.subject.lifetime == Lifetime::BeingDeleted {
        return Decision::Wait(None);
    }
    let status = &observed.status;
    let is_told = status.validation.as_deref() == Some(validation_of(observed, validation))
        && status.hash == Some(i64::from(observed.subject.hash))
        && status.observed_generation == observed.subject.generation;
    match decide_attention(observed.last.as_ref(), &observed.basis, is_told, now) {
        Attention::After(pause) => Decision::Wait(Some(pause)),
        Attention::Now => Decision::Tell,
    }
}
