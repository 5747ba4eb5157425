//! Coming and going: what is registered, and what is left behind.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use keelson_extension::{Reach, Registration, api_service_name, group_versions};
use keelson_testkit::ControlPlane;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_registered_is_removed_and_nothing_else() {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let registration = |service: &str| Registration {
        namespace: "default".to_owned(),
        service: service.to_owned(),
        port: 7443,
        reach: Reach::Host { name: "localhost".to_owned() },
    };
    let ours = registration("ours");
    // Any PEM will do: nothing is served here.
    let authority = plane.authority();
    ours.register(&client, &authority).await.unwrap();
    ours.register(&client, &authority).await.unwrap();
    let api_services: Api<APIService> = Api::all(client.clone());
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    for version in group_versions() {
        let found = api_services.get(&api_service_name(version)).await.unwrap();
        assert_eq!(found.spec.unwrap().service.unwrap().port, Some(7443));
    }
    // Somebody else serves one of the groups now: it is no longer ours to remove.
    let name = api_service_name(group_versions()[0]);
    api_services.delete(&name, &DeleteParams::default()).await.unwrap();
    let taken = json!({
        "metadata": {"name": name},
        "spec": {
            "group": group_versions()[0].group, "version": group_versions()[0].version, "insecureSkipTLSVerify": true,
            "groupPriorityMinimum": 10, "versionPriority": 10,
            "service": {"name": "theirs", "namespace": "default", "port": 443},
        },
    });
    api_services.create(&PostParams::default(), &serde_json::from_value(taken).unwrap()).await.unwrap();
    ours.unregister(&client).await.unwrap();
    ours.unregister(&client).await.unwrap();
    assert!(api_services.get_opt(&name).await.unwrap().is_some());
    for version in group_versions().into_iter().skip(1) {
        assert!(api_services.get_opt(&api_service_name(version)).await.unwrap().is_none(), "{version}");
    }
    assert!(services.get_opt("ours").await.unwrap().is_none());
    // What an installation left that did not verify us is taken over.
    ours.register(&client, &authority).await.unwrap();
    let spec = api_services.get(&name).await.unwrap().spec.unwrap();
    assert_eq!((spec.service.unwrap().name.as_deref(), spec.insecure_skip_tls_verify), (Some("ours"), None));
    plane.stop().await.unwrap();
}
