//! Retaining longer what outcomes need. Only ever lengthens, so anybody who can open the repository may do it.
//!
//! The order: 1 read every outcome, and what repacks have moved; 2 extend packs, indexes, format, slots, keys, and the
//! repacks whose moves were followed; 3 the outcomes themselves.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use keelson_model::{Classified, ErrorClass, SessionId};
use keelson_store::{ObjectMeta, StoreError, StoreExt, StorePath, VersionId};

use super::liveness::MoveTable;
use super::outcomes::{Wanted, read_outcomes};
use crate::limits::COMMIT_REQUESTS_IN_FLIGHT;
use crate::paths;
use crate::repository::{Open, Repository};
use crate::{SessionPurpose, SessionResult};

/// What an outcome needs could not be retained longer.
#[derive(Debug, thiserror::Error)]
pub enum LengthenError {
    /// A folder could not be listed.
    #[error("list '{folder}' in order to retain what lies there")]
    List {
        /// The folder.
        folder: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// An outcome is not there or cannot be read: what it needs is not known.
    #[error("read outcome {outcome} in order to retain what it needs")]
    Unreadable {
        /// The outcome.
        outcome: SessionId,
    },
    /// An object could not be retained.
    #[error("retain '{path}' until {until}")]
    Extend {
        /// The object.
        path: StorePath,
        /// Until when.
        until: Timestamp,
        /// Why not.
        source: StoreError,
    },
}

impl Classified for LengthenError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::List { source, .. } | Self::Extend { source, .. } => source.class(),
            Self::Unreadable { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::List { source, .. } | Self::Extend { source, .. } => source.code(),
            Self::Unreadable { .. } => "repository.lengthen.unreadable",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::List { source, .. } | Self::Extend { source, .. } => source.hint(),
            Self::Unreadable { .. } => None,
        }
    }
}

type Object = (StorePath, Option<VersionId>);

impl Repository<Open> {
    /// Retains these outcomes and all that they need until then.
    pub async fn lengthen(
        &self,
        outcomes: &HashSet<SessionId>,
        until: Timestamp,
    ) -> Result<(), LengthenError> {
        let core = self.core();
        let (mut moves, mut wanted) = (MoveTable::default(), Vec::new());
        let folder = core.paths.join(paths::OUTCOMES);
        let mut read = read_outcomes(core, Wanted::All);
        while let Some(read) = read.next().await {
            let read = read.map_err(|source| LengthenError::List { folder: folder.clone(), source })?;
            match read.outcome {
                Ok(outcome) if outcomes.contains(&read.id) => wanted.push(outcome),
                Ok(outcome)
                    if outcome.purpose() == SessionPurpose::Repack
                        && outcome.result() == SessionResult::Committed =>
                {
                    moves.add(&outcome);
                }
                Ok(_) | Err(_) => {}
            }
        }
        if let Some(outcome) = outcomes.iter().find(|id| !wanted.iter().any(|read| read.id == **id)) {
            return Err(LengthenError::Unreadable { outcome: *outcome });
        }
        let (mut packs, mut repacks) = (HashSet::new(), HashSet::new());
        for outcome in &wanted {
            packs.extend(moves.follow(outcome, |repack| {
                repacks.insert(repack);
            }));
        }
        let mut objects: Vec<Object> = packs.iter().map(|pack| (core.paths.pack(*pack), None)).collect();
        objects.extend(repacks.iter().map(|repack| (core.paths.outcome(*repack), None)));
        objects.push((core.paths.format(), None));
        self.extend_all(objects, until).await?;
        for folder in [paths::INDEX, paths::SLOTS, paths::KEYS] {
            self.extend_beneath(folder, until).await?;
        }
        self.extend_all(outcomes.iter().map(|id| (core.paths.outcome(*id), None)).collect(), until).await
    }

    /// However many a stranger has put there, a page of them is in memory.
    async fn extend_beneath(&self, folder: &str, until: Timestamp) -> Result<(), LengthenError> {
        let folder = self.core().paths.join(folder);
        let listed = self.core().store.stream(&folder);
        let listed = listed.map_err(|source| LengthenError::List { folder: folder.clone(), source });
        let extend = |object: ObjectMeta| self.extend(object.path, object.version, until);
        listed.try_for_each_concurrent(COMMIT_REQUESTS_IN_FLIGHT, extend).await
    }

    async fn extend_all(&self, objects: Vec<Object>, until: Timestamp) -> Result<(), LengthenError> {
        let extensions = stream::iter(objects).map(|(path, version)| self.extend(path, version, until));
        extensions.buffer_unordered(COMMIT_REQUESTS_IN_FLIGHT).try_collect().await
    }

    async fn extend(
        &self,
        path: StorePath,
        version: Option<VersionId>,
        until: Timestamp,
    ) -> Result<(), LengthenError> {
        let extended = self.core().store.extend_retention(&path, version.as_ref(), until).await;
        extended.map_err(|source| LengthenError::Extend { path, until, source })
    }
}
