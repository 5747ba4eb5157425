//! The table of kinds: documented columns, references, and schemas that hold together.

use serde_json::json;

use super::*;

fn kind(name: &str) -> &'static KindInfo {
    KINDS.iter().find(|kind| kind.kind == name).expect("the kind is ours")
}

fn headings(kind: &KindInfo, priority: i32) -> Vec<String> {
    let shown = kind.columns.iter().filter(|column| column.priority <= priority);
    shown.map(|column| column.name.to_uppercase()).collect()
}

#[test]
fn kinds_print_the_documented_columns() {
    for (name, expected) in [
        ("RunAction", &["NAME", "CREATED AT", "STATE", "PCT"][..]),
        ("BackupAction", &["NAME", "AGE"]),
        ("RestoreAction", &["NAME", "AGE"]),
        ("ExportAction", &["NAME", "AGE"]),
        ("ImportAction", &["NAME", "AGE"]),
        ("ReportAction", &["NAME", "AGE"]),
        ("UpgradeAction", &["NAME", "AGE"]),
        ("BatchRestoreAction", &["NAME", "CREATED AT", "STATE", "PCT", "SUBJECTS"]),
        ("RetireAction", &["NAME", "CREATED AT"]),
        ("BackupClusterAction", &["NAME", "CREATED AT"]),
        ("RestoreClusterAction", &["NAME", "CREATED AT"]),
        ("ClusterRestorePoint", &["NAME", "CREATED AT"]),
        ("ValidateAction", &["NAME", "AGE"]),
        ("RestorePoint", &["NAME", "AGE"]),
        ("RestorePointContent", &["NAME", "AGE"]),
        ("Application", &["NAME", "AGE"]),
        ("KastenDRReview", &["NAME", "SOURCE CLUSTERID", "RESTOREPOINTS", "PHASE", "ERROR", "STATE"]),
        ("KastenDRRestore", &["NAME", "SOURCECLUSTERID", "PHASE", "STATE", "ERROR"]),
        ("Passkey", &["NAME", "VALID"]),
        ("StorageRepository", &["NAME", "LOCATIONTYPE", "AGE"]),
    ] {
        assert_eq!(headings(kind(name), 0), expected, "{name}");
    }
    assert_eq!(headings(kind("BackupAction"), 1), ["NAME", "AGE", "STATE", "PCT"]);
}

#[test]
fn a_row_is_filled_from_the_object() {
    let run = json!({
        "metadata": { "name": "run-dr-x", "creationTimestamp": "2026-02-03T04:05:06Z" },
        "status": { "state": "Running", "progress": 88 },
    });
    let now: Timestamp = "2026-02-03T04:10:06Z".parse().unwrap();
    let row =
        |name: &str| kind(name).columns.iter().map(|column| column.value(&run, now)).collect::<Vec<_>>();
    assert_eq!(
        row("RunAction"),
        [json!("run-dr-x"), json!("2026-02-03T04:05:06Z"), json!("Running"), json!(88)]
    );
    assert_eq!(row("BackupAction")[1], json!("5m"));
    let empty = json!({});
    assert_eq!(kind("RunAction").columns[2].value(&empty, now), Value::Null);
    assert_eq!(kind("BackupAction").columns[1].value(&empty, now), json!("<unknown>"));
}

#[test]
fn kinds_are_found_by_path_and_by_row() {
    for kind in KINDS {
        assert_eq!(find_kind(kind.group, kind.plural).map(|found| found.kind), Some(kind.kind));
        assert_eq!(kind_of_row(&kind.row_kind()).map(|found| found.kind), Some(kind.kind));
        assert_eq!(kind.singular, kind.kind.to_lowercase());
        let stem = kind.singular.strip_suffix('y').filter(|stem| !stem.ends_with('e'));
        let plural = stem.map_or_else(|| format!("{}s", kind.singular), |stem| format!("{stem}ies"));
        assert_eq!(kind.plural, plural);
    }
    assert!(find_kind("apps", "deployments").is_none());
    assert!(kind_of_row("nonsense").is_none());
}

#[test]
fn only_what_clients_may_make_can_be_made() {
    let creatable: Vec<_> =
        KINDS.iter().filter(|kind| kind.allows(Verb::Create)).map(|kind| kind.kind).collect();
    assert_eq!(
        creatable,
        [
            "BackupAction",
            "BackupClusterAction",
            "BatchRestoreAction",
            "CancelAction",
            "ExportAction",
            "ReportAction",
            "RestoreAction",
            "RestoreClusterAction",
            "RunAction",
            "UpgradeAction",
            "ValidateAction",
            "RestorePoint",
            "Passkey",
            "KastenDRRestore",
            "KastenDRReview"
        ]
    );
    assert_eq!(kind("ImportAction").verbs, ALL_BUT_CREATE);
    assert_eq!(kind("Application").verbs, READ_VERBS);
    let patchable: Vec<_> = KINDS.iter().filter(|kind| kind.allows(Verb::Patch)).collect();
    assert_eq!(patchable.iter().map(|kind| kind.kind).collect::<Vec<_>>(), ["StorageRepository"]);
    assert_eq!(kind("CancelAction").verbs, [Verb::Create], "it is kept nowhere");
    for kind in KINDS.iter().filter(|kind| !kind.allows(Verb::List)) {
        assert!(kind.categories.is_empty(), "{} would break the list of its category", kind.kind);
    }
    assert!(kind("RestorePointContent").allows(Verb::DeleteCollection));
}

fn check_references(name: &str, spec: Value, expected: &[&str]) {
    let object = json!({ "metadata": { "name": "x", "namespace": "shop" }, "spec": spec });
    let references = (kind(name).references)(&object, "kasten-io");
    let printed: Vec<_> = references
        .iter()
        .map(|reference| {
            let namespace = reference.namespace.as_deref().unwrap_or("*");
            let name = reference.name.as_deref().unwrap_or("*");
            format!(
                "{} {}.{} {namespace}/{name}",
                reference.verb.as_str(),
                reference.resource,
                reference.group
            )
        })
        .collect();
    assert_eq!(printed, expected, "{name}");
}

#[test]
fn what_lies_in_no_namespace_needs_rights_in_the_whole_cluster() {
    let of_cluster = json!({ "kind": "ClusterRestorePoint", "name": "x1" });
    check_references(
        "ExportAction",
        json!({ "subject": of_cluster, "profile": { "name": "p" } }),
        &[
            "get clusterrestorepoints.apps.kio.kasten.io */x1",
            "get profiles.config.kio.kasten.io kasten-io/p",
        ],
    );
    for kind in ["RestoreClusterAction", "ValidateAction"] {
        let subject = json!({ "subject": of_cluster });
        check_references(kind, subject, &["get clusterrestorepoints.apps.kio.kasten.io */x1"]);
    }
    check_references("BackupClusterAction", json!({}), &[]);
    check_references(
        "BatchRestoreAction",
        json!({ "targetNamespacePrefix": "new-", "subjects": [
            { "namespace": "kasten-io-cluster" },
            { "namespace": "kasten-io-cluster", "restorePointName": "x1" },
            { "namespace": "kasten-io-cluster", "restorePointContentName": "c1" },
        ] }),
        &[
            "list clusterrestorepoints.apps.kio.kasten.io */*",
            "create restoreclusteractions.actions.kio.kasten.io */*",
            "get clusterrestorepoints.apps.kio.kasten.io */x1",
            "create restoreclusteractions.actions.kio.kasten.io */*",
            "get restorepointcontents.apps.kio.kasten.io */c1",
            "create restoreclusteractions.actions.kio.kasten.io */*",
        ],
    );
}

#[test]
fn everything_an_object_names_needs_a_right_of_its_own() {
    let point = json!({ "kind": "RestorePoint", "name": "x1", "namespace": "bank" });
    check_references(
        "RunAction",
        json!({ "subject": { "name": "nightly" } }),
        &["get policies.config.kio.kasten.io shop/nightly"],
    );
    check_references(
        "BackupAction",
        json!({ "subject": { "name": "shop", "namespace": "shop" } }),
        &["get applications.apps.kio.kasten.io shop/shop"],
    );
    check_references(
        "ExportAction",
        json!({ "subject": point, "profile": { "name": "p", "namespace": "elsewhere" } }),
        &["get restorepoints.apps.kio.kasten.io bank/x1", "get profiles.config.kio.kasten.io kasten-io/p"],
    );
    check_references(
        "RestoreAction",
        json!({ "subject": point, "targetNamespace": "shop", "artifactOverrideProfile": { "name": "p" } }),
        &["get restorepoints.apps.kio.kasten.io bank/x1", "get profiles.config.kio.kasten.io kasten-io/p"],
    );
    check_references(
        "RestoreAction",
        json!({ "subject": point, "targetNamespace": "vault", "transforms": [{ "transformSetRef": { "name": "t" } }] }),
        &[
            "get restorepoints.apps.kio.kasten.io bank/x1",
            "create restoreactions.actions.kio.kasten.io vault/*",
            "get transformsets.config.kio.kasten.io shop/t",
        ],
    );
    check_references(
        "BatchRestoreAction",
        json!({ "targetNamespacePrefix": "new-", "artifactOverrideProfile": { "name": "p" }, "subjects": [
            { "namespace": "a", "restorePointName": "a1" },
            { "namespace": "b", "restorePointContentName": "b-b1" },
            { "namespace": "c" },
        ] }),
        &[
            "get restorepoints.apps.kio.kasten.io a/a1",
            "create restoreactions.actions.kio.kasten.io new-a/*",
            "get restorepointcontents.apps.kio.kasten.io */b-b1",
            "create restoreactions.actions.kio.kasten.io new-b/*",
            "list restorepoints.apps.kio.kasten.io c/*",
            "create restoreactions.actions.kio.kasten.io new-c/*",
            "get profiles.config.kio.kasten.io kasten-io/p",
        ],
    );
    check_references(
        "ImportAction",
        json!({ "profile": { "name": "p", "namespace": "elsewhere" }, "receiveString": "r" }),
        &["get profiles.config.kio.kasten.io kasten-io/p"],
    );
    check_references(
        "ReportAction",
        json!({ "subject": { "name": "kasten-io", "namespace": "kasten-io" }, "statsIntervalDays": 1 }),
        &["get namespaces. */kasten-io", "create reports.reporting.kio.kasten.io kasten-io/*"],
    );
    let profile = json!({ "name": "p", "namespace": "kasten-io" });
    check_references(
        "UpgradeAction",
        json!({ "subject": { "kind": "StorageRepository", "name": "r", "namespace": "kasten-io" }, "profile": profile }),
        &[
            "get storagerepositories.repositories.kio.kasten.io kasten-io/r",
            "get profiles.config.kio.kasten.io kasten-io/p",
        ],
    );
    check_references(
        "UpgradeAction",
        json!({ "subject": { "kind": "Policy", "name": "nightly", "namespace": "shop" }, "profile": profile }),
        &["get policies.config.kio.kasten.io shop/nightly", "get profiles.config.kio.kasten.io kasten-io/p"],
    );
    check_references(
        "ValidateAction",
        json!({ "subject": point }),
        &["get restorepoints.apps.kio.kasten.io bank/x1"],
    );
    check_references(
        "ValidateAction",
        json!({ "subject": { "kind": "RestorePointContent", "name": "bank-x1" } }),
        &["get restorepointcontents.apps.kio.kasten.io */bank-x1"],
    );
    check_references(
        "CancelAction",
        json!({ "subject": { "kind": "RestoreAction", "name": "r", "namespace": "shop" } }),
        &["get restoreactions.actions.kio.kasten.io shop/r"],
    );
    check_references(
        "CancelAction",
        json!({ "subject": { "kind": "RetireAction", "name": "r", "namespace": "shop" } }),
        &["get retireactions.actions.kio.kasten.io */r"],
    );
    check_references(
        "CancelAction",
        json!({ "subject": { "kind": "BackupClusterAction", "name": "b" } }),
        &["get backupclusteractions.actions.kio.kasten.io */b"],
    );
    check_references(
        "RestorePoint",
        json!({ "restorePointContentRef": { "name": "c" } }),
        &["get restorepointcontents.apps.kio.kasten.io */c"],
    );
    for (secret, expected) in [
        (json!({ "name": "s", "namespace": "vaults" }), "get secrets. vaults/s"),
        (json!({ "name": "s" }), "get secrets. kasten-io/s"),
    ] {
        check_references("Passkey", json!({ "secret": secret }), &[expected]);
    }
    check_references(
        "KastenDRReview",
        json!({ "sourceClusterInfo": { "profileName": "p", "sourceClusterID": "c" } }),
        &["get profiles.config.kio.kasten.io kasten-io/p"],
    );
    check_references(
        "KastenDRRestore",
        json!({ "kastenDRReviewDetails": { "kastenDRReviewRef": { "name": "rev" }, "id": "i" } }),
        &["get kastendrreviews.dr.kio.kasten.io kasten-io/rev"],
    );
}

#[test]
fn a_request_that_says_how_vault_is_reached_needs_rights_to_its_secrets() {
    let vault = json!({ "address": "https://vault.test", "secretName": "token", "caSecretName": "ca" });
    for kind in ["KastenDRReview", "KastenDRRestore"] {
        let source = json!({ "profileName": "p", "sourceClusterID": "c" });
        check_references(
            kind,
            json!({ "sourceClusterInfo": source, "vault": vault }),
            &[
                "get profiles.config.kio.kasten.io kasten-io/p",
                "get secrets. kasten-io/token",
                "get secrets. kasten-io/ca",
            ],
        );
    }
}

#[test]
fn every_schema_describes_every_field_and_holds_no_reference() {
    for kind in KINDS {
        let schema = (kind.schema)();
        assert!(!schema.to_string().contains("$ref"), "{}", kind.kind);
        assert!(schema["description"].as_str().is_some_and(|text| text.starts_with(kind.kind)));
        for part in ["spec", "status"] {
            let properties =
                schema["properties"][part]["properties"].as_object().cloned().unwrap_or_default();
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{} {part}.{name}", kind.kind);
            }
        }
    }
}

/// A generator of types knows neither, and a number without a format is one of 32 bits to some.
#[test]
fn no_schema_has_an_unsigned_format_or_a_choice_that_is_null() {
    fn walk(kind: &str, schema: &Value) {
        let of_type = |name: &str| schema["type"] == name;
        let format = schema["format"].as_str().unwrap_or_default();
        assert!(!of_type("integer") || ["int32", "int64"].contains(&format), "{kind}: {schema}");
        let choices = schema["enum"].as_array();
        assert!(choices.is_none_or(|choices| choices.iter().all(Value::is_string)), "{kind}: {schema}");
        for (_, field) in schema["properties"].as_object().into_iter().flatten() {
            walk(kind, field);
        }
        for below in ["items", "additionalProperties"].iter().filter_map(|below| schema.get(*below)) {
            walk(kind, below);
        }
    }
    for kind in KINDS {
        walk(kind.kind, &(kind.schema)());
    }
}
