//! What each application of a batch is restored from.

use keelson_catalog::Class;

use super::*;

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
    let either = [range("2025-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), range("2026-05-01T00:00:00Z", "")];
    assert_eq!(latest(&either), "old");
}

/// Another cluster's application of the same name was newer, and came back in the place of ours.
#[test]
fn what_was_imported_is_never_the_latest() {
    let mut imported = artifact([3; 16], true);
    imported["exported"]["place"] = json!({ "type": "fileStore", "claim": "share", "path": "" });
    imported["exported"]["granted"] = json!({ "cluster": "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa",
        "grant": "07".repeat(16), "policyNamespace": "kasten-io", "policy": "nightly" });
    let contents = [
        content("own", "2026-01-01T00:00:00Z", artifact(LOCAL, false)),
        content("theirs", "2026-03-01T00:00:00Z", imported),
    ];
    contents.iter().for_each(|content| assert!(content.internal::<ContentInternal>().is_ok()));
    let latest = |contents: &[Record]| {
        decide_latest(contents, &[], RepositoryId::from_bytes(LOCAL)).map(|content| content.name.clone())
    };
    assert_eq!(latest(&contents).as_deref(), Some("own"));
    assert_eq!(latest(&contents[1..]), None);
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

#[test]
fn the_cluster_scope_is_restored_from_a_point_of_its_own_by_its_own_filters() {
    let batch = json!({ "overwriteExisting": true, "filters": {
        "excludeResources": [{ "resource": "secrets" }],
        "includeClusterResources": [{ "resource": "storageclasses" }],
    } });
    let expected = json!({
        "subject": { "kind": "ClusterRestorePoint", "name": "p" },
        "filters": { "includeClusterResources": [{ "resource": "storageclasses" }] },
    });
    assert_eq!(cluster_child_spec(&batch, "p"), expected);
    let mut found = content("c", "2026-01-01T00:00:00Z", artifact(LOCAL, false));
    found.labels.insert(label::APP_NAMESPACE.to_owned(), CLUSTER_SCOPE.to_owned());
    let name = || -> String { unreachable!("nothing is bound to it") };
    let lost = decide_source(&found, CLUSTER_SCOPE, name);
    assert!(matches!(lost, Source::Nothing { .. }), "{lost:?}");
    found.body.status["restorePointRef"] = json!({ "name": "p" });
    let point = Source::Point { namespace: String::new(), name: "p".to_owned() };
    assert_eq!(decide_source(&found, CLUSTER_SCOPE, name), point);
    let source = point;
    let planned = PlannedRestore {
        namespace: CLUSTER_SCOPE.to_owned(),
        target: String::new(),
        child: "b-x".to_owned(),
        source,
    };
    assert_eq!(planned.child_key(), RowKey::new(kinds::restore_cluster_actions(), "", "b-x"));
}
