//! What this crate reads of requests, and what must hold of whatever comes out. For the crate's tests and for the targets
//! in `fuzz/`; no product has it.

use std::collections::BTreeMap;

use axum::http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, Uri};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use keelson_catalog::{Class, Row, RowKind, Stored};
use keelson_model::{Generation, Revision, Sequence};
use keelson_resources::{KINDS, KindInfo};

use crate::accept::{choose_discovery, choose_representation, require_json};
use crate::authentication::FrontProxyTrust;
use crate::body::{Format, decode_alone};
use crate::continuation::Continuation;
use crate::delete_options::parse_delete;
use crate::limits::WARNINGS_MAX;
use crate::object::Object;
use crate::options::{GetOptions, ListOptions, ReadOptions, WriteOptions};
use crate::patch;
use crate::refusal::Refusal;
use crate::target::Target;

/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// Every decoder. Each asserts its rules and says whether it took the bytes.
pub const TARGETS: &[Decoder] = &[
    ("path", path),
    ("query", query),
    ("continue token", continue_token),
    ("accept header", accept),
    ("JSON body", |bytes| body(bytes, Format::Json)),
    ("YAML body", |bytes| body(bytes, Format::Yaml)),
    ("options of a deletion", deletion),
    ("patch", patched),
    ("row", row),
    ("front proxy's trust", trust),
];

const POINTS: &str = "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop/restorepoints";

/// Inputs that the targets take.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    // A long name, and below it a field that is there again and again.
    let repeated = format!(r#"{{"{}":{{{}"":2}}}}"#, "k".repeat(4 << 10), r#""":1,"#.repeat(800));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io;q=0.9,application/json;q=0.1,*/*";
    let json = r#"{"kind":"A","spec":{"n":5,"f":1.5,"list":[{"x":1},{"y":1,"y":2}],"t":"\u00e9"},"a":null,"a":true}"#;
    let deletion = r#"{"kind":"DeleteOptions","preconditions":{"uid":"u","resourceVersion":"7"},"dryRun":["All"],
        "gracePeriodSeconds":0,"propagationPolicy":"Background"}"#;
    let row =
        r#"{"annotations":{"a":"b"},"spec":{"n":1},"status":{"state":"Bound","n":1},"internal":{"x":1}}"#;
    let trust =
        r#"{"requestheader-username-headers":"[\"X-Remote-User\"]","requestheader-client-ca-file":"x"}"#;
    let texts = [
        ("path", POINTS),
        ("path", "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop/restorepoints/x1/details"),
        ("path", "/openapi/v3/apis/apps.kio.kasten.io/v1alpha1"),
        (
            "query",
            "limit=500&labelSelector=a%3Db%2Cc+in+%28d%29&fieldSelector=metadata.name%3Da&resourceVersion=7&resourceVersionMatch=Exact",
        ),
        (
            "query",
            "watch=1&timeoutSeconds=300&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
        ),
        ("query", "fieldManager=kubectl-create&fieldValidation=Strict&dryRun=All"),
        ("query", "propagationPolicy=Background&gracePeriodSeconds=0"),
        ("query", "continue=eyJ2IjoxLCJydiI6NywibnMiOiJzaG9wIiwibmFtZSI6ImEifQ&limit=5"),
        ("continue token", "eyJ2IjoxLCJydiI6NywibnMiOiJzaG9wIiwibmFtZSI6ImEifQ"),
        ("accept header", table),
        ("JSON body", json),
        ("JSON body", repeated.as_str()),
        ("YAML body", "kind: A\nspec:\n  n: 5\n  list: [1, two, {x: ~}]\n  text: |\n    lines\n"),
        ("YAML body", r#"{"kind":"A","spec":{"n":5,"f":1.5,"list":[{"x":1}],"t":"\u00e9"}}"#),
        ("YAML body", "a: &x {n: 1}\nb: *x\n"),
        ("options of a deletion", deletion),
        (
            "patch",
            r#"{"metadata":{"uid":"u"},"spec":{"disableMaintenance":true,"backgroundProcessTimeout":"1h"}}"#,
        ),
        ("patch", r#"{"kind":"StorageRepository","spec":{"disableMaintenance":null,"other":[null]}}"#),
        ("row", row),
        ("row", "{}"),
        ("front proxy's trust", trust),
    ];
    texts.map(|(target, text)| (target, text.as_bytes().to_vec())).to_vec()
}

fn uri(bytes: &[u8]) -> Option<Uri> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// A path that is taken names a kind of ours in segments that need no escape, and allows what the kind allows.
fn path(bytes: &[u8]) -> bool {
    let Some(uri) = uri(bytes) else { return false };
    let target = match Target::parse(&uri) {
        Ok(Target::Objects(path)) => path,
        Ok(Target::Published(_)) => return true,
        Err(refusal) => return refused(&refusal),
    };
    let plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
    };
    assert!(target.namespace.is_none_or(plain) && target.name.is_none_or(plain), "{target:?}");
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD] {
        if let Err(refusal) = target.operation(&method) {
            refused(&refusal);
        }
    }
    true
}

/// A refusal that we can send.
fn refused(refusal: &Refusal) -> bool {
    assert!(refusal.code().is_client_error() && !refusal.message().is_empty(), "{refusal:?}");
    false
}

fn query(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Some(uri) = uri(format!("{POINTS}?{text}").as_bytes()) else { return false };
    let kind = keelson_resources::find_kind("apps.kio.kasten.io", "restorepoints").expect("a kind of ours");
    let read = ReadOptions::parse(kind, &uri);
    if let Ok(ReadOptions::List(ListOptions { resume: Some(resume), .. })) = &read {
        assert_eq!(Continuation::parse(&resume.to_token()).ok().as_ref(), Some(resume));
    }
    let results = [
        read.map(drop),
        GetOptions::parse(&uri).map(drop),
        WriteOptions::parse("CreateOptions", &uri).map(drop),
        parse_delete(&uri, None).map(drop),
    ];
    results.into_iter().filter(|result| result.as_ref().map_err(refused).is_ok()).count() > 0
}

fn continue_token(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(token) = Continuation::parse(text) else { return false };
    assert_eq!(Continuation::parse(&token.to_token()).ok().as_ref(), Some(&token));
    true
}

fn accept(bytes: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return false };
    let headers = HeaderMap::from_iter([(ACCEPT, value)]);
    let _ = choose_discovery(&headers);
    require_json(&headers).is_ok() && choose_representation(&headers).is_ok()
}

/// What is taken is JSON that can be written and read again: so it goes into a row.
fn body(bytes: &[u8], format: Format) -> bool {
    let decoded = match decode_alone(format, bytes) {
        Ok(decoded) => decoded,
        Err(refusal) => return refused(&refusal),
    };
    assert!(decoded.duplicates.len() <= WARNINGS_MAX, "{} duplicates", decoded.duplicates.len());
    let written = decoded.value.to_string();
    let again = serde_json::from_str::<serde_json::Value>(&written);
    assert!(again.is_ok(), "it is taken and cannot be read again: {again:?}");
    true
}

fn deletion(bytes: &[u8]) -> bool {
    let uri = Uri::from_static(POINTS);
    let options = decode_alone(Format::Json, bytes).and_then(|options| parse_delete(&uri, Some(options)));
    options.map_err(|refusal| refused(&refusal)).is_ok()
}

/// What a patch makes of a repository. What is taken has a spec and can be read again.
fn patched(bytes: &[u8]) -> bool {
    let kind = keelson_resources::find_kind("repositories.kio.kasten.io", "storagerepositories")
        .expect("a kind of ours");
    let stored = stored(kind, br#"{"spec":{"disableMaintenance":false},"status":{"readOnly":false}}"#);
    match patch::try_patch(kind, &stored, bytes) {
        Ok(spec) => {
            assert!(spec.is_object(), "{spec}");
            true
        }
        Err(refusal) => refused(&refusal),
    }
}

/// A row's body, served in every shape.
fn row(bytes: &[u8]) -> bool {
    let kinds = KINDS.iter().filter(|kind| served(kind, bytes));
    kinds.count() == KINDS.len()
}

fn stored(kind: &KindInfo, bytes: &[u8]) -> Stored {
    let row = Row {
        kind: RowKind::new(kind.row_kind()),
        namespace: "shop".to_owned(),
        name: "x1".to_owned(),
        uid: "u".to_owned(),
        labels: BTreeMap::new(),
        created: Timestamp::UNIX_EPOCH,
        class: Class::Local,
        body: bytes.to_vec(),
    };
    Stored { row, revision: Revision::new(Generation(1), Sequence(1)) }
}

fn served(kind: &'static KindInfo, bytes: &[u8]) -> bool {
    let stored = stored(kind, bytes);
    let Ok(object) = Object::parse(kind, &stored) else { return false };
    let value = object.to_value();
    assert_eq!(value["metadata"]["name"], "x1");
    kind.columns.iter().for_each(|column| drop(column.value(&value, Timestamp::UNIX_EPOCH)));
    true
}

/// The ConfigMap that says whom to believe.
fn trust(bytes: &[u8]) -> bool {
    let Ok(data) = serde_json::from_slice::<BTreeMap<String, String>>(bytes) else { return false };
    let _ = FrontProxyTrust::parse(&ConfigMap { data: Some(data), ..ConfigMap::default() });
    true
}

#[cfg(test)]
mod tests {
    use keelson_hostile::Bombardment;

    use super::*;
    use crate::body::YAML_REPEATED_BYTES;
    use crate::limits::YAML_REPEATED_MAX;

    /// The reader of YAML keeps half a kilobyte for each list that is open, and goes only so deep; and so much of what may be
    /// repeated.
    const YAML_BYTES_HELD: usize = (256 << 10) + YAML_REPEATED_MAX * YAML_REPEATED_BYTES;

    /// With paths that are told whole, the largest of these would hold four GiB.
    #[test]
    fn what_is_told_of_a_body_does_not_grow_with_it() {
        for bytes in [1 << 10, 16 << 10, 256 << 10] {
            let many =
                format!(r#"{{"{}":{{{}"":2}}}}"#, "k".repeat(bytes / 2), r#""":1,"#.repeat(bytes / 10));
            Bombardment::of(TARGETS, vec![("JSON body", many.into_bytes())]).run_samples();
        }
    }

    #[test]
    fn what_yaml_repeats_is_kept_at_a_bounded_cost() {
        for pairs in [50, 240] {
            let anchored = format!("a: &x {{n: [{}0]}}\nb: *x\n", r#""":1,"#.repeat(pairs));
            let samples = vec![("YAML body", anchored.into_bytes())];
            Bombardment::of(TARGETS, samples).allow("YAML body", YAML_BYTES_HELD).run_samples();
        }
    }

    #[test]
    fn whatever_the_request_it_is_read_or_refused() {
        Bombardment::of(TARGETS, samples()).allow("YAML body", YAML_BYTES_HELD).run();
    }
}
