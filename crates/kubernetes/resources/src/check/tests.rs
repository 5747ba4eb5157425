//! Tables of what a create refuses, field by field, and of fields that nobody knows.

use serde_json::{Value, json};

use super::*;
use crate::kind::{KINDS, find_kind};

const INSTALL: &str = "kasten-io";

fn kind(plural: &str) -> &'static KindInfo {
    KINDS.iter().find(|kind| kind.plural == plural).expect("the kind is ours")
}

fn object(namespace: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": "x", "namespace": namespace }, "spec": spec })
}

fn said(plural: &str, object: &Value) -> Vec<String> {
    validate_create(kind(plural), object, INSTALL).iter().map(ToString::to_string).collect()
}

fn good() -> [(&'static str, Value); 14] {
    let source = json!({ "profileName": "p", "sourceClusterID": "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa" });
    let subject = json!({ "kind": "RestorePoint", "name": "shop-x1", "namespace": "shop" });
    [
        (
            "runactions",
            object(
                INSTALL,
                json!({
                    "subject": { "kind": "Policy", "name": "nightly", "namespace": INSTALL },
                    "expiresAt": "2027-01-31T00:00:00Z",
                }),
            ),
        ),
        (
            "backupclusteractions",
            object(
                "",
                json!({ "filters": { "includeClusterResources": [{ "resource": "storageclasses" }] } }),
            ),
        ),
        (
            "restoreclusteractions",
            object("", json!({ "subject": { "kind": "ClusterRestorePoint", "name": "x1" } })),
        ),
        ("backupactions", object("shop", json!({ "subject": { "name": "shop", "namespace": "shop" } }))),
        (
            "exportactions",
            object(INSTALL, json!({ "subject": subject, "profile": { "name": "p", "namespace": INSTALL } })),
        ),
        (
            "restoreactions",
            object("shop", json!({ "subject": subject, "targetNamespace": "shop", "dataOnly": false })),
        ),
        (
            "cancelactions",
            object("shop", json!({ "subject": { "kind": "RunAction", "name": "now", "namespace": "shop" } })),
        ),
        ("cancelactions", object(INSTALL, json!({ "subject": { "kind": "RetireAction", "name": "old" } }))),
        (
            "batchrestoreactions",
            object(
                INSTALL,
                json!({
                    "subjects": [{ "namespace": "shop" }, { "namespace": "bank", "restorePointName": "b1" }],
                    "targetNamespacePrefix": "new-", "overwriteExisting": true, "filters": {},
                    "restorePointsDiscoveryRange": [{ "start": "2027-01-31T00:00:00Z" }],
                }),
            ),
        ),
        (
            "validateactions",
            object(
                "shop",
                json!({ "subject": subject, "volumeDataCheckOptions": { "verifyFilesPercent": 0, "failFast": true } }),
            ),
        ),
        (
            "validateactions",
            object("shop", json!({ "subject": { "kind": "RestorePointContent", "name": "shop-x1" } })),
        ),
        (
            "reportactions",
            object(
                INSTALL,
                json!({ "subject": { "name": INSTALL, "namespace": INSTALL }, "statsIntervalHours": 12 }),
            ),
        ),
        ("restorepoints", object("shop", json!({ "restorePointContentRef": { "name": "shop-x1" } }))),
        ("kastendrreviews", object(INSTALL, json!({ "sourceClusterInfo": source }))),
    ]
}

#[test]
fn a_documented_object_is_accepted_and_has_no_unknown_field() {
    for (plural, object) in good() {
        assert_eq!(said(plural, &object), Vec::<String>::new(), "{plural}");
        assert_eq!(unknown_fields(kind(plural), &object), Vec::<String>::new(), "{plural}");
    }
}

#[test]
fn a_misspelt_field_is_named() {
    let object = json!({
        "metadata": { "name": "x", "namespace": "shop", "lables": {} },
        "spec": {
            "subjct": { "name": "a" },
            "filters": { "includeResources": [{ "resource": "pods" }, { "resorce": "pods" }] },
        },
    });
    assert_eq!(
        unknown_fields(kind("backupactions"), &object),
        ["metadata.lables", "spec.filters.includeResources[1].resorce", "spec.subjct"]
    );
}

#[test]
fn labels_and_open_objects_have_no_unknown_fields() {
    let object = json!({
        "metadata": { "name": "x", "labels": { "any": "thing" } },
        "spec": {
            "subject": { "name": "a" },
            "transforms": [{ "anything": { "goes": 1 } }],
            "filters": { "includeResources": [{ "matchLabels": { "any": "thing" } }] },
        },
    });
    assert_eq!(unknown_fields(kind("restoreactions"), &object), Vec::<String>::new());
}

#[test]
fn a_wrong_structure_is_told_in_the_words_of_kubernetes() {
    for (spec, message) in [
        (json!({}), "spec.subject: Required value"),
        (json!({ "subject": {} }), "spec.subject.name: Required value"),
        (json!({ "subject": { "name": "" } }), "spec.subject.name: Required value"),
        (
            json!({ "subject": "nightly" }),
            "spec.subject: Invalid value: \"nightly\": spec.subject in body must be of type object",
        ),
        (
            json!({ "subject": { "name": "n", "kind": "Plan" } }),
            "spec.subject.kind: Unsupported value: \"Plan\": supported values: \"Policy\"",
        ),
        (
            json!({ "subject": { "name": "n" }, "expiresAt": "tomorrow" }),
            "spec.expiresAt: Invalid value: \"tomorrow\": spec.expiresAt in body must be of type date-time",
        ),
        (
            json!({ "subject": { "name": "n", "namespace": "shop" } }),
            "spec.subject.namespace: Invalid value: \"shop\": must be the namespace of the object, \"kasten-io\"",
        ),
        (
            json!({ "subject": { "name": "n" }, "scheduledTime": "2027-01-31T00:00:00Z" }),
            "spec.scheduledTime: Forbidden: is set by the scheduler",
        ),
        (
            json!({ "subject": { "name": "A b" } }),
            "spec.subject.name: Invalid value: \"A b\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        ),
    ] {
        assert_eq!(said("runactions", &object(INSTALL, spec)), [message]);
    }
    assert_eq!(said("runactions", &json!({ "metadata": { "name": "x" } })), ["spec: Required value"]);
}

#[test]
fn labels_are_as_many_as_leave_room_for_those_of_the_platform() {
    let labelled = |count: usize| {
        let mut object = object("shop", json!({ "subject": { "name": "shop", "namespace": "shop" } }));
        let labels = (0..count).map(|number| (format!("label-{number}"), json!("mine")));
        object["metadata"]["labels"] = labels.collect();
        said("backupactions", &object)
    };
    assert_eq!(labelled(LABELS_MAX), Vec::<String>::new());
    for count in [LABELS_MAX + 1, 10_000] {
        assert_eq!(labelled(count), ["metadata.labels: Too many: must have at most 80 items"]);
    }
}

#[test]
fn metadata_is_checked_as_the_api_server_would() {
    let spec = json!({ "restorePointContentRef": { "name": "c" } });
    for (metadata, message) in [
        (json!({}), "metadata.name: Required value: name or generateName is required"),
        (
            json!({ "name": "x", "finalizers": ["a/b"] }),
            "metadata.finalizers: Forbidden: objects of this kind are removed by the platform only",
        ),
        (
            json!({ "name": "x", "ownerReferences": [{}] }),
            "metadata.ownerReferences: Forbidden: objects of this kind are removed by the platform only",
        ),
        (
            json!({ "name": "x", "resourceVersion": "7" }),
            "metadata.resourceVersion: Forbidden: must not be set on objects to be created",
        ),
        (
            json!({ "name": "x", "labels": { "app": 7 } }),
            "metadata.labels[app]: Invalid value: 7: must be a string",
        ),
        (
            json!({ "name": "x", "annotations": { "a": "b".repeat(300_000) } }),
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
    ] {
        assert_eq!(said("restorepoints", &json!({ "metadata": metadata, "spec": spec })), [message]);
    }
    let generated = json!({ "metadata": { "generateName": "run-dr-" }, "spec": spec });
    assert_eq!(said("restorepoints", &generated), Vec::<String>::new());
}

#[test]
fn a_backup_captures_no_namespace_but_its_own() {
    for subject in [json!({ "name": "bank", "namespace": "shop" }), json!({ "name": "bank" })] {
        assert_eq!(
            said("backupactions", &object("shop", json!({ "subject": subject }))),
            ["spec.subject.name: Invalid value: \"bank\": must be the namespace of the object, \"shop\""]
        );
    }
    let subject = json!({ "kind": "RestorePoint", "name": "x1", "namespace": "bank" });
    let into = object("shop", json!({ "subject": subject, "targetNamespace": "bank" }));
    assert_eq!(
        said("restoreactions", &into),
        ["spec.targetNamespace: Invalid value: \"bank\": must be the namespace of the object, \"shop\""]
    );
}

#[test]
fn actions_of_the_cluster_scope_name_no_namespace_and_a_point_of_theirs() {
    let restore = |spec: Value| said("restoreclusteractions", &object("", spec));
    assert_eq!(restore(json!({ "subject": { "kind": "ClusterRestorePoint", "name": "x1" } })), [""; 0]);
    assert_eq!(restore(json!({ "subject": { "name": "x1" } })), [""; 0], "it is the default");
    let in_namespace = json!({ "subject": { "name": "x1", "namespace": "shop" } });
    assert_eq!(
        restore(in_namespace),
        ["spec.subject.namespace: Forbidden: a ClusterRestorePoint lives in no namespace"]
    );
    assert_eq!(
        restore(json!({ "subject": { "kind": "RestorePoint", "name": "x1" } })),
        ["spec.subject.kind: Unsupported value: \"RestorePoint\": supported values: \"ClusterRestorePoint\""]
    );
    let transformed = json!({ "subject": { "name": "x1" }, "transforms": [{ "name": "t" }] });
    assert_eq!(
        restore(transformed),
        ["spec.transforms: Forbidden: not supported: this version has no transforms"]
    );
    let scheduled = object("", json!({ "scheduledTime": "2026-03-04T00:00:00Z" }));
    assert_eq!(
        said("backupclusteractions", &scheduled),
        ["spec.scheduledTime: Forbidden: is set by the scheduler"]
    );
    let reserved = object("kasten-io-cluster", json!({ "subject": { "name": "kasten-io-cluster" } }));
    let told = said("backupactions", &reserved);
    assert!(told[0].contains("stands for the cluster-scoped resources"), "{told:?}");
    let profile = json!({ "name": "p" });
    let point = json!({ "kind": "ClusterRestorePoint", "name": "x1" });
    let export = object(INSTALL, json!({ "subject": point, "profile": profile }));
    assert_eq!(said("exportactions", &export), [""; 0]);
}

#[test]
fn filters_for_the_other_scope_are_told_to_be_without_effect() {
    let filters = json!({ "includeClusterResources": [{ "resource": "storageclasses" }] });
    let subject = json!({ "name": "shop" });
    let backup = object("shop", json!({ "subject": subject, "filters": filters }));
    let told = ignored_fields(kind("backupactions"), &backup);
    assert!(told.len() == 1 && told[0].starts_with("spec.filters.includeClusterResources has no effect"));
    let cluster = object("", json!({ "filters": { "includeResources": [{ "resource": "secrets" }] } }));
    assert_eq!(unknown_fields(kind("backupclusteractions"), &cluster), ["spec.filters.includeResources"]);
}

#[test]
fn an_action_is_cancelled_from_its_own_namespace_and_a_cluster_scoped_one_from_the_install_namespace() {
    let kinds = "supported values: \"BackupAction\", \"BackupClusterAction\", \"RestoreAction\", \
                 \"RestoreClusterAction\", \"ExportAction\", \"ImportAction\", \"RunAction\", \"RetireAction\", \
                 \"ValidateAction\", \"BatchRestoreAction\"";
    for (subject, messages) in [
        (json!({ "name": "b" }), vec!["spec.subject.kind: Required value".to_owned()]),
        (
            json!({ "kind": "Profile", "name": "b" }),
            vec![format!("spec.subject.kind: Unsupported value: \"Profile\": {kinds}")],
        ),
        (
            json!({ "kind": "BackupAction", "name": "b", "namespace": "bank" }),
            vec![
                "spec.subject.namespace: Invalid value: \"bank\": must be the namespace of the object, \"shop\""
                    .to_owned(),
            ],
        ),
        (
            json!({ "kind": "RetireAction", "name": "r" }),
            vec![
                "metadata.namespace: Invalid value: \"shop\": must be \"kasten-io\": a cluster-scoped action is \
                 cancelled from there"
                    .to_owned(),
            ],
        ),
    ] {
        assert_eq!(said("cancelactions", &object("shop", json!({ "subject": subject }))), messages);
    }
}

#[test]
fn a_batch_of_restores_names_each_application_once_and_where_it_may_go() {
    let batch = |subjects: Value, suffix: &str| {
        let spec = json!({ "subjects": subjects, "targetNamespaceSuffix": suffix });
        said("batchrestoreactions", &object(INSTALL, spec))
    };
    assert_eq!(batch(json!([]), ""), ["spec.subjects: Required value: at least one application"]);
    for (subjects, suffix, message) in [
        (json!([{ "namespace": "" }]), "", "spec.subjects[0].namespace: Required value"),
        (
            json!([{ "namespace": "a" }, { "namespace": "a" }]),
            "",
            "spec.subjects[1].namespace: Invalid value: \"a\": is named twice",
        ),
        (
            json!([{ "namespace": "kasten-io-cluster" }, { "namespace": "kasten-io-cluster" }]),
            "",
            "spec.subjects[1].namespace: Invalid value: \"kasten-io-cluster\": is named twice",
        ),
        (
            json!([{ "namespace": "a", "restorePointName": "p", "restorePointContentName": "c" }]),
            "",
            "spec.subjects[0].restorePointContentName: Invalid value: \"c\": cannot be combined with restorePointName",
        ),
    ] {
        assert_eq!(batch(subjects, suffix), [message]);
    }
    let too_long = batch(json!([{ "namespace": "a".repeat(40) }]), &format!("-{}", "b".repeat(30)));
    assert!(too_long.len() == 1 && too_long[0].contains("would be restored into 'aaaa"), "{too_long:?}");
    let elsewhere =
        said("batchrestoreactions", &object("shop", json!({ "subjects": [{ "namespace": "a" }] })));
    assert!(elsewhere[0].starts_with("metadata.namespace: Invalid value: \"shop\""), "{elsewhere:?}");
    let data = said(
        "batchrestoreactions",
        &object(INSTALL, json!({ "subjects": [{ "namespace": "a" }], "dataOnly": true })),
    );
    assert!(data[0].starts_with("spec.dataOnly: Forbidden: not supported"), "{data:?}");
}

#[test]
fn an_export_on_demand_belongs_into_the_install_namespace() {
    let subject = json!({ "kind": "RestorePoint", "name": "x1", "namespace": "shop" });
    for (namespace, profile, message) in [
        (
            "shop",
            json!({ "name": "p" }),
            "metadata.namespace: Invalid value: \"shop\": must be \"kasten-io\": \
             an export on demand is made in the install namespace",
        ),
        (INSTALL, json!({ "name": "" }), "spec.profile.name: Required value"),
        (
            INSTALL,
            json!({ "name": "p", "namespace": "shop" }),
            "spec.profile.namespace: Invalid value: \"shop\": must be the install namespace, \"kasten-io\"",
        ),
    ] {
        let object = object(namespace, json!({ "subject": subject, "profile": profile }));
        assert_eq!(said("exportactions", &object), [message]);
    }
}

#[test]
fn an_upgrade_names_repositories_and_their_profile() {
    let profile = json!({ "name": "p" });
    for (namespace, subject, profile, message) in [
        (
            "shop",
            json!({ "kind": "Policy", "name": "p" }),
            profile.clone(),
            "metadata.namespace: Invalid value: \"shop\": must be \"kasten-io\": repositories are the platform's",
        ),
        (
            INSTALL,
            json!({ "kind": "StorageRepository", "name": "r", "namespace": "shop" }),
            profile.clone(),
            "spec.subject.namespace: Invalid value: \"shop\": must be the namespace of the object, \"kasten-io\"",
        ),
        (
            INSTALL,
            json!({ "kind": "Policy", "name": "p" }),
            json!({ "name": "" }),
            "spec.profile.name: Required value",
        ),
    ] {
        let object = object(namespace, json!({ "subject": subject, "profile": profile }));
        assert_eq!(said("upgradeactions", &object), [message]);
    }
}

#[test]
fn a_report_is_of_the_platform_and_of_a_span() {
    let platform = json!({ "name": INSTALL, "namespace": INSTALL });
    let check = |namespace: &str, spec: Value, message: &str| {
        assert_eq!(said("reportactions", &object(namespace, spec)), [message]);
    };
    let missing = "spec.statsIntervalDays: Required value: the sum of statsIntervalDays and statsIntervalHours must not \
                   be zero";
    check(INSTALL, json!({ "subject": platform }), missing);
    let zero = json!({ "subject": platform, "statsIntervalDays": 0, "statsIntervalHours": 0 });
    check(INSTALL, zero, missing);
    check(
        INSTALL,
        json!({ "subject": platform, "statsIntervalDays": -1 }),
        "spec.statsIntervalDays: Invalid value: -1: spec.statsIntervalDays in body should be greater than or equal to 0",
    );
    check(
        INSTALL,
        json!({ "subject": { "name": "shop", "namespace": INSTALL }, "statsIntervalDays": 1 }),
        "spec.subject.name: Invalid value: \"shop\": must be the namespace of the object, \"kasten-io\"",
    );
    check(
        INSTALL,
        json!({ "subject": platform, "statsIntervalDays": 1, "scheduledTime": "2027-01-31T00:00:00Z" }),
        "spec.scheduledTime: Forbidden: is set by the scheduler",
    );
    let elsewhere = json!({ "subject": { "name": "shop" }, "statsIntervalDays": 1 });
    check(
        "shop",
        elsewhere,
        "metadata.namespace: Invalid value: \"shop\": must be \"kasten-io\": a report is of the platform as a whole",
    );
}

#[test]
fn what_is_not_supported_is_refused_and_never_ignored() {
    let subject = json!({ "kind": "RestorePoint", "name": "x1", "namespace": "shop" });
    for (field, value) in [
        ("volumeClones", json!(true)),
        ("dataOnly", json!(true)),
        ("transforms", json!([{ "name": "t" }])),
        ("hooks", json!({ "preHook": { "blueprint": "b", "actionName": "a" } })),
        ("instantRecovery", json!(true)),
    ] {
        let mut spec = json!({ "subject": subject });
        spec[field] = value;
        let errors = said("restoreactions", &object("shop", spec));
        let expected = format!("spec.{field}: Forbidden: not supported: ");
        assert!(errors.len() == 1 && errors[0].starts_with(&expected), "{errors:?}");
    }
}

#[test]
fn a_recovery_starts_from_a_review_or_from_a_cluster() {
    let source = json!({ "profileName": "p", "sourceClusterID": "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa" });
    let id = format!("{}.1.7", "ab".repeat(16));
    let review = json!({ "kastenDRReviewRef": { "name": "rev", "namespace": INSTALL }, "id": id });
    let accepted = Vec::<String>::new();
    let check = |spec: Value| said("kastendrrestores", &object(INSTALL, spec));
    assert_eq!(check(json!({ "sourceClusterInfo": source, "skipResources": "secrets,profiles" })), accepted);
    assert_eq!(check(json!({ "kastenDRReviewDetails": review })), accepted);
    assert_eq!(
        check(json!({ "sourceClusterInfo": source, "kastenDRReviewDetails": review })),
        ["spec.sourceClusterInfo: Forbidden: cannot be combined with kastenDRReviewDetails"]
    );
    assert_eq!(
        check(json!({})),
        ["spec.sourceClusterInfo: Required value: either this or kastenDRReviewDetails is needed"]
    );
    assert_eq!(
        check(json!({ "sourceClusterInfo": source, "skipResources": "catalog" })),
        [
            "spec.skipResources: Invalid value: \"catalog\": 'catalog' cannot be skipped; known are 'profiles', \
          'policies' and 'secrets'"
        ]
    );
    assert_eq!(
        check(json!({ "sourceClusterInfo": { "profileName": "p", "sourceClusterID": "../x" } })),
        ["spec.sourceClusterInfo.sourceClusterID: Invalid value: \"../x\": '../x' is not a cluster id \
          (the UID of namespace 'default')"]
    );
    assert_eq!(
        unknown_fields(kind("kastendrreviews"), &object(INSTALL, json!({ "profileName": "p" }))),
        ["spec.profileName"]
    );
}

#[test]
fn a_recovery_says_how_vault_is_reached_and_what_is_known_of_the_mode() {
    let source = json!({ "profileName": "p", "sourceClusterID": "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa" });
    let check = |kind: &str, field: &str, value: Value| {
        let mut spec = json!({ "sourceClusterInfo": source });
        spec[field] = value;
        said(kind, &object(INSTALL, spec))
    };
    let accepted = Vec::<String>::new();
    let token = json!({ "address": "https://vault.test", "secretName": "vault-creds" });
    let by_role = json!({ "address": "https://vault.test", "role": "k10" });
    let signing_in = |path: &str| {
        let mut vault = by_role.clone();
        vault["serviceAccountTokenPath"] = json!(path);
        vault
    };
    let role = signing_in("/var/run/secrets/vault/token");
    for kind in ["kastendrreviews", "kastendrrestores"] {
        assert_eq!(check(kind, "vault", token.clone()), accepted);
        assert_eq!(check(kind, "vault", role.clone()), accepted);
        let elsewhere = check(kind, "vault", signing_in("/var/run/secrets/../token")).join("\n");
        let told = "spec.vault.serviceAccountTokenPath: Invalid value: \"/var/run/secrets/../token\": must be a file below \
                    /var/run/secrets/, where tokens of service accounts are mounted";
        assert!(elsewhere.starts_with(told), "{elsewhere}");
        assert_eq!(
            check(kind, "vault", json!({ "address": "https://vault.test" })),
            ["spec.vault.role: Required value: either this or secretName is needed"]
        );
        assert_eq!(
            check(kind, "vault", json!({ "address": "", "role": "k10" })),
            ["spec.vault.address: Required value"]
        );
    }
    let confirmed = json!({ "enabled": true, "overrideResources": true });
    assert_eq!(check("kastendrrestores", "quickMode", confirmed), accepted);
    // Whether it had to be confirmed shows once the restore point is known.
    assert_eq!(check("kastendrrestores", "quickMode", json!({ "enabled": true })), accepted);
    assert_eq!(check("kastendrrestores", "quickMode", json!(true)).len(), 1);
}

#[test]
fn an_answer_does_not_grow_with_the_request() {
    let filters: Vec<Value> = (0..100).map(|_| json!({ "resource": 7 })).collect();
    let spec = json!({ "subject": { "name": "shop" }, "filters": { "includeResources": filters } });
    assert_eq!(said("backupactions", &object("shop", spec)).len(), ERRORS_MAX);
    let long = object(INSTALL, json!({ "subject": { "name": "n", "kind": "x".repeat(100_000) } }));
    assert!(said("runactions", &long)[0].len() < 400);
    let mut labelled = object("shop", json!({ "subject": { "name": "shop" } }));
    let labels = (0..10_000).map(|number| (format!("{number}/{}", "x".repeat(100)), json!(number % 2)));
    labelled["metadata"]["labels"] = labels.collect();
    assert_eq!(said("backupactions", &labelled).len(), ERRORS_MAX);
    labelled["metadata"] = (0..10_000).map(|number| (format!("n{number}"), json!(1))).collect();
    assert_eq!(unknown_fields(kind("backupactions"), &labelled).len(), ERRORS_MAX);
}

/// The path to each item was written out, whatever its length: three MiB of a request took minutes.
#[test]
fn a_long_name_costs_nothing_for_each_item_below_it() {
    let name = "k".repeat(1 << 20);
    let mut labels = json!({ "resource": "secrets", "matchLabels": {} });
    labels["matchLabels"][&name] = vec![1; 1 << 19].into();
    labels["matchLabels"]["short"] = json!([{ "unknown": 1 }]);
    let spec = json!({ "subject": { "name": "shop" }, "filters": { "includeResources": [labels] } });
    let long = object("shop", spec);
    let field = "spec.filters.includeResources[0].matchLabels";
    assert_eq!(unknown_fields(kind("backupactions"), &long), [format!("{field}.short[0].unknown")]);
    for error in said("backupactions", &long) {
        assert!(error.starts_with(field) && error.len() < 4 * FieldPath::BYTES_MAX, "{} bytes", error.len());
    }
}

#[test]
fn every_error_has_a_reason_that_clients_know() {
    let errors = validate_create(kind("runactions"), &object(INSTALL, json!({ "subject": {} })), INSTALL);
    assert_eq!(errors[0].fault.reason(), "FieldValueRequired");
    assert_eq!(errors[0].detail(), "Required value");
    assert!(find_kind("actions.kio.kasten.io", "runactions").is_some());
}
