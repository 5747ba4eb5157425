//! Discovery, schemas and health, which everybody may read.

use std::collections::BTreeSet;

use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use keelson_model::names::group;
use keelson_resources::{KINDS, Verb};
use serde_json::{Value, json};

use crate::discovery::group_versions;

use super::harness::{Answer, BACKUPS, POINTS, World};

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

async fn anonymous(world: &World, path: &str, headers: &[(&str, &str)]) -> Answer {
    let response = world.respond(Method::GET, path, headers, "", None).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { code: parts.status, headers: parts.headers, json, bytes }
}

#[tokio::test]
async fn discovery_and_schemas_need_no_requester() {
    let world = World::start().await;
    for path in [
        "/healthz",
        "/livez",
        "/version",
        "/apis",
        "/apis/apps.kio.kasten.io",
        "/apis/apps.kio.kasten.io/v1alpha1",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/apis/apps.kio.kasten.io/v1alpha1",
    ] {
        assert_eq!(anonymous(&world, path, &[]).await.code, StatusCode::OK, "{path}");
    }
    assert_eq!(anonymous(&world, "/apis/apps.kio.kasten.io/v2", &[]).await.code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_server_is_ready_once_it_knows_the_front_proxy() {
    let world = World::start().await;
    assert_eq!(anonymous(&world, "/readyz", &[]).await.code, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn every_kind_is_discovered_in_both_formats() {
    let world = World::start().await;
    let aggregated = anonymous(&world, "/apis", &[(ACCEPT.as_str(), AGGREGATED)]).await;
    assert!(aggregated.headers[CONTENT_TYPE].to_str().unwrap().contains("as=APIGroupDiscoveryList"));
    for kind in KINDS {
        let list = anonymous(&world, &format!("/apis/{}", kind.api_version()), &[]).await.json;
        let resources = list["resources"].as_array().unwrap();
        let plain = resources.iter().find(|resource| resource["name"] == kind.plural).unwrap();
        let group = aggregated.json["items"].as_array().unwrap().iter();
        let group = group.clone().find(|item| item["metadata"]["name"] == kind.group).unwrap();
        let resources = group["versions"][0]["resources"].as_array().unwrap();
        let found = resources.iter().find(|resource| resource["resource"] == kind.plural).unwrap();
        assert_eq!((&plain["kind"], &found["responseKind"]["kind"]), (&json!(kind.kind), &json!(kind.kind)));
        assert_eq!(plain["verbs"], found["verbs"], "{}", kind.kind);
        assert_eq!(found["subresources"].is_array(), kind.details, "{}", kind.kind);
    }
}

/// A version that is not in the list at all would be a failure of discovery, and namespaces would stay.
#[tokio::test]
async fn a_group_whose_data_is_away_for_long_stays_without_resources() {
    let world = World::start().await;
    let format = [(ACCEPT.as_str(), AGGREGATED)];
    let before = anonymous(&world, "/apis", &format).await;
    let count = async |group: &str| {
        let list = anonymous(&world, &format!("/apis/{group}/v1alpha1"), &[]).await;
        assert_eq!(list.code, StatusCode::OK);
        let aggregated = anonymous(&world, "/apis", &format).await.json;
        let groups = aggregated["items"].as_array().unwrap();
        assert_eq!(groups.len(), group_versions().len());
        let found = groups.iter().find(|found| found["metadata"]["name"] == group).unwrap();
        let version = &found["versions"][0];
        assert_eq!(version["freshness"], "Current");
        (list.json["resources"].as_array().unwrap().len(), version["resources"].as_array().unwrap().len())
    };
    let apps = group_versions().into_iter().filter(|version| version.group == group::APPS);
    world.extension.withheld().replace(apps.collect());
    assert_eq!(count(group::APPS).await, (0, 0));
    let (plain, aggregated) = count(group::DR).await;
    assert!(plain > 0 && aggregated > 0);
    // The API server asks with the tag that it knows.
    let tag = before.headers[ETAG].to_str().unwrap();
    let again = anonymous(&world, "/apis", &[format[0], (IF_NONE_MATCH.as_str(), tag)]).await;
    assert_eq!(again.code, StatusCode::OK);
    world.extension.withheld().replace(BTreeSet::new());
    let after = anonymous(&world, "/apis", &format).await;
    assert_eq!((after.bytes, &after.headers[ETAG]), (before.bytes, &before.headers[ETAG]));
}

#[tokio::test]
async fn a_client_that_knows_the_document_is_told_so() {
    let world = World::start().await;
    let first = anonymous(&world, "/apis", &[]).await;
    let etag = first.headers[ETAG].to_str().unwrap().to_owned();
    let again = anonymous(&world, "/apis", &[(IF_NONE_MATCH.as_str(), &etag)]).await;
    assert_eq!((again.code, again.json), (StatusCode::NOT_MODIFIED, Value::Null));
    let aggregated =
        anonymous(&world, "/apis", &[(IF_NONE_MATCH.as_str(), &etag), (ACCEPT.as_str(), AGGREGATED)]).await;
    assert_eq!(aggregated.code, StatusCode::OK);
}

#[tokio::test]
async fn schemas_lead_from_the_index_to_every_field() {
    let world = World::start().await;
    let index = anonymous(&world, "/openapi/v3", &[]).await.json;
    let link = index["paths"]["apis/actions.kio.kasten.io/v1alpha1"]["serverRelativeURL"].as_str().unwrap();
    assert!(link.contains("?hash="));
    let document = anonymous(&world, link, &[]).await.json;
    let path =
        &document["paths"]["/apis/actions.kio.kasten.io/v1alpha1/namespaces/{namespace}/backupactions"];
    assert_eq!(path["post"]["x-kubernetes-group-version-kind"]["kind"], "BackupAction");
    let schema = &document["components"]["schemas"]["io.kasten.kio.actions.v1alpha1.BackupAction"];
    assert_eq!(schema["properties"]["spec"]["properties"]["subject"]["type"], "object");
    let references: Vec<&str> = all_references(&document);
    assert!(!references.is_empty());
    for reference in references {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{reference}");
    }
}

#[tokio::test]
async fn discovery_answers_while_the_catalog_is_away() {
    let world = World::start().await;
    world.put("shop", "a", &[], json!({}));
    let world =
        world.restart(|data| std::fs::write(data.join("1/catalog.sqlite"), "no catalog").unwrap()).await;
    for path in ["/apis", "/apis/apps.kio.kasten.io/v1alpha1", "/openapi/v3", "/livez"] {
        assert_eq!(anonymous(&world, path, &[]).await.code, StatusCode::OK, "{path}");
    }
    for query in ["", "?watch=1", "?limit=5"] {
        let answer = world.get(&format!("{POINTS}{query}")).await;
        assert_eq!(
            (answer.code, &answer.json["reason"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("ServiceUnavailable"))
        );
        assert!(!answer.headers.contains_key(RETRY_AFTER), "{query}: client-go would ask on within one call");
        assert!(answer.message().contains("catalog"), "{}", answer.message());
    }
    assert_eq!(world.delete(&format!("{POINTS}/a"), "").await.code, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.delete(POINTS, "").await.code, StatusCode::SERVICE_UNAVAILABLE);
}

/// Each of these was a crash loop, in which every terminating namespace of the cluster hung.
#[tokio::test]
async fn discovery_answers_while_current_or_the_instance_file_is_damaged() {
    for file in ["CURRENT", "instance.sqlite"] {
        let world = World::start().await;
        world.put("shop", "a", &[], json!({}));
        let world = world.restart(|data| std::fs::write(data.join(file), "nonsense").unwrap()).await;
        assert_eq!(anonymous(&world, "/apis", &[]).await.code, StatusCode::OK, "{file}");
        let answer = world.get(POINTS).await;
        assert_eq!(answer.code, StatusCode::SERVICE_UNAVAILABLE, "{file}");
        assert!(answer.message().contains("corrupt"), "{file}: {}", answer.message());
        let recovery =
            world.get("/apis/dr.kio.kasten.io/v1alpha1/namespaces/kasten-io/kastendrreviews").await;
        let expected = if file == "CURRENT" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        assert_eq!(recovery.code, expected, "{file}: recovery is how a lost catalog comes back");
        let world = world.restart(|data| assert!(data.join("1/catalog.sqlite").exists())).await;
        assert_eq!(world.get(POINTS).await.code, StatusCode::SERVICE_UNAVAILABLE, "{file}");
    }
}

/// A client generated from it could not page, select or watch, and read a deletion's answer as nothing.
#[tokio::test]
async fn operations_say_what_they_take_and_the_server_takes_what_they_say() {
    let world = World::start().await;
    for kind in KINDS {
        let document = anonymous(&world, &format!("/openapi/v3/apis/{}", kind.api_version()), &[]).await.json;
        for (path, operations) in document["paths"].as_object().unwrap() {
            if !path.ends_with(&format!("/{}", kind.plural)) {
                continue;
            }
            assert_eq!(operations.get("get").is_some(), kind.allows(Verb::List), "{path}");
            if !kind.allows(Verb::List) {
                continue;
            }
            let list = operations["get"]["parameters"].as_array().unwrap();
            let names: Vec<_> = list.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
            for name in ["limit", "continue", "labelSelector", "fieldSelector", "watch", "resourceVersion"] {
                assert!(names.contains(&name), "{path} {name}");
            }
            let home = path.replace("{namespace}", "shop");
            let query = "labelSelector=a%3Db&limit=5&resourceVersion=0&timeoutSeconds=5";
            assert_eq!(world.get(&format!("{home}?{query}")).await.code, StatusCode::OK, "{path}");
            if let Some(delete) = operations.get("delete") {
                let answer = &delete["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
                assert!(answer.as_str().unwrap().ends_with("meta.v1.Status"), "{path}");
                let deleted = world.delete(&format!("{home}?{query}&gracePeriodSeconds=0"), "").await;
                assert_eq!(deleted.code, StatusCode::OK, "{path}: {}", deleted.message());
            }
        }
    }
}

/// What a generated client does with an answer whose code it was not told of is anybody's guess.
#[tokio::test]
async fn operations_say_the_codes_that_the_server_answers() {
    let world = World::start().await;
    let group = "actions.kio.kasten.io/v1alpha1";
    let document = anonymous(&world, &format!("/openapi/v3/apis/{group}"), &[]).await.json;
    let home = &document["paths"][&format!("/apis/{group}/namespaces/{{namespace}}/backupactions")];
    let single =
        &document["paths"][&format!("/apis/{group}/namespaces/{{namespace}}/backupactions/{{name}}")];
    let check = |operation: &Value, answer: &Answer, code: StatusCode| {
        assert_eq!(answer.code, code, "{}", answer.json);
        let documented = &operation["responses"][code.as_str()]["content"]["application/json"]["schema"];
        assert!(documented["$ref"].is_string(), "{operation}");
    };
    let object =
        json!({"metadata": {"name": "b"}, "spec": {"subject": {"name": "shop", "namespace": "shop"}}});
    let path = format!("{BACKUPS}/b");
    check(&home["post"], &world.post(BACKUPS, &object).await, StatusCode::CREATED);
    let mut other = object.clone();
    other["metadata"]["name"] = json!("c");
    let tried = world.post(&format!("{BACKUPS}?dryRun=All"), &other).await;
    check(&home["post"], &tried, StatusCode::CREATED);
    check(&single["get"], &world.get(&path).await, StatusCode::OK);
    check(&home["get"], &world.get(BACKUPS).await, StatusCode::OK);
    let patched = world.send(Method::PATCH, &path, &[], "{}").await;
    check(&single["patch"], &patched, StatusCode::METHOD_NOT_ALLOWED);
    check(&single["delete"], &world.delete(&path, "").await, StatusCode::OK);
    check(&home["delete"], &world.delete(BACKUPS, "").await, StatusCode::OK);
    let again = world.get(&path).await;
    assert_eq!((again.code, &again.json["kind"]), (StatusCode::NOT_FOUND, &json!("Status")));
    let refused = &single["get"]["responses"]["default"]["content"]["application/json"]["schema"]["$ref"];
    assert!(refused.as_str().unwrap().ends_with("meta.v1.Status"), "{refused}");
}

#[tokio::test]
async fn each_operation_is_named_as_kubernetes_names_its_own_and_no_two_alike() {
    let world = World::start().await;
    let mut names = BTreeSet::new();
    for version in group_versions() {
        let document = anonymous(&world, &format!("/openapi/v3/apis/{version}"), &[]).await.json;
        let paths = document["paths"].as_object().unwrap().values();
        let operations =
            paths.flat_map(|path| path.as_object().unwrap()).filter(|(key, _)| *key != "parameters");
        for (_, operation) in operations {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(names.insert(name.clone()), "{name} is there twice");
            assert!(operation["x-kubernetes-action"].is_string(), "{name}");
        }
    }
    for name in [
        "createActionsKioKastenIoV1alpha1NamespacedBackupAction",
        "deleteActionsKioKastenIoV1alpha1CollectionNamespacedBackupAction",
        "listActionsKioKastenIoV1alpha1BackupActionForAllNamespaces",
        "readActionsKioKastenIoV1alpha1NamespacedBackupActionDetails",
        "readAppsKioKastenIoV1alpha1RestorePointContent",
    ] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
}

/// `kubectl` asks version 2 whether fields are judged; a client that is made of version 3 must know what it may send.
#[tokio::test]
async fn a_patch_is_described_where_there_is_one() {
    let world = World::start().await;
    let group = "repositories.kio.kasten.io/v1alpha1";
    let path = format!("/apis/{group}/namespaces/{{namespace}}/storagerepositories/{{name}}");
    let v3 = anonymous(&world, &format!("/openapi/v3/apis/{group}"), &[]).await.json;
    let patch = &v3["paths"][&path]["patch"];
    assert!(patch["requestBody"]["content"]["application/merge-patch+json"].is_object(), "{patch}");
    assert!(
        patch["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].is_string(),
        "{patch}"
    );
    let v2 = anonymous(&world, "/openapi/v2", &[]).await.json;
    let patch = &v2["paths"][&path]["patch"];
    assert_eq!(patch["consumes"], json!(["application/merge-patch+json"]));
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"), "{patch}");
    let other = format!("{POINTS}/{{name}}").replace("/shop/", "/{namespace}/");
    assert!(v2["paths"][&other]["patch"]["responses"]["405"].is_object(), "{other}");
}

fn all_references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value.as_str() {
                Some(text) if key == "$ref" => vec![text],
                _ => all_references(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(all_references).collect(),
        _ => Vec::new(),
    }
}
