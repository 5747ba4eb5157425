//! An owner who dies after any effect of retiring, repacking and pruning: the next one ends where the first would have.

use std::sync::Arc;

use keelson_crypto::{VaultKey, VaultKeyring};
use keelson_model::SessionId;
use keelson_repository::{Depth, SessionPurpose, Unlock};
use keelson_store::Store;
use keelson_store::providers::memory::MemoryStore;
use keelson_testkit::{Calls, Failure, Fault, FaultyStore, Span};

use crate::upkeep::*;
use crate::world::*;

/// A repository with something of every kind to do, and the outcomes that must survive.
struct Scene {
    store: Arc<dyn Store>,
    vault: VaultKeyring,
    retiring: SessionId,
    kept: Vec<(SessionId, Vec<u8>)>,
}

impl Scene {
    async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let vault = VaultKeyring::new(VaultKey::generate(1));
        let repository = create(&store, &vault).await.load_index().await.unwrap();
        let (small, large) = (noise(1, 3000), noise(2, 20_000));
        let half_dead = back_up(&repository, &[small.clone(), large].concat()).await.unwrap();
        let second = back_up(&repository, &small).await.unwrap();
        let retiring = back_up(&repository, &noise(3, 3000)).await.unwrap();
        let third = back_up(&repository, &noise(4, 3000)).await.unwrap();
        retire(&repository, half_dead.id).await;
        // A writer that died, and a reader that ended.
        let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
        session.write(pieces(&noise(5, 3000))).await.unwrap();
        drop(session);
        let reader = repository.begin_reading(new_session(SessionPurpose::Restore)).await.unwrap();
        reader.finish(now()).await.unwrap();
        let kept = vec![(second.id, small), (third.id, noise(4, 3000))];
        Self { store, vault, retiring: retiring.id, kept }
    }

    /// All that an owner does in a night, or as much of it as the store lets him.
    async fn maintain(&self, store: &Arc<dyn Store>) -> Option<()> {
        let opened = locked(store).open(Unlock::Vault(&self.vault)).await.ok()?;
        let repository = opened.load_index().await.ok()?;
        // The outcome may be gone already.
        let _ = repository.retire(self.retiring, &owner(), now()).await;
        prune_once(&repository).await.ok()?;
        repack(&repository).await.ok()?;
        for _ in 0..2 {
            prune_once(&repository).await.ok()?;
        }
        Some(())
    }

    async fn check(&self, when: &str) {
        for (id, content) in &self.kept {
            assert!(&read_back(&self.store, *id).await.unwrap() == content, "{when}");
        }
        let kept: Vec<_> = self.kept.iter().map(|(id, _)| *id).collect();
        let report = verify(&self.store, Depth::Full, &kept).await;
        assert!(report.is_whole(), "{when}: {:?}", report.findings);
    }
}

/// How many objects of each kind there are: ids differ from run to run.
async fn shape(store: &Arc<dyn Store>) -> Vec<(&'static str, usize)> {
    let mut shape = Vec::new();
    for folder in ["packs", "index", "sessions"] {
        shape.push((folder, names(store, folder).await.len()));
    }
    shape
}

#[tokio::test]
async fn an_owner_may_die_after_any_effect_and_the_next_one_completes_the_work() {
    let undisturbed = Scene::new().await;
    undisturbed.maintain(&undisturbed.store).await.unwrap();
    let repository = locked(&undisturbed.store).open(Unlock::Vault(&undisturbed.vault)).await.unwrap();
    prune_all(&repository).await;
    undisturbed.check("undisturbed").await;
    let expected = shape(&undisturbed.store).await;
    assert_eq!(expected[0], ("packs", 3));

    let mut effects_needed = 0;
    for answer_lost in [false, true] {
        for effects in 1.. {
            let scene = Scene::new().await;
            let faulty = FaultyStore::new(Arc::clone(&scene.store));
            let fault = if answer_lost { Fault::After } else { Fault::Before };
            faulty.inject(Calls::Effects, Span::Only(effects), fault(Failure::Broken));
            faulty.inject(Calls::Effects, Span::From(effects + 1), Fault::Before(Failure::Broken));
            let dying: Arc<dyn Store> = Arc::new(faulty);
            let ended = scene.maintain(&dying).await;
            scene.check(&format!("dead after {effects} effects")).await;

            scene.maintain(&scene.store).await.unwrap();
            let repository = locked(&scene.store).open(Unlock::Vault(&scene.vault)).await.unwrap();
            prune_all(&repository).await;
            scene.check(&format!("completed after {effects} effects")).await;
            assert_eq!(shape(&scene.store).await, expected, "completed after {effects} effects");
            if ended.is_some() {
                effects_needed = effects_needed.max(effects);
                break;
            }
        }
    }
    assert!(effects_needed > 20, "retirement, marks, verdicts, packs, indexes and records: {effects_needed}");
}
