//! A restore does what its requester may do, and no more.

use anyhow::Result;
use keelson_workload::{Authority, Impersonation, RbacRule, Requester, RestoreReport, RestoreRequest};
use serde_json::json;

use crate::application::{Scene, config_maps};

/// Alice may write config maps here, and read nothing.
async fn scene_of_alice(namespace: &str) -> Result<(Scene, Requester)> {
    let scene = Scene::set(namespace).await?;
    scene.install_shop().await?;
    scene.apply(&[
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "alice"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "alice"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "alice"},
            "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}]}),
    ])?;
    let alice = Requester { user: "alice".to_owned(), ..Requester::default() };
    scene.await_right(&alice, "create", ("", "configmaps"), namespace).await?;
    Ok((scene, alice))
}

async fn restore_deleted(scene: &Scene, authority: Authority) -> Result<RestoreReport> {
    let (before, _) = scene.capture().await?;
    let secrets = keelson_workload::Kind::namespaced("v1", "Secret", "secrets");
    scene.cluster.delete_object(&config_maps(), Some(scene.name()), "settings").await?;
    scene.cluster.delete_object(&secrets, Some(scene.name()), "password").await?;
    let request = RestoreRequest { authority, rbac: RbacRule::Leave, ..scene.request() };
    Ok(scene.restore(&request, &before).await?)
}

fn why(report: &RestoreReport, name: &str) -> Option<String> {
    report.failures.iter().find(|failure| failure.object.name == name).map(|failure| failure.why.clone())
}

#[tokio::test]
async fn a_requester_is_impersonated() -> Result<()> {
    let (scene, alice) = scene_of_alice("rights-impersonated").await?;
    let report = restore_deleted(&scene, Authority::OnBehalfOf(Impersonation::try_from(&alice)?)).await?;
    let settings = scene.read(&config_maps(), "settings").await?;
    assert_eq!(settings["metadata"]["managedFields"][0]["manager"], "helm");
    let refused = why(&report, "password").unwrap_or_default();
    assert!(refused.contains(r#"User "alice" cannot create resource "secrets""#), "{refused}");
    assert_eq!(why(&report, scene.name()), None, "the namespace exists: nobody needs to create it");
    Ok(())
}

#[tokio::test]
async fn a_requester_with_a_name_of_the_cluster_is_reviewed() -> Result<()> {
    let (scene, alice) = scene_of_alice("rights-reviewed").await?;
    let report = restore_deleted(&scene, Authority::Reviewed(alice)).await?;
    scene.read(&config_maps(), "settings").await?;
    assert_eq!(why(&report, "password").as_deref(), Some("'alice' may not create secrets"));
    assert_eq!(why(&report, scene.name()), None);
    Ok(())
}
