//! A writer that dies after any effect: what was there before still reads, and no outcome dangles.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use keelson_crypto::{VaultKey, VaultKeyring};
use keelson_model::RepositoryId;
use keelson_repository::{ChunkSizes, Depth, NewRepository, OpenRepositoryError, SessionPurpose, Unlock};
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{
    Capabilities, ListPage, Listing, ObjectMeta, Operation, PutOptions, Read, Store, StoreError, StorePath,
    VersionId, VersionListing, VersionPage, VersionScope, Written,
};

use crate::world::*;

/// How the last effect ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Death {
    /// It never reaches the store.
    Before,
    /// It reaches the store, and the answer is lost.
    After,
}

/// A store that takes so many effects and then answers nothing any more.
#[derive(Debug)]
struct Mortal {
    inner: Arc<dyn Store>,
    effects_left: AtomicI64,
    death: Death,
}

impl Mortal {
    fn new(inner: &Arc<dyn Store>, effects: i64, death: Death) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), effects_left: AtomicI64::new(effects), death })
    }

    fn is_dead(&self) -> bool {
        self.effects_left.load(Ordering::SeqCst) < 0
    }

    fn live(&self, path: &StorePath) -> Result<(), StoreError> {
        if self.is_dead() { Err(gone(path)) } else { Ok(()) }
    }
}

fn gone(path: &StorePath) -> StoreError {
    let (location, waited) = ("mortal".to_owned(), Duration::ZERO);
    StoreError::Unanswered { operation: Operation::Put, path: path.clone(), location, waited }
}

#[async_trait]
impl Store for Mortal {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        if self.effects_left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return self.inner.put(path, body, options).await;
        }
        if self.death == Death::After && self.effects_left.load(Ordering::SeqCst) == -1 {
            self.inner.put(path, body, options).await?;
        }
        Err(gone(path))
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        self.live(path)?;
        self.inner.fetch(path, read).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        self.live(path)?;
        self.inner.head(path, version).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        self.live(folder)?;
        self.inner.list(folder, page).await
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.live(folder)?;
        self.inner.list_folders(folder).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        self.inner.list_versions(scope, page).await
    }

    async fn delete(&self, path: &StorePath, _version: Option<&VersionId>) -> Result<(), StoreError> {
        panic!("a writer never deletes, and '{}' least of all", path.as_str());
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.live(path)?;
        self.inner.extend_retention(path, version, until).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time().await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn location(&self) -> &str {
        "mortal"
    }
}

/// Two packs a session, so that there is something between the first and the last effect.
async fn attempt(store: &Arc<dyn Store>, vault: &VaultKeyring, contents: &[Vec<u8>]) -> Option<()> {
    let repository = locked(store).open(Unlock::Vault(vault)).await.ok()?.load_index().await.ok()?;
    let session = repository.begin(new_session(SessionPurpose::Backup)).await.ok()?;
    let mut streams = Vec::new();
    for (number, content) in contents.iter().enumerate() {
        let reference = session.write(pieces(content)).await.ok()?;
        streams.push(named(&number.to_string(), reference));
    }
    session.commit(draft(streams)).await.ok().map(drop)
}

#[tokio::test]
async fn a_writer_may_die_after_any_effect() {
    let contents = [noise(1, 50_000), noise(21, 17_500_000)];
    for death in [Death::Before, Death::After] {
        for effects in 0.. {
            let site = Site::both().into_iter().next().unwrap();
            let store = site.store().await;
            let vault = VaultKeyring::new(VaultKey::generate(1));
            let repository = create_with(&store, &vault, ChunkSizes::DEFAULT).await;
            let repository = repository.load_index().await.unwrap();
            let earlier = back_up(&repository, &contents[0]).await.unwrap();

            let mortal = Mortal::new(&store, effects, death);
            let dying: Arc<dyn Store> = mortal.clone();
            let ended = attempt(&dying, &vault, &contents).await;

            assert_eq!(read_back(&store, earlier.id).await.unwrap(), contents[0]);
            let report = verify(&store, Depth::Index, &[earlier.id]).await;
            assert!(report.is_whole(), "after {effects} effects: {:?}", report.findings);
            check_every_outcome(&store, &contents).await;

            // The survivor simply runs again.
            attempt(&store, &vault, &contents).await.unwrap();
            check_every_outcome(&store, &contents).await;
            if ended.is_some() {
                assert!(effects >= 5, "session, two packs, index, outcome");
                break;
            }
        }
    }
}

async fn check_every_outcome(store: &Arc<dyn Store>, contents: &[Vec<u8>]) {
    let reader = fresh_reader(store).await;
    let opened = locked(store).open(Unlock::Passphrase(&passphrase(PASSPHRASE))).await.unwrap();
    for id in opened.list_outcomes().await.unwrap() {
        let outcome = reader.outcome(id).await.unwrap();
        for (stream, content) in outcome.streams().iter().zip(contents) {
            assert!(&read(&reader, &stream.reference).await.unwrap() == content);
        }
    }
}

#[tokio::test]
async fn creating_a_repository_may_stop_after_any_effect_and_is_completed_by_the_next_try() {
    for death in [Death::Before, Death::After] {
        for effects in 0..3 {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let vault = VaultKeyring::new(VaultKey::generate(1));
            let slots = [slot(&vault, 1, PASSPHRASE)];
            let id = RepositoryId::from_bytes([7; 16]);
            let new = NewRepository { id, vault: &vault, slots: &slots, chunks: small_chunks() };
            let dying: Arc<dyn Store> = Mortal::new(&store, effects, death);
            locked(&dying).create(new.clone()).await.unwrap_err();

            // Whoever opens before creating meets all of it or nothing.
            match locked(&store).open(Unlock::Vault(&vault)).await {
                Ok(_) => assert_eq!((effects, death), (2, Death::After)),
                Err(error) => assert!(matches!(error, OpenRepositoryError::Absent { .. }), "{error}"),
            }
            let indexed = locked(&store).create(new).await.unwrap().load_index().await.unwrap();
            let outcome = back_up(&indexed, b"content").await.unwrap();
            assert_eq!(read_back(&store, outcome.id).await.unwrap(), b"content");
        }
    }
}
