//! Bases: all rows of the shipped classes at one moment, streamed into the platform's own repository.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelson_catalog::{BaseSummary, Database, ShipError};
use keelson_crypto::ObjectKind;
use keelson_repository::{NamedStream, OutcomeDraft, SessionPurpose};
use keelson_store::{StoreError, StoreExt};
use tokio::sync::mpsc;

use crate::documents;
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::documents::{BaseDocument, DOCUMENT_VERSION};
use crate::recovery::ship::{Shipper, catalog_key_context, scope_of, summary_of};
use crate::streams::{PIECES_IN_FLIGHT, from_channel, new_session};

/// A base is due when the segments since the last one pass a quarter of its bytes, but not for less than this.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
const SEGMENTS_MAX: u64 = 4096;
/// The one stream of a base's outcome.
pub(crate) const ROWS: &str = "rows";

/// The newest base of a chain, and what was shipped since.
#[derive(Debug, Clone)]
pub(crate) struct Newest {
    pub document: BaseDocument,
    bytes: u64,
    segment_bytes: u64,
    segments: u64,
}

impl Newest {
    /// After a restart the segments since then are not counted again; the next base comes a little later.
    pub(crate) fn from_document(document: &BaseDocument) -> Self {
        Self { document: document.clone(), bytes: document.bytes, segment_bytes: 0, segments: 0 }
    }

    pub(crate) fn grow(&mut self, bytes: u64) {
        self.segment_bytes += bytes;
        self.segments += 1;
    }

    pub(crate) fn is_outgrown(&self) -> bool {
        self.segments >= SEGMENTS_MAX
            || (self.segment_bytes >= SEGMENT_BYTES_MIN && self.segment_bytes > self.bytes / 4)
    }
}

impl Shipper {
    /// Writes a base of the catalog as it is now, and begins the chain anew from there.
    pub(super) async fn write_base(
        &mut self,
        platform: &Platform,
        catalog: &Database,
    ) -> Result<(), RecoveryError> {
        let now = platform.clock.now();
        let indexed =
            self.repository.load_index().await.map_err(|source| RecoveryError::LoadIndex { source })?;
        let session = indexed
            .begin(new_session(SessionPurpose::Base, now))
            .await
            .map_err(|source| RecoveryError::Begin { source })?;
        let scope = scope_of(self.enabled.mode);
        let vault = platform.vault();
        let context = catalog_key_context(self.repository.id());
        let wrapped = platform
            .with_catalog_key(|key| key.wrap(vault.newest(), &context))
            .map_err(|source| RecoveryError::Away { source })?;

        let (pieces, receiver) = mpsc::channel::<Option<Bytes>>(PIECES_IN_FLIGHT);
        let (reader, in_base) = (catalog.clone(), wrapped.clone());
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
        let BaseSummary { head, counts, bytes, origin: _ } =
            summary.map_err(|source| RecoveryError::Ship { source })?;
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
        let identity = platform.identity();
        let at = self.position(head.revision.sequence());
        let by_class = [("configuration", counts.configuration), ("local", counts.local)];
        let counts: BTreeMap<_, _> = by_class.map(|(class, count)| (class.to_owned(), count)).into();
        let document = BaseDocument {
            version: DOCUMENT_VERSION,
            at,
            mode: self.enabled.mode,
            outcome: outcome.id,
            created: now,
            cluster: platform.cluster_id.clone(),
            instance: identity.instance,
            lineage: identity.lineage,
            catalog_key: hex::encode(&wrapped),
            vault_key: vault.newest().number(),
            bytes,
            state: summary_of(&head, Some(scope), counts),
            parent: self.enabled.parent.clone(),
        };
        self.put_base_document(&document).await?;
        self.base = Some(Newest::from_document(&document));
        self.shipped = self.shipped.max(at.sequence);
        Ok(())
    }

    async fn put_base_document(&self, document: &BaseDocument) -> Result<(), RecoveryError> {
        let path = self.folder.base(document.at);
        let bytes = documents::seal(self.repository.keyring().newest(), ObjectKind::Base, &path, document)
            .map_err(|source| RecoveryError::Document { source })?;
        match self.store.create(&path, bytes).await {
            // Two bases at one position hold the same rows.
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
            Err(source) => Err(RecoveryError::Put { path, source }),
        }
    }
}
