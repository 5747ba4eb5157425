//! What this crate reads of bytes from outside, and what must hold of whatever comes out. For the crate's tests and for
//! the targets in `fuzz/`; no product has it.

use keelson_model::{LineageId, RepositoryId, SlotId};

use crate::data_key::{DataKey, Keyring};
use crate::digest::Sha256;
use crate::envelope::{ObjectKind, Sealer, open_object, peek_object_id};
use crate::kit::{KIT_BYTES_MAX, SealedKit, seal_under};
use crate::passphrase::Passphrase;
use crate::sealed_box::{open_box, seal_box};
use crate::secret::Secret;
use crate::signature::{Signature, SigningKey, VerifyingKey};
use crate::slot::{KdfCost, Slot};
use crate::vault_key::{InstanceKey, VaultKey, VaultKeyring};
use crate::{CatalogKey, PART_OVERHEAD_BYTES};

/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// Every decoder. Each asserts its rules and says whether it took the bytes.
pub const TARGETS: &[Decoder] = &[
    ("object", object),
    ("object directory", object_directory),
    ("sealed box", sealed_box),
    ("content of a sealed box", box_content),
    ("instance key", instance_key),
    ("slot", slot),
    ("kit", kit),
    ("signature", signature),
    ("verifying key", verifying_key),
];

/// Inputs that the targets take.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut sealer = Sealer::new(keys().newest(), ObjectKind::Pack);
    for part in [&b"first"[..], b"", b"third"] {
        sealer.part(part).expect("three small parts");
    }
    let object = sealer.finish(b"directory").expect("a small directory").bytes.to_vec();
    let empty = Sealer::new(keys().newest(), ObjectKind::Pack).finish(b"").expect("nothing").bytes.to_vec();
    // Two parts of 28 and 30 bytes, and a directory that says so.
    let directory = [&[58, 0][..], &[0; 58], &[2, 0, 0, 0, 28, 0, 0, 0, 30, 0, 0, 0], b"rest"].concat();
    let passphrase = Passphrase::new(b"correct horse".to_vec());
    let slot = Slot::seal(SlotId::from_bytes([4; 16]), &passphrase, KdfCost::LOWEST, &vault_key())
        .expect("the lowest cost is allowed");
    let kit = seal_under(&slot, &vault_key(), b"what a person keeps").expect("a small kit");
    vec![
        ("object", object),
        ("object", empty),
        ("object directory", directory),
        ("object directory", vec![0, 0, 0, 0, 0, 0]),
        ("sealed box", seal_box(vault_key().secret(), FIELD, b"", b"hunter2")),
        ("content of a sealed box", vec![7; 32]),
        ("instance key", vec![7; 32]),
        ("slot", slot.to_bytes()),
        ("kit", kit),
        ("signature", signing_key().sign(MESSAGE).to_string().into_bytes()),
        ("verifying key", signing_key().public().to_string().into_bytes()),
    ]
}

const FIELD: &str = "field";
const MESSAGE: &[u8] = b"report";
const LINEAGE: LineageId = LineageId::from_bytes([5; 16]);

fn vault_key() -> VaultKey {
    VaultKey::from_slice(VaultKey::FIRST, &[9; 32]).expect("a key's length")
}

fn signing_key() -> SigningKey {
    SigningKey::of_lineage(&VaultKeyring::new(vault_key()), LINEAGE).expect("the first vault key is there")
}

fn keys() -> Keyring {
    Keyring::of_lineage(&VaultKeyring::new(vault_key()), LINEAGE).expect("the first vault key is there")
}

/// Whatever opens has parts that lie in it one after the other, and each of them opens or is refused.
fn object(bytes: &[u8]) -> bool {
    let keys = keys();
    let Ok(opened) = open_object(&keys, ObjectKind::Pack, bytes) else { return false };
    assert_eq!(peek_object_id(bytes), Some(opened.id()), "the id stands in the header");
    assert_tiled(bytes, &opened);
    (0..opened.parts().len() as u32).filter(|part| opened.part(*part).is_err()).count() == 0
}

fn assert_tiled(bytes: &[u8], opened: &crate::OpenedObject<'_>) {
    let mut end = crate::HEADER_BYTES;
    for part in opened.parts() {
        assert_eq!(part.offset as usize, end, "a part begins where the one before it ends");
        assert!(part.length as usize >= PART_OVERHEAD_BYTES, "a part has a nonce and a tag");
        end += part.length as usize;
    }
    assert!(end <= bytes.len(), "parts lie within their object");
}

/// An authentic directory that says anything: the length of the parts (2), the parts, the directory.
fn object_directory(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk() else { return false };
    let Some((parts, directory)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length))) else {
        return false;
    };
    let keys = keys();
    let sealed = Sealer::new(keys.newest(), ObjectKind::Pack).finish_falsely(parts, directory);
    let Ok(opened) = open_object(&keys, ObjectKind::Pack, &sealed) else { return false };
    assert_tiled(&sealed, &opened);
    let mut again = (opened.parts().len() as u32).to_le_bytes().to_vec();
    opened.parts().iter().for_each(|part| again.extend_from_slice(&part.length.to_le_bytes()));
    again.extend_from_slice(opened.directory());
    assert_eq!(again, directory, "a directory has one spelling");
    true
}

fn sealed_box(bytes: &[u8]) -> bool {
    let (vault, instance) = (vault_key(), InstanceKey::from_slice(&[8; 32]).expect("a key's length"));
    let format = Sha256::of(b"format");
    let repository = RepositoryId::from_bytes([1; 16]);
    // None of these was sealed for any of these places.
    assert!(VaultKey::unwrap(2, &instance, bytes).is_err());
    assert!(vault.unwrap_previous(bytes).is_err());
    assert!(DataKey::unwrap(&vault, repository, &format, bytes).is_err());
    assert!(CatalogKey::unwrap(&vault, b"base", bytes).is_err());
    open_box(vault.secret(), FIELD, b"", bytes).is_ok()
}

/// An authentic box that holds anything: only a key's length makes a key.
fn box_content(bytes: &[u8]) -> bool {
    let vault = vault_key();
    let sealed = |purpose, context: &[u8]| seal_box(vault.secret(), purpose, context, bytes);
    let is_key = bytes.len() == 32;
    let kept = VaultKey::unwrap(2, &vault, &sealed("vault key", &2_u32.to_le_bytes()));
    assert_eq!(kept.is_ok(), is_key);
    let previous = vault.unwrap_previous(&sealed("previous vault key", &0_u32.to_le_bytes()));
    assert_eq!(previous.is_ok(), is_key);
    assert_eq!(CatalogKey::unwrap(&vault, b"base", &sealed("catalog key", b"base")).is_ok(), is_key);
    is_key
}

fn instance_key(bytes: &[u8]) -> bool {
    let Ok(key) = InstanceKey::from_slice(bytes) else { return false };
    assert_eq!(key.expose().as_slice(), bytes);
    assert!(Secret::from_slice(bytes).is_ok());
    true
}

/// As it is, and with its checksum mended: whoever can change a slot can do that too.
fn slot(bytes: &[u8]) -> bool {
    let mut mended = bytes.to_vec();
    if let Some((body, checksum)) = mended.split_last_chunk_mut() {
        *checksum = *Sha256::of(body).as_bytes();
    }
    decode_slot(&mended);
    decode_slot(bytes)
}

fn decode_slot(bytes: &[u8]) -> bool {
    let Ok(slot) = Slot::from_bytes(bytes) else { return false };
    assert_eq!(slot.to_bytes(), bytes, "a slot is its bytes");
    match slot.cost() {
        KdfCost::Argon2id { memory_kib, iterations, lanes } => {
            assert!(memory_kib <= 256 << 10 && iterations <= 16 && lanes <= 16, "opening it is bounded");
        }
        KdfCost::Pbkdf2HmacSha256 { rounds } => assert!(rounds <= 20_000_000, "opening it is bounded"),
    }
    true
}

/// As if its passphrase were known: whatever opens is the one part that was sealed.
fn kit(bytes: &[u8]) -> bool {
    let Ok(kit) = SealedKit::parse(bytes) else { return false };
    assert!(bytes.len() <= KIT_BYTES_MAX);
    let opened = kit.open_with(&vault_key());
    opened.is_ok_and(|content| content.len() + kit.slot.to_bytes().len() < bytes.len())
}

/// Any digits are a signature; of a message and a key there is one that is taken.
fn signature(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(signature) = text.parse::<Signature>() else { return false };
    assert_eq!(signature.to_string(), text.to_lowercase());
    let genuine = signature == signing_key().sign(MESSAGE);
    assert_eq!(signing_key().public().verify(MESSAGE, &signature).is_ok(), genuine);
    true
}

/// Any digits are a key, and none but the signer's takes what he signed.
fn verifying_key(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(key) = text.parse::<VerifyingKey>() else { return false };
    assert_eq!(key.to_string(), text.to_lowercase());
    let genuine = key == signing_key().public();
    assert_eq!(key.verify(MESSAGE, &signing_key().sign(MESSAGE)).is_ok(), genuine);
    true
}

#[cfg(test)]
mod tests {
    use keelson_hostile::Bombardment;

    use super::*;

    #[test]
    fn whatever_the_bytes_they_open_to_what_was_sealed_or_are_refused() {
        Bombardment::of(TARGETS, samples()).run();
    }
}
