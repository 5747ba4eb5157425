//! What lies beside the packs in the platform's own repository, and the cleartext card. Drawn in
//! `docs/format/disaster-recovery.md`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_model::recovery::DrMode;
use keelson_model::{ClusterId, InstanceId, LineageId, RepositoryId, SessionId};
use serde::{Deserialize, Serialize};

use crate::layout::Position;

/// The version of all documents here. A release refuses version 0 data of its predecessors and says so.
pub(crate) const DOCUMENT_VERSION: u32 = 0;

/// `bases/<position>`: all rows of the shipped classes at one position lie in one outcome of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseDocument {
    pub version: u32,
    pub at: Position,
    /// When the entry there was committed.
    pub head_at: Timestamp,
    pub mode: DrMode,
    /// The outcome that holds the rows.
    pub outcome: SessionId,
    pub created: Timestamp,
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub lineage: LineageId,
    /// The catalog key, wrapped by the repository's vault key (hex).
    pub catalog_key: String,
    /// The number of that vault key.
    pub vault_key: u32,
    /// How long the rows are, before compression.
    pub bytes: u64,
    pub state: StateSummary,
    /// Where this chain leaves the chain that it was recovered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Fork>,
}

/// A point of another chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    pub cluster: ClusterId,
    pub repository: RepositoryId,
    pub at: Position,
}

/// What a catalog is at one position, in numbers that a recovery compares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSummary {
    /// The digest of the newest journal entry (hex).
    pub chain: String,
    /// The digest of each shipped class (hex), by the class's name.
    pub digests: BTreeMap<String, String>,
    /// Rows by kind.
    pub counts: BTreeMap<String, u64>,
}

/// As a status shows it.
impl From<StateSummary> for keelson_resources::recovery::CatalogState {
    fn from(StateSummary { chain, digests, counts }: StateSummary) -> Self {
        Self { chain, digests, counts }
    }
}

/// `manifests/<position>`: one run of the DR policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestDocument {
    pub version: u32,
    pub at: Position,
    pub base: Position,
    pub mode: DrMode,
    pub created: Timestamp,
    pub state: StateSummary,
    /// The run's own outcome: retiring it retires this point.
    pub outcome: SessionId,
}

/// `starts/<n>`: an instance began to ship from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartDocument {
    pub version: u32,
    pub instance: InstanceId,
    /// Random, so that a copy of this instance can be told apart.
    pub nonce: String,
    /// Where the chain ended then.
    pub head: Position,
    /// The digest of the journal entry there (hex).
    pub chain: String,
    pub started_at: Timestamp,
}

/// The directory of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentDirectory {
    pub version: u32,
    pub first: Position,
    pub last: Position,
    /// When the first and the last entry were committed.
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// The digest of the last entry (hex).
    pub chain: String,
}

/// A document says of itself where it lies. A copy under another name is a stranger's work.
pub(crate) trait Named {
    fn name(&self) -> Position;
}

impl Named for BaseDocument {
    fn name(&self) -> Position {
        self.at
    }
}

impl Named for ManifestDocument {
    fn name(&self) -> Position {
        self.at
    }
}

impl Named for SegmentDirectory {
    fn name(&self) -> Position {
        self.first
    }
}

/// `cards/<n>`, in cleartext: what anybody who can list the location may know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CardDocument {
    pub format: u32,
    pub product_version: String,
    pub fips: bool,
    pub created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued_by: Option<ClusterId>,
}
