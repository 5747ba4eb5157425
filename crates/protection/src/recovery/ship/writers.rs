//! One writer of a chain: what tells that the chain in the store is not this instance's alone.
//!
//! A volume that was restored to an earlier state, or a copy of it that runs beside the original, has the same
//! identity and keys. Two things give it away: the end of the chain, which is ahead of the catalog or another's, and
//! `starts/<n>`, each with a nonce that only the process that wrote it knows.
//!
//! The order: 1 the nonce is recorded; 2 `starts/<n>` is created; 3 something is shipped. A nonce that was recorded
//! and never written harms nothing. Limits: while entries are shipped, one LIST of `starts/` a round, none while idle.
//! What a stranger puts there is opened once in the life of a process; where it fills a page, a few requests a round
//! look at the number that the next start would take.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
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

/// Small objects that are read side by side.
const READS_IN_FLIGHT: usize = 16;
/// Objects behind a full page that are looked at in a round.
const LOOKED_AT_MAX: usize = 16;
/// Numbers that strangers may take between a look and the start that follows it.
const TAKEN_MAX: usize = 256;

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

/// What lies in `starts/` behind a number.
pub(crate) struct FoundStarts {
    /// Those that open. Others were written by strangers.
    pub ours: Vec<(u64, StartDocument)>,
    /// Every number from the last of ours to this one is taken.
    pub taken_through: u64,
}

/// The starts with higher numbers than one. Each object is read once, and a page of names is in memory.
pub(crate) async fn read_starts(
    shelf: &Shelf<'_>,
    behind: Option<u64>,
) -> Result<FoundStarts, RecoveryError> {
    let folder = shelf.folder.starts();
    let failed = |source| RecoveryError::List { folder: folder.clone(), source };
    let page = behind.map_or(ListPage::first(), |number| ListPage::after(shelf.folder.start(number)));
    let listed = shelf.store.stream_from(&folder, page).map_err(failed);
    let numbers = listed.try_filter_map(|object| std::future::ready(Ok(number_of(shelf, &object.path))));
    let reads = numbers.map_ok(|number| async move { Ok((number, read_start(shelf, number).await?)) });
    let mut reads = std::pin::pin!(reads.try_buffered(READS_IN_FLIGHT));
    let mut found = FoundStarts { ours: Vec::new(), taken_through: behind.unwrap_or(0) };
    let mut strangers = 0_usize;
    while let Some((number, start)) = reads.try_next().await? {
        if let Some(start) = start {
            found.ours.push((number, start));
            found.taken_through = number;
            continue;
        }
        strangers += 1;
        if number == found.taken_through + 1 {
            found.taken_through = number;
        }
    }
    if strangers > 0 {
        tracing::warn!(count = strangers, folder = %folder, "objects among the starts are not ours");
    }
    Ok(found)
}

/// Nothing where it is not ours, or gone.
async fn read_start(shelf: &Shelf<'_>, number: u64) -> Result<Option<StartDocument>, RecoveryError> {
    match shelf.document(ObjectKind::Start, &shelf.folder.start(number)).await {
        Ok(start) => Ok(Some(start)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What lies behind this process's start and is nobody's, so that it is not opened again.
#[derive(Default)]
pub(super) struct Strangers {
    /// Of the first page: by number, when it was written and how long it is.
    seen: BTreeMap<u64, (Timestamp, u64)>,
    /// Behind a page that is full: the first number that may be free.
    next: u64,
}

impl Strangers {
    /// A start that somebody else left behind a number. Whoever begins takes the first number that is free.
    async fn find_start(
        &mut self,
        shelf: &Shelf<'_>,
        behind: u64,
    ) -> Result<Option<(u64, StartDocument)>, RecoveryError> {
        let folder = shelf.folder.starts();
        let listed = shelf.store.list(&folder, &ListPage::after(shelf.folder.start(behind))).await;
        let listed = listed.map_err(|source| RecoveryError::List { folder, source })?;
        let named = listed
            .objects
            .iter()
            .filter_map(|object| Some((number_of(shelf, &object.path)?, (object.modified, object.length))));
        let named: BTreeMap<u64, (Timestamp, u64)> = named.collect();
        self.seen.retain(|number, seen| named.get(number) == Some(&*seen));
        let fresh: Vec<u64> =
            named.keys().copied().filter(|number| !self.seen.contains_key(number)).collect();
        let reads =
            stream::iter(fresh).map(|number| async move { (number, read_start(shelf, number).await) });
        let mut reads = std::pin::pin!(reads.buffered(READS_IN_FLIGHT));
        while let Some((number, read)) = reads.next().await {
            if let Some(start) = read? {
                return Ok(Some((number, start)));
            }
            tracing::warn!(path = %shelf.folder.start(number), "an object among the starts is not ours");
            self.seen.extend(named.get_key_value(&number).map(|(number, seen)| (*number, *seen)));
        }
        if listed.more { self.find_behind_page(shelf, behind).await } else { Ok(None) }
    }

    /// A flood: only the number that the next start would take is looked at, and what is taken passed once.
    async fn find_behind_page(
        &mut self,
        shelf: &Shelf<'_>,
        behind: u64,
    ) -> Result<Option<(u64, StartDocument)>, RecoveryError> {
        self.next = self.next.max(behind + 1);
        while self.seen.contains_key(&self.next) {
            self.next += 1;
        }
        for _ in 0..LOOKED_AT_MAX {
            match shelf.document(ObjectKind::Start, &shelf.folder.start(self.next)).await {
                Ok(start) => return Ok(Some((self.next, start))),
                // Free, or somebody writes it now.
                Err(RecoveryError::Fetch {
                    source: StoreError::NotFound { .. } | StoreError::Incomplete { .. },
                    ..
                }) => break,
                Err(error) if is_damage(&error) => self.next += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
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
        let keys = self.target.repository.keyring();
        for number in (self.start + 1..).take(TAKEN_MAX) {
            let path = self.target.folder.start(number);
            let bytes = documents::seal(keys.newest(), ObjectKind::Start, &path, &start)
                .map_err(|source| RecoveryError::Document { source })?;
            match self.target.store.create(&path, bytes).await {
                Ok(_) => {}
                // Somebody began at the same moment; if it was a stranger, the next number is free.
                Err(StoreError::AlreadyExists { .. }) => match read_start(&self.shelf(), number).await? {
                    Some(found) if found.nonce == start.nonce => {}
                    Some(StartDocument { instance, .. }) => {
                        return Err(self.diverged(Divergence::ForeignStart { number, instance }));
                    }
                    None => continue,
                },
                Err(source) => return Err(RecoveryError::Put { path, source }),
            }
            self.start = number;
            return Ok(());
        }
        Err(RecoveryError::Interrupted)
    }

    /// That nobody began to ship here since this process did.
    pub(super) async fn check_alone(&mut self) -> Result<(), RecoveryError> {
        match self.strangers.find_start(&self.target.shelf(), self.start).await? {
            Some((number, StartDocument { instance, .. })) => {
                Err(self.diverged(Divergence::ForeignStart { number, instance }))
            }
            None => Ok(()),
        }
    }
}
