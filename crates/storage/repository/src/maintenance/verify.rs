//! Checking that every outcome can be read, and naming what is damaged and which outcomes need it.
//!
//! Order: 1 index objects, 2 outcomes, first for what repacks moved, 3 presence and length of the packs they name; at full depth 4 every byte of
//! those packs (or of a share of them), 5 every stream down to its chunks; last, which outcomes each damaged pack belongs to.

mod outcomes;
mod packs;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keelson_crypto::random_bytes;
use keelson_model::{Classified, ErrorClass, PackId, SessionId};
use keelson_store::{StoreError, StorePath};

use crate::core::Core;
use crate::index::{Index, IndexCacheError};
use crate::limits::FINDINGS_MAX;
use crate::maintenance::liveness::MoveTable;
use crate::object::ObjectError;
use crate::read::{ReadError, Reader};

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Outcomes and index objects are read; packs are looked for, with their lengths.
    Index,
    /// Of the packs a share is read besides, another one each time.
    Sample {
        /// So many at most.
        packs: usize,
    },
    /// Every byte that an outcome needs is read, authenticated and compared.
    Full,
}

/// What to verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// How deep.
    pub depth: Depth,
    /// Outcomes that the caller knows of: a lost one leaves no other trace.
    pub expected: Vec<SessionId>,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyProgress {
    /// Outcomes read.
    pub outcomes: u64,
    /// Packs that outcomes name.
    pub packs: u64,
    /// Packs read from end to end.
    pub packs_read: u64,
    /// Bytes of packs read.
    pub bytes_read: u64,
    /// Damaged objects so far.
    pub findings: u64,
}

/// Something damaged or lost.
#[derive(Debug)]
pub struct Finding {
    /// What, and how.
    pub damage: Damage,
    /// The outcomes that cannot be read completely because of it.
    pub outcomes: Vec<SessionId>,
}

/// What is damaged.
#[derive(Debug)]
pub enum Damage {
    /// An object.
    Object(Arc<ObjectError>),
    /// A stream whose objects are all whole by themselves.
    Stream {
        /// Its outcome's path.
        path: StorePath,
        /// Its name.
        stream: String,
        /// What cannot be read.
        error: ReadError,
    },
}

impl Finding {
    /// The damaged object; of a stream, its outcome.
    pub fn path(&self) -> &StorePath {
        match &self.damage {
            Damage::Object(error) => error.path(),
            Damage::Stream { path, .. } => path,
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.damage {
            Damage::Object(error) => write!(f, "{}", keelson_model::Chain(error.as_ref())),
            Damage::Stream { path, stream, error } => {
                write!(f, "stream '{stream}' of '{}': {}", path.as_str(), keelson_model::Chain(error))
            }
        }
    }
}

/// What a verification found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Index objects read.
    pub index_objects: u64,
    /// Committed outcomes read.
    pub outcomes: u64,
    /// Packs that they name.
    pub packs: u64,
    /// Chunks in packs read from end to end.
    pub chunks: u64,
    /// Bytes of packs read.
    pub bytes_read: u64,
    /// Damaged objects by path; at most 10,000.
    pub findings: Vec<Finding>,
    /// All damaged objects, those beyond that bound included.
    pub findings_total: u64,
}

impl VerifyReport {
    /// Nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.findings_total == 0
    }
}

/// A verification could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A folder could not be listed.
    #[error("list '{folder}'")]
    List {
        /// Which.
        folder: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// The index cannot be looked into.
    #[error("look up a pack")]
    LookUp {
        /// Why not.
        source: IndexCacheError,
    },
    /// An object is out of reach, which says nothing of its state.
    #[error("verify an object")]
    Object {
        /// Which and why.
        source: ObjectError,
    },
    /// A stream is out of reach.
    #[error("verify a stream")]
    Stream {
        /// Which and why.
        source: ReadError,
    },
}

impl Classified for VerifyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::List { source, .. } => source.class(),
            Self::LookUp { source } => source.class(),
            Self::Object { source } => source.class(),
            Self::Stream { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::List { source, .. } => source.code(),
            Self::LookUp { source } => source.code(),
            Self::Object { source } => source.code(),
            Self::Stream { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::List { source, .. } => source.hint(),
            Self::LookUp { source } => source.hint(),
            Self::Object { source } => source.hint(),
            Self::Stream { source } => source.hint(),
        }
    }
}

/// Called after each step, from the task that verifies.
pub type OnProgress<'a> = &'a (dyn Fn(VerifyProgress) + Send + Sync);

/// A verification on its way.
struct Verifier<'a> {
    core: Arc<Core>,
    index: Arc<Index>,
    retired: &'a std::collections::HashSet<SessionId>,
    on_progress: OnProgress<'a>,
    progress: VerifyProgress,
    report: VerifyReport,
    moves: MoveTable,
    /// Packs that outcomes need; at most 16 bytes each.
    needed: BTreeSet<PackId>,
    /// Those of them that no index object describes.
    not_indexed: BTreeSet<PackId>,
    /// Damaged packs, until their outcomes are known.
    damaged_packs: BTreeMap<PackId, Finding>,
}

impl Reader {
    /// Verifies everything that a reader could be asked for. Memory is bounded by the number of packs.
    pub async fn verify(
        &self,
        verification: &Verification,
        on_progress: OnProgress<'_>,
    ) -> Result<VerifyReport, VerifyError> {
        let (retired, strangers) =
            self.judge_retired().await.map_err(|source| VerifyError::Object { source })?;
        let mut verifier = Verifier {
            core: Arc::clone(&self.core),
            index: Arc::clone(&self.index),
            retired: &retired,
            on_progress,
            progress: VerifyProgress::default(),
            report: VerifyReport::default(),
            moves: MoveTable::default(),
            needed: BTreeSet::new(),
            not_indexed: BTreeSet::new(),
            damaged_packs: BTreeMap::new(),
        };
        verifier.check_index();
        verifier.read_moves().await?;
        for path in self.core.strangers.iter().cloned().chain(strangers) {
            verifier.find(Damage::Object(Arc::new(ObjectError::Stranger { path })), Vec::new());
        }
        verifier.check_outcomes(&verification.expected).await?;
        verifier.check_presence().await?;
        match verification.depth {
            Depth::Index => {}
            Depth::Sample { packs } => {
                let ids = sample(&verifier.needed, PackId::from_bytes(random_bytes()), packs);
                verifier.read_packs(ids).await?;
            }
            Depth::Full => {
                let ids = verifier.needed.iter().copied().collect();
                verifier.read_packs(ids).await?;
                verifier.walk_streams().await?;
            }
        }
        verifier.attribute_packs().await?;
        let mut report = verifier.report;
        report.findings.sort_by(|one, other| one.path().cmp(other.path()));
        Ok(report)
    }
}

/// Pure: ids are random, so neighbours have nothing in common but that they are neighbours.
fn sample(ids: &BTreeSet<PackId>, from: PackId, count: usize) -> Vec<PackId> {
    ids.range(from..).chain(ids.range(..from)).take(count).copied().collect()
}

impl Verifier<'_> {
    fn check_index(&mut self) {
        let index = Arc::clone(&self.index);
        self.report.index_objects = (index.source_count() + index.damaged().len()) as u64;
        for damage in index.damaged() {
            self.find(Damage::Object(Arc::clone(damage)), Vec::new());
        }
    }

    fn find(&mut self, damage: Damage, outcomes: Vec<SessionId>) {
        self.report.findings_total += 1;
        self.progress.findings = self.report.findings_total;
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(Finding { damage, outcomes });
        }
        self.tell();
    }

    /// The first damage of a pack is the one that counts.
    fn find_in_pack(&mut self, pack: PackId, error: ObjectError) {
        if self.damaged_packs.contains_key(&pack) {
            return;
        }
        self.report.findings_total += 1;
        self.progress.findings = self.report.findings_total;
        if self.damaged_packs.len() < FINDINGS_MAX {
            let damage = Damage::Object(Arc::new(error));
            self.damaged_packs.insert(pack, Finding { damage, outcomes: Vec::new() });
        }
        self.tell();
    }

    fn tell(&self) {
        (self.on_progress)(self.progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_begins_anywhere_and_never_takes_a_pack_twice() {
        let id = |number: u8| PackId::from_bytes([number; 16]);
        let ids: BTreeSet<_> = [2, 4, 6].map(id).into();
        let check = |from: u8, count: usize, expected: &[u8]| {
            let expected: Vec<_> = expected.iter().map(|number| id(*number)).collect();
            assert_eq!(sample(&ids, id(from), count), expected);
        };
        check(0, 2, &[2, 4]);
        check(4, 2, &[4, 6]);
        check(5, 2, &[6, 2]);
        check(9, 1, &[2]);
        check(5, 9, &[6, 2, 4]);
        check(5, 0, &[]);
    }
}
