//! Against a plain map: after any sequence of backups, retirements, prunes and repacks every live outcome reads back
//! whole, and what is dead is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use keelson_model::{ManualClock, SessionId};
use keelson_repository::{Depth, Indexed, Repository, SessionPurpose};
use keelson_store::Store;
use keelson_store::providers::memory::MemoryStore;
use proptest::prelude::*;

use crate::upkeep::*;
use crate::world::*;

#[derive(Debug, Clone)]
enum Step {
    BackUp(Pieces),
    /// A writer that dies half-way.
    Abandon(Pieces),
    Read,
    /// Which of the live ones.
    Retire(prop::sample::Index),
    Prune,
    Repack,
}

/// Seed and length of each: few seeds, so that packs are shared and half dead in many ways.
type Pieces = Vec<(u64, usize)>;

fn content_of(pieces: &Pieces) -> Vec<u8> {
    pieces.iter().flat_map(|(seed, length)| noise(*seed, *length)).collect()
}

fn content() -> impl Strategy<Value = Pieces> {
    prop::collection::vec((0..6u64, 200..2500usize), 1..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => content().prop_map(Step::BackUp),
        1 => content().prop_map(Step::Abandon),
        1 => Just(Step::Read),
        3 => any::<prop::sample::Index>().prop_map(Step::Retire),
        2 => Just(Step::Prune),
        2 => Just(Step::Repack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_live_reads_back_and_what_is_dead_is_gone(steps in prop::collection::vec(step(), 1..16)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check_against_model(steps));
    }
}

async fn check_against_model(steps: Vec<Step>) {
    // Whoever is abandoned has outlived its life by now.
    let clock = Arc::new(ManualClock::new(now() + LONG));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().with_clock(clock));
    let repository = create_indexed(&store).await;
    let mut live: BTreeMap<SessionId, Vec<u8>> = BTreeMap::new();
    for step in steps {
        take(&repository, &mut live, step).await;
        check_live(&store, &live).await;
    }
    prune_all(&repository).await;
    check_live(&store, &live).await;
    // Retired, aborted and readers' outcomes, and repacks that hold for nothing, are gone or name nothing.
    let mut committed = Vec::new();
    for id in repository.list_outcomes().await.unwrap() {
        let outcome = repository.fetch_outcome(id).await.unwrap();
        if outcome.purpose() == SessionPurpose::Backup && !outcome.streams().is_empty() {
            committed.push(id);
        }
    }
    committed.sort_unstable();
    assert_eq!(committed, live.keys().copied().collect::<Vec<_>>());
    // Not a pack is left with the last outcome.
    for id in live.keys() {
        retire(&repository, *id).await;
    }
    prune_all(&repository).await;
    for folder in ["packs", "index", "sessions"] {
        assert!(names(&store, folder).await.is_empty(), "{folder}");
    }
}

async fn take(repository: &Repository<Indexed>, live: &mut BTreeMap<SessionId, Vec<u8>>, step: Step) {
    match step {
        Step::BackUp(content) => {
            let content = content_of(&content);
            let outcome = back_up(repository, &content).await.unwrap();
            live.insert(outcome.id, content);
        }
        Step::Abandon(content) => {
            let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
            session.write(pieces(&content_of(&content))).await.unwrap();
        }
        Step::Read => {
            let reader = repository.begin_reading(new_session(SessionPurpose::Restore)).await.unwrap();
            reader.finish(now()).await.unwrap();
        }
        Step::Retire(which) => {
            let ids: Vec<_> = live.keys().copied().collect();
            if !ids.is_empty() {
                let id = *which.get(&ids);
                retire(repository, id).await;
                live.remove(&id);
            }
        }
        Step::Prune => drop(prune_once(repository).await.unwrap()),
        Step::Repack => drop(repack(repository).await.unwrap()),
    }
}

async fn check_live(store: &Arc<dyn Store>, live: &BTreeMap<SessionId, Vec<u8>>) {
    let reader = fresh_reader(store).await;
    for (id, content) in live {
        let outcome = reader.outcome(*id).await.unwrap();
        assert!(&read(&reader, &outcome.streams()[0].reference).await.unwrap() == content);
    }
    let expected: Vec<_> = live.keys().copied().collect();
    let report = verify(store, Depth::Full, &expected).await;
    assert!(report.is_whole(), "{:?}", report.findings);
}
