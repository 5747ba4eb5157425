//! What users see of the platform's own state, kept to be compared after the disaster.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::cluster::{Cluster, NAMESPACE, path};
use super::objects::differences;

const ACTIONS: [&str; 5] =
    ["runactions", "backupactions", "exportactions", "restoreactions", "retireactions"];

type Named = BTreeMap<String, Value>;

pub(super) struct PlatformRecord {
    pub(super) contents: Named,
    pub(super) profiles: Named,
    pub(super) policies: Named,
    pub(super) actions: Named,
}

impl PlatformRecord {
    pub(super) async fn of(cluster: &Cluster) -> Result<Self> {
        let list = async |group: &str, resource: &str, namespace: Option<&str>| {
            cluster.list(&path(group, resource, namespace, None)).await
        };
        let mut actions = Named::new();
        for resource in ACTIONS {
            let listed = list("actions", resource, None).await?;
            actions.extend(listed.into_iter().map(|object| (full_name(resource, &object), action(&object))));
        }
        let contents = list("apps", "restorepointcontents", None).await?;
        let profiles = list("config", "profiles", Some(NAMESPACE)).await?;
        let policies = list("config", "policies", Some(NAMESPACE)).await?;
        let named = |objects: Vec<Value>, keep: fn(&Value) -> Value| {
            objects.iter().map(|object| (full_name("", object), keep(object))).collect::<Named>()
        };
        Ok(Self {
            contents: named(contents, content),
            profiles: named(profiles, configuration),
            policies: named(policies, configuration),
            actions,
        })
    }

    /// Differences by what they are about. Runs that a schedule has started since are no difference.
    pub(super) fn differences(&self, mut found: Self) -> [(String, Vec<String>); 4] {
        let newest = self.actions.values().chain(self.contents.values()).filter_map(created).max();
        let newest = newest.unwrap_or_default().to_owned();
        let known = |name: &String, value: &mut Value, expected: &Named| {
            expected.contains_key(name) || created(value).is_none_or(|created| *created <= *newest)
        };
        found.actions.retain(|name, value| known(name, value, &self.actions));
        found.contents.retain(|name, value| known(name, value, &self.contents));
        let judged = |what: &str, expected: &Named, found: &Named| {
            (format!("{} {what}", expected.len()), differences(what, expected, found))
        };
        [
            judged("restore points, by their contents", &self.contents, &found.contents),
            judged("profiles", &self.profiles, &found.profiles),
            judged("policies", &self.policies, &found.policies),
            judged("actions, with their states and times", &self.actions, &found.actions),
        ]
    }
}

fn full_name(resource: &str, object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let parts = [resource, text("namespace"), text("name")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

fn created(value: &Value) -> Option<&str> {
    value["metadata"]["creationTimestamp"].as_str()
}

/// Everything but the version of the row.
fn action(object: &Value) -> Value {
    let mut kept = object.clone();
    if let Some(metadata) = kept["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    kept
}

/// As an action, but for its binding: the restore point went with the namespace of its application.
fn content(object: &Value) -> Value {
    let mut kept = action(object);
    if let Some(status) = kept["status"].as_object_mut() {
        status.remove("state");
        status.remove("restorePointRef");
    }
    kept
}

/// What the user has said; uid and status are the new cluster's, one annotation is a note of `kubectl` to itself.
fn configuration(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut annotations = metadata["annotations"].as_object().cloned().unwrap_or_default();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    json!({ "metadata": { "labels": metadata["labels"], "annotations": annotations }, "spec": object["spec"] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(actions: &[(&str, &str)]) -> PlatformRecord {
        let action = |(name, created): &(&str, &str)| {
            ((*name).to_owned(), json!({ "metadata": { "creationTimestamp": created } }))
        };
        PlatformRecord {
            contents: Named::new(),
            profiles: Named::new(),
            policies: Named::new(),
            actions: actions.iter().map(action).collect(),
        }
    }

    #[test]
    fn a_run_that_began_after_the_loss_is_no_difference_and_an_older_one_is() {
        let before = record(&[("a", "2026-02-03T04:05:06Z")]);
        let told =
            |found: PlatformRecord| before.differences(found).map(|(_, differences)| differences).concat();
        let later = record(&[("a", "2026-02-03T04:05:06Z"), ("b", "2026-02-03T05:00:00Z")]);
        assert_eq!(told(later), Vec::<String>::new());
        let older = record(&[("a", "2026-02-03T04:05:06Z"), ("b", "2026-02-03T04:00:00Z")]);
        assert_eq!(told(older), ["actions, with their states and times: b was not there before"]);
    }
}
