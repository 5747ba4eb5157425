//! The local copy of the index, as those see it who open repositories: it spares reading the index objects, and
//! whatever becomes of it changes no answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keelson_crypto::{VaultKey, VaultKeyring};
use keelson_model::{Classified, ErrorClass};
use keelson_repository::{
    ChunkSizes, Depth, IndexCache, IndexCacheError, Indexed, Outcome, Repository, SessionPurpose, Unlock,
    Verification,
};
use keelson_store::Store;
use keelson_store::decorators::Meter;
use keelson_store::providers::memory::MemoryStore;

use crate::world::*;

/// What a backup of the scene's content writes.
const INDEX_OBJECTS: u64 = 1;

/// A repository with more chunks than an index keeps in memory, and the folder of its local copy.
struct Scene {
    meter: Meter,
    store: Arc<dyn Store>,
    vault: VaultKeyring,
    folder: tempfile::TempDir,
    content: Vec<u8>,
    outcome: Outcome,
}

impl Scene {
    async fn new() -> Self {
        let meter = Meter::new(Arc::new(MemoryStore::new()));
        let store: Arc<dyn Store> = Arc::new(meter.clone());
        let vault = VaultKeyring::new(VaultKey::generate(1));
        let repository = create_with(&store, &vault, ChunkSizes::new(64, 128, 192).unwrap()).await;
        // 130 bytes a chunk on average, 51 bytes a row.
        let content = noise(1, 14_000_000);
        let outcome = back_up(&repository.load_index().await.unwrap(), &content).await.unwrap();
        Self { meter, store, vault, folder: tempfile::tempdir().unwrap(), content, outcome }
    }

    async fn open(&self) -> Repository<Indexed> {
        let cache = IndexCache::open(self.folder.path()).unwrap();
        let locked = locked(&self.store).indexed_in(&cache);
        locked.open(Unlock::Vault(&self.vault)).await.unwrap().load_index().await.unwrap()
    }

    /// Opens the repository, and says how many objects that took.
    async fn count_reads(&self) -> u64 {
        let before = self.meter.tally().fetches;
        drop(self.open().await);
        self.meter.tally().fetches - before
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for folder in list(self.folder.path()) {
            if folder.is_dir() {
                files.extend(list(&folder));
            }
        }
        files
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_kept_copy_spares_reading_the_index_objects_and_a_harmed_one_is_made_again() {
    let scene = Scene::new().await;
    // Format and key come first, every time.
    assert_eq!(scene.count_reads().await, 2 + INDEX_OBJECTS);
    assert_eq!(scene.count_reads().await, 2);

    let [file] = &scene.files()[..] else { panic!("one roll") };
    let whole = std::fs::read(file).unwrap();
    std::fs::write(file, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(scene.count_reads().await, 2 + INDEX_OBJECTS);
    assert_eq!(scene.count_reads().await, 2);
    std::fs::remove_dir_all(scene.folder.path()).unwrap();
    assert_eq!(scene.count_reads().await, 2 + INDEX_OBJECTS);
}

#[tokio::test]
async fn a_backup_and_a_restore_over_the_local_copy_are_those_over_the_store() {
    let scene = Scene::new().await;
    drop(scene.open().await);
    let repository = scene.open().await;
    let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    let progress = session.progress();
    let again = write_and_commit(session, &scene.content).await.unwrap();
    assert_eq!((progress.read().chunks_new, progress.read().packs_sent), (0, 0));
    assert_eq!(again.packs(), scene.outcome.packs());

    let reader = repository.begin_reading_unannounced().await.unwrap();
    let outcome = reader.outcome(again.id).await.unwrap();
    assert!(read(&reader, &outcome.streams()[0].reference).await.unwrap() == scene.content);
    let verification = Verification { depth: Depth::Full, expected: vec![again.id] };
    let report = reader.verify(&verification, &|_| {}).await.unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}

/// The rows of a file were changed where only a lookup sees it: the session fails, the next one has a copy anew.
#[tokio::test]
async fn rows_that_rot_fail_one_session_and_never_lie_to_it() {
    let scene = Scene::new().await;
    drop(scene.open().await);
    let [file] = &scene.files()[..] else { panic!("one roll") };
    let mut bytes = std::fs::read(file).unwrap();
    for block in bytes.chunks_mut(4096).take(1200) {
        block[100] ^= 1;
    }
    std::fs::write(file, bytes).unwrap();

    let repository = scene.open().await;
    let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    let error = session.write(pieces(&scene.content)).await.unwrap_err();
    assert_eq!(error.code(), "repository.index_cache.damaged");
    assert_eq!(error.class(), ErrorClass::Unavailable { retry_after: None });
    assert!(error.hint().unwrap().contains("try again"));
    drop(session);
    let again = back_up(&repository, &scene.content).await.unwrap();
    assert_eq!(again.packs(), scene.outcome.packs());
}

/// More new chunks than a session keeps in memory, and each of them twice.
#[tokio::test]
async fn a_session_writes_a_chunk_once_even_if_it_no_longer_has_its_id_in_memory() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = VaultKeyring::new(VaultKey::generate(1));
    let repository = create_with(&store, &vault, ChunkSizes::new(64, 128, 192).unwrap()).await;
    let repository = repository.load_index().await.unwrap();
    let content = noise(2, 30_000_000);
    let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    let progress = session.progress();
    let once = session.write(pieces(&content)).await.unwrap();
    let new = progress.read().chunks_new;
    assert!(new > 150_000, "{new} chunks");
    let twice = session.write(pieces(&content)).await.unwrap();
    assert_eq!((once, progress.read().chunks_new), (twice, new));
}

#[tokio::test]
async fn two_processes_do_not_share_a_folder_and_one_shares_it_with_itself() {
    let scene = Scene::new().await;
    let cache = IndexCache::open(scene.folder.path()).unwrap();
    let error = IndexCache::open(scene.folder.path()).unwrap_err();
    assert!(matches!(error, IndexCacheError::Locked { .. }), "{error}");

    let before = scene.meter.tally().fetches;
    let open = async || {
        let locked = locked(&scene.store).indexed_in(&cache);
        locked.open(Unlock::Vault(&scene.vault)).await.unwrap().load_index().await.unwrap()
    };
    let (one, two) = futures::join!(open(), open());
    let read = scene.meter.tally().fetches - before;
    assert_eq!(read, 4 + INDEX_OBJECTS);
    assert!(back_up(&one, &scene.content).await.unwrap().packs() == scene.outcome.packs());
    assert!(back_up(&two, &scene.content).await.unwrap().packs() == scene.outcome.packs());
}
