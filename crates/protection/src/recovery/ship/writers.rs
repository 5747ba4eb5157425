//! One writer of a chain: what tells that the chain in the store is not this instance's alone.
//!
//! A volume that was restored to an earlier state, or a copy of it that runs beside the original, has the same
//! identity and keys. Two things give it away: the end of the chain, which is ahead of the catalog or another's, and
//! `starts/<n>`, each with a nonce that only the process that wrote it knows.
//!
//! The order: 1 the nonce is recorded; 2 `starts/<n>` is created; 3 something is shipped. A nonce that was recorded
//! and never written harms nothing. Limits: while entries are shipped, one LIST of `starts/` a round, none while idle.

use keelson_catalog::Database;
use keelson_crypto::{ObjectKind, random_bytes};
use keelson_model::{Generation, InstanceId, RepositoryId};
use keelson_store::{ListPage, StoreError, StoreExt, StorePath};
use serde::{Deserialize, Serialize};

use crate::documents;
use crate::layout::{Position, name_of};
use crate::recovery::RecoveryError;
use crate::recovery::documents::{DOCUMENT_VERSION, StartDocument};
use crate::recovery::read::{Shelf, is_damage};
use crate::recovery::ship::{Sender, Shipper};

/// Why a chain is not this instance's alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    #[error(
        "the chain there ends at {stored}, ahead of this catalog at {ours}: its volume is an older state"
    )]
    Ahead { stored: Position, ours: Position },
    #[error("entry {at} there is not the one of this catalog")]
    Differs { at: Position },
    #[error("the chain there is of another generation: it ends at {stored}, this catalog is at {ours}")]
    OtherGeneration { stored: Position, ours: Position },
    #[error("instance {instance} began to ship there as number {number} after this one did")]
    ForeignStart { number: u64, instance: InstanceId },
}

impl Divergence {
    /// The generation of what was found there; nothing where only a start tells.
    pub(super) fn generation(&self) -> Option<Generation> {
        match self {
            Self::Ahead { stored, .. } | Self::OtherGeneration { stored, .. } => Some(stored.generation),
            Self::Differs { at } => Some(at.generation),
            Self::ForeignStart { .. } => None,
        }
    }
}

/// What the instance file knows of its starts in one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Started {
    pub repository: RepositoryId,
    /// The last start that was found in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<u64>,
    /// The nonce of the start that was or will be written after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

impl Started {
    pub(crate) fn never(repository: RepositoryId) -> Self {
        Self { repository, found: None, nonce: None }
    }

    /// Before a start is written: a fresh nonce behind what was found.
    pub(crate) fn next(repository: RepositoryId, found: Option<u64>) -> Self {
        let nonce: [u8; 16] = random_bytes();
        Self { repository, found, nonce: Some(hex::encode(nonce)) }
    }
}

/// The end of a chain in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEnd {
    pub at: Position,
    /// The digest of the entry there (hex).
    pub chain: String,
}

/// Whether a stored chain is a beginning of the catalog's. `ours` is the catalog's digest there, if it is known.
pub(crate) fn judge_end(
    stored: &StoredEnd,
    head: Position,
    ours: Option<[u8; 32]>,
) -> Result<(), Divergence> {
    let at = stored.at;
    if at.generation != head.generation {
        return Err(Divergence::OtherGeneration { stored: at, ours: head });
    }
    if at.sequence > head.sequence {
        return Err(Divergence::Ahead { stored: at, ours: head });
    }
    match ours {
        Some(ours) if hex::encode(ours) != stored.chain => Err(Divergence::Differs { at }),
        // Cut since: the journal reaches back to what was shipped, or a base is needed anyway.
        Some(_) | None => Ok(()),
    }
}

/// Which of the starts behind the last known one is ours. Any other is somebody else's.
pub(crate) fn judge_starts(
    known: &Started,
    behind: &[(u64, StartDocument)],
) -> Result<Option<u64>, Divergence> {
    let mut found = known.found;
    for (number, start) in behind {
        if known.nonce.as_ref() != Some(&start.nonce) {
            return Err(Divergence::ForeignStart { number: *number, instance: start.instance });
        }
        found = Some(*number);
    }
    Ok(found)
}

/// The starts with higher numbers than one, those that open. Others were written by strangers.
pub(crate) async fn read_starts(
    shelf: &Shelf<'_>,
    behind: Option<u64>,
) -> Result<Vec<(u64, StartDocument)>, RecoveryError> {
    let folder = shelf.folder.starts();
    let mut page = behind.map_or(ListPage::first(), |number| ListPage::after(shelf.folder.start(number)));
    let mut starts = Vec::new();
    loop {
        let listed = shelf.store.list(&folder, &page).await;
        let listed = listed.map_err(|source| RecoveryError::List { folder: folder.clone(), source })?;
        for object in &listed.objects {
            let Some(number) = number_of(shelf, &object.path) else { continue };
            match shelf.document(ObjectKind::Start, &object.path).await {
                Ok(start) => starts.push((number, start)),
                Err(error) if is_damage(&error) => {
                    tracing::warn!(path = %object.path, "an object among the starts is not ours");
                }
                Err(error) => return Err(error),
            }
        }
        match listed.objects.last().filter(|_| listed.more) {
            Some(last) => page = ListPage::after(last.path.clone()),
            None => return Ok(starts),
        }
    }
}

fn number_of(shelf: &Shelf<'_>, path: &StorePath) -> Option<u64> {
    name_of::<u64>(path).filter(|number| shelf.folder.start(*number) == *path)
}

/// That what lies in a store under a name of ours was shipped by this catalog, which it is a beginning of.
pub(crate) async fn check_ours(
    catalog: &Database,
    stored: &StoredEnd,
    head: Position,
) -> Result<Result<(), Divergence>, RecoveryError> {
    let ours = catalog.chain_at(stored.at.sequence).map_err(|source| RecoveryError::ReadState { source })?;
    Ok(judge_end(stored, head, ours))
}

impl Shipper {
    pub(super) fn diverged(&self, source: Divergence) -> RecoveryError {
        RecoveryError::Diverged { repository: self.target.repository.id(), source }
    }

    /// Says in the store that this process writes from here on.
    pub(crate) async fn leave_start(
        &mut self,
        sender: &Sender,
        started: &Started,
    ) -> Result<(), RecoveryError> {
        let number = started.found.unwrap_or(0) + 1;
        let chain = sender
            .catalog
            .chain_at(self.shipped)
            .map_err(|source| RecoveryError::ReadState { source })?
            .unwrap_or_default();
        let start = StartDocument {
            version: DOCUMENT_VERSION,
            instance: sender.instance,
            nonce: started.nonce.clone().unwrap_or_default(),
            head: self.position(self.shipped),
            chain: hex::encode(chain),
            started_at: sender.clock.now(),
        };
        let path = self.target.folder.start(number);
        let keys = self.target.repository.keyring();
        let bytes = documents::seal(keys.newest(), ObjectKind::Start, &path, &start)
            .map_err(|source| RecoveryError::Document { source })?;
        match self.target.store.create(&path, bytes).await {
            Ok(_) => {
                self.start = number;
                Ok(())
            }
            // Somebody began at the same moment; if it was a stranger, the next number is free.
            Err(StoreError::AlreadyExists { .. }) => {
                let behind = read_starts(&self.shelf(), started.found).await?;
                judge_starts(started, &behind).map_err(|source| self.diverged(source))?;
                let found = Some(number);
                Box::pin(self.leave_start(sender, &Started { found, ..started.clone() })).await
            }
            Err(source) => Err(RecoveryError::Put { path, source }),
        }
    }

    /// That nobody began to ship here since this process did.
    pub(super) async fn check_alone(&mut self) -> Result<(), RecoveryError> {
        let behind = read_starts(&self.shelf(), Some(self.start)).await?;
        match behind.first() {
            Some((number, start)) => {
                Err(self.diverged(Divergence::ForeignStart { number: *number, instance: start.instance }))
            }
            None => Ok(()),
        }
    }
}
