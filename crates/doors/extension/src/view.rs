//! Objects in the representation that a client negotiated: whole, as bare metadata, or as rows of a table.

use jiff::Timestamp;
use keelson_model::Revision;
use keelson_resources::KindInfo;
use serde::Serialize;
use serde_json::{Value, json};

use crate::accept::{MetaVersion, Representation};
use crate::object::Object;
use crate::options::IncludeObject;
use crate::table::{cells, column_definitions};

/// How one request sees the objects of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) kind: &'static KindInfo,
    pub(crate) representation: Representation,
    pub(crate) include: IncludeObject,
    pub(crate) now: Timestamp,
}

/// What stands above the items of a list.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListHead {
    pub(crate) resource_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#continue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_item_count: Option<u64>,
}

/// Whether an event tells the columns of its table. Clients learn them from the first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    Told,
    Untold,
}

const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl View {
    /// One object as the answer to a get.
    pub(crate) fn single(&self, object: &Object<'_>) -> Vec<u8> {
        self.event_object(object, Columns::Untold)
    }

    /// One object as an event of a watch carries it.
    pub(crate) fn event_object(&self, object: &Object<'_>, columns: Columns) -> Vec<u8> {
        match self.representation {
            Representation::Object => to_json(object),
            Representation::PartialMetadata(version) => to_json(&object.partial(version)),
            Representation::Table(version) => {
                to_json(&self.table(version, object.revision(), self.row(version, object), columns))
            }
        }
    }

    /// A bookmark: no object, only how far the watch has come.
    pub(crate) fn bookmark(&self, revision: Revision, initial_end: bool, columns: Columns) -> Vec<u8> {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let partial = |version: MetaVersion| {
            json!({
                "kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": metadata,
            })
        };
        match self.representation {
            Representation::Object => to_json(&json!({
                "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata,
            })),
            Representation::PartialMetadata(version) => to_json(&partial(version)),
            Representation::Table(version) => {
                let cells = vec![Value::Null; self.kind.columns.len()];
                let row = json!({"cells": cells, "object": partial(version)});
                to_json(&self.table(version, revision, row, columns))
            }
        }
    }

    /// Everything of a list up to its first item.
    pub(crate) fn open_list(&self, head: &ListHead) -> Vec<u8> {
        let (kind, api_version, items) = match self.representation {
            Representation::Object => (self.kind.list_kind(), self.kind.api_version(), "items"),
            Representation::PartialMetadata(version) => {
                ("PartialObjectMetadataList".to_owned(), version.api_version().to_owned(), "items")
            }
            Representation::Table(version) => ("Table".to_owned(), version.api_version().to_owned(), "rows"),
        };
        let mut out = to_json(&json!({"kind": kind, "apiVersion": api_version, "metadata": head}));
        out.pop();
        if let Representation::Table(_) = self.representation {
            out.extend_from_slice(b",\"columnDefinitions\":");
            out.extend_from_slice(&to_json(&column_definitions(self.kind)));
        }
        out.extend_from_slice(format!(",\"{items}\":[").as_bytes());
        out
    }

    /// One item of a list, or one row of a table.
    pub(crate) fn item(&self, object: &Object<'_>) -> Vec<u8> {
        match self.representation {
            Representation::Object => to_json(object),
            Representation::PartialMetadata(version) => to_json(&object.partial(version)),
            Representation::Table(version) => to_json(&self.row(version, object)),
        }
    }

    pub(crate) fn close_list(&self) -> &'static [u8] {
        b"]}"
    }

    fn row(&self, version: MetaVersion, object: &Object<'_>) -> Value {
        let whole = object.to_value();
        let cells = cells(self.kind, &whole, self.now);
        let shown = match self.include {
            IncludeObject::None => Value::Null,
            IncludeObject::Object => whole,
            IncludeObject::Metadata => {
                serde_json::to_value(object.partial(version)).expect("metadata is strings")
            }
        };
        json!({"cells": cells, "object": shown})
    }

    fn table(&self, version: MetaVersion, revision: Revision, row: Value, columns: Columns) -> Value {
        let mut table = json!({
            "kind": "Table",
            "apiVersion": version.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
            "columnDefinitions": [],
            "rows": [row],
        });
        if columns == Columns::Untold {
            table["columnDefinitions"] =
                serde_json::to_value(column_definitions(self.kind)).expect("columns are strings");
        }
        table
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what is served has string keys and was JSON before")
}
