//! How much of each pack is alive: the streams of all live outcomes are walked down to their chunks.
//!
//! A needed chunk counts in every pack that holds it. Nodes are walked once, so which outcome needs which copy is not
//! known; counting all of them is what makes the moves right for every outcome.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use keelson_model::{ChunkId, PackId, SessionId};
use keelson_store::StoreError;

use super::{PlannedPack, Repack, RepackError, RepackPlan, RepackThresholds, list_error};
use crate::core::Core;
use crate::format::outcome_record::SessionResult;
use crate::index::{Index, PackNumber};
use crate::limits::LOOKUPS_PER_TASK;
use crate::maintenance::liveness::{MoveTable, PackSet};
use crate::maintenance::outcomes::{OutcomeRead, Wanted, read_outcomes};
use crate::object::{ObjectError, offload};
use crate::outcome::Outcome;
use crate::pack::{PACK_FRAME_BYTES, stored_bytes};
use crate::read::{ChunkReader, ReadError};
use crate::session::SessionMarker;
use crate::session::reuse::Condemned;
use crate::tree::{StreamRef, TreeCursor, WalkStep};

/// A pack, and which of its chunks are alive.
#[derive(Default)]
pub(super) struct PackLife {
    live: Vec<u64>,
    live_bytes: u64,
}

impl PackLife {
    fn lives(&self, position: u32) -> bool {
        let word = self.live.get(position as usize / 64).copied().unwrap_or_default();
        word >> (position % 64) & 1 == 1
    }

    /// The positions of its living chunks.
    pub(super) fn living(&self) -> Vec<u32> {
        (0..self.live.len() as u32 * 64).filter(|position| self.lives(*position)).collect()
    }

    fn count(&mut self, position: u32, bytes: u64) {
        if self.lives(position) {
            return;
        }
        let word = position as usize / 64;
        if self.live.len() <= word {
            self.live.resize(word + 1, 0);
        }
        self.live[word] |= 1 << (position % 64);
        self.live_bytes += bytes;
    }

    /// Takes in what was counted for the same pack by another description of it.
    fn merge(&mut self, other: Self) {
        self.live.resize(self.live.len().max(other.live.len()), 0);
        self.live.iter_mut().zip(&other.live).for_each(|(word, others)| *word |= others);
        self.live_bytes += other.live_bytes;
    }
}

/// What was found alive.
pub(super) struct Survey {
    core: Arc<Core>,
    index: Arc<Index>,
    chunks: ChunkReader,
    lives: HashMap<PackNumber, PackLife>,
    nodes: HashSet<ChunkId>,
    moves: MoveTable,
    walked: HashSet<SessionId>,
    needed: PackSet,
}

impl Survey {
    /// Walks every outcome that is committed and not among `retired`.
    pub(super) async fn of(
        core: &Arc<Core>,
        index: &Arc<Index>,
        retired: &HashSet<SessionId>,
    ) -> Result<Self, RepackError> {
        let mut survey = Self {
            core: Arc::clone(core),
            index: Arc::clone(index),
            chunks: ChunkReader::new(core, index),
            lives: HashMap::new(),
            nodes: HashSet::new(),
            moves: MoveTable::default(),
            walked: HashSet::new(),
            needed: PackSet::default(),
        };
        let mut outcomes = read_outcomes(core, Wanted::AllBut(retired));
        while let Some(read) = outcomes.next().await {
            let OutcomeRead { outcome, .. } = read.map_err(|source| list_error(core, source))?;
            match outcome {
                Ok(outcome) if outcome.is_repack() => survey.moves.add(&outcome),
                Ok(outcome) if outcome.result() == SessionResult::Committed => survey.walk(&outcome).await?,
                Ok(_) => {}
                Err(error) if error.is_damage() => {}
                Err(source) => return Err(RepackError::Read { source: Box::new(source) }),
            }
        }
        survey.collect_needed().await?;
        Ok(survey)
    }

    /// An outcome that cannot be walked to its end is not among those walked: no move will hold for it.
    async fn walk(&mut self, outcome: &Outcome) -> Result<(), RepackError> {
        for stream in outcome.streams() {
            match self.walk_stream(&stream.reference).await {
                Ok(()) => {}
                Err(ReadError::Chunk { chunk, source }) if !source.is_damage() => {
                    let source = ReadError::Chunk { chunk, source };
                    return Err(RepackError::Walk { outcome: outcome.id, source });
                }
                Err(source @ ReadError::LookUp { .. }) => {
                    return Err(RepackError::Walk { outcome: outcome.id, source });
                }
                Err(error) => {
                    tracing::warn!(outcome = %outcome.id, error = &error as &dyn std::error::Error, "a damaged outcome is left alone");
                    // Some nodes were entered and not walked to their end.
                    self.nodes.clear();
                    return Ok(());
                }
            }
        }
        self.walked.insert(outcome.id);
        Ok(())
    }

    async fn walk_stream(&mut self, reference: &StreamRef) -> Result<(), ReadError> {
        let mut cursor = TreeCursor::new(reference);
        let mut batch = Vec::new();
        loop {
            match cursor.advance() {
                WalkStep::End => return self.count(batch).await,
                WalkStep::Chunk(chunk) => batch.push(chunk.id),
                WalkStep::Node { node, height } => {
                    batch.push(node.id);
                    if self.nodes.insert(node.id) {
                        let content = self.chunks.fetch(node.id).await?;
                        let entered = cursor.enter(&node, height, &content);
                        entered.map_err(|source| ReadError::Node { chunk: node.id, source })?;
                    }
                }
            }
            if batch.len() >= LOOKUPS_PER_TASK {
                self.count(std::mem::take(&mut batch)).await?;
            }
        }
    }

    async fn count(&mut self, chunks: Vec<ChunkId>) -> Result<(), ReadError> {
        let index = Arc::clone(&self.index);
        let found = offload(move || {
            let find = |chunk| match index.find(&chunk) {
                Ok(places) if places.is_empty() => Err(ReadError::UnknownChunk { chunk }),
                Ok(places) => Ok(places),
                Err(source) => Err(ReadError::LookUp { chunk, source }),
            };
            chunks.into_iter().map(find).collect::<Result<Vec<_>, _>>()
        });
        for place in found.await?.into_iter().flatten() {
            let life = self.lives.entry(place.pack).or_default();
            life.count(place.position, stored_bytes(place.sealed_bytes));
        }
        Ok(())
    }

    async fn collect_needed(&mut self) -> Result<(), RepackError> {
        let mut outcomes = read_outcomes(&self.core, Wanted::These(&self.walked));
        while let Some(read) = outcomes.next().await {
            let read = read.map_err(|source| list_error(&self.core, source))?;
            match read.outcome {
                Ok(outcome) => self.needed.extend(self.moves.needed_by(&outcome)),
                Err(error) if error.is_damage() => {}
                Err(source) => return Err(RepackError::Read { source: Box::new(source) }),
            }
        }
        self.needed.settle();
        Ok(())
    }

    /// The deadest first, up to the limit.
    pub(super) async fn choose(
        mut self,
        marker: Arc<SessionMarker>,
        condemned: &Condemned,
        thresholds: RepackThresholds,
    ) -> Result<Repack, RepackError> {
        let mut lives = self.name_packs().await?;
        let mut half_dead = self.find_half_dead(&lives, condemned, thresholds.dead_percent_min).await?;
        let deadness = |pack: &PlannedPack| pack.dead_bytes * 1000 / (pack.live_bytes + pack.dead_bytes);
        half_dead.sort_by_key(|pack| (std::cmp::Reverse(deadness(pack)), pack.id));
        let (mut packs, mut copied, mut left) = (Vec::new(), 0, 0);
        for pack in half_dead {
            let fits = packs.is_empty() || copied + pack.live_bytes <= thresholds.copied_bytes_max;
            if !fits {
                left += 1;
            } else if !self.is_locked(pack.id).await? {
                copied += pack.live_bytes;
                packs.push(pack);
            }
        }
        let lives = packs.iter().map(|pack| (pack.id, lives.remove(&pack.id).unwrap_or_default())).collect();
        let Self { core, moves, walked, .. } = self;
        Ok(Repack { core, marker, plan: RepackPlan { packs, left }, lives, moves, walked })
    }

    /// The same by the ids of packs. One that two index objects describe may have been counted under two numbers.
    async fn name_packs(&mut self) -> Result<HashMap<PackId, PackLife>, RepackError> {
        let (index, lives) = (Arc::clone(&self.index), std::mem::take(&mut self.lives));
        let named = offload(move || {
            let mut named: HashMap<PackId, PackLife> = HashMap::with_capacity(lives.len());
            for (number, life) in lives {
                named.entry(index.pack(number)?.record.id).or_default().merge(life);
            }
            Ok(named)
        });
        named.await.map_err(|source| RepackError::LookUp { source })
    }

    async fn find_half_dead(
        &self,
        lives: &HashMap<PackId, PackLife>,
        condemned: &Condemned,
        dead_percent_min: u8,
    ) -> Result<Vec<PlannedPack>, RepackError> {
        let percent_min = u64::from(dead_percent_min.max(1));
        let candidates: Vec<_> = self.needed.iter().filter(|id| !condemned.contains(id)).copied().collect();
        let index = Arc::clone(&self.index);
        let lengths = offload(move || {
            let length =
                |id: PackId| Ok((id, index.find_pack(&id)?.map(|pack| u64::from(pack.record.length))));
            candidates.into_iter().map(length).collect::<Result<Vec<_>, _>>()
        });
        let lengths = lengths.await.map_err(|source| RepackError::LookUp { source })?;
        let mut half_dead = Vec::new();
        for (id, length) in lengths {
            // A pack that no index object describes is damage, which verification names.
            let Some(length) = length else { continue };
            let live_bytes = lives.get(&id).map_or(0, |life| life.live_bytes);
            let dead_bytes = length.saturating_sub(live_bytes + PACK_FRAME_BYTES);
            if dead_bytes > 0 && dead_bytes * 100 >= length * percent_min {
                half_dead.push(PlannedPack { id, live_bytes, dead_bytes });
            }
        }
        Ok(half_dead)
    }

    /// A locked pack cannot be freed, whatever is copied out of it.
    async fn is_locked(&self, pack: PackId) -> Result<bool, RepackError> {
        let store = &self.core.store;
        if !store.capabilities().object_lock {
            return Ok(false);
        }
        let path = self.core.paths.pack(pack);
        let look = |source| RepackError::Look { path: path.clone(), source };
        let now = store.time().await.map_err(look)?;
        match store.head(&path, None).await {
            Ok(meta) => Ok(meta.retain_until.is_some_and(|until| until > now)),
            Err(StoreError::NotFound { .. }) => Ok(true),
            Err(source) => Err(look(source)),
        }
    }
}

/// Whether an error of reading a pack means that it is damaged rather than out of reach.
pub(super) fn or_damage<T>(read: Result<T, ObjectError>) -> Result<Option<T>, RepackError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_damage() => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a damaged pack is not repacked");
            Ok(None)
        }
        Err(source) => Err(RepackError::Read { source: Box::new(source) }),
    }
}
