//! Namespaces as the cluster has them at this moment, for decisions that a list of a second ago is too old for.

use jiff::Timestamp;
use keelson_model::{Classified, ClusterId, ErrorClass};
use keelson_workload::{Kind, RequestError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::platform::Platform;

/// Which namespace something belongs to: a new one of the same name is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceId {
    /// After a recovery onto another cluster the uid says nothing.
    pub cluster: ClusterId,
    pub uid: String,
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
    let kind = Kind::cluster("v1", "Namespace", "namespaces");
    let found = platform.cluster.read_object(&kind, None, name).await;
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
