//! Round trips of object streams, and streams that are not what they claim.

use super::*;
use futures::TryStreamExt;

fn object(name: &str, bytes: usize) -> CapturedObject {
    let body = format!(r#"{{"data":{{"k":"{}"}}}}"#, "x".repeat(bytes));
    CapturedObject {
        layer: Layer::Configuration,
        kind: Arc::new(Kind::namespaced("v1", "ConfigMap", "configmaps")),
        namespace: Some("shop".to_owned()),
        name: name.to_owned(),
        uid: "u-1".to_owned(),
        object: RawValue::from_string(body).expect("JSON"),
        managed_fields: Some(RawValue::from_string(r#"[{"manager":"helm"}]"#.to_owned()).expect("JSON")),
    }
}

fn encode(objects: &[CapturedObject]) -> Vec<Bytes> {
    let mut encoder = ObjectEncoder::default();
    let mut chunks: Vec<Bytes> = objects.iter().filter_map(|object| encoder.push(object)).collect();
    chunks.push(encoder.finish());
    chunks
}

fn decode(chunks: Vec<Bytes>) -> Result<Vec<CapturedObject>, DecodeObjectsError> {
    let chunks = stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(decode_objects(chunks).try_collect())
}

fn frame(json: &str) -> Vec<u8> {
    let mut bytes = encode(&[])[0].to_vec();
    bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

#[test]
fn objects_read_back_whatever_the_chunks_are() {
    let objects: Vec<_> = (0..40).map(|number| object(&format!("c{number}"), number * 977)).collect();
    let whole: Vec<u8> = encode(&objects).concat();
    for size in [1, 7, 4096, whole.len()] {
        let chunks = whole.chunks(size).map(Bytes::copy_from_slice).collect();
        let again = decode(chunks).expect("readable");
        assert_eq!(again.len(), objects.len());
        for (again, object) in again.iter().zip(&objects) {
            assert_eq!(again.reference(), object.reference());
            assert_eq!(again.object.get(), object.object.get());
            assert_eq!((&again.kind, again.layer, &again.uid), (&object.kind, object.layer, &object.uid));
        }
    }
}

#[test]
fn chunks_come_out_as_they_fill() {
    let objects: Vec<_> = (0..64).map(|number| object(&format!("c{number}"), 16 << 10)).collect();
    let chunks = encode(&objects);
    assert!(chunks.len() >= 4);
    assert!(chunks.iter().all(|chunk| chunk.len() < CHUNK_BYTES + (20 << 10)));
}

#[test]
fn a_cut_stream_is_told_apart_from_its_end() {
    let whole = encode(&[object("a", 10), object("b", 10)]).concat();
    for cut in [9, 20, whole.len() - 1] {
        let error = decode(vec![Bytes::copy_from_slice(&whole[..cut])]).expect_err("cut");
        assert!(matches!(error, DecodeObjectsError::Truncated { .. }), "{cut}: {error}");
    }
    assert!(matches!(decode(vec![]), Err(DecodeObjectsError::Magic)));
}

#[test]
fn hostile_streams_are_refused() {
    let mut bomb = encode(&[])[0].to_vec();
    bomb.extend_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(decode(vec![bomb.into()]), Err(DecodeObjectsError::FrameTooLong { number: 1, .. })));

    let newer = [b"KOBJ".as_slice(), &[9, 0, 0, 0]].concat();
    assert!(matches!(decode(vec![newer.into()]), Err(DecodeObjectsError::Version { version: 9 })));

    let base = r#"{"layer":"custom","group":"","version":"v1","kind":"Secret","resource":"secrets","#;
    let climbing = format!(r#"{base}"namespace":"shop","name":"../../nodes/x","uid":"","object":{{}}}}"#);
    assert!(matches!(decode(vec![frame(&climbing).into()]), Err(DecodeObjectsError::Name { .. })));
    let nameless = format!(r#"{base}"uid":"","object":{{}}}}"#);
    assert!(matches!(decode(vec![frame(&nameless).into()]), Err(DecodeObjectsError::Frame { .. })));
}
