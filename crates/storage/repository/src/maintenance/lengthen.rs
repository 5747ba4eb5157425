//! Retaining longer what outcomes need. Only ever lengthens, so anybody who can open the repository may do it.
//!
//! The order: 1 read what repacks have moved, then the outcomes that are meant; 2 extend packs, indexes, format, slots,
//! keys, and the repacks whose moves were followed; 3 the outcomes themselves. Guarantees: an outcome that cannot be read,
//! or an object that is gone, keeps nothing else from being retained; it is told at the end.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use keelson_model::{Classified, ErrorClass, SessionId};
use keelson_store::{ObjectMeta, StoreError, StoreExt, StorePath, VersionId};

use super::liveness::{MoveTable, PackSet};
use super::outcomes::{Wanted, read_outcomes};
use crate::limits::COMMIT_REQUESTS_IN_FLIGHT;
use crate::paths;
use crate::repository::{Open, Repository};
use crate::{Outcome, SessionPurpose, SessionResult};

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
    /// An outcome's own lock could not be looked at.
    #[error("look until when '{path}' is retained")]
    Look {
        /// The outcome.
        path: StorePath,
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
            Self::List { source, .. } | Self::Look { source, .. } | Self::Extend { source, .. } => {
                source.class()
            }
            Self::Unreadable { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::List { source, .. } | Self::Look { source, .. } | Self::Extend { source, .. } => {
                source.code()
            }
            Self::Unreadable { .. } => "repository.lengthen.unreadable",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::List { source, .. } | Self::Look { source, .. } | Self::Extend { source, .. } => {
                source.hint()
            }
            Self::Unreadable { .. } => None,
        }
    }
}

impl Repository<Open> {
    /// Retains these outcomes and all that they need until then.
    pub async fn lengthen(
        &self,
        outcomes: &HashSet<SessionId>,
        until: Timestamp,
    ) -> Result<(), LengthenError> {
        let core = self.core();
        let folder = core.paths.join(paths::OUTCOMES);
        let failed = |source| LengthenError::List { folder: folder.clone(), source };
        let mut moves = MoveTable::default();
        let mut read = read_outcomes(core, Wanted::AllBut(outcomes));
        while let Some(read) = read.next().await {
            let repack = read.map_err(failed)?.outcome.ok();
            let committed = |it: &Outcome| it.result() == SessionResult::Committed;
            let is_repack = |it: &Outcome| it.purpose() == SessionPurpose::Repack && committed(it);
            repack.filter(is_repack).iter().for_each(|repack| moves.add(repack));
        }
        let (mut packs, mut repacks, mut found) = (PackSet::default(), HashSet::new(), Vec::new());
        let mut read = read_outcomes(core, Wanted::These(outcomes));
        while let Some(read) = read.next().await {
            let read = read.map_err(failed)?;
            let Ok(outcome) = read.outcome else { continue };
            packs.extend(moves.follow(&outcome, |repack| {
                repacks.insert(repack);
            }));
            found.push(read.id);
        }
        packs.settle();
        let unreadable = outcomes.iter().find(|id| !found.contains(id));
        let unreadable = unreadable.map(|id| LengthenError::Unreadable { outcome: *id });

        let mut needed: Vec<_> = packs.iter().map(|pack| core.paths.pack(*pack)).collect();
        needed.extend(repacks.iter().map(|repack| core.paths.outcome(*repack)));
        needed.push(core.paths.format());
        let lost = self.extend_all(needed, until).await?;
        for folder in [paths::INDEX, paths::SLOTS, paths::KEYS] {
            self.extend_beneath(folder, until).await?;
        }
        let found = found.iter().map(|id| core.paths.outcome(*id)).collect();
        let lost_since = self.extend_all(found, until).await?;
        lost.or(lost_since).or(unreadable).map_or(Ok(()), Err)
    }

    /// Does the same with those of these outcomes whose locks end before `least`, and says how many they are. An outcome
    /// is locked after all that it needs, so its own lock ends first.
    pub async fn lengthen_ending_before(
        &self,
        least: Timestamp,
        outcomes: &HashSet<SessionId>,
        until: Timestamp,
    ) -> Result<u64, LengthenError> {
        let outcomes: Vec<_> = outcomes.iter().copied().collect();
        let looks = stream::iter(outcomes).map(|outcome| self.look(outcome, least));
        let mut looks = looks.buffer_unordered(COMMIT_REQUESTS_IN_FLIGHT);
        let mut ending = HashSet::new();
        while let Some(look) = looks.next().await {
            ending.extend(look?);
        }
        if !ending.is_empty() {
            self.lengthen(&ending, until).await?;
        }
        Ok(ending.len() as u64)
    }

    /// The outcome, if its lock ends before that. One that is gone has none.
    async fn look(&self, outcome: SessionId, least: Timestamp) -> Result<Option<SessionId>, LengthenError> {
        let path = self.core().paths.outcome(outcome);
        match self.core().store.head(&path, None).await {
            Ok(meta) => Ok(meta.retain_until.is_none_or(|end| end < least).then_some(outcome)),
            Err(source) if source.class() == ErrorClass::NotFound => Ok(Some(outcome)),
            Err(source) => Err(LengthenError::Look { path, source }),
        }
    }

    /// However many a stranger has put there, a page of them is in memory. What a prune has removed meanwhile nothing
    /// needs.
    async fn extend_beneath(&self, folder: &str, until: Timestamp) -> Result<(), LengthenError> {
        let folder = self.core().paths.join(folder);
        let listed = self.core().store.stream(&folder);
        let listed = listed.map_err(|source| LengthenError::List { folder: folder.clone(), source });
        let extend = |object: ObjectMeta| self.extend_listed(object, until);
        listed.try_for_each_concurrent(COMMIT_REQUESTS_IN_FLIGHT, extend).await
    }

    async fn extend_listed(&self, object: ObjectMeta, until: Timestamp) -> Result<(), LengthenError> {
        match self.extend(object.path, object.version, until).await {
            Err(error) if error.class() == ErrorClass::NotFound => Ok(()),
            extended => extended,
        }
    }

    /// Retains what is there, and returns the first that is not.
    async fn extend_all(
        &self,
        objects: Vec<StorePath>,
        until: Timestamp,
    ) -> Result<Option<LengthenError>, LengthenError> {
        let extensions = stream::iter(objects).map(|path| self.extend(path, None, until));
        let mut extensions = extensions.buffer_unordered(COMMIT_REQUESTS_IN_FLIGHT);
        let mut lost = None;
        while let Some(extended) = extensions.next().await {
            match extended {
                Err(error) if error.class() == ErrorClass::NotFound => lost = lost.or(Some(error)),
                extended => extended?,
            }
        }
        Ok(lost)
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
