//! Decides whether a profile is looked at now. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::observe::{Observed, Placement};
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
    TryLocation,
}

pub(super) fn decide(observed: &Observed, now: Timestamp) -> Decision {
    if observed.subject.lifetime == Lifetime::BeingDeleted {
        return Decision::Wait(None);
    }
    if let Attention::After(pause) = decide_attention(observed.last.as_ref(), &observed.basis, now)
        && tells_of_this_spec(observed)
    {
        return Decision::Wait(Some(pause));
    }
    Decision::Look(match &observed.placement {
        Placement::Installed => Step::TryLocation,
        Placement::Misplaced { install_namespace } => Step::Refuse {
            errors: vec![format!(
                "a profile counts only in namespace '{install_namespace}': create it there"
            )],
        },
    })
}

/// A status can be taken away or overwritten by whoever may write it.
fn tells_of_this_spec(observed: &Observed) -> bool {
    let status = &observed.status;
    is_verdict(status.validation.as_deref()) && status.hash == Some(i64::from(observed.subject.hash))
}
