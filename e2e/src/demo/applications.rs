//! Three applications: a web shop, custom objects that own each other, and an archive of two thousand objects.

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::Cluster;

pub(super) const SHOP: &str = "shop";
pub(super) const REGISTRY: &str = "registry";
pub(super) const ARCHIVE: &str = "archive";
pub(super) const ALL: [&str; 3] = [SHOP, REGISTRY, ARCHIVE];

const ARCHIVE_CONFIG_MAPS: usize = 1_500;
const ARCHIVE_SECRETS: usize = 500;
const CREATED_AT_ONCE: usize = 32;

pub(super) async fn create_all(cluster: &Cluster) -> Result<()> {
    create_shop(cluster).await.context("create the shop")?;
    create_registry(cluster).await.context("create the registry")?;
    create_archive(cluster).await.context("create the archive")
}

async fn create_shop(cluster: &Cluster) -> Result<()> {
    cluster.apply(include_str!("manifests/shop.yaml")).await
}

/// What happens to the shop after the last run of the DR policy: a release and a new opening time.
pub(super) async fn change_shop(cluster: &Cluster) -> Result<()> {
    let banner = json!({ "data": { "banner": "closed for stocktaking" } }).to_string();
    cluster.kubectl(&["patch", "-n", SHOP, "configmap", "web", "-p", &banner], &[]).await?;
    let image = "web=registry.example.com/shop/web:2.5.0";
    cluster.kubectl(&["set", "image", "-n", SHOP, "deployment/web", image], &[]).await?;
    Ok(())
}

/// Definitions, then a registry that owns mirrors and a Deployment, and mirrors that own ConfigMaps.
async fn create_registry(cluster: &Cluster) -> Result<()> {
    cluster.apply(include_str!("manifests/registry-definitions.yaml")).await?;
    let definitions = ["crd/registries.images.example.com", "crd/mirrors.images.example.com"];
    let mut wait = vec!["wait", "--for=condition=Established", "--timeout=60s"];
    wait.extend(definitions);
    cluster.kubectl(&wait, &[]).await?;
    cluster.create_namespace(REGISTRY).await?;
    for name in ["production", "staging"] {
        let owner = create_owned(cluster, &registry(name), None).await?;
        create_owned(cluster, &deployment(name), Some(&owner)).await?;
        for upstream in ["quay.example.com", "docker.example.com"] {
            let mirror = create_owned(cluster, &mirror(name, upstream), Some(&owner)).await?;
            create_owned(cluster, &mirror_settings(name, upstream), Some(&mirror)).await?;
        }
    }
    Ok(())
}

fn registry(name: &str) -> Value {
    json!({
        "apiVersion": "images.example.com/v1",
        "kind": "Registry",
        "metadata": { "name": name, "namespace": REGISTRY, "finalizers": ["images.example.com/drain"] },
        "spec": { "host": format!("{name}.registry.example.com"), "scan": true },
    })
}

fn mirror(registry: &str, upstream: &str) -> Value {
    json!({
        "apiVersion": "images.example.com/v1",
        "kind": "Mirror",
        "metadata": { "name": format!("{registry}-{upstream}"), "namespace": REGISTRY },
        "spec": { "upstream": upstream, "tags": ["latest", "stable"] },
    })
}

fn mirror_settings(registry: &str, upstream: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": format!("{registry}-{upstream}"), "namespace": REGISTRY },
        "data": { "mirror.conf": format!("pull-through {upstream};\n") },
    })
}

fn deployment(registry: &str) -> Value {
    let labels = json!({ "app": "registry", "instance": registry });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": registry, "namespace": REGISTRY, "labels": labels },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "registry", "image": "registry.example.com/registry:3.0" }] },
            },
        },
    })
}

/// The reference by which what an object owns names it.
struct Owner(Value);

async fn create_owned(cluster: &Cluster, object: &Value, owner: Option<&Owner>) -> Result<Owner> {
    let mut object = object.clone();
    if let Some(Owner(reference)) = owner {
        object["metadata"]["ownerReferences"] = json!([reference]);
    }
    let created =
        cluster.kubectl(&["create", "-f", "-", "-o", "json"], object.to_string().as_bytes()).await?;
    let created: Value = serde_json::from_str(&created)?;
    Ok(Owner(json!({
        "apiVersion": created["apiVersion"],
        "kind": created["kind"],
        "name": created["metadata"]["name"],
        "uid": created["metadata"]["uid"],
        "controller": true,
        "blockOwnerDeletion": true,
    })))
}

async fn create_archive(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace(ARCHIVE).await?;
    create_many(cluster, (0..ARCHIVE_CONFIG_MAPS).map(config_map)).await?;
    create_many(cluster, (0..ARCHIVE_SECRETS).map(secret)).await
}

async fn create_many<K>(cluster: &Cluster, objects: impl Iterator<Item = K>) -> Result<()>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope> + Serialize + DeserializeOwned,
    K: Clone + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(cluster.client(), ARCHIVE);
    let parameters = PostParams::default();
    stream::iter(objects)
        .map(|object| {
            let (api, parameters) = (&api, &parameters);
            async move { api.create(parameters, &object).await.map(drop) }
        })
        .buffer_unordered(CREATED_AT_ONCE)
        .try_collect::<()>()
        .await
        .context("create the objects of the archive")
}

fn config_map(number: usize) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(format!("record-{number:04}"));
    object.metadata.labels = Some([("shelf".to_owned(), format!("s{}", number % 40))].into());
    let record = format!("number: {number}\ntitle: \"Record {number}\"\npages: {}\n", number * 7 % 400);
    object.data = Some([("record.yaml".to_owned(), record)].into());
    object
}

fn secret(number: usize) -> Secret {
    let mut object = Secret::default();
    object.metadata.name = Some(format!("seal-{number:03}"));
    object.metadata.annotations =
        Some([("example.com/record".to_owned(), format!("record-{number:04}"))].into());
    let seal = (0..48).map(|position| (number * 31 + position * 7) as u8).collect();
    object.data = Some([("seal".to_owned(), k8s_openapi::ByteString(seal))].into());
    object
}
