//! Pruning: frees what no live outcome needs, while writers and readers go on.
//!
//! `plan_prune` looks and decides, `begin_prune` carries a plan out. The order is drawn in
//! `docs/format/repository.md`, *Removing*; what must not be done is to list `sessions/` before the mark is there, to
//! judge a mark before every session so listed has ended, or to delete before the verdict is there.

mod error;
mod execute;
mod observe;
mod plan;
mod rewrite;
mod sessions;
mod sweep;
mod verdict;

use std::collections::BTreeSet;

use jiff::Timestamp;
use keelson_crypto::{ObjectId, random_bytes};
use keelson_model::SessionId;

pub use error::PruneError;
pub use execute::Prune;
pub use plan::PrunePlan;

use crate::maintenance::retire::Ownership;
use crate::repository::{Open, Repository};

/// Which of the retirements in the store count.
///
/// # Assumptions
///
/// Whoever judges has listed the retirements first and read the claims of ownership afterwards. Read the other way
/// round, a retirement could slip in between by an owner who no longer is one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JudgedRetirements {
    /// Outcomes whose retirement counts. Those not named here are live.
    pub valid: BTreeSet<SessionId>,
    /// Outcomes whose retirement was stated by somebody who was no longer the owner. It is removed.
    pub void: BTreeSet<SessionId>,
}

/// What a prune has done so far, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PruneReport {
    /// Sessions that had outlived their stated life and were ended.
    pub sessions_ended: u64,
    /// Retired outcomes removed.
    pub outcomes_removed: u64,
    /// Packs removed.
    pub packs_removed: u64,
    /// Their bytes.
    pub bytes_freed: u64,
    /// Index objects written in place of others.
    pub indexes_written: u64,
    /// Index objects removed.
    pub indexes_removed: u64,
    /// Sessions, readers' outcomes, retirements, marks and verdicts removed.
    pub records_removed: u64,
    /// Objects that are still locked and were left for a later prune.
    pub locked: u64,
}

/// How far a prune came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PruneStep {
    /// The mark is there, and clients that see it late have not looked yet. Call again then.
    Settling {
        /// When everybody sees it.
        until: Timestamp,
    },
    /// Sessions that were there when the mark was made have not ended. Call again when one may have.
    Waiting {
        /// One of those that live longest.
        session: SessionId,
        /// When it may be ended, unless it renews its life.
        until: Timestamp,
        /// How many there are.
        sessions: usize,
    },
    /// Everything of the plan is done.
    Complete(PruneReport),
}

/// Called after each step, from the task that prunes.
pub type OnPruneProgress<'a> = &'a (dyn Fn(PruneReport) + Send + Sync);

impl Repository<Open> {
    /// Reads what is there and decides what can go. Changes nothing.
    ///
    /// # Limits
    ///
    /// Every outcome, index object and mark is read once, outcomes a second time if something was repacked. In memory
    /// are some 80 bytes a pack and 48 an outcome. One run marks at most 1,000,000 packs; the next takes the rest.
    ///
    /// # Errors
    ///
    /// `Outcome` if one that is not retired cannot be read: what it needs is unknown, so nothing can be freed.
    pub async fn plan_prune(
        &self,
        _proof: &Ownership,
        retirements: &JudgedRetirements,
    ) -> Result<PrunePlan, PruneError> {
        let inventory = observe::observe(self.core(), retirements).await?;
        Ok(PrunePlan::decide(inventory, retirements, ObjectId::from_bytes(random_bytes())))
    }

    /// Prepares to carry out a plan. Nothing happens before [`Prune::advance`].
    pub fn begin_prune(&self, plan: PrunePlan) -> Prune {
        Prune::new(self.core(), plan)
    }
}
