//! Patching: what a merge patch may change, and what becomes of two at once.

use http::header::{ACCEPT, CONTENT_TYPE, WARNING};
use http::{Method, StatusCode};
use keelson_catalog::Class;
use keelson_resources::{KINDS, Verb, find_kind};
use serde_json::{Value, json};

use super::harness::{Answer, BACKUPS, World};

const HOME: &str = "/apis/repositories.kio.kasten.io/v1alpha1/namespaces/kasten-io/storagerepositories";
pub(super) const ONE: &str =
    "/apis/repositories.kio.kasten.io/v1alpha1/namespaces/kasten-io/storagerepositories/dr-repository-x";
const MERGE: &str = "application/merge-patch+json";

/// With one repository.
pub(super) async fn world() -> World {
    let world = World::start().await;
    let kind = find_kind("repositories.kio.kasten.io", "storagerepositories").unwrap();
    let mut row =
        world.row(kind, "kasten-io", "dr-repository-x", &[("k10.kasten.io/appName", "kasten-io")], json!({}));
    let body = json!({
        "spec": {"disableMaintenance": false},
        "status": {
            "contentType": "dr", "backendType": "keelson", "location": {"type": "Volume"}, "readOnly": false,
            "processResults": {"processCount": 0, "recentResults": []},
        },
        "internal": {"repository": "07".repeat(16)},
    });
    row.class = Class::Derived;
    row.body = serde_json::to_vec(&body).unwrap();
    world.put_row(row);
    world
}

pub(super) async fn patch(world: &World, path: &str, patch: &Value) -> Answer {
    world.send(Method::PATCH, path, &[(CONTENT_TYPE.as_str(), MERGE)], &patch.to_string()).await
}

#[tokio::test]
async fn a_merge_patch_changes_the_spec_and_null_takes_out() {
    let world = world().await;
    let before = world.get(ONE).await;
    let first = json!({"spec": {"disableMaintenance": true, "backgroundProcessTimeout": "2h"}});
    let answer = patch(&world, ONE, &first).await;
    assert_eq!(answer.code, StatusCode::OK, "{}", answer.json);
    assert_eq!(answer.json["spec"], first["spec"]);
    assert_ne!(answer.version(), before.version());
    for part in ["status", "kind", "apiVersion"] {
        assert_eq!(answer.json[part], before.json[part], "{part}");
    }
    assert_eq!(world.get(ONE).await.json, answer.json, "it is as it was told");
    let second = patch(&world, ONE, &json!({"spec": {"backgroundProcessTimeout": null}})).await;
    assert_eq!(second.json["spec"], json!({"disableMaintenance": true}));
    let nothing = patch(&world, ONE, &json!({"spec": {}})).await;
    assert_eq!(nothing.json, second.json, "what changes nothing makes no version");
    let all = patch(&world, ONE, &json!({"spec": null})).await;
    assert_eq!(all.json["spec"], json!({"disableMaintenance": false}));
}

#[tokio::test]
async fn the_object_comes_back_in_the_form_that_was_asked_for() {
    let world = world().await;
    for (accept, kind) in [
        ("application/json;as=Table;v=v1;g=meta.k8s.io", "Table"),
        ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "PartialObjectMetadata"),
    ] {
        let headers = [(CONTENT_TYPE.as_str(), MERGE), (ACCEPT.as_str(), accept)];
        let answer = world.send(Method::PATCH, ONE, &headers, r#"{"spec":{}}"#).await;
        assert_eq!((answer.code, &answer.json["kind"]), (StatusCode::OK, &json!(kind)));
    }
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = world().await;
    let change = json!({"spec": {"disableMaintenance": true}});
    let tried = patch(&world, &format!("{ONE}?dryRun=All&fieldManager=kubectl-patch"), &change).await;
    assert_eq!((tried.code, &tried.json["spec"]["disableMaintenance"]), (StatusCode::OK, &json!(true)));
    assert_eq!(world.get(ONE).await.json["spec"]["disableMaintenance"], false);
    let wrong = json!({"spec": {"backgroundProcessTimeout": "soon"}});
    let refused = patch(&world, &format!("{ONE}?dryRun=All"), &wrong).await;
    assert_eq!(refused.code, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_patch_meant_for_another_version_or_object_is_a_conflict() {
    let world = world().await;
    let read = world.get(ONE).await;
    let at = |metadata: Value| json!({"metadata": metadata, "spec": {"disableMaintenance": true}});
    let same =
        json!({"resourceVersion": read.version(), "uid": "uid-dr-repository-x", "name": "dr-repository-x"});
    assert_eq!(patch(&world, ONE, &at(same)).await.code, StatusCode::OK);
    for metadata in [json!({"resourceVersion": read.version()}), json!({"uid": "another"})] {
        let answer = patch(&world, ONE, &at(metadata)).await;
        assert_eq!((answer.code, &answer.json["reason"]), (StatusCode::CONFLICT, &json!("Conflict")));
    }
    let anyhow = json!({"resourceVersion": null, "creationTimestamp": null});
    assert_eq!(patch(&world, ONE, &at(anyhow)).await.code, StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_the_spec_is_refused_by_its_name() {
    let world = world().await;
    let before = world.get(ONE).await.json;
    for (change, fields) in [
        (json!({"metadata": {"labels": {"a": "b"}}}), vec!["metadata.labels"]),
        (
            json!({"metadata": {"labels": null, "annotations": {"a": "b"}}}),
            vec!["metadata.annotations", "metadata.labels"],
        ),
        (json!({"status": {"readOnly": true}, "spec": {"disableMaintenance": true}}), vec!["status"]),
        (json!({"metadata": {"name": "other"}, "kind": "Other"}), vec!["kind", "metadata.name"]),
        (json!({"metadata": null}), vec!["metadata"]),
    ] {
        let answer = patch(&world, ONE, &change).await;
        assert_eq!(
            (answer.code, &answer.json["reason"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid"))
        );
        let causes = answer.json["details"]["causes"].as_array().unwrap();
        let named: Vec<_> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{change}");
        assert!(causes.iter().all(|cause| cause["reason"] == "FieldValueForbidden"), "{change}");
    }
    assert_eq!(world.get(ONE).await.json, before);
}

#[tokio::test]
async fn a_spec_that_could_not_be_obeyed_is_refused() {
    let world = world().await;
    for (spec, message) in [
        (
            json!({"overrideLocation": {"name": "p", "namespace": "kasten-io"}}),
            "spec.overrideLocation: Forbidden: not supported",
        ),
        (json!({"backgroundProcessTimeout": "0s"}), "spec.backgroundProcessTimeout: Invalid value"),
        (json!({"disableMaintenance": "yes"}), "must be of type boolean"),
        (json!("text"), "must be of type object"),
    ] {
        let answer = patch(&world, ONE, &json!({"spec": spec})).await;
        assert_eq!(answer.code, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.json);
        assert!(answer.message().contains(message), "{}", answer.message());
    }
    let unknown = json!({"spec": {"disableMaintenence": true}});
    let strict = patch(&world, &format!("{ONE}?fieldValidation=Strict"), &unknown).await;
    assert_eq!(
        (strict.code, strict.message()),
        (StatusCode::BAD_REQUEST, "strict decoding error: unknown field \"spec.disableMaintenence\"")
    );
    let warned = patch(&world, ONE, &unknown).await;
    assert_eq!((warned.code, &warned.json["spec"]), (StatusCode::OK, &json!({"disableMaintenance": false})));
    assert_eq!(warned.headers[WARNING], "299 - \"unknown field 'spec.disableMaintenence'\"");
}

#[tokio::test]
async fn other_patches_are_refused_and_the_one_that_is_taken_is_named() {
    let world = world().await;
    for content_type in [
        "application/json-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
        "application/json",
        "",
    ] {
        let answer = world.send(Method::PATCH, ONE, &[(CONTENT_TYPE.as_str(), content_type)], "{}").await;
        assert_eq!(answer.code, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        assert!(answer.message().ends_with(MERGE), "{}", answer.message());
    }
    for body in ["[]", "null", "", "{"] {
        let answer = world.send(Method::PATCH, ONE, &[(CONTENT_TYPE.as_str(), MERGE)], body).await;
        assert_eq!(answer.code, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(patch(&world, &format!("{HOME}/none"), &json!({})).await.code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_kinds_with_the_verb_are_patched_and_none_is_replaced() {
    let world = world().await;
    for kind in KINDS.iter().filter(|kind| !kind.allows(Verb::Patch)) {
        let namespace = if kind.is_namespaced() { "/namespaces/shop" } else { "" };
        let path = format!("/apis/{}{namespace}/{}/x", kind.api_version(), kind.plural);
        let answer = patch(&world, &path, &json!({})).await;
        assert_eq!(answer.code, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(answer.message().contains("cannot be changed once created"), "{}", answer.message());
    }
    assert_eq!(patch(&world, BACKUPS, &json!({})).await.code, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        patch(&world, &format!("{ONE}/details"), &json!({})).await.code,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let put = world.send(Method::PUT, ONE, &[(CONTENT_TYPE.as_str(), "application/json")], "{}").await;
    assert_eq!(put.code, StatusCode::METHOD_NOT_ALLOWED);
    assert!(put.message().contains("by a merge patch"), "{}", put.message());
    let created = world.post(HOME, &json!({"metadata": {"name": "mine"}, "spec": {}})).await;
    assert_eq!(created.code, StatusCode::METHOD_NOT_ALLOWED);
}

/// The later of two was merged into what both had read, and the earlier one's change was lost.
#[tokio::test(flavor = "multi_thread")]
async fn of_patches_at_the_same_time_all_are_kept() {
    let world = world().await;
    for round in 0..20 {
        let on = json!({"spec": {"disableMaintenance": round % 2 == 0}});
        let timeout = json!({"spec": {"backgroundProcessTimeout": format!("{}h", round + 1)}});
        let (left, right) = tokio::join!(patch(&world, ONE, &on), patch(&world, ONE, &timeout));
        assert_eq!((left.code, right.code), (StatusCode::OK, StatusCode::OK));
        let kept = world.get(ONE).await.json["spec"].clone();
        assert_eq!(kept["disableMaintenance"], round % 2 == 0, "{kept}");
        assert_eq!(kept["backgroundProcessTimeout"], format!("{}h", round + 1), "{kept}");
    }
}
