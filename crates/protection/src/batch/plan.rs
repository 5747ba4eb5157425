//! Decides what each application of a batch is restored from. Pure, but for the name of what is made.

use jiff::Timestamp;
use keelson_model::RepositoryId;
use keelson_model::names::label;
use keelson_resources::actions::batch_restore::DiscoveryRange;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::records::Record;
use crate::restore_points::{self, ContentInternal};

/// What a batch will do, decided once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchPlan {
    pub restores: Vec<PlannedRestore>,
}

/// The restore of one application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedRestore {
    pub namespace: String,
    /// The namespace that is restored into.
    pub target: String,
    /// The name of the RestoreAction.
    pub child: String,
    pub source: Source,
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
        None => Source::Content { name: content.name.clone(), point: point() },
    }
}

/// The latest content that can be restored from here; of the same moment the one on the platform's own volume.
pub(super) fn decide_latest<'a>(
    contents: &'a [Record],
    ranges: &[DiscoveryRange],
    local: RepositoryId,
) -> Option<&'a Record> {
    let candidates = contents.iter().filter_map(|content| {
        let internal: ContentInternal = content.internal().ok()?;
        let artifact = internal.artifact;
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
    spec["subject"] = serde_json::json!({ "kind": "RestorePoint", "name": name, "namespace": namespace });
    spec
}

#[cfg(test)]
mod tests {
    use keelson_catalog::Class;
    use serde_json::json;

    use super::*;
    use crate::kinds;

    const LOCAL: [u8; 16] = [1; 16];

    fn content(name: &str, at: &str, artifact: Value) -> Record {
        let created = Timestamp::UNIX_EPOCH;
        let mut content = Record::new(kinds::restore_point_content(), "", name, created, Class::Local);
        content.labels.insert(label::APP_NAMESPACE.to_owned(), "shop".to_owned());
        content.body.status = json!({ "state": "Unbound", "actionTime": at });
        content.body.internal = json!({ "artifact": artifact });
        content
    }

    fn artifact(repository: [u8; 16], exported: bool) -> Value {
        let exported = exported.then(|| {
            json!({ "profile": "p", "place": { "kind": "directory", "path": "/x" }, "root": "k10/c/exports/shop/r" })
        });
        json!({ "repository": RepositoryId::from_bytes(repository), "outcome": "00".repeat(16), "objects": 1, "bytes": 1,
            "storedBytes": 1, "exported": exported })
    }

    fn range(start: &str, end: &str) -> DiscoveryRange {
        let time = |text: &str| text.parse::<Timestamp>().ok().map(Into::into);
        DiscoveryRange { start: time(start), end: time(end) }
    }

    #[test]
    fn the_latest_that_can_be_had_is_taken_within_the_ranges() {
        let contents = [
            content("old", "2026-01-01T00:00:00Z", artifact(LOCAL, false)),
            content("new", "2026-03-01T00:00:00Z", artifact(LOCAL, false)),
            content("lost", "2026-04-01T00:00:00Z", artifact([2; 16], false)),
        ];
        let latest = |ranges: &[DiscoveryRange]| {
            let found = decide_latest(&contents, ranges, RepositoryId::from_bytes(LOCAL));
            found.map_or("nothing", |content| &content.name).to_owned()
        };
        assert_eq!(latest(&[]), "new", "the newest lay on a volume that is lost");
        assert_eq!(latest(&[range("", "2026-02-01T00:00:00Z")]), "old");
        assert_eq!(latest(&[range("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z")]), "new");
        assert_eq!(latest(&[range("2026-01-02T00:00:00Z", "2026-02-01T00:00:00Z")]), "nothing");
        let either =
            [range("2025-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), range("2026-05-01T00:00:00Z", "")];
        assert_eq!(latest(&either), "old");
    }

    #[test]
    fn a_content_leads_to_the_point_it_is_bound_to_or_to_a_new_one() {
        let mut found = content("c", "2026-01-01T00:00:00Z", artifact(LOCAL, false));
        let name = || "shop-x".to_owned();
        let new = Source::Content { name: "c".to_owned(), point: "shop-x".to_owned() };
        assert_eq!(decide_source(&found, "shop", name), new);
        found.body.status["restorePointRef"] = json!({ "namespace": "other", "name": "p" });
        let bound = Source::Point { namespace: "other".to_owned(), name: "p".to_owned() };
        assert_eq!(decide_source(&found, "shop", name), bound);
        let why = "restore point content 'c' is of application 'shop'".to_owned();
        assert_eq!(decide_source(&found, "bank", name), Source::Nothing { why });
    }

    #[test]
    fn a_child_takes_over_every_option_and_nothing_of_the_others() {
        let batch = json!({
            "subjects": [{ "namespace": "shop" }], "targetNamespacePrefix": "new-", "restorePointsDiscoveryRange": [{}],
            "overwriteExisting": true, "filters": { "excludeResources": [{ "resource": "secrets" }] },
        });
        let expected = json!({
            "subject": { "kind": "RestorePoint", "name": "p", "namespace": "shop" },
            "overwriteExisting": true, "filters": { "excludeResources": [{ "resource": "secrets" }] },
        });
        assert_eq!(child_spec(&batch, ("shop", "p")), expected);
    }
}
