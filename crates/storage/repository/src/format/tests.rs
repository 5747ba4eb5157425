//! Every record reads back what it wrote, refuses every cut, every addition and a later version, and never panics.

use std::collections::BTreeMap;
use std::fmt::Debug;

use jiff::Timestamp;
use keelson_crypto::{Fingerprint, ObjectId, Sha256, WRAPPED_KEY_BYTES};
use keelson_model::{ChunkId, LineageId, PackId, RepositoryId, SessionId};
use keelson_store::VersionId;
use proptest::prelude::*;

use super::index_record::{ChunkRecord, PackRecord};
use super::key_file::KeyFile;
use super::mark_record::{MarkRecord, VerdictRecord};
use super::outcome_record::{IndexReference, Move, Moves, OutcomeRecord, SessionResult};
use super::pack_directory::{Encoding, PackedChunk};
use super::repository_file::RepositorySummary;
use super::retired_record::Retirement;
use super::session_record::{SessionPurpose, SessionRecord};
use super::tree_node::Child;
use super::{DecodeError, index_record, pack_directory, tree_node};
use crate::chunk::ChunkSizes;
use crate::outcome::NamedStream;
use crate::tree::{StreamRef, TreeRoot};

/// Where the version stands.
#[derive(Clone, Copy)]
enum Frame {
    Sealed,
    Clear,
}

fn check<T: PartialEq + Debug>(
    frame: Frame,
    value: &T,
    bytes: Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    assert_eq!(&decode(&bytes).unwrap(), value);
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length} bytes of {value:?}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(decode(&longer).is_err());

    let at = match frame {
        Frame::Sealed => 0,
        Frame::Clear => 8,
    };
    let mut newer = bytes.clone();
    newer[at] = 9;
    assert!(matches!(decode(&newer).unwrap_err(), DecodeError::NewerFormat { found: 9, .. }));
    // Counts and lengths that the bytes cannot back.
    for at in 0..bytes.len() {
        let mut hostile = bytes.clone();
        hostile[at] = 0xff;
        let _ = decode(&hostile);
    }
}

fn time() -> Timestamp {
    Timestamp::constant(1_770_000_000, 123_456_000)
}

fn chunk(byte: u8, encoding: Encoding) -> PackedChunk {
    PackedChunk { id: ChunkId::from_bytes([byte; 32]), plain_bytes: 100, encoding }
}

fn packs() -> Vec<PackId> {
    vec![PackId::from_bytes([1; 16]), PackId::from_bytes([2; 16])]
}

#[test]
fn the_repository_file_is_its_bytes() {
    let summary = RepositorySummary::new(RepositoryId::from_bytes([7; 16]), 3, ChunkSizes::DEFAULT);
    check(Frame::Clear, &summary, summary.encode(), RepositorySummary::decode);
    assert_eq!(
        hex::encode(&summary.encode()[..42]),
        "4b45454c5245504f00000707070707070707070707070707070703000000000004000000100000004000"
    );
    let mut flipped = summary.encode();
    flipped[12] ^= 1;
    let error = RepositorySummary::decode(&flipped).unwrap_err();
    assert!(matches!(error, DecodeError::Checksum { .. }));
}

#[test]
fn a_key_file_is_its_bytes() {
    for previous in [None, Some(vec![6; WRAPPED_KEY_BYTES])] {
        let file = KeyFile {
            repository: RepositoryId::from_bytes([7; 16]),
            number: 2,
            vault: Fingerprint::from_bytes([4; 16]),
            data_key: vec![5; WRAPPED_KEY_BYTES],
            previous_vault_key: previous,
        };
        check(Frame::Clear, &file, file.encode(), KeyFile::decode);
    }
}

#[test]
fn a_session_record_is_its_bytes() {
    let record =
        SessionRecord { purpose: SessionPurpose::Export, renewal: 4, started: time(), lives_until: time() };
    check(Frame::Sealed, &record, record.encode(), SessionRecord::decode);
}

#[test]
fn a_retirement_is_its_bytes() {
    let record = Retirement {
        outcome: SessionId::from_bytes([1; 16]),
        lineage: LineageId::from_bytes([2; 16]),
        epoch: 3,
        at: time(),
    };
    check(Frame::Sealed, &record, record.encode(), Retirement::decode);
}

#[test]
fn marks_and_verdicts_are_their_bytes() {
    let mark = MarkRecord { packs: packs(), outcomes: vec![SessionId::from_bytes([3; 16])] };
    check(Frame::Sealed, &mark, mark.encode(), MarkRecord::decode);
    let verdict = VerdictRecord { dead: packs(), kept: vec![PackId::from_bytes([4; 16])] };
    check(Frame::Sealed, &verdict, verdict.encode(), VerdictRecord::decode);
}

#[test]
fn a_pack_directory_is_its_bytes() {
    let chunks = vec![chunk(1, Encoding::Raw), chunk(2, Encoding::Zstd)];
    let bytes = pack_directory::encode(&chunks);
    assert_eq!(bytes.len(), pack_directory::FRAME_BYTES + 2 * pack_directory::ENTRY_BYTES);
    check(Frame::Sealed, &chunks, bytes, pack_directory::decode);
}

#[test]
fn an_index_entry_is_its_bytes() {
    for version in [None, Some(VersionId::new("3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY"))] {
        let pack = PackRecord {
            id: PackId::from_bytes([1; 16]),
            key_number: 2,
            salt: [3; 32],
            sha256: Sha256::from_bytes([4; 32]),
            length: 1000,
            version,
        };
        let chunks = vec![
            ChunkRecord { chunk: chunk(5, Encoding::Raw), sealed_bytes: 128 },
            ChunkRecord { chunk: chunk(6, Encoding::Zstd), sealed_bytes: 60 },
        ];
        let bytes = index_record::encode(&pack, &chunks);
        check(Frame::Sealed, &(pack, chunks), bytes, index_record::decode);
    }
}

#[test]
fn an_index_entry_whose_chunks_outgrow_their_pack_is_refused() {
    let pack = PackRecord {
        id: PackId::from_bytes([1; 16]),
        key_number: 2,
        salt: [3; 32],
        sha256: Sha256::from_bytes([4; 32]),
        length: 100,
        version: None,
    };
    for sealed_bytes in [0, 27, 101, u32::MAX] {
        let chunks = [ChunkRecord { chunk: chunk(5, Encoding::Zstd), sealed_bytes }];
        let error = index_record::decode(&index_record::encode(&pack, &chunks)).unwrap_err();
        assert!(matches!(error, DecodeError::Field { field: "chunk length", .. }));
    }
}

#[test]
fn a_tree_node_is_its_bytes() {
    let children = vec![Child { id: ChunkId::from_bytes([1; 32]), length: u64::MAX }];
    check(Frame::Sealed, &children, tree_node::encode(&children), tree_node::decode);
    assert!(tree_node::decode(&tree_node::encode(&[])).is_err());
}

fn outcome() -> OutcomeRecord {
    let root = TreeRoot { depth: 2, id: ChunkId::from_bytes([9; 32]) };
    let stream = |name: &str, reference| NamedStream {
        name: name.to_owned(),
        reference,
        attributes: BTreeMap::from([("kind".to_owned(), "objects".to_owned())]),
    };
    OutcomeRecord {
        retain_until: Some(time()),
        description: b"{}".to_vec(),
        streams: vec![
            stream("objects", StreamRef::new(5000, Some(root)).unwrap()),
            stream("empty", StreamRef::EMPTY),
        ],
        packs: packs(),
        indexes: vec![IndexReference { id: ObjectId::from_bytes([8; 16]), version: None }],
        ..OutcomeRecord::bare(SessionResult::Committed, SessionPurpose::Backup, time())
    }
}

#[test]
fn an_outcome_is_its_bytes() {
    check(Frame::Sealed, &outcome(), outcome().encode(), OutcomeRecord::decode);
    let done = OutcomeRecord::bare(SessionResult::Done, SessionPurpose::Restore, time());
    check(Frame::Sealed, &done, done.encode(), OutcomeRecord::decode);
    let aborted = OutcomeRecord::bare(SessionResult::Aborted, SessionPurpose::Repack, time());
    check(Frame::Sealed, &aborted, aborted.encode(), OutcomeRecord::decode);
}

#[test]
fn a_repack_is_its_bytes() {
    let moved = Move { from: PackId::from_bytes([6; 16]), to: packs() };
    let emptied = Move { from: PackId::from_bytes([7; 16]), to: Vec::new() };
    let outcomes = vec![SessionId::from_bytes([3; 16])];
    let record = OutcomeRecord {
        moves: Moves { moves: vec![moved, emptied], outcomes },
        ..OutcomeRecord::bare(SessionResult::Committed, SessionPurpose::Repack, time())
    };
    check(Frame::Sealed, &record, record.encode(), OutcomeRecord::decode);
}

/// They were taken, also twice the same, and the outcome said something else when it was written again.
#[test]
fn an_outcome_whose_attributes_do_not_ascend_is_refused() {
    let mut record = outcome();
    record.streams.truncate(1);
    record.streams[0].attributes.insert("lind".to_owned(), "objects".to_owned());
    let bytes = record.encode();
    assert_eq!(OutcomeRecord::decode(&bytes), Ok(record));
    let at = bytes.windows(4).position(|name| name == b"lind").unwrap();
    for first in [b'k', b'a'] {
        let mut changed = bytes.clone();
        changed[at] = first;
        let error = OutcomeRecord::decode(&changed).unwrap_err();
        assert!(matches!(error, DecodeError::Field { field: "order of attributes", .. }), "{error}");
    }
}

#[test]
fn an_outcome_beyond_its_bounds_is_named_before_it_is_written() {
    let excess = |change: fn(&mut OutcomeRecord)| {
        let mut record = outcome();
        change(&mut record);
        record.find_excess()
    };
    assert_eq!(excess(|_| {}), None);
    assert_eq!(excess(|record| record.description = vec![0; 17 << 20]), Some("description"));
    assert_eq!(excess(|record| record.streams[0].name = "n".repeat(1025)), Some("stream name"));
    let long = |record: &mut OutcomeRecord| {
        record.streams[0].attributes.insert("long".to_owned(), "v".repeat(4097));
    };
    assert_eq!(excess(long), Some("stream attributes"));
}

proptest! {
    #[test]
    fn no_bytes_make_a_record_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if bytes.len() > 1 {
            bytes[..2].fill(0);
        }
        let _ = OutcomeRecord::decode(&bytes);
        let _ = SessionRecord::decode(&bytes);
        let _ = MarkRecord::decode(&bytes);
        let _ = VerdictRecord::decode(&bytes);
        let _ = Retirement::decode(&bytes);
        let _ = index_record::decode(&bytes);
        let _ = pack_directory::decode(&bytes);
        let _ = tree_node::decode(&bytes);
    }
}
