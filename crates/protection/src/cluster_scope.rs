//! The cluster scope among applications: which records are of it, and which part of filters is meant for it.
//!
//! It is protected like an application, under the name that stands for it where a namespace is expected, but it is shown
//! as none: it is always there.

use keelson_model::names::{CLUSTER_SCOPE, label};
use serde_json::{Value, json};

use crate::records::Record;

/// Whether a content, or an action, is of what lies in no namespace.
pub(crate) fn is_of(record: &Record) -> bool {
    record.label(label::APP_NAMESPACE) == CLUSTER_SCOPE
}

/// Filters of a policy or a batch, which has one list for applications and another for the cluster scope.
pub(crate) fn filters_of(filters: &Value) -> Value {
    let mut own = json!({});
    for field in ["includeClusterResources", "excludeClusterResources"] {
        if !filters[field].is_null() {
            own[field] = filters[field].clone();
        }
    }
    own
}
