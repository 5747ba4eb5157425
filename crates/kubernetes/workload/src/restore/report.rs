//! What a restore did, counted as it goes.

use keelson_model::Chain;
use serde::{Deserialize, Serialize};

use super::Definition;
use super::failure::ObjectFailure;
use super::write::Outcome;
use crate::layers::Layer;
use crate::objects::{CapturedObject, ObjectRef};
use crate::omissions::{Omission, OmissionReason, Omissions};

/// Failures told one by one; more are only counted.
const FAILURES_MAX: usize = 1000;

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreProgress {
    pub layer: Layer,
    /// Objects dealt with, whatever became of them.
    pub done: u64,
    pub failed: u64,
}

/// What became of the objects. The counts add up to all objects that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    pub created: u64,
    pub replaced: u64,
    /// Deleted and made anew, because they cannot be changed.
    pub recreated: u64,
    /// Existed and were the same.
    pub unchanged: u64,
    pub skipped: u64,
    pub failed: u64,
    /// The skipped ones, by kind and reason.
    pub omitted: Vec<Omission>,
    /// The first thousand failures.
    pub failures: Vec<ObjectFailure>,
    /// The first thousand references to owners that exist nowhere.
    pub owners_dropped: Vec<OwnerDropped>,
}

/// An object restored without one of its owners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerDropped {
    pub object: ObjectRef,
    /// `Shop.shop.example.com/v1 'front'`
    pub owner: String,
}

#[derive(Default)]
pub(super) struct Tally {
    report: RestoreReport,
    omissions: Omissions,
    pub(super) definitions: Vec<Definition>,
}

impl Tally {
    pub(super) fn count(&mut self, object: &CapturedObject, outcome: Outcome) {
        match outcome {
            Outcome::Created => self.report.created += 1,
            Outcome::Replaced => self.report.replaced += 1,
            Outcome::Recreated => self.report.recreated += 1,
            Outcome::Unchanged => self.report.unchanged += 1,
            Outcome::Kept => self.skip(&object.reference(), OmissionReason::Exists),
        }
    }

    pub(super) fn skip(&mut self, object: &ObjectRef, reason: OmissionReason) {
        self.report.skipped += 1;
        self.omissions.add(object.resource.clone(), reason, &object.name);
    }

    pub(super) fn fail(&mut self, object: ObjectRef, error: &(dyn std::error::Error + 'static)) {
        self.report.failed += 1;
        self.tell(object, error);
    }

    /// Tells of something that is missing from an object that was counted as restored.
    pub(super) fn tell(&mut self, object: ObjectRef, error: &(dyn std::error::Error + 'static)) {
        if self.report.failures.len() < FAILURES_MAX {
            self.report.failures.push(ObjectFailure { object, why: Chain(error).to_string() });
        }
    }

    pub(super) fn drop_owner(&mut self, object: ObjectRef, owner: String) {
        if self.report.owners_dropped.len() < FAILURES_MAX {
            self.report.owners_dropped.push(OwnerDropped { object, owner });
        }
    }

    pub(super) fn progress(&self, layer: Layer) -> RestoreProgress {
        let RestoreReport { created, replaced, recreated, unchanged, skipped, failed, .. } = self.report;
        RestoreProgress { layer, done: created + replaced + recreated + unchanged + skipped + failed, failed }
    }

    pub(super) fn take_report(&mut self) -> RestoreReport {
        let omitted = std::mem::take(&mut self.omissions).into_list();
        RestoreReport { omitted, ..std::mem::take(&mut self.report) }
    }
}
