//! Real catalogs shipped to a store in memory, which fails on demand; what comes back is rebuilt for real.

use std::path::Path;

use bytes::Bytes;
use keelson_catalog::{Change, Class, DataDir, Expect, Row, RowKind};
use keelson_crypto::{CatalogKey, VaultKey, VaultKeyring, random_bytes};
use keelson_model::ManualClock;
use keelson_repository::IndexCache;
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{Operation, StoreExt, StorePath};
use keelson_testkit::{Calls, Failure, Fault, FaultyStore, Span};

use super::*;
use crate::identity::RepositoryKeys;
use crate::locations::{OpenedWith, Place};
use crate::recovery::chain::{ShippedChain, latest_chain};
use crate::recovery::execute::rebuild;
use crate::recovery::open::{OpenChain, open_chain};
use crate::recovery::ship::writers::Divergence;
use crate::repositories;

const LEGACY: DrMode = DrMode::Legacy;
const QUICK: DrMode = DrMode::QuickNoSnapshot;

mod damage;
mod known_head;
mod locks;
mod moments;
mod relatives;
mod retention;
mod starts;

/// One installation and the location that it ships to. A copy of its volume shares everything but the volume.
struct World {
    _directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    key: Arc<CatalogKey>,
    vault: VaultKeyring,
    indexes: IndexCache,
    memory: MemoryStore,
    store: Arc<FaultyStore>,
    cluster: ClusterId,
    repository: RepositoryId,
    instance: InstanceId,
    lineage: LineageId,
    catalog: Database,
    data: DataDir,
}

fn cluster() -> ClusterId {
    "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".parse().unwrap()
}

impl World {
    fn new() -> Self {
        Self::on(MemoryStore::new())
    }

    fn on(memory: MemoryStore) -> Self {
        let clock = Arc::new(ManualClock::new("2026-03-04T05:06:07Z".parse().unwrap()));
        let memory = memory.with_clock(clock.clone());
        let directory = tempfile::tempdir().unwrap();
        let key = Arc::new(CatalogKey::generate());
        let data = DataDir::open(&directory.path().join("data"), clock.clone()).unwrap();
        let catalog = data.create_first(&key, b"wrapped").unwrap();
        Self {
            store: Arc::new(FaultyStore::new(Arc::new(memory.clone()))),
            _directory: directory,
            clock,
            key,
            vault: VaultKeyring::new(VaultKey::generate(VaultKey::FIRST)),
            indexes: IndexCache::temporary(),
            memory,
            cluster: cluster(),
            repository: RepositoryId::from_bytes(random_bytes()),
            instance: InstanceId::from_bytes(random_bytes()),
            lineage: LineageId::from_bytes(random_bytes()),
            catalog,
            data,
        }
    }

    /// The volume as it is now, in another place.
    fn copy_volume(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        copy(self.data.path(), &directory.path().join("data"));
        let data = DataDir::open(&directory.path().join("data"), self.clock.clone()).unwrap();
        let catalog = data.open_current(&self.key).unwrap();
        Self {
            _directory: directory,
            clock: self.clock.clone(),
            key: self.key.clone(),
            vault: self.vault.clone(),
            indexes: self.indexes.clone(),
            memory: self.memory.clone(),
            store: self.store.clone(),
            cluster: self.cluster.clone(),
            catalog,
            data,
            ..*self
        }
    }

    fn sender(&self) -> Sender {
        Sender {
            catalog: self.catalog.clone(),
            clock: self.clock.clone(),
            cluster: self.cluster.clone(),
            instance: self.instance,
            lineage: self.lineage,
            wrapped_key: self.key.wrap(self.vault.newest(), &catalog_key_context(self.repository)),
            vault_key: self.vault.newest().number(),
        }
    }

    fn location(&self) -> Location {
        let place = Place::FileStore { claim: "share".to_owned(), path: String::new() };
        let opened_with = OpenedWith::nothing();
        Location { profile: "vault".to_owned(), store: self.store.clone(), place, opened_with }
    }

    async fn target(&self, mode: DrMode, epoch: u32) -> Target {
        let folder = self.folder();
        let keys = RepositoryKeys { vault: self.vault.clone(), slots: Vec::new() };
        let repository = repositories::create_or_open(
            self.store.clone(),
            folder.repository(),
            self.repository,
            &keys,
            "vault",
            &[],
            &self.indexes,
        );
        let enabled = Enabled {
            profile: "vault".to_owned(),
            place: self.location().place,
            repository: self.repository,
            mode,
            enabled_at: self.clock.now(),
            vault_key: self.vault.newest().number(),
            slots: Vec::new(),
            parent: None,
        };
        let repository = repository.await.unwrap();
        let (store, opened_with) = (self.store.clone(), OpenedWith::nothing());
        Target { enabled, store, opened_with, folder, repository, epoch: Epoch(epoch) }
    }

    /// What a process does when it starts.
    async fn take_up(&self, mode: DrMode, known: &mut Started) -> Result<Shipper, RecoveryError> {
        let (mut shipper, found) =
            Shipper::take_up(self.target(mode, 1).await, &self.sender(), known).await?;
        *known = Started::next(self.repository, found);
        shipper.leave_start(&self.sender(), known).await?;
        Ok(shipper)
    }

    async fn begin(&self, mode: DrMode) -> (Shipper, Started) {
        let mut known = Started::never(self.repository);
        let mut shipper = self.take_up(mode, &mut known).await.unwrap();
        shipper.ship(&self.sender()).await.unwrap();
        (shipper, known)
    }

    /// One entry; a row of each class, a second later than the one before.
    fn commit(&self, name: &str) -> Head {
        self.clock.advance(Duration::from_secs(1));
        let row = |class: Class, body: String| Row {
            kind: RowKind::new(format!("rows-of-{class}")),
            namespace: String::new(),
            name: name.to_owned(),
            uid: String::new(),
            labels: std::collections::BTreeMap::new(),
            created: self.clock.now(),
            class,
            body: body.into_bytes(),
        };
        let changes = [Class::Configuration, Class::Local].map(|class| Change::Put {
            row: row(class, format!("{name} {}", self.clock.now())),
            expect: Expect::Any,
        });
        self.catalog.commit(&keelson_catalog::Actor::new("test"), changes.into()).unwrap();
        self.catalog.head()
    }

    fn commits(&self, count: usize) -> Vec<Head> {
        (0..count).map(|number| self.commit(&number.to_string())).collect()
    }

    async fn ship(&self, shipper: &mut Shipper) -> Result<Head, RecoveryError> {
        shipper.ship(&self.sender()).await
    }

    async fn open(&self) -> OpenChain {
        let unlock = Unlock::Vault(&self.vault);
        open_chain(&self.location().store, &self.cluster, self.repository, unlock).await.unwrap().unwrap()
    }

    /// The chain's digest at a point, after it was rebuilt from what lies in the store.
    async fn rebuild(&self, open: &OpenChain, through: Sequence) -> Result<String, RecoveryError> {
        let generation = self.catalog.generation();
        let (replay, base) = open.plan_replay(generation, through, &mut Vec::new()).await?;
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(directory.path(), self.clock.clone()).unwrap();
        let rebuild = data.begin_recovery(Generation(generation.0 + 1), &self.key, b"wrapped").unwrap();
        let indexed = open.repository.load_index().await.unwrap();
        let reader = indexed.begin_reading_unannounced().await.unwrap();
        let (_, head) = rebuild::replay(rebuild, open, &reader, &base, &replay).await?;
        assert_eq!(head.revision.sequence(), through);
        Ok(hex::encode(head.chain))
    }

    async fn assert_reachable(&self, heads: &[Head]) {
        let open = self.open().await;
        for head in heads {
            let rebuilt = self.rebuild(&open, head.revision.sequence()).await.unwrap();
            assert_eq!(rebuilt, hex::encode(head.chain), "{:?}", head.revision);
        }
    }

    /// The names below a folder of the chain.
    async fn names(&self, folder: &StorePath) -> Vec<String> {
        let objects = self.memory.list_all(folder).await.unwrap();
        objects.iter().map(|object| object.path.name().to_owned()).collect()
    }

    fn folder(&self) -> DrFolder {
        ClusterFolder::new(&self.cluster).dr_repository(self.repository)
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

fn divergence<T>(result: Result<T, RecoveryError>) -> Divergence {
    match result {
        Err(RecoveryError::Diverged { source, .. }) => source,
        Err(error) => panic!("{}", Chain(&error)),
        Ok(_) => panic!("the chain was taken for our own"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_can_be_reached_from_the_first_base_on() {
    let world = World::new();
    let first = world.commits(3);
    let (mut shipper, _) = world.begin(LEGACY).await;
    let mut heads = vec![first[2]];
    for _ in 0..3 {
        heads.extend(world.commits(4));
        world.ship(&mut shipper).await.unwrap();
    }
    world.assert_reachable(&heads).await;
    let open = world.open().await;
    assert!(open.plan_replay(Generation(1), Sequence(2), &mut Vec::new()).await.is_err(), "before the base");
    assert!(open.plan_replay(Generation(1), Sequence(16), &mut Vec::new()).await.is_err(), "not committed");
}

/// It errored until as many local commits had passed, and then shipped an entry that did not follow.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_was_restored_to_an_older_state_is_noticed_before_anything_is_shipped() {
    let world = World::new();
    let (mut shipper, known) = world.begin(LEGACY).await;
    world.commits(90);
    world.ship(&mut shipper).await.unwrap();
    let older = world.copy_volume();
    let common = world.catalog.head();
    world.commits(10);
    world.ship(&mut shipper).await.unwrap();
    drop(shipper);
    let before = world.names(&world.folder().segments()).await;

    let taken = older.take_up(LEGACY, &mut known.clone()).await;
    assert!(matches!(divergence(taken), Divergence::Ahead { .. }));
    older.commits(15);
    let taken = older.take_up(LEGACY, &mut known.clone()).await;
    assert!(matches!(divergence(taken), Divergence::Differs { .. }));
    assert_eq!(world.names(&world.folder().segments()).await, before);
    assert_eq!(world.names(&world.folder().starts()).await.len(), 1);

    let open = older.open().await;
    let fork = move_on::common_point(&open.shelf(), &older.catalog).await.unwrap().unwrap();
    assert_eq!(fork.revision(), common.revision);
}

/// Both had the same identity, and one adopted the other's entries for its own.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_volume_and_its_copy_the_one_that_finds_the_other_leaves() {
    let world = World::new();
    let (mut original, mut known) = world.begin(LEGACY).await;
    world.commits(5);
    world.ship(&mut original).await.unwrap();
    let clone = world.copy_volume();
    let mut copied = clone.take_up(LEGACY, &mut known.clone()).await.unwrap();
    world.commits(2);
    clone.commits(1);
    clone.ship(&mut copied).await.unwrap();
    let before = world.names(&world.folder().segments()).await;
    assert!(matches!(
        divergence(world.ship(&mut original).await),
        Divergence::ForeignStart { number: 2, .. }
    ));
    assert!(matches!(divergence(world.take_up(LEGACY, &mut known).await), Divergence::Differs { .. }));
    assert_eq!(world.names(&world.folder().segments()).await, before, "nothing was shipped meanwhile");
    clone.commits(1);
    clone.ship(&mut copied).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_knows_its_own_starts_again() {
    let world = World::new();
    let (mut shipper, mut known) = world.begin(LEGACY).await;
    for starts in 2..5 {
        world.commits(2);
        world.ship(&mut shipper).await.unwrap();
        shipper = world.take_up(LEGACY, &mut known).await.unwrap();
        assert_eq!(world.names(&world.folder().starts()).await.len(), starts);
    }
    // Recorded and never written.
    let mut lost = Started::next(world.repository, Some(4));
    shipper = world.take_up(LEGACY, &mut lost).await.unwrap();
    world.commits(1);
    world.ship(&mut shipper).await.unwrap();
    // Written by another process, which has the same volume and nothing shipped yet.
    let taken = world.take_up(LEGACY, &mut known).await;
    assert!(matches!(divergence(taken), Divergence::ForeignStart { number: 5, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_lists_the_starts_once_and_an_idle_one_not_at_all() {
    let world = World::new();
    let (mut shipper, _) = world.begin(LEGACY).await;
    let lists = || world.store.count(&Calls::Of(Operation::List));
    let before = lists();
    world.ship(&mut shipper).await.unwrap();
    assert_eq!(lists(), before);
    world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    assert_eq!(lists(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_whose_answer_was_lost_is_gone_on_after() {
    let world = World::new();
    let (mut shipper, _) = world.begin(LEGACY).await;
    let mut heads = world.commits(3);
    let segments = Calls::Beneath(world.folder().segments());
    world.store.inject(segments, Span::Only(1), Fault::After(Failure::Broken));
    world.ship(&mut shipper).await.unwrap_err();
    heads.extend(world.commits(3));
    world.ship(&mut shipper).await.unwrap();
    assert_eq!(world.names(&world.folder().segments()).await.len(), 2);
    world.assert_reachable(&heads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_under_the_next_name_and_is_not_ours_is_never_taken_for_shipped() {
    let world = World::new();
    let (mut shipper, _) = world.begin(LEGACY).await;
    world.commits(3);
    world.memory.tamper(&world.folder().segment(shipper.position(Sequence(1))), Bytes::from_static(b"x"));
    assert!(matches!(divergence(world.ship(&mut shipper).await), Divergence::Differs { .. }));
    assert_eq!(shipper.shipped(), Sequence(0));
}

/// Segments of fewer classes followed a base of more, and the recovery failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_mode_begins_with_a_base_and_loses_no_point() {
    let world = World::new();
    world.commits(2);
    let (mut shipper, mut known) = world.begin(LEGACY).await;
    let mut heads = world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    for mode in [QUICK, LEGACY, QUICK] {
        heads.extend(world.commits(3));
        shipper = world.take_up(mode, &mut known).await.unwrap();
        world.ship(&mut shipper).await.unwrap();
        heads.extend(world.commits(2));
        world.ship(&mut shipper).await.unwrap();
    }
    assert_eq!(world.names(&world.folder().bases()).await.len(), 4);
    assert_eq!(world.open().await.mode(), QUICK);
    world.assert_reachable(&heads).await;
}

/// The base of the old mode lay at the same position and was taken for the new one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_mode_on_a_catalog_at_rest_writes_a_base_of_its_own() {
    let world = World::new();
    world.commits(2);
    let (_, mut known) = world.begin(LEGACY).await;
    let mut shipper = world.take_up(QUICK, &mut known).await.unwrap();
    world.ship(&mut shipper).await.unwrap();
    let open = world.open().await;
    assert_eq!((open.mode(), open.chain.bases.len()), (QUICK, 2));
    world.assert_reachable(&[world.catalog.head()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_since_the_base_are_counted_again_after_a_restart() {
    let world = World::new();
    let (mut shipper, mut known) = world.begin(LEGACY).await;
    for _ in 0..5 {
        world.commits(1);
        world.ship(&mut shipper).await.unwrap();
    }
    let counted = shipper.base.clone().unwrap();
    let shipper = world.take_up(LEGACY, &mut known).await.unwrap();
    assert_eq!(shipper.base.unwrap(), counted);
    assert_eq!(counted.count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_follows_when_the_segments_outgrow_the_last_one() {
    let world = World::new();
    let (mut shipper, _) = world.begin(LEGACY).await;
    let mut heads = world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    shipper.base.as_mut().unwrap().grow(5 << 20);
    heads.extend(world.commits(3));
    world.ship(&mut shipper).await.unwrap();
    assert_eq!(world.names(&world.folder().bases()).await.len(), 2);
    heads.extend(world.commits(3));
    world.ship(&mut shipper).await.unwrap();
    assert_eq!(world.names(&world.folder().bases()).await.len(), 2, "the count began anew");
    world.assert_reachable(&heads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_a_base_and_the_segments_before_it_loses_no_point() {
    let world = World::new();
    let (mut shipper, mut known) = world.begin(LEGACY).await;
    let mut heads = world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    heads.extend(world.commits(3));
    shipper.write_base(&world.sender()).await.unwrap();
    drop(shipper);
    heads.extend(world.commits(2));
    let mut shipper = world.take_up(LEGACY, &mut known).await.unwrap();
    world.ship(&mut shipper).await.unwrap();
    world.assert_reachable(&heads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_was_away_gets_all_that_waited() {
    let world = World::new();
    let (mut shipper, mut known) = world.begin(LEGACY).await;
    let mut heads = world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    world.store.inject(Calls::All, Span::From(1), Fault::Before(Failure::Broken));
    heads.extend(world.commits(3));
    world.ship(&mut shipper).await.unwrap_err();
    heads.extend(world.commits(3));
    world.store.heal();
    world.ship(&mut shipper).await.unwrap();
    // A process that was started meanwhile goes on as well.
    heads.extend(world.commits(2));
    let mut shipper = world.take_up(LEGACY, &mut known).await.unwrap();
    world.ship(&mut shipper).await.unwrap();
    world.assert_reachable(&heads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_while_the_location_was_away_is_made_good_by_a_base() {
    let world = World::new();
    let (mut shipper, _) = world.begin(LEGACY).await;
    let before = world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    world.store.inject(Calls::All, Span::From(1), Fault::Before(Failure::Broken));
    let lost = world.commit("lost");
    // Large entries, so that the window of watches is full after a few.
    for number in 0..20_u64 {
        let mut state = number + 1;
        let body = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        let row = Row {
            kind: RowKind::new("large"),
            namespace: String::new(),
            name: "large".to_owned(),
            uid: String::new(),
            labels: std::collections::BTreeMap::new(),
            created: world.clock.now(),
            class: Class::Derived,
            body: body.take(4 << 20).collect(),
        };
        world.catalog.commit(&keelson_catalog::Actor::new("test"), vec![Change::put(row)]).unwrap();
    }
    world.catalog.cut_prefix(world.catalog.head().revision.sequence()).unwrap();
    let mut after = world.commits(2);
    world.store.heal();
    world.ship(&mut shipper).await.unwrap();
    after.extend(world.commits(2));
    world.ship(&mut shipper).await.unwrap();
    world.assert_reachable(&before).await;
    world.assert_reachable(&after[1..]).await;
    let open = world.open().await;
    let refused = world.rebuild(&open, lost.revision.sequence()).await.unwrap_err();
    assert!(matches!(refused, RecoveryError::Unreachable { .. }), "{}", Chain(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_goes_on_at_a_later_epoch_and_is_then_the_latest() {
    let world = World::new();
    let (mut shipper, _) = world.begin(LEGACY).await;
    let mut heads = world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    let target = world.target(LEGACY, 2).await;
    let known = Started::next(world.repository, Some(1));
    let (mut shipper, _) = Shipper::take_up(target, &world.sender(), &known).await.unwrap();
    shipper.leave_start(&world.sender(), &known).await.unwrap();
    heads.extend(world.commits(3));
    world.ship(&mut shipper).await.unwrap();
    let open = world.open().await;
    let chains = [open.chain];
    let latest = latest_chain(&chains).and_then(ShippedChain::latest).unwrap();
    assert_eq!((latest.epoch, latest.sequence), (Epoch(2), Sequence(6)));
    world.assert_reachable(&heads).await;
}

/// Whoever can write a name could have taken every generation that is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_stranger_wrote_takes_no_generation() {
    let world = World::new();
    let _running = world.begin(LEGACY).await;
    let at = Position { epoch: Epoch(1), generation: Generation::MAX, sequence: Sequence(1) };
    world.memory.tamper(&world.folder().base(at), Bytes::from_static(b"x"));
    let seen = move_on::highest_generation(&world.location(), &cluster(), &world.vault).await.unwrap();
    assert_eq!(seen, Generation(1));
}

/// A new repository, and two entries behind its first base.
async fn ship_into(moved: &World, target: Target) {
    let known = Started::never(moved.repository);
    let (mut shipper, _) = Shipper::take_up(target, &moved.sender(), &known).await.unwrap();
    shipper.leave_start(&moved.sender(), &Started::next(moved.repository, None)).await.unwrap();
    moved.ship(&mut shipper).await.unwrap();
    moved.commits(2);
    moved.ship(&mut shipper).await.unwrap();
}
