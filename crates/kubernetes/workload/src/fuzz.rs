//! What this crate reads of bytes from outside, and what must hold of whatever comes out. For the crate's tests and for
//! the targets in `fuzz/`; no product has it.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, TryStreamExt, stream};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::capture::withstand_list;
use crate::cluster::withstand_namespace;
use crate::configuration::{withstand_config_map, withstand_secret};
use crate::format::{DecodeObjectsError, ObjectEncoder, decode_objects};
use crate::inventory::Inventory;
use crate::kinds::Kind;
use crate::layers::Layer;
use crate::objects::CapturedObject;
use crate::request::withstand_refusal;

/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// Every decoder. Each asserts its rules and says whether it took the bytes.
pub const TARGETS: &[Decoder] = &[
    ("captured objects", objects),
    ("list", withstand_list),
    ("refusal", withstand_refusal),
    ("secret", |bytes| json(bytes, withstand_secret)),
    ("config map", |bytes| json(bytes, withstand_config_map)),
    ("namespace", |bytes| json(bytes, withstand_namespace)),
];

/// Inputs that the targets take.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let list = r#"{"kind":"List","items":[{"metadata":{"name":"a"},"data":{"items":"[{}]","q":"\"}]\\"}},{"x":[1,[2]]},{}],
        "metadata":{"continue":"t","items":[1]}}"#;
    let refusal = r#"{"kind":"Status","code":403,"reason":"Forbidden","message":"no","metadata":{"continue":"t"},
        "details":{"retryAfterSeconds":2,"causes":[{"reason":"NamespaceTerminating"}]}}"#;
    let secret = r#"{"metadata":{"name":"s","namespace":"shop","uid":"u","labels":{"a":"b"},"annotations":{"c":"d"}},
        "type":"Opaque","data":{"key":"aHVudGVyMg=="}}"#;
    let config_map =
        r#"{"metadata":{"name":"s","namespace":"shop","labels":{"a":"b"}},"data":{"key":"text"}}"#;
    let namespace = r#"{"metadata":{"name":"shop","uid":"u","deletionTimestamp":"2026-02-03T04:05:06Z","labels":{}},
        "status":{"phase":"Terminating","conditions":[
        {"type":"NamespaceFinalizersRemaining","status":"True","message":"hold in 1 instances"}]}}"#;
    let texts = [
        ("list", list),
        ("list", r#"{"items":null,"metadata":{}}"#),
        ("refusal", refusal),
        ("refusal", "bad gateway"),
        ("secret", secret),
        ("config map", config_map),
        ("namespace", namespace),
    ];
    let mut samples = texts.map(|(target, text)| (target, text.as_bytes().to_vec())).to_vec();
    samples.push(("captured objects", encode(&[])));
    samples.push(("captured objects", encode(&[object(Some("shop"), "a"), object(None, "b")])));
    samples
}

fn object(namespace: Option<&str>, name: &str) -> CapturedObject {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("it is JSON");
    let kind = match namespace {
        Some(_) => Kind::namespaced("apps/v1", "Deployment", "deployments"),
        None => Kind::cluster("v1", "Namespace", "namespaces"),
    };
    CapturedObject {
        layer: Layer::Configuration,
        kind: Arc::new(kind),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        uid: "u-1".to_owned(),
        object: raw(r#"{"metadata":{"name":"a"},"data":{"k":[1,2.5,"x\\u00e9",null,true]}}"#),
        managed_fields: namespace.map(|_| raw(r#"[{"manager":"helm"}]"#)),
    }
}

fn encode(objects: &[CapturedObject]) -> Vec<u8> {
    let mut encoder = ObjectEncoder::default();
    let mut bytes: Vec<u8> = objects.iter().filter_map(|object| encoder.push(object)).flatten().collect();
    bytes.extend_from_slice(&encoder.finish());
    bytes
}

fn decode(bytes: &[u8], chunk: usize) -> Result<Vec<CapturedObject>, DecodeObjectsError> {
    let chunks = bytes.chunks(chunk.max(1)).map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk)));
    let objects = decode_objects(stream::iter(chunks)).try_collect();
    objects.now_or_never().expect("all chunks are there already")
}

/// The same comes out wherever the stream is cut, and again once it was written again.
fn objects(bytes: &[u8]) -> bool {
    let in_pieces = decode(bytes, 7);
    let objects = match decode(bytes, bytes.len()) {
        Ok(objects) => objects,
        Err(error) => {
            let cut = in_pieces.err().map(|error| error.to_string());
            assert_eq!(cut, Some(error.to_string()), "one fault, however it arrives");
            return false;
        }
    };
    assert_same(&objects, &in_pieces.expect("it was read whole"));
    assert_same(&objects, &decode(&encode(&objects), bytes.len()).expect("it was written by us"));
    // Deeper than a tree may be is refused where the tree is wanted.
    objects.iter().for_each(|object| drop(object.to_value()));
    let mut inventory = Inventory::default();
    objects.iter().for_each(|object| inventory.add_captured(object));
    let (listed, gaps) = inventory.into_parts();
    assert!(listed.len() == objects.len() || !gaps.is_empty(), "what is not listed is told");
    true
}

fn assert_same(left: &[CapturedObject], right: &[CapturedObject]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert_eq!((left.reference(), left.layer, &left.uid), (right.reference(), right.layer, &right.uid));
        assert_eq!((&left.kind, left.object.get()), (&right.kind, right.object.get()));
        let managed =
            |object: &CapturedObject| object.managed_fields.as_ref().map(|raw| raw.get().to_owned());
        assert_eq!(managed(left), managed(right));
    }
}

fn json(bytes: &[u8], withstand: fn(&Value)) -> bool {
    let Ok(value) = serde_json::from_slice(bytes) else { return false };
    withstand(&value);
    true
}

#[cfg(test)]
mod tests {
    use keelson_hostile::Bombardment;

    use super::*;

    #[test]
    fn whatever_the_bytes_they_are_read_as_written_or_refused() {
        Bombardment::of(TARGETS, samples()).allow("captured objects", 2 << 20).run();
    }
}
