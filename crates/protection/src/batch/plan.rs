//! Decides what each application of a batch is restored from. Pure, but for the name of what is made.

use jiff::Timestamp;
use keelson_catalog::RowKey;
use keelson_model::RepositoryId;
use keelson_model::names::{CLUSTER_SCOPE, label};
use keelson_resources::actions::batch_restore::DiscoveryRange;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::records::Record;
use crate::restore_points::{self, ContentInternal};
use crate::{cluster_scope, kinds};

/// What a batch will do, decided once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchPlan {
    pub restores: Vec<PlannedRestore>,
}

/// The restore of one application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedRestore {
    pub namespace: String,
    /// The namespace that is restored into; empty for the cluster scope.
    pub target: String,
    /// The name of the RestoreAction.
    pub child: String,
    pub source: Source,
}

impl PlannedRestore {
    pub(super) fn is_of_cluster_scope(&self) -> bool {
        self.namespace == CLUSTER_SCOPE
    }

    /// The action that restores it.
    pub(super) fn child_key(&self) -> RowKey {
        let kind = match self.is_of_cluster_scope() {
            true => kinds::restore_cluster_actions(),
            false => kinds::restore_actions(),
        };
        RowKey::new(kind, &*self.target, &*self.child)
    }
}

/// Where restore points of an application lie: those of the cluster scope in no namespace.
pub(super) fn place_of(application: &str) -> &str {
    if application == CLUSTER_SCOPE { "" } else { application }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    Point {
        namespace: String,
        name: String,
    },
    /// Of an application whose restore points went with its namespace: one is made in the target.
    Content {
        name: String,
        point: String,
    },
    Nothing {
        why: String,
    },
}

/// What a content of the application leads to.
pub(super) fn decide_source(content: &Record, namespace: &str, point: impl FnOnce() -> String) -> Source {
    let of = content.label(label::APP_NAMESPACE);
    if of != namespace {
        let why = format!("restore point content '{}' is of application '{of}'", content.name);
        return Source::Nothing { why };
    }
    match restore_points::bound_to(content) {
        Some(bound) => Source::Point { namespace: bound.namespace, name: bound.name },
        None if namespace == CLUSTER_SCOPE => {
            let why = format!("restore point content '{}' has lost its restore point", content.name);
            Source::Nothing { why }
        }
        None => Source::Content { name: content.name.clone(), point: point() },
    }
}

/// The latest content that can be restored from here; of the same moment the one on the platform's own volume. What was
/// imported is another cluster's, whatever its name: it is restored where it is named.
pub(super) fn decide_latest<'a>(
    contents: &'a [Record],
    ranges: &[DiscoveryRange],
    local: RepositoryId,
) -> Option<&'a Record> {
    let candidates = contents.iter().filter_map(|content| {
        let internal: ContentInternal = content.internal().ok()?;
        let artifact = internal.artifact;
        if artifact.is_imported() {
            return None;
        }
        let is_local = artifact.exported.is_none() && artifact.repository == local;
        let is_reachable = is_local || artifact.exported.is_some() || artifact.copy.is_some();
        let at = content.body.status["actionTime"].as_str().and_then(|at| at.parse().ok());
        let at: Timestamp = at.unwrap_or(content.created);
        (is_reachable && is_within(at, ranges)).then_some((at, is_local, content))
    });
    candidates.max_by_key(|(at, is_local, _)| (*at, *is_local)).map(|(_, _, content)| content)
}

fn is_within(at: Timestamp, ranges: &[DiscoveryRange]) -> bool {
    let holds = |range: &DiscoveryRange| {
        range.start.is_none_or(|start| start.0 <= at) && range.end.is_none_or(|end| at <= end.0)
    };
    ranges.is_empty() || ranges.iter().any(holds)
}

/// What the RestoreAction of one application says: the options of the batch, and its own subject.
pub(super) fn child_spec(batch: &Value, point: (&str, &str)) -> Value {
    let mut spec = batch.clone();
    if let Some(fields) = spec.as_object_mut() {
        for own in
            ["subjects", "targetNamespacePrefix", "targetNamespaceSuffix", "restorePointsDiscoveryRange"]
        {
            fields.remove(own);
        }
    }
    let (namespace, name) = point;
    spec["subject"] = json!({ "kind": "RestorePoint", "name": name, "namespace": namespace });
    spec
}

/// What the RestoreClusterAction says: of the options of the batch, those that it has.
pub(super) fn cluster_child_spec(batch: &Value, point: &str) -> Value {
    json!({
        "subject": { "kind": kinds::cluster_restore_point().kind, "name": point },
        "filters": cluster_scope::filters_of(&batch["filters"]),
    })
}

#[cfg(test)]
mod tests;
