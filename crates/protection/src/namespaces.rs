//! Namespaces as the cluster has them at this moment, for decisions that a list of a second ago is too old for; and as a
//! watch tells them, where what goes wrong in that second is put right later.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use keelson_model::{Classified, ClusterId, ErrorClass};
use keelson_workload::{ChangeKind, ConfigEvent, Kind, RequestError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::platform::Platform;
use crate::records::Record;

/// After the watch was interrupted. Meanwhile each namespace is asked for.
const AGAIN: Duration = Duration::from_secs(1);

/// Which namespace something belongs to: a new one of the same name is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceId {
    /// After a recovery onto another cluster the uid says nothing.
    pub cluster: ClusterId,
    pub uid: String,
}

/// The namespace that a record was made in. Absent where that was not noted.
pub(crate) fn noted(record: &Record) -> Option<NamespaceId> {
    let noted = record.body.internal.get("namespace")?;
    NamespaceId::deserialize(noted).ok()
}

pub(crate) fn note(record: &mut Record, namespace: &NamespaceId) {
    if !record.body.internal.is_object() {
        record.body.internal = json!({});
    }
    record.body.internal["namespace"] = serde_json::to_value(namespace).expect("plain data");
}

/// A namespace that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveNamespace {
    pub id: NamespaceId,
    pub created: Option<Timestamp>,
    pub lifetime: Lifetime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Staying,
    Terminating,
}

/// The cluster did not say whether a namespace is there.
#[derive(Debug, thiserror::Error)]
#[error("read namespace '{name}'")]
pub struct ReadNamespaceError {
    name: String,
    source: RequestError,
}

impl Classified for ReadNamespaceError {
    fn class(&self) -> ErrorClass {
        self.source.class()
    }

    fn code(&self) -> &'static str {
        "namespace.read"
    }
}

/// The namespace of this name, if there is one.
pub(crate) async fn find(
    platform: &Platform,
    name: &str,
) -> Result<Option<LiveNamespace>, ReadNamespaceError> {
    let found = platform.cluster.read_object(&kind(), None, name).await;
    let found = found.map_err(|source| ReadNamespaceError { name: name.to_owned(), source })?;
    Ok(found.map(|object| parse(&object, &platform.cluster_id)))
}

/// Where something new may be put: the namespace exists and is there to stay.
pub(crate) async fn find_staying(
    platform: &Platform,
    name: &str,
) -> Result<Option<NamespaceId>, ReadNamespaceError> {
    let found = find(platform, name).await?;
    Ok(found.filter(|live| live.lifetime == Lifetime::Staying).map(|live| live.id))
}

/// Where something new may be put, as far as a namespace that has just begun to go may still be taken for one that stays.
/// Only what the watch has not told of is asked for.
pub(crate) async fn recall_staying(
    platform: &Platform,
    name: &str,
) -> Result<Option<NamespaceId>, ReadNamespaceError> {
    match recall(platform, name).await? {
        Some(LiveNamespace { id, lifetime: Lifetime::Staying, .. }) => Ok(Some(id)),
        Some(_) | None => Ok(None),
    }
}

/// The same, whatever becomes of it.
pub(crate) async fn recall(
    platform: &Platform,
    name: &str,
) -> Result<Option<LiveNamespace>, ReadNamespaceError> {
    match platform.namespaces.find(name) {
        Some(uid) => {
            let id = NamespaceId { cluster: platform.cluster_id.clone(), uid };
            Ok(Some(LiveNamespace { id, created: None, lifetime: Lifetime::Staying }))
        }
        None => find(platform, name).await,
    }
}

/// The namespaces that are there to stay, as a watch tells.
#[derive(Debug, Default)]
pub(crate) struct StayingNamespaces(Mutex<Staying>);

#[derive(Debug, Default)]
struct Staying {
    uids: HashMap<String, String>,
    /// The watch is alive, and has told of all that there are.
    is_current: bool,
}

impl StayingNamespaces {
    /// Its uid. Of none that it does not know it is said that it is not there.
    fn find(&self, name: &str) -> Option<String> {
        let staying = self.lock();
        staying.uids.get(name).filter(|_| staying.is_current).cloned()
    }

    fn take(&self, event: &ConfigEvent, cluster: &ClusterId) {
        let mut staying = self.lock();
        match event.change {
            ChangeKind::Restarted => *staying = Staying::default(),
            ChangeKind::Listed => staying.is_current = true,
            ChangeKind::Applied if parse(&event.object, cluster).lifetime == Lifetime::Staying => {
                staying.uids.insert(event.name.clone(), event.uid.clone());
            }
            ChangeKind::Applied | ChangeKind::Deleted => drop(staying.uids.remove(&event.name)),
        }
    }

    /// What happens from now on is not told: the next list tells.
    fn forget(&self) {
        *self.lock() = Staying::default();
    }

    fn lock(&self) -> MutexGuard<'_, Staying> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the namespaces, and begins anew whenever the watch was interrupted. Without it each namespace is asked for.
pub async fn follow_namespaces(platform: Arc<Platform>, stop: CancellationToken) {
    loop {
        let mut events = pin!(platform.cluster.watch(vec![kind()], None));
        loop {
            let event = tokio::select! { event = events.next() => event, () = stop.cancelled() => return };
            match event {
                Some(Ok(event)) => platform.namespaces.take(&event, &platform.cluster_id),
                Some(Err(error)) => {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "the watch of namespaces was interrupted"
                    );
                    platform.namespaces.forget();
                    break;
                }
                None => break,
            }
        }
        tokio::select! { () = tokio::time::sleep(AGAIN) => (), () = stop.cancelled() => return }
    }
}

fn kind() -> Kind {
    Kind::cluster("v1", "Namespace", "namespaces")
}

fn parse(object: &Value, cluster: &ClusterId) -> LiveNamespace {
    let metadata = &object["metadata"];
    let terminating = metadata["deletionTimestamp"].is_string() || object["status"]["phase"] == "Terminating";
    LiveNamespace {
        id: NamespaceId {
            cluster: cluster.clone(),
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
        },
        created: metadata["creationTimestamp"].as_str().and_then(|text| text.parse().ok()),
        lifetime: if terminating { Lifetime::Terminating } else { Lifetime::Staying },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(change: ChangeKind, name: &str, object: Value) -> ConfigEvent {
        let uid = format!("uid-{name}");
        let labels = std::collections::BTreeMap::new();
        ConfigEvent {
            change,
            kind: kind(),
            namespace: String::new(),
            name: name.to_owned(),
            uid,
            labels,
            object,
        }
    }

    #[test]
    fn what_the_watch_has_not_told_of_for_sure_is_asked_for() {
        let cluster: ClusterId = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".parse().unwrap();
        let known = StayingNamespaces::default();
        let take = |change, name: &str, object| known.take(&event(change, name, object), &cluster);
        let is_known = |name: &str| known.find(name).is_some();
        take(ChangeKind::Restarted, "", Value::Null);
        take(ChangeKind::Applied, "shop", json!({}));
        assert!(!is_known("shop"), "the list is not over");
        take(ChangeKind::Listed, "", Value::Null);
        assert_eq!(known.find("shop").as_deref(), Some("uid-shop"));
        assert!(!is_known("other"));
        take(
            ChangeKind::Applied,
            "dying",
            json!({ "metadata": { "deletionTimestamp": "2026-11-01T00:00:00Z" } }),
        );
        take(ChangeKind::Applied, "shop", json!({ "status": { "phase": "Terminating" } }));
        assert!(!is_known("dying") && !is_known("shop"));
        take(ChangeKind::Applied, "shop", json!({}));
        take(ChangeKind::Deleted, "shop", json!({}));
        assert!(!is_known("shop"));
        take(ChangeKind::Applied, "shop", json!({}));
        known.forget();
        assert!(!is_known("shop"));
    }
}
