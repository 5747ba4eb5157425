//! Stating that an outcome is to be removed. Nothing is deleted here.

use futures::StreamExt;
use jiff::Timestamp;
use keelson_crypto::{ObjectId, ObjectKind};
use keelson_model::{Chain, Classified, ErrorClass, LineageId, SessionId};
use keelson_store::{PutOptions, StoreError, StoreExt, VersionId};

use crate::core::Core;
use crate::format::retired_record::Retirement;
use crate::object::{Expected, ObjectError, WriteObjectError, seal_record};
use crate::paths;
use crate::repository::{Open, Repository};

/// Proof that the caller may remove things here: it holds the newest epoch of the location's lineage.
#[derive(Debug, PartialEq, Eq)]
pub struct Ownership {
    lineage: LineageId,
    epoch: u64,
}

impl Ownership {
    /// To be called by whoever has just read the location's epochs and found this one to be the newest and its own.
    pub fn proven_by_newest_epoch(lineage: LineageId, epoch: u64) -> Self {
        Self { lineage, epoch }
    }

    /// The epoch that is held.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// Whether a retirement was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// It was stated now.
    Now,
    /// It had been stated before.
    Before,
}

/// An outcome could not be retired, or retirements not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetireError {
    /// There is no such outcome.
    #[error("there is no outcome '{outcome}' to retire")]
    Absent {
        /// The outcome.
        outcome: SessionId,
    },
    /// The repository has a key that is not at hand.
    #[error("the repository has a newer key than the one at hand")]
    OutdatedKey,
    /// The store did not say whether the outcome is there.
    #[error("look for outcome '{outcome}'")]
    Look {
        /// The outcome.
        outcome: SessionId,
        /// Why not.
        source: StoreError,
    },
    /// The retirement could not be written.
    #[error("retire outcome '{outcome}'")]
    Write {
        /// The outcome.
        outcome: SessionId,
        /// Why not.
        source: WriteObjectError,
    },
    /// Retirements could not be listed.
    #[error("list what was retired")]
    List {
        /// Why not.
        source: StoreError,
    },
    /// A retirement could not be read.
    #[error("read a retirement")]
    Read {
        /// Which and why.
        source: ObjectError,
    },
}

impl Classified for RetireError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Absent { .. } => ErrorClass::NotFound,
            Self::OutdatedKey => ErrorClass::Denied,
            Self::Look { source, .. } | Self::List { source } => source.class(),
            Self::Write { source, .. } => source.class(),
            Self::Read { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "repository.retire.absent",
            Self::OutdatedKey => "repository.retire.outdated_key",
            Self::Look { source, .. } | Self::List { source } => source.code(),
            Self::Write { source, .. } => source.code(),
            Self::Read { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Absent { .. } | Self::OutdatedKey => None,
            Self::Look { source, .. } | Self::List { source } => source.hint(),
            Self::Write { source, .. } => source.hint(),
            Self::Read { source } => source.hint(),
        }
    }
}

impl Repository<Open> {
    /// Creates `retired/<id>`. Readers that begin afterwards refuse the outcome; pruning removes it later.
    pub async fn retire(
        &self,
        outcome: SessionId,
        proof: &Ownership,
        now: Timestamp,
    ) -> Result<Retired, RetireError> {
        if !self.holds_newest_key() {
            return Err(RetireError::OutdatedKey);
        }
        let core = self.core();
        let there = core.store.exists(&core.paths.outcome(outcome)).await;
        if !there.map_err(|source| RetireError::Look { outcome, source })? {
            return Err(RetireError::Absent { outcome });
        }
        let Ownership { lineage, epoch } = *proof;
        let record = Retirement { outcome, lineage, epoch, at: now };
        let id = ObjectId::from_bytes(*outcome.as_bytes());
        let path = core.paths.retired(outcome);
        let write_error = |source| RetireError::Write { outcome, source };
        let object = seal_record(&core.keys, ObjectKind::Retired, id, &record.encode())
            .map_err(|source| write_error(WriteObjectError::Seal { path: path.clone(), source }))?;
        match core.store.put(&path, object.bytes, PutOptions::create()).await {
            Ok(_) => Ok(Retired::Now),
            Err(StoreError::AlreadyExists { .. }) => {
                let there = find_retirement(core, outcome, None).await;
                match there.map_err(|source| RetireError::Read { source })? {
                    FoundRetirement::Stated(_) | FoundRetirement::Gone => Ok(Retired::Before),
                    // Nobody can replace it: the outcome stays.
                    FoundRetirement::Stranger => {
                        Err(RetireError::Read { source: ObjectError::Stranger { path } })
                    }
                }
            }
            Err(source) => Err(write_error(WriteObjectError::Put { path, source })),
        }
    }

    /// Reads the retirement of an outcome; nothing where none was stated.
    ///
    /// # Errors
    ///
    /// `Read` of a `Stranger` where something lies that no owner has stated.
    pub async fn fetch_retirement(&self, outcome: SessionId) -> Result<Option<Retirement>, RetireError> {
        let found = find_retirement(self.core(), outcome, None).await;
        match found.map_err(|source| RetireError::Read { source })? {
            FoundRetirement::Stated(retirement) => Ok(Some(retirement)),
            FoundRetirement::Gone => Ok(None),
            FoundRetirement::Stranger => {
                let path = self.core().paths.retired(outcome);
                Err(RetireError::Read { source: ObjectError::Stranger { path } })
            }
        }
    }

    /// Reads all retirements that an owner has stated; others are logged. Which of them a later epoch has voided is for
    /// the owner to judge.
    pub async fn list_retired(&self) -> Result<Vec<Retirement>, RetireError> {
        let core = self.core();
        let ids = list_retired_ids(core).await.map_err(|source| RetireError::List { source })?;
        let mut retirements = Vec::with_capacity(ids.len());
        for (outcome, version) in ids {
            let read = find_retirement(core, outcome, version).await;
            retirements.extend(read.map_err(|source| RetireError::Read { source })?.stated());
        }
        Ok(retirements)
    }
}

/// Names every retired outcome, and the version of its retirement.
pub(crate) async fn list_retired_ids(core: &Core) -> Result<Vec<(SessionId, Option<VersionId>)>, StoreError> {
    let folder = core.paths.join(paths::RETIRED);
    let mut objects = core.store.stream(&folder);
    let mut ids = Vec::new();
    while let Some(object) = objects.next().await {
        let object = object?;
        if let Some(id) = paths::parse_name(&object.path) {
            ids.push((id, object.version));
        }
    }
    Ok(ids)
}

/// What lies where the retirement of an outcome would.
pub(crate) enum FoundRetirement {
    Stated(Retirement),
    /// It does not open under the repository's keys: without them anybody could make an outcome unreadable.
    Stranger,
    /// Nothing, or it was removed since it was listed.
    Gone,
}

impl FoundRetirement {
    pub(crate) fn stated(self) -> Option<Retirement> {
        match self {
            Self::Stated(retirement) => Some(retirement),
            Self::Stranger | Self::Gone => None,
        }
    }
}

pub(crate) async fn find_retirement(
    core: &Core,
    outcome: SessionId,
    version: Option<VersionId>,
) -> Result<FoundRetirement, ObjectError> {
    match fetch_retirement(core, outcome, version).await {
        Ok(retirement) if retirement.outcome == outcome => Ok(FoundRetirement::Stated(retirement)),
        Ok(_) => Ok(FoundRetirement::Stranger),
        Err(error) if error.is_strangers() => {
            tracing::warn!(cause = %Chain(&error), "tampering: a retirement that no owner has stated");
            Ok(FoundRetirement::Stranger)
        }
        Err(ObjectError::Missing { .. }) => Ok(FoundRetirement::Gone),
        Err(error) => Err(error),
    }
}

async fn fetch_retirement(
    core: &Core,
    outcome: SessionId,
    version: Option<VersionId>,
) -> Result<Retirement, ObjectError> {
    let id = ObjectId::from_bytes(*outcome.as_bytes());
    let expected = Expected { kind: ObjectKind::Retired, id, path: core.paths.retired(outcome) };
    let bytes = expected.fetch(core.store.as_ref(), version).await?;
    let body = expected.open_record(&core.keys, &bytes)?;
    Retirement::decode(&body).map_err(|source| expected.decode_error(source))
}
