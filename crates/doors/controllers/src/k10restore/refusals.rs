//! Which K10restores the platform has refused as they are, so that none of them keeps the others from their turn. It is the
//! memory of a process: the next one learns it again by asking once more.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::LOOK_AFTER_REFUSAL;
use super::act::Outcome;
use super::decide::Step;
use super::observe::{Asked, Recoveries, Scene, Trouble};

/// That a K10restore was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Of the specification that was refused. Another one may be taken.
    pub spec_hash: u32,
    pub at: Timestamp,
    pub trouble: Trouble,
}

impl Refusal {
    /// Whether it is time to ask again. A clock that was set back holds up nothing.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now.duration_since(self.at).unsigned_abs() >= LOOK_AFTER_REFUSAL
    }
}

/// By the uid of the K10restore.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<String, Refusal>);

impl Refusals {
    /// Marks those that were refused with the specification that they have now.
    pub(super) fn mark(&self, asked: &mut [Asked]) {
        for asked in asked {
            let refusal = self.0.get(&asked.subject.uid);
            asked.refused = refusal.filter(|refusal| refusal.spec_hash == asked.subject.hash).cloned();
        }
    }

    /// Takes in what came of a step, and forgets whom it is of no use for.
    pub(super) fn note(&mut self, scene: &Scene, step: Option<&Step>, outcome: Option<&Outcome>) {
        match scene.recoveries {
            Recoveries::Listed(_) => {
                self.0.retain(|uid, _| scene.asked.iter().any(|asked| asked.subject.uid == *uid));
            }
            // The platform that comes next may judge otherwise.
            Recoveries::NotServed | Recoveries::Unreachable(_) => self.0.clear(),
        }
        let Some(Step::Create(new)) = step else { return };
        let uid = &new.asked_by.uid;
        match outcome {
            Some(Outcome::Refused(trouble)) if trouble.is_its_own() => {
                let refusal = Refusal { spec_hash: new.spec_hash, at: scene.now, trouble: trouble.clone() };
                self.0.insert(uid.clone(), refusal);
            }
            _ => {
                self.0.remove(uid);
            }
        }
    }
}
