//! Ships the journal: sealed segments of contiguous entries, a second or two after they were committed, and a base
//! whenever the segments since the last one have grown past a quarter of it.
//!
//! Guarantees: only contiguous prefixes are published; a segment is created and never replaced; a chain that is not
//! this instance's alone is left for one of its own (`writers`, `move_on`). Segments go on across bases and none spans
//! one, so that every point since the first base can be reached.

pub(crate) mod base;
mod found;
pub(crate) mod move_on;
mod segments;
pub(crate) mod writers;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use keelson_catalog::{Database, Head, Scope};
use keelson_model::recovery::{DrMode, ShippedClass};
use keelson_model::{
    Chain, Classified, Clock, ClusterId, ErrorClass, Generation, InstanceId, LineageId, RepositoryId,
    Sequence,
};
use keelson_repository::{Locked, Open, Repository, Unlock};
use keelson_store::Store;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::found::{FoundChain, find_chain};
use self::writers::{Started, Strangers, check_ours, judge_starts, read_starts};
use crate::layout::{ClusterFolder, DrFolder, Epoch, Position};
use crate::locations::{Location, OpenedWith};
use crate::ownership;
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::documents::{BaseDocument, StateSummary};
use crate::recovery::read::Shelf;
use crate::recovery::run::locks;
use crate::recovery::state::{self, BasesLost, Covered, Enabled};

/// Entries of this long are shipped together.
const GATHER: Duration = Duration::from_secs(1);
/// After a failure, the next try waits this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Keys are rotated and protection is asked for while the platform runs: so often profile and Secret are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The catalog that is shipped, its key as a base carries it, and whose it is.
pub(crate) struct Sender {
    pub catalog: Database,
    pub clock: Arc<dyn Clock>,
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub lineage: LineageId,
    pub wrapped_key: Vec<u8>,
    /// The number of the vault key that wraps it.
    pub vault_key: u32,
}

impl Sender {
    pub(crate) fn of(platform: &Platform, repository: RepositoryId) -> Result<Self, RecoveryError> {
        let away = |source| RecoveryError::Away { source };
        let (vault, identity) = (platform.vault(), platform.identity());
        let context = catalog_key_context(repository);
        let wrapped_key =
            platform.with_catalog_key(|key| key.wrap(vault.newest(), &context)).map_err(away)?;
        Ok(Self {
            catalog: platform.catalog().map_err(away)?,
            clock: platform.clock.clone(),
            cluster: platform.cluster_id.clone(),
            instance: identity.instance,
            lineage: identity.lineage,
            wrapped_key,
            vault_key: vault.newest().number(),
        })
    }
}

/// Where a chain goes.
pub(crate) struct Target {
    pub enabled: Enabled,
    pub store: Arc<dyn Store>,
    /// What the store was opened with.
    pub opened_with: OpenedWith,
    pub folder: DrFolder,
    pub repository: Repository<Open>,
    pub epoch: Epoch,
}

/// One writer of one chain.
pub(crate) struct Shipper {
    target: Target,
    generation: Generation,
    /// The last entry that lies in the store.
    shipped: Sequence,
    /// Entries up to here are shipped with the classes of the mode before: a base of that mode leads to them.
    before: Option<(Sequence, Scope)>,
    /// The newest base of this generation.
    pub base: Option<base::Newest>,
    /// The number of this process's own start; before it is written, that of the last one before it.
    start: u64,
    strangers: Strangers,
    /// Why a chain that was begun has no base that can be used, until a new one is written.
    lost: Option<String>,
    /// From then on the store may have been opened with what its profile and its Secret do not say any more.
    look_at: Instant,
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
    // The chain may have moved on while the caller waited.
    let enabled = state::enabled(platform)?.unwrap_or_else(|| enabled.clone());
    let running = slot.as_ref().is_some_and(|shipper| {
        let target = &shipper.target.enabled;
        let same_store = shipper.target.opened_with == location.opened_with;
        same_store && target.repository == enabled.repository && target.mode == enabled.mode
    });
    if running {
        return Ok(());
    }
    *slot = None;
    let shipper = match start(platform, location, &enabled).await {
        Err(RecoveryError::Diverged { repository: _, source }) => {
            let moved = move_on::move_on(platform, location, &enabled, &source).await?;
            start(platform, location, &moved).await?
        }
        started => started?,
    };
    *slot = Some(shipper);
    Ok(())
}

async fn start(
    platform: &Platform,
    location: &Location,
    enabled: &Enabled,
) -> Result<Shipper, RecoveryError> {
    let target = Target::open(platform, location, enabled).await?;
    locks::note_opened(platform, enabled.repository, target.store.capabilities().retention).await?;
    let sender = Sender::of(platform, enabled.repository)?;
    let known = state::started(platform, enabled.repository)?;
    let (mut shipper, found) = Shipper::take_up(target, &sender, &known).await?;
    let started = Started::next(enabled.repository, found);
    state::write_started(platform, &started).await?;
    shipper.leave_start(&sender, &started).await?;
    // First told: the next start finds the new base, and would not know.
    if let Some(why) = shipper.lost.take() {
        tracing::error!(repository = %enabled.repository, why, "no base can be used; a new one is written");
        let lost = BasesLost { repository: enabled.repository, at: platform.clock.now(), why };
        state::write_bases_lost(platform, &lost).await?;
    }
    shipper.ship(&sender).await?;
    if let Some(covered) = shipper.covered() {
        state::write_covered(&platform.instance, &covered, platform.clock.now()).await?;
    }
    Ok(shipper)
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
            Ok(()) => {
                note_trouble(&platform, None);
                GATHER
            }
            Err(error) => {
                note_trouble(&platform, Some(Chain(&error).to_string()));
                tracing::warn!(code = error.code(), cause = %Chain(&error), "the journal is not shipped; trying again");
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

/// What the status tells. The first failure in a row says since when.
fn note_trouble(platform: &Platform, why: Option<String>) {
    let mut trouble = platform.shipping_trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let since = trouble.take().map_or_else(|| platform.clock.now(), |(since, _)| since);
    *trouble = why.map(|why| (since, why));
}

async fn ship_once(platform: &Platform) -> Result<(), RecoveryError> {
    let Some(enabled) = state::enabled(platform)? else { return Ok(()) };
    require_newest_key(platform, &enabled)?;
    // Who was found to own the backups meanwhile is told when the chain is opened again.
    if is_fenced(platform, &enabled)? {
        stop(platform).await;
    }
    follow(platform, &enabled).await?;
    if platform.shipper.lock().await.is_none() {
        let location = platform
            .open_location(&enabled.profile)
            .await
            .map_err(|source| RecoveryError::Location { source })?;
        begin(platform, &location, &enabled).await?;
    }
    match ship_now(platform).await {
        Ok(reached) => state::clear_dropped(platform, reached.base.at.sequence.0).await,
        Err(RecoveryError::NotEnabled) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens the location anew where its profile or its Secret has changed; through the same checks as after a start of the
/// process, and behind a start of its own. While they cannot be read, shipping goes on with what they have said. What
/// they say and cannot be opened is not shipped to: it would go without the protection that is asked for. In another
/// place nothing of this chain lies: whoever enables begins one there.
async fn follow(platform: &Platform, enabled: &Enabled) -> Result<(), RecoveryError> {
    let Some(opened_with) = due_for_a_look(platform).await else { return Ok(()) };
    match platform.look_at_location(&enabled.profile).await {
        Ok(now) if now == opened_with || now.place() != enabled.place => {}
        Ok(_) => {
            tracing::info!(
                profile = enabled.profile,
                "profile or Secret have changed; opening the location anew"
            );
            let location = platform.open_location(&enabled.profile).await;
            let location = location.map_err(|source| RecoveryError::Location { source })?;
            return begin(platform, &location, enabled).await;
        }
        Err(error) => {
            let profile = enabled.profile.as_str();
            tracing::warn!(profile, cause = %Chain(&error), "the profile cannot be looked at; shipping as before");
        }
    }
    if let Some(shipper) = platform.shipper.lock().await.as_mut() {
        shipper.look_at = Instant::now() + LOOK_EVERY;
    }
    Ok(())
}

/// What the store was opened with, if that is to be compared now.
async fn due_for_a_look(platform: &Platform) -> Option<OpenedWith> {
    let slot = platform.shipper.lock().await;
    let due = slot.as_ref().filter(|shipper| shipper.look_at <= Instant::now())?;
    Some(due.target.opened_with.clone())
}

fn is_fenced(platform: &Platform, enabled: &Enabled) -> Result<bool, RecoveryError> {
    let ownership =
        ownership::read(&platform.instance).map_err(|source| RecoveryError::Ownership { source })?;
    let held = ownership.held.get(&ownership::held_key(&enabled.place, &platform.cluster_id));
    Ok(held.is_some_and(|held| held.fenced_by.is_some()))
}

/// What an old passphrase opens gets nothing more; enabling, which is tried again, makes the new repository.
fn require_newest_key(platform: &Platform, enabled: &Enabled) -> Result<(), RecoveryError> {
    if enabled.vault_key == platform.vault().newest().number() {
        Ok(())
    } else {
        Err(RecoveryError::PassphraseChanged)
    }
}

/// What a chain has reached, apart from its shipper, which goes on.
pub(crate) struct Reached {
    /// It lies in the store, and perhaps more.
    pub head: Head,
    pub at: Position,
    pub mode: DrMode,
    pub base: BaseDocument,
    pub store: Arc<dyn Store>,
    pub folder: DrFolder,
    pub repository: Repository<Open>,
}

impl Reached {
    pub(crate) fn shelf(&self) -> Shelf<'_> {
        Shelf { store: &*self.store, repository: &self.repository, folder: &self.folder }
    }
}

/// Ships to the head. A chain that turns out not to be this instance's alone is left for a new one.
pub(crate) async fn ship_now(platform: &Platform) -> Result<Reached, RecoveryError> {
    let mut slot = platform.shipper.lock().await;
    let shipper = slot.as_mut().ok_or(RecoveryError::NotEnabled)?;
    require_newest_key(platform, &shipper.target.enabled)?;
    let sender = Sender::of(platform, shipper.target.enabled.repository)?;
    let source = match shipper.ship(&sender).await {
        Ok(head) => return shipper.reached(head),
        Err(RecoveryError::Diverged { repository: _, source }) => source,
        Err(error) => {
            if error.class() == ErrorClass::Denied {
                shipper.look_at = Instant::now();
            }
            return Err(error);
        }
    };
    *slot = None;
    let enabled = state::enabled(platform)?.ok_or(RecoveryError::NotEnabled)?;
    let location = platform.open_location(&enabled.profile).await;
    let location = location.map_err(|source| RecoveryError::Location { source })?;
    let moved = move_on::move_on(platform, &location, &enabled, &source).await?;
    let shipper = slot.insert(start(platform, &location, &moved).await?);
    let head = shipper.ship(&Sender::of(platform, moved.repository)?).await?;
    shipper.reached(head)
}

impl Target {
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
        let (store, opened_with) = (location.store.clone(), location.opened_with.clone());
        Ok(Self { enabled: enabled.clone(), store, opened_with, folder, repository, epoch })
    }

    pub(crate) fn shelf(&self) -> Shelf<'_> {
        Shelf { store: &*self.store, repository: &self.repository, folder: &self.folder }
    }
}

impl Shipper {
    /// Takes up a chain where it ends in the store, which must be a beginning of the catalog's and nobody else's.
    /// Answers with the last start of this instance there, too.
    pub(crate) async fn take_up(
        target: Target,
        sender: &Sender,
        known: &Started,
    ) -> Result<(Self, Option<u64>), RecoveryError> {
        let starts = read_starts(&target.shelf(), known.found).await?;
        let generation = sender.catalog.generation();
        let found = find_chain(&target, sender).await?;
        let FoundChain { base, end, shipped, before, lost } = found;
        let (start, strangers) = (starts.taken_through, Strangers::default());
        let look_at = Instant::now() + LOOK_EVERY;
        let shipper = Self { target, generation, shipped, before, base, start, strangers, lost, look_at };
        let head = Position::of(shipper.target.epoch, sender.catalog.head().revision);
        if let Some(end) = &end {
            check_ours(&sender.catalog, end, head).await?.map_err(|source| shipper.diverged(source))?;
        }
        let found = judge_starts(known, &starts.ours).map_err(|source| shipper.diverged(source))?;
        Ok((shipper, found))
    }

    pub(crate) fn position(&self, sequence: Sequence) -> Position {
        Position { epoch: self.target.epoch, generation: self.generation, sequence }
    }

    pub(crate) fn shipped(&self) -> Sequence {
        self.shipped
    }

    /// Entries up to a base that were not shipped one by one yet are kept until they are.
    pub(crate) fn covered(&self) -> Option<Covered> {
        let base = self.base.as_ref()?.document.at.sequence;
        Some(Covered {
            repository: self.target.repository.id(),
            generation: self.generation,
            by_base: base.min(self.shipped),
            shipped: self.shipped,
        })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    fn shelf(&self) -> Shelf<'_> {
        self.target.shelf()
    }

    fn reached(&self, head: Head) -> Result<Reached, RecoveryError> {
        let base = self.base.as_ref().ok_or(RecoveryError::NotEnabled)?;
        Ok(Reached {
            head,
            at: self.position(head.revision.sequence()),
            mode: self.target.enabled.mode,
            base: base.document.clone(),
            store: self.target.store.clone(),
            folder: self.target.folder.clone(),
            repository: self.target.repository.clone(),
        })
    }

    /// Ships everything up to the head, behind a base where one is due. Returns the head that was reached.
    pub(crate) async fn ship(&mut self, sender: &Sender) -> Result<Head, RecoveryError> {
        if sender.catalog.generation() != self.generation {
            return Err(RecoveryError::Interrupted);
        }
        let head = sender.catalog.head();
        let mode = self.target.enabled.mode;
        let ready = self.base.as_ref().is_some_and(|base| base.document.mode == mode);
        if ready && self.shipped >= head.revision.sequence() {
            return Ok(head);
        }
        self.check_alone().await?;
        if !ready {
            self.begin_mode(sender).await?;
        } else if self.base.as_ref().is_some_and(base::Newest::is_outgrown) {
            self.write_base(sender).await?;
        }
        let head = sender.catalog.head();
        self.ship_segments(sender, head.revision.sequence()).await?;
        Ok(head)
    }

    /// Writes the first base of a mode. What the old mode's base leads to is finished in that mode, so that no point
    /// between the two is lost.
    async fn begin_mode(&mut self, sender: &Sender) -> Result<(), RecoveryError> {
        let Some(old) = self.base.as_ref().map(|base| scope_of(base.document.mode)) else {
            return self.write_base(sender).await;
        };
        let through = sender.catalog.head().revision.sequence();
        self.before = Some((through, old));
        self.ship_segments(sender, through).await?;
        self.write_base(sender).await?;
        self.before = self.base.as_ref().map(|base| (base.document.at.sequence, old));
        Ok(())
    }
}
