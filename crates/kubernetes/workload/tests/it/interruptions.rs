//! A restore that ends in the middle of making an object anew: the object is there all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt};
use http::{Method, Request, Response};
use keelson_testkit::eventually;
use keelson_workload::{
    CapturedObject, Cluster, ConflictRule, Conflicts, DecodeObjectsError, Kind, RestoreRequest,
};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::application::Scene;

fn secrets() -> Kind {
    Kind::namespaced("v1", "Secret", "secrets")
}

/// The way to the control plane: what is created after a deletion is held until the test lets it pass.
struct Wire {
    deleted: AtomicBool,
    creates: AtomicU32,
    /// Which of the creates after the deletion is held, counted from 0; those before are refused.
    held: u32,
    reached: Semaphore,
    passing: Semaphore,
}

impl Wire {
    fn holding(held: u32) -> Arc<Self> {
        Arc::new(Self {
            deleted: AtomicBool::default(),
            creates: AtomicU32::default(),
            held,
            reached: Semaphore::new(0),
            passing: Semaphore::new(0),
        })
    }

    async fn cluster(self: &Arc<Self>, scene: &Scene) -> Result<Cluster> {
        let (client, wire) = (scene.plane.client().await?, self.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (client, wire) = (client.clone(), wire.clone());
            let answer = async move {
                match wire.meet(request.method().clone(), request.uri().path().to_owned()).await {
                    Some(refusal) => Ok(refusal),
                    None => client.send(request).await,
                }
            };
            answer.boxed()
        });
        Ok(Cluster::from_client(kube::Client::new(service, "default")))
    }

    async fn meet(&self, method: Method, path: String) -> Option<Response<Body>> {
        if path.contains("/secrets") && method == Method::DELETE {
            self.deleted.store(true, Ordering::SeqCst);
        }
        let creates = path.ends_with("/secrets") && method == Method::POST;
        if !creates || !self.deleted.load(Ordering::SeqCst) {
            return None;
        }
        let number = self.creates.fetch_add(1, Ordering::SeqCst);
        if number < self.held {
            let body =
                json!({"kind": "Status", "code": 422, "reason": "Invalid", "message": "no"}).to_string();
            return Some(Response::builder().status(422).body(body.into_bytes().into()).expect("a response"));
        }
        self.reached.add_permits(1);
        self.passing.acquire().await.expect("open").forget();
        self.passing.add_permits(1);
        None
    }

    async fn reached(&self) {
        self.reached.acquire().await.expect("open").forget();
    }
}

/// A namespace with a Secret that changed since it was captured, and the request to make it anew.
async fn changed_secret(namespace: &str) -> Result<(Scene, RestoreRequest, Vec<CapturedObject>)> {
    let scene = Scene::set(namespace).await?;
    let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"k": value}});
    scene.apply(&[secret("captured")])?;
    let (mut objects, _) = scene.capture().await?;
    objects.retain(|object| ["Namespace", "Secret"].contains(&object.kind.kind.as_str()));
    scene.apply(&[secret("changed")])?;
    let rules = [("secrets".to_owned(), ConflictRule::Recreate)].into();
    let request =
        RestoreRequest { conflicts: Conflicts { rules, ..Conflicts::default() }, ..scene.request() };
    Ok((scene, request, objects))
}

/// Waits for the Secret as it comes to be, whoever waits for the restore.
async fn secret(scene: &Scene) -> Result<Value> {
    eventually("the Secret is there", async || {
        let secret = scene.cluster.read_object(&secrets(), Some(scene.name()), "key").await?;
        Ok(secret.map(|secret| secret["data"]["k"].clone()))
    })
    .await
}

fn captured(objects: &[CapturedObject]) -> BoxStream<'static, Result<CapturedObject, DecodeObjectsError>> {
    stream::iter(objects.to_vec()).map(Ok).boxed()
}

async fn drop_in_the_middle(namespace: &str, held: u32) -> Result<Value> {
    let (scene, request, objects) = changed_secret(namespace).await?;
    let wire = Wire::holding(held);
    let cluster = wire.cluster(&scene).await?;
    {
        let restoring = std::pin::pin!(cluster.restore(&request, captured(&objects), &|_| {}));
        tokio::select! {
            report = restoring => anyhow::bail!("the restore ended: {report:?}"),
            () = wire.reached() => {}
        }
    }
    let gone = scene.cluster.read_object(&secrets(), Some(scene.name()), "key").await?;
    anyhow::ensure!(gone.is_none(), "it is dropped between deletion and creation");
    wire.passing.add_permits(1);
    cluster.finish_steps().await;
    scene
        .cluster
        .read_object(&secrets(), Some(scene.name()), "key")
        .await?
        .map(|secret| secret["data"]["k"].clone())
        .context("the Secret is lost")
}

#[tokio::test]
async fn an_object_is_made_anew_also_when_the_restore_is_dropped() -> Result<()> {
    assert_eq!(drop_in_the_middle("dropped-creating", 0).await?, "Y2FwdHVyZWQ=");
    Ok(())
}

#[tokio::test]
async fn an_object_is_put_back_also_when_the_restore_is_dropped() -> Result<()> {
    assert_eq!(drop_in_the_middle("dropped-putting-back", 1).await?, "Y2hhbmdlZA==");
    Ok(())
}

/// Work in flight was dropped with the error of another object.
#[tokio::test]
async fn an_object_is_made_anew_also_when_the_backup_breaks_off() -> Result<()> {
    let (scene, request, objects) = changed_secret("broken-off").await?;
    let wire = Wire::holding(0);
    let cluster = wire.cluster(&scene).await?;
    // Out of order, as a forged or damaged backup may be.
    let namespace =
        objects.iter().find(|object| object.kind.kind == "Namespace").context("captured")?.clone();
    let held = wire.clone();
    let breaking = stream::once(async move {
        held.reached().await;
        held.passing.add_permits(1);
        Ok(namespace)
    });
    let stream = captured(&objects).chain(breaking).boxed();
    let error = cluster.restore(&request, stream, &|_| {}).await.expect_err("it breaks off");
    assert!(error.to_string().contains("comes after the layer"), "{error}");
    let now = scene.cluster.read_object(&secrets(), Some(scene.name()), "key").await?;
    assert_eq!(now.context("the Secret is lost")?["data"]["k"], "Y2FwdHVyZWQ=");
    assert_eq!(secret(&scene).await?, "Y2FwdHVyZWQ=");
    Ok(())
}

/// What a namespace in deletion answers ends the whole restore, but not before the object is cared for.
#[tokio::test]
async fn an_object_refused_anew_is_put_back_with_its_field_managers() -> Result<()> {
    let (scene, request, objects) = changed_secret("refused-anew").await?;
    let wire = Wire::holding(1);
    wire.passing.add_permits(1);
    let cluster = wire.cluster(&scene).await?;
    let report = cluster.restore(&request, captured(&objects), &|_| {}).await?;
    assert_eq!(report.failures.len(), 1, "{report:?}");
    assert!(report.failures[0].why.contains("was refused, and was put back"), "{report:?}");
    let live = scene.read(&secrets(), "key").await?;
    assert_eq!(live["data"]["k"], "Y2hhbmdlZA==");
    let managers = live["metadata"]["managedFields"].to_string();
    assert!(managers.contains("helm") && !managers.contains("keelson"), "{managers}");
    Ok(())
}
