//! The index against a plain map, through index objects that come and go.

use std::collections::BTreeMap;

use keelson_crypto::Sha256;
use proptest::prelude::*;

use super::*;

/// Chunks named by small numbers, so that packs share some.
fn decoded(object: u8, packs: &[(u8, Vec<u8>)]) -> DecodedIndex {
    let source = IndexSource { id: ObjectId::from_bytes([object; 16]), version: None };
    let packs = packs.iter().map(|(pack, chunks)| {
        let record = PackRecord {
            id: PackId::from_bytes([*pack; 16]),
            key_number: 1,
            salt: [0; 32],
            sha256: Sha256::from_bytes([0; 32]),
            length: 10_000,
            version: None,
        };
        (record, chunks.iter().map(|chunk| chunk_record(*chunk)).collect())
    });
    DecodedIndex { source, packs: packs.collect() }
}

fn chunk_record(number: u8) -> ChunkRecord {
    let id = ChunkId::from_bytes([number; 32]);
    let chunk = PackedChunk { id, plain_bytes: u32::from(number), encoding: Encoding::Zstd };
    ChunkRecord { chunk, sealed_bytes: 100 + u32::from(number) }
}

fn packs_of(index: &Index, chunk: u8) -> Vec<PackId> {
    let places = index.find(&ChunkId::from_bytes([chunk; 32]));
    let mut packs: Vec<_> = places.map(|place| index.pack(place.pack).record.id).collect();
    packs.sort_unstable();
    packs
}

#[test]
fn a_place_is_the_chunks_position_behind_the_header_and_the_parts_before_it() {
    let index = Index::default();
    let index = index.with_changes(&BTreeSet::new(), vec![decoded(1, &[(1, vec![3, 4, 5])])], Vec::new());
    let place = index.find(&ChunkId::from_bytes([5; 32])).next().unwrap();
    assert_eq!((place.position, place.offset, place.sealed_bytes), (2, 64 + 103 + 104, 105));
    assert!(index.find(&ChunkId::from_bytes([6; 32])).next().is_none());
}

#[test]
fn a_pack_that_two_index_objects_describe_counts_once() {
    let added = vec![decoded(1, &[(1, vec![1])]), decoded(2, &[(1, vec![1])])];
    let index = Index::default().with_changes(&BTreeSet::new(), added, Vec::new());
    assert_eq!(packs_of(&index, 1).len(), 1);
}

proptest! {
    #[test]
    fn the_index_is_the_union_of_the_objects_that_are_there(
        steps in prop::collection::vec((0..5u8, any::<bool>(), prop::collection::vec(0..8u8, 0..6)), 1..20),
    ) {
        let mut index = Index::default();
        let mut model: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        for (object, keep, mut chunks) in steps {
            chunks.dedup();
            let id = ObjectId::from_bytes([object; 16]);
            if model.remove(&object).is_some() {
                index = index.with_changes(&BTreeSet::from([id]), Vec::new(), Vec::new());
            }
            if keep {
                let added = vec![decoded(object, &[(object, chunks.clone())])];
                index = index.with_changes(&BTreeSet::new(), added, Vec::new());
                model.insert(object, chunks);
            }
            for chunk in 0..8 {
                let expected: Vec<_> = model
                    .iter()
                    .flat_map(|(pack, chunks)| chunks.iter().filter(|c| **c == chunk).map(|_| *pack))
                    .map(|pack| PackId::from_bytes([pack; 16]))
                    .collect();
                prop_assert_eq!(packs_of(&index, chunk), expected);
            }
            prop_assert_eq!(index.source_count(), model.len());
        }
    }
}
