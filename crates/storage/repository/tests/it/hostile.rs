//! Whoever can write to a location can put anything anywhere: it counts for nothing, stops nothing, and is reported.

use keelson_crypto::{KdfCost, ObjectKind, Sha256, Slot, VaultKey, VaultKeyring};
use keelson_model::{Classified, ErrorClass, LineageId, SessionId, SlotId};
use keelson_repository::{
    Depth, Locked, NewRepository, Open, OpenRepositoryError, Ownership, PruneStep, Repository, RetireError,
    SessionPurpose, Unlock,
};
use keelson_store::StorePath;

use crate::upkeep::*;
use crate::world::*;

fn path(name: &str) -> StorePath {
    root().join(name).unwrap()
}

fn put(site: &Site, name: &str, bytes: &[u8]) {
    site.plant(&path(name), bytes.to_vec());
}

async fn open(site: &Site) -> Result<Repository<Open>, OpenRepositoryError> {
    locked(&site.store().await).open(Unlock::Passphrase(&passphrase(PASSPHRASE))).await
}

/// A repository with one backup, the vault that made it, and that backup.
async fn site_with_backup(site: &Site) -> (VaultKeyring, SessionId) {
    let vault = VaultKeyring::new(VaultKey::generate(1));
    let repository = create(&site.store().await, &vault).await.load_index().await.unwrap();
    let outcome = back_up(&repository, &noise(1, 5_000)).await.unwrap();
    (vault, outcome.id)
}

async fn check_works(site: &Site, vault: &VaultKeyring, outcome: SessionId) {
    let store = site.store().await;
    assert_eq!(read_back(&store, outcome).await.unwrap(), noise(1, 5_000));
    let opened = Repository::<Locked>::at(store, root()).unwrap().open(Unlock::Vault(vault)).await.unwrap();
    back_up(&opened.load_index().await.unwrap(), b"the next backup").await.unwrap();
}

/// What a verification says is tampering.
async fn reported(site: &Site) -> Vec<String> {
    let report = verify(&site.store().await, Depth::Index, &[]).await;
    report.findings.iter().map(|finding| finding.path().as_str().to_owned()).collect()
}

/// More than 32 slots were refused without trying one.
#[tokio::test]
async fn a_folder_full_of_slots_does_not_keep_the_passphrase_out() {
    for site in Site::both() {
        let (vault, outcome) = site_with_backup(&site).await;
        for number in 0..40_u8 {
            put(&site, &format!("slots/stray-{number}"), b"no slot");
        }
        let foreign = VaultKeyring::new(VaultKey::generate(1));
        for number in 100..110_u8 {
            let slot = slot(&foreign, number, "somebody else's");
            put(&site, &format!("slots/{}", slot.id()), &slot.to_bytes());
        }
        check_works(&site, &vault, outcome).await;
        assert!(reported(&site).await.iter().any(|path| path.ends_with("slots/stray-7")));
    }
}

/// 64 slots under a higher number kept ours from being tried, and more than 1,024 older ones kept it from being read.
#[tokio::test]
async fn a_passphrase_opens_its_slot_whatever_a_stranger_has_planted() {
    for number in [1, 2, 1_024] {
        for site in Site::both() {
            let mut stranger = VaultKeyring::new(VaultKey::generate(number));
            // Two files before ours, the others after it.
            plant_slots(&site, &stranger, 0..2);
            let (vault, outcome) = site_with_backup(&site).await;
            plant_slots(&site, &stranger, 2..70);
            stranger.insert(VaultKey::generate(number + 1));
            plant_slots(&site, &stranger, 70..140);
            check_works(&site, &vault, outcome).await;
            let error = locked(&site.store().await).open(Unlock::Passphrase(&passphrase("wrong"))).await;
            let error = error.map(drop).unwrap_err();
            let tried = if number == 1_024 { 71 } else { 141 };
            assert!(error.to_string().contains(&format!("none of the {tried} slots")), "{error}");
            assert_eq!(error.class(), ErrorClass::Denied);
        }
    }
}

#[tokio::test]
async fn a_passphrase_opens_its_slot_behind_more_older_ones_than_are_held() {
    let site = Site::Memory(keelson_store::providers::memory::MemoryStore::new());
    let stranger = VaultKeyring::new(VaultKey::generate(1));
    plant_slots(&site, &stranger, 0..1_100);
    let (vault, outcome) = site_with_backup(&site).await;
    check_works(&site, &vault, outcome).await;
}

/// A listing of more than 100,000 objects was an error.
#[tokio::test]
async fn more_objects_among_slots_and_keys_than_one_list_holds_stop_nothing() {
    let site = Site::Memory(keelson_store::providers::memory::MemoryStore::new());
    let (vault, outcome) = site_with_backup(&site).await;
    for number in 0..=keelson_store::LIST_ALL_MAX {
        for folder in ["slots", "keys"] {
            put(&site, &format!("{folder}/stray-{number}"), b"");
        }
    }
    check_works(&site, &vault, outcome).await;
    assert!(open(&site).await.unwrap().strangers().len() < 20_000, "not all of them are remembered");
}

/// A stranger's slots of the newest key, one file each: the same salt and check, other ids.
fn plant_slots(site: &Site, vault: &VaultKeyring, numbers: std::ops::Range<u16>) {
    let mut bytes = slot(vault, 0xff, "somebody else's").to_bytes();
    for number in numbers {
        let mut id = [0xee; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        bytes[28..44].copy_from_slice(&id);
        mend_checksum(&mut bytes);
        put(site, &format!("slots/{}", SlotId::from_bytes(id)), &bytes);
    }
}

fn mend_checksum(bytes: &mut [u8]) {
    let end = bytes.len() - Sha256::LENGTH;
    let checksum = Sha256::of(&bytes[..end]);
    bytes[end..].copy_from_slice(checksum.as_bytes());
}

/// A damaged slot beside ours made a wrong passphrase look like damage.
#[tokio::test]
async fn a_wrong_passphrase_is_wrong_beside_a_slot_that_cannot_be_used() {
    for site in Site::both() {
        site_with_backup(&site).await;
        let name = format!("slots/{}", SlotId::from_bytes([0; 16]));
        put(&site, &name, b"no slot");
        let error = locked(&site.store().await).open(Unlock::Passphrase(&passphrase("wrong"))).await;
        let error = error.map(drop).unwrap_err();
        assert_eq!((error.code(), error.class()), ("repository.open.wrong_passphrase", ErrorClass::Denied));
        assert!(error.to_string().contains(&name), "{error}");
    }
}

/// Whoever used a passphrase twice gets the newer of its keys, also behind a flood.
#[tokio::test]
async fn of_several_slots_that_a_passphrase_opens_the_newest_keys_is_taken() {
    for site in Site::both() {
        let (vault, _) = site_with_backup(&site).await;
        let former = locked(&site.store().await).open(Unlock::Vault(&vault)).await.unwrap();
        let mut newer = vault.clone();
        newer.insert(VaultKey::generate(2));
        let slots = [slot(&newer, 3, "a second passphrase"), slot(&newer, 4, PASSPHRASE)];
        former.add_key(&newer, &slots).await.unwrap();
        plant_slots(&site, &VaultKeyring::new(VaultKey::generate(2)), 0..70);
        let opened = open(&site).await.unwrap();
        assert_eq!(opened.vault_keys().newest().number(), 2);
    }
}

/// A planted slot could ask for a quarter of a gigabyte at each try.
#[tokio::test]
async fn a_slot_that_costs_far_more_than_ours_is_not_tried() {
    let dear = KdfCost::Argon2id { memory_kib: 256 * 1024, iterations: 1, lanes: 1 };
    let id = SlotId::from_bytes([9; 16]);
    assert!(Slot::seal(id, &passphrase("x"), dear, &VaultKey::generate(1)).is_err());
    let cheap = KdfCost::Argon2id { memory_kib: 1024, iterations: 1, lanes: 1 };
    let mut bytes = Slot::seal(id, &passphrase("x"), cheap, &VaultKey::generate(1)).unwrap().to_bytes();
    bytes[16..20].copy_from_slice(&(256_u32 * 1024).to_le_bytes());
    mend_checksum(&mut bytes);
    for site in Site::both() {
        let (vault, outcome) = site_with_backup(&site).await;
        put(&site, &format!("slots/{id}"), &bytes);
        check_works(&site, &vault, outcome).await;
        assert!(reported(&site).await.iter().any(|path| path.ends_with(&format!("slots/{id}"))));
    }
}

/// One bad object among the keys made the repository unusable, or every session outdated.
#[tokio::test]
async fn stray_key_files_stop_nothing() {
    for site in Site::both() {
        let (vault, outcome) = site_with_backup(&site).await;
        let first = site.bytes(&path("keys/1")).await;
        put(&site, "keys/z/1", b"not the first key");
        put(&site, "keys/7", b"no key file");
        put(&site, "keys/007", &first);
        put(&site, "keys/4000000000", b"far beyond");
        // A whole key file of another installation that has this repository's id.
        let foreign = other_key_file().await;
        put(&site, "keys/2", &foreign);
        check_works(&site, &vault, outcome).await;
        let found = reported(&site).await;
        for name in ["keys/z/1", "keys/7", "keys/007", "keys/4000000000"] {
            assert!(found.iter().any(|path| path.ends_with(name)), "{name} among {found:?}");
        }
    }
}

/// `keys/2` of somebody who made a repository with the same id.
async fn other_key_file() -> Vec<u8> {
    let site = Site::Memory(keelson_store::providers::memory::MemoryStore::new());
    let mut vault = VaultKeyring::new(VaultKey::generate(1));
    vault.insert(VaultKey::generate(2));
    let id = keelson_model::RepositoryId::from_bytes([7; 16]);
    let new = NewRepository { id, vault: &vault, slots: &[], chunks: small_chunks() };
    locked(&site.store().await).create(new).await.unwrap();
    site.bytes(&path("keys/2")).await
}

/// A mark or a verdict that nobody with the keys wrote stopped every backup.
#[tokio::test]
async fn garbage_among_marks_and_verdicts_stops_no_backup() {
    for site in Site::both() {
        let (vault, outcome) = site_with_backup(&site).await;
        for folder in ["marks", "verdicts"] {
            put(&site, &format!("{folder}/{}", SessionId::from_bytes([5; 16])), b"garbage");
            put(&site, &format!("{folder}/no-id-at-all"), b"garbage");
        }
        check_works(&site, &vault, outcome).await;
    }
}

#[tokio::test]
async fn a_mark_of_ours_that_makes_no_sense_stops_backups() {
    for site in Site::both() {
        site_with_backup(&site).await;
        let repository = open(&site).await.unwrap();
        let sealed = repository.seal(ObjectKind::Mark, &[b"makes no sense"], b"").unwrap();
        put(&site, &format!("marks/{}", sealed.id), &sealed.bytes);
        let indexed = repository.load_index().await.unwrap();
        let error = indexed.begin(new_session(SessionPurpose::Backup)).await.unwrap_err();
        assert!(error.code().starts_with("repository.record"), "{error} {}", error.code());
    }
}

/// An empty object under `retired/` made an outcome unreadable, and left verification blind to it.
#[tokio::test]
async fn only_a_retirement_that_an_owner_has_stated_counts() {
    for site in Site::both() {
        let (vault, outcome) = site_with_backup(&site).await;
        put(&site, &format!("retired/{outcome}"), b"gone");
        check_works(&site, &vault, outcome).await;
        assert!(reported(&site).await.iter().any(|path| path.ends_with(&format!("retired/{outcome}"))));
        let repository = open(&site).await.unwrap();
        assert!(repository.list_retired().await.unwrap().is_empty());
        let proof = Ownership::proven_by_newest_epoch(LineageId::from_bytes([3; 16]), 1);
        let error = repository.retire(outcome, &proof, now()).await.unwrap_err();
        assert!(matches!(error, RetireError::Read { .. }), "what nobody can state is not said to be stated");
    }
}

/// A prune could not read the mark or verdict either, and ended there each time.
#[tokio::test]
async fn garbage_among_marks_and_verdicts_stops_no_prune() {
    for site in Site::both() {
        let (_, outcome) = site_with_backup(&site).await;
        let store = site.store().await;
        let repository = opened(&store).await;
        let gone = back_up(&repository, &noise(2, 5_000)).await.unwrap();
        retire(&repository, gone.id).await;
        put(&site, &format!("marks/{}", SessionId::from_bytes([5; 16])), b"garbage");
        put(&site, &format!("marks/{}", SessionId::from_bytes([6; 16])), b"garbage");
        put(&site, &format!("verdicts/{}", SessionId::from_bytes([6; 16])), b"garbage");
        for _ in 0..3 {
            prune_once(&repository).await.unwrap();
        }
        assert_eq!(names(&store, "packs").await.len(), 1);
        assert_eq!(read_back(&store, outcome).await.unwrap(), noise(1, 5_000));
    }
}

/// The verdict on a mark of ours was taken by somebody: its packs are marked again, and go.
#[tokio::test]
async fn garbage_in_a_verdicts_place_keeps_no_pack_for_ever() {
    for site in Site::both() {
        site_with_backup(&site).await;
        let store = site.store().await;
        let repository = opened(&store).await;
        let gone = back_up(&repository, &noise(2, 5_000)).await.unwrap();
        retire(&repository, gone.id).await;
        let waiting = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
        let plan = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap();
        let step = repository.begin_prune(plan).advance(&owner(), now(), &|_| {}).await.unwrap();
        assert!(matches!(step, PruneStep::Waiting { .. }), "{step:?}");
        let marks = names(&store, "marks").await;
        let mark = marks.first().unwrap();
        put(&site, &format!("verdicts/{mark}"), b"garbage");
        drop(waiting);
        for _ in 0..3 {
            prune_once(&repository).await.unwrap();
        }
        assert_eq!(names(&store, "packs").await.len(), 1);
    }
}

/// A former owner's session must not take the mark of the next for a stranger's: it would name packs that go.
#[tokio::test]
async fn a_mark_under_a_newer_key_of_the_repository_stops_sessions() {
    for site in Site::both() {
        let (vault, _) = site_with_backup(&site).await;
        let former = locked(&site.store().await).open(Unlock::Vault(&vault)).await.unwrap();
        let mut newer = vault.clone();
        newer.insert(VaultKey::generate(2));
        let owner = former.add_key(&newer, &[]).await.unwrap();
        let sealed = owner.seal(ObjectKind::Mark, &[b"a mark"], b"").unwrap();
        put(&site, &format!("marks/{}", sealed.id), &sealed.bytes);
        let indexed = former.load_index().await.unwrap();
        let error = indexed.begin(new_session(SessionPurpose::Backup)).await.unwrap_err();
        assert_eq!(error.code(), "repository.session.outdated_key");
    }
}

/// Two installations went on from one key, each with a next key of its own.
#[tokio::test]
async fn a_repository_with_other_keys_than_ours_is_read_and_never_written() {
    for site in Site::both() {
        let (vault, outcome) = site_with_backup(&site).await;
        let store = site.store().await;
        let [mut theirs, mut ours] = [vault.clone(), vault.clone()];
        theirs.insert(VaultKey::generate(2));
        ours.insert(VaultKey::generate(2));
        let before = locked(&store).open(Unlock::Vault(&vault)).await.unwrap();
        assert!(before.holds_newest_key() && !before.names_newer_key());
        before.add_key(&theirs, &[]).await.unwrap();

        for known in [&ours, &vault] {
            let opened = locked(&store).open(Unlock::Vault(known)).await.unwrap();
            assert!(opened.names_newer_key());
            assert_eq!(opened.fetch_outcome(outcome).await.unwrap().id, outcome);
        }
        let opened = locked(&store).open(Unlock::Vault(&ours)).await.unwrap();
        assert!(!opened.holds_newest_key());
        let count = site.keys("").await.len();
        let indexed = opened.load_index().await.unwrap();
        let session = indexed.begin(new_session(SessionPurpose::Backup)).await.unwrap_err();
        assert_eq!(session.code(), "repository.session.outdated_key");
        let retired = opened.retire(outcome, &owner(), now()).await.unwrap_err();
        assert_eq!(retired.code(), "repository.retire.outdated_key");
        assert_eq!(opened.add_key(&ours, &[]).await.unwrap_err().code(), "repository.create.sequence");
        assert_eq!(site.keys("").await.len(), count);
    }
}
