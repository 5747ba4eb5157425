//! What this crate reads of JSON from outside, and what must hold of whatever comes out. For the crate's tests and for
//! the targets in `fuzz/`; no product has it.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::actions::backup::BackupActionSpec;
use crate::actions::backup_cluster::BackupClusterActionSpec;
use crate::actions::batch_restore::BatchRestoreActionSpec;
use crate::actions::cancel::CancelActionSpec;
use crate::actions::export::ExportActionSpec;
use crate::actions::import::ImportActionSpec;
use crate::actions::report::ReportActionSpec;
use crate::actions::restore::RestoreActionSpec;
use crate::actions::restore_cluster::RestoreClusterActionSpec;
use crate::actions::retire::RetireActionSpec;
use crate::actions::run::RunActionSpec;
use crate::actions::upgrade::UpgradeActionSpec;
use crate::actions::validate::ValidateActionSpec;
use crate::apps::application::ApplicationSpec;
use crate::apps::cluster_restore_point::ClusterRestorePointSpec;
use crate::apps::restore_point::RestorePointSpec;
use crate::apps::restore_point_content::RestorePointContentSpec;
use crate::check::ERRORS_MAX;
use crate::configuration::{Around, CONFIGURATION};
use crate::passkey::PasskeySpec;
use crate::recovery::restore::KastenDRRestoreSpec;
use crate::recovery::review::KastenDRReviewSpec;
use crate::storage_repository::StorageRepositorySpec;
use crate::{
    KINDS, KindInfo, Verb, ignored_fields, policy, profile, spec_hash, unknown_fields, validate_create,
};

/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// Every decoder. Each asserts its rules and says whether it took the bytes.
pub const TARGETS: &[Decoder] = &[
    ("policy", |bytes| json(bytes, policy)),
    ("profile", |bytes| json(bytes, profile)),
    ("configuration", |bytes| json(bytes, configuration)),
    ("object", |bytes| json(bytes, |object| KINDS.iter().filter(|kind| created(kind, object)).count() > 0)),
];

const INSTALL: &str = "kasten-io";
/// What a fault may repeat of the object: its path and a cut of its value.
const FAULT_BYTES_MAX: usize = 16 << 10;

/// Inputs that the targets take.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut samples = vec![("policy", nightly()), ("policy", on_preset()), ("policy", disaster_recovery())];
    samples.extend([("profile", object_store()), ("profile", file_store())]);
    samples.extend(configured().map(|(kind, spec)| {
        (
            "configuration",
            json!({ "kind": kind, "metadata": { "name": "x", "namespace": INSTALL }, "spec": spec }),
        )
    }));
    samples.extend(specs().map(|(namespace, spec)| {
        ("object", json!({ "metadata": { "name": "x", "namespace": namespace }, "spec": spec }))
    }));
    samples.into_iter().map(|(target, object)| (target, object.to_string().into_bytes())).collect()
}

fn nightly() -> Value {
    json!({ "metadata": { "name": "nightly", "namespace": INSTALL }, "spec": {
        "frequency": "@daily",
        "backupWindow": { "start": { "hour": 1, "minute": 5 }, "end": { "hour": 9, "minute": 0 } },
        "retention": { "daily": 7, "weekly": 4, "monthly": 12, "yearly": 7 },
        "selector": { "matchExpressions": [
            { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": ["shop", "team-*"] },
        ]},
        "actions": [
            { "action": "backup", "backupParameters": { "profile": { "name": "p", "namespace": INSTALL } } },
            { "action": "export", "retention": { "weekly": 2 }, "exportParameters": {
                "frequency": "@weekly", "profile": { "name": "p", "namespace": INSTALL } } },
        ],
    }})
}

fn on_preset() -> Value {
    json!({ "metadata": { "name": "own", "namespace": "shop" }, "spec": {
        "presetRef": { "name": "gold", "namespace": INSTALL },
        "selector": { "matchLabels": { "k10.kasten.io/appNamespace": "shop" } },
        "actions": [{ "action": "backup" }, { "action": "export", "exportParameters": {} }],
    }})
}

/// What policies on a preset find.
fn gold() -> Value {
    let profile = json!({ "name": "p", "namespace": INSTALL });
    let backup = json!({ "frequency": "@daily", "subFrequency": { "hours": [7] }, "retention": { "daily": 7 }, "profile": profile });
    let export =
        json!({ "profile": profile, "retention": { "daily": 2 }, "exportData": { "enabled": true } });
    let spec = json!({ "backup": backup, "export": export });
    json!({ "status": { "validation": "Success", "hash": spec_hash(&spec) }, "spec": spec })
}

fn disaster_recovery() -> Value {
    json!({ "metadata": { "name": "k10-disaster-recovery-policy", "namespace": INSTALL }, "spec": {
        "frequency": "@hourly",
        "subFrequency": { "minutes": [30, 45] },
        "retention": { "hourly": 4, "daily": 1, "weekly": 1, "monthly": 1, "yearly": 1 },
        "selector": { "matchExpressions": [
            { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": [INSTALL] },
        ]},
        "kdrSnapshotConfiguration": { "takeLocalCatalogSnapshot": true },
        "actions": [{ "action": "backup", "backupParameters": { "profile": { "name": "p" } } }],
    }})
}

fn object_store() -> Value {
    json!({ "metadata": { "name": "s3", "namespace": INSTALL }, "status": { "validation": "Success", "hash": 1 }, "spec": {
        "type": "Location",
        "locationSpec": {
            "type": "ObjectStore",
            "credential": { "secretType": "AwsAccessKey", "secret": { "name": "s3-creds", "namespace": INSTALL } },
            "objectStore": {
                "objectStoreType": "S3", "name": "bucket", "region": "eu-central-1", "endpoint": "https://s3.acme.test",
                "path": "k10/0c3e/migration", "pathType": "Directory", "protectionPeriod": "168h0m0s",
            },
        },
    }})
}

fn file_store() -> Value {
    json!({ "metadata": { "name": "share", "namespace": INSTALL }, "spec": {
        "type": "Location",
        "locationSpec": {
            "type": "FileStore",
            "fileStore": { "claimName": "dr-share", "path": "a/b", "supplementalGroup": 7 },
            "credential": { "secretType": "", "secret": { "name": "" } },
        },
    }})
}

/// One of each other kind of configuration that stands by itself.
fn configured() -> [(&'static str, Value); 5] {
    let regex =
        json!({ "op": "replace", "path": "/a~1b/**/c", "regex": "^(?i)(x+){1,9}[^a-z]$", "value": "y-${1}" });
    let copy = json!({ "op": "copy", "from": "/a/*", "path": "/b/$1/-" });
    let transform = json!({ "subject": { "resource": "pods" }, "name": "t", "json": [regex, copy] });
    let label = json!({ "labels": { "key": "app", "operator": "NotIn", "values": ["a"] } });
    let amounts = json!({ "requests": { "cpu": 1, "memory": "1.5Gi" }, "limits": { "memory": "2e9" } });
    [
        ("PolicyPreset", json!({ "backup": { "frequency": "@daily", "retention": { "daily": 7 } } })),
        ("TransformSet", json!({ "comment": "c", "transforms": [transform] })),
        (
            "BlueprintBinding",
            json!({ "blueprintRef": { "name": "b" }, "resources": { "matchAll": [label] } }),
        ),
        ("StorageSecurityContext", json!({ "security": { "userId": 7, "supplementalGroups": [1] } })),
        ("ActionPodSpec", json!({ "options": [{ "podType": "*", "resources": amounts }] })),
    ]
}

/// One of each kind that users make, and the namespace where they make it.
fn specs() -> [(&'static str, Value); 14] {
    let source = json!({ "profileName": "p", "sourceClusterID": "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa" });
    let subject = json!({ "kind": "RestorePoint", "name": "shop-x1", "namespace": "shop" });
    let profile = json!({ "name": "p", "namespace": INSTALL });
    let filters = json!({ "includeResources": [{ "resource": "pods", "matchLabels": { "a": "b" } }] });
    let run = json!({ "kind": "Policy", "name": "nightly", "namespace": INSTALL });
    let restore =
        json!({ "subject": subject, "targetNamespace": "shop", "dataOnly": false, "filters": filters });
    [
        (INSTALL, json!({ "subject": run, "expiresAt": "2027-01-31T00:00:00Z" })),
        ("shop", json!({ "subject": { "name": "shop", "namespace": "shop" }, "filters": filters })),
        (INSTALL, json!({ "subject": subject, "profile": profile })),
        ("shop", restore),
        ("shop", json!({ "subject": { "kind": "BackupAction", "name": "b", "namespace": "shop" } })),
        (
            "shop",
            json!({ "subject": subject, "volumeDataCheckOptions": { "verifyFilesPercent": 7, "failFast": true } }),
        ),
        (
            INSTALL,
            json!({ "subjects": [{ "namespace": "shop" }, { "namespace": "bank", "restorePointName": "b1" }],
            "targetNamespaceSuffix": "-copy", "overwriteExisting": true,
            "restorePointsDiscoveryRange": [{ "start": "2027-01-31T00:00:00Z", "end": "2027-02-01T00:00:00Z" }] }),
        ),
        (
            "",
            json!({ "subject": { "kind": "ClusterRestorePoint", "name": "x1" },
            "filters": { "excludeClusterResources": [{ "resource": "storageclasses" }] } }),
        ),
        (
            INSTALL,
            json!({ "subject": { "name": INSTALL, "namespace": INSTALL }, "statsIntervalDays": 1, "statsIntervalHours": 12 }),
        ),
        ("shop", json!({ "restorePointContentRef": { "name": "shop-x1" } })),
        ("", json!({ "secret": { "name": "office", "namespace": "vaults" } })),
        (INSTALL, json!({ "sourceClusterInfo": source })),
        (INSTALL, json!({ "sourceClusterInfo": source, "skipResources": "profiles,policies" })),
        (
            INSTALL,
            json!({ "sourceClusterInfo": source, "quickMode": { "enabled": true, "overrideResources": true },
                "vault": { "address": "https://vault.acme.test", "role": "k10" } }),
        ),
    ]
}

fn json(bytes: &[u8], withstand: fn(&Value) -> bool) -> bool {
    serde_json::from_slice(bytes).is_ok_and(|object| withstand(&object))
}

/// Parsed, or refused in sentences.
fn policy(object: &Value) -> bool {
    match policy::resolve(object, Some(&gold())).and_then(|policy| policy::parse(&policy)) {
        Ok(policy) => {
            let _ = (policy.check_placement(INSTALL), policy.profiles(), policy.retention_of(true));
            true
        }
        Err(faults) => {
            assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.is_empty()), "{faults:?}");
            false
        }
    }
}

fn profile(object: &Value) -> bool {
    let again: Value = serde_json::from_str(&object.to_string()).expect("it was JSON before");
    assert_eq!(spec_hash(&object["spec"]), spec_hash(&again["spec"]), "{object}");
    match profile::parse(object) {
        Ok(parsed) => {
            assert_eq!(parsed.health, profile::health_of(object));
            true
        }
        Err(faults) => {
            assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.is_empty()), "{faults:?}");
            false
        }
    }
}

/// Found sound, or refused in sentences, with nothing around it but itself.
fn configuration(object: &Value) -> bool {
    let validation = CONFIGURATION.iter().find(|of| object["kind"] == of.kind).and_then(|of| of.validation);
    let Some(validation) = validation else { return false };
    let itself = |kind: &&'static str| (*kind, vec![object.clone()]);
    let around = Around {
        install_namespace: INSTALL.to_owned(),
        objects: validation.looks_at.iter().map(itself).collect(),
    };
    let faults = (validation.check)(object, &around);
    assert!(faults.iter().all(|fault| !fault.is_empty()), "{faults:?}");
    faults.is_empty()
}

/// What a create goes through, whatever the kind. What passes has a spec that the platform can read.
fn created(kind: &KindInfo, object: &Value) -> bool {
    let errors = validate_create(kind, object, INSTALL);
    assert!(errors.len() <= ERRORS_MAX && unknown_fields(kind, object).len() <= ERRORS_MAX);
    for error in &errors {
        let rest = error.to_string().len().saturating_sub(error.path.len());
        assert!(rest <= FAULT_BYTES_MAX, "a fault of {rest} bytes at {}", error.path);
    }
    let _ = ignored_fields(kind, object);
    let _ = (kind.references)(object, INSTALL);
    kind.columns.iter().for_each(|column| drop(column.value(object, Timestamp::UNIX_EPOCH)));
    if errors.is_empty() && kind.allows(Verb::Create) {
        let fault = read_spec(kind, &object["spec"]);
        assert_eq!(fault, None, "a {} passes whose spec cannot be read: {object}", kind.kind);
    }
    errors.is_empty() && kind.allows(Verb::Create)
}

/// Why the spec of the kind cannot be read, if it cannot.
fn read_spec(kind: &KindInfo, spec: &Value) -> Option<String> {
    match kind.kind {
        "BackupAction" => fault_of::<BackupActionSpec>(spec),
        // It may be left out: what there is to back up is known.
        "BackupClusterAction" if spec.is_null() => None,
        "BackupClusterAction" => fault_of::<BackupClusterActionSpec>(spec),
        "BatchRestoreAction" => fault_of::<BatchRestoreActionSpec>(spec),
        "CancelAction" => fault_of::<CancelActionSpec>(spec),
        "ExportAction" => fault_of::<ExportActionSpec>(spec),
        "ImportAction" => fault_of::<ImportActionSpec>(spec),
        "UpgradeAction" => fault_of::<UpgradeActionSpec>(spec),
        "ReportAction" => fault_of::<ReportActionSpec>(spec),
        "RestoreAction" => fault_of::<RestoreActionSpec>(spec),
        "RestoreClusterAction" => fault_of::<RestoreClusterActionSpec>(spec),
        "RetireAction" => fault_of::<RetireActionSpec>(spec),
        "RunAction" => fault_of::<RunActionSpec>(spec),
        "ValidateAction" => fault_of::<ValidateActionSpec>(spec),
        "Application" => fault_of::<ApplicationSpec>(spec),
        "ClusterRestorePoint" => fault_of::<ClusterRestorePointSpec>(spec),
        "RestorePoint" => fault_of::<RestorePointSpec>(spec),
        "RestorePointContent" => fault_of::<RestorePointContentSpec>(spec),
        "Passkey" => fault_of::<PasskeySpec>(spec),
        "KastenDRRestore" => fault_of::<KastenDRRestoreSpec>(spec),
        "KastenDRReview" => fault_of::<KastenDRReviewSpec>(spec),
        "StorageRepository" => fault_of::<StorageRepositorySpec>(spec),
        other => Some(format!("'{other}' is not in this list")),
    }
}

fn fault_of<T: DeserializeOwned>(spec: &Value) -> Option<String> {
    T::deserialize(spec).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use keelson_hostile::Bombardment;

    use super::*;

    #[test]
    fn whatever_the_object_it_is_read_or_refused_in_sentences() {
        Bombardment::of(TARGETS, samples()).run();
    }
}
