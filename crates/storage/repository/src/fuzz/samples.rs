//! Inputs that the targets take, made by the encoders.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use keelson_crypto::{Fingerprint, ObjectId, Sha256, WRAPPED_KEY_BYTES};
use keelson_model::{ChunkId, LineageId, PackId, RepositoryId, SessionId};
use keelson_store::VersionId;

use super::identify;
use crate::chunk::{ChunkSizes, encode_chunks};
use crate::format::index_record::{self, ChunkRecord, PackRecord};
use crate::format::index_roll::{self, Footer, PagePlace, RollSource, RowedChunk, TablePlace, Trailer};
use crate::format::key_file::KeyFile;
use crate::format::mark_record::{MarkRecord, VerdictRecord};
use crate::format::outcome_record::{IndexReference, Move, Moves, OutcomeRecord, SessionResult};
use crate::format::pack_directory::{self, Encoding, PackedChunk};
use crate::format::repository_file::RepositorySummary;
use crate::format::retired_record::Retirement;
use crate::format::session_record::{SessionPurpose, SessionRecord};
use crate::format::tree_node::{self, Child};
use crate::index::filter_samples;
use crate::outcome::NamedStream;
use crate::tree::{StreamRef, TreeRoot};

const TIME: Timestamp = Timestamp::constant(1_770_000_000, 123_456_000);
const REPOSITORY: RepositoryId = RepositoryId::from_bytes([7; 16]);
const SESSION: SessionId = SessionId::from_bytes([3; 16]);

/// Every target has one at least.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mark = MarkRecord { packs: packs(), outcomes: vec![SESSION] };
    let verdict = VerdictRecord { dead: packs(), kept: vec![PackId::from_bytes([4; 16])] };
    let session =
        SessionRecord { purpose: SessionPurpose::Export, renewal: 4, started: TIME, lives_until: TIME };
    let lineage = LineageId::from_bytes([2; 16]);
    let retirement = Retirement { outcome: SESSION, lineage, epoch: 3, at: TIME };
    let children = [Child { id: ChunkId::from_bytes([1; 32]), length: u64::MAX }; 2];
    let directory = [chunk(1, Encoding::Raw), chunk(2, Encoding::Zstd)];
    let trailer = Trailer { roll: [3; 16], footer_offset: 8, footer_bytes: 9 };
    let mut samples = vec![
        ("repository file", RepositorySummary::new(REPOSITORY, 3, ChunkSizes::DEFAULT).encode()),
        ("key file", key_file(None)),
        ("key file", key_file(Some(vec![6; WRAPPED_KEY_BYTES]))),
        ("session", session.encode()),
        ("outcome", outcome().encode()),
        ("outcome", repack().encode()),
        ("outcome", OutcomeRecord::bare(SessionResult::Done, SessionPurpose::Restore, TIME).encode()),
        ("index entry", index_entry(None)),
        ("index entry", index_entry(Some(VersionId::new("3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY")))),
        ("pack directory", pack_directory::encode(&directory)),
        ("tree node", tree_node::encode(&children)),
        ("mark", mark.encode()),
        ("verdict", verdict.encode()),
        ("retirement", retirement.encode()),
        ("index roll's footer", footer().encode()),
        ("index roll's trailer", trailer.encode()),
        ("index roll's chunk", row(chunk(5, Encoding::Zstd)).to_vec()),
        ("index roll's pack", roll_pack()),
    ];
    samples.extend(filter_samples().into_iter().map(|filter| ("index roll's filter", filter)));
    samples.extend(
        [b"a body that stays as it is".to_vec(), vec![b'a'; 5000]].map(|plain| ("chunk", stored(plain))),
    );
    samples
}

fn packs() -> Vec<PackId> {
    vec![PackId::from_bytes([1; 16]), PackId::from_bytes([2; 16])]
}

fn chunk(byte: u8, encoding: Encoding) -> PackedChunk {
    PackedChunk { id: ChunkId::from_bytes([byte; 32]), plain_bytes: 100, encoding }
}

fn key_file(previous_vault_key: Option<Vec<u8>>) -> Vec<u8> {
    let vault = Fingerprint::from_bytes([4; 16]);
    let data_key = vec![5; WRAPPED_KEY_BYTES];
    KeyFile { repository: REPOSITORY, number: 2, vault, data_key, previous_vault_key }.encode()
}

fn outcome() -> OutcomeRecord {
    let root = TreeRoot { depth: 2, id: ChunkId::from_bytes([9; 32]) };
    let attributes = [("kind", "objects"), ("layer", "volumes")];
    let stream = |name: &str, reference: Option<StreamRef>| NamedStream {
        name: name.to_owned(),
        reference: reference.expect("length and root belong together"),
        attributes: BTreeMap::from(attributes.map(|(name, value)| (name.to_owned(), value.to_owned()))),
    };
    OutcomeRecord {
        retain_until: Some(TIME),
        description: b"{}".to_vec(),
        streams: vec![
            stream("objects", StreamRef::new(5000, Some(root))),
            stream("empty", StreamRef::new(0, None)),
        ],
        packs: packs(),
        indexes: vec![IndexReference {
            id: ObjectId::from_bytes([8; 16]),
            version: Some(VersionId::new("v")),
        }],
        ..OutcomeRecord::bare(SessionResult::Committed, SessionPurpose::Backup, TIME)
    }
}

fn repack() -> OutcomeRecord {
    let moves = vec![Move { from: PackId::from_bytes([6; 16]), to: packs() }];
    OutcomeRecord {
        moves: Moves { moves, outcomes: vec![SESSION] },
        ..OutcomeRecord::bare(SessionResult::Committed, SessionPurpose::Repack, TIME)
    }
}

fn pack(version: Option<VersionId>) -> PackRecord {
    PackRecord {
        id: PackId::from_bytes([1; 16]),
        key_number: 2,
        salt: [3; 32],
        sha256: Sha256::from_bytes([4; 32]),
        length: 1000,
        version,
    }
}

fn index_entry(version: Option<VersionId>) -> Vec<u8> {
    let chunks = [
        ChunkRecord { chunk: chunk(5, Encoding::Raw), sealed_bytes: 128 },
        ChunkRecord { chunk: chunk(6, Encoding::Zstd), sealed_bytes: 60 },
    ];
    index_record::encode(&pack(version), &chunks)
}

fn footer() -> Footer {
    let page = PagePlace { offset: 4096, rows: 3, filter_bytes: 40 };
    let source = |id, first_pack| RollSource {
        id: ObjectId::from_bytes([id; 16]),
        version: Some(VersionId::new("version")),
        first_pack,
        packs: 3,
        chunks: 9,
    };
    Footer {
        repository: REPOSITORY,
        chunks: TablePlace { page_bits: 1, pages: vec![page; 2] },
        packs: TablePlace { page_bits: 0, pages: vec![page] },
        records_offset: 77,
        version_bytes: 7,
        sources: vec![source(1, 0), source(2, 3)],
    }
}

fn roll_pack() -> Vec<u8> {
    let mut bytes = Vec::new();
    index_roll::encode_pack_record(&pack(Some(VersionId::new("version"))), 9, &mut bytes);
    bytes
}

fn row(chunk: PackedChunk) -> index_roll::ChunkRow {
    index_roll::encode_chunk(&RowedChunk { chunk, pack: 1, offset: 64, sealed_bytes: 900, position: 3 })
}

fn stored(plain: Vec<u8>) -> Vec<u8> {
    let encoded = encode_chunks(vec![(identify(&plain), Bytes::from(plain))]);
    encoded.iter().flat_map(|encoded| [&row(encoded.chunk)[..], &encoded.body[..]].concat()).collect()
}
