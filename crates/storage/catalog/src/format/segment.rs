//! The bytes of a segment: a run of contiguous entries, compressed as one.

use keelson_model::{Generation, Revision, Sequence};

use super::bytes::{Reader, Writer};
use super::entry::Entry;
use super::{Malformed, SHIPPED_VERSION, check_version};
use crate::limits::{ENTRY_BYTES_MAX, SEGMENT_BYTES_MAX};
use crate::row::Scope;

const MAGIC: &[u8; 8] = b"KLSNSEGM";
const WHAT: &str = "segment";

/// Segments are few and small; their texts repeat.
const LEVEL: i32 = 3;

/// What the head and tail of an entry add to its parts.
const ENTRY_FRAME_BYTES: usize = 8 << 10;

/// Gathers entries up to a size.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    scope: Scope,
    bounds: Option<(Revision, Revision)>,
    entries: Writer,
    bytes_max: usize,
}

impl SegmentWriter {
    pub(crate) fn new(scope: Scope, bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(SEGMENT_BYTES_MAX);
        Self { scope, bounds: None, entries: Writer::default(), bytes_max }
    }

    /// Takes the entry unless the segment is full. The first entry always fits.
    pub(crate) fn push(&mut self, entry: &Entry) -> bool {
        let mut frame = Writer::default();
        entry.write(&mut frame);
        if self.bounds.is_some() && self.entries.0.len() + 4 + frame.0.len() > self.bytes_max {
            return false;
        }
        debug_assert!(frame.0.len() <= ENTRY_BYTES_MAX + ENTRY_FRAME_BYTES);
        self.entries.blob(&frame.0);
        let first = self.bounds.map_or(entry.revision, |(first, _)| first);
        self.bounds = Some((first, entry.revision));
        true
    }

    /// The segment's first and last revision and its bytes; nothing without an entry.
    pub(crate) fn finish(self) -> Option<(Revision, Revision, Vec<u8>)> {
        let Self { scope, bounds, entries: Writer(entries), bytes_max: _ } = self;
        let (first, last) = bounds?;
        let mut writer = Writer::default();
        writer.raw(MAGIC);
        writer.u16(SHIPPED_VERSION);
        writer.u8(scope.to_byte());
        writer.u8(0);
        writer.u32(first.generation().0);
        writer.u64(first.sequence().0);
        writer.u64(last.sequence().0);
        writer.u32(entries.len() as u32);
        let compressed = zstd::bulk::compress(&entries, LEVEL)
            .expect("the buffer is as large as zstd says that it must be");
        writer.raw(&compressed);
        Some((first, last, writer.0))
    }
}

/// A segment that was read.
#[derive(Debug)]
pub(crate) struct DecodedSegment {
    pub(crate) scope: Scope,
    /// In order, without a gap, never empty. Their chain is not proven yet.
    pub(crate) entries: Vec<Entry>,
}

pub(crate) fn decode_segment(bytes: &[u8]) -> Result<DecodedSegment, Malformed> {
    let mut reader = Reader::new(WHAT, bytes);
    if &reader.array()? != MAGIC {
        return Err(reader.malformed());
    }
    check_version(WHAT, reader.u16()?)?;
    let scope = Scope::from_byte(reader.u8()?).ok_or(reader.malformed())?;
    if reader.u8()? != 0 {
        return Err(reader.malformed());
    }
    let generation = Generation(reader.u32()?);
    let (first, last) = (Sequence(reader.u64()?), Sequence(reader.u64()?));
    let length = reader.u32()? as usize;
    if generation > Generation::MAX || last > Sequence::MAX || first > last || length > SEGMENT_BYTES_MAX {
        return Err(reader.malformed());
    }
    let payload = zstd::bulk::decompress(reader.rest(), length).map_err(|_| reader.malformed())?;
    if payload.len() != length {
        return Err(reader.malformed());
    }
    let entries = read_entries(&payload, Revision::new(generation, first))?;
    if entries.last().map(|entry| entry.revision) != Some(Revision::new(generation, last)) {
        return Err(reader.malformed());
    }
    Ok(DecodedSegment { scope, entries })
}

fn read_entries(payload: &[u8], first: Revision) -> Result<Vec<Entry>, Malformed> {
    let mut reader = Reader::new(WHAT, payload);
    let mut entries = Vec::new();
    let mut expected = first.sequence();
    while !reader.is_empty() {
        let mut frame = Reader::new(WHAT, reader.blob()?);
        let entry = Entry::read(&mut frame)?;
        frame.end()?;
        if entry.revision.generation() != first.generation() || entry.revision.sequence() != expected {
            return Err(reader.malformed());
        }
        expected = Sequence(expected.0 + 1);
        entries.push(entry);
    }
    Ok(entries)
}
