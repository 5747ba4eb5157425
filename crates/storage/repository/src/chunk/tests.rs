//! Cutting and encoding: content alone decides, sizes hold, nothing unpacks beyond its bound.

use bytes::Bytes;
use keelson_crypto::DataKey;
use keelson_model::RepositoryId;
use proptest::prelude::*;

use super::*;
use crate::format::pack_directory::{Encoding, PackedChunk};

fn key() -> DataKey {
    DataKey::generate(RepositoryId::from_bytes([1; 16]), 1)
}

fn chunker(key: &DataKey) -> Chunker {
    Chunker::new(ChunkSizes::new(64, 256, 1024).unwrap(), key.gear_table())
}

fn cut_all(chunker: &Chunker, mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while !bytes.is_empty() {
        let length = chunker.cut(bytes);
        lengths.push(length);
        bytes = &bytes[length..];
    }
    lengths
}

/// Xorshift: enough disorder to cut by.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(next).collect()
}

#[test]
fn chunks_keep_to_their_sizes_and_gather_around_the_average() {
    let lengths = cut_all(&chunker(&key()), &noise(1_000_000));
    let (last, others) = lengths.split_last().unwrap();
    assert!(others.iter().all(|length| (64..=1024).contains(length)) && *last <= 1024);
    let average = 1_000_000 / lengths.len();
    assert!((200..400).contains(&average), "{average}");
}

#[test]
fn bytes_that_repeat_are_cut_at_the_greatest_length() {
    let chunker = chunker(&key());
    for byte in [0, 0x55, 0xff] {
        let lengths = cut_all(&chunker, &vec![byte; 5000]);
        assert!(lengths.iter().all(|length| *length <= 1024));
    }
}

#[test]
fn boundaries_depend_on_the_key() {
    let content = noise(50_000);
    assert_ne!(cut_all(&chunker(&key()), &content), cut_all(&chunker(&key()), &content));
}

#[test]
fn boundaries_find_back_after_an_insertion() {
    let chunker = chunker(&key());
    let content = noise(100_000);
    let ends = |lengths: &[usize], shift: usize| -> std::collections::BTreeSet<usize> {
        let add = |end: &mut usize, length: &usize| {
            *end += length;
            Some(*end)
        };
        lengths.iter().scan(0, add).filter(|end| *end > shift).map(|end| end - shift).collect()
    };
    let before = ends(&cut_all(&chunker, &content), 0);
    let inserted = [b"inserted".as_slice(), &content].concat();
    let after = ends(&cut_all(&chunker, &inserted), 8);
    let same = before.intersection(&after).count();
    assert!(same * 10 > before.len() * 9, "{same} of {}", before.len());
}

#[test]
fn sizes_outside_the_bounds_are_refused() {
    for (min, average, max) in
        [(63, 256, 1024), (256, 256, 1024), (64, 1024, 1024), (64, 257, 1024), (64, 256, 9 << 20)]
    {
        assert_eq!(ChunkSizes::new(min, average, max), None);
    }
}

#[test]
fn a_chunk_is_compressed_only_where_that_helps() {
    let identity = key().chunk_identity();
    for (plain, expected) in [(vec![7; 10_000], Encoding::Zstd), (noise(10_000), Encoding::Raw)] {
        let id = identity.identify(&plain);
        let encoded = encode_chunks(vec![(id, Bytes::from(plain.clone()))]).remove(0);
        assert_eq!(encoded.chunk.encoding, expected);
        assert_eq!(decode_chunk(&identity, &encoded.chunk, encoded.body.to_vec()).unwrap(), plain);
    }
}

#[test]
fn a_chunk_unpacks_to_exactly_its_length_or_not_at_all() {
    let identity = key().chunk_identity();
    let plain = vec![7; 10_000];
    let id = identity.identify(&plain);
    let encoded = encode_chunks(vec![(id, Bytes::from(plain))]).remove(0);
    for plain_bytes in [0, 9_999, 10_001] {
        let chunk = PackedChunk { plain_bytes, ..encoded.chunk };
        let error = decode_chunk(&identity, &chunk, encoded.body.to_vec()).unwrap_err();
        assert!(matches!(error, ChunkFault::Unpack { .. }));
    }
    let other = PackedChunk { id: identity.identify(b"other"), ..encoded.chunk };
    let error = decode_chunk(&identity, &other, encoded.body.to_vec()).unwrap_err();
    assert!(matches!(error, ChunkFault::Identity { .. }));
}

proptest! {
    #[test]
    fn cutting_depends_on_content_alone(content in prop::collection::vec(any::<u8>(), 0..5000), more in 0..3000usize) {
        let chunker = chunker(&key());
        let longer = [content.clone(), vec![1; 1024 + more]].concat();
        prop_assert_eq!(chunker.cut(&longer), chunker.cut(&longer[..content.len() + 1024]));
    }
}

#[test]
fn a_chunk_that_does_not_shrink_keeps_nothing_of_its_batch() {
    let mut batch = Bytes::from(noise(8 << 20));
    let plain = batch.split_to(64 << 10);
    let encoded = encode_chunks(vec![(key().chunk_identity().identify(&plain), plain)]).remove(0);
    assert_eq!((encoded.chunk.encoding, encoded.body.len()), (Encoding::Raw, 64 << 10));
    assert!(encoded.body.is_unique(), "it shares memory with {} bytes", batch.len());
}
