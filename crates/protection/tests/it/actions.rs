//! Actions on a real API server: their names, their order, their end.

use anyhow::Result;
use serde_json::json;

use crate::fixture::{World, config, make_valid, profile};

/// A backup whose name had been used before captured three times and ended with a reason that was not the reason;
/// two namespaces could take each other's names of contents.
#[tokio::test(flavor = "multi_thread")]
async fn an_action_may_be_named_like_one_before_or_beside_it() -> Result<()> {
    let mut world = World::start().await?;
    for namespace in ["a", "a-b"] {
        world.namespace(namespace).await?;
    }
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    let long = "n".repeat(253);
    let mut points = Vec::new();
    for (namespace, name) in [("a", "b-c"), ("a-b", "c"), ("a", "b-c"), ("a", &long)] {
        let subject = json!({ "subject": { "name": namespace, "namespace": namespace } });
        world.create("BackupAction", (namespace, name), subject).await?;
        let backup = world.completed("BackupAction", (namespace, name)).await?;
        world.delete("BackupAction", (namespace, name)).await?;
        points.push((namespace, backup.body.status["restorePoint"]["name"].as_str().unwrap().to_owned()));
    }
    let spec = json!({ "subject": { "kind": "RestorePoint", "name": points[0].1, "namespace": "a" },
        "profile": { "name": "vault", "namespace": "kasten-io" } });
    world.create("ExportAction", ("a", "b-c"), spec).await?;
    world.completed("ExportAction", ("a", "b-c")).await?;
    for (namespace, name) in &points {
        assert!(world.read("RestorePoint", (namespace, name))?.is_some(), "{namespace}/{name}");
    }
    assert_eq!(world.list("RestorePointContent")?.len(), 5);
    world.end().await
}
