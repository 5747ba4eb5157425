//! What leaves the house: segments of the journal, and bases of the rows.

use jiff::Timestamp;
use keelson_model::{Revision, Sequence};
use rusqlite::Connection;

use super::journal::scan;
use super::lookup::query_error;
use super::tables::{find_cut, find_head, find_meta, malformed, meta, read_row};
use crate::digest::{Counts, Head, Proof};
use crate::error::{ReadError, ShipError};
use crate::format::base::{BaseHeader, FrameWriter, Origin, decode_origin, encode_end, frame_header};
use crate::format::record::decode_time;
use crate::format::segment::SegmentWriter;
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
    /// The encoded segment.
    pub bytes: Vec<u8>,
}

/// What a base holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseSummary {
    /// Of the snapshot that was streamed.
    pub head: Head,
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

pub(super) fn segment_after(
    connection: &Connection,
    proof: &Proof,
    after: Sequence,
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
    scan(connection, after, head, usize::MAX, |entry| Ok(segment.push(&entry.reduced_to(scope, proof))))?;
    Ok(segment.finish().map(|(first, last, bytes)| Segment { first, last, bytes }))
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
    Ok(BaseSummary { head, origin, counts, bytes })
}
