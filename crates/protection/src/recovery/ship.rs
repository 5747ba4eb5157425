//! Ships the journal: sealed segments of contiguous entries, a second or two after they were committed, and a base
//! whenever the segments since the last one have grown past a quarter of it.
//!
//! Guarantees: only contiguous prefixes are published; a segment is created and never replaced, so a second writer of
//! the chain is noticed. Limits: one segment holds [`SEGMENT_BYTES_MAX`] of entries.

pub(crate) mod base;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keelson_catalog::{Database, Head, Scope, ShipError};
use keelson_crypto::{ObjectKind, Sealer, random_bytes};
use keelson_model::recovery::{DrMode, ShippedClass};
use keelson_model::{Chain, Generation, RepositoryId, Sequence};
use keelson_repository::{Locked, Open, Repository, Unlock};
use keelson_store::{Store, StoreError, StoreExt};
use tokio_util::sync::CancellationToken;

use crate::documents;
use crate::layout::{ClusterFolder, DrFolder, Epoch, Position};
use crate::locations::Location;
use crate::ownership;
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::documents::{DOCUMENT_VERSION, SegmentDirectory, StartDocument, StateSummary};
use crate::recovery::open::{positions, read_document, segment_end};
use crate::recovery::state::{self, Enabled};

const SEGMENT_BYTES_MAX: usize = 1 << 20;
/// Entries of this long are shipped together.
const GATHER: Duration = Duration::from_secs(1);
/// After a failure, the next try waits this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// One writer of one chain.
pub(crate) struct Shipper {
    enabled: Enabled,
    store: Arc<dyn Store>,
    folder: DrFolder,
    pub repository: Repository<Open>,
    epoch: Epoch,
    generation: Generation,
    /// The last entry that lies in the store.
    shipped: Sequence,
    /// The newest base of this generation.
    pub base: Option<base::Newest>,
}

/// Which classes a mode ships.
pub(crate) fn scope_of(mode: DrMode) -> Scope {
    if mode.classes().contains(&ShippedClass::LocalAndHistory) {
        Scope::ConfigurationAndLocal
    } else {
        Scope::ConfigurationOnly
    }
}

/// Binds a wrapped catalog key to the repository whose base holds it.
pub(crate) fn catalog_key_context(repository: RepositoryId) -> Vec<u8> {
    repository.as_bytes().to_vec()
}

/// A head in the numbers that documents carry. Only shipped classes are in.
pub(crate) fn summary_of(
    head: &Head,
    scope: Option<Scope>,
    counts: std::collections::BTreeMap<String, u64>,
) -> StateSummary {
    let classes = keelson_catalog::Class::ALL;
    let shipped = classes.into_iter().filter(|class| scope.is_some_and(|scope| scope.covers(*class)));
    StateSummary {
        chain: hex::encode(head.chain),
        digests: shipped.map(|class| (class.to_string(), head.digests.of(class).to_string())).collect(),
        counts,
    }
}

/// Starts to ship to what was enabled: notices another writer, leaves a start, and sees to a base.
pub(crate) async fn begin(
    platform: &Platform,
    location: &Location,
    enabled: &Enabled,
) -> Result<(), RecoveryError> {
    let mut slot = platform.shipper.lock().await;
    let running = slot.as_ref().is_some_and(|shipper| {
        shipper.enabled.repository == enabled.repository && shipper.enabled.mode == enabled.mode
    });
    if running {
        return Ok(());
    }
    let mut shipper = Shipper::open(platform, location, enabled).await?;
    shipper.leave_start(platform).await?;
    shipper.ship(platform).await?;
    *slot = Some(shipper);
    Ok(())
}

pub(crate) async fn stop(platform: &Platform) {
    platform.shipper.lock().await.take();
}

/// Ships until stopped. Takes up what was enabled before a restart.
pub(crate) async fn run_shipping(platform: Arc<Platform>, stop: CancellationToken) {
    let mut commits = platform.commits();
    loop {
        commits.borrow_and_update();
        let pause = match ship_once(&platform).await {
            Ok(()) => GATHER,
            Err(error) => {
                tracing::warn!(code = keelson_model::Classified::code(&error), cause = %Chain(&error), "the journal is not shipped; trying again");
                RETRY_AFTER
            }
        };
        tokio::select! { () = tokio::time::sleep(pause) => (), () = stop.cancelled() => break }
        tokio::select! { _ = commits.changed() => (), () = stop.cancelled() => break, () = tokio::time::sleep(RETRY_AFTER) => () }
    }
    // What was committed a moment ago goes out before the process does.
    if let Err(error) = ship_once(&platform).await {
        tracing::warn!(cause = %Chain(&error), "the last entries were not shipped before the end");
    }
}

async fn ship_once(platform: &Platform) -> Result<(), RecoveryError> {
    let Some(enabled) = state::enabled(platform)? else { return Ok(()) };
    let idle = platform.shipper.lock().await.is_none();
    if idle {
        let location = platform
            .open_location(&enabled.profile)
            .await
            .map_err(|source| RecoveryError::Location { source })?;
        return begin(platform, &location, &enabled).await;
    }
    match platform.shipper.lock().await.as_mut() {
        Some(shipper) => shipper.ship(platform).await.map(drop),
        None => Ok(()),
    }
}

impl Shipper {
    async fn open(
        platform: &Platform,
        location: &Location,
        enabled: &Enabled,
    ) -> Result<Self, RecoveryError> {
        let folder = ClusterFolder::new(&platform.cluster_id).dr_repository(enabled.repository);
        let locked = Repository::<Locked>::at(location.store.clone(), folder.repository().clone());
        let locked = locked.map_err(|source| RecoveryError::Root { source })?;
        let locked = locked.indexed_in(&platform.index_cache);
        let repository = locked.open(Unlock::Vault(&platform.vault())).await.map_err(|source| {
            let cluster = platform.cluster_id.clone();
            RecoveryError::Open { cluster, repository: enabled.repository, source }
        })?;
        let epoch = match ownership::prove(platform, location, &platform.cluster_id).await {
            Ok(epoch) => epoch,
            // Beside a source of the same cluster id: below every epoch that anybody holds.
            Err(ownership::OwnershipError::Pending { .. }) => Epoch(0),
            Err(source) => return Err(RecoveryError::Ownership { source }),
        };
        let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
        let generation = catalog.generation();
        let store = location.store.clone();
        let mut shipper = Self {
            enabled: enabled.clone(),
            store,
            folder,
            repository,
            epoch,
            generation,
            shipped: Sequence(0),
            base: None,
        };
        shipper.find_end(&catalog).await?;
        Ok(shipper)
    }

    /// Where the chain in the store ends, and that it is a part of ours.
    async fn find_end(&mut self, catalog: &Database) -> Result<(), RecoveryError> {
        let mine = |at: &&Position| at.generation == self.generation;
        let bases = positions(&*self.store, &self.folder.bases()).await?;
        let segments = positions(&*self.store, &self.folder.segments()).await?;
        if let Some(at) = bases.iter().rfind(mine) {
            let path = self.folder.base(*at);
            let document = read_document(&*self.store, &self.repository, ObjectKind::Base, &path).await?;
            self.base = Some(base::Newest::from_document(&document));
            self.shipped = at.sequence;
        }
        if let Some(last) = segments.iter().rfind(mine) {
            let end = segment_end(&*self.store, &self.repository, &self.folder, *last).await?;
            self.shipped = self.shipped.max(end.sequence);
        }
        let head = catalog.head().revision;
        if self.shipped > head.sequence() {
            let stored = self.position(self.shipped);
            return Err(RecoveryError::ChainAhead { stored, ours: Position::of(self.epoch, head) });
        }
        Ok(())
    }

    pub(crate) fn position(&self, sequence: Sequence) -> Position {
        Position { epoch: self.epoch, generation: self.generation, sequence }
    }

    pub(crate) fn shipped(&self) -> Sequence {
        self.shipped
    }

    pub(crate) fn mode(&self) -> DrMode {
        self.enabled.mode
    }

    pub(crate) fn folder(&self) -> &DrFolder {
        &self.folder
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Says in the store that this instance writes from here on.
    async fn leave_start(&self, platform: &Platform) -> Result<(), RecoveryError> {
        let folder = self.folder.starts();
        let failed = |source| RecoveryError::List { folder: folder.clone(), source };
        let mut number = self.store.list_all(&folder).await.map_err(failed)?.len() as u64 + 1;
        let nonce: [u8; 16] = random_bytes();
        let start = StartDocument {
            version: DOCUMENT_VERSION,
            instance: platform.identity().instance,
            nonce: hex::encode(nonce),
            head: self.position(self.shipped),
            started_at: platform.clock.now(),
        };
        loop {
            let path = self.folder.start(number);
            let bytes = documents::seal(self.repository.keyring().newest(), ObjectKind::Start, &path, &start)
                .map_err(|source| RecoveryError::Document { source })?;
            match self.store.create(&path, bytes).await {
                Ok(_) => return Ok(()),
                Err(StoreError::AlreadyExists { .. }) => number += 1,
                Err(source) => return Err(RecoveryError::Put { path, source }),
            }
        }
    }

    /// Ships everything up to the head, and a base where one is due. Returns the head that was reached.
    pub(crate) async fn ship(&mut self, platform: &Platform) -> Result<Head, RecoveryError> {
        let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
        if catalog.generation() != self.generation {
            return Err(RecoveryError::Interrupted);
        }
        if self.base.is_none() {
            self.write_base(platform, &catalog).await?;
        }
        let head = catalog.head();
        while self.shipped < head.revision.sequence() {
            match self.next_segment(&catalog).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(RecoveryError::Ship { source: ShipError::BaseNeeded { .. } }) => {
                    self.write_base(platform, &catalog).await?;
                }
                Err(error) => return Err(error),
            }
        }
        if self.base.as_ref().is_some_and(base::Newest::is_outgrown) {
            self.write_base(platform, &catalog).await?;
        }
        Ok(head)
    }

    /// Ships one segment of what comes next.
    async fn next_segment(&mut self, catalog: &Database) -> Result<bool, RecoveryError> {
        let scope = scope_of(self.enabled.mode);
        let (after, reader) = (self.shipped, catalog.clone());
        let segment =
            tokio::task::spawn_blocking(move || reader.segment_after(after, scope, SEGMENT_BYTES_MAX));
        let segment = segment
            .await
            .map_err(|_| RecoveryError::Interrupted)?
            .map_err(|source| RecoveryError::Ship { source })?;
        let Some(segment) = segment else { return Ok(false) };
        let first = self.position(segment.first.sequence());
        let last = self.position(segment.last.sequence());
        let bytes = self.seal_segment(first, last, &segment.bytes)?;
        let length = bytes.len() as u64;
        let path = self.folder.segment(first);
        match self.store.create(&path, bytes).await {
            Ok(_) => self.shipped = last.sequence,
            // An earlier try arrived although its answer did not, perhaps with fewer entries: go on after it.
            Err(StoreError::AlreadyExists { .. }) => {
                let end = segment_end(&*self.store, &self.repository, &self.folder, first).await?;
                self.shipped = end.sequence;
            }
            Err(source) => return Err(RecoveryError::Put { path, source }),
        }
        if let Some(base) = &mut self.base {
            base.grow(length);
        }
        Ok(true)
    }

    fn seal_segment(&self, first: Position, last: Position, entries: &[u8]) -> Result<Bytes, RecoveryError> {
        let path = self.folder.segment(first);
        let sealing = || {
            let mut sealer = Sealer::new(self.repository.keyring().newest(), ObjectKind::Segment);
            sealer.part(entries)?;
            let directory = SegmentDirectory { version: DOCUMENT_VERSION, first, last };
            sealer.finish(&serde_json::to_vec(&directory).expect("plain data"))
        };
        let sealed = sealing().map_err(|source| RecoveryError::Document {
            source: documents::DocumentError::Seal { path, source },
        })?;
        Ok(sealed.bytes)
    }
}
