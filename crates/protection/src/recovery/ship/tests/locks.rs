//! What a run names is retained as long as the run: `write_manifest` takes the proof that this was done. Where the
//! protection has changed, all that the chain has is, and not only what is old.

use std::collections::BTreeSet;

use keelson_store::RETENTION_MARGIN;
use keelson_store::decorators::Retained;

use super::*;
use crate::recovery::run::locks::{Locks, lengthen_chain};

const PERIOD: Duration = Duration::from_secs(7 * 24 * 3600);

impl World {
    /// What was extended so far.
    fn extended(&self) -> BTreeSet<StorePath> {
        let calls = self.store.calls().into_iter();
        calls
            .filter(|call| call.operation == Operation::ExtendRetention)
            .filter_map(|call| call.path)
            .collect()
    }

    async fn paths(&self) -> BTreeSet<StorePath> {
        let objects = self.memory.list_all(&StorePath::root()).await.unwrap();
        objects.into_iter().map(|object| object.path).collect()
    }

    /// As a run does, whose store protects.
    async fn lengthen(&self, shipper: &Shipper, head: Head, locks: Locks) {
        let store = Arc::new(Retained::new(self.store.clone(), PERIOD));
        let reached = Reached { store, ..shipper.reached(head).unwrap() };
        lengthen_chain(&cluster(), &reached, locks).await.unwrap();
    }

    /// Sessions alone lead nowhere.
    async fn needed(&self) -> BTreeSet<StorePath> {
        let mut needed = self.paths().await;
        needed.retain(|path| !path.as_str().contains("/sessions/"));
        needed
    }

    async fn say_whose_it_is(&self) {
        let folder = ClusterFolder::new(&cluster());
        for path in [folder.card(1), folder.epoch(self.lineage, Epoch(1))] {
            self.store.create(&path, Bytes::from_static(b"whose it is")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn before_a_run_is_named_all_that_leads_to_it_is_extended() {
    let world = World::on(MemoryStore::versioned());
    world.commits(2);
    let (mut shipper, _) = world.begin(LEGACY).await;
    world.say_whose_it_is().await;
    world.commits(3);
    let head = world.ship(&mut shipper).await.unwrap();
    world.lengthen(&shipper, head, Locks::Even).await;
    assert_eq!(
        world.extended(),
        BTreeSet::new(),
        "what is young was retained long enough when it was created"
    );

    let needed = world.needed().await;
    world.clock.advance(RETENTION_MARGIN / 2 + Duration::from_secs(60));
    world.commits(3);
    let head = world.ship(&mut shipper).await.unwrap();
    world.lengthen(&shipper, head, Locks::Even).await;
    for folder in ["bases", "segments", "starts", "epochs", "cards", "packs", "index", "outcomes", "keys"] {
        assert!(needed.iter().any(|path| path.as_str().contains(&format!("/{folder}/"))), "{folder}");
    }
    assert_eq!(world.extended(), needed);
}

/// A period that was added to a profile in use locked nothing of what lay there, but what was written half a margin later.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_protection_has_changed_all_that_the_chain_has_is_extended_however_young() {
    let world = World::on(MemoryStore::versioned());
    world.commits(2);
    let (mut shipper, mut known) = world.begin(LEGACY).await;
    world.say_whose_it_is().await;
    world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    // A base of another mode, so that an earlier one leads to nothing new.
    let mut shipper = world.take_up(QUICK, &mut known).await.unwrap();
    world.commits(1);
    let head = world.ship(&mut shipper).await.unwrap();
    assert_eq!(world.names(&world.folder().bases()).await.len(), 2);
    // A run that does not open keeps nothing else from being retained.
    let run = world.folder().manifest(shipper.position(Sequence(1)));
    world.store.create(&run, Bytes::from_static(b"damaged")).await.unwrap();

    world.lengthen(&shipper, head, Locks::Unknown).await;
    assert_eq!(world.extended(), world.needed().await);
}
