//! Sessions that work for longer than they said, while time is paused and jumps.

use keelson_crypto::{VaultKey, VaultKeyring, random_bytes};
use keelson_model::{LineageId, RepositoryId};
use keelson_repository::{ChunkSizes, JudgedRetirements, NewRepository, Ownership, PruneStep, Session};
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{Operation, Store, StorePath};
use keelson_testkit::{Calls, Failure, Fault, FaultyStore, Span};
use tokio::time::{Instant, sleep};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Time as the paused runtime has it.
#[derive(Debug, Clone, Copy)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        later(Timestamp::constant(1_770_000_000, 0), self.0.elapsed())
    }
}

struct World {
    clock: PausedClock,
    store: Arc<FaultyStore>,
    repository: Repository<Indexed>,
}

impl World {
    async fn new() -> Self {
        let clock = PausedClock(Instant::now());
        let memory = MemoryStore::new().with_clock(Arc::new(clock));
        let store = Arc::new(FaultyStore::new(Arc::new(memory)));
        let vault = VaultKeyring::new(VaultKey::generate(VaultKey::FIRST));
        let id = RepositoryId::from_bytes([7; 16]);
        let new = NewRepository { id, vault: &vault, slots: &[], chunks: ChunkSizes::DEFAULT };
        let shared: Arc<dyn Store> = store.clone();
        let created = Repository::at(shared, StorePath::root()).unwrap().create(new).await.unwrap();
        Self { clock, store, repository: created.load_index().await.unwrap() }
    }

    async fn begin(&self) -> Session {
        self.repository.begin(new_session(SessionPurpose::Backup, self.clock.now())).await.unwrap()
    }

    async fn commit(&self, session: Session) -> Result<Outcome, keelson_repository::CommitError> {
        let draft = keelson_repository::OutcomeDraft {
            created: self.clock.now(),
            description: Vec::new(),
            streams: Vec::new(),
            retain_until: None,
        };
        session.commit(draft).await
    }

    /// How many sessions a prune ends that has something to free, by the clock of its own machine.
    async fn prune(&self, now: Timestamp) -> u64 {
        let owner = Ownership::proven_by_newest_epoch(LineageId::from_bytes([3; 16]), 1);
        let session = self.begin().await;
        let content = random_bytes::<32>().to_vec().into();
        session.write(stream::iter([Ok::<Bytes, SourceStopped>(content)])).await.unwrap();
        let garbage = self.commit(session).await.unwrap();
        self.repository.retire(garbage.id, &owner, now).await.unwrap();
        let judged = JudgedRetirements { valid: [garbage.id].into(), ..JudgedRetirements::default() };
        let plan = self.repository.plan_prune(&owner, &judged).await.unwrap();
        let mut prune = self.repository.begin_prune(plan);
        match prune.advance(&owner, now, &|_| {}).await.unwrap() {
            PruneStep::Complete(report) => report.sessions_ended,
            PruneStep::Waiting { .. } => 0,
            PruneStep::Settling { .. } => panic!("this store shows everything at once"),
        }
    }
}

/// Whatever took more than a day was ended by our own maintenance, at every try.
#[tokio::test(start_paused = true)]
async fn a_session_is_renewed_for_as_long_as_its_work_takes() {
    let world = World::new().await;
    let (session, reader) = (world.begin().await, begin_reading(&world.repository, world.clock.now()).await);
    let reader = reader.unwrap();
    let lives = reader.life().into_iter().chain([session.life()]);
    let working = async {
        for _ in 0..5 {
            sleep(20 * HOUR).await;
            assert_eq!(world.prune(world.clock.now()).await, 0);
        }
        world.commit(session).await
    };
    hold(&world.clock, lives, working).await.unwrap().unwrap();
    reader.finish(world.clock.now()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_ends_soon_after_its_session_was_ended_by_maintenance() {
    let world = World::new().await;
    let session = world.begin().await;
    let began = Instant::now();
    let working = async {
        assert_eq!(world.prune(later(world.clock.now(), 25 * HOUR)).await, 1);
        sleep(100 * HOUR).await;
    };
    let error = hold(&world.clock, [session.life()], working).await.unwrap_err();
    assert!(matches!(error, SessionError::Ended { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Conflict);
    assert!(began.elapsed() < 7 * HOUR, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_again_until_the_life_has_passed() {
    let world = World::new().await;
    let session = world.begin().await;
    let broken =
        || world.store.inject(Calls::Of(Operation::Put), Span::From(1), Fault::Before(Failure::Broken));
    broken();
    let working = async {
        sleep(23 * HOUR).await;
        world.store.heal();
        sleep(20 * HOUR).await;
        broken();
        sleep(17 * HOUR).await;
    };
    hold(&world.clock, [session.life()], working).await.unwrap();
    let error = hold(&world.clock, [session.life()], std::future::pending::<()>()).await.unwrap_err();
    assert!(matches!(error, SessionError::Outlived { .. }), "{error}");
    assert!(world.clock.now() > session.life().until());
}
