//! The two kinds that are measured beside each other: our `RestorePoint`, and a custom resource of the same shape.
//!
//! A restore point is what a client can make without setting anything going: it binds a content that is there, where an
//! action would begin to work. Of what `keelson serve` does for it nothing is left out: the namespace, the requester's right
//! to the content, both rows in one commit.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use jiff::Timestamp;
use keelson_resources::{KindInfo, find_kind};
use serde::Serialize;
use serde_json::{Value, json};

use super::client::New;
use crate::recovery::seed;

const KIND: &str = "RestorePoint";
const OUR_GROUP: &str = "apps.kio.kasten.io";
const CUSTOM_GROUP: &str = "apps.bench.example";
const VERSION: &str = "v1alpha1";
const PLURAL: &str = "restorepoints";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    Custom,
}

/// The same of both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Pair<T> {
    pub(super) ours: T,
    pub(super) custom: T,
}

impl<T> Pair<T> {
    pub(super) fn of(&self, side: Side) -> &T {
        match side {
            Side::Ours => &self.ours,
            Side::Custom => &self.custom,
        }
    }

    pub(super) fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Ours => &mut self.ours,
            Side::Custom => &mut self.custom,
        }
    }

    /// One for each side.
    pub(super) fn each(of: impl Fn(Side) -> T) -> Self {
        Self { ours: of(Side::Ours), custom: of(Side::Custom) }
    }

    pub(super) fn map<U>(&self, each: impl Fn(&T) -> U) -> Pair<U> {
        Pair { ours: each(&self.ours), custom: each(&self.custom) }
    }
}

impl Side {
    /// They take their turns in this order.
    pub(super) const ALL: [Self; 2] = [Self::Ours, Self::Custom];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Custom => "custom",
        }
    }

    /// The objects of all namespaces.
    pub(super) fn path(self) -> String {
        format!("/apis/{}/{PLURAL}", self.api_version())
    }

    fn path_in(self, namespace: &str) -> String {
        format!("/apis/{}/namespaces/{namespace}/{PLURAL}", self.api_version())
    }

    fn api_version(self) -> String {
        let group = match self {
            Self::Ours => OUR_GROUP,
            Self::Custom => CUSTOM_GROUP,
        };
        format!("{group}/{VERSION}")
    }

    /// A new object that stands for a spare content. The custom one says all that ours is made to say.
    pub(super) fn new_object(self, number: usize, now: Timestamp) -> New {
        let (name, namespace) = (spare_name(number), seed::application(number));
        let mut object = json!({
            "apiVersion": self.api_version(), "kind": KIND,
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "restorePointContentRef": { "name": name } },
        });
        if self == Self::Custom {
            let content = seed::content(number, &name, now);
            object["metadata"]["labels"] = json!(content.labels);
            object["status"] = seed::bound_status(&content);
        }
        New { path: self.path_in(&namespace), body: Bytes::from(object.to_string()) }
    }
}

/// A content that is there to be bound, and the restore point that binds it.
pub(super) fn spare_name(number: usize) -> String {
    format!("spare-{number:06}")
}

/// One of our objects as a custom one: what the server says of it is left to the server.
pub(super) fn copy_of(object: &Value) -> Result<New> {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().context("a restore point without namespace")?;
    let copy = json!({
        "apiVersion": Side::Custom.api_version(), "kind": KIND,
        "metadata": { "name": metadata["name"], "namespace": namespace, "labels": metadata["labels"] },
        "spec": object["spec"], "status": object["status"],
    });
    Ok(New { path: Side::Custom.path_in(namespace), body: Bytes::from(copy.to_string()) })
}

/// The definition of the custom one: our schema, our columns, our field selector.
pub(super) fn definition() -> Result<Value> {
    let ours = find_kind(OUR_GROUP, PLURAL).context("restore points are served")?;
    ensure!(ours.is_namespaced() && ours.kind == KIND && ours.version == VERSION, "restore points changed");
    let mut schema = (ours.schema)();
    // That metadata is open is the cluster's own to say.
    schema["properties"]["metadata"] = json!({ "type": "object" });
    Ok(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{PLURAL}.{CUSTOM_GROUP}") },
        "spec": {
            "group": CUSTOM_GROUP, "scope": "Namespaced",
            "names": { "kind": KIND, "listKind": ours.list_kind(), "plural": PLURAL, "singular": ours.singular },
            "versions": [{
                "name": VERSION, "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema },
                "selectableFields": [{ "jsonPath": ".status.state" }],
                "additionalPrinterColumns": columns(ours),
            }],
        },
    }))
}

/// All but the name, which every custom resource has.
fn columns(ours: &KindInfo) -> Vec<Value> {
    let shown = [("Age", "date", ".metadata.creationTimestamp"), ("State", "string", ".status.state")];
    let known = |name: &str| ours.columns.iter().any(|column| column.name == name);
    let shown = shown.into_iter().filter(|(name, ..)| known(name));
    shown.map(|(name, kind, path)| json!({ "name": name, "type": kind, "jsonPath": path })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(new: &New) -> Value {
        serde_json::from_slice(&new.body).unwrap()
    }

    #[test]
    fn both_sides_create_the_same_in_the_same_namespace() {
        let [ours, custom] = Side::ALL.map(|side| side.new_object(7, Timestamp::UNIX_EPOCH));
        assert_eq!(ours.path, "/apis/apps.kio.kasten.io/v1alpha1/namespaces/team-007-shop/restorepoints");
        assert_eq!(custom.path, "/apis/apps.bench.example/v1alpha1/namespaces/team-007-shop/restorepoints");
        let (ours, custom) = (read(&ours), read(&custom));
        assert_eq!(ours["spec"], custom["spec"]);
        assert_eq!(ours["metadata"]["name"], custom["metadata"]["name"]);
        assert_eq!(ours["status"], Value::Null);
        assert_eq!(custom["status"]["state"], "Bound");
        assert!(custom["metadata"]["labels"].as_object().is_some_and(|labels| labels.len() > 5));
    }

    #[test]
    fn a_copy_says_what_was_stored_and_not_what_the_server_says() {
        let object = json!({
            "metadata": { "name": "a", "namespace": "n", "labels": { "l": "1" }, "uid": "u", "resourceVersion": "5" },
            "spec": { "s": 1 }, "status": { "t": 2 },
        });
        let copy = copy_of(&object).unwrap();
        assert_eq!(copy.path, "/apis/apps.bench.example/v1alpha1/namespaces/n/restorepoints");
        let copy = read(&copy);
        assert_eq!(copy["metadata"], json!({ "name": "a", "namespace": "n", "labels": { "l": "1" } }));
        assert_eq!((&copy["spec"], &copy["status"]), (&object["spec"], &object["status"]));
        assert!(copy_of(&json!({ "metadata": { "name": "a" } })).is_err());
    }

    #[test]
    fn the_custom_definition_is_of_our_shape() {
        let definition = definition().unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert!(schema["properties"]["status"]["properties"]["logicalSizeBytes"].is_object());
        assert_eq!(schema["properties"]["metadata"], json!({ "type": "object" }));
        assert_eq!(
            definition["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap().len(),
            2
        );
    }
}
