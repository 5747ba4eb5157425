//! An API group whose own server does not answer: it fails a backup by its name, unless the backup may go on without.

use anyhow::Result;
use keelson_testkit::eventually;
use keelson_workload::{CaptureRequest, CaptureScope, CapturedObject, Filters, Kind, StatusRule};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::fixture::World;
use crate::stage::{NAMESPACE, config, make_valid};

const SHOP: &str = "shop";
const GROUP: &str = "away.example.com";

/// Registers a server that is nowhere, and waits until the cluster knows.
pub(crate) async fn lose_a_group(world: &World) -> Result<()> {
    let cluster = world.platform.cluster();
    let api_service = json!({
        "metadata": { "name": format!("v1.{GROUP}") },
        "spec": { "group": GROUP, "version": "v1", "insecureSkipTLSVerify": true, "groupPriorityMinimum": 10,
            "versionPriority": 10, "service": { "name": "nowhere", "namespace": SHOP, "port": 443 } },
    });
    let kind = Kind::cluster("apiregistration.k8s.io/v1", "APIService", "apiservices");
    cluster.create_object(&kind, &api_service).await?;
    let request = CaptureRequest {
        scope: CaptureScope::Application(SHOP.parse()?),
        filters: Filters::default(),
        status: StatusRule::Drop,
    };
    eventually("the cluster knows that the server is away", async || {
        let (sink, mut source) = mpsc::channel::<CapturedObject>(64);
        let drain = async { while source.recv().await.is_some() {} };
        let (report, ()) = tokio::join!(cluster.capture(&request, sink), drain);
        Ok((!report?.failed.is_empty()).then_some(()))
    })
    .await
}

pub(crate) fn policy(parameters: &Value) -> Value {
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Policy",
        "metadata": { "name": "nightly", "namespace": NAMESPACE },
        "spec": {
            "frequency": "@daily", "retention": { "daily": 7 },
            "selector": { "matchExpressions": [
                { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": [SHOP] } ] },
            "actions": [{ "action": "backup", "backupParameters": parameters }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_does_not_answer_fails_a_backup_unless_its_policy_ignores_exceptions() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(SHOP).await?;
    lose_a_group(&world).await?;
    world.serve();

    let backup = json!({ "subject": { "name": SHOP, "namespace": SHOP } });
    world.create("BackupAction", (SHOP, "strict"), backup).await?;
    let strict = world.ended("BackupAction", (SHOP, "strict")).await?;
    assert_eq!(strict.body.status["state"], "Failed", "{}", strict.body.status);
    let message = strict.body.status["error"]["message"].as_str().unwrap_or_default();
    for told in
        ["away.example.com/v1 of namespace 'shop'", "'v1.away.example.com'", "; hint: ", "ignoreExceptions"]
    {
        assert!(message.contains(told), "'{told}' is not in: {message}");
    }

    let lenient = policy(&json!({ "ignoreExceptions": true }));
    make_valid(&world.platform, &config("Policy", "policies"), &lenient).await?;
    let run = json!({ "subject": { "kind": "Policy", "name": "nightly", "namespace": NAMESPACE } });
    world.create("RunAction", (NAMESPACE, "run"), run).await?;
    let run = world.completed("RunAction", (NAMESPACE, "run")).await?;
    let told = run.body.status["exceptions"].to_string();
    assert!(told.contains("away.example.com/v1: could not be read"), "{told}");
    let points = world.list("RestorePoint")?;
    assert_eq!(points.len(), 1, "of the lenient backup alone");
    world.end().await
}
