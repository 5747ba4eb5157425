//! What an object that is deleted to be made anew may not take with it: volumes.

use anyhow::{Context, Result};
use keelson_testkit::eventually;
use keelson_workload::{CapturedObject, ConflictRule, Conflicts, Kind, RestoreRequest};
use serde_json::{Value, json, value::to_raw_value};

use crate::application::{Scene, contents};

fn claims() -> Kind {
    Kind::namespaced("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
}

fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "main", "image": "registry.example.com/db:1"}]}})
}

fn claim(name: &str, owners: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "ownerReferences": owners},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

/// Changes a captured object, as if the live one had been changed since.
fn change(objects: &mut [CapturedObject], kind: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let object = objects.iter_mut().find(|object| object.kind.kind == kind).context("captured")?;
    let mut value = object.to_value()?;
    change(&mut value);
    object.object = to_raw_value(&value)?;
    Ok(())
}

async fn uid(scene: &Scene, kind: &Kind, name: &str) -> Result<Value> {
    let object = scene.read(kind, name).await?;
    assert!(object["metadata"]["deletionTimestamp"].is_null(), "{kind} '{name}' is being deleted");
    Ok(object["metadata"]["uid"].clone())
}

/// A stateful set that says so takes its claims with it: a restore that deleted it to change what cannot be
/// changed lost the data.
#[tokio::test]
async fn a_stateful_set_is_never_made_anew_and_keeps_its_claims() -> Result<()> {
    let scene = Scene::set("claims-kept").await?;
    let sets = Kind::namespaced("apps/v1", "StatefulSet", "statefulsets");
    scene.apply(&[json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template("db"),
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            "volumeClaimTemplates": [{"metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}})])?;
    eventually("the claim belongs to its stateful set", async || {
        let claim = scene.cluster.read_object(&claims(), Some(scene.name()), "data-db-0").await?;
        Ok(claim.filter(|claim| claim["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet").map(drop))
    })
    .await?;
    let (mut objects, _) = scene.capture().await?;
    change(&mut objects, "StatefulSet", |set| set["spec"]["serviceName"] = json!("another"))?;
    let before = (uid(&scene, &sets, "db").await?, uid(&scene, &claims(), "data-db-0").await?);

    let report = scene.restore(&scene.request(), &objects).await?;
    assert_eq!(report.failures.len(), 1, "{report:?}");
    let told = report.failures[0].to_owned();
    assert!(told.object.to_string().starts_with("statefulsets.apps"), "{told:?}");
    assert!(
        told.why.contains("is never deleted to be made anew; it differs in spec.serviceName"),
        "{told:?}"
    );
    let rules = [("statefulsets.apps".to_owned(), ConflictRule::Recreate)].into();
    let conflicts = Conflicts { rules, ..Conflicts::default() };
    let report = scene.restore(&RestoreRequest { conflicts, ..scene.request() }, &objects).await?;
    assert_eq!((report.failures.len(), report.recreated), (1, 0), "{report:?}");
    assert_eq!(before, (uid(&scene, &sets, "db").await?, uid(&scene, &claims(), "data-db-0").await?));
    Ok(())
}

#[tokio::test]
async fn a_workload_to_which_a_claim_belongs_is_not_made_anew() -> Result<()> {
    let scene = Scene::set("claims-of-workload").await?;
    let deployments = Kind::namespaced("apps/v1", "Deployment", "deployments");
    scene.apply(&[json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "db"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "db"}}, "template": template("db")}})])?;
    let before = uid(&scene, &deployments, "db").await?;
    let sets = Kind::namespaced("apps/v1", "ReplicaSet", "replicasets");
    let set = eventually("the deployment has a replica set", async || {
        Ok(scene.cluster.list_objects(&sets, Some(scene.name()), None).await?.pop())
    })
    .await?;
    // It belongs to the deployment by way of the replica set.
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set["metadata"]["name"],
        "uid": set["metadata"]["uid"]}]);
    scene.apply(&[claim("scratch", &owner)])?;
    let (mut objects, _) = scene.capture().await?;
    change(&mut objects, "Deployment", |deployment| {
        deployment["spec"]["selector"]["matchLabels"]["app"] = json!("other");
        deployment["spec"]["template"]["metadata"]["labels"]["app"] = json!("other");
    })?;
    let report = scene.restore(&scene.request(), &objects).await?;
    assert_eq!(report.failures.len(), 1, "{report:?}");
    assert!(report.failures[0].why.contains("claim 'scratch' belongs to it"), "{report:?}");
    assert_eq!(before, uid(&scene, &deployments, "db").await?);
    uid(&scene, &claims(), "scratch").await?;

    // Without the claim it is made anew, and its former pods do not run beside the new ones.
    scene.cluster.delete_object(&claims(), Some(scene.name()), "scratch").await?;
    eventually("the claim is gone", async || {
        Ok(scene.cluster.read_object(&claims(), Some(scene.name()), "scratch").await?.is_none().then_some(()))
    })
    .await?;
    let report = scene.restore(&scene.request(), &objects).await?;
    assert_eq!((report.failures, report.recreated), (vec![], 1));
    eventually("the former replica set is gone", async || {
        let name = set["metadata"]["name"].as_str().context("name")?;
        Ok(scene.cluster.read_object(&sets, Some(scene.name()), name).await?.is_none().then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_belongs_to_other_objects_made_anew_stays() -> Result<()> {
    let scene = Scene::set("dependents-stay").await?;
    scene.install_shop().await?;
    await_collector(&scene).await?;
    let before = uid(&scene, &crate::application::config_maps(), "made-by-shop").await?;
    let (mut objects, _) = scene.capture().await?;
    change(&mut objects, "Shop", |shop| shop["spec"]["size"] = json!(9))?;
    let shops = format!("shops.{}", scene.group());
    objects.retain(|object| object.kind.resource_name() == shops || object.kind.kind == "Namespace");
    assert_eq!(contents(&objects).len(), 2);
    let rules = [(shops, ConflictRule::Recreate)].into();
    let conflicts = Conflicts { rules, ..Conflicts::default() };
    let report = scene.restore(&RestoreRequest { conflicts, ..scene.request() }, &objects).await?;
    assert_eq!((report.failures, report.recreated), (vec![], 1));
    let child = scene.read(&crate::application::config_maps(), "made-by-shop").await?;
    assert_eq!((&child["metadata"]["uid"], child["metadata"]["ownerReferences"].is_null()), (&before, true));
    Ok(())
}

/// The garbage collector looks for new kinds every half minute; a deletion that leaves dependents behind waits for it.
async fn await_collector(scene: &Scene) -> Result<()> {
    let shop = json!({"metadata": {"name": "probe", "namespace": scene.name()}, "spec": {"size": 1}});
    scene.cluster.create_object(&scene.shop_kind(), &shop).await?;
    let shops = format!("shops.{}", scene.group());
    let words = ["delete", &shops, "probe", "--cascade=orphan", "--timeout=120s", "-n", scene.name()];
    let deleted = scene.plane.kubectl().args(words).output()?;
    anyhow::ensure!(deleted.status.success(), "{deleted:?}");
    Ok(())
}
