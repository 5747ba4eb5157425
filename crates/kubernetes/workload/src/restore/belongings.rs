//! What would go with an object if it were deleted to be made anew. Volumes never may.

use serde_json::Value;

use super::Run;
use super::failure::{ObjectError, Stop};
use crate::kinds::{Kind, Scope, split_api_version};
use crate::names::NamespaceName;
use crate::request::RequestError;

/// Owners of owners that are followed: from a claim to its pod, replica set, deployment, and whoever made that.
const OWNERS_DEEP_MAX: usize = 8;
/// Fields told of two objects that differ.
const DIFFERENCES_MAX: usize = 8;

impl Run<'_> {
    /// Refuses what deletion could take more from than the object itself.
    pub(super) async fn check_recreatable(&self, kind: &Kind, live: &Value) -> Result<(), Stop> {
        let finalizers: Vec<_> = live["metadata"]["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !finalizers.is_empty() {
            return Err(ObjectError::HoldsFinalizers { finalizers: finalizers.join(", ") }.into());
        }
        let (Scope::Namespaced, Some(target)) = (kind.scope, self.request.scope.target()) else {
            return Ok(());
        };
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        match self.find_claim_of(target, uid).await {
            Ok(None) => Ok(()),
            Ok(Some(claim)) => Err(ObjectError::HoldsClaim { claim }.into()),
            Err(source) => Err(self.stop(source).await),
        }
    }

    /// The first claim whose owners, or their owners, include this object.
    async fn find_claim_of(
        &self,
        namespace: &NamespaceName,
        uid: &str,
    ) -> Result<Option<String>, RequestError> {
        let claims = Kind::namespaced("v1", "PersistentVolumeClaim", "persistentvolumeclaims");
        for claim in self.cluster.list_objects(&claims, Some(namespace.as_str()), None).await? {
            if self.belongs_to(&claim, uid).await? {
                return Ok(Some(claim["metadata"]["name"].as_str().unwrap_or_default().to_owned()));
            }
        }
        Ok(None)
    }

    async fn belongs_to(&self, object: &Value, uid: &str) -> Result<bool, RequestError> {
        let mut owners = owners_of(object);
        for _ in 0..OWNERS_DEEP_MAX {
            if owners.iter().any(|owner| owner["uid"] == uid) {
                return Ok(true);
            }
            let mut further = Vec::new();
            for owner in &owners {
                let live = self.read_owner(owner).await?;
                further.extend(live.map(|live| owners_of(&live)).unwrap_or_default());
            }
            if further.is_empty() {
                return Ok(false);
            }
            owners = further;
        }
        // Deeper than anything sensible: whoever cannot see the end of it must not delete.
        Ok(true)
    }

    /// The object that an owner reference means, if it is there. What lies in no namespace is owned by nothing in one.
    pub(super) async fn read_owner(&self, owner: &Value) -> Result<Option<Value>, RequestError> {
        let text = |key: &str| owner[key].as_str().unwrap_or_default();
        let (group, _) = split_api_version(text("apiVersion"));
        let served = super::lock(&self.served).clone();
        let Some(served) = served.find(group, text("kind")) else { return Ok(None) };
        let namespace = match (served.kind.scope, self.request.scope.target()) {
            (Scope::Cluster, _) => None,
            (Scope::Namespaced, Some(target)) => Some(target.as_str()),
            (Scope::Namespaced, None) => return Ok(None),
        };
        self.cluster.read_object(&served.kind, namespace, text("name")).await
    }
}

fn owners_of(object: &Value) -> Vec<Value> {
    object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default()
}

/// The fields in which two objects differ, two levels deep: `spec.serviceName, spec.template`.
pub(super) fn differences(live: &Value, wanted: &Value) -> String {
    let mut fields = Vec::new();
    for top in keys(live, wanted) {
        let (live, wanted) = (&live[top], &wanted[top]);
        if live.is_object() && wanted.is_object() {
            let inner = keys(live, wanted).into_iter().filter(|key| live[key] != wanted[key]);
            fields.extend(inner.map(|key| format!("{top}.{key}")));
        } else if live != wanted {
            fields.push(top.to_owned());
        }
    }
    let more = fields.len().saturating_sub(DIFFERENCES_MAX);
    fields.truncate(DIFFERENCES_MAX);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", fields.join(", "))
}

fn keys<'a>(left: &'a Value, right: &'a Value) -> std::collections::BTreeSet<&'a str> {
    let of = |value: &'a Value| value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    of(left).chain(of(right)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_differ_in_fields_that_are_named() {
        let live = json!({"kind": "StatefulSet", "spec": {"serviceName": "a", "replicas": 1, "old": true}});
        let wanted = json!({"kind": "StatefulSet", "spec": {"serviceName": "b", "replicas": 1}, "data": "x"});
        assert_eq!(differences(&live, &wanted), "data, spec.old, spec.serviceName");
        assert_eq!(differences(&live, &live), "");
    }
}
