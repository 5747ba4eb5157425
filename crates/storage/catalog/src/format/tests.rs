//! Every record reads back, and no bytes whatever make decoding panic.

use keelson_crypto::RowDigest;
use keelson_model::{Generation, Revision, Sequence};
use proptest::prelude::*;

use super::base::{
    BaseHeader, Frame, FrameWriter, Origin, encode_end, frame_header, read_frame, read_header,
};
use super::body::{BodyDecoder, BodyEncoder};
use super::entry::{Effect, Entry, Part, decode_parts, encode_parts};
use super::head::{decode_head, encode_head};
use super::record::{Record, decode_labels, encode_labels};
use super::segment::{SegmentWriter, decode_segment};
use crate::digest::{Counts, Digests, Head};
use crate::row::{Class, Labels, RowKey, RowKind, Scope};

fn revisions() -> impl Strategy<Value = Revision> {
    (1..=Generation::MAX.0, 1..=Sequence::MAX.0)
        .prop_map(|(generation, sequence)| Revision::new(Generation(generation), Sequence(sequence)))
}

fn classes() -> impl Strategy<Value = Class> {
    (0..3_u8).prop_map(|byte| Class::from_byte(byte).unwrap())
}

fn all_labels() -> impl Strategy<Value = Labels> {
    prop::collection::btree_map(".{0,12}", ".{0,12}", 0..4)
}

fn records() -> impl Strategy<Value = Record> {
    let key = (".{0,12}", ".{0,12}", ".{0,12}")
        .prop_map(|(kind, namespace, name)| RowKey::new(RowKind::new(kind), namespace, name));
    let body = prop::collection::vec(any::<u8>(), 0..64);
    (key, ".{0,12}", all_labels(), any::<i64>(), classes(), revisions(), body).prop_map(
        |(key, uid, labels, created, class, revision, body)| Record {
            key,
            uid,
            labels,
            created,
            class,
            revision,
            body,
        },
    )
}

fn heads() -> impl Strategy<Value = Head> {
    (revisions(), any::<[[u8; 32]; 4]>()).prop_map(|(revision, [configuration, local, derived, chain])| {
        let [configuration, local, derived] = [configuration, local, derived].map(RowDigest::from_bytes);
        Head { revision, digests: Digests { configuration, local, derived }, chain }
    })
}

/// An entry whose effects fit its revision and classes.
fn entry(head: &Head, rows: Vec<(Record, Option<Labels>, u8)>, left_out: bool) -> (Entry, Vec<Effect>) {
    let mut parts: [Vec<u8>; 3] = Default::default();
    let mut effects: [Vec<Effect>; 3] = Default::default();
    for (mut record, before, choice) in rows {
        record.revision = head.revision;
        let class = record.class.index();
        let effect = match choice % 4 {
            0 => Effect::Created(record),
            1 => Effect::Updated { record, before },
            2 => {
                record.revision = Revision::new(Generation(0), Sequence(0));
                Effect::Deleted(record)
            }
            _ => Effect::Left(record.key),
        };
        effect.append_to(&mut parts[class]);
        effects[class].push(effect);
    }
    let mut parts = parts.map(Part::Whole);
    if left_out {
        parts[1] = Part::LeftOut([9; 32]);
        effects[1].clear();
    }
    let entry = Entry {
        revision: head.revision,
        at: -1,
        actor: "actor".into(),
        parts,
        digests: head.digests,
        previous: [1; 32],
        digest: head.chain,
    };
    (entry, effects.concat())
}

proptest! {
    #[test]
    fn a_row_reads_back(record in records()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn a_head_and_labels_read_back(head in heads(), labels in all_labels()) {
        prop_assert_eq!(decode_head(&encode_head(&head)), Ok(head));
        prop_assert_eq!(decode_labels(&encode_labels(&labels)), Ok(labels));
    }

    #[test]
    fn a_body_reads_back(body in prop::collection::vec(any::<u8>(), 0..5000), text in ".{0,2000}") {
        let (mut encoder, mut decoder) = (BodyEncoder::new(), BodyDecoder::new());
        for body in [body.as_slice(), text.as_bytes()] {
            let bytes = encoder.encode(body);
            prop_assert!(bytes.len() <= body.len() + 1);
            prop_assert_eq!(decoder.decode(&bytes), Ok(body.to_vec()));
        }
    }

    #[test]
    fn a_segment_reads_back(
        head in heads(),
        rows in prop::collection::vec((records(), prop::option::of(all_labels()), any::<u8>()), 0..6),
        left_out: bool,
    ) {
        let (entry, effects) = entry(&head, rows, left_out);
        let mut writer = SegmentWriter::new(Scope::ConfigurationAndLocal, 1 << 20);
        prop_assert!(writer.push(&entry));
        let (first, last, bytes) = writer.finish().unwrap();
        prop_assert_eq!((first, last), (head.revision, head.revision));
        let decoded = decode_segment(&bytes).unwrap();
        prop_assert_eq!(&decoded.entries, &[entry]);
        let read: Vec<_> = Class::ALL.iter().flat_map(|&class| decoded.entries[0].effects(class).unwrap()).collect();
        prop_assert_eq!(read, effects);
    }

    #[test]
    fn a_base_reads_back(head in heads(), rows in prop::collection::vec(records(), 0..20), from: bool) {
        let origin = from.then_some(Origin { revision: head.revision, chain: [3; 32] });
        let header = BaseHeader { scope: Scope::ConfigurationOnly, head, origin, wrapped_key: vec![1, 2, 3] };
        let mut bytes = frame_header(&header.encode(), &[4; 32]);
        let mut writer = FrameWriter::new();
        for row in &rows {
            bytes.extend(writer.push(row).unwrap_or_default());
        }
        bytes.extend(writer.flush().unwrap_or_default());
        let counts = Counts { configuration: rows.len() as u64, local: 0, derived: 0 };
        bytes.extend(encode_end(&counts));

        let mut base = bytes.as_slice();
        prop_assert_eq!(read_header(&mut base).unwrap(), (header.clone(), header.encode(), [4; 32]));
        let mut read = Vec::new();
        loop {
            match read_frame(&mut base).unwrap() {
                Frame::Rows(rows) => read.extend(rows),
                Frame::End(end) => { prop_assert_eq!(end, counts); break; }
            }
        }
        prop_assert_eq!(read, rows);
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        decode_all(&bytes);
    }

    #[test]
    fn no_change_to_good_bytes_makes_decoding_panic(
        head in heads(),
        rows in prop::collection::vec((records(), prop::option::of(all_labels()), any::<u8>()), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let row = rows[0].0.clone();
        let (entry, _) = entry(&head, rows, false);
        let parts = entry.parts.clone().map(|part| match part {
            Part::Whole(changes) => changes,
            Part::LeftOut(_) => Vec::new(),
        });
        let mut segment = SegmentWriter::new(Scope::ConfigurationOnly, 1 << 20);
        segment.push(&entry);
        let mut frames = FrameWriter::new();
        frames.push(&row);
        let mut encoder = BodyEncoder::new();
        for mut bytes in [
            row.encode(),
            encode_head(&head),
            encode_parts(&parts),
            segment.finish().unwrap().2,
            frames.flush().unwrap(),
            encoder.encode(&[b'a'; 200]),
        ] {
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            decode_all(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            decode_all(&bytes);
        }
    }
}

/// Whatever comes out, it comes out.
fn decode_all(bytes: &[u8]) {
    let _ = Record::decode(bytes);
    let _ = decode_head(bytes);
    let _ = decode_labels(bytes);
    let _ = BodyDecoder::new().decode(bytes);
    let _ = read_header(&mut &*bytes);
    let _ = read_frame(&mut &*bytes);
    for parts in decode_parts(bytes).into_iter().chain([[0; 3].map(|_| Part::Whole(bytes.to_vec()))]) {
        let revision = Revision::new(Generation(1), Sequence(1));
        let (digests, zero) = (Digests::default(), [0; 32]);
        let entry =
            Entry { revision, at: 0, actor: String::new(), parts, digests, previous: zero, digest: zero };
        for class in Class::ALL {
            let _ = entry.effects(class);
        }
    }
    let _ = decode_segment(bytes);
}

/// Any number of them said the same, so that a base had many spellings and no bound.
#[test]
fn a_frame_without_a_row_is_refused() {
    assert!(read_frame(&mut &[1, 0, 0, 0, 1][..]).is_err());
}

#[test]
fn a_body_larger_than_it_says_is_refused() {
    let mut bytes = BodyEncoder::new().encode(&[b'a'; 1000]);
    bytes[1..5].copy_from_slice(&999_u32.to_le_bytes());
    assert!(BodyDecoder::new().decode(&bytes).is_err());
    bytes[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(BodyDecoder::new().decode(&bytes).is_err());
}

#[test]
fn a_typical_body_is_compressed_to_less_than_half() {
    let body = br#"{"annotations":{},"internal":{"artifacts":[{"outcome":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","repository":"9f8e7d6c5b4a39281706f5e4d3c2b1a0","streams":["objects"]}]},"spec":{"restorePointContentRef":{"name":"shop-scheduled-x1y2z"}},"status":{"actionTime":"2026-05-06T07:08:09Z","logicalSizeBytes":1048576,"physicalSizeBytes":65536,"scheduledTime":"2026-05-06T07:00:00Z","state":"Bound"}}"#;
    let bytes = BodyEncoder::new().encode(body);
    assert!(bytes.len() * 2 < body.len(), "{} of {}", bytes.len(), body.len());
}
