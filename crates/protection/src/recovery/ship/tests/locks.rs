//! What a run names is retained as long as the run: `write_manifest` takes the proof that this was done.

use std::collections::BTreeSet;

use keelson_store::RETENTION_MARGIN;
use keelson_store::decorators::Retained;

use super::*;
use crate::recovery::run::locks::lengthen;

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
    async fn lengthen(&self, shipper: &Shipper, head: Head) {
        let store = Arc::new(Retained::new(self.store.clone(), PERIOD));
        let reached = Reached { store, ..shipper.reached(head).unwrap() };
        lengthen(&cluster(), &reached).await.unwrap();
    }
}

#[tokio::test]
async fn before_a_run_is_named_all_that_leads_to_it_is_extended() {
    let world = World::on(MemoryStore::versioned());
    world.commits(2);
    let (mut shipper, _) = world.begin(LEGACY).await;
    let folder = ClusterFolder::new(&cluster());
    for path in [folder.card(1), folder.epoch(world.lineage, Epoch(1))] {
        world.store.create(&path, Bytes::from_static(b"whose it is")).await.unwrap();
    }
    world.commits(3);
    let head = world.ship(&mut shipper).await.unwrap();
    world.lengthen(&shipper, head).await;
    assert_eq!(
        world.extended(),
        BTreeSet::new(),
        "what is young was retained long enough when it was created"
    );

    // Sessions alone lead nowhere.
    let mut needed = world.paths().await;
    needed.retain(|path| !path.as_str().contains("/sessions/"));
    world.clock.advance(RETENTION_MARGIN / 2 + Duration::from_secs(60));
    world.commits(3);
    let head = world.ship(&mut shipper).await.unwrap();
    world.lengthen(&shipper, head).await;
    for folder in ["bases", "segments", "starts", "epochs", "cards", "packs", "index", "outcomes", "keys"] {
        assert!(needed.iter().any(|path| path.as_str().contains(&format!("/{folder}/"))), "{folder}");
    }
    assert_eq!(world.extended(), needed);
}
