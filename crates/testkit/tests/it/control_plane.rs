//! What a scenario relies on: rights are checked, controllers work, an API server can be lost and come back.

use std::sync::LazyLock;

use anyhow::{Result, anyhow};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keelson_testkit::{ControlPlane, Planes, eventually};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

async fn create<K>(client: &Client, namespace: &str, object: Value) -> Result<K>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
}

pub(crate) async fn create_namespace(client: &Client, name: &str) -> Result<Namespace> {
    let namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    Ok(Api::all(client.clone()).create(&PostParams::default(), &namespace).await?)
}

#[tokio::test]
async fn a_user_has_the_rights_that_rbac_gives_and_no_others() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let admin = plane.client().await?;
    create_namespace(&admin, "rights").await?;
    let reader = plane.client_for("reader", Some("readers")).await?;
    let config_maps: Api<ConfigMap> = Api::namespaced(reader, "rights");

    let refused = config_maps.list(&ListParams::default()).await.expect_err("no rights yet");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));

    let binding = json!({
        "metadata": { "name": "readers" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers" }],
    });
    create::<RoleBinding>(&admin, "rights", binding).await?;
    eventually("the binding takes effect", async || {
        Ok(config_maps.list(&ListParams::default()).await.ok().map(drop))
    })
    .await?;
    let map = serde_json::from_value(json!({ "metadata": { "name": "written" } }))?;
    config_maps.create(&PostParams::default(), &map).await.expect_err("may read, not write");
    Ok(())
}

#[tokio::test]
async fn dependents_go_with_their_owner_and_contents_with_their_namespace() -> Result<()> {
    let client = ControlPlane::shared().await?.client().await?;
    create_namespace(&client, "garbage").await?;
    let owner: ConfigMap = create(&client, "garbage", json!({ "metadata": { "name": "owner" } })).await?;
    let dependent = json!({ "metadata": { "name": "dependent", "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid,
    }] } });
    create::<ConfigMap>(&client, "garbage", dependent).await?;

    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "garbage");
    maps.delete("owner", &DeleteParams::background()).await?;
    eventually("the dependent is collected", async || {
        Ok(maps.get_opt("dependent").await?.is_none().then_some(()))
    })
    .await?;

    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete("garbage", &DeleteParams::default()).await?;
    eventually("the namespace ends", async || {
        Ok(namespaces.get_opt("garbage").await?.is_none().then_some(()))
    })
    .await
}

#[tokio::test]
async fn kubectl_reports_the_pinned_version() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let output = plane.kubectl().args(["version", "--output=json"]).output()?;
    let versions: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(versions["clientVersion"]["gitVersion"], versions["serverVersion"]["gitVersion"]);
    assert!(
        versions["serverVersion"]["gitVersion"].as_str().is_some_and(|version| version.starts_with("v1."))
    );
    Ok(())
}

#[tokio::test]
async fn an_interrupted_api_server_comes_back_with_its_data() -> Result<()> {
    let mut plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    let before = create_namespace(&client, "survives").await?;
    plane.interrupt()?;
    create_namespace(&client, "refused").await.expect_err("nobody listens");
    plane.resume().await?;
    let after: Namespace = Api::all(plane.client().await?).get("survives").await?;
    assert_eq!(before.metadata.uid, after.metadata.uid);

    let directory = plane.directory().to_owned();
    plane.stop().await?;
    assert!(!directory.exists());
    Ok(())
}

async fn define(client: &Client, plural: &str, kind: &str) -> Result<()> {
    let definition = json!({
        "metadata": { "name": format!("{plural}.test.example.com") },
        "spec": {
            "group": "test.example.com", "scope": "Namespaced", "names": { "plural": plural, "kind": kind },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    });
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &serde_json::from_value(definition)?).await?;
    eventually("the kind is served", async || {
        let path = format!("/apis/test.example.com/v1/{plural}");
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(client.request_text(request).await.ok().map(drop))
    })
    .await
}

/// An object whose finalizer nobody answers.
async fn create_held(client: &Client, path: &str, api_version: &str, kind: &str) -> Result<()> {
    let object = json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": { "name": "held", "finalizers": ["test.example.com/held"] },
    });
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&object)?)?;
    client.request_text(request).await?;
    Ok(())
}

#[tokio::test]
async fn an_emptied_plane_serves_again_and_one_that_is_not_as_it_was_does_not() -> Result<()> {
    static PLANES: LazyLock<Planes> = LazyLock::new(Planes::default);
    let plane = PLANES.take(async |plane| define(&plane.client().await?, "kept", "Kept").await).await?;
    let client = plane.client().await?;
    plane.empty().await?;

    let added = create_namespace(&client, "added").await?;
    define(&client, "added", "Added").await?;
    for (plural, kind) in [("kept", "Kept"), ("added", "Added")] {
        let path = format!("/apis/test.example.com/v1/namespaces/added/{plural}");
        create_held(&client, &path, "test.example.com/v1", kind).await?;
    }
    for namespace in ["added", "default"] {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        create_held(&client, &path, "v1", "ConfigMap").await?;
    }
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let role = serde_json::from_value(json!({ "metadata": { "name": "added" } }))?;
    roles.create(&PostParams::default(), &role).await?;
    let place = plane.directory().to_owned();
    plane.give_back().await?;

    let plane = PLANES.take(async |_| Err(anyhow!("there is one"))).await?;
    assert_eq!(plane.directory(), place);
    assert!(roles.get_opt("added").await?.is_none());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    assert!(maps.get_opt("held").await?.is_none());
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    assert!(definitions.get_opt("added.test.example.com").await?.is_none());
    // A second namespace of the name is another, and empty.
    assert_ne!(create_namespace(&client, "added").await?.metadata.uid, added.metadata.uid);
    let kept = http::Request::get("/apis/test.example.com/v1/kept").body(Vec::new())?;
    let kept: Value = serde_json::from_str(&client.request_text(kept).await?)?;
    assert_eq!(kept["items"], json!([]));

    let label = Patch::Merge(json!({ "metadata": { "labels": { "test": "changed" } } }));
    definitions.patch("kept.test.example.com", &PatchParams::default(), &label).await?;
    let told = format!("{:#}", plane.empty().await.expect_err("it is not as it was"));
    assert!(told.contains("kept.test.example.com") && told.contains("was changed"), "{told}");
    plane.give_back().await?;
    assert!(!place.exists());
    Ok(())
}
