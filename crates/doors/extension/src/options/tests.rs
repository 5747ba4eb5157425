//! Which parameters are taken, and how they are read.

use keelson_model::{Generation, Sequence};

use super::*;

fn read(query: &str) -> Result<ReadOptions, Refusal> {
    let kind = keelson_resources::find_kind("apps.kio.kasten.io", "applications").expect("a kind of ours");
    ReadOptions::parse(kind, &format!("/apis?{query}").parse().expect("a test's own query"))
}

fn watch_start(query: &str) -> Result<WatchStart, Refusal> {
    match read(&format!("watch=1&{query}"))? {
        ReadOptions::Watch(options) => Ok(options.start),
        ReadOptions::List(_) => panic!("'{query}' is a watch"),
    }
}

fn list(query: &str) -> Result<ListOptions, Refusal> {
    match read(query)? {
        ReadOptions::List(options) => Ok(options),
        ReadOptions::Watch(_) => panic!("'{query}' is a list"),
    }
}

#[test]
fn a_watch_begins_where_kubernetes_says() {
    let seven = Revision::new(Generation(0), Sequence(7));
    let unmarked = |not_older_than| WatchStart::Initial { not_older_than, end: InitialEnd::Unmarked };
    for (query, expected) in [
        ("", unmarked(None)),
        ("resourceVersion=0", unmarked(None)),
        ("resourceVersion=7", WatchStart::After(seven)),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", unmarked(None)),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=7", unmarked(Some(seven))),
        (
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            WatchStart::Initial { not_older_than: None, end: InitialEnd::Marked },
        ),
        ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", WatchStart::Now),
        (
            "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=7",
            WatchStart::After(seven),
        ),
    ] {
        assert_eq!(watch_start(query).ok(), Some(expected), "{query}");
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for query in [
        "watch=1&sendInitialEvents=true",
        "watch=1&resourceVersionMatch=NotOlderThan",
        "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
        "watch=1&limit=5",
        "watch=1&continue=x",
        "sendInitialEvents=true",
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Exact&resourceVersion=0",
        "resourceVersionMatch=Newest&resourceVersion=1",
        "includeObject=Some",
    ] {
        let refusal = read(query).expect_err(query);
        assert_eq!(refusal.code(), http::StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
}

#[test]
fn a_selector_over_an_unknown_field_is_refused_by_its_name() {
    let refusal = list("fieldSelector=spec.foo%3Dbar").unwrap_err();
    assert_eq!(refusal.code(), http::StatusCode::BAD_REQUEST);
    assert_eq!(refusal.message(), "field label not supported: spec.foo");
    assert!(list("labelSelector=a%20b").is_err());
}

#[test]
fn a_list_of_any_version_is_the_latest() {
    assert_eq!(list("resourceVersion=0").unwrap().freshness, Freshness::Latest);
    assert_eq!(list("limit=0").unwrap().limit, None);
    let version = Revision::new(Generation(1), Sequence(7));
    let of_version = |limit: u8| list(&format!("limit={limit}&resourceVersion={version}")).unwrap().freshness;
    assert_eq!(of_version(5), Freshness::Exactly(version));
    assert_eq!(of_version(0), Freshness::NotOlderThan(version), "no limit is no page");
    assert_eq!(list("limit=5&timeoutSeconds=30").unwrap().limit, Some(5));
}

#[test]
fn create_options_know_three_ways_to_validate() {
    let parse = |query: &str| {
        WriteOptions::parse("CreateOptions", &format!("/apis?{query}").parse().expect("a query"))
    };
    assert_eq!(parse("").unwrap().validation, FieldValidation::Warn);
    let kubectl = parse("fieldManager=kubectl-create&fieldValidation=Strict&dryRun=All").unwrap();
    assert_eq!((kubectl.validation, kubectl.dry_run), (FieldValidation::Strict, true));
    assert!(parse("fieldValidation=Maybe").is_err());
    assert!(parse("dryRun=Some").is_err());
}
