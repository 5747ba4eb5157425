//! What the sub-resource details adds to the status of what is protected, and what it says where it cannot tell.

use http::StatusCode;
use keelson_resources::{KindInfo, find_kind};
use serde_json::{Value, json};

use super::harness::{Answering, POINTS, World};

const APPLICATIONS: &str = "/apis/apps.kio.kasten.io/v1alpha1/namespaces";
const CONTENTS: &str = "/apis/apps.kio.kasten.io/v1alpha1/restorepointcontents";

fn kind(plural: &str) -> &'static KindInfo {
    find_kind("apps.kio.kasten.io", plural).unwrap()
}

fn nothing() -> Value {
    json!({"config": [], "network": [], "workloads": [], "customresources": [], "volumes": []})
}

#[tokio::test]
async fn a_restore_point_without_its_content_says_so() {
    let world = World::start().await;
    world.put("shop", "a", &[], json!({"state": "Bound"}));
    let answer = world.get(&format!("{POINTS}/a/details")).await;
    assert_eq!(answer.code, StatusCode::OK);
    let details = json!({
        "artifacts": [], "originatingPolicies": [], "components": nothing(), "objectCounts": {},
        "incomplete": [{"message": "its content 'a-content' is not there"}],
    });
    assert_eq!(answer.json["status"], json!({"state": "Bound", "restorePointDetails": details}));
}

#[tokio::test]
async fn a_restore_point_whose_data_is_lost_tells_what_the_catalog_knows_and_why_no_more() {
    let world = World::start().await;
    world.put("shop", "a", &[], json!({"state": "Bound"}));
    let policy = [("k10.kasten.io/policyName", "nightly")];
    let mut content = world.row(kind("restorepointcontents"), "", "a-content", &policy, Value::Null);
    let artifact = json!({
        "repository": "07".repeat(16), "outcome": "08".repeat(16), "objects": 3, "bytes": 4096, "storedBytes": 1024,
    });
    let body = json!({"status": {"state": "Bound"}, "internal": {"artifact": artifact}});
    content.body = serde_json::to_vec(&body).unwrap();
    world.put_row(content);
    let of_point = world.get(&format!("{POINTS}/a/details")).await;
    let of_content = world.get(&format!("{CONTENTS}/a-content/details")).await;
    for (answer, field) in [(of_point, "restorePointDetails"), (of_content, "restorePointContentDetails")] {
        let details = &answer.json["status"][field];
        assert_eq!((answer.code, &answer.json["status"]["state"]), (StatusCode::OK, &json!("Bound")));
        assert_eq!(details["artifacts"], json!([artifact]), "{field}");
        assert_eq!(details["originatingPolicies"], json!([{"name": "nightly"}]));
        assert_eq!(details["components"], nothing());
        let why = details["incomplete"][0]["message"].as_str().unwrap_or_default();
        assert!(why.contains("no copy of it was shipped; hint: choose an exported restore point"), "{why}");
    }
}

fn application(world: &World, place: &str, name: &str, state: &str) {
    let mut row = world.row(kind("applications"), place, name, &[], Value::Null);
    let body = json!({"spec": {"namespace": {"name": name}}, "status": {"state": state}});
    row.body = serde_json::to_vec(&body).unwrap();
    world.put_row(row);
}

/// A cluster that serves two kinds, and a group whose server does not answer.
fn serve_kinds(world: &World) {
    let resource = |name: &str, kind: &str| {
        json!({
            "resource": name, "responseKind": {"group": "", "version": "v1", "kind": kind},
            "scope": "Namespaced", "verbs": ["create", "list"],
        })
    };
    let resources = [resource("configmaps", "ConfigMap"), resource("services", "Service")];
    let core = json!({"version": "v1", "freshness": "Current", "resources": resources});
    world.answer_with("api", json!({"items": [{"metadata": {"name": ""}, "versions": [core]}]}));
    let away = json!({"version": "v1", "freshness": "Stale", "resources": []});
    world.answer_with(
        "apis",
        json!({"items": [{"metadata": {"name": "away.example.com"}, "versions": [away]}]}),
    );
    let map = |name: &str| {
        json!({
            "metadata": {"name": name, "namespace": "shop", "annotations": {"copy": "hunter2"}},
            "data": {"word": "hunter2"},
        })
    };
    let maps = [map("kube-root-ca.crt"), map("settings")];
    world.answer_with("api/v1/namespaces/shop/configmaps", json!({"metadata": {}, "items": maps}));
    let leaving = json!({"metadata": {"name": "web", "namespace": "shop", "deletionTimestamp": "2026-11-01T00:00:00Z"}});
    world.answer_with("api/v1/namespaces/shop/services", json!({"metadata": {}, "items": [leaving]}));
}

#[tokio::test]
async fn an_application_tells_names_and_kinds_and_nothing_of_what_is_in_them() {
    let world = World::start().await;
    serve_kinds(&world);
    application(&world, "shop", "shop", "Active");
    let answer = world.get(&format!("{APPLICATIONS}/shop/applications/shop/details")).await;
    assert_eq!(answer.code, StatusCode::OK);
    let mut components = nothing();
    components["config"] = json!([{
        "kind": "ConfigMap", "name": "settings", "namespace": "shop", "apiVersion": "v1", "group": "",
        "resource": "configmaps",
    }]);
    let away = json!({
        "resource": "away.example.com/v1",
        "message": "the server behind APIService 'v1.away.example.com' does not answer",
    });
    let details = json!({"components": components, "incomplete": [away]});
    assert_eq!(answer.json["status"], json!({"state": "Active", "appDetails": details}));
}

#[tokio::test]
async fn an_application_that_cannot_be_looked_at_says_why() {
    let world = World::start().await;
    for (place, name, state, why) in [
        ("dying", "dying", "Active", "namespace 'dying' is being deleted"),
        ("vanished", "vanished", "Active", "namespace 'vanished' does not exist"),
        ("shop", "shop", "Active", "read which kinds the cluster serves: "),
        ("kasten-io", "old", "Deleted", "the namespace is gone; "),
    ] {
        application(&world, place, name, state);
        let answer = world.get(&format!("{APPLICATIONS}/{place}/applications/{name}/details")).await;
        let details = &answer.json["status"]["appDetails"];
        let message = details["incomplete"][0]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with(why), "{name}: {}", answer.json);
        assert_eq!((answer.code, &details["components"]), (StatusCode::OK, &nothing()), "{name}");
    }
}

/// Each of them may hold what it reads for half a minute.
#[tokio::test(start_paused = true)]
async fn details_that_cost_something_are_made_for_few_at_a_time_and_end() {
    let world = World::start().await;
    world.believe().answering = Answering::WithoutEnd("api");
    application(&world, "shop", "shop", "Active");
    let path = format!("{APPLICATIONS}/shop/applications/shop/details");
    let (one, other, third) = tokio::join!(world.get(&path), world.get(&path), world.get(&path));
    let (refused, made): (Vec<_>, Vec<_>) =
        [one, other, third].into_iter().partition(|answer| answer.code == StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((refused.len(), made.len()), (1, 2), "{refused:?} {made:?}");
    assert_eq!(refused[0].message(), "too many details, try again later");
    for answer in made {
        let why = &answer.json["status"]["appDetails"]["incomplete"][0]["message"];
        assert_eq!(*why, "the time for an answer was over after 30 s");
    }
}
