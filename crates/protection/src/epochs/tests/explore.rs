//! Claims and retirements through many interleavings, with effects that are lost, late or repeated.
//!
//! No interleaving shows that a claim must name the digest of the one before: since claims are created once, and nothing
//! removes them, whoever claims the next number has read the claim before it as it is for ever. The digest tells where a
//! location was put together from two copies: `a_claim_out_of_another_copy_of_the_location_counts_for_nothing`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::FutureExt;
use keelson_model::{RepositoryId, SessionId};
use keelson_repository::{
    ChunkSizes, NewRepository, NewSession, Open, OutcomeDraft, Ownership, Repository, SessionPurpose, Unlock,
};
use keelson_store::StorePath;
use keelson_testkit::explorer::{Actor, Chooser, DepthFirst, RandomWalk, Run, Stage};

use super::super::retired::{FoundList, RetiredBefore, judge, read_retired, record_retired, take_over};
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

/// Every race of two with two interruptions; how many there were.
fn search_races(put: Put, disturbances: usize) -> Result<usize, String> {
    let (runtime, mut search, mut runs) = (paused_runtime(), DepthFirst::new(2), 0);
    loop {
        let run = runtime.block_on(race(2, put, disturbances, &mut search))?;
        runs += usize::from(!run.cut);
        if !search.advance() {
            return Ok(runs);
        }
    }
}

#[test]
fn every_order_of_two_racing_claims_leaves_one_holder_an_epoch() {
    for disturbances in [0, 1] {
        let runs = search_races(Put::CreateOnly, disturbances).unwrap_or_else(|what| panic!("{what}"));
        assert!(runs > 10, "{runs}");
    }
}

#[test]
fn a_claim_must_be_created_and_never_replace_another() {
    let what = search_races(Put::Overwrite, 0).unwrap_err();
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
        let handed = runtime.block_on(scene.play(disturbances, Order::ListThenClaims, &mut chooser));
        handed.unwrap_or_else(|what| panic!("walk {walk}: {what}"));
        runs += 2;
    }
    println!("claims: {runs} interleavings from seed {seed}, all safe");
}

/// In which order an owner finds out which retirements count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    ListThenClaims,
    ClaimsThenList,
}

/// A repository with two outcomes. Its owner retires them and judges at the same time, paused at any point, while
/// another takes over.
struct Handover {
    objects: Vec<(StorePath, Bytes)>,
    lineage: Arc<Lineage>,
    vault: Arc<VaultKeyring>,
    outcomes: [SessionId; 2],
    old: InstanceId,
}

/// What each owner found to count, and would remove.
#[derive(Default)]
struct Found {
    by_old: Mutex<JudgedBy>,
    by_new: Mutex<JudgedBy>,
}

type JudgedBy = Option<keelson_repository::JudgedRetirements>;

impl Handover {
    async fn new() -> Self {
        let (memory, lineage, old) = (MemoryStore::new(), Arc::new(lineage()), instance());
        let vault = Arc::new(VaultKeyring::new(VaultKey::generate(VaultKey::FIRST)));
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let new = NewRepository {
            id: RepositoryId::from_bytes([7; 16]),
            vault: &vault,
            slots: &[],
            chunks: ChunkSizes::DEFAULT,
        };
        let created = Repository::at(store, repository_root()).unwrap().create(new).await.unwrap();
        let repository = created.load_index().await.unwrap();
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            let now = Timestamp::UNIX_EPOCH;
            let session = NewSession { purpose: SessionPurpose::Backup, lives_until: now, now };
            let session = repository.begin(session).await.unwrap();
            let draft = OutcomeDraft {
                created: now,
                description: Vec::new(),
                streams: Vec::new(),
                retain_until: None,
            };
            outcomes.push(session.commit(draft).await.unwrap().id);
        }
        claim_by(&memory, &lineage, old).await.unwrap();
        let mut objects = Vec::new();
        for object in memory.list_all(&StorePath::root()).await.unwrap() {
            let bytes = memory.fetch_all(&object.path).await.unwrap();
            objects.push((object.path, bytes));
        }
        let outcomes = [outcomes[0], outcomes[1]];
        Self { objects, lineage, vault, outcomes, old }
    }

    async fn play(
        &self,
        disturbances: usize,
        order: Order,
        chooser: &mut dyn Chooser,
    ) -> Result<Run, String> {
        let memory = MemoryStore::new();
        for (path, bytes) in &self.objects {
            memory.tamper(path, bytes.clone());
        }
        let stage = Stage::new(Arc::new(memory.clone()), disturbances);
        let found = Arc::new(Found::default());
        let retiring = self.player(&stage, 0, order).await;
        let old = self.player(&stage, 1, order).await;
        let new = self.player(&stage, 2, order).await;
        let (outcomes, holder) = (self.outcomes, self.old);
        let (seen_by_old, seen_by_new) = (Arc::clone(&found), Arc::clone(&found));
        let retiring_script = async move {
            let mine = Ownership::proven_by_newest_epoch(retiring.lineage.id, 1);
            for outcome in outcomes {
                let _ = retiring.repository.retire(outcome, &mine, Timestamp::UNIX_EPOCH).await;
            }
        };
        let old_script = async move {
            *seen_by_old.by_old.lock().unwrap() = old.find_valid(holder).await;
        };
        let new_script = async move {
            for _ in 0..3 {
                if let Some(judged) = new.take_over(instance()).await {
                    *seen_by_new.by_new.lock().unwrap() = Some(judged);
                    return;
                }
            }
        };
        let actors = vec![
            Actor { name: "old owner, retiring", script: retiring_script.boxed() },
            Actor { name: "old owner, judging", script: old_script.boxed() },
            Actor { name: "new owner", script: new_script.boxed() },
        ];
        let run = keelson_testkit::explorer::run(&stage, actors, chooser).await;
        if run.cut {
            return Ok(run);
        }
        stage.let_late_effects_happen().await;
        let last = self.player(&stage, 0, order).await;
        last.check_late_retirements().await.map_err(|what| format!("{what}\n{run}"))?;
        let (old, new) = (found.by_old.lock().unwrap().take(), found.by_new.lock().unwrap().take());
        match (old, new) {
            (Some(old), Some(new)) if !old.valid.is_subset(&new.valid) => Err(format!(
                "the old owner removes {:?} where the new one keeps all but {:?}\n{run}",
                old.valid, new.valid
            )),
            _ => Ok(run),
        }
    }

    async fn player(&self, stage: &Stage, number: usize, order: Order) -> Player {
        let store: Arc<dyn Store> = stage.store_of(number);
        let locked = Repository::at(Arc::clone(&store), repository_root()).unwrap();
        let repository = locked.open(Unlock::Vault(&self.vault)).await.unwrap();
        Player { store, repository, lineage: Arc::clone(&self.lineage), order }
    }
}

fn repository_root() -> StorePath {
    "k10/exports/application".parse().unwrap()
}

struct Player {
    store: Arc<dyn Store>,
    repository: Repository<Open>,
    lineage: Arc<Lineage>,
    order: Order,
}

impl Player {
    /// What this owner may remove, unless it is one no longer.
    async fn find_valid(&self, me: InstanceId) -> JudgedBy {
        let folder = ClusterFolder::new(&cluster());
        let read =
            async || read_claims(&*self.store, &folder, self.lineage.id, &self.lineage.keys).await.ok();
        let (retired, claims) = match self.order {
            Order::ListThenClaims => (self.repository.list_retired().await.ok()?, read().await?),
            Order::ClaimsThenList => {
                let claims = read().await?;
                (self.repository.list_retired().await.ok()?, claims)
            }
        };
        let holder = claims.holder.filter(|holder| holder.claim.instance == me)?;
        let list = self.read_list(holder.epoch).await?;
        Some(judge(&retired, self.lineage.id, holder.epoch, list.as_ref()))
    }

    async fn take_over(&self, me: InstanceId) -> JudgedBy {
        let folder = ClusterFolder::new(&cluster());
        let Lineage { id, keys } = &*self.lineage;
        let claimant = (me, cluster());
        let epoch = claim(&*self.store, &folder, *id, keys, claimant, Timestamp::UNIX_EPOCH).await.ok()?;
        let retired = self.repository.list_retired().await.ok()?;
        let taken = take_over(&retired, *id, None);
        record_retired(&*self.store, &folder, *id, keys, epoch, taken).await.ok()?;
        self.find_valid(me).await
    }

    /// What the new owner did not find when it took over counts no more, whoever states it and whenever it arrives.
    async fn check_late_retirements(&self) -> Result<(), String> {
        let Some(Some(list)) = self.read_list(Epoch(2)).await else { return Ok(()) };
        let retired = self.repository.list_retired().await.unwrap();
        let judged = judge(&retired, self.lineage.id, Epoch(2), Some(&list));
        let late =
            retired.iter().map(|retirement| retirement.outcome).filter(|id| !list.outcomes.contains(id));
        let late: std::collections::BTreeSet<_> = late.collect();
        if judged.valid.is_subset(&list.outcomes) && judged.void == late {
            return Ok(());
        }
        Err(format!("{late:?} came late, and {:?} count", judged.valid))
    }

    async fn read_list(&self, epoch: Epoch) -> Option<Option<RetiredBefore>> {
        let folder = ClusterFolder::new(&cluster());
        let Lineage { id, keys } = &*self.lineage;
        let found = read_retired(&*self.store, &folder, *id, keys, epoch).await;
        found.ok().map(FoundList::list)
    }
}

fn search(order: Order, interruptions: usize, disturbances: usize) -> Result<usize, String> {
    let (runtime, mut search, mut runs) = (paused_runtime(), DepthFirst::new(interruptions), 0);
    let scene = runtime.block_on(Handover::new());
    loop {
        let run = runtime.block_on(scene.play(disturbances, order, &mut search))?;
        runs += usize::from(!run.cut);
        if !search.advance() {
            return Ok(runs);
        }
    }
}

#[test]
fn an_owner_who_was_paused_removes_nothing_that_its_successor_keeps() {
    for (interruptions, disturbances) in [(2, 0), (0, 1)] {
        let found = search(Order::ListThenClaims, interruptions, disturbances);
        let runs = found.unwrap_or_else(|what| panic!("{what}"));
        assert!(runs > 50, "{runs}");
    }
}

#[test]
fn retirements_must_be_listed_before_the_claims_are_read() {
    let what = search(Order::ClaimsThenList, 2, 0).unwrap_err();
    assert!(what.contains("the old owner removes"), "{what}");
}
