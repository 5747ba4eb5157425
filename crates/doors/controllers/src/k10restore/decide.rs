//! Decides where each K10restore stands, and the one step that is taken now. Pure.

use keelson_model::ErrorClass;
use keelson_resources::k10restore::{RECOVERY_PREFIX, RecoveryReference};
use keelson_resources::recovery::{RecoveryState, is_left};
use serde_json::Value;

use super::observe::{Asked, Recoveries, Recovery, Requester, Scene, Trouble};
use crate::subject::Lifetime;

/// The longest name that the API server takes.
const NAME_BYTES_MAX: usize = 253;

/// What a pass does and says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// One for each K10restore, in the order of the scene.
    pub verdicts: Vec<Verdict>,
    pub step: Option<Step>,
    /// Recoveries at work whose K10restore is gone.
    pub orphans: Vec<Orphan>,
}

/// Where a K10restore stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Its end was told already, and is still that.
    Ended(RecoveryReference),
    /// As its own KastenDRRestore says.
    Followed(Recovery),
    /// It was begun, and its KastenDRRestore was removed before anybody saw how it ended.
    Lost(RecoveryReference),
    /// It was begun, and cannot be looked at now.
    OutOfSight(RecoveryReference, Trouble),
    /// It cannot be carried out as it is.
    Invalid(Vec<String>),
    Waits(Waiting),
    /// The platform has refused it as it is, and it is asked for again later.
    Refused(Trouble),
    /// The step of this pass begins it.
    Begins {
        name: String,
        spec_hash: u32,
    },
    /// It is being deleted and was not begun.
    Leaves,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waiting {
    NotServed,
    Unreachable(Trouble),
    /// The KastenDRRestore of this name.
    Recovery(String),
    /// The K10restore of this name.
    Turn(String),
    /// Until this finished KastenDRRestore has made room.
    Room(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Of an earlier request, or of one that is gone.
    Remove {
        name: String,
        uid: String,
    },
    Create(NewRecovery),
}

/// A KastenDRRestore that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NewRecovery {
    pub name: String,
    pub asked_by: Requester,
    pub spec_hash: u32,
    pub spec: Value,
}

/// A recovery at work whose K10restore is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    pub asked_by: Requester,
    pub recovery: String,
}

impl Plan {
    pub(super) fn is_at_work(&self) -> bool {
        let is_at_work = |verdict: &Verdict| match verdict {
            Verdict::Followed(recovery) => !recovery.is_ended(),
            Verdict::OutOfSight(..) | Verdict::Begins { .. } => true,
            Verdict::Ended(_) | Verdict::Lost(_) | Verdict::Invalid(_) => false,
            Verdict::Waits(_) | Verdict::Refused(_) | Verdict::Leaves => false,
        };
        self.verdicts.iter().any(is_at_work)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.verdicts.iter().any(|verdict| matches!(verdict, Verdict::Waits(_) | Verdict::Refused(_)))
    }

    /// Whether another one can begin as soon as this one passes its turn.
    pub(super) fn is_turn_wanted(&self) -> bool {
        self.verdicts.iter().any(|verdict| matches!(verdict, Verdict::Waits(Waiting::Turn(_))))
    }
}

pub(super) fn decide(scene: &Scene) -> Plan {
    let listed = match &scene.recoveries {
        Recoveries::Listed(listed) => listed.as_slice(),
        Recoveries::NotServed | Recoveries::Unreachable(_) => &[],
    };
    let mut verdicts: Vec<_> = scene.asked.iter().map(|asked| standing(asked, &scene.recoveries)).collect();
    let mut step = sweep(scene, listed);
    let turn = next_turn(scene, &verdicts);
    if let Some(turn) = turn {
        let asked = &scene.asked[turn];
        let (verdict, next) = take_turn(scene, asked, listed);
        // Until one that was refused is asked for again, that is what is to be mended.
        let is_told_otherwise = asked.refused.is_some() && matches!(verdict, Verdict::Waits(_));
        verdicts[turn] = Some(verdict).filter(|_| !is_told_otherwise);
        // Nothing begins while something is there that can be swept.
        step = step.or(next);
    }
    let first = turn.map(|turn| scene.asked[turn].subject.at.name.clone()).unwrap_or_default();
    let verdicts = scene.asked.iter().zip(verdicts);
    let verdicts = verdicts.map(|(asked, verdict)| verdict.unwrap_or_else(|| off_turn(asked, &first)));
    let verdicts = verdicts.collect();
    Plan { verdicts, step, orphans: orphans(scene, listed) }
}

/// None for one that can begin as soon as it is its turn.
fn standing(asked: &Asked, recoveries: &Recoveries) -> Option<Verdict> {
    let begun = asked.status.restore.clone();
    let own = match recoveries {
        Recoveries::Listed(listed) => listed.iter().find(|recovery| is_of(recovery, asked)),
        Recoveries::NotServed | Recoveries::Unreachable(_) => None,
    };
    if let Some(ended) = begun.clone().filter(RecoveryReference::is_ended) {
        let completed = own.filter(|own| is_completed_since(&ended, own)).cloned();
        return Some(completed.map_or(Verdict::Ended(ended), Verdict::Followed));
    }
    match (own, begun, recoveries) {
        (Some(own), _, _) => Some(Verdict::Followed(own.clone())),
        (None, Some(begun), Recoveries::Listed(_)) => Some(Verdict::Lost(begun)),
        (None, Some(begun), Recoveries::Unreachable(trouble)) => {
            Some(Verdict::OutOfSight(begun, trouble.clone()))
        }
        // Between two of its processes nobody may serve the platform's kinds.
        (None, Some(begun), Recoveries::NotServed) => Some(Verdict::OutOfSight(begun, not_served())),
        (None, None, _) => unbegun(asked, recoveries),
    }
}

/// What failed after its switch the platform completes by itself.
fn is_completed_since(ended: &RecoveryReference, own: &Recovery) -> bool {
    own.uid == ended.uid && (ended.state, own.state) == (RecoveryState::Failed, RecoveryState::Success)
}

fn unbegun(asked: &Asked, recoveries: &Recoveries) -> Option<Verdict> {
    if asked.subject.lifetime == Lifetime::BeingDeleted {
        return Some(Verdict::Leaves);
    }
    let faults = faults(asked);
    if !faults.is_empty() {
        return Some(Verdict::Invalid(faults));
    }
    match recoveries {
        Recoveries::Listed(_) => None,
        Recoveries::NotServed => Some(Verdict::Waits(Waiting::NotServed)),
        Recoveries::Unreachable(trouble) => Some(Verdict::Waits(Waiting::Unreachable(trouble.clone()))),
    }
}

fn not_served() -> Trouble {
    Trouble {
        class: ErrorClass::Unavailable { retry_after: None },
        message: "KastenDRRestores are not served".to_owned(),
        hint: None,
    }
}

fn faults(asked: &Asked) -> Vec<String> {
    let mut faults = asked.wanted.request.as_ref().err().cloned().unwrap_or_default();
    let name = recovery_name(asked);
    if name.len() > NAME_BYTES_MAX {
        let longest = NAME_BYTES_MAX - RECOVERY_PREFIX.len();
        faults.push(format!("metadata.name: must be no more than {longest} characters"));
    }
    faults
}

fn recovery_name(asked: &Asked) -> String {
    format!("{RECOVERY_PREFIX}{}", asked.subject.at.name)
}

fn is_of(recovery: &Recovery, asked: &Asked) -> bool {
    recovery.asked_by.as_ref().is_some_and(|by| by.uid == asked.subject.uid)
}

/// The first that waits. One that was refused as it is comes after all others, and after those that were refused before it.
fn next_turn(scene: &Scene, verdicts: &[Option<Verdict>]) -> Option<usize> {
    let waiting = scene.asked.iter().enumerate().filter(|(at, _)| verdicts[*at].is_none());
    let waiting: Vec<_> = waiting.collect();
    let first = waiting.iter().find(|(_, asked)| asked.refused.is_none());
    let is_due = |asked: &Asked| asked.refused.as_ref().is_some_and(|refusal| refusal.is_due(scene.now));
    let due = waiting.iter().filter(|(_, asked)| is_due(asked));
    let refused_at = |asked: &Asked| asked.refused.as_ref().map(|refusal| refusal.at);
    let next = first.or_else(|| due.min_by_key(|(_, asked)| refused_at(asked)));
    next.map(|(at, _)| *at)
}

fn off_turn(asked: &Asked, first: &str) -> Verdict {
    let refused = asked.refused.as_ref().map(|refusal| Verdict::Refused(refusal.trouble.clone()));
    refused.unwrap_or_else(|| Verdict::Waits(Waiting::Turn(first.to_owned())))
}

/// The one whose turn it is begins, once no other is at work and none is there that has ended.
fn take_turn(scene: &Scene, asked: &Asked, listed: &[Recovery]) -> (Verdict, Option<Step>) {
    if let Some(other) = listed.iter().find(|recovery| !recovery.is_ended()) {
        return (Verdict::Waits(Waiting::Recovery(other.name.clone())), None);
    }
    if let Some(finished) = listed.first() {
        let removable = listed.iter().find(|recovery| is_told(scene, recovery));
        let step = removable.map(remove);
        return (Verdict::Waits(Waiting::Room(finished.name.clone())), step);
    }
    let Ok(request) = &asked.wanted.request else { return (Verdict::Invalid(faults(asked)), None) };
    let (name, spec_hash) = (recovery_name(asked), asked.subject.hash);
    let new = NewRecovery {
        name: name.clone(),
        asked_by: Requester { uid: asked.subject.uid.clone(), name: asked.subject.at.name.clone() },
        spec_hash,
        spec: request.recovery_spec(),
    };
    (Verdict::Begins { name, spec_hash }, Some(Step::Create(new)))
}

/// Whether nobody waits any more to learn from it how it ended.
fn is_told(scene: &Scene, recovery: &Recovery) -> bool {
    if recovery.end_to_see.is_some_and(|ended| is_left(ended, scene.now)) {
        return false;
    }
    let asked = scene.asked.iter().find(|asked| is_of(recovery, asked));
    let told = |asked: &Asked| asked.status.restore.as_ref().is_some_and(RecoveryReference::is_ended);
    asked.is_none_or(told)
}

/// One that has ended goes after the K10restore that it was made for.
fn sweep(scene: &Scene, listed: &[Recovery]) -> Option<Step> {
    listed.iter().find(|recovery| recovery.is_ended() && is_orphan(scene, recovery)).map(remove)
}

fn is_orphan(scene: &Scene, recovery: &Recovery) -> bool {
    recovery.asked_by.is_some() && !scene.asked.iter().any(|asked| is_of(recovery, asked))
}

fn remove(recovery: &Recovery) -> Step {
    Step::Remove { name: recovery.name.clone(), uid: recovery.uid.clone() }
}

fn orphans(scene: &Scene, listed: &[Recovery]) -> Vec<Orphan> {
    let at_work = listed.iter().filter(|recovery| !recovery.is_ended() && is_orphan(scene, recovery));
    let orphan = |recovery: &Recovery| {
        Some(Orphan { asked_by: recovery.asked_by.clone()?, recovery: recovery.name.clone() })
    };
    at_work.filter_map(orphan).collect()
}
