//! Opening: right and wrong passphrases, changed passphrases, foreign keys, damaged slots, keys and format.

use std::sync::Arc;

use jiff::Timestamp;
use keelson_crypto::{GrantKey, Sha256, VaultKey, VaultKeyring};
use keelson_model::{Classified, ErrorClass, LineageId, RepositoryId};
use keelson_repository::{
    CreateRepositoryError, NewRepository, Open, OpenRepositoryError, Ownership, Repository, RetireError,
    SessionError, SessionPurpose, Unlock,
};
use keelson_store::{Store, StorePath};

use crate::world::*;

async fn open(site: &Site, text: &str) -> Result<Repository<Open>, OpenRepositoryError> {
    locked(&site.store().await).open(Unlock::Passphrase(&passphrase(text))).await
}

/// The error's code and class; its text names the repository's root.
async fn check_refused(site: &Site, code: &str, class: ErrorClass) -> OpenRepositoryError {
    let keys = site.keys("").await;
    let error = open(site, PASSPHRASE).await.unwrap_err();
    assert_eq!((error.code(), error.class()), (code, class), "{error}");
    assert!(error.to_string().contains(root().as_str()), "{error}");
    assert_eq!(site.keys("").await, keys);
    error
}

fn path(name: &str) -> StorePath {
    root().join(name).unwrap()
}

/// Whoever can write to the location can also mend a plain checksum.
fn mend_checksum(bytes: &mut [u8]) {
    let end = bytes.len() - Sha256::LENGTH;
    let checksum = Sha256::of(&bytes[..end]);
    bytes[end..].copy_from_slice(checksum.as_bytes());
}

#[tokio::test]
async fn location_and_passphrase_open_a_repository_alone() {
    for site in Site::both() {
        let repository = create_indexed(&site.store().await).await;
        let outcome = back_up(&repository, b"all that matters").await.unwrap();
        drop(repository);
        let opened = open(&site, PASSPHRASE).await.unwrap();
        assert_eq!(opened.id(), RepositoryId::from_bytes([7; 16]));
        assert_eq!(opened.fetch_outcome(outcome.id).await.unwrap(), outcome);
    }
}

#[tokio::test]
async fn a_wrong_passphrase_is_refused_with_a_hint() {
    for site in Site::both() {
        create_indexed(&site.store().await).await;
        let error = open(&site, "wrong").await.unwrap_err();
        assert!(matches!(error, OpenRepositoryError::WrongPassphrase { slots: 1, beside: None, .. }));
        assert_eq!(error.class(), ErrorClass::Denied);
        assert!(error.hint().unwrap().contains("passphrase"));
    }
}

#[tokio::test]
async fn no_repository_is_not_a_wrong_passphrase() {
    for site in Site::both() {
        check_refused(&site, "repository.open.absent", ErrorClass::NotFound).await;
    }
}

#[tokio::test]
async fn a_repository_without_slots_says_so_and_opens_for_its_installation() {
    for site in Site::both() {
        let store = site.store().await;
        let vault = VaultKeyring::new(VaultKey::generate(1));
        let id = RepositoryId::from_bytes([7; 16]);
        let new = NewRepository { id, vault: &vault, slots: &[], chunks: small_chunks() };
        locked(&store).create(new).await.unwrap();
        check_refused(&site, "repository.open.no_slots", ErrorClass::Denied).await;

        let opened = locked(&store).open(Unlock::Vault(&vault)).await.unwrap();
        opened.add_slot(&slot(&vault, 1, PASSPHRASE)).await.unwrap();
        open(&site, PASSPHRASE).await.unwrap();
    }
}

fn granted_folder() -> StorePath {
    "grants/shop".parse().unwrap()
}

#[tokio::test]
async fn whoever_was_granted_a_repository_reads_it_and_writes_nothing() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let outcome = back_up(&repository, b"for others too").await.unwrap();
        let (grant, folder) = (GrantKey::generate(), granted_folder());
        repository.grant(&grant, &folder).await.unwrap();
        let written = site.bytes(&folder.join("1").unwrap()).await;
        repository.grant(&grant, &folder).await.unwrap();
        assert_eq!(site.bytes(&folder.join("1").unwrap()).await, written, "what was granted is granted");

        let opened = locked(&store).open(Unlock::Granted(&grant, &folder)).await.unwrap();
        assert_eq!(opened.fetch_outcome(outcome.id).await.unwrap(), outcome);
        let indexed = opened.load_index().await.unwrap();
        let refused = indexed.begin(new_session(SessionPurpose::Backup)).await.unwrap_err();
        assert!(matches!(refused, SessionError::OutdatedKey { .. }), "{refused}");
        let proof = Ownership::proven_by_newest_epoch(LineageId::from_bytes([1; 16]), 1);
        let refused = opened.retire(outcome.id, &proof, Timestamp::UNIX_EPOCH).await.unwrap_err();
        assert!(matches!(refused, RetireError::OutdatedKey), "{refused}");
        assert!(!opened.holds_newest_key());

        let elsewhere: StorePath = "grants/bank".parse().unwrap();
        for (grant, folder) in [(&GrantKey::generate(), &folder), (&grant, &elsewhere)] {
            let refused = locked(&store).open(Unlock::Granted(grant, folder)).await.unwrap_err();
            assert!(matches!(refused, OpenRepositoryError::ForeignKey { .. }), "{refused}");
        }
    }
}

/// What somebody else put in the place of a granted key is told, and not taken for one.
#[tokio::test]
async fn a_granted_key_that_was_changed_or_planted_opens_nothing_and_is_told() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let (grant, folder) = (GrantKey::generate(), granted_folder());
        repository.grant(&grant, &folder).await.unwrap();
        let path = folder.join("1").unwrap();
        let whole = site.bytes(&path).await;
        for (at, mended, code) in [
            (60, false, "repository.record.checksum"),
            (60, true, "repository.grant.foreign"),
            (35, true, "repository.grant.foreign"),
            (12, true, "repository.grant.foreign"),
        ] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            if mended {
                mend_checksum(&mut bytes);
            }
            site.overwrite(&path, bytes);
            let refused = repository.grant(&grant, &folder).await.unwrap_err();
            assert_eq!((refused.code(), refused.class()), (code, ErrorClass::Corrupt), "{at}: {refused}");
            let opened = locked(&store).open(Unlock::Granted(&grant, &folder)).await;
            assert!(opened.is_err(), "{at}");
        }
    }
}

#[tokio::test]
async fn the_keys_of_another_installation_open_nothing() {
    for site in Site::both() {
        let store = site.store().await;
        create_indexed(&store).await;
        let foreign = VaultKeyring::new(VaultKey::generate(1));
        let error = locked(&store).open(Unlock::Vault(&foreign)).await.unwrap_err();
        assert!(matches!(error, OpenRepositoryError::ForeignKey { .. }), "{error}");
    }
}

#[tokio::test]
async fn damaged_keys_and_formats_are_each_told_apart() {
    let cases = [
        ("format", 20, false, "repository.record.checksum"),
        // Still a chunk size, yet not the one that the keys were made with.
        ("format", 38, true, "repository.open.unwrap"),
        ("keys/1", 40, false, "repository.record.checksum"),
        ("keys/1", 60, true, "repository.open.unwrap"),
        ("keys/1", 12, true, "repository.open.swapped_key"),
        ("keys/1", 35, true, "repository.open.foreign_key"),
    ];
    for (name, at, mended, code) in cases {
        for site in Site::both() {
            create_indexed(&site.store().await).await;
            let mut bytes = site.bytes(&path(name)).await;
            bytes[at] ^= 1;
            if mended {
                mend_checksum(&mut bytes);
            }
            site.overwrite(&path(name), bytes);
            let error = open(&site, PASSPHRASE).await.unwrap_err();
            assert_eq!(error.code(), code, "{name} {at}: {error}");
        }
    }
}

#[tokio::test]
async fn a_damaged_slot_is_named_unless_another_opens() {
    for site in Site::both() {
        let store = site.store().await;
        let vault = VaultKeyring::new(VaultKey::generate(1));
        let repository = create(&store, &vault).await;
        let second = slot(&vault, 2, "second passphrase");
        repository.add_slot(&second).await.unwrap();
        let name = path(&format!("slots/{}", slot(&vault, 1, "any").id()));
        let mut bytes = site.bytes(&name).await;
        bytes[50] ^= 1;
        site.overwrite(&name, bytes);

        // Another is whole: whether the damaged one was this passphrase's nobody can say.
        let error = check_refused(&site, "repository.open.wrong_passphrase", ErrorClass::Denied).await;
        assert!(error.to_string().contains(name.as_str()));
        open(&site, "second passphrase").await.unwrap();
    }
}

#[tokio::test]
async fn a_format_of_a_later_release_says_so() {
    for site in Site::both() {
        create_indexed(&site.store().await).await;
        let mut bytes = site.bytes(&path("format")).await;
        bytes[8] = 1;
        mend_checksum(&mut bytes);
        site.overwrite(&path("format"), bytes);
        let error = check_refused(&site, "repository.record.newer_format", ErrorClass::Invalid).await;
        assert!(error.hint().unwrap().contains("release"));
    }
}

#[tokio::test]
async fn a_missing_key_file_is_named() {
    for site in Site::both() {
        create_indexed(&site.store().await).await;
        site.remove(&path("keys/1"));
        check_refused(&site, "repository.open.missing_key", ErrorClass::Corrupt).await;
    }
}

#[tokio::test]
async fn a_second_repository_is_not_made_over_the_first() {
    for site in Site::both() {
        let store = site.store().await;
        create_indexed(&store).await;
        let vault = VaultKeyring::new(VaultKey::generate(1));
        let id = RepositoryId::from_bytes([9; 16]);
        let new = NewRepository { id, vault: &vault, slots: &[], chunks: small_chunks() };
        let error = locked(&store).create(new).await.unwrap_err();
        assert!(matches!(error, CreateRepositoryError::Exists { .. }));
        assert_eq!(locked(&store).summary().await.unwrap().id, RepositoryId::from_bytes([7; 16]));
    }
}

#[tokio::test]
async fn a_changed_passphrase_opens_old_and_new_data_and_the_old_one_only_the_old() {
    for site in Site::both() {
        let store: Arc<dyn Store> = site.store().await;
        let mut vault = VaultKeyring::new(VaultKey::generate(1));
        let first = create(&store, &vault).await.load_index().await.unwrap();
        let old = back_up(&first, &noise(1, 20_000)).await.unwrap();

        vault.insert(VaultKey::generate(2));
        let slots = [slot(&vault, 2, "a new passphrase")];
        let second = first.add_key(&vault, &slots).await.unwrap().load_index().await.unwrap();
        let both = [noise(1, 20_000), noise(2, 20_000)].concat();
        let new = back_up(&second, &both).await.unwrap();
        assert!(new.packs().contains(&old.packs()[0]), "chunk ids and boundaries stay");

        let opened = open(&site, "a new passphrase").await.unwrap();
        assert_eq!(opened.vault_keys().newest().number(), 2);
        let reader = opened.load_index().await.unwrap().begin_reading_unannounced().await.unwrap();
        for (outcome, content) in [(&old, noise(1, 20_000)), (&new, both)] {
            let reference = reader.outcome(outcome.id).await.unwrap().streams()[0].reference;
            assert_eq!(read(&reader, &reference).await.unwrap(), content);
        }

        assert_eq!(read_back_with(&store, PASSPHRASE, &old).await, Ok(noise(1, 20_000)));
        assert_eq!(read_back_with(&store, PASSPHRASE, &new).await, Err("crypto.object.missing_key"));
    }
}

/// Each key file leads to the vault key before it; a repository that a later passphrase made had only one.
#[tokio::test]
async fn a_repository_made_after_two_changes_leads_to_the_first_vault_key() {
    for site in Site::both() {
        let store = site.store().await;
        let mut vault = VaultKeyring::new(VaultKey::generate(1));
        vault.insert(VaultKey::generate(2));
        vault.insert(VaultKey::generate(3));
        let slots = [slot(&vault, 3, "the third passphrase")];
        let id = RepositoryId::from_bytes([7; 16]);
        let new = NewRepository { id, vault: &vault, slots: &slots, chunks: small_chunks() };
        locked(&store).create(new).await.unwrap();
        let opened = open(&site, "the third passphrase").await.unwrap();
        assert_eq!(opened.opened_slot().map(keelson_crypto::Slot::id), Some(slots[0].id()));
        for key in vault.iter() {
            let found = opened.vault_keys().find(key.number()).map(VaultKey::fingerprint);
            assert_eq!(found, Some(key.fingerprint()), "vault key {}", key.number());
        }
        assert!(opened.keyring().find(2).is_none(), "nothing here was ever sealed under an older key");
    }
}

/// A location that was away during two changes could not be given either key afterwards.
#[tokio::test]
async fn a_repository_that_missed_two_changes_gets_both_keys() {
    for site in Site::both() {
        let store = site.store().await;
        let mut vault = VaultKeyring::new(VaultKey::generate(1));
        let first = create(&store, &vault).await;
        vault.insert(VaultKey::generate(2));
        vault.insert(VaultKey::generate(3));
        let slots = [slot(&vault, 3, "the third passphrase")];
        let opened = first.add_key(&vault, &slots).await.unwrap();
        assert_eq!(opened.keyring().newest().number(), 3);
        let opened = open(&site, "the third passphrase").await.unwrap();
        assert_eq!(opened.vault_keys().iter().count(), 3);
    }
}

async fn read_back_with(
    store: &Arc<dyn Store>,
    text: &str,
    outcome: &keelson_repository::Outcome,
) -> Result<Vec<u8>, &'static str> {
    let opened = locked(store).open(Unlock::Passphrase(&passphrase(text))).await.unwrap();
    let indexed = opened.load_index().await.unwrap();
    let outdated = indexed.begin(new_session(SessionPurpose::Backup)).await.unwrap_err();
    assert!(matches!(outdated, SessionError::OutdatedKey { newest: 2, at_hand: 1 }), "{outdated}");
    let reader = indexed.begin_reading_unannounced().await.unwrap();
    let outcome = reader.outcome(outcome.id).await.map_err(|error| error.code())?;
    read(&reader, &outcome.streams()[0].reference).await.map_err(|error| error.code())
}
