//! Our own configuration in the cluster.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use jiff::Timestamp;
use keelson_model::{Classified, ErrorClass};
use keelson_workload::{
    AccessDecision, ChangeKind, Cluster, ClusterAccess, ConfigMap, Creation, EventRecord, EventSeverity,
    Kind, NamespacedName, Requester, Secret, SubjectReview,
};
use serde_json::json;

use crate::application::{Scene, config_maps};

#[tokio::test]
async fn a_cluster_is_reached_by_its_kubeconfig_and_knows_its_id() -> Result<()> {
    let scene = Scene::set("config-connect").await?;
    let access = ClusterAccess::Kubeconfig(scene.plane.kubeconfig().to_owned());
    let cluster = Cluster::connect(&access).await?;
    let id = cluster.cluster_id().await?;
    assert_eq!(id, scene.cluster.cluster_id().await?);
    let states = cluster.namespaces().await?;
    let default = states.iter().find(|state| state.name == "default").context("default")?;
    assert_eq!(default.uid, id.as_str());
    let missing = Cluster::connect(&ClusterAccess::Kubeconfig("/nowhere/config".into())).await;
    assert_eq!(missing.err().map(|error| error.class()), Some(ErrorClass::Invalid));
    Ok(())
}

#[tokio::test]
async fn secrets_and_config_maps_are_applied_read_and_deleted() -> Result<()> {
    let scene = Scene::set("config-secrets").await?;
    let at = NamespacedName::new(scene.name(), "k10-dr-secret");
    assert!(scene.cluster.read_secret(&at).await?.is_none());
    let secret = Secret::opaque(at.clone(), [("key".to_owned(), b"horse".to_vec())]);
    assert!(matches!(scene.cluster.create_secret(&secret).await?, Creation::Created(_)));
    assert_eq!(scene.cluster.create_secret(&secret).await?, Creation::Existed);
    let changed = Secret::opaque(at.clone(), [("key".to_owned(), b"staple".to_vec())]);
    scene.cluster.apply_secret(&changed).await?;
    let read = scene.cluster.read_secret(&at).await?.context("applied")?;
    assert_eq!(read.data["key"].as_slice(), b"staple");
    scene.cluster.delete_secret(&at).await?;
    scene.cluster.delete_secret(&at).await?;
    assert!(scene.cluster.read_secret(&at).await?.is_none());

    let at = NamespacedName::new(scene.name(), "k10-dr-remove-to-get-ownership");
    let map = ConfigMap::new(at.clone(), [("cluster".to_owned(), "x".to_owned())].into());
    scene.cluster.apply_config_map(&map).await?;
    assert_eq!(scene.cluster.read_config_map(&at).await?.context("applied")?.data, map.data);
    scene.cluster.delete_config_map(&at).await?;
    assert_eq!(scene.cluster.read_config_map(&at).await?, None);
    Ok(())
}

#[tokio::test]
async fn what_somebody_else_made_as_it_should_be_stays_theirs() -> Result<()> {
    let scene = Scene::set("config-made").await?;
    let manifest = |color: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "made", "namespace": scene.name() }, "data": { "color": color },
        })
    };
    let mut made = manifest("red");
    made["data"]["theirs"] = json!("kept");
    scene.cluster.create_object(&config_maps(), &made).await?;
    let read = async || {
        let object = scene.cluster.read_object(&config_maps(), Some(scene.name()), "made").await?;
        object.context("it is there")
    };
    let before = read().await?;
    scene.cluster.apply_unless_made(&manifest("red")).await?;
    assert_eq!(read().await?, before, "nothing was to be done");

    scene.cluster.apply_unless_made(&manifest("green")).await?;
    let after = read().await?;
    assert_eq!(after["data"], json!({ "color": "green", "theirs": "kept" }));
    Ok(())
}

/// Helm 4 applies on the server and does not force: what is ours it could not change.
#[tokio::test]
async fn what_had_to_be_changed_of_an_object_that_a_chart_applies_is_the_charts_again() -> Result<()> {
    let scene = Scene::set("config-applied").await?;
    let manifest = |color: &str, bound: f64| {
        let mut definition = scene.definition("lamps", "Lamp");
        let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        schema["description"] = json!(color);
        schema["properties"]["hours"] = json!({ "type": "number", "maximum": bound });
        definition
    };
    let name = format!("lamps.{}", scene.group());
    let kind =
        Kind::cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions");
    let ours = async || {
        let object = scene.cluster.read_object(&kind, None, &name).await?.context("it is there")?;
        let managers = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let ours = managers.iter().any(|one| one["manager"] == "keelson" && one["operation"] == "Apply");
        let schema = &object["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        anyhow::Ok((schema["description"].clone(), ours))
    };
    scene.apply(&[manifest("red", 23.0)])?;
    scene.cluster.apply_unless_made(&manifest("red", 23.0)).await?;
    assert_eq!(ours().await?, (json!("red"), false), "nothing was to be done");

    scene.cluster.apply_unless_made(&manifest("green", 24.0)).await?;
    assert_eq!(ours().await?, (json!("green"), false), "changed, and left to who applies it");
    scene.apply(&[manifest("blue", 25.0)])?;
    assert_eq!(ours().await?, (json!("blue"), false));
    scene.cluster.delete_object(&kind, None, &name).await.context("remove the definition")
}

#[tokio::test]
async fn a_manifest_is_applied_waited_for_and_deleted() -> Result<()> {
    let scene = Scene::set("config-manifest").await?;
    let name = format!("shops.{}", scene.group());
    let definition = scene.definition("shops", "Shop");
    scene.cluster.apply_manifest(&definition).await?;
    scene.cluster.apply_manifest(&definition).await?;
    scene.cluster.wait_established(&name, Duration::from_secs(180)).await?;
    let shop = json!({"metadata": {"name": "a", "namespace": scene.name()}, "spec": {"size": 1}});
    keelson_testkit::eventually("the kind is served", async || {
        Ok(scene.cluster.apply_object(&scene.shop_kind(), &shop).await.ok())
    })
    .await?;
    let status = json!({"ready": true});
    let patched = scene.cluster.patch_status(&scene.shop_kind(), Some(scene.name()), "a", &status).await;
    patched.context("the status is a subresource")?;
    let kind =
        Kind::cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions");
    scene.cluster.delete_object(&kind, None, &name).await?;
    let never = scene.cluster.wait_established("nothing.example.com", Duration::from_millis(60)).await;
    assert!(matches!(never.map_err(|error| error.class()), Err(ErrorClass::Unavailable { .. })));
    let unknown =
        json!({"apiVersion": "nowhere.example.com/v1", "kind": "Nothing", "metadata": {"name": "x"}});
    let error = scene.cluster.apply_manifest(&unknown).await.expect_err("nobody serves it");
    assert_eq!(error.to_string(), "the cluster does not serve 'Nothing' in 'nowhere.example.com/v1'");
    Ok(())
}

#[tokio::test]
async fn a_watch_lists_and_then_follows() -> Result<()> {
    let scene = Scene::set("config-watch").await?;
    let map = |name: &str| json!({"metadata": {"name": name, "namespace": scene.name(), "labels": {"mine": "yes"}}});
    scene.cluster.apply_object(&config_maps(), &map("before")).await?;
    let mut events = Box::pin(scene.cluster.watch(vec![config_maps()], Some(scene.name())));
    let mut listed = Vec::new();
    loop {
        let event = events.next().await.context("endless")??;
        match event.change {
            ChangeKind::Restarted => listed.clear(),
            ChangeKind::Applied => listed.push(event.name),
            ChangeKind::Listed => break,
            ChangeKind::Deleted => {}
        }
    }
    assert!(listed.contains(&"before".to_owned()));
    scene.cluster.apply_object(&config_maps(), &map("after")).await?;
    scene.cluster.delete_object(&config_maps(), Some(scene.name()), "after").await?;
    let mut seen = Vec::new();
    while seen.last() != Some(&ChangeKind::Deleted) {
        let event = events.next().await.context("endless")??;
        if event.name == "after" {
            assert_eq!(event.labels["mine"], "yes");
            assert_eq!(event.object["metadata"]["uid"], event.uid.as_str());
            seen.push(event.change);
        }
    }
    assert_eq!(seen, [ChangeKind::Applied, ChangeKind::Deleted]);
    Ok(())
}

#[tokio::test]
async fn a_review_tells_what_a_requester_may_do() -> Result<()> {
    let scene = Scene::set("config-review").await?;
    let admin = Requester {
        user: "root".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..Requester::default()
    };
    let nobody = Requester { user: "nobody".to_owned(), ..Requester::default() };
    let review = |requester| SubjectReview {
        requester,
        verb: "get",
        group: "apps.kio.kasten.io",
        resource: "restorepoints",
        subresource: "details",
        namespace: "shop",
        name: "point",
    };
    assert!(scene.cluster.subject_access_review(&review(&admin)).await?.is_allowed());
    let denied = scene.cluster.subject_access_review(&review(&nobody)).await?;
    assert!(matches!(denied, AccessDecision::Denied { .. }));
    Ok(())
}

#[tokio::test]
async fn an_event_is_recorded_once() -> Result<()> {
    let scene = Scene::set("config-event").await?;
    let record = EventRecord {
        about: Kind::namespaced("v1", "ConfigMap", "configmaps"),
        at: NamespacedName::new(scene.name(), "settings"),
        uid: String::new(),
        severity: EventSeverity::Warning,
        reason: "BackupFailed".to_owned(),
        action: "Backup".to_owned(),
        note: "the location cannot be reached".to_owned(),
        instance: "keelson-0".to_owned(),
    };
    let at: Timestamp = "2026-02-03T04:05:06Z".parse()?;
    assert!(matches!(scene.cluster.record_event(&record, at).await?, Creation::Created(_)));
    assert_eq!(scene.cluster.record_event(&record, at).await?, Creation::Existed);
    let events = Kind::namespaced("events.k8s.io/v1", "Event", "events");
    let listed = scene.cluster.list_objects(&events, Some(scene.name()), None).await?;
    let ours: Vec<_> = listed.iter().filter(|event| event["reason"] == "BackupFailed").collect();
    assert_eq!((ours.len(), &ours[0]["regarding"]["name"]), (1, &json!("settings")));
    Ok(())
}
