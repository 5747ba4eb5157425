//! What leaves the house: segments of the journal, and bases of the rows.

use jiff::Timestamp;
use keelson_model::{Revision, Sequence};
use rusqlite::{Connection, OptionalExtension};

use super::journal::scan;
use super::lookup::query_error;
use super::tables::{find_cut, find_head, find_meta, malformed, meta, read_row};
use crate::digest::{Counts, Head, Proof};
use crate::error::{ReadError, ShipError};
use crate::format::Malformed;
use crate::format::base::{BaseHeader, FrameWriter, Origin, decode_origin, encode_end, frame_header};
use crate::format::record::decode_time;
use crate::format::segment::{SegmentWriter, decode_segment};
use crate::limits::WRAPPED_KEY_BYTES_MAX;
use crate::query::Backlog;
use crate::row::Scope;

/// Contiguous entries, encoded to be sealed and shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Of the first entry.
    pub first: Revision,
    /// Of the last entry.
    pub last: Revision,
    /// When the first entry was committed.
    pub first_at: Timestamp,
    /// When the last entry was committed.
    pub last_at: Timestamp,
    /// The digest of the last entry.
    pub chain: [u8; 32],
    /// The encoded segment.
    pub bytes: Vec<u8>,
}

/// Entries after one sequence number, up to and with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The entry before the first.
    pub after: Sequence,
    /// The last entry.
    pub through: Sequence,
}

/// One entry, and when it was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryTime {
    /// Which entry.
    pub revision: Revision,
    /// When it was committed.
    pub at: Timestamp,
}

impl Segment {
    /// Of an encoded segment, the last entry before the first one that was committed later than `time`. Unproven.
    pub fn last_until(bytes: &[u8], time: Timestamp) -> Result<Option<EntryTime>, Malformed> {
        let mut found = None;
        for entry in decode_segment(bytes)?.entries {
            let at = decode_time(entry.at)?;
            if at > time {
                break;
            }
            found = Some(EntryTime { revision: entry.revision, at });
        }
        Ok(found)
    }
}

/// What a base holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseSummary {
    /// Of the snapshot that was streamed.
    pub head: Head,
    /// When the last entry of the snapshot was committed; nothing before the first one.
    pub head_at: Option<Timestamp>,
    /// What the catalog was recovered from, if it was.
    pub origin: Option<Origin>,
    /// Rows that were streamed.
    pub counts: Counts,
    /// Length of all frames together.
    pub bytes: u64,
}

/// The error of whoever takes a base's frames.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

fn ship_error(error: rusqlite::Error) -> ShipError {
    query_error(error).into()
}

pub(super) fn segment_within(
    connection: &Connection,
    proof: &Proof,
    Stretch { after, through }: Stretch,
    scope: Scope,
    bytes_max: usize,
) -> Result<Option<Segment>, ShipError> {
    let head = find_head(connection).map_err(ship_error)?.revision;
    if after > head.sequence() {
        return Err(ShipError::AheadOfUs { after, head: head.sequence() });
    }
    let oldest = Sequence(find_cut(connection).map_err(ship_error)?);
    if after < oldest {
        return Err(ShipError::BaseNeeded { after, oldest });
    }
    let mut segment = SegmentWriter::new(scope, bytes_max);
    let (mut first_at, mut last) = (None, None);
    scan(connection, after, head, usize::MAX, |entry| {
        if entry.revision.sequence() > through {
            return Ok(false);
        }
        let (at, chain) = (entry.at, entry.digest);
        let taken = segment.push(&entry.reduced_to(scope, proof));
        if taken {
            first_at.get_or_insert(at);
            last = Some((at, chain));
        }
        Ok(taken)
    })?;
    let time = |at| decode_time(at).map_err(|source| ReadError::Decode { source });
    match (segment.finish(), first_at, last) {
        (Some((first, last, bytes)), Some(first_at), Some((last_at, chain))) => {
            let (first_at, last_at) = (time(first_at)?, time(last_at)?);
            Ok(Some(Segment { first, last, first_at, last_at, chain, bytes }))
        }
        _ => Ok(None),
    }
}

/// The digest that the chain had reached after an entry, as far as the journal still tells.
pub(super) fn chain_at(connection: &Connection, sequence: Sequence) -> Result<Option<[u8; 32]>, ReadError> {
    let head = find_head(connection).map_err(query_error)?;
    if sequence >= head.revision.sequence() {
        return Ok((sequence == head.revision.sequence()).then_some(head.chain));
    }
    // Of the last entry that was cut, the one after it tells.
    let mut statement =
        connection.prepare_cached(include_str!("../sql/journal/find_previous.sql")).map_err(query_error)?;
    statement.query_row([sequence.0 as i64 + 1], |row| row.get(0)).optional().map_err(query_error)
}

pub(super) fn backlog(connection: &Connection, after: Sequence) -> Result<Backlog, ReadError> {
    let head = find_head(connection).map_err(query_error)?.revision.sequence();
    let base_needed = after.0 < find_cut(connection).map_err(query_error)?;
    let mut statement =
        connection.prepare_cached(include_str!("../sql/journal/sum_after.sql")).map_err(query_error)?;
    let (entries, bytes, oldest): (i64, i64, Option<i64>) = statement
        .query_row([after.0.min(Sequence::MAX.0) as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(query_error)?;
    let oldest: Option<Timestamp> =
        oldest.map(decode_time).transpose().map_err(|source| ReadError::Decode { source })?;
    Ok(Backlog { entries: entries.unsigned_abs(), bytes: bytes.unsigned_abs(), oldest, base_needed, head })
}

pub(super) fn find_origin(connection: &Connection) -> rusqlite::Result<Option<Origin>> {
    let bytes = find_meta(connection, meta::ORIGIN)?;
    Ok(bytes.map(|bytes| decode_origin(&bytes).map_err(malformed)).transpose()?.flatten())
}

fn time_of(connection: &Connection, revision: Revision) -> Result<Option<Timestamp>, ReadError> {
    let before = Sequence(revision.sequence().0.saturating_sub(1));
    let mut found = None;
    scan(connection, before, revision, 1, |entry| {
        found = Some(decode_time(entry.at).map_err(|source| ReadError::Decode { source })?);
        Ok(false)
    })?;
    Ok(found)
}

/// Streams the rows of the scope in key order. Memory is a frame, whatever the catalog holds.
pub(super) fn base(
    connection: &Connection,
    proof: &Proof,
    scope: Scope,
    wrapped_key: &[u8],
    sink: &mut dyn FnMut(&[u8]) -> Result<(), SinkError>,
) -> Result<BaseSummary, ShipError> {
    if wrapped_key.len() > WRAPPED_KEY_BYTES_MAX {
        return Err(ShipError::WrappedKeyTooLong { bytes: wrapped_key.len() });
    }
    let mut bytes = 0;
    let mut emit = |frame: &[u8]| {
        bytes += frame.len() as u64;
        sink(frame).map_err(|source| ShipError::Sink { source })
    };
    let head = find_head(connection).map_err(ship_error)?;
    let origin = find_origin(connection).map_err(ship_error)?;
    let head_at = time_of(connection, head.revision)?;
    let header = BaseHeader { scope, head, origin, wrapped_key: wrapped_key.to_vec() }.encode();
    emit(&frame_header(&header, &proof.base_header(&header)))?;

    let mut counts = Counts::default();
    let mut frames = FrameWriter::new();
    let mut statement =
        connection.prepare_cached(include_str!("../sql/objects/list_all.sql")).map_err(ship_error)?;
    let mut rows = statement.query([]).map_err(ship_error)?;
    while let Some(row) = rows.next().map_err(ship_error)? {
        let record = read_row(row).map_err(ship_error)?.record;
        if !scope.covers(record.class) {
            continue;
        }
        counts.add(record.class);
        if let Some(frame) = frames.push(&record) {
            emit(&frame)?;
        }
    }
    if let Some(frame) = frames.flush() {
        emit(&frame)?;
    }
    emit(&encode_end(&counts))?;
    Ok(BaseSummary { head, head_at, origin, counts, bytes })
}
