//! Objects: round trip; any flipped bit, cut or swap is noticed; a known object of the first release opens.

use aws_lc_rs::aead::{Aad, Nonce};
use keelson_model::{Classified, ErrorClass, RepositoryId};
use proptest::prelude::*;

use super::*;
use crate::data_key::{DataKey, Keyring};
use crate::digest::Sha256;

fn keys(repository: u8) -> Keyring {
    Keyring::new(DataKey::generate(RepositoryId::from_bytes([repository; 16]), 1))
}

fn seal(keys: &Keyring, kind: ObjectKind, parts: &[Vec<u8>], directory: &[u8]) -> SealedObject {
    let mut sealer = Sealer::new(keys.newest(), kind);
    for part in parts {
        sealer.part(part).unwrap();
    }
    sealer.finish(directory).unwrap()
}

fn open_all(
    keys: &Keyring,
    kind: ObjectKind,
    bytes: &[u8],
) -> Result<(Vec<Vec<u8>>, Vec<u8>), OpenObjectError> {
    let opened = open_object(keys, kind, bytes)?;
    let parts = (0..opened.parts().len() as u32).map(|part| opened.part(part)).collect::<Result<_, _>>()?;
    Ok((parts, opened.directory().to_vec()))
}

fn three_parts() -> Vec<Vec<u8>> {
    vec![b"first".to_vec(), Vec::new(), b"third part".to_vec()]
}

#[test]
fn every_flipped_bit_of_an_object_is_corrupt() {
    let keys = keys(1);
    let sealed = seal(&keys, ObjectKind::Pack, &three_parts(), b"directory");
    for bit in 0..sealed.bytes.len() * 8 {
        let mut damaged = sealed.bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = open_all(&keys, ObjectKind::Pack, &damaged).unwrap_err();
        // Nobody can tell a flipped version from a later release before the object is authenticated.
        let expected = if (8..10).contains(&(bit / 8)) { ErrorClass::Invalid } else { ErrorClass::Corrupt };
        assert_eq!(error.class(), expected, "bit {bit}: {error}");
    }
}

#[test]
fn every_truncation_of_an_object_is_corrupt() {
    let keys = keys(1);
    let sealed = seal(&keys, ObjectKind::Pack, &three_parts(), b"directory");
    for length in 0..sealed.bytes.len() {
        let error = open_all(&keys, ObjectKind::Pack, &sealed.bytes[..length]).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Corrupt, "length {length}");
    }
}

#[test]
fn an_object_opens_only_as_its_kind_and_in_its_repository() {
    let (ours, theirs) = (keys(1), keys(2));
    let sealed = seal(&ours, ObjectKind::Outcome, &three_parts(), b"");
    assert!(open_all(&ours, ObjectKind::Index, &sealed.bytes).is_err());
    assert!(open_all(&theirs, ObjectKind::Outcome, &sealed.bytes).is_err());

    let mut relabelled = sealed.bytes.to_vec();
    relabelled[10] = ObjectKind::Index.code();
    assert!(open_all(&ours, ObjectKind::Index, &relabelled).is_err());
}

#[test]
fn swapped_parts_are_noticed() {
    let keys = keys(1);
    let parts = vec![vec![1; 32], vec![2; 32]];
    let sealed = seal(&keys, ObjectKind::Pack, &parts, b"");
    let [first, second] = [sealed.parts[0], sealed.parts[1]];
    let mut swapped = sealed.bytes.to_vec();
    let (from, to) = (first.offset as usize, second.offset as usize);
    let length = first.length as usize;
    swapped.copy_within(from..from + length, to);
    swapped[from..from + length].copy_from_slice(&sealed.bytes[to..to + length]);
    let error = open_all(&keys, ObjectKind::Pack, &swapped).unwrap_err();
    assert_eq!(error, OpenObjectError::AuthenticatePart { kind: ObjectKind::Pack, part: 0 });
}

/// Who has no key sees how long the whole object is, and not where it is divided.
#[test]
fn lengths_of_parts_are_sealed() {
    let keys = keys(1);
    let in_the_clear = |lengths: [usize; 2]| {
        let sealed = seal(&keys, ObjectKind::Pack, &lengths.map(|length| vec![7_u8; length]), b"directory");
        let told = lengths.iter().flat_map(|length| [*length, length + PART_OVERHEAD_BYTES]);
        for told in told.map(|length| (length as u32).to_le_bytes()) {
            assert!(!sealed.bytes.windows(told.len()).any(|bytes| bytes == told), "{told:?}");
        }
        let (header, trailer) = (&sealed.bytes[..16], &sealed.bytes[sealed.bytes.len() - 8..]);
        (sealed.bytes.len(), header.to_vec(), trailer.to_vec())
    };
    assert_eq!(in_the_clear([100, 300]), in_the_clear([300, 100]));
}

/// With the same associated data, so that nothing differs but the key.
#[test]
fn an_objects_key_opens_nothing_that_another_sealed() {
    let keys = keys(1);
    let salts = [(); 2].map(|()| seal(&keys, ObjectKind::Pack, &[], b"").salt);
    let [first, second] = salts.map(|salt| {
        let id = ObjectId::from_bytes([1; ObjectId::LENGTH]);
        let header = layout::Header { kind: ObjectKind::Pack, key_number: 1, id, salt };
        layout::ObjectCipher::new(keys.newest(), &header)
    });
    let mut sealed = b"a part".to_vec();
    let nonce = first.key.seal_in_place_append_tag(Aad::empty(), &mut sealed).unwrap();
    let nonce: [u8; layout::NONCE_BYTES] = *nonce.as_ref();
    let opens = |cipher: &layout::ObjectCipher| {
        cipher.key.open_in_place(Nonce::from(&nonce), Aad::empty(), &mut sealed.clone()).is_ok()
    };
    assert_eq!((opens(&first), opens(&second)), (true, false));
}

#[test]
fn a_single_part_opens_from_what_an_index_keeps() {
    let keys = keys(1);
    let sealed = seal(&keys, ObjectKind::Pack, &three_parts(), b"directory");
    let opener = PartOpener::new(&keys, ObjectKind::Pack, sealed.id, sealed.key_number, sealed.salt).unwrap();
    let PartLocation { offset, length } = sealed.parts[2];
    let range = &sealed.bytes[offset as usize..(offset + length) as usize];
    assert_eq!(opener.open(2, range).unwrap(), b"third part");
    assert!(opener.open(1, range).is_err());
    assert!(opener.open(2, &range[1..]).is_err());
    assert!(opener.open(2, &[]).is_err());
}

#[test]
fn the_sha256_is_that_of_all_bytes_and_the_size_is_foretold() {
    let keys = keys(1);
    let mut sealer = Sealer::new(keys.newest(), ObjectKind::Index);
    assert_eq!(sealer.object_bytes(0), OBJECT_OVERHEAD_BYTES);
    sealer.part(b"0123456789").unwrap();
    let foretold = sealer.object_bytes(5);
    let sealed = sealer.finish(b"12345").unwrap();
    assert_eq!(sealed.bytes.len(), foretold);
    assert_eq!(sealed.sha256, Sha256::of(&sealed.bytes));
}

#[test]
fn an_object_never_outgrows_its_bounds() {
    let keys = keys(1);
    let mut sealer = Sealer::new(keys.newest(), ObjectKind::Base);
    let size = SealObjectError::Size { kind: ObjectKind::Base };
    assert_eq!(sealer.part(&vec![0; OBJECT_BYTES_MAX]).unwrap_err(), size);
    for _ in 0..PARTS_MAX {
        sealer.part(&[]).unwrap();
    }
    assert_eq!(sealer.part(&[]).unwrap_err(), SealObjectError::Parts { kind: ObjectKind::Base });
    assert_eq!(sealer.finish(&vec![0; OBJECT_BYTES_MAX]).unwrap_err(), size);
}

#[test]
fn an_object_of_a_later_release_says_so() {
    let keys = keys(1);
    let mut bytes = seal(&keys, ObjectKind::Epoch, &[], b"").bytes.to_vec();
    bytes[8] = 1;
    let error = open_all(&keys, ObjectKind::Epoch, &bytes).unwrap_err();
    assert_eq!(error, OpenObjectError::NewerFormat { kind: ObjectKind::Epoch, found: 1 });
    assert!(error.hint().is_some());
}

/// An object of the first release, as it lay in a bucket.
#[test]
fn the_golden_object_opens() {
    let keys = Keyring::new(DataKey::known());
    let bytes = hex::decode(include_str!("golden_object.hex").trim()).unwrap();
    let (parts, directory) = open_all(&keys, ObjectKind::Pack, &bytes).unwrap();
    assert_eq!(parts, three_parts());
    assert_eq!(directory, b"directory");
}

proptest! {
    #[test]
    fn an_object_gives_back_what_was_sealed(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        directory in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let keys = keys(1);
        let sealed = seal(&keys, ObjectKind::Segment, &parts, &directory);
        prop_assert_eq!(open_all(&keys, ObjectKind::Segment, &sealed.bytes).unwrap(), (parts, directory));
    }

    #[test]
    fn no_bytes_make_opening_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut framed = b"KEELSON\0\0\0\x01\0\x01\0\0\0".to_vec();
        framed.extend_from_slice(&bytes);
        framed.extend_from_slice(b"KEND");
        let keys = keys(1);
        prop_assert!(open_all(&keys, ObjectKind::Pack, &framed).is_err());
        prop_assert!(open_all(&keys, ObjectKind::Pack, &bytes).is_err());
    }
}
