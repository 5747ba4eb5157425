//! Groups whose own server does not answer, on a control plane of their own: every client of a cluster suffers from
//! them.

use anyhow::Result;
use keelson_testkit::{ControlPlane, eventually};
use keelson_workload::{
    CaptureReport, CaptureRequest, CaptureScope, CapturedObject, Cluster, Filters, Kind, ResourceFilter,
    StatusRule,
};
use serde_json::json;
use tokio::sync::mpsc;

const GROUP: &str = "away.example.com";

async fn capture(cluster: &Cluster, filters: Filters) -> Result<(CaptureReport, Vec<String>)> {
    let request = CaptureRequest {
        scope: CaptureScope::Application("shop".parse()?),
        filters,
        status: StatusRule::Drop,
    };
    let (sink, mut source) = mpsc::channel::<CapturedObject>(64);
    let mut names = Vec::new();
    let gather = async {
        while let Some(object) = source.recv().await {
            names.push(format!("{} {}", object.kind, object.name));
        }
    };
    let (report, ()) = tokio::join!(cluster.capture(&request, sink), gather);
    Ok((report?, names))
}

#[tokio::test]
async fn a_group_whose_server_is_away_is_named_and_everything_else_is_captured() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let cluster = Cluster::from_client(plane.client().await?);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    cluster.apply_manifest(&namespace).await?;
    let settings = json!({"metadata": {"name": "settings", "namespace": "shop"}, "data": {"colour": "blue"}});
    cluster.create_object(&Kind::namespaced("v1", "ConfigMap", "configmaps"), &settings).await?;
    let api_service = json!({
        "metadata": {"name": format!("v1.{GROUP}")},
        "spec": {"group": GROUP, "version": "v1", "insecureSkipTLSVerify": true, "groupPriorityMinimum": 10,
            "versionPriority": 10, "service": {"name": "nowhere", "namespace": "shop", "port": 443}},
    });
    let kind = Kind::cluster("apiregistration.k8s.io/v1", "APIService", "apiservices");
    cluster.create_object(&kind, &api_service).await?;

    let (report, names) = eventually("the cluster knows that the server is away", async || {
        let captured = capture(&cluster, Filters::default()).await?;
        Ok((!captured.0.failed.is_empty()).then_some(captured))
    })
    .await?;
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    assert_eq!(report.failed[0].resource, "away.example.com/v1");
    assert!(report.failed[0].why.contains("APIService 'v1.away.example.com'"), "{:?}", report.failed);
    assert!(names.contains(&"configmaps settings".to_owned()), "{names:?}");

    let other = ResourceFilter { group: "core".to_owned(), ..ResourceFilter::default() };
    let (report, names) =
        capture(&cluster, Filters { include_resources: vec![other], ..Filters::default() }).await?;
    assert_eq!(report.failed, [], "nothing of the group was asked for");
    assert!(names.contains(&"configmaps settings".to_owned()), "{names:?}");
    plane.stop().await
}
