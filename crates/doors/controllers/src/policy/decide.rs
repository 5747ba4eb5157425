//! Decides whether a policy is looked at now. Pure.

use std::time::Duration;

use jiff::Timestamp;
use keelson_resources::policy::ParsedPolicy;

use super::observe::Observed;
use crate::looks::{Attention, decide_attention};
use crate::status::is_verdict;
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
    if let Attention::After(pause) = decide_attention(observed.last.as_ref(), &observed.basis, now)
        && tells_of_this_spec(observed)
    {
        return Decision::Wait(Some(pause));
    }
    Decision::Look(match &observed.parsed {
        Ok(parsed) => Step::Validate(Box::new(parsed.clone())),
        Err(errors) => Step::Refuse { errors: errors.clone() },
    })
}

/// A status can be taken away or overwritten by whoever may write it.
fn tells_of_this_spec(observed: &Observed) -> bool {
    let status = &observed.status;
    is_verdict(status.validation.as_deref()) && status.hash == Some(i64::from(observed.subject.hash))
}
