//! Claims and retirements through many interleavings, with effects that are lost, late or repeated.
//!
//! No interleaving shows that a claim must name the digest of the one before: since claims are created once, and nothing
//! removes them, whoever claims the next number has read the claim before it as it is for ever. The digest tells where a
//! location was put together from two copies: `a_claim_out_of_another_copy_of_the_location_counts_for_nothing`.

mod handover;
mod liars;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::FutureExt;
use keelson_testkit::explorer::{Actor, Chooser, DepthFirst, RandomWalk, Replay, Run, Stage};

use self::handover::{Handover, Violation};
use self::liars::Lie;
use super::*;

const NAMES: [&str; 3] = ["first", "second", "third"];

/// Which epochs each instance was told that it holds.
type Won = Arc<Mutex<Vec<(Epoch, InstanceId)>>>;

fn paused_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Each tries again once if it failed, as `ownership` does at its next look.
async fn claim_twice(store: Arc<dyn Store>, lineage: Arc<Lineage>, claimant: InstanceId, won: Won) {
    let folder = ClusterFolder::new(&cluster());
    for _ in 0..2 {
        let claimant = (claimant, cluster());
        let claimed =
            claim(&*store, &folder, lineage.id, &lineage.keys, claimant.clone(), Timestamp::UNIX_EPOCH).await;
        if let Ok(epoch) = claimed {
            won.lock().unwrap().push((epoch, claimant.0));
            return;
        }
    }
}

/// How a claim is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Put {
    CreateOnly,
    Overwrite,
}

/// One run of so many claimants.
async fn race(
    claimants: usize,
    put: Put,
    disturbances: usize,
    chooser: &mut dyn Chooser,
) -> Result<Run, String> {
    let (memory, lineage, won) = (MemoryStore::new(), Arc::new(lineage()), Won::default());
    let stage = Stage::new(Arc::new(memory.clone()), disturbances);
    let stage = match put {
        Put::CreateOnly => stage,
        Put::Overwrite => stage.overwriting(),
    };
    let actors = (0..claimants).map(|number| {
        let store: Arc<dyn Store> = stage.store_of(number);
        let script = claim_twice(store, Arc::clone(&lineage), instance(), Arc::clone(&won)).boxed();
        Actor { name: NAMES[number], script }
    });
    let run = keelson_testkit::explorer::run(&stage, actors.collect(), chooser).await;
    if run.cut {
        return Ok(run);
    }
    let checked = async || {
        let claims = claims_of(&memory, &lineage).await;
        let newest = claims.holder.map_or(0, |holder| holder.epoch.0);
        let folder = ClusterFolder::new(&cluster()).epochs(lineage.id);
        let objects = memory.list_all(&folder).await.unwrap().len();
        if !claims.strangers.is_empty() || objects != newest as usize {
            return Err(format!("{objects} claims up to epoch {newest}, strangers: {:?}", claims.strangers));
        }
        let mut holders = BTreeMap::new();
        for (epoch, instance) in won.lock().unwrap().iter() {
            if epoch.0 > newest || *holders.entry(*epoch).or_insert(*instance) != *instance {
                return Err(format!("epoch {epoch} was won twice or is not there"));
            }
        }
        Ok(())
    };
    let mut result = checked().await;
    stage.let_late_effects_happen().await;
    result = result.and(checked().await);
    result.map(|()| run.clone()).map_err(|what| format!("{what}\n{run}"))
}

/// How many interleavings a search had, and how many it could not have again as they had begun.
struct Searched {
    runs: usize,
    strayed: usize,
}

impl Searched {
    /// How many there are, with none left out.
    #[track_caller]
    fn all(self) -> usize {
        assert_eq!(self.strayed, 0, "runs turned out differently, and what lies behind them was not seen");
        self.runs
    }
}

/// Every race of two with two interruptions.
fn search_races(put: Put, disturbances: usize) -> Result<Searched, String> {
    let (runtime, mut search, mut runs) = (paused_runtime(), DepthFirst::new(2), 0);
    loop {
        let run = runtime.block_on(race(2, put, disturbances, &mut search))?;
        runs += usize::from(!run.cut);
        if !search.advance() {
            return Ok(Searched { runs, strayed: search.strayed() });
        }
    }
}

#[test]
fn every_order_of_two_racing_claims_leaves_one_holder_an_epoch() {
    for disturbances in [0, 1] {
        let raced = search_races(Put::CreateOnly, disturbances).unwrap_or_else(|what| panic!("{what}"));
        let runs = raced.all();
        assert!(runs > 10, "{runs}");
    }
}

#[test]
fn a_claim_must_be_created_and_never_replace_another() {
    let what = search_races(Put::Overwrite, 0).err().unwrap();
    assert!(what.contains("was won twice"), "{what}");
}

/// The seed and the minutes come from `cargo xtask explore`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a long walk is told how long, and says how far it came")]
fn random_walks_of_claims_and_retirements_are_safe() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("KEELSON_EXPLORE_SEED").unwrap_or(1);
    let seconds = number("KEELSON_EXPLORE_SECONDS").map(Duration::from_secs);
    let disturbances = |walk: u64| seconds.map_or(4, |_| [2, 4, 8, 16][walk as usize % 4]);
    let (runtime, begun, mut runs) = (paused_runtime(), Instant::now(), 0);
    let scene = runtime.block_on(Handover::new());
    for walk in seed.wrapping_mul(1_000_000_007).. {
        if seconds.map_or(runs >= 200, |seconds| begun.elapsed() >= seconds) {
            break;
        }
        let (disturbances, mut chooser) = (disturbances(walk), RandomWalk::new(walk));
        let raced = runtime.block_on(race(3, Put::CreateOnly, disturbances, &mut chooser));
        raced.unwrap_or_else(|what| panic!("walk {walk}: {what}"));
        let mut chooser = RandomWalk::new(walk);
        let handed = runtime.block_on(scene.play(disturbances, None, &mut chooser));
        handed.unwrap_or_else(|found| panic!("walk {walk}: {}\n{}", found.what, found.run));
        runs += 2;
    }
    println!("claims: {runs} interleavings from seed {seed}, all safe");
}

/// Every order of a hand-over within the bounds.
fn search(lie: Option<Lie>, interruptions: usize, disturbances: usize) -> Result<Searched, Box<Violation>> {
    let (runtime, mut search, mut runs) = (paused_runtime(), DepthFirst::new(interruptions), 0);
    let scene = runtime.block_on(Handover::new());
    loop {
        let run = runtime.block_on(scene.play(disturbances, lie, &mut search))?;
        runs += usize::from(!run.cut);
        if !search.advance() {
            return Ok(Searched { runs, strayed: search.strayed() });
        }
    }
}

#[test]
fn an_owner_who_was_paused_removes_nothing_that_its_successor_keeps() {
    for (interruptions, disturbances) in [(2, 0), (0, 1)] {
        let runs = holds(search(None, interruptions, disturbances)).all();
        println!("{interruptions} interruptions, {disturbances} disturbances: {runs} runs");
        assert!(runs > 50, "{runs}");
    }
}

#[track_caller]
fn holds<T>(found: Result<T, Box<Violation>>) -> T {
    match found {
        Ok(held) => held,
        Err(violation) => panic!("{}\n{}", violation.what, violation.run),
    }
}

/// And not where nobody lies, in the same order of steps.
#[track_caller]
fn is_found(lie: Lie, interruptions: usize, disturbances: usize, what: &str) {
    let Err(found) = search(Some(lie), interruptions, disturbances) else {
        panic!("without this rule the owners agree")
    };
    assert!(found.what.contains(what), "{}\n{}", found.what, found.run);
    let runtime = paused_runtime();
    let scene = runtime.block_on(Handover::new());
    let mut steps = Replay::new(&found.run.choices);
    holds(runtime.block_on(scene.play(disturbances, None, &mut steps)));
}

#[test]
fn retirements_must_be_listed_before_the_claims_are_read() {
    is_found(Lie::FreezeClaims, 2, 0, "the old owner removes");
}

#[test]
fn a_new_owner_must_claim_before_it_lists_what_was_retired() {
    is_found(Lie::ListBeforeClaim, 1, 0, "the old owner removes");
}

/// Who judges by what it found and dies before the list is there finds something else the next time.
#[test]
fn the_list_of_an_epoch_must_be_there_before_anything_is_judged_by_it() {
    is_found(Lie::JudgeBeforeList, 1, 0, "the new owner judged");
}

/// It may have been sent by the same owner, who was told that it had failed.
#[test]
fn a_list_that_is_there_must_be_adopted() {
    is_found(Lie::OverlookList, 2, 1, "the new owner judged");
}
