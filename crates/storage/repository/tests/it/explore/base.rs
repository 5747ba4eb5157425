//! The repository that every run begins with, and what must hold when a run has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use keelson_crypto::{VaultKey, VaultKeyring};
use keelson_model::{Chain, ManualClock, RepositoryId, SessionId};
use keelson_repository::{
    Depth, Indexed, NamedStream, NewRepository, Open, Outcome, ReadError, Reader, Repository, Session,
    SessionPurpose, SessionResult, Unlock, Verification,
};
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{Store, StoreExt, StorePath};
use keelson_testkit::explorer::Stage;

use crate::upkeep::*;
use crate::world::*;

/// One chunk each, so that a stream of the same number is the same chunk.
pub(super) fn piece(number: u8) -> Vec<u8> {
    noise(1000 + u64::from(number), 60)
}

/// Objects, and who is who among them.
pub(super) struct Base {
    objects: BTreeMap<StorePath, Bytes>,
    vault: Arc<VaultKeyring>,
    /// Live throughout; shares a pack with one that was retired.
    pub(super) half: SessionId,
    /// Live until an owner retires it.
    pub(super) retiring: SessionId,
}

impl Base {
    pub(super) async fn new() -> Self {
        let memory = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let vault = Arc::new(VaultKeyring::new(VaultKey::generate(1)));
        let id = RepositoryId::from_bytes([7; 16]);
        let new = NewRepository { id, vault: &vault, slots: &[], chunks: small_chunks() };
        let repository = locked(&store).create(new).await.unwrap().load_index().await.unwrap();
        let retired = write_pieces(&repository, &[1, 2]).await.unwrap();
        let emptied = write_pieces(&repository, &[3, 4, 5]).await.unwrap();
        let half = write_pieces(&repository, &[3, 6]).await.unwrap();
        let retiring = write_pieces(&repository, &[7]).await.unwrap();
        // A pack and its index that no outcome names, as of a writer that died late.
        let orphan = write_pieces(&repository, &[8]).await.unwrap();
        memory.tamper_by_deleting(&root().join(&format!("outcomes/{}", orphan.id)).unwrap());
        for outcome in [retired.id, emptied.id] {
            retire(&repository, outcome).await;
        }
        let mut objects = BTreeMap::new();
        for object in store.list_all(&root()).await.unwrap() {
            // Sessions that ended long ago only make runs longer.
            if !object.path.as_str().contains("/sessions/") {
                objects.insert(object.path.clone(), store.fetch_all(&object.path).await.unwrap());
            }
        }
        Self { objects, vault, half: half.id, retiring: retiring.id }
    }
}

/// Writes each piece as a stream of its own, named by its number.
pub(super) async fn write_pieces(repository: &Repository<Indexed>, numbers: &[u8]) -> Option<Outcome> {
    let (session, streams) = begin_pieces(repository, numbers).await?;
    session.commit(draft(streams)).await.ok()
}

/// The same, and does not commit.
pub(super) async fn begin_pieces(
    repository: &Repository<Indexed>,
    numbers: &[u8],
) -> Option<(Session, Vec<NamedStream>)> {
    let session = repository.begin(new_session(SessionPurpose::Backup)).await.ok()?;
    let mut streams = Vec::new();
    for number in numbers {
        let reference = session.write(pieces(&piece(*number))).await.ok()?;
        streams.push(named(&number.to_string(), reference));
    }
    Some((session, streams))
}

/// Reads every stream of an outcome and compares it with what its name promises.
pub(super) async fn read_pieces(reader: &Reader, outcome: &Outcome) -> Result<(), String> {
    for stream in outcome.streams() {
        let content = read(reader, &stream.reference).await;
        let content =
            content.map_err(|error| format!("piece {} of {}: {}", stream.name, outcome.id, Chain(&error)))?;
        if content != piece(stream.name.parse().unwrap()) {
            return Err(format!("piece {} of {} reads back changed", stream.name, outcome.id));
        }
    }
    Ok(())
}

/// What a run's store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bucket {
    Plain,
    /// Keeps versions and locks objects.
    Locking,
}

/// What one run happens on.
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) memory: MemoryStore,
    /// The store's.
    pub(super) clock: Arc<ManualClock>,
    pub(super) vault: Arc<VaultKeyring>,
    pub(super) half: SessionId,
    pub(super) retiring: SessionId,
    pub(super) log: Arc<Log>,
}

/// What actors saw.
#[derive(Default)]
pub(super) struct Log {
    /// Writers were told that these are safe.
    committed: Mutex<BTreeSet<SessionId>>,
    violations: Mutex<Vec<String>>,
    /// How far the clock that is furthest ahead is ahead.
    ahead: Mutex<Duration>,
}

impl Log {
    pub(super) fn committed(&self, id: SessionId) {
        self.committed.lock().unwrap().insert(id);
    }

    /// An owner is about to remove them: they are safe no more. Which they are.
    pub(super) fn retract_all(&self) -> BTreeSet<SessionId> {
        std::mem::take(&mut *self.committed.lock().unwrap())
    }

    pub(super) fn clock_is_ahead(&self, by: Duration) {
        let mut ahead = self.ahead.lock().unwrap();
        *ahead = by.max(*ahead);
    }

    pub(super) fn ahead(&self) -> Duration {
        *self.ahead.lock().unwrap()
    }

    pub(super) fn violation(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }
}

impl Scene {
    pub(super) fn restore(base: &Base, bucket: Bucket, disturbances: usize) -> Self {
        let clock = Arc::new(ManualClock::new(now()));
        let memory = match bucket {
            Bucket::Plain => MemoryStore::new(),
            Bucket::Locking => MemoryStore::versioned(),
        };
        let memory = memory.with_clock(clock.clone());
        for (path, bytes) in &base.objects {
            memory.tamper(path, bytes.clone());
        }
        let stage = Stage::new(Arc::new(memory.clone()), disturbances);
        // Index objects are taken in by a thread of their own; their listing is granted, and what they say never changes.
        let stage = stage.letting_pass(|path| path.as_str().contains("/index/"));
        let (vault, log) = (Arc::clone(&base.vault), Arc::default());
        Self { stage, memory, clock, vault, half: base.half, retiring: base.retiring, log }
    }

    /// As a prune has left it a fortnight ago. Its mark could go by its age; the index objects that name the dead are
    /// locked, as one that describes a locked pack besides is, and have stayed.
    pub(super) async fn let_a_fortnight_pass_after_a_prune(&self) {
        let store: Arc<dyn Store> = Arc::new(self.memory.clone());
        for object in store.list_all(&root().join("index").unwrap()).await.unwrap() {
            store.extend_retention(&object.path, None, now() + 2 * LATE_EFFECTS).await.unwrap();
        }
        prune_once(&*self.open(store).await).await.unwrap();
        self.clock.advance(LATE_EFFECTS);
    }

    /// Past the stage.
    pub(super) async fn open_raw(&self) -> Repository<Open> {
        let store: Arc<dyn Store> = Arc::new(self.memory.clone());
        locked(&store).open(Unlock::Vault(&self.vault)).await.unwrap()
    }

    pub(super) async fn open(&self, store: Arc<dyn Store>) -> Repository<Indexed> {
        let opened = locked(&store).open(Unlock::Vault(&self.vault)).await.unwrap();
        opened.load_index().await.unwrap()
    }

    /// The invariants, now and again after everything late has come and a prune without disturbance has ended.
    pub(super) async fn check(&self) -> Result<(), String> {
        if let Some(violation) = self.log.violations.lock().unwrap().first() {
            return Err(violation.clone());
        }
        let store: Arc<dyn Store> = Arc::new(self.memory.clone());
        self.check_outcomes(&store).await.map_err(|what| format!("at the end: {what}"))?;
        self.stage.let_late_effects_happen().await;
        self.check_outcomes(&store).await.map_err(|what| format!("after what came late: {what}"))?;
        let repository = self.open(Arc::clone(&store)).await;
        prune_all(&repository).await;
        let needed =
            self.check_outcomes(&store).await.map_err(|what| format!("after a last prune: {what}"))?;
        let packs = names(&store, "packs").await;
        match needed {
            Some(needed) if packs != needed => {
                Err(format!("the last prune leaves {packs:?} where {needed:?} are needed"))
            }
            _ => Ok(()),
        }
    }

    /// Every committed outcome that is not retired reads back. Gives the packs that they name, unless some were moved.
    async fn check_outcomes(&self, store: &Arc<dyn Store>) -> Result<Option<BTreeSet<String>>, String> {
        let repository = self.open(Arc::clone(store)).await;
        let reader = repository.begin_reading_unannounced().await.unwrap();
        let retired: BTreeSet<_> = names(store, "retired").await;
        let mut missing = self.log.committed.lock().unwrap().clone();
        missing.extend([self.half, self.retiring]);
        missing.retain(|id| !retired.contains(&id.to_string()));
        let (mut live, mut needed, mut moved) = (Vec::new(), BTreeSet::new(), false);
        for id in repository.list_outcomes().await.unwrap() {
            if retired.contains(&id.to_string()) {
                continue;
            }
            match reader.outcome(id).await {
                Ok(outcome) if outcome.purpose() == SessionPurpose::Repack => moved = true,
                Ok(outcome) => {
                    read_pieces(&reader, &outcome).await?;
                    missing.remove(&id);
                    live.push(id);
                    needed.extend(outcome.packs().iter().map(ToString::to_string));
                }
                Err(ReadError::NotCommitted { .. }) => {}
                Err(error) => return Err(Chain(&error).to_string()),
            }
        }
        if let Some(id) = missing.first() {
            return Err(format!("outcome {id}, which its writer was told is safe, is lost"));
        }
        let verification = Verification { depth: Depth::Full, expected: live };
        let report = reader.verify(&verification, &|_| {}).await.unwrap();
        match report.findings.first() {
            Some(finding) => Err(finding.to_string()),
            None => Ok((!moved).then_some(needed)),
        }
    }

    /// Maintenance has ended the session, so that it may meet anything.
    pub(super) async fn was_ended(memory: &MemoryStore, vault: &VaultKeyring, session: SessionId) -> bool {
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let opened = locked(&store).open(Unlock::Vault(vault)).await.unwrap();
        let outcome = opened.fetch_outcome(session).await;
        outcome.is_ok_and(|outcome| outcome.result() == SessionResult::Aborted)
    }
}
