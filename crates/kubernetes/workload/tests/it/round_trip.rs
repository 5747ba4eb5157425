//! An application is captured, destroyed and brought back.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use keelson_testkit::eventually;
use keelson_workload::{
    CapturedObject, ClaimRule, Filters, Kind, OmissionReason, ResourceFilter, RestoreRequest, StatusRule,
};
use serde_json::{Value, json};

use crate::application::{Scene, config_maps, contents};

fn managed_fields(object: &CapturedObject) -> Result<Value> {
    let fields = object.managed_fields.as_ref().context("no field managers")?;
    Ok(serde_json::from_str(fields.get())?)
}

fn find<'a>(objects: &'a [CapturedObject], resource: &str, name: &str) -> Result<&'a CapturedObject> {
    let wanted = |object: &&CapturedObject| object.kind.resource_name() == resource && object.name == name;
    objects.iter().find(wanted).with_context(|| format!("{resource} '{name}'"))
}

/// Field managers but for the status, which controllers write anew, and for what belongs to one cluster.
fn managers(object: &CapturedObject) -> Result<BTreeSet<String>> {
    let fields = managed_fields(object)?;
    let entries = fields.as_array().cloned().unwrap_or_default();
    let ours = entries.iter().filter(|entry| entry["subresource"].is_null());
    Ok(ours.map(|entry| format!("{} {}", entry["manager"], entry["operation"])).collect())
}

#[tokio::test]
async fn an_application_comes_back_as_it_was() -> Result<()> {
    let scene = Scene::set("round-trip").await?;
    scene.install_shop().await?;
    let (before, captured) = scene.capture().await?;
    assert_eq!(captured.failed, []);
    assert_eq!(captured.objects as usize, before.len());
    let shops = format!("shops.{}", scene.group());
    for resource in
        ["namespaces", "deployments.apps", "customresourcedefinitions.apiextensions.k8s.io", &shops]
    {
        assert!(captured.counts.contains_key(resource), "{resource}: {:?}", captured.counts);
    }
    assert_eq!(captured.served_versions[&shops], ["v1"]);

    let old_shop = find(&before, &shops, "front")?.uid.clone();
    scene.vanish().await?;
    scene.delete_definition(&shops).await?;
    let request = RestoreRequest { claims: ClaimRule::CreateEmpty, ..scene.request() };
    let report = scene.restore(&request, &before).await?;
    assert_eq!((report.failures, report.owners_dropped), (vec![], vec![]));

    scene.await_pods(3).await?;
    let (after, _) = scene.capture().await?;
    similar_contents(&before, &after);
    for (resource, name) in
        [("deployments.apps", "web"), ("secrets", "password"), ("configmaps", "made-by-shop")]
    {
        let (before, after) = (find(&before, resource, name)?, find(&after, resource, name)?);
        assert_eq!(managers(before)?, managers(after)?, "{resource} '{name}'");
    }
    let new_shop = find(&after, &shops, "front")?;
    assert_ne!(new_shop.uid, old_shop);
    let child = find(&after, "configmaps", "made-by-shop")?;
    assert_eq!(child.to_value()?["metadata"]["ownerReferences"][0]["uid"], new_shop.uid);
    assert!(managed_fields(child)?.to_string().contains(&new_shop.uid), "field managers name the new owner");
    // The chart goes on as if nothing had happened: its fields are still its own.
    let changed = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"NEW": "1"}});
    scene.apply(&[changed])?;
    assert_eq!(scene.read(&config_maps(), "settings").await?["data"], json!({"NEW": "1"}));
    Ok(())
}

fn similar_contents(before: &[CapturedObject], after: &[CapturedObject]) {
    let (before, after) = (contents(before), contents(after));
    let names = |contents: &std::collections::BTreeMap<(String, String), Value>| {
        contents.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&before), names(&after));
    for (key, value) in &before {
        assert_eq!(value, &after[key], "{key:?}");
    }
}

#[tokio::test]
async fn what_is_left_out_is_told_with_its_reason() -> Result<()> {
    let scene = Scene::set("left-out").await?;
    scene.install_shop().await?;
    let token = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "old-token", "annotations": {"kubernetes.io/service-account.name": "web"}}});
    scene.apply(&[token])?;
    let events = Kind::namespaced("v1", "Event", "events");
    eventually("the controllers told of what they did", async || {
        let told = scene.cluster.list_objects(&events, Some(scene.name()), None).await?;
        Ok((!told.is_empty()).then_some(()))
    })
    .await?;
    let (objects, report) = scene.capture().await?;
    let captured = contents(&objects);
    let omitted = |resource: &str, text: &str| {
        report
            .omitted
            .iter()
            .any(|omission| omission.resource == resource && omission.reason.to_string() == text)
    };
    assert!(omitted("pods", "remade by its ReplicaSet"), "{:?}", report.omitted);
    assert!(omitted("pods", "remade by its StatefulSet"));
    assert!(omitted("replicasets.apps", "remade by its Deployment"));
    assert!(omitted("events", "events tell of the past"));
    assert!(omitted("configmaps", "remade by the cluster"));
    assert!(omitted("secrets", "service-account token: the cluster issues new ones"));
    assert!(omitted("persistentvolumeclaims", "claim not protected: volumes are not part of this release"));
    assert!(captured.contains_key(&("persistentvolumeclaims".to_owned(), "data".to_owned())));
    assert!(captured.contains_key(&("secrets".to_owned(), "sh.helm.release.v1.web.v1".to_owned())));
    assert!(captured.contains_key(&("serviceaccounts".to_owned(), "default".to_owned())));
    assert!(!captured.keys().any(|(resource, _)| resource == "pods" || resource == "replicasets.apps"));
    let claims = report.omitted.iter().find(|omission| omission.reason == OmissionReason::ClaimNotProtected);
    assert_eq!(claims.map(|claims| claims.names.clone()), Some(vec!["data".to_owned()]));
    Ok(())
}

#[tokio::test]
async fn an_application_is_restored_beside_itself() -> Result<()> {
    let scene = Scene::set("beside").await?;
    scene.install_shop().await?;
    let (before, _) = scene.capture().await?;
    let copy = scene.beside()?;
    let request = scene.request_into(&copy.namespace);
    let report = scene.restore(&request, &before).await?;
    assert_eq!((report.failures, report.owners_dropped), (vec![], vec![]));
    let bindings = Kind::namespaced("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings");
    let binding = copy.read(&bindings, "web").await?;
    assert_eq!(binding["subjects"][0]["namespace"], "beside-copy");
    let owner =
        copy.read(&config_maps(), "made-by-shop").await?["metadata"]["ownerReferences"][0]["uid"].clone();
    assert_eq!(owner, copy.read(&copy.shop_kind(), "front").await?["metadata"]["uid"]);
    Ok(())
}

#[tokio::test]
async fn a_second_restore_changes_nothing() -> Result<()> {
    let scene = Scene::set("twice").await?;
    scene.install_shop().await?;
    let (before, _) = scene.capture().await?;
    let copy = scene.beside()?;
    let request = scene.request_into(&copy.namespace);
    let first = scene.restore(&request, &before).await?;
    assert_eq!(first.failures, []);
    let versions = versions(&copy).await?;
    let second = scene.restore(&request, &before).await?;
    assert_eq!(
        (second.created, second.replaced, second.recreated, second.failed),
        (0, 0, 0, 0),
        "{second:?}"
    );
    assert_eq!(second.unchanged, first.created + first.unchanged, "{second:?}");
    assert_eq!(versions, self::versions(&copy).await?);
    Ok(())
}

async fn versions(scene: &Scene) -> Result<Vec<(Value, Value)>> {
    let list = scene.cluster.list_objects(&config_maps(), Some(scene.name()), None).await?;
    let version =
        |object: &Value| (object["metadata"]["name"].clone(), object["metadata"]["resourceVersion"].clone());
    // The cluster makes this one in its own time.
    let made = list.iter().filter(|object| object["metadata"]["name"] != "kube-root-ca.crt");
    Ok(made.map(version).collect())
}

#[tokio::test]
async fn a_status_comes_back_when_it_was_asked_for() -> Result<()> {
    let scene = Scene::set("status").await?;
    scene.install_shop().await?;
    let status = json!({"phase": "Open"});
    scene.cluster.patch_status(&scene.shop_kind(), Some(scene.name()), "front", &status).await?;
    let only_shops = ResourceFilter { resource: "shops".to_owned(), ..ResourceFilter::default() };
    let filters = Filters { include_resources: vec![only_shops], ..Filters::default() };
    let (before, report) = scene.capture_with(filters, StatusRule::Keep).await?;
    assert_eq!(report.objects, 3, "the shop, its namespace and its definition: {:?}", report.counts);
    scene.cluster.delete_object(&scene.shop_kind(), Some(scene.name()), "front").await?;
    let report = scene.restore(&scene.request(), &before).await?;
    assert_eq!((report.created, report.failures), (1, vec![]));
    assert_eq!(scene.read(&scene.shop_kind(), "front").await?["status"]["phase"], "Open");
    Ok(())
}
