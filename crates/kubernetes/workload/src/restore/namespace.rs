//! The namespace that a restore goes into: it is there, it is not going away, it is not the cluster's own.

use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use super::failure::Stop;
use super::{RestoreError, Run};
use crate::cluster::{Cluster, NamespacePhase, namespace_kind};
use crate::names::NamespaceName;
use crate::request::{Call, Content, RequestError, Verb};

const OF_CLUSTER: &[&str] = &["kube-system", "kube-public", "kube-node-lease"];
const POLL: Duration = Duration::from_millis(250);

/// Waits, for so long, until a namespace that is being deleted is gone.
pub(super) async fn await_usable(
    cluster: &Cluster,
    namespace: &NamespaceName,
    within: Duration,
) -> Result<(), RestoreError> {
    if OF_CLUSTER.contains(&namespace.as_str()) {
        return Err(RestoreError::NamespaceOfCluster { namespace: namespace.clone() });
    }
    let end = Instant::now() + within;
    loop {
        match terminating(cluster, namespace).await? {
            None => return Ok(()),
            Some(error) if Instant::now() + POLL > end => return Err(error),
            Some(_) => sleep(POLL).await,
        }
    }
}

/// The error that a namespace in deletion stands for, with what it waits for; None if it is usable or absent.
pub(super) async fn terminating(
    cluster: &Cluster,
    namespace: &NamespaceName,
) -> Result<Option<RestoreError>, RestoreError> {
    let state = cluster.namespace_state(namespace).await;
    let state =
        state.map_err(|source| RestoreError::ReadNamespace { namespace: namespace.clone(), source })?;
    Ok(state.filter(|state| state.phase == NamespacePhase::Terminating).map(|state| {
        let since = state.terminating_since.unwrap_or_else(|| "an unknown time".to_owned());
        RestoreError::NamespaceTerminating { namespace: namespace.clone(), since, remaining: state.remaining }
    }))
}

/// Creates the namespace when the backup held none, or the filters left it out.
pub(super) async fn ensure(run: &Run<'_>, namespace: &NamespaceName) -> Result<(), RestoreError> {
    let state = run.cluster.namespace_state(namespace).await;
    if state.map_err(|source| RestoreError::ReadNamespace { namespace: namespace.clone(), source })?.is_some()
    {
        return Ok(());
    }
    let kind = namespace_kind();
    match run.reviews.check("create", &kind).await {
        Ok(()) => {}
        Err(Stop::Whole(error)) => return Err(*error),
        Err(Stop::Skip(_) | Stop::Object(_)) => {
            let user = run.reviews.user().to_owned();
            return Err(RestoreError::NamespaceDenied { namespace: namespace.clone(), user });
        }
    }
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.as_str()}});
    let url = "/api/v1/namespaces".to_owned();
    let call = Call::new(Verb::Create, namespace, url)
        .body(Content::Json, body.to_string())
        .on_behalf_of(run.reviews.impersonation());
    match run.cluster.wire().send(&call).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_exists() => Ok(()),
        Err(source) => Err(create_error(namespace, source)),
    }
}

fn create_error(namespace: &NamespaceName, source: RequestError) -> RestoreError {
    RestoreError::CreateNamespace { namespace: namespace.clone(), source }
}
