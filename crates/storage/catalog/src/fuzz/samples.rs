//! Inputs that the targets take, made by the encoders.

use keelson_crypto::RowDigest;
use keelson_model::{Generation, Revision, Sequence};

use crate::digest::{Counts, Digests, Head};
use crate::format::base::{BaseHeader, FrameWriter, Origin, encode_end, encode_origin, frame_header};
use crate::format::body::BodyEncoder;
use crate::format::entry::{Effect, Entry, Part, encode_parts};
use crate::format::head::{encode_digests, encode_head};
use crate::format::record::{Record, encode_labels};
use crate::format::segment::SegmentWriter;
use crate::row::{Class, Labels, RowKey, RowKind, Scope};

/// Every target has one at least.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let (row, bare) = (record("restorepoints", Class::Configuration), record("steps", Class::Local));
    let parts = parts();
    let mut long = BodyEncoder::new();
    vec![
        ("row", row.encode()),
        ("row", Record { labels: Labels::new(), body: Vec::new(), ..bare }.encode()),
        ("body", long.encode(BODY)),
        ("body", long.encode(b"{}")),
        ("body", long.encode(&[b'a'; 5000])),
        ("head", encode_head(&head())),
        ("digests", encode_digests(&head().digests)),
        ("labels", encode_labels(&labels())),
        ("labels", encode_labels(&Labels::new())),
        ("origin", encode_origin(None)),
        ("origin", encode_origin(Some(&origin()))),
        ("changes", encode_parts(&parts)),
        ("base", base(None)),
        ("base", base(Some(origin()))),
        ("segment", segment(&[entry(1, parts.clone().map(Part::Whole))])),
        ("segment", segment(&[entry(1, parts.map(Part::Whole)), entry(2, left_out())])),
        ("current generation", b"1".to_vec()),
        ("current generation", b"8388607".to_vec()),
    ]
}

/// An entry whose effects may stand in the sample's parts.
pub(super) fn entry_of(parts: [Part; 3]) -> Entry {
    entry(1, parts)
}

const BODY: &[u8] = br#"{"annotations":{},"spec":{"restorePointContentRef":{"name":"shop-x1y2z"}},"status":{"state":"Bound"}}"#;

fn revision(sequence: u64) -> Revision {
    Revision::new(Generation(2), Sequence(sequence))
}

fn labels() -> Labels {
    let labels = [("k10.kasten.io/appName", "shop"), ("k10.kasten.io/appNamespace", "shop"), ("tier", "")];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn record(kind: &str, class: Class) -> Record {
    Record {
        key: RowKey::new(RowKind::new(kind), "shop", "shop-x1y2z"),
        uid: "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".to_owned(),
        labels: labels(),
        created: 1_770_000_000_123_456,
        class,
        revision: revision(1),
        body: BodyEncoder::new().encode(BODY),
    }
}

fn head() -> Head {
    let [configuration, local, derived] = [[1; 32], [2; 32], [3; 32]].map(RowDigest::from_bytes);
    Head { revision: revision(1), digests: Digests { configuration, local, derived }, chain: [4; 32] }
}

fn origin() -> Origin {
    Origin { revision: revision(7), chain: [3; 32] }
}

/// One effect of each sort.
fn parts() -> [Vec<u8>; 3] {
    let mut parts: [Vec<u8>; 3] = Default::default();
    Effect::Created(record("restorepoints", Class::Configuration)).append_to(&mut parts[0]);
    Effect::Left(RowKey::new(RowKind::new("restorepoints"), "shop", "old")).append_to(&mut parts[0]);
    let updated = Effect::Updated { record: record("restorepoints", Class::Local), before: Some(labels()) };
    updated.append_to(&mut parts[1]);
    Effect::Updated { record: record("steps", Class::Local), before: None }.append_to(&mut parts[1]);
    let gone = Record { revision: revision(0), ..record("applications", Class::Derived) };
    Effect::Deleted(gone).append_to(&mut parts[2]);
    parts
}

fn left_out() -> [Part; 3] {
    [Part::Whole(Vec::new()), Part::LeftOut([8; 32]), Part::LeftOut([9; 32])]
}

fn entry(sequence: u64, parts: [Part; 3]) -> Entry {
    Entry {
        revision: revision(sequence),
        at: 1_770_000_000_123_456,
        actor: "controllers".to_owned(),
        parts,
        digests: head().digests,
        previous: [5; 32],
        digest: [6; 32],
    }
}

fn base(origin: Option<Origin>) -> Vec<u8> {
    let header =
        BaseHeader { scope: Scope::ConfigurationOnly, head: head(), origin, wrapped_key: vec![7; 100] };
    let mut bytes = frame_header(&header.encode(), &[8; 32]);
    for rows in [&["applications", "restorepoints"][..], &["policies"]] {
        let mut writer = FrameWriter::new();
        for kind in rows {
            bytes.extend(writer.push(&record(kind, Class::Configuration)).unwrap_or_default());
        }
        bytes.extend(writer.flush().unwrap_or_default());
    }
    bytes.extend(encode_end(&Counts { configuration: 3, local: 0, derived: 0 }));
    bytes
}

fn segment(entries: &[Entry]) -> Vec<u8> {
    let mut writer = SegmentWriter::new(Scope::ConfigurationOnly, 1 << 20);
    for entry in entries {
        assert!(writer.push(entry), "two small entries fit");
    }
    writer.finish().expect("there is an entry").2
}
