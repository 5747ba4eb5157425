//! Decides whether a profile is looked at now. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::observe::{Observed, Placement};
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
    TryLocation,
}

pub(super) fn decide(observed: &Observed, now: Timestamp) -> Decision {
    if observed.subject.lifetime == Lifetime::BeingDeleted {
        return Decision::Wait(None);
    }
    let is_told = tells_what_was_found(observed);
    if let Attention::After(pause) = decide_attention(observed.last.as_ref(), &observed.basis, is_told, now) {
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

/// A status can be taken away or overwritten by whoever may write it. And it may have been known late: then the write of
/// what was found last was spared, since that is what the status had said before.
fn tells_what_was_found(observed: &Observed) -> bool {
    let status = &observed.status;
    let found = observed.last.as_ref().map(|last| validation_of(last.found()));
    status.validation.as_deref() == found && status.hash == Some(i64::from(observed.subject.hash))
}
