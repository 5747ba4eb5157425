//! What the tests share: a repository to play with, a store whose bytes can be harmed, streams of known content.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use jiff::Timestamp;
use keelson_crypto::{KdfCost, Passphrase, Slot, VaultKey, VaultKeyring};
use keelson_model::{Classified, ErrorClass, RepositoryId, SessionId, SlotId};
use keelson_repository::{
    ChunkSizes, CommitError, Depth, Indexed, Locked, NamedStream, NewRepository, NewSession, Open, Outcome,
    OutcomeDraft, ReadError, Reader, Repository, Session, SessionPurpose, StreamRef, Verification,
    VerifyReport,
};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{Store, StoreExt, StorePath};

pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

pub(crate) fn now() -> Timestamp {
    Timestamp::constant(1_770_000_000, 0)
}

pub(crate) fn passphrase(text: &str) -> Arc<Passphrase> {
    Arc::new(Passphrase::new(text.as_bytes().to_vec()))
}

pub(crate) fn slot(vault: &VaultKeyring, id: u8, text: &str) -> Slot {
    Slot::seal(SlotId::from_bytes([id; 16]), &passphrase(text), KdfCost::LOWEST, vault.newest()).unwrap()
}

/// Short chunks, so that a few kilobytes make a tree.
pub(crate) fn small_chunks() -> ChunkSizes {
    ChunkSizes::new(64, 256, 1024).unwrap()
}

pub(crate) fn new_session(purpose: SessionPurpose) -> NewSession {
    NewSession { purpose, lives_until: now(), now: now() }
}

/// A store whose objects can be harmed past the port.
pub(crate) enum Site {
    Memory(MemoryStore),
    Directory(tempfile::TempDir),
}

impl Site {
    pub(crate) fn both() -> [Self; 2] {
        [Self::Memory(MemoryStore::new()), Self::Directory(tempfile::tempdir().unwrap())]
    }

    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Directory(directory) => Arc::new(FilesystemStore::open(directory.path()).await.unwrap()),
        }
    }

    pub(crate) async fn keys(&self, folder: &str) -> Vec<StorePath> {
        let folder = root().join(folder).unwrap();
        let listed = self.store().await.list_all(&folder).await.unwrap();
        listed.into_iter().map(|object| object.path).collect()
    }

    pub(crate) async fn bytes(&self, path: &StorePath) -> Vec<u8> {
        self.store().await.fetch_all(path).await.unwrap().to_vec()
    }

    pub(crate) fn overwrite(&self, path: &StorePath, bytes: Vec<u8>) {
        match self {
            Self::Memory(store) => store.tamper(path, bytes.into()),
            Self::Directory(_) => {
                let file = self.file(path);
                std::fs::remove_file(&file).unwrap();
                std::fs::write(file, bytes).unwrap();
            }
        }
    }

    /// Puts an object where there is none, past the port.
    pub(crate) fn plant(&self, path: &StorePath, bytes: Vec<u8>) {
        match self {
            Self::Memory(store) => store.tamper(path, bytes.into()),
            Self::Directory(_) => {
                let file = self.file(path);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, bytes).unwrap();
            }
        }
    }

    pub(crate) fn remove(&self, path: &StorePath) {
        match self {
            Self::Memory(store) => store.tamper_by_deleting(path),
            Self::Directory(_) => std::fs::remove_file(self.file(path)).unwrap(),
        }
    }

    fn file(&self, path: &StorePath) -> PathBuf {
        match self {
            Self::Memory(_) => unreachable!("memory has no files"),
            Self::Directory(directory) => directory.path().join(path.as_str()),
        }
    }
}

pub(crate) fn root() -> StorePath {
    "k10/cluster/dr/repository".parse().unwrap()
}

pub(crate) fn locked(store: &Arc<dyn Store>) -> Repository<Locked> {
    Repository::at(Arc::clone(store), root()).unwrap()
}

pub(crate) async fn create(store: &Arc<dyn Store>, vault: &VaultKeyring) -> Repository<Open> {
    create_with(store, vault, small_chunks()).await
}

pub(crate) async fn create_with(
    store: &Arc<dyn Store>,
    vault: &VaultKeyring,
    chunks: ChunkSizes,
) -> Repository<Open> {
    let slots = [slot(vault, 1, PASSPHRASE)];
    let new = NewRepository { id: RepositoryId::from_bytes([7; 16]), vault, slots: &slots, chunks };
    locked(store).create(new).await.unwrap()
}

pub(crate) async fn create_indexed(store: &Arc<dyn Store>) -> Repository<Indexed> {
    let vault = VaultKeyring::new(VaultKey::generate(1));
    create(store, &vault).await.load_index().await.unwrap()
}

/// An error for streams that fail.
#[derive(Debug, thiserror::Error)]
#[error("the source ended")]
pub(crate) struct SourceEnded;

impl Classified for SourceEnded {
    fn class(&self) -> ErrorClass {
        ErrorClass::Cancelled
    }

    fn code(&self) -> &'static str {
        "test.source_ended"
    }
}

/// The content in pieces of an awkward length.
pub(crate) fn pieces(content: &[u8]) -> impl Stream<Item = Result<Bytes, SourceEnded>> + Send + use<> {
    let pieces: Vec<_> = content.chunks(777).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn named(name: &str, reference: StreamRef) -> NamedStream {
    NamedStream { name: name.to_owned(), reference, attributes: BTreeMap::new() }
}

pub(crate) fn draft(streams: Vec<NamedStream>) -> OutcomeDraft {
    OutcomeDraft { created: now(), description: b"{}".to_vec(), streams, retain_until: None }
}

/// Writes one stream in a session of its own.
pub(crate) async fn back_up(
    repository: &Repository<Indexed>,
    content: &[u8],
) -> Result<Outcome, CommitError> {
    let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    write_and_commit(session, content).await
}

pub(crate) async fn write_and_commit(session: Session, content: &[u8]) -> Result<Outcome, CommitError> {
    let reference = session.write(pieces(content)).await.unwrap();
    session.commit(draft(vec![named("data", reference)])).await
}

/// Reads an outcome's only stream with a fresh view of the repository.
pub(crate) async fn read_back(store: &Arc<dyn Store>, outcome: SessionId) -> Result<Vec<u8>, ReadError> {
    let reader = fresh_reader(store).await;
    let outcome = reader.outcome(outcome).await?;
    read(&reader, &outcome.streams()[0].reference).await
}

pub(crate) async fn fresh_reader(store: &Arc<dyn Store>) -> Reader {
    let passphrase = passphrase(PASSPHRASE);
    let unlock = keelson_repository::Unlock::Passphrase(&passphrase);
    let repository = locked(store).open(unlock).await.unwrap().load_index().await.unwrap();
    repository.begin_reading_unannounced().await.unwrap()
}

pub(crate) async fn read(reader: &Reader, reference: &StreamRef) -> Result<Vec<u8>, ReadError> {
    let parts: Vec<Bytes> = reader.read(reference).try_collect().await?;
    Ok(parts.concat())
}

pub(crate) async fn verify(store: &Arc<dyn Store>, depth: Depth, expected: &[SessionId]) -> VerifyReport {
    let verification = Verification { depth, expected: expected.to_vec() };
    fresh_reader(store).await.verify(&verification, &|_| {}).await.unwrap()
}
