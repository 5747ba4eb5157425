//! Slots: round trip, wrong passphrase against damage, bounds, known values.

use proptest::prelude::*;

use super::*;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.as_bytes().to_vec())
}

fn slot(cost: KdfCost, key: &VaultKey) -> Slot {
    Slot::seal(SlotId::from_bytes([4; 16]), &passphrase("correct horse"), cost, key).unwrap()
}

#[test]
fn a_slot_gives_the_vault_key_back_to_its_passphrase() {
    for cost in [KdfCost::LOWEST, KdfCost::FIPS] {
        let key = VaultKey::generate(2);
        let read = Slot::from_bytes(&slot(cost, &key).to_bytes()).unwrap();
        let opened = read.open(&passphrase("correct horse")).unwrap();
        assert_eq!((opened.number(), opened.fingerprint()), (2, key.fingerprint()));
        assert_eq!((read.vault_key_number(), read.cost()), (2, cost));
    }
}

#[test]
fn a_wrong_passphrase_is_told_apart_from_damage() {
    let slot = slot(KdfCost::LOWEST, &VaultKey::generate(1));
    let wrong = slot.open(&passphrase("battery staple")).err().unwrap();
    assert_eq!(wrong, OpenSlotError::WrongPassphrase { slot: slot.id() });
    assert_eq!(wrong.class(), ErrorClass::Denied);

    let mut bytes = slot.to_bytes();
    bytes[AT_SALT] ^= 1;
    assert_eq!(Slot::from_bytes(&bytes).unwrap_err(), DecodeSlotError::Damaged);
}

/// Whoever can write to the location can also mend the checksum; the cipher still notices.
#[test]
fn a_changed_field_under_a_mended_checksum_is_tampering() {
    let key = VaultKey::generate(1);
    for at in [AT_NUMBER, AT_ID, AT_NONCE, AT_SEALED, AT_CHECKSUM - 1] {
        let mut bytes = slot(KdfCost::LOWEST, &key).to_bytes();
        bytes[at] ^= 1;
        let checksum = Sha256::of(&bytes[..AT_CHECKSUM]);
        bytes[AT_CHECKSUM..].copy_from_slice(checksum.as_bytes());
        let error = Slot::from_bytes(&bytes).unwrap().open(&passphrase("correct horse")).err().unwrap();
        assert!(matches!(error, OpenSlotError::Tampered { .. }), "byte {at}");
    }
}

#[test]
fn costs_outside_the_bounds_are_neither_made_nor_run() {
    let key = VaultKey::generate(1);
    for cost in [
        KdfCost::Argon2id { memory_kib: 1023, iterations: 1, lanes: 1 },
        KdfCost::Argon2id { memory_kib: 128 * 1024 + 1, iterations: 1, lanes: 1 },
        KdfCost::Argon2id { memory_kib: 1024, iterations: 7, lanes: 1 },
        KdfCost::Argon2id { memory_kib: 1024, iterations: 1, lanes: 5 },
        KdfCost::Pbkdf2HmacSha256 { rounds: 999_999 },
        KdfCost::Pbkdf2HmacSha256 { rounds: u32::MAX },
    ] {
        let sealed = Slot::seal(SlotId::from_bytes([4; 16]), &passphrase("p"), cost, &key);
        assert_eq!(sealed.err(), Some(SealSlotError), "{cost:?}");
    }

    let mut bytes = slot(KdfCost::LOWEST, &key).to_bytes();
    bytes[AT_COST..AT_COST + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let checksum = Sha256::of(&bytes[..AT_CHECKSUM]);
    bytes[AT_CHECKSUM..].copy_from_slice(checksum.as_bytes());
    assert_eq!(Slot::from_bytes(&bytes).unwrap_err(), DecodeSlotError::Cost);
}

/// So much a try of a passphrase costs whoever has the location.
#[test]
fn a_new_slot_costs_64_mib_and_three_passes_or_a_million_rounds() {
    let recommended = KdfCost::Argon2id { memory_kib: 64 * 1024, iterations: 3, lanes: 1 };
    let fips = KdfCost::Pbkdf2HmacSha256 { rounds: 1_000_000 };
    for (cost, expected) in [(KdfCost::RECOMMENDED, recommended), (KdfCost::FIPS, fips)] {
        let read = Slot::from_bytes(&slot(cost, &VaultKey::generate(1)).to_bytes()).unwrap();
        assert_eq!(read.cost(), expected);
    }
}

#[test]
fn a_slot_of_a_later_release_says_so() {
    let mut bytes = slot(KdfCost::LOWEST, &VaultKey::generate(1)).to_bytes();
    bytes[AT_VERSION] = 7;
    let error = Slot::from_bytes(&bytes).unwrap_err();
    assert_eq!(error, DecodeSlotError::NewerFormat { found: 7 });
    assert_eq!(error.class(), ErrorClass::Invalid);
}

#[test]
fn key_derivation_gives_the_known_values() {
    let argon2 = KdfCost::LOWEST.derive(&passphrase("correct horse"), &[1; 32]);
    assert_eq!(
        hex::encode(argon2.expose()),
        "08c8d613ba8c117630e16b0357d3149ea3d7fd20ee9ba4006a29c11b8491904e"
    );
    let pbkdf2 = KdfCost::FIPS.derive(&passphrase("correct horse"), &[1; 32]);
    assert_eq!(
        hex::encode(pbkdf2.expose()),
        "c322cad61c7d1eebc1887969e33edf493509d2ae8b27cc0378136aa7a8f9a9be"
    );
}

/// A slot of the first release, as it lay in a bucket.
#[test]
fn the_golden_slot_opens() {
    let bytes = hex::decode(include_str!("golden_slot.hex").trim()).unwrap();
    let key = Slot::from_bytes(&bytes).unwrap().open(&passphrase("correct horse")).unwrap();
    assert_eq!(hex::encode(key.secret().expose()), "2a".repeat(32));
}

proptest! {
    #[test]
    fn no_bytes_make_reading_a_slot_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(Slot::from_bytes(&bytes).is_err());
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_damage(bit in 0..SLOT_BYTES * 8, length in 0..SLOT_BYTES) {
        let whole = hex::decode(include_str!("golden_slot.hex").trim()).unwrap();
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Slot::from_bytes(&flipped).is_err());
        prop_assert!(Slot::from_bytes(&whole[..length]).is_err());
    }
}
