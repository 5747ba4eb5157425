//! What this crate reads of bytes from outside, and what must hold of whatever comes out. For the crate's tests and for
//! the targets in `fuzz/`; no product has it.

mod samples;

use std::fmt::Debug;

use crate::data_dir::parse_generation;
use crate::format::Malformed;
use crate::format::base::{
    Frame, FrameWriter, decode_origin, encode_end, encode_origin, frame_header, read_frame, read_header,
};
use crate::format::body::{BodyDecoder, BodyEncoder};
use crate::format::entry::{Effect, Entry, Part, decode_parts, encode_parts};
use crate::format::head::{decode_digests, decode_head, encode_digests, encode_head};
use crate::format::record::{Record, decode_labels, encode_labels};
use crate::format::segment::{SegmentWriter, decode_segment};
use crate::limits::{BASE_FRAME_BYTES, BODY_BYTES_MAX, SEGMENT_BYTES_MAX};
use crate::row::Class;

pub use samples::samples;

/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// Every decoder. Each asserts its rules and says whether it took the bytes.
pub const TARGETS: &[Decoder] = &[
    ("row", row),
    ("body", body),
    ("head", |bytes| canonical(bytes, decode_head, encode_head)),
    ("digests", |bytes| canonical(bytes, decode_digests, encode_digests)),
    ("labels", |bytes| canonical(bytes, decode_labels, encode_labels)),
    ("origin", |bytes| canonical(bytes, decode_origin, |origin| encode_origin(origin.as_ref()))),
    ("changes", changes),
    ("base", base),
    ("segment", segment),
    ("current generation", generation),
];

/// What is read is written as the same bytes again: no value has two spellings, and a digest of one is of the other.
fn canonical<T: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Malformed>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> bool {
    let Ok(value) = decode(bytes) else { return false };
    assert_eq!(encode(&value), bytes, "{value:?}");
    true
}

/// A row, and what its writer sees of it, where its body and time are some.
fn row(bytes: &[u8]) -> bool {
    let Ok(record) = Record::decode(bytes) else { return false };
    assert_eq!(record.encode(), bytes, "{record:?}");
    assert!(record.revision.as_u64() >> 63 == 0, "Kubernetes and SQLite agree on its order");
    if let Ok(stored) = record.clone().into_stored(&mut BodyDecoder::new()) {
        assert_eq!(stored.row.key(), record.key);
        assert_eq!((stored.revision, stored.row.created.as_microsecond()), (record.revision, record.created));
    }
    true
}

/// One body may be compressed in many ways: what is read must read back once it was written.
fn body(bytes: &[u8]) -> bool {
    let Ok(plain) = BodyDecoder::new().decode(bytes) else { return false };
    assert!(plain.len() <= BODY_BYTES_MAX);
    let again = BodyEncoder::new().encode(&plain);
    assert_eq!(BodyDecoder::new().decode(&again).as_ref(), Ok(&plain));
    true
}

/// The column of the journal, and the effects in it under the revision of the first.
fn changes(bytes: &[u8]) -> bool {
    let Ok(parts) = decode_parts(bytes) else { return false };
    let changes = parts.clone().map(|part| match part {
        Part::Whole(changes) => changes,
        Part::LeftOut(_) => Vec::new(),
    });
    assert_eq!(encode_parts(&changes), bytes);
    let entry = samples::entry_of(parts);
    Class::ALL.into_iter().all(|class| effects(&entry, class))
}

fn effects(entry: &Entry, class: Class) -> bool {
    let Ok(effects) = entry.effects(class) else { return false };
    let Part::Whole(changes) = &entry.parts[class.index()] else { return effects.is_empty() };
    let mut again = Vec::new();
    effects.iter().for_each(|effect: &Effect| effect.append_to(&mut again));
    assert_eq!(&again, changes, "{effects:?}");
    true
}

/// A whole base: its header and frames up to the end.
fn base(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let Ok((header, encoded, tag)) = read_header(&mut rest) else { return false };
    assert_eq!(header.encode(), encoded, "{header:?}");
    let mut again = frame_header(&encoded, &tag);
    loop {
        let frame = rest;
        match read_frame(&mut rest) {
            Ok(Frame::Rows(rows)) => {
                let frame = &frame[..frame.len() - rest.len()];
                assert_rows(&rows, frame);
                again.extend_from_slice(frame);
            }
            Ok(Frame::End(counts)) => {
                again.extend(encode_end(&counts));
                assert_eq!(again, bytes, "nothing follows the end");
                return true;
            }
            Err(_) => return false,
        }
    }
}

/// Frames are cut at a size when they are written, and at any place when they are read.
fn assert_rows(rows: &[Record], frame: &[u8]) {
    assert!(!rows.is_empty(), "a frame without a row says nothing");
    if frame.len() < BASE_FRAME_BYTES {
        let mut writer = FrameWriter::new();
        assert!(rows.iter().all(|row| writer.push(row).is_none()), "they were in one frame before");
        assert_eq!(writer.flush().as_deref(), Some(frame));
    }
}

/// Compressed in another way a segment is another; its entries are the same, and so is their order.
fn segment(bytes: &[u8]) -> bool {
    let Ok(segment) = decode_segment(bytes) else { return false };
    let mut writer = SegmentWriter::new(segment.scope, SEGMENT_BYTES_MAX);
    for (index, entry) in segment.entries.iter().enumerate() {
        assert!(writer.push(entry), "it was in one segment before");
        let before = index.checked_sub(1).map(|before| segment.entries[before].revision.as_u64());
        assert!(before.is_none_or(|before| before + 1 == entry.revision.as_u64()), "there is no gap");
        let _ = Class::ALL.map(|class| effects(entry, class));
    }
    let (first, last, again) = writer.finish().expect("a segment holds an entry");
    assert!(first <= last);
    let again = decode_segment(&again).expect("it was read before");
    assert_eq!((again.scope, &again.entries), (segment.scope, &segment.entries));
    true
}

/// The file that names the generation in use, without its line end.
fn generation(bytes: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(bytes).ok() else { return false };
    let Some(generation) = parse_generation(text) else { return false };
    assert_eq!(generation.0.to_string(), text);
    true
}

#[cfg(test)]
mod tests {
    use keelson_hostile::Bombardment;

    use super::*;

    #[test]
    fn whatever_the_bytes_they_are_read_as_written_or_refused() {
        Bombardment::of(TARGETS, samples())
            .allow("row", BODY_BYTES_MAX)
            .allow("body", BODY_BYTES_MAX)
            .allow("base", 2 * BASE_FRAME_BYTES)
            .allow("segment", SEGMENT_BYTES_MAX)
            .run();
    }
}
