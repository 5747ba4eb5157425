//! Bases: all rows of the shipped classes at one moment, streamed into the platform's own repository.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use keelson_catalog::{BaseSummary, Change, Class, Database, RowKey, RowKind, ShipError};
use keelson_crypto::{ObjectKind, random_bytes};
use keelson_model::SessionId;
use keelson_repository::{NamedStream, OutcomeDraft, Session, SessionPurpose};
use keelson_store::{StoreError, StoreExt};
use serde_json::json;
use tokio::sync::mpsc;

use crate::documents;
use crate::platform::commit;
use crate::records::plain_row;
use crate::recovery::RecoveryError;
use crate::recovery::documents::{BaseDocument, DOCUMENT_VERSION};
use crate::recovery::read::{StoredName, is_damage};
use crate::recovery::ship::writers::Divergence;
use crate::recovery::ship::{Sender, Shipper, Target, scope_of, summary_of};
use crate::streams::{PIECES_IN_FLIGHT, from_channel, hold_writer, new_session};

/// A base is due when the segments since the last one pass a quarter of its bytes, or this many, but never for fewer
/// bytes than these.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
const SEGMENTS_MAX: u64 = 4096;
/// Tries to find a position for a base that no other object holds.
const TRIES_MAX: usize = 3;
/// The one stream of a base's outcome.
pub(crate) const ROWS: &str = "rows";

/// The newest base of a chain, and what was shipped since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newest {
    pub document: BaseDocument,
    segment_bytes: u64,
    segments: u64,
}

impl Newest {
    pub(crate) fn from_document(document: &BaseDocument) -> Self {
        Self { document: document.clone(), segment_bytes: 0, segments: 0 }
    }

    /// With the segments that lie behind it in the store.
    pub(crate) fn since<'a>(document: &BaseDocument, segments: impl Iterator<Item = &'a StoredName>) -> Self {
        let mut newest = Self::from_document(document);
        segments.for_each(|segment| newest.grow(segment.bytes));
        newest
    }

    pub(crate) fn grow(&mut self, bytes: u64) {
        self.segment_bytes += bytes;
        self.segments += 1;
    }

    /// How many segments lie behind it.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.segments
    }

    pub(crate) fn is_outgrown(&self) -> bool {
        let Self { document, segment_bytes, segments } = self;
        *segment_bytes >= SEGMENT_BYTES_MIN
            && (*segment_bytes > document.bytes / 4 || *segments >= SEGMENTS_MAX)
    }
}

/// What became of a base's document.
enum Placed {
    Here(BaseDocument),
    /// A base of another mode, or something that is none, lies at this position.
    Taken,
}

impl Shipper {
    /// Writes a base of the catalog as it is now. Segments go on where they were; without any, they begin behind it.
    pub(super) async fn write_base(&mut self, sender: &Sender) -> Result<(), RecoveryError> {
        for _ in 0..TRIES_MAX {
            let document = self.write_rows(sender).await?;
            match self.place(document).await? {
                Placed::Here(document) => {
                    if self.base.is_none() {
                        self.shipped = self.shipped.max(document.at.sequence);
                    }
                    self.base = Some(Newest::from_document(&document));
                    return Ok(());
                }
                Placed::Taken => {
                    let what = format!("a base of mode {}", self.target().enabled.mode);
                    leave_mark(&sender.catalog, sender.clock.now(), &what).await?;
                }
            }
        }
        Err(RecoveryError::Interrupted)
    }

    async fn write_rows(&self, sender: &Sender) -> Result<BaseDocument, RecoveryError> {
        let now = sender.clock.now();
        let indexed = self
            .target()
            .repository
            .load_index()
            .await
            .map_err(|source| RecoveryError::LoadIndex { source })?;
        let session = indexed
            .begin(new_session(SessionPurpose::Base, now))
            .await
            .map_err(|source| RecoveryError::Begin { source })?;
        let life = session.life();
        let writing = self.write_into(session, sender, now);
        hold_writer(&*sender.clock, life, writing, |source| RecoveryError::Hold { source }).await
    }

    async fn write_into(
        &self,
        session: Session,
        sender: &Sender,
        now: Timestamp,
    ) -> Result<BaseDocument, RecoveryError> {
        let scope = scope_of(self.target().enabled.mode);
        let (pieces, receiver) = mpsc::channel::<Option<Bytes>>(PIECES_IN_FLIGHT);
        let (reader, in_base) = (sender.catalog.clone(), sender.wrapped_key.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let send = |piece: Option<Bytes>| {
                pieces.blocking_send(piece).map_err(|_| "the base's writer has stopped")
            };
            let summary = reader.base(scope, &in_base, &mut |piece| {
                send(Some(Bytes::copy_from_slice(piece))).map_err(Into::into)
            })?;
            // If nobody takes the end, the write has failed already and says why.
            send(None).ok();
            Ok(summary)
        });
        let written = session.write(from_channel(receiver)).await;
        let summary: Result<BaseSummary, ShipError> =
            reading.await.map_err(|_| RecoveryError::Interrupted)?;
        let summary = summary.map_err(|source| RecoveryError::Ship { source })?;
        let reference = written.map_err(|source| RecoveryError::WriteStream { source })?;

        let rows = NamedStream { name: ROWS.to_owned(), reference, attributes: BTreeMap::new() };
        let draft = OutcomeDraft {
            created: now,
            description: b"base".to_vec(),
            streams: vec![rows],
            retain_until: None,
        };
        let outcome =
            session.commit(draft).await.map_err(|source| RecoveryError::CommitOutcome { source })?;
        Ok(self.describe(sender, &summary, outcome.id, now))
    }

    fn describe(
        &self,
        sender: &Sender,
        BaseSummary { head, head_at, origin: _, counts, bytes }: &BaseSummary,
        outcome: SessionId,
        now: Timestamp,
    ) -> BaseDocument {
        let enabled = &self.target().enabled;
        let by_class = [("configuration", counts.configuration), ("local", counts.local)];
        let counts: BTreeMap<_, _> = by_class.map(|(class, count)| (class.to_owned(), count)).into();
        BaseDocument {
            version: DOCUMENT_VERSION,
            at: self.position(head.revision.sequence()),
            head_at: head_at.unwrap_or(now),
            mode: enabled.mode,
            outcome,
            created: now,
            cluster: sender.cluster.clone(),
            instance: sender.instance,
            lineage: sender.lineage,
            catalog_key: hex::encode(&sender.wrapped_key),
            vault_key: sender.vault_key,
            bytes: *bytes,
            state: summary_of(head, Some(scope_of(enabled.mode)), counts),
            parent: enabled.parent.clone(),
        }
    }

    /// An earlier try that arrived although its answer did not holds the same rows, and counts.
    async fn place(&self, document: BaseDocument) -> Result<Placed, RecoveryError> {
        let Target { store, folder, repository, .. } = self.target();
        let path = folder.base(document.at);
        let bytes = documents::seal(repository.keyring().newest(), ObjectKind::Base, &path, &document)
            .map_err(|source| RecoveryError::Document { source })?;
        match store.create(&path, bytes).await {
            Ok(_) => Ok(Placed::Here(document)),
            Err(StoreError::AlreadyExists { .. }) => match self.target().shelf().base(document.at).await {
                Ok(stored) if stored.mode != document.mode => Ok(Placed::Taken),
                Ok(stored) if stored.state.chain == document.state.chain => Ok(Placed::Here(stored)),
                Ok(stored) => Err(self.diverged(Divergence::Differs { at: stored.at })),
                Err(error) if is_damage(&error) => Ok(Placed::Taken),
                Err(error) => Err(error),
            },
            Err(source) => Err(RecoveryError::Put { path, source }),
        }
    }
}

/// Moves the catalog's head by an entry that says why.
pub(crate) async fn leave_mark(catalog: &Database, now: Timestamp, what: &str) -> Result<(), RecoveryError> {
    let body = json!({ "what": what, "at": now, "nonce": hex::encode(random_bytes::<16>()) });
    let key = RowKey::new(RowKind::new("shipping"), "", "mark");
    let row = plain_row(key, Class::Configuration, &body, now);
    let written = commit(catalog, "disaster recovery", vec![Change::put(row)]).await;
    written.map(drop).map_err(|source| RecoveryError::WriteState { source })
}

#[cfg(test)]
mod tests {
    use keelson_model::recovery::DrMode;
    use keelson_model::{Generation, InstanceId, LineageId, Sequence};

    use super::*;
    use crate::layout::{Epoch, Position};
    use crate::recovery::documents::StateSummary;

    fn sample() -> BaseDocument {
        let at = Position { epoch: Epoch(1), generation: Generation(1), sequence: Sequence(1) };
        BaseDocument {
            version: DOCUMENT_VERSION,
            at,
            head_at: Timestamp::UNIX_EPOCH,
            mode: DrMode::Legacy,
            outcome: SessionId::from_bytes([1; 16]),
            created: Timestamp::UNIX_EPOCH,
            cluster: "0c3e8c52-6a0b".parse().unwrap(),
            instance: InstanceId::from_bytes([1; 16]),
            lineage: LineageId::from_bytes([1; 16]),
            catalog_key: String::new(),
            vault_key: 1,
            bytes: 0,
            state: StateSummary::default(),
            parent: None,
        }
    }

    /// Whether a base is due after segments of these sizes.
    fn check(base_bytes: u64, segments: u64, bytes_each: u64, due: bool) {
        let mut newest = Newest::from_document(&BaseDocument { bytes: base_bytes, ..sample() });
        (0..segments).for_each(|_| newest.grow(bytes_each));
        assert_eq!(newest.is_outgrown(), due, "{base_bytes} {segments} × {bytes_each}");
    }

    #[test]
    fn a_base_is_due_at_a_quarter_of_the_last_or_many_pieces_and_never_for_little() {
        const MIB: u64 = 1 << 20;
        check(0, 0, 0, false);
        check(40 * MIB, 10, MIB, false);
        check(40 * MIB, 11, MIB, true);
        check(MIB, 3, MIB, false);
        check(MIB, 4, MIB, true);
        check(1 << 30, 4_095, 2_000, false);
        check(1 << 30, 4_096, 2_000, true);
        check(1 << 30, 8_000, 500, false);
        check(0, 8_000, 500, false);
    }
}
