//! What is taken of bodies, what is made of them, and what is refused.

use http::HeaderValue;
use serde_json::json;

use super::*;
use crate::fairness::Portions;
use crate::limits::BODIES;
use crate::tests::harness::{alice, user};

fn headers(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
}

fn code(refused: Result<impl fmt::Debug, Refusal>) -> u16 {
    refused.unwrap_err().code().as_u16()
}

#[test]
fn keys_given_twice_are_named_by_their_path() {
    let text = br#"{"a":1,"spec":{"list":[{"x":1},{"y":1,"y":2}],"b":1,"b":3},"a":2}"#;
    let decoded = decode_alone(Format::Json, text).unwrap();
    assert_eq!(decoded.value, json!({"a": 2, "spec": {"list": [{"x": 1}, {"y": 2}], "b": 3}}));
    assert_eq!(decoded.duplicates, ["spec.list[1].y", "spec.b", "a"]);
}

/// A field of a long name, and below it one of no name, so many times.
fn repeated(name: usize, times: usize) -> String {
    format!(r#"{{"{}":{{{}"":2}}}}"#, "k".repeat(name), r#""":1,"#.repeat(times))
}

/// Each of them was named by its whole path: three MiB became sixty GiB.
#[test]
fn of_keys_given_twice_a_few_are_named_and_their_paths_are_cut() {
    let decoded = decode_alone(Format::Json, repeated(100 << 10, 20_000).as_bytes()).unwrap();
    assert_eq!(decoded.value["k".repeat(100 << 10)], json!({"": 2}));
    assert_eq!(decoded.duplicates.len(), WARNINGS_MAX);
    let longest = decoded.duplicates.iter().map(String::len).max().unwrap();
    assert!(longest <= FieldPath::BYTES_MAX + "...".len(), "{longest} bytes");
    let largest = repeated(100 << 10, (BODY_BYTES_MAX - (101 << 10)) / 5);
    assert_eq!(code(decode_alone(Format::Json, largest.as_bytes())), 413);
}

#[test]
fn a_body_that_becomes_large_is_refused() {
    let bomb = format!("a: &a {}\nb: [{}]", "x".repeat(256 << 10), "*a,".repeat(90));
    for (format, text) in [
        (Format::Json, format!("[{}[]]", "[],".repeat(1 << 20))),
        (Format::Json, format!("[{}1]", r#"{"":1},"#.repeat(400_000))),
        (Format::MergePatch, format!(r#"{{"a":[{}1]}}"#, r#"{"":1},"#.repeat(400_000))),
    ] {
        assert_eq!(code(decode_alone(format, text.as_bytes())), 413, "{}", &text[..20]);
    }
    let anchored = format!("a: &a [{}1]\nb: *a\n", "1,".repeat(YAML_REPEATED_MAX));
    let anchors_in_anchors = format!("{}{}1{}", "&a [".repeat(40), "1,".repeat(40), "]".repeat(40));
    for text in [bomb, anchored, anchors_in_anchors, format!("[{}1]", "1,".repeat(YAML_NODES_MAX))] {
        assert_eq!(code(decode_alone(Format::Yaml, text.as_bytes())), 400, "{}", &text[..20]);
    }
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(BODY_BYTES_MAX - 8));
    assert!(decode_alone(Format::Json, text.as_bytes()).is_ok(), "it is one text");
}

#[test]
fn a_body_for_which_there_is_no_memory_is_refused_and_asked_for_again() {
    let shares = Shares::new(BODIES);
    let mut others: Vec<Share> = (0..64)
        .filter_map(|number| {
            let other = user(&format!("other-{number}"));
            shares.take_many(&other, BODY_BYTES_MAX)
        })
        .collect();
    let text = format!("[{}[]]", "[],".repeat(100_000));
    let mut share = shares.take_many(&alice(), text.len()).unwrap();
    assert_eq!(code(decode(Format::Json, text.as_bytes(), &mut share)), 429);
    others.clear();
    assert!(decode(Format::Json, text.as_bytes(), &mut share).is_ok());
}

#[tokio::test]
async fn a_body_is_read_if_there_is_memory_for_what_it_says() {
    let shares = Shares::new(BODIES);
    let received = receive(&shares, &alice(), Body::from("{}")).await.unwrap();
    let decoded = received.decode(Format::Json).await.unwrap();
    assert_eq!(decoded.value.value, json!({}));
    let nothing = receive(&shares, &alice(), Body::empty()).await.unwrap();
    assert_eq!(nothing.decode_any(&headers("text/plain")).await.unwrap().value, None);
    let large = Body::from(vec![b'x'; BODY_BYTES_MAX + 1]);
    assert_eq!(code(receive(&shares, &alice(), large).await.map(|_| ())), 413);
    let unstated = || {
        let pieces = (0..4).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1 << 20]));
        Body::from_stream(futures::stream::iter(pieces.collect::<Vec<_>>()))
    };
    assert_eq!(code(receive(&shares, &alice(), unstated()).await.map(|_| ())), 413);
    let held: Vec<_> = std::iter::from_fn(|| shares.take_many(&alice(), BODY_BYTES_MAX)).collect();
    assert_eq!(code(receive(&shares, &alice(), unstated()).await.map(|_| ())), 429, "it is large");
    assert!(receive(&shares, &alice(), Body::from("{}")).await.is_ok(), "{} are held", held.len());
    drop(decoded);
}

/// The share went with the request, and others were let in while the memory was still held.
#[tokio::test]
async fn what_goes_on_with_a_body_after_its_request_was_cut_holds_its_share() {
    let shares = Shares::new(Portions { all: 2, kept: 1, each: 1 });
    let body = WithShare { value: (), share: shares.take(&alice()).unwrap() };
    let (begin, begun) = tokio::sync::oneshot::channel();
    let (end, ended) = std::sync::mpsc::channel();
    let making = body.make(move |()| {
        begin.send(()).expect("somebody waits");
        ended.recv().expect("an end");
        Ok(())
    });
    tokio::select! {
        _ = making => panic!("it cannot be done"),
        begun = begun => begun.unwrap(),
    }
    assert!(shares.take(&alice()).is_none(), "its request is cut, it goes on");
    end.send(()).unwrap();
    assert!(shares.take_within(&alice(), BODY_TIMEOUT).await.is_some(), "it is done");
}

#[test]
fn yaml_is_taken_where_it_is_announced() {
    let format = Format::of_object(&headers("application/yaml; charset=utf-8")).unwrap();
    let decoded = decode_alone(format, b"kind: A\nspec:\n  n: 5\n").unwrap();
    assert_eq!(decoded.value, json!({"kind": "A", "spec": {"n": 5}}));
    assert!(decode_alone(Format::Json, b"kind: A").is_err());
    assert!(decode_alone(Format::Json, b"{} {}").is_err(), "what follows is not passed over");
}

#[test]
fn other_formats_are_refused() {
    for content_type in ["application/vnd.kubernetes.protobuf", "text/plain", "application/cbor"] {
        assert_eq!(code(Format::of_object(&headers(content_type))), 415, "{content_type}");
        assert_eq!(code(Format::of_patch(&headers(content_type))), 415, "{content_type}");
    }
}

#[test]
fn a_body_that_nests_too_deep_is_refused() {
    let deep = "[".repeat(100_000);
    assert_eq!(code(decode_alone(Format::Json, deep.as_bytes())), 400);
    assert_eq!(code(decode_alone(Format::Yaml, deep.as_bytes())), 400);
}
