//! Printed columns: what `kubectl get` shows of a kind. The columns themselves belong to the kind.

use jiff::Timestamp;
use keelson_resources::KindInfo;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
pub(crate) struct ColumnDefinition {
    name: &'static str,
    r#type: &'static str,
    format: &'static str,
    description: &'static str,
    priority: i32,
}

pub(crate) fn column_definitions(kind: &KindInfo) -> Vec<ColumnDefinition> {
    kind.columns
        .iter()
        .map(|column| ColumnDefinition {
            name: column.name,
            r#type: column.kind,
            format: column.format,
            description: column.description,
            priority: column.priority,
        })
        .collect()
}

/// The cells of one row.
pub(crate) fn cells(kind: &KindInfo, object: &Value, now: Timestamp) -> Vec<Value> {
    kind.columns.iter().map(|column| column.value(object, now)).collect()
}
