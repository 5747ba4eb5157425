//! What others left under our names, and what they still serve.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Service;
use keelson_protection::TakenApi;
use keelson_testkit::eventually;
use kube::Api;
use kube::api::DeleteParams;

use super::{ALL, HOME, STANDING_TIMES, Serve, Stage, assert_stays};

/// An APIService with `insecureSkipTLSVerify` beside our bundle was refused, and ended us again and again.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_installation_left_is_taken_over_or_removed_and_what_lives_is_left_alone() {
    let stage = Stage::raise().await;
    stage.namespace("elsewhere").await;
    let (before, theirs) = ("aggregatedapis-svc", "theirs");
    stage.service(HOME, before).await;
    stage.service("elsewhere", theirs).await;
    for group in ["actions", "datamover", "dr", "repositories", "vault"] {
        stage.api_service(group, HOME, before).await;
    }
    // Not answered now; but there is a Service, and it is not in our namespace.
    stage.api_service("apps", "elsewhere", theirs).await;
    stage.api_service("reporting", "elsewhere", theirs).await;
    let version = async |group: &str| {
        stage
            .api_services
            .get(&format!("v1alpha1.{group}.kio.kasten.io"))
            .await
            .unwrap()
            .metadata
            .resource_version
    };
    eventually("the cluster has found that nobody answers", async || {
        let found = stage.api_services.get("v1alpha1.apps.kio.kasten.io").await?;
        let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|it| it.type_ == "Available" && it.status == "False").then_some(()))
    })
    .await
    .unwrap();
    let untouched = version("apps").await;

    let told: Arc<Mutex<Vec<(String, TakenApi)>>> = Arc::default();
    let telling = Arc::clone(&told);
    let tell = move |taken: BTreeMap<_, _>| *telling.lock().unwrap() = taken.into_iter().collect();
    let standing = stage.standing("a", "1", Arc::new(|_| true)).telling_taken(Arc::new(tell));
    let _serve = Serve::begin(standing);
    stage.await_registered(&["actions", "dr", "repositories", "vault"]).await;
    eventually("what nobody serves any more is removed", async || {
        Ok(stage.leads_to("datamover").await.is_none().then_some(()))
    })
    .await
    .unwrap();
    assert_stays(2 * STANDING_TIMES.assert_every, async || {
        assert_eq!(version("apps").await, untouched, "what is somebody else's is not touched");
        assert_eq!(stage.leads_to("reporting").await.as_deref(), Some("elsewhere/theirs"));
    })
    .await;

    let uid = stage.api_services.get("v1alpha1.apps.kio.kasten.io").await.unwrap().metadata.uid.unwrap();
    let taken = TakenApi { uid, by: "Service 'elsewhere/theirs'".to_owned() };
    assert_eq!(*told.lock().unwrap(), [("v1alpha1.apps.kio.kasten.io".to_owned(), taken)]);

    // When its server is gone for good, so is its claim.
    let services: Api<Service> = Api::namespaced(stage.client.clone(), "elsewhere");
    services.delete(theirs, &DeleteParams::default()).await.unwrap();
    stage.await_registered(&ALL).await;
    eventually("nothing is told to be taken", async || Ok(told.lock().unwrap().is_empty().then_some(())))
        .await
        .unwrap();
    eventually("the other is removed", async || {
        Ok(stage.leads_to("reporting").await.is_none().then_some(()))
    })
    .await
    .unwrap();
    let spec = stage.api_services.get("v1alpha1.actions.kio.kasten.io").await.unwrap().spec.unwrap();
    assert_eq!(spec.insecure_skip_tls_verify, None);
    stage.plane.stop().await.unwrap();
}
