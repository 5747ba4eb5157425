//! The packer of a session: gathers chunks into packs, sends up to four at once, writes the index.
//!
//! Order: 1 every pack, 2 the index objects that describe packs already acknowledged.

use std::ops::Range;
use std::sync::Arc;

use keelson_crypto::{ObjectKind, SealObjectError, Sealer};
use keelson_model::{Classified, ErrorClass, PackId};
use keelson_store::{PutOptions, StoreError, StorePath, VersionId};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::{PackDraft, SealedPack};
use crate::chunk::EncodedChunk;
use crate::core::Core;
use crate::format::index_record::{self, PackRecord};
use crate::format::outcome_record::IndexReference;
use crate::limits::{INDEX_BYTES_TARGET, INDEX_PACKS_MAX, UPLOADS_IN_FLIGHT};
use crate::object::{ObjectError, offload};
use crate::session::Progress;

/// Why packs or index objects could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteFault {
    /// An object cannot be sealed.
    #[error("seal '{path}'")]
    Seal {
        /// The object.
        path: StorePath,
        /// Why not.
        source: SealObjectError,
    },
    /// A pack did not open again right after it was sealed: a fault of this machine.
    #[error("a new pack does not open again; nothing of it was stored")]
    ReadBack {
        /// What was wrong with it.
        source: ObjectError,
    },
    /// The store did not take an object.
    #[error("write '{path}'")]
    Put {
        /// The object.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
}

impl Classified for WriteFault {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Seal { .. } => ErrorClass::Bug,
            // Repeating may well succeed, on other memory.
            Self::ReadBack { .. } => ErrorClass::Unavailable { retry_after: None },
            Self::Put { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Seal { source, .. } => source.code(),
            Self::ReadBack { .. } => "repository.pack.read_back",
            Self::Put { source, .. } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Seal { .. } => None,
            Self::ReadBack { .. } => Some("check the memory of this machine".to_owned()),
            Self::Put { source, .. } => source.hint(),
        }
    }
}

/// A pack that the store has acknowledged.
pub(crate) struct WrittenPack {
    pub(crate) id: PackId,
    pub(crate) version: Option<VersionId>,
    /// Which of the chunks it holds, counted as they were queued.
    pub(crate) chunks: Range<u64>,
}

/// What a packer wrote.
#[derive(Default)]
pub(crate) struct PackerReport {
    pub(crate) packs: Vec<WrittenPack>,
    pub(crate) indexes: Vec<IndexReference>,
}

type Uploads = JoinSet<Result<(WrittenPack, Vec<u8>), WriteFault>>;

struct Packer {
    core: Arc<Core>,
    progress: Arc<Progress>,
    uploads: Uploads,
    chunks_sent: u64,
    /// Encoded entries of acknowledged packs that no index object has yet.
    entries: Vec<Vec<u8>>,
    report: PackerReport,
}

/// Runs until the queue is closed, or something cannot be written.
pub(crate) async fn run_packer(
    core: Arc<Core>,
    progress: Arc<Progress>,
    mut queue: Receiver<EncodedChunk>,
) -> Result<PackerReport, WriteFault> {
    let (uploads, entries, report) = (Uploads::new(), Vec::new(), PackerReport::default());
    let mut packer = Packer { core, progress, uploads, chunks_sent: 0, entries, report };
    let mut draft = PackDraft::new();
    while let Some(chunk) = queue.recv().await {
        if !draft.fits(&chunk) {
            packer.send(std::mem::replace(&mut draft, PackDraft::new())).await?;
        }
        draft.push(chunk);
    }
    if !draft.is_empty() {
        packer.send(draft).await?;
    }
    while !packer.uploads.is_empty() {
        packer.join_one().await?;
    }
    packer.write_index().await?;
    Ok(packer.report)
}

impl Packer {
    async fn send(&mut self, draft: PackDraft) -> Result<(), WriteFault> {
        while self.uploads.len() >= UPLOADS_IN_FLIGHT {
            self.join_one().await?;
        }
        let chunks = self.chunks_sent..self.chunks_sent + draft.chunk_count() as u64;
        self.chunks_sent = chunks.end;
        self.uploads.spawn(upload(Arc::clone(&self.core), Arc::clone(&self.progress), draft, chunks));
        Ok(())
    }

    async fn join_one(&mut self) -> Result<(), WriteFault> {
        let Some(joined) = self.uploads.join_next().await else { return Ok(()) };
        let (pack, entry) = match joined {
            Ok(uploaded) => uploaded?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return std::future::pending().await,
            },
        };
        self.report.packs.push(pack);
        self.entries.push(entry);
        if is_due(&self.entries) {
            self.write_index().await?;
        }
        Ok(())
    }

    async fn write_index(&mut self) -> Result<(), WriteFault> {
        let entries = std::mem::take(&mut self.entries);
        if entries.is_empty() {
            return Ok(());
        }
        self.report.indexes.push(write_index_object(&self.core, entries).await?);
        Ok(())
    }
}

/// Whether the packs that these entries describe get their index object now.
fn is_due(entries: &[Vec<u8>]) -> bool {
    entries.len() >= INDEX_PACKS_MAX || entries.iter().map(Vec::len).sum::<usize>() >= INDEX_BYTES_TARGET
}

/// Writes one index object of encoded entries.
pub(crate) async fn write_index_object(
    core: &Arc<Core>,
    entries: Vec<Vec<u8>>,
) -> Result<IndexReference, WriteFault> {
    let sealing = Arc::clone(core);
    let object = offload(move || {
        let mut sealer = Sealer::new(sealing.keys.newest(), ObjectKind::Index);
        let path = sealing.paths.index(sealer.id());
        let seal_error = |source| WriteFault::Seal { path: path.clone(), source };
        for entry in &entries {
            sealer.part(entry).map_err(seal_error)?;
        }
        sealer.finish(&[]).map_err(seal_error)
    })
    .await?;
    let path = core.paths.index(object.id);
    let written = core.store.put(&path, object.bytes, PutOptions::create_unique()).await;
    let written = written.map_err(|source| WriteFault::Put { path, source })?;
    Ok(IndexReference { id: object.id, version: written.version })
}

/// Seals, checks and sends one pack; gives its index entry.
async fn upload(
    core: Arc<Core>,
    progress: Arc<Progress>,
    draft: PackDraft,
    queued: Range<u64>,
) -> Result<(WrittenPack, Vec<u8>), WriteFault> {
    let sealing = Arc::clone(&core);
    let SealedPack { id, object, chunks } = offload(move || {
        let pack = draft.seal(&sealing)?;
        pack.check(&sealing)?;
        Ok(pack)
    })
    .await?;
    let path = core.paths.pack(id);
    let length = object.bytes.len() as u32;
    let written = core.store.put(&path, object.bytes, PutOptions::create_unique()).await;
    let version = written.map_err(|source| WriteFault::Put { path, source })?.version;
    progress.count_pack(u64::from(length));
    let record = PackRecord {
        id,
        key_number: object.key_number,
        salt: object.salt,
        sha256: object.sha256,
        length,
        version,
    };
    let entry = index_record::encode(&record, &chunks);
    Ok((WrittenPack { id, version: record.version, chunks: queued }, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_object_is_due_after_many_packs_or_many_chunks() {
        assert!(!is_due(&[]));
        assert!(!is_due(&vec![vec![0; 100]; INDEX_PACKS_MAX - 1]));
        assert!(is_due(&vec![vec![0; 100]; INDEX_PACKS_MAX]));
        assert!(is_due(&[vec![0; INDEX_BYTES_TARGET]]));
    }
}
