//! A row of the catalog as the object that clients see. What the platform keeps for itself stays in the row.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_catalog::{Labels, Row, Stored};
use keelson_model::selector::FieldSelector;
use keelson_model::{Chain, Classified, ErrorClass, Revision};
use keelson_resources::{KindInfo, Verb};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tracing::error;

use crate::accept::MetaVersion;

/// A served object, borrowing the bytes of its row.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    pub(crate) kind: &'static KindInfo,
    row: &'a Row,
    revision: Revision,
    body: ServedBody<'a>,
}

/// What of a row's body is served. The rest, `internal`, is passed over.
#[derive(Debug, Default, Deserialize)]
struct ServedBody<'a> {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default, borrow)]
    spec: Option<&'a RawValue>,
    #[serde(default, borrow)]
    status: Option<&'a RawValue>,
}

/// A row whose body is not what the platform writes.
#[derive(Debug, thiserror::Error)]
#[error("decode the body of {kind} '{namespace}/{name}'")]
pub(crate) struct DecodeObjectError {
    kind: &'static str,
    namespace: String,
    name: String,
    source: serde_json::Error,
}

impl Classified for DecodeObjectError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }

    fn code(&self) -> &'static str {
        "extension.object.malformed"
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_version: String,
    creation_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a Labels,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> Object<'a> {
    pub(crate) fn parse(kind: &'static KindInfo, stored: &'a Stored) -> Result<Self, DecodeObjectError> {
        let row = &stored.row;
        let body = serde_json::from_slice(&row.body).map_err(|source| DecodeObjectError {
            kind: kind.kind,
            namespace: row.namespace.clone(),
            name: row.name.clone(),
            source,
        })?;
        Ok(Self { kind, row, revision: stored.revision, body })
    }

    /// One of many. Where its body is not what the platform writes it is shown by its metadata alone: a list or watch that
    /// fails for one object stops the controllers that follow every kind, and with them what the cluster needs of them.
    pub(crate) fn one_of_many(kind: &'static KindInfo, stored: &'a Stored) -> Self {
        Self::parse(kind, stored).unwrap_or_else(|failure| {
            error!(code = failure.code(), chain = %Chain(&failure), "an object is shown by its metadata alone");
            Self { kind, row: &stored.row, revision: stored.revision, body: ServedBody::default() }
        })
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// Namespace and name.
    pub(crate) fn key(&self) -> (String, String) {
        (self.row.namespace.clone(), self.row.name.clone())
    }

    pub(crate) fn labels(&self) -> &Labels {
        &self.row.labels
    }

    /// Whether the object is one that a field selector means.
    pub(crate) fn matches(&self, fields: &FieldSelector) -> bool {
        if fields.is_everything() {
            return true;
        }
        let state = self.state();
        fields.matches(|path| match path {
            "metadata.name" => Some(self.row.name.as_str()),
            "metadata.namespace" => Some(self.row.namespace.as_str()),
            "status.state" => Some(&*state),
            _ => None,
        })
    }

    fn state(&self) -> Cow<'a, str> {
        #[derive(Deserialize)]
        struct Status<'s> {
            #[serde(default, borrow)]
            state: Cow<'s, str>,
        }
        let status =
            self.body.status.and_then(|status| serde_json::from_str::<Status<'a>>(status.get()).ok());
        status.map_or(Cow::Borrowed(""), |status| status.state)
    }

    /// The whole object as a tree, for columns and for sub-resources that add to it. Text may say what no tree holds:
    /// a number beyond all, half a character, lists without end. What says so is left out.
    pub(crate) fn to_value(&self) -> Value {
        let part = |text: Option<&RawValue>| text.and_then(|text| serde_json::to_value(text).ok());
        let mut object = json!({
            "apiVersion": self.kind.api_version(),
            "kind": self.kind.kind,
            "metadata": self.metadata(),
        });
        for (name, text) in [("spec", self.body.spec), ("status", self.body.status)] {
            if let Some(part) = part(text) {
                object[name] = part;
            }
        }
        object
    }

    /// The object's metadata alone, in the shape that metadata clients expect.
    pub(crate) fn partial(&self, version: MetaVersion) -> PartialObject<'_> {
        PartialObject {
            kind: "PartialObjectMetadata",
            api_version: version.api_version(),
            metadata: self.metadata(),
        }
    }

    fn metadata(&self) -> Metadata<'_> {
        let is_kept = self.kind.allows(Verb::Get);
        Metadata {
            name: &self.row.name,
            namespace: &self.row.namespace,
            uid: &self.row.uid,
            // What is kept nowhere has no version.
            resource_version: if is_kept { self.revision.to_string() } else { String::new() },
            creation_timestamp: whole_seconds(self.row.created),
            labels: &self.row.labels,
            annotations: &self.body.annotations,
        }
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("apiVersion", &self.kind.api_version())?;
        map.serialize_entry("kind", self.kind.kind)?;
        map.serialize_entry("metadata", &self.metadata())?;
        if let Some(spec) = self.body.spec {
            map.serialize_entry("spec", spec)?;
        }
        if let Some(status) = self.body.status {
            map.serialize_entry("status", status)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartialObject<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata<'a>,
}

/// A time as Kubernetes prints it in metadata: RFC 3339 without fractions.
fn whole_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was taken as text, and ended in a panic where a tree was made of it.
    #[test]
    fn a_row_that_says_what_no_tree_holds_is_served_without_it() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for spec in ["1e400", r#""\ud800""#, &deep] {
            let row = Row {
                kind: keelson_catalog::RowKind::new("restorepoints.apps.kio.kasten.io"),
                namespace: "shop".to_owned(),
                name: "x1".to_owned(),
                uid: "u".to_owned(),
                labels: BTreeMap::new(),
                created: Timestamp::UNIX_EPOCH,
                class: keelson_catalog::Class::Local,
                body: format!(r#"{{"spec":{{"a":{spec}}},"status":{{"state":"Bound"}}}}"#).into_bytes(),
            };
            let revision = Revision::new(keelson_model::Generation(1), keelson_model::Sequence(1));
            let stored = Stored { row, revision };
            let value = Object::parse(&keelson_resources::KINDS[0], &stored).expect("it is JSON").to_value();
            assert_eq!(
                (&value["spec"], &value["status"]["state"]),
                (&Value::Null, &json!("Bound")),
                "{spec}"
            );
        }
    }
}
