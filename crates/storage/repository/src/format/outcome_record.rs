//! The sealed record of `outcomes/<id>`: what a session achieved, and all that it needs.

use jiff::Timestamp;
use keelson_crypto::ObjectId;
use keelson_model::{ChunkId, PackId, SessionId};
use keelson_store::VersionId;

use super::DecodeError;
use super::bytes::{Decoder, Encoder};
use super::index_record::{decode_version, encode_version};
use super::mark_record::{decode_outcomes, decode_packs, encode_outcomes, encode_packs};
use super::session_record::SessionPurpose;
use crate::limits::{
    ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, DESCRIPTION_BYTES_MAX, STREAM_NAME_BYTES_MAX, STREAMS_MAX,
    TREE_DEPTH_MAX,
};
use crate::outcome::NamedStream;
use crate::tree::{StreamRef, TreeRoot};

const RECORD: &str = "outcome";
/// Name, length, root and attributes of a stream take at least this much.
const STREAM_BYTES_MIN: usize = 2 + 8 + 1 + 4;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SessionResult {
    /// It wrote what the outcome names.
    Committed = 1,
    /// It only read.
    Done = 2,
    /// It gave up, or outlived its stated life and was ended by maintenance.
    Aborted = 3,
}

impl SessionResult {
    fn decode(code: u8) -> Option<Self> {
        [Self::Committed, Self::Done, Self::Aborted].into_iter().find(|result| *result as u8 == code)
    }
}

/// An index object that the outcome's session wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexReference {
    pub(crate) id: ObjectId,
    pub(crate) version: Option<VersionId>,
}

/// What a repack moved, and for which outcomes. Everything that those need of an old pack lies in its new ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Moves {
    pub(crate) moves: Vec<Move>,
    pub(crate) outcomes: Vec<SessionId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) from: PackId,
    pub(crate) to: Vec<PackId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutcomeRecord {
    pub(crate) result: SessionResult,
    pub(crate) purpose: SessionPurpose,
    pub(crate) created: Timestamp,
    pub(crate) retain_until: Option<Timestamp>,
    pub(crate) description: Vec<u8>,
    pub(crate) streams: Vec<NamedStream>,
    /// Sorted; every pack that a stream reaches.
    pub(crate) packs: Vec<PackId>,
    pub(crate) indexes: Vec<IndexReference>,
    /// Only a committed repack has any.
    pub(crate) moves: Moves,
}

impl OutcomeRecord {
    /// An outcome that names nothing.
    pub(crate) fn bare(result: SessionResult, purpose: SessionPurpose, created: Timestamp) -> Self {
        Self {
            result,
            purpose,
            created,
            retain_until: None,
            description: Vec::new(),
            streams: Vec::new(),
            packs: Vec::new(),
            indexes: Vec::new(),
            moves: Moves::default(),
        }
    }

    /// A session that moved what is half dead. Such an outcome is no root.
    pub(crate) fn is_repack(&self) -> bool {
        self.result == SessionResult::Committed && self.purpose == SessionPurpose::Repack
    }

    /// The field that is beyond its bound, if any. What is not within them is never encoded.
    pub(crate) fn find_excess(&self) -> Option<&'static str> {
        if self.description.len() > DESCRIPTION_BYTES_MAX {
            return Some("description");
        }
        if self.streams.len() > STREAMS_MAX {
            return Some("number of streams");
        }
        for stream in &self.streams {
            if stream.name.len() > STREAM_NAME_BYTES_MAX {
                return Some("stream name");
            }
            let long = |(name, value): (&String, &String)| name.len().max(value.len()) > ATTRIBUTE_BYTES_MAX;
            if stream.attributes.len() > ATTRIBUTES_MAX || stream.attributes.iter().any(long) {
                return Some("stream attributes");
            }
        }
        None
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { result, purpose, created, retain_until, description, streams, packs, indexes, moves } =
            self;
        let mut encoder = Encoder::versioned();
        encoder.u8(*result as u8);
        encoder.u8(*purpose as u8);
        encoder.time(*created);
        encoder.optional_time(*retain_until);
        encoder.blob(description);
        encoder.count(streams.len());
        streams.iter().for_each(|stream| encode_stream(&mut encoder, stream));
        encode_packs(&mut encoder, packs);
        encoder.count(indexes.len());
        for IndexReference { id, version } in indexes {
            encoder.raw(id.as_bytes());
            encode_version(&mut encoder, version.as_ref());
        }
        if self.is_repack() {
            encode_moves(&mut encoder, moves);
        }
        encoder.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::versioned(RECORD, bytes)?;
        let result = SessionResult::decode(decoder.u8()?).ok_or_else(|| decoder.field("result"))?;
        let purpose = SessionPurpose::decode(decoder.u8()?).ok_or_else(|| decoder.field("purpose"))?;
        let created = decoder.time("time")?;
        let retain_until = decoder.optional_time("retention")?;
        let description = decoder.blob()?.to_vec();
        let count = decoder.count(STREAM_BYTES_MIN)?;
        let streams = (0..count).map(|_| decode_stream(&mut decoder)).collect::<Result<_, _>>()?;
        let packs = decode_packs(&mut decoder)?;
        let count = decoder.count(ObjectId::LENGTH + 2)?;
        let mut indexes = Vec::with_capacity(count);
        for _ in 0..count {
            let id = ObjectId::from_bytes(decoder.array()?);
            indexes.push(IndexReference { id, version: decode_version(&mut decoder)? });
        }
        let moves = Moves::default();
        let mut record =
            Self { result, purpose, created, retain_until, description, streams, packs, indexes, moves };
        if record.is_repack() {
            record.moves = decode_moves(&mut decoder)?;
        }
        if let Some(field) = record.find_excess() {
            return Err(decoder.field(field));
        }
        decoder.finish()?;
        Ok(record)
    }
}

fn encode_moves(encoder: &mut Encoder, Moves { moves, outcomes }: &Moves) {
    encoder.count(moves.len());
    for Move { from, to } in moves {
        encoder.raw(from.as_bytes());
        encode_packs(encoder, to);
    }
    encode_outcomes(encoder, outcomes);
}

fn decode_moves(decoder: &mut Decoder<'_>) -> Result<Moves, DecodeError> {
    let count = decoder.count(PackId::LENGTH + 4)?;
    let mut moves = Vec::with_capacity(count);
    for _ in 0..count {
        let from = PackId::from_bytes(decoder.array()?);
        moves.push(Move { from, to: decode_packs(decoder)? });
    }
    Ok(Moves { moves, outcomes: decode_outcomes(decoder)? })
}

fn encode_stream(encoder: &mut Encoder, stream: &NamedStream) {
    let NamedStream { name, reference, attributes } = stream;
    encoder.text(name);
    encoder.u64(reference.length());
    match reference.root() {
        None => encoder.u8(0),
        Some(TreeRoot { depth, id }) => {
            encoder.u8(1 + depth);
            encoder.raw(id.as_bytes());
        }
    }
    encoder.count(attributes.len());
    for (name, value) in attributes {
        encoder.text(name);
        encoder.text(value);
    }
}

fn decode_stream(decoder: &mut Decoder<'_>) -> Result<NamedStream, DecodeError> {
    let name = decoder.text("stream name")?.to_owned();
    let length = decoder.u64()?;
    let root = match decoder.u8()? {
        0 => None,
        levels if levels <= 1 + TREE_DEPTH_MAX => {
            Some(TreeRoot { depth: levels - 1, id: ChunkId::from_bytes(decoder.array()?) })
        }
        _ => return Err(decoder.field("tree depth")),
    };
    let reference = StreamRef::new(length, root).ok_or_else(|| decoder.field("stream length"))?;
    let count = decoder.count(2 + 2)?;
    let mut attributes = std::collections::BTreeMap::<String, String>::new();
    for _ in 0..count {
        let name = decoder.text("attribute name")?.to_owned();
        if attributes.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(decoder.field("order of attributes"));
        }
        attributes.insert(name, decoder.text("attribute value")?.to_owned());
    }
    Ok(NamedStream { name, reference, attributes })
}
