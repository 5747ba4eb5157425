//! One owner takes over from another, who is paused at any point: who retires what, and what counts for whom.

use std::collections::BTreeSet;
use std::sync::Mutex;

use futures::FutureExt;
use keelson_model::{RepositoryId, SessionId};
use keelson_repository::{
    ChunkSizes, JudgedRetirements, NewRepository, NewSession, Open, OutcomeDraft, Ownership, Repository,
    SessionPurpose, Unlock,
};
use keelson_store::StorePath;
use keelson_testkit::explorer::{Actor, Chooser, Run, Stage};

use super::super::super::retired::{RetiredBefore, judge, read_retired};
use super::super::*;
use super::liars::{Liar, Lie};

/// How often a new owner tries.
const TRIES: usize = 4;
/// An owner judges anew in every pass of maintenance.
const PASSES: usize = 2;

/// A repository with two outcomes. Its owner retires them and judges at the same time, paused at any point, while
/// another takes over.
pub(super) struct Handover {
    objects: Vec<(StorePath, Bytes)>,
    lineage: Arc<Lineage>,
    vault: Arc<VaultKeyring>,
    outcomes: [SessionId; 2],
    old: InstanceId,
}

/// A run in which two owners disagree.
pub(super) struct Violation {
    pub(super) run: Run,
    pub(super) what: String,
}

/// What each owner found to count, and would remove.
#[derive(Default)]
struct Found {
    by_old: Mutex<Option<JudgedRetirements>>,
    by_new: Mutex<Vec<JudgedRetirements>>,
}

impl Handover {
    pub(super) async fn new() -> Self {
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

    pub(super) async fn play(
        &self,
        disturbances: usize,
        lie: Option<Lie>,
        chooser: &mut dyn Chooser,
    ) -> Result<Run, Box<Violation>> {
        let memory = MemoryStore::new();
        for (path, bytes) in &self.objects {
            memory.tamper(path, bytes.clone());
        }
        let stage = Stage::new(Arc::new(memory.clone()), disturbances);
        let found = Arc::new(Found::default());
        let of_old = lie.filter(|lie| *lie == Lie::FreezeClaims);
        let retiring = self.player(stage.store_of(0), None).await;
        let old = self.player(stage.store_of(1), of_old).await;
        let new = self.player(stage.store_of(2), lie.filter(|_| of_old.is_none())).await;
        let (outcomes, holder) = (self.outcomes, self.old);
        let (seen_by_old, seen_by_new) = (Arc::clone(&found), Arc::clone(&found));
        let retiring_script = async move {
            let mine = Ownership::proven_by_newest_epoch(retiring.lineage.id, 1);
            for outcome in outcomes {
                let _ = retiring.repository.retire(outcome, &mine, Timestamp::UNIX_EPOCH).await;
            }
        };
        let old_script = async move {
            *seen_by_old.by_old.lock().unwrap() = old.judge(holder).await.ok();
        };
        let new_script = async move {
            let (me, mut passes) = (instance(), 0);
            for _ in 0..TRIES {
                if let Ok(judged) = new.take_over_and_judge(me).await {
                    seen_by_new.by_new.lock().unwrap().push(judged);
                    passes += 1;
                }
                if passes == PASSES {
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
        let last = self.player(Arc::new(memory), None).await;
        match last.check(&found).await {
            Ok(()) => Ok(run),
            Err(what) => Err(Box::new(Violation { run, what })),
        }
    }

    async fn player(&self, store: Arc<dyn Store>, lie: Option<Lie>) -> Player {
        let store = match lie {
            Some(lie) => Arc::new(Liar::new(store, lie)),
            None => store,
        };
        let locked = Repository::at(Arc::clone(&store), repository_root()).unwrap();
        let repository = locked.open(Unlock::Vault(&self.vault)).await.unwrap();
        Player { store, repository, lineage: Arc::clone(&self.lineage) }
    }
}

pub(super) fn repository_root() -> StorePath {
    "k10/exports/application".parse().unwrap()
}

/// An owner gives up for now, and why does not matter.
struct Failed;

impl<E: std::error::Error> From<E> for Failed {
    fn from(_: E) -> Self {
        Self
    }
}

struct Player {
    store: Arc<dyn Store>,
    repository: Repository<Open>,
    lineage: Arc<Lineage>,
}

impl Player {
    async fn prove(&self, me: InstanceId) -> Result<Ownership, Failed> {
        let Lineage { id, keys } = &*self.lineage;
        let claims = read_claims(&*self.store, &ClusterFolder::new(&cluster()), *id, keys).await?;
        let held = claims.holder.filter(|holder| holder.claim.instance == me).ok_or(Failed)?;
        Ok(Ownership::proven_by_newest_epoch(*id, u64::from(held.epoch.0)))
    }

    /// What this owner may remove, as a pass of maintenance finds it out.
    async fn judge(&self, me: InstanceId) -> Result<JudgedRetirements, Failed> {
        let proof = self.prove(me).await?;
        let (folder, Lineage { id, keys }) = (ClusterFolder::new(&cluster()), &*self.lineage);
        let repositories = std::slice::from_ref(&self.repository);
        let inherited = inherit(&*self.store, &folder, *id, keys, epoch_of(&proof), repositories).await?;
        let list = inherited.list.as_ref();
        let (_, judged) = find_counting(&self.repository, *id, list, self.prove(me)).await?;
        Ok(judged)
    }

    /// Claims only what it does not hold.
    async fn take_over_and_judge(&self, me: InstanceId) -> Result<JudgedRetirements, Failed> {
        if self.prove(me).await.is_err() {
            let (folder, Lineage { id, keys }) = (ClusterFolder::new(&cluster()), &*self.lineage);
            claim(&*self.store, &folder, *id, keys, (me, cluster()), Timestamp::UNIX_EPOCH).await?;
        }
        self.judge(me).await
    }

    async fn check(&self, found: &Found) -> Result<(), String> {
        let (by_old, by_new) = (found.by_old.lock().unwrap().take(), found.by_new.lock().unwrap().clone());
        if let (Some(old), Some(new)) = (by_old, by_new.last())
            && !old.valid.is_subset(&new.valid)
        {
            return Err(format!(
                "the old owner removes {:?} where the new one keeps all but {:?}",
                old.valid, new.valid
            ));
        }
        let Some(list) = self.read_list(Epoch(2)).await else { return Ok(()) };
        for JudgedRetirements { valid, void } in by_new {
            if !valid.is_subset(&list.outcomes) || !void.is_disjoint(&list.outcomes) {
                let found = &list.outcomes;
                return Err(format!(
                    "the new owner judged {valid:?} to count and not {void:?}: not {found:?}"
                ));
            }
        }
        self.check_late_retirements(&list).await
    }

    /// What the new owner did not find when it took over counts no more, whoever states it and whenever it arrives.
    async fn check_late_retirements(&self, list: &RetiredBefore) -> Result<(), String> {
        let retired = self.repository.list_retired().await.unwrap();
        let judged = judge(&retired, self.lineage.id, Epoch(2), Some(list));
        let late: BTreeSet<_> = retired.iter().map(|retirement| retirement.outcome).collect();
        let late: BTreeSet<_> = late.difference(&list.outcomes).copied().collect();
        if judged.valid.is_subset(&list.outcomes) && judged.void == late {
            return Ok(());
        }
        Err(format!("{late:?} came late, and {:?} count", judged.valid))
    }

    async fn read_list(&self, epoch: Epoch) -> Option<RetiredBefore> {
        let folder = ClusterFolder::new(&cluster());
        let Lineage { id, keys } = &*self.lineage;
        read_retired(&*self.store, &folder, *id, keys, epoch).await.unwrap().list()
    }
}
