//! The repository: streams in, deduplicated sealed packs out, and back.
//!
//! Knows stores and keys. Knows nothing of Kubernetes or of the catalog: what a stream or a description means is the
//! caller's. Live roots are the outcomes in the store; `docs/format/repository.md` draws every byte and every order.

#![warn(missing_docs)]

mod chunk;
mod core;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod index;
mod limits;
mod maintenance;
mod object;
mod outcome;
mod pack;
mod paths;
mod read;
mod repository;
mod session;
mod tree;

pub use chunk::{ChunkFault, ChunkSizes};
pub use format::DecodeError;
pub use format::outcome_record::SessionResult;
pub use format::repository_file::RepositorySummary;
pub use format::retired_record::Retirement;
pub use format::session_record::SessionPurpose;
pub use index::{IndexCache, IndexCacheError, LoadIndexError};
pub use maintenance::{
    BegunRepack, Damage, Depth, Finding, JudgedRetirements, LengthenError, OnProgress, OnPruneProgress,
    Ownership, Prune, PruneError, PrunePlan, PruneReport, PruneStep, Repack, RepackError, RepackPlan,
    RepackReport, RepackThresholds, RetireError, Retired, Verification, VerifyError, VerifyProgress,
    VerifyReport,
};
pub use object::{ObjectError, WriteObjectError};
pub use outcome::{NamedStream, Outcome, OutcomeDraft};
pub use pack::WriteFault;
pub use read::{ReadError, Reader};
pub use repository::{
    Counted, CreateRepositoryError, GrantError, Indexed, Locked, NewRepository, Open, OpenRepositoryError,
    Repository, Unlock, Usage,
};
pub use session::{
    CommitError, NewSession, Progress, ProgressReading, Session, SessionError, SessionLife, WriteError,
};
pub use tree::StreamRef;
