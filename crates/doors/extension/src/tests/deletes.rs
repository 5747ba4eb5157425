//! Deleting one object and whole collections.

use http::StatusCode;
use serde_json::{Value, json};

use super::harness::{POINTS, World};

fn bound() -> Value {
    json!({"state": "Bound"})
}

#[tokio::test]
async fn a_deleted_object_is_gone_at_once() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    let body = r#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Foreground"}"#;
    let answer = world.delete(&format!("{POINTS}/a"), body).await;
    assert_eq!((answer.code, &answer.json["status"]), (StatusCode::OK, &json!("Success")));
    assert_eq!(answer.json["details"]["uid"], "uid-a");
    assert_eq!(world.get(&format!("{POINTS}/a")).await.code, StatusCode::NOT_FOUND);
    assert_eq!(world.delete(&format!("{POINTS}/a"), "").await.code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn preconditions_protect_another_object_of_the_same_name() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    for preconditions in [r#"{"uid":"another"}"#, r#"{"resourceVersion":"1"}"#] {
        let body = format!(r#"{{"preconditions":{preconditions}}}"#);
        let answer = world.delete(&format!("{POINTS}/a"), &body).await;
        assert_eq!((answer.code, &answer.json["reason"]), (StatusCode::CONFLICT, &json!("Conflict")));
    }
    let answer = world.delete(&format!("{POINTS}/a"), r#"{"preconditions":{"uid":"uid-a"}}"#).await;
    assert_eq!(answer.code, StatusCode::OK);
}

#[tokio::test]
async fn a_dry_run_deletes_nothing() {
    let world = World::start().await;
    world.put("shop", "a", &[], bound());
    assert_eq!(world.delete(&format!("{POINTS}/a?dryRun=All"), "").await.code, StatusCode::OK);
    assert_eq!(world.delete(&format!("{POINTS}?dryRun=All"), "").await.code, StatusCode::OK);
    assert_eq!(world.get(POINTS).await.names(), ["a"]);
}

#[tokio::test]
async fn a_collection_is_deleted_in_its_namespace_only() {
    let world = World::start().await;
    for name in ["a", "b", "c"] {
        world.put("shop", name, &[], bound());
    }
    world.put("other", "a", &[], bound());
    let answer = world.delete(POINTS, r#"{"kind":"DeleteOptions","apiVersion":"v1"}"#).await;
    assert_eq!((answer.code, &answer.json["status"]), (StatusCode::OK, &json!("Success")));
    assert!(world.get(POINTS).await.names().is_empty());
    assert_eq!(world.get(&POINTS.replace("shop", "other")).await.names(), ["a"]);
}

#[tokio::test]
async fn a_collection_is_narrowed_by_selectors_and_a_limit() {
    let world = World::start().await;
    world.put("shop", "a", &[("tier", "web")], bound());
    world.put("shop", "b", &[("tier", "db")], bound());
    world.put("shop", "c", &[("tier", "db")], bound());
    world.put("shop", "d", &[("tier", "db")], json!({"state": "Unbound"}));
    let by = |query: &str| format!("{POINTS}?{query}");
    assert_eq!(world.delete(&by("labelSelector=tier%3Ddb&limit=1"), "").await.code, StatusCode::OK);
    assert_eq!(world.get(POINTS).await.names(), ["a", "c", "d"]);
    assert_eq!(world.delete(&by("fieldSelector=status.state%3DUnbound"), "").await.code, StatusCode::OK);
    assert_eq!(world.get(POINTS).await.names(), ["a", "c"]);
    let as_clients_send_it = by("fieldSelector=status.state%3DUnbound&timeoutSeconds=30&resourceVersion=0");
    assert_eq!(world.delete(&as_clients_send_it, "").await.code, StatusCode::OK);
    assert_eq!(world.delete(&by("continue=x"), "").await.code, StatusCode::UNPROCESSABLE_ENTITY);
}

/// It said Success with more left.
#[tokio::test]
async fn a_large_collection_is_deleted_whole() {
    let world = World::start().await;
    let names: Vec<_> = (0..2_500).map(|number| format!("p{number}")).collect();
    world.put_many("shop", &names, &bound());
    assert_eq!(world.delete(POINTS, "").await.code, StatusCode::OK);
    assert!(world.get(POINTS).await.names().is_empty());
}
