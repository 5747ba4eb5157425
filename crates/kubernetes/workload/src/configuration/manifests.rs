//! Manifests that we bring along: definitions, services, API registrations. And the wait until they work.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{Cluster, FIELD_MANAGER, reference};
use crate::kinds::Kind;
use crate::request::{RequestError, Verb};

const POLL_FIRST: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(1);
/// Controllers write the status of a definition that was just changed. What stays ours is tried again at the next start.
const RELEASES_MAX: usize = 5;

impl Cluster {
    /// Server-side apply of a manifest of any kind the cluster serves.
    pub async fn apply_manifest(&self, manifest: &Value) -> Result<Value, RequestError> {
        let kind = self.kind_of(Verb::Apply, manifest).await?;
        self.apply_object(&kind, manifest).await
    }

    /// The same, unless somebody else made the object as the manifest says. Whoever that was, a chart perhaps, goes on to
    /// change it alone: what two have applied the one cannot change without the other. So what we had to change of an
    /// object that somebody else applies is no longer ours afterwards.
    pub async fn apply_unless_made(&self, manifest: &Value) -> Result<(), RequestError> {
        let kind = self.kind_of(Verb::Apply, manifest).await?;
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = manifest["metadata"]["namespace"].as_str();
        let made = self.read_object(&kind, namespace, name).await?.unwrap_or_default();
        if made.is_object() && !is_applied_by_us(&made) && holds(&made, manifest) {
            return Ok(());
        }
        let applied = self.apply_object(&kind, manifest).await?;
        if !is_applied_by_others(&made) {
            return Ok(());
        }
        self.release(&kind, namespace, name, applied).await
    }

    /// Takes our name off an object, and leaves its fields as they are.
    async fn release(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        mut object: Value,
    ) -> Result<(), RequestError> {
        for _ in 0..RELEASES_MAX {
            if !is_applied_by_us(&object) {
                return Ok(());
            }
            let others: Vec<Value> = managers(&object).filter(|one| !is_our_apply(one)).cloned().collect();
            match self.replace_managers(kind, namespace, name, (&object, others)).await {
                Err(error) if error.is_status(409) => {}
                done => return done.map(drop),
            }
            object = self.read_object(kind, namespace, name).await?.unwrap_or_default();
        }
        Ok(())
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

fn managers(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten()
}

fn is_our_apply(manager: &Value) -> bool {
    manager["manager"] == FIELD_MANAGER && manager["operation"] == "Apply"
}

fn is_applied_by_us(object: &Value) -> bool {
    managers(object).any(is_our_apply)
}

fn is_applied_by_others(object: &Value) -> bool {
    managers(object).any(|one| one["operation"] == "Apply" && one["manager"] != FIELD_MANAGER)
}

/// Whether an object says all that is wanted, whatever the server or somebody else has added. A server writes 23 for a
/// bound of 23.0.
fn holds(object: &Value, wanted: &Value) -> bool {
    match (object, wanted) {
        (Value::Object(object), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| object.get(name).is_some_and(|field| holds(field, wanted)))
        }
        (Value::Array(object), Value::Array(wanted)) => {
            object.len() == wanted.len()
                && object.iter().zip(wanted).all(|(object, wanted)| holds(object, wanted))
        }
        (Value::Number(object), Value::Number(wanted)) => {
            let both = object.as_f64().zip(wanted.as_f64());
            both.is_some_and(|(object, wanted)| object.total_cmp(&wanted).is_eq())
        }
        (object, wanted) => object == wanted,
    }
}

fn has_condition(object: &Value, wanted: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == wanted && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_holds_what_is_wanted_whatever_was_added_and_however_numbers_are_written() {
        let wanted = json!({ "versions": [{ "name": "v1", "minimum": 0.0 }] });
        for (object, expected) in [
            (json!({ "versions": [{ "name": "v1", "minimum": 0 }] }), true),
            (json!({ "versions": [{ "name": "v1", "minimum": 0.0, "later": {} }], "added": 1 }), true),
            (json!({ "versions": [{ "name": "v1", "minimum": 1 }] }), false),
            (json!({ "versions": [{ "name": "v1" }] }), false),
            (json!({ "versions": [{ "name": "v1", "minimum": 0 }, { "name": "v2" }] }), false),
            (json!({ "versions": [{ "name": "v1", "minimum": "0" }] }), false),
        ] {
            assert_eq!(holds(&object, &wanted), expected, "{object}");
        }
    }
}
