//! What a session achieved: the unit that is listed, restored and retired.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use keelson_crypto::{ObjectId, ObjectKind};
use keelson_model::{PackId, SessionId};
use keelson_store::VersionId;

use crate::core::Core;
use crate::format::outcome_record::{IndexReference, Moves, OutcomeRecord, SessionResult};
use crate::format::session_record::SessionPurpose;
use crate::object::{Expected, ObjectError, offload};
use crate::tree::StreamRef;

/// A stream under the name its writer gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedStream {
    /// Its name. At most 1,024 bytes.
    pub name: String,
    /// Its content.
    pub reference: StreamRef,
    /// What its writer says of it. At most 64, each name and value of at most 4,096 bytes.
    pub attributes: BTreeMap<String, String>,
}

/// What a session commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeDraft {
    /// The time to record.
    pub created: Timestamp,
    /// The caller's own words, opaque here. At most 16 MiB.
    pub description: Vec<u8>,
    /// The streams that this session wrote. At most 65,536.
    pub streams: Vec<NamedStream>,
    /// Locks the outcome and all that it needs until then. Only where the store can. A store that retains whatever is
    /// created locks them by itself for as long as it retains.
    pub retain_until: Option<Timestamp>,
}

/// A stored outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its session.
    pub id: SessionId,
    record: OutcomeRecord,
}

impl Outcome {
    pub(crate) fn new(id: SessionId, record: OutcomeRecord) -> Self {
        Self { id, record }
    }

    /// How the session ended. Only a committed one has streams.
    pub fn result(&self) -> SessionResult {
        self.record.result
    }

    /// What the session was for.
    pub fn purpose(&self) -> SessionPurpose {
        self.record.purpose
    }

    /// When it was created, by its writer's clock.
    pub fn created(&self) -> Timestamp {
        self.record.created
    }

    /// Until when it was locked when it was made. Locks may have been extended since.
    pub fn retain_until(&self) -> Option<Timestamp> {
        self.record.retain_until
    }

    /// The writer's own words.
    pub fn description(&self) -> &[u8] {
        &self.record.description
    }

    /// What it holds.
    pub fn streams(&self) -> &[NamedStream] {
        &self.record.streams
    }

    /// The stream of that name.
    pub fn stream(&self, name: &str) -> Option<&NamedStream> {
        self.record.streams.iter().find(|stream| stream.name == name)
    }

    /// Every pack that its streams reach, sorted.
    pub fn packs(&self) -> &[PackId] {
        &self.record.packs
    }

    pub(crate) fn moves(&self) -> &Moves {
        &self.record.moves
    }

    /// It holds nothing of its own: it moved what others need.
    pub(crate) fn is_repack(&self) -> bool {
        self.record.is_repack()
    }

    pub(crate) fn indexes(&self) -> &[IndexReference] {
        &self.record.indexes
    }
}

/// Reads an outcome of any result. Its absence is `ObjectError::Missing`.
pub(crate) async fn fetch_outcome(
    core: &Arc<Core>,
    id: SessionId,
    version: Option<VersionId>,
) -> Result<Outcome, ObjectError> {
    let object_id = ObjectId::from_bytes(*id.as_bytes());
    let expected = Expected { kind: ObjectKind::Outcome, id: object_id, path: core.paths.outcome(id) };
    let bytes = expected.fetch(core.store.as_ref(), version).await?;
    let core = Arc::clone(core);
    offload(move || {
        let body = expected.open_record(&core.keys, &bytes)?;
        let record = OutcomeRecord::decode(&body).map_err(|source| expected.decode_error(source))?;
        Ok(Outcome { id, record })
    })
    .await
}
