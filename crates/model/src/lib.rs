//! The domain's words as plain values and rules: ids, errors' classes, time, retention, schedules, selectors.
//!
//! Knows no I/O, no async, no Kubernetes client and no storage. Everything here can be decided, compared and
//! printed on a sheet of paper; whoever needs the outside world depends on this crate, never the reverse.

mod clock;
mod duration;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ids;
pub mod names;
pub mod naming;

pub mod action;
pub mod location;
pub mod passphrase;
pub mod recovery;
pub mod retention;
pub mod schedule;
pub mod selector;
pub mod skip;

pub use clock::{Clock, ManualClock, PUT_RIGHT_MAX, is_due, later};
pub use duration::{GoDuration, ParseDurationError};
pub use error::{Causes, Chain, Classified, ErrorClass};
pub use ids::{
    ChunkId, ClusterId, Generation, GrantId, InstanceId, LineageId, PackId, ParseIdError, RepositoryId,
    Revision, Sequence, SessionId, SlotId,
};
