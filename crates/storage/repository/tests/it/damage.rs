//! Every kind of damage to every kind of object, over both stores: a distinct error that names the object, and a
//! verification that names it too, with the outcomes that need it. Nothing is written by finding out.

use std::error::Error;
use std::sync::Arc;

use keelson_model::{Chain, Classified, ErrorClass, SessionId};
use keelson_repository::{Damage, Depth, Outcome, ReadError, Unlock, VerifyReport};
use keelson_store::{Store, StorePath};

use crate::world::*;

/// Two backups that share nothing, then harm.
struct Scene {
    site: Site,
    store: Arc<dyn Store>,
    harmed: Outcome,
    other: Outcome,
}

const HARMED: u64 = 1;
const OTHER: u64 = 2;

impl Scene {
    async fn each() -> Vec<Self> {
        let mut scenes = Vec::new();
        for site in Site::both() {
            let store = site.store().await;
            let repository = create_indexed(&store).await;
            let harmed = back_up(&repository, &noise(HARMED, 50_000)).await.unwrap();
            let other = back_up(&repository, &noise(OTHER, 50_000)).await.unwrap();
            scenes.push(Self { site, store, harmed, other });
        }
        scenes
    }

    fn pack_of(&self, outcome: &Outcome) -> StorePath {
        let id = outcome.packs()[0];
        root().join(&format!("packs/{:02x}/{id}", id.as_bytes()[0])).unwrap()
    }

    fn outcome_path(&self, id: SessionId) -> StorePath {
        root().join(&format!("outcomes/{id}")).unwrap()
    }

    /// The index object that the harmed outcome's session wrote.
    async fn index_path(&self) -> StorePath {
        let before = self.site.keys("index").await;
        for path in &before {
            let bytes = self.site.bytes(path).await;
            self.site.remove(path);
            let lost = read_back(&self.store, self.harmed.id).await.is_err();
            self.site.overwrite_or_create(path, bytes);
            if lost {
                return path.clone();
            }
        }
        panic!("one of the index objects is needed");
    }

    /// The damaged backup fails as expected, the other still reads, and the store's keys are as before.
    async fn check_read(&self, code: &str, class: ErrorClass, path: Option<&StorePath>) -> String {
        let keys = self.site.keys("").await;
        let error = read_back(&self.store, self.harmed.id).await.unwrap_err();
        let text = Chain(&error).to_string();
        assert_eq!((error.code(), error.class()), (code, class), "{text}");
        if let Some(path) = path {
            assert!(text.contains(path.as_str()), "'{text}' does not name '{}'", path.as_str());
        }
        assert_eq!(read_back(&self.store, self.other.id).await.unwrap(), noise(OTHER, 50_000));
        assert_eq!(self.site.keys("").await, keys);
        text
    }

    /// Exactly one finding, at `path`, needed by the harmed outcome alone.
    async fn check_verify(&self, depth: Depth, path: &StorePath, code: &str) {
        let report = verify(&self.store, depth, &[self.harmed.id, self.other.id]).await;
        let found = codes(&report);
        assert_eq!(found, [(path.clone(), code.to_owned())], "{:?}", report.findings);
        assert_eq!(report.findings[0].outcomes, [self.harmed.id]);
    }
}

impl Site {
    fn overwrite_or_create(&self, path: &StorePath, bytes: Vec<u8>) {
        match self {
            Self::Memory(_) => self.overwrite(path, bytes),
            Self::Directory(directory) => {
                std::fs::write(directory.path().join(path.as_str()), bytes).unwrap();
            }
        }
    }
}

fn codes(report: &VerifyReport) -> Vec<(StorePath, String)> {
    let code = |damage: &Damage| match damage {
        Damage::Object(error) => error.code().to_owned(),
        Damage::Stream { error, .. } => error.code().to_owned(),
    };
    report.findings.iter().map(|finding| (finding.path().clone(), code(&finding.damage))).collect()
}

#[tokio::test]
async fn a_truncated_pack() {
    for scene in Scene::each().await {
        let path = scene.pack_of(&scene.harmed);
        let mut bytes = scene.site.bytes(&path).await;
        bytes.truncate(bytes.len() / 2);
        scene.site.overwrite(&path, bytes);
        let text = scene.check_read("repository.object.length", ErrorClass::Corrupt, Some(&path)).await;
        assert!(text.contains("cut short"), "{text}");
        scene.check_verify(Depth::Index, &path, "repository.object.length").await;
    }
}

/// Every backup after it relied on the same pack, said that all was well, and could not be restored.
#[tokio::test]
async fn what_a_lost_pack_held_is_written_anew_and_heals_what_relied_on_it() {
    for cut in [false, true] {
        for scene in Scene::each().await {
            let repository =
                locked(&scene.store).open(Unlock::Passphrase(&passphrase(PASSPHRASE))).await.unwrap();
            let repository = repository.load_index().await.unwrap();
            let path = scene.pack_of(&scene.harmed);
            let mut bytes = scene.site.bytes(&path).await;
            scene.site.remove(&path);
            if cut {
                bytes.pop();
                scene.site.overwrite_or_create(&path, bytes);
            }
            let content = noise(HARMED, 50_000);
            let error = back_up(&repository, &content).await.unwrap_err();
            assert_eq!(
                (error.code(), error.class()),
                ("repository.commit.lost", ErrorClass::Conflict),
                "{error}"
            );
            let id = path.name().to_owned();
            assert!(error.to_string().contains(&id) && error.hint().is_some(), "{error}");
            let again = back_up(&repository, &content).await.unwrap();
            assert!(!again.packs().contains(&scene.harmed.packs()[0]));
            for outcome in [again.id, scene.harmed.id] {
                assert_eq!(read_back(&scene.store, outcome).await.unwrap(), content, "cut: {cut}");
            }
        }
    }
}

#[tokio::test]
async fn one_flipped_bit_in_a_pack() {
    for scene in Scene::each().await {
        let path = scene.pack_of(&scene.harmed);
        let mut bytes = scene.site.bytes(&path).await;
        bytes[1000] ^= 1;
        scene.site.overwrite(&path, bytes);
        let code = "crypto.object.authenticate_part";
        scene.check_read(code, ErrorClass::Corrupt, Some(&path)).await;
        assert!(verify(&scene.store, Depth::Index, &[]).await.is_whole(), "length and presence are right");
        scene.check_verify(Depth::Full, &path, code).await;
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_directory_of_a_pack_harms_no_restore_and_is_found() {
    for scene in Scene::each().await {
        let path = scene.pack_of(&scene.harmed);
        let mut bytes = scene.site.bytes(&path).await;
        let at = bytes.len() - 100;
        bytes[at] ^= 1;
        scene.site.overwrite(&path, bytes);
        assert_eq!(read_back(&scene.store, scene.harmed.id).await.unwrap(), noise(HARMED, 50_000));
        scene.check_verify(Depth::Full, &path, "crypto.object.authenticate_directory").await;
    }
}

#[tokio::test]
async fn a_pack_swapped_with_another() {
    for scene in Scene::each().await {
        let (path, other) = (scene.pack_of(&scene.harmed), scene.pack_of(&scene.other));
        scene.site.overwrite(&path, scene.site.bytes(&other).await);
        let text = scene.check_read("repository.object.swapped", ErrorClass::Corrupt, Some(&path)).await;
        assert!(text.contains(&scene.other.packs()[0].to_string()), "{text}");
        let report = verify(&scene.store, Depth::Full, &[]).await;
        assert_eq!(report.findings[0].path(), &path);
    }
}

#[tokio::test]
async fn a_deleted_pack() {
    for scene in Scene::each().await {
        let path = scene.pack_of(&scene.harmed);
        scene.site.remove(&path);
        scene.check_read("repository.object.missing", ErrorClass::Corrupt, Some(&path)).await;
        scene.check_verify(Depth::Index, &path, "repository.object.missing").await;
        scene.check_verify(Depth::Full, &path, "repository.object.missing").await;
    }
}

#[tokio::test]
async fn a_lost_outcome() {
    for scene in Scene::each().await {
        let path = scene.outcome_path(scene.harmed.id);
        scene.site.remove(&path);
        scene.check_read("repository.outcome.missing", ErrorClass::NotFound, Some(&path)).await;
        scene.check_verify(Depth::Index, &path, "repository.object.missing").await;
    }
}

#[tokio::test]
async fn a_damaged_outcome() {
    for scene in Scene::each().await {
        let path = scene.outcome_path(scene.harmed.id);
        let mut bytes = scene.site.bytes(&path).await;
        bytes[80] ^= 0x10;
        scene.site.overwrite(&path, bytes);
        let code = "crypto.object.authenticate_part";
        scene.check_read(code, ErrorClass::Corrupt, Some(&path)).await;
        scene.check_verify(Depth::Index, &path, code).await;
    }
}

#[tokio::test]
async fn an_outcome_swapped_with_another() {
    for scene in Scene::each().await {
        let path = scene.outcome_path(scene.harmed.id);
        let other = scene.site.bytes(&scene.outcome_path(scene.other.id)).await;
        scene.site.overwrite(&path, other);
        scene.check_read("repository.object.swapped", ErrorClass::Corrupt, Some(&path)).await;
        scene.check_verify(Depth::Index, &path, "repository.object.swapped").await;
    }
}

#[tokio::test]
async fn a_lost_index_object() {
    for scene in Scene::each().await {
        let path = scene.index_path().await;
        scene.site.remove(&path);
        scene.check_read("repository.index.lost", ErrorClass::Corrupt, None).await;
        let report = verify(&scene.store, Depth::Index, &[]).await;
        let pack = scene.pack_of(&scene.harmed);
        let expected = [
            (path, "repository.object.missing".to_owned()),
            (pack, "repository.pack.not_indexed".to_owned()),
        ];
        assert_eq!(codes(&report), expected);
        assert!(report.findings.iter().all(|finding| finding.outcomes == [scene.harmed.id]));
    }
}

#[tokio::test]
async fn a_damaged_index_object() {
    for scene in Scene::each().await {
        let path = scene.index_path().await;
        let mut bytes = scene.site.bytes(&path).await;
        bytes[100] ^= 1;
        scene.site.overwrite(&path, bytes);
        scene.check_read("repository.index.damaged", ErrorClass::Corrupt, Some(&path)).await;
        let report = verify(&scene.store, Depth::Index, &[]).await;
        let pack = scene.pack_of(&scene.harmed);
        let expected = [
            (path, "crypto.object.authenticate_part".to_owned()),
            (pack, "repository.pack.not_indexed".to_owned()),
        ];
        assert_eq!(codes(&report), expected);
        assert_eq!(report.findings[1].outcomes, [scene.harmed.id]);
    }
}

/// What only a lost pack held is written again by the next backup; what another session wrote too is read from there.
#[tokio::test]
async fn a_damaged_chunk_is_read_from_its_other_copy() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let content = noise(4, 50_000);
        // Both begin before either has written, so both write every chunk.
        let purpose = keelson_repository::SessionPurpose::Backup;
        let one = repository.begin(new_session(purpose)).await.unwrap();
        let two = repository.begin(new_session(purpose)).await.unwrap();
        let one = write_and_commit(one, &content).await.unwrap();
        let two = write_and_commit(two, &content).await.unwrap();
        assert_ne!(one.packs(), two.packs());

        let id = one.packs()[0];
        let path = root().join(&format!("packs/{:02x}/{id}", id.as_bytes()[0])).unwrap();
        site.remove(&path);
        assert_eq!(read_back(&store, one.id).await.unwrap(), content);
        assert_eq!(read_back(&store, two.id).await.unwrap(), content);
        let report = verify(&store, Depth::Full, &[]).await;
        assert_eq!(report.findings[0].outcomes, [one.id]);
    }
}

#[tokio::test]
async fn an_object_of_a_later_release_says_so() {
    for scene in Scene::each().await {
        let path = scene.outcome_path(scene.harmed.id);
        let mut bytes = scene.site.bytes(&path).await;
        bytes[8] = 1;
        scene.site.overwrite(&path, bytes);
        scene.check_read("crypto.object.newer_format", ErrorClass::Invalid, Some(&path)).await;
        let error = read_back(&scene.store, scene.harmed.id).await.unwrap_err();
        assert!(error.hint().unwrap().contains("release"));
        assert!(matches!(error, ReadError::Outcome { .. }) && error.source().is_some());
    }
}

/// On a store that keeps versions an object is its first one: what was laid over it changes nothing, and is told.
#[tokio::test]
async fn what_is_laid_over_a_versioned_object_is_reported_and_not_read() {
    let memory = keelson_store::providers::memory::MemoryStore::versioned();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let repository = create_indexed(&store).await;
    let outcome = back_up(&repository, &noise(1, 50_000)).await.unwrap();
    let id = outcome.packs()[0];
    let path = root().join(&format!("packs/{:02x}/{id}", id.as_bytes()[0])).unwrap();
    memory.tamper(&path, bytes::Bytes::from_static(b"ransom"));
    assert_eq!(read_back(&store, outcome.id).await.unwrap(), noise(1, 50_000));
    let report = verify(&store, Depth::Full, &[]).await;
    assert_eq!(codes(&report), [(path, "repository.object.altered".to_owned())]);
}
