//! Getting and listing: representations, pages, selectors, versions.

use std::io::Read;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::harness::{ALL_POINTS, Answer, POINTS, World, alice, points, user};
use crate::limits::DETAILS;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const PARTIAL: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
                       application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

fn bound() -> Value {
    json!({"state": "Bound"})
}

#[tokio::test]
async fn an_object_is_served_without_what_is_internal() {
    let world = World::start().await;
    world.put("shop", "a", &[("tier", "web")], bound());
    let answer = world.get(&format!("{POINTS}/a")).await;
    assert_eq!(answer.code, StatusCode::OK);
    let version = answer.version().to_owned();
    assert_eq!(
        answer.json,
        json!({
            "apiVersion": "apps.kio.kasten.io/v1alpha1", "kind": "RestorePoint",
            "metadata": {
                "name": "a", "namespace": "shop", "uid": "uid-a", "resourceVersion": version,
                "creationTimestamp": "2026-11-01T00:00:00Z", "labels": {"tier": "web"},
                "annotations": {"note": "kept"},
            },
            "spec": {"restorePointContentRef": {"name": "a-content"}},
            "status": {"state": "Bound"},
        })
    );
}

#[tokio::test]
async fn an_absent_object_is_not_found_in_kubernetes_words() {
    let world = World::start().await;
    let answer = world.get(&format!("{POINTS}/a")).await;
    assert_eq!(answer.code, StatusCode::NOT_FOUND);
    assert_eq!(answer.message(), "restorepoints.apps.kio.kasten.io \"a\" not found");
    assert_eq!(answer.json["reason"], "NotFound");
    assert_eq!(answer.json["details"]["kind"], "restorepoints");
}

#[tokio::test]
async fn a_table_has_the_columns_of_its_kind() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    world.clock.advance(std::time::Duration::from_secs(300));
    let table = world.get_as(POINTS, TABLE).await.json;
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["cells"][1], "5m");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "a");
    let bare = world.get_as(&format!("{POINTS}?includeObject=None"), TABLE).await.json;
    assert_eq!(bare["rows"][0]["object"], Value::Null);
    let single = world.get_as(&format!("{POINTS}/a?includeObject=Object"), TABLE).await.json;
    assert_eq!(single["rows"][0]["object"]["spec"]["restorePointContentRef"]["name"], "a-content");
}

#[tokio::test]
async fn metadata_clients_get_metadata_alone() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    let single = world.get_as(&format!("{POINTS}/a"), PARTIAL).await.json;
    assert_eq!((&single["kind"], &single["spec"]), (&json!("PartialObjectMetadata"), &Value::Null));
    let list = world.get_as(ALL_POINTS, PARTIAL_LIST).await.json;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(list["items"][0]["metadata"]["uid"], "uid-a");
}

#[tokio::test]
async fn a_client_without_json_is_told_what_there_is() {
    let world = World::start().await;
    let answer = world.get_as(POINTS, "application/vnd.kubernetes.protobuf").await;
    assert_eq!((answer.code, &answer.json["reason"]), (StatusCode::NOT_ACCEPTABLE, &json!("NotAcceptable")));
}

#[tokio::test]
async fn pages_bear_the_version_of_the_first() {
    let world = World::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        world.put("shop", name, &[], bound());
    }
    let first = world.get(&format!("{POINTS}?limit=2")).await;
    assert_eq!(first.names(), ["a", "b"]);
    assert_eq!(first.json["metadata"]["remainingItemCount"], 3);
    world.put("shop", "d1", &[], bound());
    world.remove("shop", "c");
    let token = first.json["metadata"]["continue"].as_str().unwrap();
    let second = world.get(&format!("{POINTS}?limit=2&continue={token}")).await;
    assert_eq!(second.names(), ["d", "d1"]);
    assert_eq!(second.version(), first.version());
    let token = second.json["metadata"]["continue"].as_str().unwrap();
    let last = world.get(&format!("{POINTS}?limit=2&continue={token}")).await;
    assert_eq!(last.names(), ["e"]);
    assert_eq!(last.version(), first.version());
    assert_eq!(last.json["metadata"].get("continue"), None);
    let mut events = world.watch(&format!("{POINTS}?watch=1&resourceVersion={}", first.version())).await;
    assert_eq!(events.line().await, "ADDED shop/d1");
    assert_eq!(events.line().await, "DELETED shop/c");
}

/// The second page was of another version than the first, under its number.
#[tokio::test]
async fn each_page_of_an_exact_version_is_of_that_version_or_expired() {
    let world = World::start().await;
    for name in ["a", "b", "c"] {
        world.put("shop", name, &[], bound());
    }
    let head = world.get(POINTS).await.version().to_owned();
    let exact = format!("{POINTS}?limit=1&resourceVersion={head}&resourceVersionMatch=Exact");
    let first = world.get(&exact).await;
    let token = first.json["metadata"]["continue"].as_str().unwrap();
    world.put("other", "elsewhere", &[], bound());
    let second = world.get(&format!("{POINTS}?limit=1&continue={token}")).await;
    assert_eq!(
        (second.names(), second.version()),
        (vec!["b"], &*head),
        "what lies elsewhere changes nothing"
    );
    let token = second.json["metadata"]["continue"].as_str().unwrap();
    world.put("shop", "d", &[], bound());
    let third = world.get(&format!("{POINTS}?limit=1&continue={token}")).await;
    assert_eq!((third.code, &third.json["reason"]), (StatusCode::GONE, &json!("Expired")));
    assert!(third.message().contains(&head), "{}", third.message());
}

/// There is no status any more to say it with: the connection breaks, and the client asks again.
#[tokio::test]
async fn a_whole_list_of_an_exact_version_breaks_off_where_the_version_ends() {
    let world = World::start().await;
    let rows = (0..=crate::limits::PAGE_ROWS)
        .map(|number| world.row(points(), "shop", &format!("p{number:05}"), &[], bound()));
    let changes = rows.map(keelson_catalog::Change::put).collect();
    world.database().commit(&keelson_catalog::Actor::new("test"), changes).unwrap();
    let head = world.database().head().revision;
    for (what, is_whole) in [("nothing changed", true), ("a row was added", false)] {
        let path = format!("{POINTS}?resourceVersion={head}&resourceVersionMatch=Exact");
        let response = world.respond(Method::GET, &path, &[], "", Some(alice())).await;
        assert_eq!(response.status(), StatusCode::OK);
        if !is_whole {
            world.put("shop", "q", &[], bound());
        }
        let whole = http_body_util::BodyExt::collect(response.into_body()).await;
        assert_eq!(whole.is_ok(), is_whole, "{what}");
    }
}

#[tokio::test]
async fn a_version_is_not_named_again_when_a_list_goes_on() {
    let world = World::start().await;
    for name in ["a", "b"] {
        world.put("shop", name, &[], bound());
    }
    let first = world.get(&format!("{POINTS}?limit=1")).await;
    let (head, token) = (first.version(), first.json["metadata"]["continue"].as_str().unwrap());
    let again = format!("{POINTS}?limit=1&continue={token}&resourceVersion={head}");
    let refused = world.get(&again).await;
    assert_eq!(refused.code, StatusCode::BAD_REQUEST);
    assert_eq!(refused.message(), "specifying resource version is not allowed when using continue");
    let exact = world.get(&format!("{again}&resourceVersionMatch=Exact")).await;
    assert_eq!(exact.code, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(exact.message().contains("resourceVersionMatch is forbidden when continue is provided"));
    let any = world.get(&format!("{POINTS}?limit=1&continue={token}&resourceVersion=0")).await;
    assert_eq!(any.names(), ["b"], "0 is any version");
}

#[tokio::test]
async fn a_list_longer_than_a_page_comes_whole() {
    let world = World::start().await;
    let count = crate::limits::PAGE_ROWS + 7;
    let rows = (0..count).map(|number| world.row(points(), "shop", &format!("p{number:05}"), &[], bound()));
    let changes = rows.map(keelson_catalog::Change::put).collect();
    world.database().commit(&keelson_catalog::Actor::new("test"), changes).unwrap();
    let answer = world.get(POINTS).await;
    assert_eq!(answer.names().len(), count);
    assert!(answer.names().is_sorted());
    let table = world.get_as(POINTS, TABLE).await.json;
    assert_eq!(table["rows"].as_array().unwrap().len(), count);
}

#[tokio::test]
async fn selectors_choose_among_objects() {
    let world = World::start().await;
    world.put("shop", "a", &[("tier", "web")], bound());
    world.put("shop", "b", &[("tier", "db")], json!({"state": "Unbound"}));
    world.put("other", "a", &[("tier", "web")], bound());
    for (query, expected) in [
        ("?labelSelector=tier%3Dweb", vec!["a"]),
        ("?labelSelector=tier%20in%20(web,db)", vec!["a", "b"]),
        ("?labelSelector=!tier", vec![]),
        ("?fieldSelector=metadata.name%3Db", vec!["b"]),
        ("?fieldSelector=metadata.name%3Db&labelSelector=tier%3Dweb", vec![]),
        ("?fieldSelector=status.state%3DUnbound", vec!["b"]),
        ("?fieldSelector=status.state!%3DUnbound&limit=5", vec!["a"]),
    ] {
        assert_eq!(world.get(&format!("{POINTS}{query}")).await.names(), expected, "{query}");
    }
    let everywhere = format!("{ALL_POINTS}?fieldSelector=metadata.name%3Da,metadata.namespace%3Dother");
    assert_eq!(world.get(&everywhere).await.names(), ["a"]);
    let unknown = world.get(&format!("{POINTS}?fieldSelector=spec.x%3D1")).await;
    assert_eq!(unknown.code, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn versions_are_answered_as_reflectors_expect() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    let head = world.get(POINTS).await.version().to_owned();
    let ahead: u64 = head.parse::<u64>().unwrap() + 5;
    let old = 3;
    for (query, code) in [
        ("?resourceVersion=0".to_owned(), StatusCode::OK),
        (format!("?resourceVersion={head}"), StatusCode::OK),
        (format!("?resourceVersion={head}&resourceVersionMatch=Exact"), StatusCode::OK),
        (format!("?resourceVersion={ahead}"), StatusCode::GATEWAY_TIMEOUT),
        (format!("?resourceVersion={old}"), StatusCode::GONE),
        (format!("?watch=1&resourceVersion={old}"), StatusCode::GONE),
        (format!("?watch=1&resourceVersion={ahead}"), StatusCode::GATEWAY_TIMEOUT),
        ("?resourceVersion=abc".to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(world.get(&format!("{POINTS}{query}")).await.code, code, "{query}");
    }
    let too_large = world.get(&format!("{POINTS}?resourceVersion={ahead}")).await;
    assert_eq!(too_large.json["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert!(too_large.headers.contains_key(http::header::RETRY_AFTER));
    world.put("shop", "b", &[], bound());
    for query in ["&resourceVersionMatch=Exact", "&limit=5"] {
        let exact = world.get(&format!("{POINTS}?resourceVersion={head}{query}")).await;
        assert_eq!((exact.code, &exact.json["reason"]), (StatusCode::GONE, &json!("Expired")), "{query}");
    }
    assert_eq!(world.get(&format!("{POINTS}?resourceVersion={head}")).await.names(), ["a", "b"]);
}

/// It made every list and watch of its kind fail, and with them the controllers that follow all kinds.
#[tokio::test]
async fn an_object_that_cannot_be_read_is_shown_among_others_by_its_metadata() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    let mut row = world.row(points(), "shop", "b", &[("tier", "web")], bound());
    row.body = b"{\"spec\": [".to_vec();
    world.put_row(row);
    let list = world.get(POINTS).await;
    assert_eq!(list.names(), ["a", "b"]);
    let unreadable = &list.json["items"][1];
    assert_eq!((&unreadable["metadata"]["labels"]["tier"], unreadable.get("spec")), (&json!("web"), None));
    assert_eq!(world.get_as(POINTS, TABLE).await.json["rows"].as_array().unwrap().len(), 2);
    let mut events = world.watch(&format!("{POINTS}?watch=1")).await;
    assert_eq!((events.line().await, events.line().await), ("ADDED shop/a".into(), "ADDED shop/b".into()));
    assert_eq!(world.get(&format!("{POINTS}/b")).await.code, StatusCode::INTERNAL_SERVER_ERROR);
    let metadata = world.get_as(&format!("{POINTS}/b"), PARTIAL).await;
    assert_eq!((metadata.code, &metadata.json["metadata"]["name"]), (StatusCode::OK, &json!("b")));
}

#[tokio::test]
async fn a_page_of_large_objects_is_short_and_none_is_missing() {
    let world = World::start().await;
    let large = json!({"state": "Bound", "note": "x".repeat(300 << 10)});
    let names: Vec<_> = (10..40).map(|number| format!("p{number}")).collect();
    for name in &names {
        world.put("shop", name, &[], large.clone());
    }
    assert_eq!(world.get(POINTS).await.names(), names);
    let (mut query, mut seen) = ("?limit=25".to_owned(), Vec::new());
    loop {
        let page = world.get(&format!("{POINTS}{query}")).await;
        assert!(!page.names().is_empty() && page.names().len() < 25, "{}", page.names().len());
        seen.extend(page.names().into_iter().map(str::to_owned));
        let left = page.json["metadata"].get("remainingItemCount").and_then(Value::as_u64);
        assert!(left.is_none_or(|left| left as usize == names.len() - seen.len()), "{left:?}");
        let Some(token) = page.json["metadata"]["continue"].as_str() else { break };
        query = format!("?limit=25&continue={token}");
    }
    assert_eq!(seen, names);
}

#[tokio::test]
async fn large_answers_are_compressed_where_the_client_takes_that_and_watches_never() {
    let world = World::start().await;
    let large = json!({"state": "Bound", "note": "x".repeat(1 << 10)});
    let names: Vec<_> = (0..2_500).map(|number| format!("p{number:04}")).collect();
    world.put_many("shop", &names, &large);
    let gzip = [("accept-encoding", "gzip")];
    let encoding =
        |answer: &Answer| answer.headers.get("content-encoding").map(|value| value.as_bytes().to_vec());
    for (query, is_compressed) in [("", true), ("?limit=300", true), ("?limit=10", false)] {
        let path = format!("{POINTS}{query}");
        let plain = world.send(Method::GET, &path, &[], "").await;
        let packed = world.send(Method::GET, &path, &gzip, "").await;
        assert_eq!(encoding(&plain), None);
        assert_eq!(encoding(&packed).as_deref() == Some(b"gzip"), is_compressed, "{query}");
        let unpacked = if is_compressed { unpack(&packed.bytes) } else { packed.bytes.to_vec() };
        assert!(unpacked == plain.bytes, "{query}");
        assert!(!is_compressed || packed.bytes.len() < plain.bytes.len() / 4, "{query}");
        assert!(
            packed.headers.get_all("vary").iter().any(|name| name == "accept-encoding") || !is_compressed
        );
    }
    let watch = world.respond(Method::GET, &format!("{POINTS}?watch=1"), &gzip, "", Some(alice())).await;
    assert!(watch.headers().get("content-encoding").is_none());
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut unpacked).unwrap();
    unpacked
}

/// Nothing bounded how many were built, each as large as what was captured.
#[tokio::test(start_paused = true)]
async fn who_takes_no_details_waits_for_his_turn_like_who_takes_no_lists() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    let path = format!("{POINTS}/a/details");
    let mut untaken = Vec::new();
    for _ in 0..DETAILS.each {
        untaken.push(world.respond(Method::GET, &path, &[], "", Some(alice())).await);
    }
    assert!(untaken.iter().all(|answer| answer.status() == StatusCode::OK));
    let answer = world.get(&path).await;
    assert_eq!(
        (answer.code, answer.headers.contains_key("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, true)
    );
    let bob = user("bob");
    let other = world.respond(Method::GET, &path, &[], "", Some(bob)).await;
    assert_eq!(other.status(), StatusCode::OK);
    drop(untaken);
    assert_eq!(world.get(&path).await.code, StatusCode::OK);
}
