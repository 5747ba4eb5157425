//! Decides whether a policy is looked at now. Pure.

use std::time::Duration;

use jiff::Timestamp;
use keelson_resources::policy::ParsedPolicy;

use super::observe::Observed;
use crate::looks::{Attention, decide_attention};
use crate::status::validation_of;
use crate::subject::Lifetime;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// What the status says still counts: look again after a pause, or when something changes.
    Wait(Option<Duration>),
    Look(Step),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The object alone shows that it is wrong.
    Refuse {
        errors: Vec<String>,
    },
    Validate(Box<ParsedPolicy>),
}

pub(super) fn decide(observed: &Observed, now: Timestamp) -> Decision {
    // Validating the policy that protects the platform would enable what its deletion disables.
    if observed.subject.lifetime == Lifetime::BeingDeleted {
        return Decision::Wait(None);
    }
    // Its verdict is a change that wakes us; until then the one before stands.
    if observed.awaits_preset {
        return Decision::Wait(None);
    }
    let is_told = tells_what_was_found(observed);
    if let Attention::After(pause) = decide_attention(observed.last.as_ref(), &observed.basis, is_told, now) {
        return Decision::Wait(Some(pause));
    }
    Decision::Look(match &observed.parsed {
        Ok(parsed) => Step::Validate(Box::new(parsed.clone())),
        Err(errors) => Step::Refuse { errors: errors.clone() },
    })
}

/// A status can be taken away or overwritten by whoever may write it. And it may have been known late: then the write of
/// what was found last was spared, since that is what the status had said before.
fn tells_what_was_found(observed: &Observed) -> bool {
    let status = &observed.status;
    let found = observed.last.as_ref().map(|last| validation_of(last.found()));
    status.validation.as_deref() == found
        && status.hash == Some(i64::from(observed.subject.hash))
        && status.observed_passphrase == observed.basis.passphrase
}
