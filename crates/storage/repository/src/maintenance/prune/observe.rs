//! Reads all that a plan is made of, in the order in which the protocol needs it.
//!
//! Order: 1 marks and their verdicts, 2 outcomes, 3 retirements, sessions, index objects, 4 packs. Packs come last,
//! so that one of a session that commits meanwhile is at worst marked and then kept.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use keelson_crypto::{ObjectId, ObjectKind};
use keelson_model::{Chain, PackId, SessionId};
use keelson_store::{ObjectMeta, StoreError, StoreExt, StorePath};

use super::sessions::read_end_of_life;
use super::{JudgedRetirements, PruneError};
use crate::core::Core;
use crate::format::mark_record::{MarkRecord, VerdictRecord};
use crate::format::outcome_record::SessionResult;
use crate::index::{IndexSource, fetch_index_object};
use crate::limits::{COMMIT_REQUESTS_IN_FLIGHT, INDEX_READS_IN_FLIGHT};
use crate::maintenance::liveness::{MoveTable, PackSet};
use crate::maintenance::outcomes::{OutcomeRead, Wanted, read_outcomes};
use crate::object::{Expected, ObjectError};
use crate::paths;

/// What a prune saw.
pub(super) struct Inventory {
    /// The store's time.
    pub(super) now: Timestamp,
    pub(super) marks: Vec<MarkSeen>,
    pub(super) verdicts: Vec<(ObjectId, Timestamp)>,
    pub(super) outcomes: Vec<OutcomeSeen>,
    pub(super) retirements: Vec<(SessionId, Timestamp)>,
    pub(super) sessions: Vec<(SessionId, StorePath)>,
    /// Sessions without an outcome, and until when they live.
    pub(super) open: Vec<(SessionId, Timestamp)>,
    pub(super) indexes: Vec<IndexSeen>,
    /// Some index object cannot be read, so nobody knows what it names.
    pub(super) index_damaged: bool,
    pub(super) packs: PacksSeen,
    /// Objects that could go if they were not locked, and when the last of these locks passes.
    pub(super) locked: u64,
    pub(super) locked_until: Option<Timestamp>,
}

pub(super) struct MarkSeen {
    pub(super) id: ObjectId,
    pub(super) stored_at: Timestamp,
    /// The dead of its verdict, if there is one.
    pub(super) dead: Option<Vec<PackId>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutcomeState {
    Live,
    Retired,
    Repack { needed: bool },
    Done,
    Aborted,
}

pub(super) struct OutcomeSeen {
    pub(super) id: SessionId,
    pub(super) stored_at: Timestamp,
    pub(super) state: OutcomeState,
    pub(super) locked: bool,
}

/// An index object and the packs it describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexSeen {
    pub(super) source: IndexSource,
    pub(super) packs: Vec<PackId>,
    pub(super) locked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackSeen {
    pub(super) id: PackId,
    pub(super) bytes: u64,
}

#[derive(Default)]
pub(super) struct PacksSeen {
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// Needed by nothing live and in no mark.
    pub(super) unneeded: Vec<PackSeen>,
    /// In a mark without a verdict.
    pub(super) undecided: Vec<PackSeen>,
    /// Dead by a verdict and still there.
    pub(super) dead: Vec<PackSeen>,
}

pub(super) async fn observe(
    core: &Arc<Core>,
    retirements: &JudgedRetirements,
) -> Result<Inventory, PruneError> {
    let now = core.store.time().await.map_err(|source| PruneError::ReadTime { source })?;
    let Decided { marks, verdicts, undecided, dead } = read_marks(core).await?;
    let (outcomes, needed) = read_all_outcomes(core, retirements).await?;
    let retired = list(core, paths::RETIRED).await?.into_iter();
    let retired = retired.filter_map(|object| Some((paths::parse_name(&object.path)?, object.modified)));
    let sessions = list(core, paths::SESSIONS).await?.into_iter();
    let sessions: Vec<_> = sessions
        .filter_map(|object| Some((paths::parse_name(&object.path.parent()?)?, object.path)))
        .collect();
    let open = read_open_sessions(core, &sessions, &outcomes).await?;
    let (indexes, index_damaged) = read_indexes(core).await?;
    let packs = list_packs(core, &undecided, &dead, &needed).await?;
    let mut inventory = Inventory {
        now,
        marks,
        verdicts,
        outcomes,
        retirements: retired.collect(),
        sessions,
        open,
        indexes,
        index_damaged,
        packs,
        locked: 0,
        locked_until: None,
    };
    if core.store.capabilities().object_lock {
        set_aside_locked(core, &mut inventory).await?;
    }
    Ok(inventory)
}

pub(super) async fn list(core: &Core, name: &str) -> Result<Vec<ObjectMeta>, PruneError> {
    let folder = core.paths.join(name);
    let objects = core.store.stream(&folder).try_collect().await;
    objects.map_err(|source| PruneError::List { folder, source })
}

async fn read_open_sessions(
    core: &Arc<Core>,
    sessions: &[(SessionId, StorePath)],
    outcomes: &[OutcomeSeen],
) -> Result<Vec<(SessionId, Timestamp)>, PruneError> {
    let ended: HashSet<_> = outcomes.iter().map(|seen| seen.id).collect();
    let open: BTreeSet<_> = sessions.iter().map(|(id, _)| *id).filter(|id| !ended.contains(id)).collect();
    let mut lives = Vec::with_capacity(open.len());
    for id in open {
        lives.extend(read_end_of_life(core, id).await?.map(|until| (id, until)));
    }
    Ok(lives)
}

/// What marks and verdicts say.
#[derive(Default)]
struct Decided {
    marks: Vec<MarkSeen>,
    verdicts: Vec<(ObjectId, Timestamp)>,
    /// Packs of marks without a verdict.
    undecided: PackSet,
    dead: PackSet,
}

/// Marks first: a verdict on one that is seen may then be seen too, and a mark without one is undecided at worst.
async fn read_marks(core: &Core) -> Result<Decided, PruneError> {
    let objects = list(core, paths::MARKS).await?;
    let verdicts = list(core, paths::VERDICTS).await?.into_iter();
    let named = |object: ObjectMeta| Some((paths::parse_object_id(&object.path)?, object.modified));
    let mut decided = Decided { verdicts: verdicts.filter_map(named).collect(), ..Decided::default() };
    for (id, stored_at) in objects.into_iter().filter_map(named).collect::<Vec<_>>() {
        let has_verdict = decided.verdicts.iter().any(|(verdict, _)| *verdict == id);
        let verdict = if has_verdict { fetch_verdict(core, id).await? } else { None };
        match &verdict {
            Some(verdict) => decided.dead.extend(verdict.dead.iter().copied()),
            // In the verdict's place lies something else, which goes in time. Until then others may mark its packs.
            None if has_verdict => continue,
            None => {
                let Some(mark) = fetch_mark(core, id).await? else { continue };
                decided.undecided.extend(mark.packs);
            }
        }
        decided.marks.push(MarkSeen { id, stored_at, dead: verdict.map(|verdict| verdict.dead) });
    }
    decided.dead.settle();
    decided.undecided.settle();
    Ok(decided)
}

async fn list_packs(
    core: &Core,
    undecided: &PackSet,
    dead: &PackSet,
    needed: &PackSet,
) -> Result<PacksSeen, PruneError> {
    let folder = core.paths.join(paths::PACKS);
    let mut seen = PacksSeen::default();
    let mut objects = core.store.stream(&folder);
    while let Some(object) = objects.next().await {
        let object = object.map_err(|source| PruneError::List { folder: folder.clone(), source })?;
        let Some(id) = paths::parse_name::<PackId>(&object.path) else { continue };
        seen.count += 1;
        seen.bytes += object.length;
        let pack = PackSeen { id, bytes: object.length };
        if dead.contains(&id) {
            seen.dead.push(pack);
        } else if undecided.contains(&id) {
            seen.undecided.push(pack);
        } else if !needed.contains(&id) {
            seen.unneeded.push(pack);
        }
    }
    Ok(seen)
}

/// What is known of all outcomes, and the packs that live ones need.
async fn read_all_outcomes(
    core: &Arc<Core>,
    retirements: &JudgedRetirements,
) -> Result<(Vec<OutcomeSeen>, PackSet), PruneError> {
    let (mut seen, mut needed, mut moves) = (Vec::new(), PackSet::default(), MoveTable::default());
    let mut repacks: Vec<(usize, Vec<SessionId>)> = Vec::new();
    let mut outcomes = read_outcomes(core, Wanted::All);
    while let Some(read) = outcomes.next().await {
        let OutcomeRead { id, stored_at, outcome, .. } = read.map_err(|source| list_error(core, source))?;
        let retired = retirements.valid.contains(&id);
        let state = match outcome {
            // Its retirement counts: what it needs does not matter, even if nobody can read it any more.
            _ if retired => OutcomeState::Retired,
            Ok(outcome) if outcome.is_repack() => {
                moves.add(&outcome);
                repacks.push((seen.len(), outcome.moves().outcomes.clone()));
                OutcomeState::Repack { needed: false }
            }
            Ok(outcome) => match outcome.result() {
                SessionResult::Committed => {
                    needed.extend(outcome.packs().iter().copied());
                    OutcomeState::Live
                }
                SessionResult::Done => OutcomeState::Done,
                SessionResult::Aborted => OutcomeState::Aborted,
            },
            Err(ObjectError::Missing { .. }) => continue,
            Err(source) => return Err(PruneError::Outcome { outcome: id, source: Box::new(source) }),
        };
        seen.push(OutcomeSeen { id, stored_at, state, locked: false });
    }
    let live: HashSet<SessionId> =
        seen.iter().filter(|seen| seen.state == OutcomeState::Live).map(|seen| seen.id).collect();
    for (at, outcomes) in repacks {
        let needed = outcomes.iter().any(|outcome| live.contains(outcome));
        seen[at].state = OutcomeState::Repack { needed };
    }
    if !moves.is_empty() {
        needed = apply_moves(core, &live, &moves).await?;
    }
    needed.settle();
    Ok((seen, needed))
}

/// A move may be read after the outcome that it is for, so all live outcomes are read again.
async fn apply_moves(
    core: &Arc<Core>,
    live: &HashSet<SessionId>,
    moves: &MoveTable,
) -> Result<PackSet, PruneError> {
    let mut needed = PackSet::default();
    let mut outcomes = read_outcomes(core, Wanted::These(live));
    while let Some(read) = outcomes.next().await {
        let OutcomeRead { id, outcome, .. } = read.map_err(|source| list_error(core, source))?;
        match outcome {
            Ok(outcome) => needed.extend(moves.needed_by(&outcome)),
            Err(ObjectError::Missing { .. }) => {}
            Err(source) => return Err(PruneError::Outcome { outcome: id, source: Box::new(source) }),
        }
    }
    Ok(needed)
}

fn list_error(core: &Core, source: StoreError) -> PruneError {
    PruneError::List { folder: core.paths.join(paths::OUTCOMES), source }
}

async fn read_indexes(core: &Arc<Core>) -> Result<(Vec<IndexSeen>, bool), PruneError> {
    let objects = list(core, paths::INDEX).await?.into_iter();
    let sources = objects.filter_map(|object| {
        let id = paths::parse_object_id(&object.path)?;
        Some(IndexSource { id, version: object.version })
    });
    let sources: Vec<_> = sources.collect();
    let reads = stream::iter(sources).map(|source| {
        let core = Arc::clone(core);
        async move { fetch_index_object(&core, source).await }
    });
    let mut reads = reads.buffered(INDEX_READS_IN_FLIGHT);
    let (mut seen, mut damaged) = (Vec::new(), false);
    while let Some(read) = reads.next().await {
        match read {
            Ok(decoded) => {
                let packs = decoded.packs.iter().map(|(record, _)| record.id).collect();
                seen.push(IndexSeen { source: decoded.source, packs, locked: false });
            }
            Err(ObjectError::Missing { .. }) => {}
            Err(error) if error.is_damage() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "index object skipped");
                damaged = true;
            }
            Err(source) => return Err(PruneError::Read { source: Box::new(source) }),
        }
    }
    Ok((seen, damaged))
}

/// Reads a mark. `None` if it was removed since it was listed, or is not ours: sessions do not heed it then either.
pub(super) async fn fetch_mark(core: &Core, id: ObjectId) -> Result<Option<MarkRecord>, PruneError> {
    let expected = Expected { kind: ObjectKind::Mark, id, path: core.paths.mark(id) };
    let Some(body) = fetch_record(core, &expected).await? else { return Ok(None) };
    let mark = MarkRecord::decode(&body).map_err(|source| expected.decode_error(source));
    mark.map(Some).map_err(|source| PruneError::Read { source: Box::new(source) })
}

/// Reads a verdict. `None` if there is none of ours.
pub(super) async fn fetch_verdict(core: &Core, id: ObjectId) -> Result<Option<VerdictRecord>, PruneError> {
    let expected = Expected { kind: ObjectKind::Verdict, id, path: core.paths.verdict(id) };
    let Some(body) = fetch_record(core, &expected).await? else { return Ok(None) };
    let verdict = VerdictRecord::decode(&body).map_err(|source| expected.decode_error(source));
    verdict.map(Some).map_err(|source| PruneError::Read { source: Box::new(source) })
}

async fn fetch_record(core: &Core, expected: &Expected) -> Result<Option<Vec<u8>>, PruneError> {
    let fetched = match expected.fetch(core.store.as_ref(), None).await {
        Err(ObjectError::Missing { .. }) => return Ok(None),
        fetched => fetched,
    };
    match fetched.and_then(|bytes| expected.open_record(&core.keys, &bytes)) {
        Ok(body) => Ok(Some(body)),
        Err(error) if error.is_strangers() => {
            tracing::warn!(cause = %Chain(&error), "tampering: an object of nobody's lies among the decisions of pruning");
            Ok(None)
        }
        Err(source) => Err(PruneError::Read { source: Box::new(source) }),
    }
}

/// Asks for the lock of everything that could go, and leaves out what is locked.
async fn set_aside_locked(core: &Arc<Core>, inventory: &mut Inventory) -> Result<(), PruneError> {
    let now = inventory.now;
    let mut locks = Locks { core, now, locked: 0, until: None };
    let pack_path = |pack: &PackSeen| core.paths.pack(pack.id);
    for packs in [&mut inventory.packs.unneeded, &mut inventory.packs.dead] {
        let locked: HashSet<_> = locks.ask(packs.iter().map(pack_path).collect()).await?;
        packs.retain(|pack| !locked.contains(&pack_path(pack)));
    }
    let retired = inventory.outcomes.iter_mut().filter(|seen| seen.state == OutcomeState::Retired);
    for seen in retired {
        seen.locked = !locks.ask(vec![core.paths.outcome(seen.id)]).await?.is_empty();
    }
    // An index object is not waited for by itself: it is locked for the sake of outcomes.
    let mut quiet = Locks { core, now, locked: 0, until: None };
    for seen in &mut inventory.indexes {
        seen.locked = !quiet.ask(vec![core.paths.index(seen.source.id)]).await?.is_empty();
    }
    (inventory.locked, inventory.locked_until) = (locks.locked, locks.until);
    Ok(())
}

struct Locks<'a> {
    core: &'a Arc<Core>,
    now: Timestamp,
    locked: u64,
    until: Option<Timestamp>,
}

impl Locks<'_> {
    async fn ask(&mut self, paths: Vec<StorePath>) -> Result<HashSet<StorePath>, PruneError> {
        let heads = stream::iter(paths).map(|path| {
            let store = Arc::clone(&self.core.store);
            async move {
                match store.head(&path, None).await {
                    Ok(meta) => Ok(meta.retain_until.map(|until| (path, until))),
                    Err(StoreError::NotFound { .. }) => Ok(None),
                    Err(source) => Err(PruneError::Look { path, source }),
                }
            }
        });
        let mut heads = heads.buffered(COMMIT_REQUESTS_IN_FLIGHT);
        let mut locked = HashSet::new();
        while let Some(head) = heads.next().await {
            if let Some((path, until)) = head?.filter(|(_, until)| *until > self.now) {
                self.locked += 1;
                self.until = self.until.max(Some(until));
                locked.insert(path);
            }
        }
        Ok(locked)
    }
}
