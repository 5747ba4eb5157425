//! What is done to a repository as a whole: verifying, retaining longer, retiring, pruning, repacking. All but the first
//! two need a proof of ownership.

mod lengthen;
pub(crate) mod liveness;
mod outcomes;
mod prune;
mod repack;
pub(crate) mod retire;
mod verify;

pub use lengthen::LengthenError;
pub use prune::{JudgedRetirements, OnPruneProgress, Prune, PruneError, PrunePlan, PruneReport, PruneStep};
pub use repack::{BegunRepack, Repack, RepackError, RepackPlan, RepackReport, RepackThresholds};
pub use retire::{Ownership, RetireError, Retired};
pub use verify::{
    Damage, Depth, Finding, OnProgress, Verification, VerifyError, VerifyProgress, VerifyReport,
};
