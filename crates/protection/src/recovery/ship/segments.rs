//! Segments on their way: made in order, the next one while one is written, never across a base or a change of mode.

use bytes::Bytes;
use keelson_catalog::{Database, Scope, Segment, ShipError, Stretch};
use keelson_crypto::{ObjectKind, Sealer};
use keelson_model::Sequence;
use keelson_repository::{Open, Repository};
use keelson_store::{StoreError, StoreExt};

use crate::documents;
use crate::layout::{DrFolder, Epoch, Position};
use crate::recovery::RecoveryError;
use crate::recovery::documents::{DOCUMENT_VERSION, SegmentDirectory};
use crate::recovery::read::is_damage;
use crate::recovery::ship::writers::{Divergence, StoredEnd, check_ours};
use crate::recovery::ship::{Sender, Shipper, scope_of};

/// Entries compress to a tenth and less; what waited for long goes out in few objects, each with its own flush.
const SEGMENT_BYTES_MAX: usize = 8 << 20;

impl Shipper {
    /// Ships one segment after the other; the next one is made while one is on its way.
    pub(super) async fn ship_segments(
        &mut self,
        sender: &Sender,
        through: Sequence,
    ) -> Result<(), RecoveryError> {
        let mut made = None;
        while self.shipped < through {
            let segment = match made.take() {
                Some(segment) => segment,
                None => self.make_segment(&sender.catalog, self.shipped).await,
            };
            match segment {
                Ok(None) => return Ok(()),
                Ok(Some(segment)) => {
                    let after = segment.directory.last.sequence;
                    let next = async {
                        match after < through {
                            true => Some(self.make_segment(&sender.catalog, after).await),
                            false => None,
                        }
                    };
                    let (put, next) = tokio::join!(self.put_segment(sender, &segment), next);
                    let reached = put?;
                    // An earlier try that arrived although its answer did not may have had fewer entries.
                    made = next.filter(|_| reached == after);
                    self.shipped = reached;
                    self.grow(segment.bytes.len() as u64, reached);
                }
                Err(RecoveryError::Ship { source: ShipError::BaseNeeded { .. } }) => {
                    self.skip_to_base(sender).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn grow(&mut self, bytes: u64, through: Sequence) {
        if let Some(base) = self.base.as_mut().filter(|base| base.document.at.sequence < through) {
            base.grow(bytes);
        }
    }

    /// Too much had waited and was dropped: the chain begins anew at a base.
    async fn skip_to_base(&mut self, sender: &Sender) -> Result<(), RecoveryError> {
        tracing::error!(after = self.shipped.0, "entries that were never shipped are gone; writing a base");
        self.write_base(sender).await?;
        self.shipped = self.base.as_ref().map_or(self.shipped, |base| base.document.at.sequence);
        Ok(())
    }

    /// Up to where the next segment may reach, and with which classes: none spans a base or a change of mode.
    fn next_stretch(&self, after: Sequence) -> (Stretch, Scope) {
        let before = self.before.filter(|(through, _)| after < *through);
        let base = self.base.as_ref().map(|base| base.document.at.sequence).filter(|at| after < *at);
        let bounds = before.map(|(through, _)| through).into_iter().chain(base);
        let through = bounds.min().unwrap_or(Sequence::MAX);
        let scope = before.map_or(scope_of(self.target.enabled.mode), |(_, scope)| scope);
        (Stretch { after, through }, scope)
    }

    async fn make_segment(
        &self,
        catalog: &Database,
        after: Sequence,
    ) -> Result<Option<SealedSegment>, RecoveryError> {
        let (stretch, scope) = self.next_stretch(after);
        let (catalog, repository) = (catalog.clone(), self.target.repository.clone());
        let (epoch, folder) = (self.target.epoch, self.target.folder.clone());
        let making = tokio::task::spawn_blocking(move || {
            let segment = catalog.segment_within(stretch, scope, SEGMENT_BYTES_MAX);
            let Some(segment) = segment.map_err(|source| RecoveryError::Ship { source })? else {
                return Ok(None);
            };
            seal_segment(&repository, &folder, epoch, &segment).map(Some)
        });
        making.await.map_err(|_| RecoveryError::Interrupted)?
    }

    /// Answers with the last entry that lies in the store now.
    async fn put_segment(&self, sender: &Sender, segment: &SealedSegment) -> Result<Sequence, RecoveryError> {
        let first = segment.directory.first;
        let path = self.target.folder.segment(first);
        match self.target.store.create(&path, segment.bytes.clone()).await {
            Ok(_) => Ok(segment.directory.last.sequence),
            Err(StoreError::AlreadyExists { .. }) => {
                let differs = || self.diverged(Divergence::Differs { at: first });
                let stored = match self.shelf().segment(first).await {
                    Ok(stored) => stored,
                    Err(error) if is_damage(&error) => return Err(differs()),
                    Err(error) => return Err(error),
                };
                let end = StoredEnd { at: stored.last, chain: stored.chain };
                let head = Position::of(self.target.epoch, sender.catalog.head().revision);
                check_ours(&sender.catalog, &end, head).await?.map_err(|source| self.diverged(source))?;
                Ok(end.at.sequence)
            }
            Err(source) => Err(RecoveryError::Put { path, source }),
        }
    }
}

/// A segment as it goes out.
struct SealedSegment {
    directory: SegmentDirectory,
    bytes: Bytes,
}

fn seal_segment(
    repository: &Repository<Open>,
    folder: &DrFolder,
    epoch: Epoch,
    segment: &Segment,
) -> Result<SealedSegment, RecoveryError> {
    let directory = SegmentDirectory {
        version: DOCUMENT_VERSION,
        first: Position::of(epoch, segment.first),
        last: Position::of(epoch, segment.last),
        first_at: segment.first_at,
        last_at: segment.last_at,
        chain: hex::encode(segment.chain),
    };
    let sealing = || {
        let mut sealer = Sealer::new(repository.keyring().newest(), ObjectKind::Segment);
        sealer.part(&segment.bytes)?;
        sealer.finish(&serde_json::to_vec(&directory).expect("plain data"))
    };
    let sealed = sealing().map_err(|source| RecoveryError::Document {
        source: documents::DocumentError::Seal { path: folder.segment(directory.first), source },
    })?;
    Ok(SealedSegment { directory, bytes: sealed.bytes })
}
