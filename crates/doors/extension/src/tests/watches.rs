//! Watching: where a watch begins, what it shows, how it ends.

use std::time::Duration;

use http::{Method, StatusCode};
use keelson_catalog::{Actor, Change};
use keelson_model::{Generation, Sequence};
use keelson_resources::find_kind;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::harness::{ALL_POINTS, POINTS, World, points, user};
use crate::limits::{LOOK_INTERVAL, WATCHES};

const WATCH_LIST: &str =
    "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
const END: &str = "k8s.io/initial-events-end";

fn bound() -> Value {
    json!({"state": "Bound"})
}

/// Writes an action, which is not what most watches here are of.
fn put_backup(world: &World, name: &str) {
    let backups = find_kind("actions.kio.kasten.io", "backupactions").expect("a kind of ours");
    world.put_row(world.row(backups, "shop", name, &[], json!({"state": "Complete"})));
}

#[tokio::test]
async fn a_watch_from_a_version_replays_what_happened_since() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    let version = world.get(POINTS).await.version().to_owned();
    world.put("shop", "a", &[("x", "1")], bound());
    world.put("other", "b", &[], bound());
    world.remove("shop", "a");
    let mut events = world.watch(&format!("{POINTS}?watch=1&resourceVersion={version}")).await;
    assert_eq!(events.line().await, "MODIFIED shop/a");
    assert_eq!(events.line().await, "DELETED shop/a");
    world.put("shop", "c", &[], bound());
    assert_eq!(events.line().await, "ADDED shop/c");
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_all_objects() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    world.put("other", "b", &[], bound());
    for query in ["?watch=1", "?watch=1&resourceVersion=0"] {
        let mut events = world.watch(&format!("{ALL_POINTS}{query}")).await;
        assert_eq!(events.line().await, "ADDED other/b");
        assert_eq!(events.line().await, "ADDED shop/a");
    }
}

#[tokio::test]
async fn the_end_of_the_initial_objects_is_marked_by_a_bookmark() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    let head = world.get(POINTS).await.version().to_owned();
    let mut events = world.watch(&format!("{POINTS}{WATCH_LIST}")).await;
    assert_eq!(events.line().await, "ADDED shop/a");
    let mark = events.next().await.unwrap();
    assert_eq!((&mark["type"], &mark["object"]["kind"]), (&json!("BOOKMARK"), &json!("RestorePoint")));
    assert_eq!(mark["object"]["metadata"]["annotations"][END], "true");
    assert_eq!(mark["object"]["metadata"]["resourceVersion"], head);
    world.put("shop", "b", &[], bound());
    assert_eq!(events.line().await, "ADDED shop/b");
}

/// They were counted to the moment at which the watch began: whatever was made later was `<invalid>`.
#[tokio::test]
async fn ages_in_a_watched_table_are_those_of_the_moment_of_each_event() {
    let world = World::start().await;
    let accept = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let mut events = world.watch_as(&format!("{POINTS}?watch=1"), accept).await;
    world.clock.advance(Duration::from_secs(300));
    world.put("shop", "a", &[], bound());
    let event = events.next().await.unwrap();
    let columns = event["object"]["columnDefinitions"].as_array().unwrap();
    let age = columns.iter().position(|column| column["name"] == "Age").unwrap();
    assert_eq!(event["object"]["rows"][0]["cells"][age], "0s");
}

#[tokio::test]
async fn an_empty_kind_is_marked_at_once() {
    let world = World::start().await;
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let mut events = world.watch_as(&format!("{ALL_POINTS}{WATCH_LIST}"), accept).await;
    let mark = events.next().await.unwrap();
    assert_eq!(mark["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(mark["object"]["metadata"]["annotations"][END], "true");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_tell_a_silent_watch_how_far_it_is() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    let version = world.get(POINTS).await.version().to_owned();
    let mut events =
        world.watch(&format!("{POINTS}?watch=1&allowWatchBookmarks=true&resourceVersion={version}")).await;
    world.put("other", "b", &[], bound());
    world.settled().await;
    let bookmark = events.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], world.get(ALL_POINTS).await.version());
    assert_eq!(bookmark["object"]["metadata"].get("annotations"), None);
}

/// Commits of other kinds do not wake it, so it has to look by itself.
#[tokio::test(start_paused = true)]
async fn a_bookmark_tells_how_far_a_watch_is_whose_kind_is_silent() {
    let world = World::start().await;
    let version = world.get(POINTS).await.version().to_owned();
    let watch = format!("{POINTS}?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
    let mut events = world.watch(&watch).await;
    let woken = world.platform.commits_of(points());
    put_backup(&world, "b");
    world.settled().await;
    assert!(!woken.has_changed().unwrap(), "a commit of another kind");
    for _ in 0..2 {
        let bookmark = events.next().await.unwrap();
        assert_eq!(bookmark["type"], "BOOKMARK");
        let now = world.get(ALL_POINTS).await.version().to_owned();
        assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], now);
        put_backup(&world, "c");
        world.settled().await;
    }
}

/// The journal may not reach back to where it was woken last.
#[tokio::test(start_paused = true)]
async fn a_watch_whose_kind_is_silent_goes_on_when_the_journal_is_cut() {
    let world = World::start().await;
    let version = world.get(POINTS).await.version().to_owned();
    let mut events = world.watch(&format!("{POINTS}?watch=1&resourceVersion={version}")).await;
    for name in ["b", "c", "d"] {
        put_backup(&world, name);
    }
    world.settled().await;
    let silent = timeout(LOOK_INTERVAL + Duration::from_secs(1), events.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    world.database().cut_prefix(Sequence::MAX).unwrap();
    for name in ["a", "z"] {
        world.put("shop", name, &[], bound());
    }
    assert_eq!(events.line().await, "ADDED shop/a");
    assert_eq!(events.line().await, "ADDED shop/z");
}

/// Nothing happens to its kind, and so nothing but the generation wakes it.
#[tokio::test(start_paused = true)]
async fn a_watch_ends_as_expired_when_a_generation_begins() {
    let world = World::start().await;
    let version = world.get(POINTS).await.version().to_owned();
    let mut events = world.watch(&format!("{POINTS}?watch=1&resourceVersion={version}")).await;
    world.database().open_generation(Generation(9), &Actor::new("test")).unwrap();
    let told = timeout(Duration::from_secs(1), events.next()).await;
    let error = told.expect("it does not wait until it looks").unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn an_object_never_goes_back_in_time() {
    let world = World::start().await;
    let names: Vec<String> = (0..=crate::limits::PAGE_ROWS).map(|number| format!("p{number:05}")).collect();
    let rows = names.iter().map(|name| world.row(points(), "shop", name, &[], bound()));
    let changes = rows.map(Change::put).collect();
    world.database().commit(&Actor::new("test"), changes).unwrap();
    // The first page is read as the watch begins; the second shows what has happened to its rows since.
    let mut events = world.watch(&format!("{POINTS}{WATCH_LIST}")).await;
    let last = names.last().unwrap();
    world.put("shop", last, &[("seen", "first")], bound());
    world.put("shop", last, &[("seen", "second")], bound());
    world.put("shop", "q", &[], bound());
    for name in &names {
        assert_eq!(events.line().await, format!("ADDED shop/{name}"));
    }
    assert_eq!(events.line().await, "ADDED shop/q");
    assert_eq!(events.next().await.unwrap()["type"], "BOOKMARK");
    world.put("shop", "r", &[], bound());
    assert_eq!(events.line().await, "ADDED shop/r");
}

#[tokio::test]
async fn an_object_that_leaves_the_selector_is_deleted_for_the_client() {
    let world = World::start().await;
    world.put("shop", "a", &[("tier", "web")], bound());
    let version = world.get(POINTS).await.version().to_owned();
    let mut events =
        world.watch(&format!("{POINTS}?watch=1&labelSelector=tier%3Dweb&resourceVersion={version}")).await;
    world.put("shop", "a", &[("tier", "db")], bound());
    assert_eq!(events.line().await, "DELETED shop/a");
    world.put("shop", "a", &[("tier", "db")], json!({"state": "Unbound"}));
    world.put("shop", "a", &[("tier", "web")], bound());
    assert_eq!(events.line().await, "ADDED shop/a");
    world.put("shop", "a", &[("tier", "web")], json!({"state": "Unbound"}));
    assert_eq!(events.line().await, "MODIFIED shop/a");
}

#[tokio::test]
async fn a_field_that_changes_moves_objects_in_and_out_of_view() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    world.put("shop", "b", &[], json!({"state": "Unbound"}));
    let mut events = world.watch(&format!("{POINTS}?watch=1&fieldSelector=status.state%3DBound")).await;
    assert_eq!(events.line().await, "ADDED shop/a");
    world.put("shop", "b", &[("still", "unbound")], json!({"state": "Unbound"}));
    world.put("shop", "b", &[], bound());
    assert_eq!(events.line().await, "ADDED shop/b");
    world.put("shop", "a", &[], json!({"state": "Unbound"}));
    assert_eq!(events.line().await, "DELETED shop/a");
}

/// An object that was out of view and stays there is no news to a client who saw it all from the start.
#[tokio::test]
async fn an_object_out_of_view_is_silent() {
    let world = World::start().await;
    world.put("shop", "b", &[], json!({"state": "Unbound"}));
    let from_start = format!("{POINTS}?watch=1&fieldSelector=status.state%3DBound");
    let version = world.get(POINTS).await.version().to_owned();
    let mut whole = world.watch(&from_start).await;
    let mut later = world.watch(&format!("{from_start}&resourceVersion={version}")).await;
    for step in ["one", "two"] {
        world.put("shop", "b", &[("step", step)], json!({"state": "Unbound"}));
    }
    world.put("shop", "c", &[], bound());
    assert_eq!(whole.line().await, "ADDED shop/c");
    assert_eq!(later.line().await, "DELETED shop/b", "it may have been in view at that version");
    assert_eq!(later.line().await, "ADDED shop/c");
}

#[tokio::test]
async fn a_watched_table_tells_its_columns_once() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    world.put("shop", "b", &[], bound());
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut events = world.watch_as(&format!("{POINTS}?watch=1"), accept).await;
    let first = events.next().await.unwrap();
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(first["object"]["rows"][0]["object"]["metadata"]["name"], "a");
    let second = events.next().await.unwrap();
    assert_eq!(second["object"]["columnDefinitions"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_at_its_timeout_and_with_the_server() {
    let world = World::start().await;
    let mut timed = world.watch(&format!("{POINTS}?watch=1&timeoutSeconds=5")).await;
    assert_eq!(timed.next().await, None);
    let longest = i64::MAX;
    let mut endless = world.watch(&format!("{POINTS}?watch=1&timeoutSeconds={longest}")).await;
    world.shutdown.cancel();
    assert_eq!(endless.next().await, None);
}

/// A client that was told nothing for a while went on from where its last object stood, or listed everything anew.
#[tokio::test(start_paused = true)]
async fn the_last_word_of_a_watch_is_how_far_it_has_come() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    let version = world.get(POINTS).await.version().to_owned();
    let watch = format!("{POINTS}?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
    let mut timed = world.watch(&format!("{watch}&timeoutSeconds=5")).await;
    let mut silent = world.watch(&format!("{POINTS}?watch=1&resourceVersion={version}")).await;
    let mut stopped = world.watch(&watch).await;
    world.put("other", "b", &[], bound());
    world.settled().await;
    let now = world.get(ALL_POINTS).await.version().to_owned();
    for events in [&mut timed, &mut stopped] {
        let last = events.next().await.unwrap();
        assert_eq!(
            (&last["type"], &last["object"]["metadata"]["resourceVersion"]),
            (&json!("BOOKMARK"), &json!(now))
        );
        assert!(events.next().await.is_none());
        world.shutdown.cancel();
    }
    assert!(silent.next().await.is_none(), "who takes no bookmarks gets none");
}

#[tokio::test]
async fn a_watch_that_cannot_go_on_says_so_and_ends() {
    let world = World::start().await;
    let mut events = world.watch(&format!("{POINTS}?watch=1&allowWatchBookmarks=true")).await;
    for name in ["a", "b", "c"] {
        world.put("shop", name, &[], bound());
    }
    world.database().cut_prefix(Sequence::MAX).unwrap();
    let error = events.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(events.next().await, None);
}

/// A thousand large objects were one piece, held for each client that took nothing.
#[tokio::test]
async fn a_watch_holds_little_of_what_its_client_does_not_take() {
    check_pieces(|world, name, filler| {
        let large = json!({"state": "Bound", "note": filler.repeat(20 << 10)});
        world.put("shop", name, &[], large);
    })
    .await;
}

#[tokio::test]
async fn a_watch_holds_little_of_objects_with_many_labels() {
    let keys: Vec<_> = (0..60).map(|number| format!("{number:0>250}/key")).collect();
    check_pieces(move |world, name, filler| {
        let value = filler.repeat(60);
        let labels: Vec<_> = keys.iter().map(|key| (key.as_str(), value.as_str())).collect();
        world.put("shop", name, &labels, bound());
    })
    .await;
}

/// Some objects are written, and written again, each time with another filler of one letter.
async fn check_pieces(put: impl Fn(&World, &str, &str)) {
    let world = World::start().await;
    let put_all = |filler: &str| (10..40).for_each(|number| put(&world, &format!("p{number}"), filler));
    put_all("x");
    let version = world.get(POINTS).await.version().to_owned();
    put_all("y");
    for query in ["?watch=1".to_owned(), format!("?watch=1&resourceVersion={version}")] {
        let mut events = world.watch(&format!("{POINTS}{query}")).await;
        for number in 10..40 {
            assert!(events.line().await.ends_with(&format!("shop/p{number}")));
        }
        assert!(events.largest <= 128 << 10, "{} bytes in one piece", events.largest);
    }
}

#[tokio::test]
async fn a_tenant_who_watches_all_that_he_may_leaves_enough_to_the_controllers() {
    let world = World::start().await;
    let watch = format!("{POINTS}?watch=1");
    let ask = |name: &'static str| world.respond(Method::GET, &watch, &[], "", Some(user(name)));
    let mut held = Vec::new();
    let refused = loop {
        let response = ask("system:serviceaccount:shop:default").await;
        match response.status() {
            StatusCode::OK => held.push(response),
            refused => break (refused, response.headers().contains_key(http::header::RETRY_AFTER)),
        }
    };
    assert_eq!((held.len(), refused), (WATCHES.each, (StatusCode::TOO_MANY_REQUESTS, true)));
    for name in ["alice", "system:kube-controller-manager"] {
        assert_eq!(ask(name).await.status(), StatusCode::OK, "{name}");
    }
    drop(held);
    assert_eq!(ask("system:serviceaccount:shop:other").await.status(), StatusCode::OK);
}
