//! A chain that is not this instance's alone is left: whichever step is the last of a try, what follows knows where.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keelson_model::{RepositoryId, Revision};
use keelson_repository::Unlock;
use keelson_testkit::{Calls, Failure, Fault, FaultyStore, Span};

use super::*;
use crate::layout::{ClusterFolder, Epoch};
use crate::locations::{Location, OpenedWith};
use crate::recovery::enable::disable;
use crate::recovery::moment::find_moment;
use crate::recovery::open::{list_repositories, open_chain};
use crate::recovery::ship::writers::Started;
use crate::recovery::ship::{self, Sender, Shipper, Target};
use crate::recovery::state::Enabled;
use crate::repositories;

/// More effects than leaving a chain has, with the first base of the next.
const TRIES_MAX: u64 = 100;

/// A site whose chain a copy of its volume ships to as well, and a store that fails on demand before its own.
struct Shared {
    site: Site,
    location: Location,
    store: Arc<FaultyStore>,
    /// Where it ships to.
    left: Enabled,
    /// The last that was shipped there, and a moment before.
    end: Revision,
    early: Timestamp,
}

impl Shared {
    async fn start() -> Result<Self> {
        let site = Site::start(Vec::new()).await?;
        let early = note(&site, "early")?;
        note(&site, "late")?;
        let end = ship::ship_now(&site.platform).await?.head.revision;
        let left = state::enabled(&site.platform)?.context("it is enabled")?;
        let location = site.platform.open_location("vault").await?;
        begin_elsewhere(&site.platform, &location, &left).await?;
        ship::stop(&site.platform).await;
        let store = Arc::new(FaultyStore::new(location.store.clone()));
        let location = Location { store: store.clone(), ..location };
        Ok(Self { site, location, store, left, end, early })
    }

    /// Starts to ship; the store fails from this effect on.
    async fn begin(&self, fails_from: u64) -> Result<(), RecoveryError> {
        self.store.heal();
        self.store.inject(Calls::Effects, Span::From(fails_from), Fault::Before(Failure::Broken));
        let begun = ship::begin(&self.site.platform, &self.location, &self.left).await;
        self.store.heal();
        begun
    }

    /// The catalog has gone on, and the new repository is not there.
    async fn leave_half(&self) -> Result<RepositoryId> {
        ensure!(self.begin(1).await.is_err(), "the store takes nothing");
        ensure!(self.site.generation()? == Generation(2), "it failed too early");
        ensure!(state::enabled(&self.site.platform)?.as_ref() == Some(&self.left), "it failed too late");
        Ok(state::moving(&self.site.platform)?.context("it is noted")?.repository)
    }

    async fn repositories(&self) -> Result<Vec<RepositoryId>> {
        Ok(list_repositories(&self.location.store, &self.site.platform.cluster_id).await?)
    }

    /// What is enabled names where the chain was left, and a moment before that is found on it.
    async fn ensure_followed_back(&self) -> Result<()> {
        let platform = &self.site.platform;
        let enabled = state::enabled(platform)?.context("it is enabled")?;
        let fork = enabled.parent.context("the new chain names the one that was left")?;
        ensure!(fork.repository == self.left.repository && fork.at.revision() == self.end, "{fork:?}");
        let (vault, mut chains) = (platform.vault(), Vec::new());
        for id in self.repositories().await? {
            let unlock = Unlock::Vault(&vault);
            chains.extend(open_chain(&self.location.store, &platform.cluster_id, id, unlock).await?);
        }
        ensure!(chains.len() == 2, "each has a base");
        let moment = find_moment(&chains, &[], self.early, platform.clock.now()).await?;
        ensure!(moment.open.chain.repository == self.left.repository && moment.committed_at == self.early);
        let moment = find_moment(&chains, &[], platform.clock.now(), platform.clock.now()).await?;
        ensure!(moment.open.chain.repository == enabled.repository, "the latest is in the new one");
        Ok(())
    }
}

/// Commits a row a minute later than whatever came before. When.
fn note(site: &Site, name: &str) -> Result<Timestamp> {
    site.clock.advance(Duration::from_secs(60));
    let row = mirrored(&RowKey::new(RowKind::new("notes"), "", name), &json!({}));
    site.platform.catalog()?.commit(&Actor::new("test"), vec![row])?;
    Ok(site.platform.clock.now())
}

/// What a copy of the volume does when it starts.
async fn begin_elsewhere(platform: &Platform, location: &Location, enabled: &Enabled) -> Result<()> {
    let (keys, store, id) = (platform.repository_keys(), location.store.clone(), enabled.repository);
    let folder = ClusterFolder::new(&platform.cluster_id).dr_repository(id);
    let (root, slots, cache) = (folder.repository(), keys.slot_ids(), &platform.index_cache);
    let repository =
        repositories::create_or_open(store.clone(), root, id, &keys, "vault", &slots, cache).await?;
    let (enabled, opened_with) = (enabled.clone(), OpenedWith::nothing());
    let target = Target { enabled, store, opened_with, folder, repository, epoch: Epoch(1) };
    let (sender, known) = (Sender::of(platform, id)?, state::started(platform, id)?);
    let (mut copy, found) = Shipper::take_up(target, &sender, &known).await?;
    copy.leave_start(&sender, &Started::next(id, found)).await?;
    Ok(())
}

/// The next try found the chain of another generation, and no point in common: no moment before it was left was found by
/// its time any more. Each try that had written something left a repository that nothing named.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_left_in_many_tries_keeps_its_moments_and_is_followed_by_one() -> Result<()> {
    let shared = Shared::start().await?;
    let platform = &shared.site.platform;
    let (mut tries, mut half_left, mut begun) = (0, 0, BTreeSet::new());
    while tries == 0 || state::enabled(platform)?.as_ref() == Some(&shared.left) {
        tries += 1;
        ensure!(tries < TRIES_MAX, "it goes on for ever");
        let tried = shared.begin(tries).await;
        let Some(moving) = state::moving(platform)? else { break };
        ensure!(tried.is_err() && shared.site.generation()? == moving.generation, "it is not left yet");
        half_left += 1;
        begun.insert(moving.repository);
    }
    // Its key, its slot and its format.
    ensure!(half_left >= 3 && begun.len() == 1, "{half_left} tries for {begun:?}");
    while let Err(error) = shared.begin(tries).await {
        tries += 1;
        ensure!(tries < TRIES_MAX, "no base is written: {error}");
    }
    ensure!(shared.site.generation()? == Generation(2), "it goes on once");
    let enabled = state::enabled(platform)?.context("it is enabled")?;
    ensure!(begun.contains(&enabled.repository), "{begun:?}");
    assert_eq!(shared.repositories().await?.len(), 2, "one follows the other");
    let moved = state::moved(platform)?.context("it is told")?;
    ensure!(moved.from == shared.left.repository && moved.why.contains("began to ship there"), "{moved:?}");
    shared.ensure_followed_back().await?;
    shared.site.end().await
}

/// What was to follow is never shipped to.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_enabled_anew_while_a_chain_is_half_left_leads_back_to_it() -> Result<()> {
    let shared = Shared::start().await?;
    let (platform, given_up) = (&shared.site.platform, shared.leave_half().await?);
    disable(platform).await?;
    enable(platform, "vault", DrMode::Legacy).await?;
    let enabled = state::enabled(platform)?.context("it is enabled")?;
    ensure!(![given_up, shared.left.repository].contains(&enabled.repository), "another chain takes it up");
    ensure!(state::moving(platform)?.is_none(), "nothing is left to do");
    shared.ensure_followed_back().await?;
    shared.site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_forgets_a_chain_that_its_predecessor_has_half_left() -> Result<()> {
    let shared = Shared::start().await?;
    shared.leave_half().await?;
    let restore = shared.site.ask_restore("whole").await?;
    shared.site.succeed(kinds::dr_restore(), restore).await?;
    ensure!(state::moving(&shared.site.platform)?.is_none(), "nothing is left to do");
    shared.site.end().await
}
