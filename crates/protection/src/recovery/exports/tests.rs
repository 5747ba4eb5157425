//! Exports of two applications in a store in memory that fails on demand.

use keelson_crypto::{KdfCost, Slot, VaultKey};
use keelson_model::{ErrorClass, RepositoryId, SlotId};
use keelson_repository::{ChunkSizes, NewRepository, NewSession, OutcomeDraft, SessionPurpose};
use keelson_store::StoreExt;
use keelson_store::providers::memory::MemoryStore;
use keelson_testkit::{Calls, Failure, Fault, FaultyStore, Span};
use serde_json::json;

use super::*;
use crate::locations::{OpenedWith, Place};

/// What a lost cluster has left.
pub(in crate::recovery) struct Left {
    pub memory: MemoryStore,
    pub faulty: Arc<FaultyStore>,
    pub vault: VaultKeyring,
    pub location: Location,
    /// The repository of each application, and its outcomes.
    pub roots: Vec<(String, StorePath, Vec<SessionId>)>,
}

pub(in crate::recovery) fn cluster() -> ClusterId {
    "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".parse().unwrap()
}

pub(in crate::recovery) fn now() -> Timestamp {
    Timestamp::constant(1_770_000_000, 0)
}

fn passphrase() -> Arc<Passphrase> {
    Arc::new(Passphrase::new(b"correct horse battery staple".to_vec()))
}

impl Left {
    pub(in crate::recovery) async fn by(applications: &[&str]) -> Self {
        let memory = MemoryStore::new();
        let faulty = Arc::new(FaultyStore::new(Arc::new(memory.clone())));
        let place = Place::FileStore { claim: "share".to_owned(), path: String::new() };
        let opened_with = OpenedWith::nothing();
        let location = Location { profile: "vault".to_owned(), store: faulty.clone(), place, opened_with };
        let vault = VaultKeyring::new(VaultKey::generate(VaultKey::FIRST));
        let mut left = Self { memory, faulty, vault, location, roots: Vec::new() };
        for application in applications {
            left.export(application).await;
        }
        left
    }

    /// Two restore points of an application.
    async fn export(&mut self, application: &str) {
        let id = RepositoryId::from_bytes(random_bytes());
        let root = ClusterFolder::new(&cluster()).export_repository(application, id);
        let slot =
            Slot::seal(SlotId::from_bytes([1; 16]), &passphrase(), KdfCost::LOWEST, self.vault.newest());
        let slots = [slot.unwrap()];
        let new = NewRepository { id, vault: &self.vault, slots: &slots, chunks: ChunkSizes::DEFAULT };
        let locked = Repository::at(self.location.store.clone(), root.clone()).unwrap();
        let repository = locked.create(new).await.unwrap().load_index().await.unwrap();
        let mut outcomes = Vec::new();
        for point in ["first", "second"] {
            let description = json!({
                "application": application, "point": point, "labels": {}, "actionTime": now(), "bytes": 0,
                "report": { "objects": 0, "counts": {}, "servedVersions": {}, "omitted": [], "failed": [] },
            });
            let new = NewSession { purpose: SessionPurpose::Export, lives_until: now(), now: now() };
            let draft = OutcomeDraft {
                created: now(),
                description: serde_json::to_vec(&description).unwrap(),
                streams: Vec::new(),
                retain_until: None,
            };
            let session = repository.begin(new).await.unwrap();
            outcomes.push(session.commit(draft).await.unwrap().id);
        }
        self.roots.push((application.to_owned(), root, outcomes));
    }

    pub(in crate::recovery) fn break_beneath(&self, folder: &StorePath) {
        let calls = Calls::Beneath(folder.clone());
        self.faulty.inject(calls, Span::From(1), Fault::Before(Failure::Broken));
    }

    pub(in crate::recovery) fn outcome(&self, application: usize, number: usize) -> StorePath {
        let (_, root, outcomes) = &self.roots[application];
        root.join(&format!("outcomes/{}", outcomes[number])).unwrap()
    }

    async fn survey(&self) -> Result<Exports, RecoveryError> {
        survey(&self.location, &cluster(), &[passphrase()]).await
    }

    /// How many restore points come, and what was passed over.
    async fn send(&self, exports: &Exports) -> Result<(usize, Vec<String>), RecoveryError> {
        let (sender, mut receiver) = mpsc::channel(POINTS_IN_FLIGHT);
        let warnings = send_all(exports, &self.location, &cluster(), sender).await?;
        let mut points = 0;
        while let Some(found) = receiver.recv().await {
            points += usize::from(matches!(found, Found::RestorePoint { .. }));
        }
        Ok((points, warnings))
    }
}

/// A catalog was made without the application, and nothing looked again.
#[tokio::test]
async fn a_repository_that_is_out_of_reach_for_now_fails_the_survey() {
    let left = Left::by(&["shop", "wiki"]).await;
    for (_, root, _) in &left.roots {
        left.break_beneath(root);
        let error = left.survey().await.err().expect("one of the two cannot be read");
        assert!(matches!(error.class(), ErrorClass::Unavailable { .. }), "{}", Chain(&error));
        left.faulty.heal();
    }
    let exports = left.survey().await.unwrap();
    assert_eq!((exports.outcomes, exports.warnings.len()), (4, 0));
}

#[tokio::test]
async fn a_repository_that_is_damaged_is_named_and_the_others_are_used() {
    let left = Left::by(&["shop", "wiki"]).await;
    let (_, root, _) = &left.roots[1];
    left.memory.tamper(&root.join("format").unwrap(), b"garbage".as_slice().into());
    let exports = left.survey().await.unwrap();
    assert_eq!(exports.outcomes, 2);
    assert!(exports.warnings.iter().any(|warning| warning.contains(root.as_str())), "{:?}", exports.warnings);
}

#[tokio::test]
async fn an_outcome_that_is_out_of_reach_for_now_fails_the_rebuild_and_a_damaged_one_does_not() {
    let left = Left::by(&["shop", "wiki"]).await;
    let exports = left.survey().await.unwrap();
    left.break_beneath(&left.outcome(1, 1));
    let error = left.send(&exports).await.unwrap_err();
    assert!(matches!(error.class(), ErrorClass::Unavailable { .. }), "{}", Chain(&error));
    left.faulty.heal();
    assert_eq!(left.send(&exports).await.unwrap(), (4, Vec::new()));

    left.memory.tamper(&left.outcome(1, 1), b"garbage".as_slice().into());
    left.location.store.delete(&left.outcome(0, 0), None).await.unwrap();
    assert!(left.location.store.fetch_if_present(&left.outcome(0, 0)).await.unwrap().is_none());
    let (points, warnings) = left.send(&exports).await.unwrap();
    assert_eq!((points, warnings.len()), (2, 2), "{warnings:?}");
}
