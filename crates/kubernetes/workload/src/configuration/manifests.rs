//! Manifests that we bring along: definitions, services, API registrations. And the wait until they work.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{Cluster, reference};
use crate::kinds::Kind;
use crate::request::{RequestError, Verb};

const POLL_FIRST: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(1);

impl Cluster {
    /// Server-side apply of a manifest of any kind the cluster serves.
    pub async fn apply_manifest(&self, manifest: &Value) -> Result<Value, RequestError> {
        let kind = self.kind_of(Verb::Apply, manifest).await?;
        self.apply_object(&kind, manifest).await
    }

    /// Waits until a custom resource definition serves its kind.
    pub async fn wait_established(&self, definition: &str, within: Duration) -> Result<(), RequestError> {
        self.wait_condition(&definition_kind(), None, definition, "Established", within).await
    }

    /// Waits until an object's status says that a condition is true.
    pub async fn wait_condition(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        condition: &str,
        within: Duration,
    ) -> Result<(), RequestError> {
        let end = Instant::now() + within;
        let mut pause = POLL_FIRST;
        loop {
            let object = self.read_object(kind, namespace, name).await?;
            if object.is_some_and(|object| has_condition(&object, condition)) {
                return Ok(());
            }
            if Instant::now() + pause > end {
                return Err(RequestError::ConditionNotMet {
                    target: reference(kind, namespace, name).to_string(),
                    condition: condition.to_owned(),
                    within,
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    async fn kind_of(&self, verb: Verb, manifest: &Value) -> Result<Kind, RequestError> {
        let field = |field: &'static str| {
            let missing = || RequestError::FieldMissing { verb, target: "manifest".to_owned(), field };
            manifest[field].as_str().ok_or_else(missing)
        };
        self.resolve_kind(field("apiVersion")?, field("kind")?).await
    }
}

pub(crate) fn definition_kind() -> Kind {
    Kind::cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
}

fn has_condition(object: &Value, wanted: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == wanted && condition["status"] == "True")
}
