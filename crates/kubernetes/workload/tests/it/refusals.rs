//! What cannot be restored, and what the user is told.

use std::time::Duration;

use anyhow::Result;
use keelson_model::{Classified, ErrorClass};
use keelson_testkit::eventually;
use keelson_workload::{
    CaptureError, CaptureRequest, CaptureScope, CapturedObject, Filters, NamespacePhase, RestoreError,
    RestoreReport, RestoreRequest, StatusRule,
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::application::{Scene, config_maps, definitions};

fn failures(report: &RestoreReport) -> Vec<String> {
    report.failures.iter().map(|failure| format!("{}: {}", failure.object, failure.why)).collect()
}

#[tokio::test]
async fn an_object_the_server_refuses_is_told_and_the_rest_comes_back() -> Result<()> {
    let scene = Scene::set("refused").await?;
    scene.install_shop().await?;
    let (before, _) = scene.capture().await?;
    let copy = scene.beside()?;
    // Since the backup the schema became stricter: the captured size of 3 is no longer allowed.
    let mut stricter = scene.definition("shops", "Shop");
    stricter["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]
        ["maximum"] = json!(2);
    scene.apply(&[stricter])?;
    await_refusal(&scene).await?;
    let request = scene.request_into(&copy.namespace);
    let report = scene.restore(&request, &before).await?;
    let failures = failures(&report);
    assert_eq!((report.failed, failures.len()), (1, 1), "{failures:?}");
    assert!(
        failures[0].starts_with("shops.refused.example.com 'refused/front': not restored: create"),
        "{failures:?}"
    );
    assert!(failures[0].contains("should be less than or equal to 2"), "{failures:?}");
    // What it owned came back without the owner, and says so.
    let mut orphans: Vec<String> =
        report.owners_dropped.iter().map(|dropped| dropped.object.name.clone()).collect();
    orphans.sort();
    assert_eq!(orphans, ["books", "made-by-shop"]);
    assert!(copy.read(&config_maps(), "made-by-shop").await?["metadata"]["ownerReferences"].is_null());
    Ok(())
}

/// A changed schema takes a moment to be enforced.
async fn await_refusal(scene: &Scene) -> Result<()> {
    let probe = "shop-probe";
    scene.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": probe}})])?;
    let shop = json!({"metadata": {"name": "probe", "namespace": probe}, "spec": {"size": 3}});
    eventually("the stricter schema holds", async || {
        let answer = scene.cluster.create_object(&scene.shop_kind(), &shop).await;
        scene.cluster.delete_object(&scene.shop_kind(), Some(probe), "probe").await?;
        let refused = answer.err().filter(|error| format!("{error:?}").contains("less than or equal to 2"));
        Ok(refused.map(drop))
    })
    .await
}

#[tokio::test]
async fn a_kind_that_is_gone_or_lost_its_version_is_named() -> Result<()> {
    let scene = Scene::set("version-gone").await?;
    scene.install_shop().await?;
    let (mut before, _) = scene.capture().await?;
    for plural in ["shops", "shelves"] {
        scene.delete_definition(&format!("{plural}.{}", scene.group())).await?;
    }
    // The new release of the operator knows shops only as v2, and no shelves at all.
    let mut newer = scene.definition("shops", "Shop");
    newer["spec"]["versions"][0]["name"] = json!("v2");
    scene.apply(&[newer])?;
    let name = format!("shops.{}", scene.group());
    scene.cluster.wait_established(&name, Duration::from_secs(180)).await?;
    let newest = format!("{}/v2", scene.group());
    eventually("discovery tells of v2", async || {
        Ok(scene.cluster.resolve_kind(&newest, "Shop").await.ok().map(drop))
    })
    .await?;
    before.retain(|object| object.kind.kind != "CustomResourceDefinition");
    let request = scene.request_into(&scene.beside()?.namespace);
    let report = scene.restore(&request, &before).await?;
    let mut told = failures(&report);
    told.sort();
    assert_eq!(
        told,
        [
            "shelves.version-gone.example.com 'version-gone/books': \
         the cluster does not serve 'Shelf' of 'version-gone.example.com'",
            "shops.version-gone.example.com 'version-gone/front': \
         version 'v1' of 'shops.version-gone.example.com' is no longer served; the cluster serves v2",
        ]
    );
    assert!(report.created > 10, "the rest comes back: {report:?}");
    assert!(scene.cluster.read_object(&definitions(), None, &name).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_namespace_stuck_terminating_is_told_with_what_holds_it() -> Result<()> {
    let scene = Scene::set("stuck").await?;
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    scene.apply(&[held])?;
    let (before, _) = scene.capture().await?;
    scene.cluster.delete_object(&crate::application::namespaces(), None, scene.name()).await?;
    eventually("the namespace tells what it waits for", async || {
        let state = scene.cluster.namespace_state(&scene.namespace).await?;
        Ok(state.filter(|state| !state.remaining.is_empty()).map(drop))
    })
    .await?;

    let request = RestoreRequest { terminating_wait: Duration::from_millis(300), ..scene.request() };
    let error = scene.restore(&request, &before).await.expect_err("it is terminating");
    let text = error.to_string();
    assert!(text.starts_with("namespace 'stuck' is terminating (since 20"), "{text}");
    assert!(text.contains("example.com/hold in 1 resource instances"), "{text}");
    assert_eq!(error.class(), ErrorClass::Conflict);
    assert!(error.hint().is_some());

    let request = CaptureRequest {
        scope: CaptureScope::Application(scene.namespace.clone()),
        filters: Filters::default(),
        status: StatusRule::Drop,
    };
    let (sink, _source) = mpsc::channel(1);
    let captured = scene.cluster.capture(&request, sink).await;
    assert!(matches!(captured, Err(CaptureError::NamespaceTerminating { .. })));

    let release = json!([{"op": "remove", "path": "/metadata/finalizers"}]).to_string();
    scene
        .plane
        .kubectl()
        .args(["patch", "configmap", "held", "--type=json", "-p", &release, "-n", scene.name()])
        .output()?;
    let patient = RestoreRequest { terminating_wait: Duration::from_secs(60), ..scene.request() };
    let report = scene.restore(&patient, &before).await?;
    assert_eq!(report.failures, []);
    let state = scene.cluster.namespace_state(&scene.namespace).await?;
    assert_eq!(state.map(|state| state.phase), Some(NamespacePhase::Active));
    Ok(())
}

#[tokio::test]
async fn a_missing_namespace_and_one_of_the_cluster_are_refused() -> Result<()> {
    let scene = Scene::set("refusing").await?;
    let request = CaptureRequest {
        scope: CaptureScope::Application("nowhere".parse()?),
        filters: Filters::default(),
        status: StatusRule::Drop,
    };
    let (sink, _source) = mpsc::channel(1);
    let error = scene.cluster.capture(&request, sink).await.expect_err("there is no such namespace");
    assert_eq!(error.class(), ErrorClass::NotFound);

    let request = scene.request_into(&"kube-system".parse()?);
    let error = scene.restore(&request, &[]).await.expect_err("it is the cluster's");
    assert!(matches!(error, RestoreError::NamespaceOfCluster { .. }));
    Ok(())
}

#[tokio::test]
async fn objects_out_of_order_are_refused() -> Result<()> {
    let scene = Scene::set("order").await?;
    let (mut before, _) = scene.capture().await?;
    before.reverse();
    let error = scene.restore(&scene.request(), &before).await.expect_err("the namespace comes last");
    assert!(matches!(error, RestoreError::LayerOrder { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_capture_whose_reader_goes_away_ends() -> Result<()> {
    let scene = Scene::set("abandoned").await?;
    scene.apply(&[json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})])?;
    let request = CaptureRequest {
        scope: CaptureScope::Application(scene.namespace.clone()),
        filters: Filters::default(),
        status: StatusRule::Drop,
    };
    let (sink, source) = mpsc::channel::<CapturedObject>(1);
    drop(source);
    let error = scene.cluster.capture(&request, sink).await.expect_err("nobody listens");
    assert_eq!(error.class(), ErrorClass::Cancelled);
    Ok(())
}
