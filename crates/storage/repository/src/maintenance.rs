//! What is done to a repository as a whole: verifying and retiring. Each is read-only or needs a proof of ownership.

pub(crate) mod retire;
mod verify;

pub use retire::{Ownership, RetireError, Retired};
pub use verify::{
    Damage, Depth, Finding, OnProgress, Verification, VerifyError, VerifyProgress, VerifyReport,
};
