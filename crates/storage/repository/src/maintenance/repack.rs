//! Repacking: copies what is still needed of half dead packs into new ones, so that pruning can free the old.
//!
//! Order: 1 announce the session, 2 only then list marks and load the index, 3 only then list and walk the outcomes,
//! 4 copy into new packs and write their index, 5 commit the moves, for the outcomes walked and for no other.

mod copy;
mod survey;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use keelson_model::{Classified, ErrorClass, PackId, SessionId};
use keelson_store::{StoreError, StorePath};

use crate::core::Core;
use crate::format::outcome_record::{Move, Moves, OutcomeRecord, SessionResult};
use crate::format::session_record::SessionPurpose;
use crate::index::{Index, IndexCacheError};
use crate::maintenance::liveness::MoveTable;
use crate::maintenance::outcomes::{OutcomeRead, Wanted, read_outcomes};
use crate::maintenance::prune::JudgedRetirements;
use crate::maintenance::retire::Ownership;
use crate::object::{ObjectError, WriteObjectError};
use crate::pack::WriteFault;
use crate::paths;
use crate::read::ReadError;
use crate::repository::{Indexed, Repository};
use crate::session::reuse::Condemned;
use crate::session::{NewSession, SessionError, SessionLife, SessionMarker, require_newest_key};
use survey::{PackLife, Survey};

/// When a pack is worth repacking, and how much is copied in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepackThresholds {
    /// Of a pack's bytes so many hundredths must be dead. 0 counts as 1.
    pub dead_percent_min: u8,
    /// Bytes of living chunks that one run copies; it takes at least one pack.
    pub copied_bytes_max: u64,
}

impl RepackThresholds {
    /// A pack that is half dead costs as much to copy as it frees.
    pub const DEFAULT: Self = Self { dead_percent_min: 50, copied_bytes_max: 4 << 30 };
}

/// What a repack will copy. Printed, it tells a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepackPlan {
    packs: Vec<PlannedPack>,
    /// Half dead packs beyond the limit of this run.
    left: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PlannedPack {
    id: PackId,
    live_bytes: u64,
    dead_bytes: u64,
}

impl RepackPlan {
    /// No pack is dead enough.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// What will be copied.
    pub fn bytes_to_copy(&self) -> u64 {
        self.packs.iter().map(|pack| pack.live_bytes).sum()
    }

    /// What the next prunes can free.
    pub fn bytes_to_free(&self) -> u64 {
        self.packs.iter().map(|pack| pack.dead_bytes).sum()
    }
}

impl fmt::Display for RepackPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing to repack");
        }
        let (packs, copied, freed) = (self.packs.len(), self.bytes_to_copy(), self.bytes_to_free());
        writeln!(f, "copy {copied} bytes out of {packs} half dead packs, to free {freed} bytes")?;
        if self.left > 0 {
            writeln!(f, "leave {} half dead packs to the next run", self.left)?;
        }
        Ok(())
    }
}

/// What a repack did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepackReport {
    /// Packs that pruning can free now.
    pub packs_emptied: u64,
    /// Packs written.
    pub packs_written: u64,
    /// Packs left alone because they are damaged.
    pub packs_damaged: u64,
    /// Bytes of chunks copied.
    pub bytes_copied: u64,
}

/// A repack could not begin or be completed. What it wrote is freed by a later prune.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepackError {
    /// Its session could not begin.
    #[error("begin to repack")]
    Begin {
        /// Why not.
        source: SessionError,
    },
    /// Outcomes could not be listed.
    #[error("list '{folder}'")]
    List {
        /// The folder.
        folder: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// An outcome, its streams or a pack is out of reach. Damaged ones are no error: they are left alone.
    #[error("read what is to be repacked")]
    Read {
        /// Which and why.
        source: Box<ObjectError>,
    },
    /// A stream is out of reach.
    #[error("walk a stream of outcome '{outcome}'")]
    Walk {
        /// The outcome.
        outcome: SessionId,
        /// Why not.
        source: ReadError,
    },
    /// The index on this machine cannot be read.
    #[error("look up where chunks lie")]
    LookUp {
        /// Why not.
        source: IndexCacheError,
    },
    /// The store did not say whether a pack is locked.
    #[error("look at '{path}'")]
    Look {
        /// The pack.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// New packs could not be written.
    #[error("write what was repacked")]
    Write {
        /// Why not.
        source: WriteFault,
    },
    /// It may not commit any more, or whether it may could not be found out.
    #[error("find out whether the repack may commit")]
    Alive {
        /// Why not.
        source: SessionError,
    },
    /// Maintenance ended the session, whose stated life had passed.
    #[error("session '{session}' was ended by maintenance before it could commit")]
    Ended {
        /// The session.
        session: SessionId,
    },
    /// The outcome could not be written.
    #[error("create the outcome of session '{session}'")]
    Create {
        /// The session.
        session: SessionId,
        /// Why not.
        source: WriteObjectError,
    },
    /// The session could not be ended.
    #[error("end the repack")]
    End {
        /// Why not.
        source: SessionError,
    },
}

impl Classified for RepackError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Begin { source } | Self::Alive { source } | Self::End { source } => source.class(),
            Self::List { source, .. } | Self::Look { source, .. } => source.class(),
            Self::Read { source } => source.class(),
            Self::Walk { source, .. } => source.class(),
            Self::LookUp { source } => source.class(),
            Self::Write { source } => source.class(),
            Self::Ended { .. } => ErrorClass::Conflict,
            Self::Create { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Begin { source } | Self::Alive { source } | Self::End { source } => source.code(),
            Self::List { source, .. } | Self::Look { source, .. } => source.code(),
            Self::Read { source } => source.code(),
            Self::Walk { source, .. } => source.code(),
            Self::LookUp { source } => source.code(),
            Self::Write { source } => source.code(),
            Self::Ended { .. } => "repository.repack.ended",
            Self::Create { source, .. } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Begin { source } | Self::Alive { source } | Self::End { source } => source.hint(),
            Self::List { source, .. } | Self::Look { source, .. } => source.hint(),
            Self::Read { source } => source.hint(),
            Self::Walk { source, .. } => source.hint(),
            Self::LookUp { source } => source.hint(),
            Self::Write { source } => source.hint(),
            Self::Ended { .. } => Some("the next repack does it again".to_owned()),
            Self::Create { source, .. } => source.hint(),
        }
    }
}

/// A repack whose session has begun. Until it has ended, prunes wait for it as long as its stated life.
pub struct BegunRepack {
    core: Arc<Core>,
    marker: Arc<SessionMarker>,
    condemned: Condemned,
    index: Arc<Index>,
}

/// A repack that knows what to copy. Carry it out or give it up.
pub struct Repack {
    core: Arc<Core>,
    marker: Arc<SessionMarker>,
    plan: RepackPlan,
    /// The living chunks of the packs in the plan.
    lives: Vec<(PackId, PackLife)>,
    moves: MoveTable,
    /// Outcomes all of whose chunks were counted.
    walked: HashSet<SessionId>,
}

impl Repository<Indexed> {
    /// Begins a session. `session` states how long it may live; its purpose is always to repack.
    pub async fn begin_repack(
        &self,
        _proof: &Ownership,
        session: NewSession,
    ) -> Result<BegunRepack, RepackError> {
        let core = self.core();
        let begin = |source| RepackError::Begin { source };
        require_newest_key(core).map_err(begin)?;
        let session = NewSession { purpose: SessionPurpose::Repack, ..session };
        let marker = SessionMarker::announce(core, session).await.map_err(begin)?;
        let condemned = crate::session::reuse::find_condemned(core).await.map_err(begin)?;
        let index = self.refreshed_index().await;
        let index = index.map_err(|source| begin(SessionError::LoadIndex { source }))?;
        Ok(BegunRepack { core: Arc::clone(core), marker, condemned, index })
    }
}

impl BegunRepack {
    /// Its stated life, to be renewed while it works.
    pub fn life(&self) -> SessionLife {
        SessionLife::of(&self.marker)
    }

    /// Finds out which packs are half dead.
    ///
    /// # Limits
    ///
    /// Every node of the trees of live outcomes is read once, whoever shares it. In memory are a bit a chunk, some 50
    /// bytes a node and 100 a pack.
    pub async fn survey(
        self,
        thresholds: RepackThresholds,
        retirements: &JudgedRetirements,
    ) -> Result<Repack, RepackError> {
        let Self { core, marker, condemned, index } = self;
        let retired = retirements.valid.iter().copied().collect();
        let survey = Survey::of(&core, &index, &retired).await?;
        survey.choose(marker, &condemned, thresholds).await
    }
}

impl Repack {
    /// What it will do.
    pub fn plan(&self) -> &RepackPlan {
        &self.plan
    }

    /// Ends the session without having changed anything.
    pub async fn give_up(self, now: Timestamp) -> Result<(), RepackError> {
        self.marker.end(SessionResult::Done, now).await.map_err(|source| RepackError::End { source })
    }

    /// Copies and commits. An empty plan ends as if it had been given up.
    pub async fn carry_out(self, now: Timestamp) -> Result<RepackReport, RepackError> {
        if self.plan.is_empty() {
            self.give_up(now).await?;
            return Ok(RepackReport::default());
        }
        let copied = copy::copy_packs(&self.core, &self.lives).await?;
        let olds: HashSet<PackId> = copied.moves.iter().map(|moved| moved.from).collect();
        let outcomes = self.find_outcomes(&olds).await?;
        let session = self.marker.id();
        let report = RepackReport {
            packs_emptied: copied.moves.len() as u64,
            packs_written: copied.packs_written,
            packs_damaged: (self.lives.len() - copied.moves.len()) as u64,
            bytes_copied: copied.bytes,
        };
        let record = OutcomeRecord {
            indexes: copied.indexes,
            moves: Moves { moves: copied.moves, outcomes },
            ..OutcomeRecord::bare(SessionResult::Committed, SessionPurpose::Repack, now)
        };
        self.marker.require_alive().await.map_err(|source| RepackError::Alive { source })?;
        match self.marker.create_outcome(record, None).await {
            Ok(_) => Ok(report),
            Err(WriteObjectError::Put { source: StoreError::AlreadyExists { .. }, .. }) => {
                Err(RepackError::Ended { session })
            }
            Err(source) => Err(RepackError::Create { session, source }),
        }
    }

    /// Those walked that need one of the old packs. One committed since was not walked: nothing was copied for it.
    async fn find_outcomes(&self, olds: &HashSet<PackId>) -> Result<Vec<SessionId>, RepackError> {
        let mut found = Vec::new();
        let mut outcomes = read_outcomes(&self.core, Wanted::These(&self.walked));
        while let Some(read) = outcomes.next().await {
            let OutcomeRead { id, outcome, .. } = read.map_err(|source| list_error(&self.core, source))?;
            match outcome {
                Ok(outcome) if self.moves.needed_by(&outcome).iter().any(|pack| olds.contains(pack)) => {
                    found.push(id);
                }
                Ok(_) => {}
                Err(error) if error.is_damage() => {}
                Err(source) => return Err(RepackError::Read { source: Box::new(source) }),
            }
        }
        Ok(found)
    }
}

fn list_error(core: &Core, source: StoreError) -> RepackError {
    RepackError::List { folder: core.paths.join(paths::OUTCOMES), source }
}

/// Where the chunks of an old pack went, by the order in which they were queued.
fn decide_move(from: PackId, queued: &[u64], written: &[crate::pack::WrittenPack]) -> Move {
    let holds = |pack: &&crate::pack::WrittenPack| queued.iter().any(|chunk| pack.chunks.contains(chunk));
    Move { from, to: written.iter().filter(holds).map(|pack| pack.id).collect() }
}

impl fmt::Debug for BegunRepack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BegunRepack({})", self.marker.id())
    }
}

impl fmt::Debug for Repack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repack").field("plan", &self.plan).finish_non_exhaustive()
    }
}
