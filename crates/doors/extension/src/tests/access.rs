//! Who may do what, and how paths are read.

use http::{Method, StatusCode};
use serde_json::json;

use super::harness::{ALL_POINTS, BACKUPS, POINTS, World};

#[tokio::test]
async fn data_needs_a_requester() {
    let world = World::start().await;
    for (method, path) in [
        (Method::GET, POINTS),
        (Method::GET, ALL_POINTS),
        (Method::POST, POINTS),
        (Method::DELETE, POINTS),
        (Method::GET, "/nowhere"),
    ] {
        let headers = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];
        let response = world.respond(method.clone(), path, &headers, "", None).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}

#[tokio::test]
async fn a_path_that_could_be_read_in_two_ways_is_not_found() {
    let world = World::start().await;
    world.put("shop", "a", &[], json!({}));
    for path in [
        "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop/restorepoints/%61",
        "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop%2Frestorepoints/a",
        "/apis/apps.kio.kasten.io/v1alpha1/namespaces//restorepoints/a",
        "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop//restorepoints/a",
        "/apis/apps.kio.kasten.io/v1alpha1/namespaces/../restorepoints/a",
        "/apis/apps.kio.kasten.io/v1alpha1/namespaces/SHOP/restorepoints/a",
        "/apis/apps.kio.kasten.io/v1alpha1/restorepoints/a",
        "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop/restorepointcontents",
        "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop/restorepoints/a/status",
        "/apis/apps.kio.kasten.io/v1alpha1/watch/namespaces/shop/restorepoints",
        "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop",
        "/apis/actions.kio.kasten.io/v1alpha1/namespaces/shop/restorepoints",
    ] {
        assert_eq!(world.get(path).await.code, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(world.get(&format!("{POINTS}/a/")).await.code, StatusCode::OK);
}

#[tokio::test]
async fn objects_cannot_be_changed() {
    let world = World::start().await;
    world.put("shop", "a", &[], json!({}));
    for method in [Method::PUT, Method::PATCH] {
        let answer = world.send(method, &format!("{POINTS}/a"), &[], "{}").await;
        assert_eq!(answer.code, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(
            answer.message(),
            "restorepoints.apps.kio.kasten.io cannot be changed once created: delete the object and create another"
        );
    }
}

#[tokio::test]
async fn a_kind_has_the_verbs_it_declares() {
    let world = World::start().await;
    let applications = "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop/applications";
    let contents = "/apis/apps.kio.kasten.io/v1alpha1/restorepointcontents";
    for (method, path) in [
        (Method::POST, applications),
        (Method::DELETE, applications),
        (Method::POST, contents),
        (Method::POST, ALL_POINTS),
        (Method::DELETE, ALL_POINTS),
        (Method::POST, "/apis"),
    ] {
        let answer = world.send(method.clone(), path, &[], "{}").await;
        assert_eq!(answer.code, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
}

#[tokio::test]
async fn what_a_spec_refers_to_is_reviewed_for_the_requester() {
    let world = World::start().await;
    world.believe().denied.push("applications");
    let action = json!({
        "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "BackupAction", "metadata": {"name": "b"},
        "spec": {"subject": {"name": "shop", "namespace": "shop"}},
    });
    let denied = world.post(BACKUPS, &action).await;
    assert_eq!((denied.code, &denied.json["reason"]), (StatusCode::FORBIDDEN, &json!("Forbidden")));
    assert!(
        denied.message().contains("User \"alice\" cannot get resource \"applications\""),
        "{}",
        denied.message()
    );
    let review = world.believe().reviews.pop().unwrap();
    assert_eq!((&review["user"], &review["uid"]), (&json!("alice"), &json!("u-1")));
    assert_eq!(review["resourceAttributes"]["namespace"], "shop");
    // A denial is asked again at once, a grant is kept for a moment.
    world.believe().denied.clear();
    assert_eq!(world.post(BACKUPS, &action).await.code, StatusCode::CREATED);
    let asked = world.believe().reviews.len();
    let mut again = action.clone();
    again["metadata"]["name"] = json!("c");
    assert_eq!(world.post(BACKUPS, &again).await.code, StatusCode::CREATED);
    assert_eq!(world.believe().reviews.len(), asked);
    world.clock.advance(crate::limits::REVIEW_TTL);
    again["metadata"]["name"] = json!("d");
    assert_eq!(world.post(BACKUPS, &again).await.code, StatusCode::CREATED);
    assert_eq!(world.believe().reviews.len(), asked + 1);
}
