//! Inputs that the targets take, as they lie in a location or in a row.

use keelson_crypto::{InstanceKey, SigningKey, VaultKey, VaultKeyring};
use keelson_model::LineageId;
use keelson_model::names::annotation;
use serde_json::{Value, json};

use crate::grants;
use crate::recovery::report::ReportDocument;

/// Every target has one at least.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut samples = vec![
        ("name of a position", b"00000001-00000002-00000000000003".to_vec()),
        ("name of a position", b"99999999-08388607-01099511627775".to_vec()),
        ("folder of a granted repository", format!("{CLUSTER}.{ID}").into_bytes()),
    ];
    let documents = documents().into_iter().chain(rows()).chain(instance_rows()).chain(steps());
    samples.extend(documents.map(|(target, document)| (target, document.to_string().into_bytes())));
    samples.push(("signed report", signed_report().into_bytes()));
    samples.push(("receive string", grants::sample().into_bytes()));
    samples.extend(trail());
    samples.push(("instance Secret", instance_secret().to_string().into_bytes()));
    samples
}

/// What the files of audit events hold.
fn trail() -> [(&'static str, Vec<u8>); 3] {
    let event = |place: &str| {
        json!({
            "kind": "Event", "auditID": "a", "verb": "create", "user": { "username": "alice", "groups": ["g"] },
            "stageTimestamp": TIME, "annotations": { (annotation::AUDIT_PLACE): place },
        })
    };
    let lines = format!("{}\n{}\n{}\n", event("7 1/1"), event("8 1/2"), event("8 2/2")).into_bytes();
    [
        ("events of the trail", lines.clone()),
        ("end of a series of events", lines),
        ("how far events were told", b"catalog 7\ninstance 9\n".to_vec()),
    ]
}

/// With a key as it is, those before it, and the form of a Passkey.
fn instance_secret() -> Value {
    let key = "0123456789abcdef0123456789abcdef";
    let form =
        json!({ "name": "n", "secret": { "namespace": "n", "name": "n" }, "sealed": "00ff" }).to_string();
    json!({
        "instance-key": key, "previous-instance-key": key, "wrapped-previous-instance-key": "w", "volume": ID,
        "passkey-u": form,
    })
}

pub(super) fn signing_key() -> SigningKey {
    let instance = InstanceKey::from_slice(&[8; 32]).expect("a key's length");
    let vault = VaultKeyring::new(VaultKey::derive_local(&instance));
    let key = SigningKey::of_lineage(&vault, LineageId::from_bytes([5; 16]));
    key.expect("the first vault key is there")
}

pub(super) fn signed_report() -> String {
    ReportDocument::sign_line(&report().to_string(), &signing_key())
}

const ID: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
const CLUSTER: &str = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa";
const TIME: &str = "2026-02-02T02:40:00.123456Z";

fn at(sequence: u64) -> Value {
    json!({ "epoch": 1, "generation": 2, "sequence": sequence })
}

fn state() -> Value {
    json!({ "chain": "00ff", "digests": { "configuration": "00" }, "counts": { "policies.config.kio.kasten.io": 3 } })
}

fn documents() -> Vec<(&'static str, Value)> {
    let fork = json!({ "cluster": CLUSTER, "repository": ID, "at": at(3) });
    let base = json!({
        "version": 0, "at": at(7), "head_at": TIME, "mode": "v2", "outcome": ID, "created": TIME,
        "cluster": CLUSTER, "instance": ID, "lineage": ID, "catalog_key": "00ff", "vault_key": 1, "bytes": 4096,
        "state": state(), "parent": fork,
    });
    let manifest = json!({
        "version": 0, "at": at(9), "base": at(7), "mode": "v2", "created": TIME, "state": state(), "outcome": ID,
    });
    let start = json!({
        "version": 0, "instance": ID, "nonce": "n", "head": at(7), "chain": "00ff", "started_at": TIME,
    });
    let segment = json!({
        "version": 0, "first": at(8), "last": at(9), "first_at": TIME, "last_at": TIME, "chain": "00ff",
    });
    let card = json!({
        "format": 0, "productVersion": "0.1.0", "fips": false, "created": TIME, "continuedBy": CLUSTER,
    });
    let secret = json!({
        "namespace": "kasten-io", "name": "k10-dr-secret", "type": "Opaque", "data": { "key": "00ff" },
    });
    let kit = json!({
        "version": 0, "madeAt": TIME, "madeBy": "0.1.0", "cluster": CLUSTER, "lineage": ID, "namespace": "kasten-io",
        "profile": { "name": "vault", "spec": { "type": "Location" } }, "credentials": secret, "passphrase": secret,
        "slots": ["00ff"], "head": { "repository": ID, "at": at(7), "chain": "00ff", "seenAt": TIME },
        "reportKey": "00ff",
    });
    let retired = json!({ "version": 0, "epoch": 2, "outcomes": [ID] });
    let claim = json!({ "instance": ID, "cluster": CLUSTER, "claimed_at": TIME, "previous": "00ff" });
    vec![
        ("base", base),
        ("manifest", manifest),
        ("start", start),
        ("segment's directory", segment),
        ("card", card),
        ("claim", claim),
        ("kit", kit),
        ("retired before a claim", retired),
        ("report", report()),
    ]
}

fn report() -> Value {
    json!({
        "version": 0, "cluster": CLUSTER, "instance": ID, "lineage": ID, "productVersion": "0.1.0", "drill": drill(),
    })
}

fn drill() -> Value {
    json!({
        "at": TIME, "seconds": 1, "through": "x", "restorePoints": 1, "repositories": 1, "bytesRead": 1,
        "findings": ["lost"], "findingsTotal": 1,
    })
}

fn run() -> Value {
    json!({ "manual": true, "tiers": ["daily"], "actionTime": TIME })
}

fn place() -> Value {
    json!({ "type": "fileStore", "claim": "dr-share", "path": "a/b" })
}

fn exported() -> Value {
    let bucket =
        json!({ "type": "objectStore", "endpoint": "https://s3.acme.test", "bucket": "b", "path": "" });
    json!({ "profile": "p", "place": bucket, "root": "k10/x" })
}

fn description() -> Value {
    json!({
        "application": "shop", "point": "shop-x1", "labels": { "a": "b" }, "actionTime": TIME, "scheduledTime": TIME,
        "manual": true, "bytes": 4096, "report": {
            "objects": 3, "counts": { "deployments.apps": 1 }, "servedVersions": { "deployments.apps": ["v1"] },
            "omitted": [], "failed": [{ "resource": "widgets", "why": "denied" }],
        },
    })
}

/// What attempts of actions record, and what `serve` tells of itself.
fn steps() -> Vec<(&'static str, Value)> {
    let stored = json!({ "repository": ID, "outcome": ID, "stored_bytes": 7, "description": description() });
    let run = json!({
        "policy": "nightly", "policy_namespace": "kasten-io", "export": { "profile": { "name": "p" } },
        "applications": [{ "application": "shop", "backup": "b", "export": "e" }], "backup_filters": null,
        "ignore_exceptions": true, "tiers": ["daily"],
    });
    let batch = json!({ "restores": [
        { "namespace": "n", "target": "t", "child": "c", "source": { "Point": { "namespace": "n", "name": "p" } } },
        { "namespace": "n", "target": "t", "child": "c", "source": { "Nothing": { "why": "w" } } },
    ]});
    let status = json!({
        "clusterID": CLUSTER, "instance": ID, "lineage": ID, "version": "0.1.0", "writtenAt": TIME,
        "catalog": { "generation": 2, "sequence": 9, "chain": "00ff", "digests": { "configuration": "00" } },
        "exportsAtRisk": [{ "application": "shop", "profile": "p" }],
        "ownership": { "state": "Owned", "claims": [] },
        "passkeys": { "valid": 1, "invalid": [{ "name": "n", "why": "w" }] },
    });
    vec![
        (
            "what is being committed",
            json!({ "repository": ID, "outcome": ID, "copy_of": ID, "stored_bytes": 7 }),
        ),
        ("stored backup", stored.clone()),
        ("stored export", json!([stored, exported()])),
        ("plan of a run", run),
        ("plan of a batch", batch),
        ("status of an instance", status),
    ]
}

fn rows() -> Vec<(&'static str, Value)> {
    let place = place();
    let body =
        json!({ "annotations": { "a": "b" }, "spec": { "n": 1 }, "status": { "s": [1.5] }, "internal": [1] });
    let artifact = json!({
        "repository": ID, "outcome": ID, "objects": 3, "bytes": 9, "storedBytes": 7, "exported": exported(),
    });
    let repository = json!({ "application": "shop", "profile": "p", "place": place, "cluster": CLUSTER, "repository": ID });
    let enabled = json!({
        "profile": "p", "place": place, "repository": ID, "mode": "v2", "enabledAt": TIME, "slot": "00",
    });
    let material =
        json!({ "from": "chain", "repository": ID, "base": at(7), "segments": [at(8)], "through": 9 });
    let plan = json!({
        "profile": "p", "source": CLUSTER, "target": CLUSTER, "point": "x", "mode": "v2", "created": TIME,
        "material": material, "generation": 3, "skip": ["profiles"], "counts": { "a": 1 }, "present": 0,
        "steps": ["s"], "warnings": [],
    });
    let grant = json!({
        "cluster": CLUSTER, "grant": ID, "policyNamespace": "kasten-io", "policy": "nightly", "application": "shop",
    });
    let kept = json!({ "grant": grant, "key": "00ff" });
    let granter = json!({ "uid": "u", "generation": 2 });
    let given = json!({ "grant": grant, "key": "00ff", "granter": granter });
    let taken = json!({
        "repository": ID, "place": place, "content": "c", "retired_in": exported()["place"], "by": "a",
        "offered_to": ["nightly"],
    });
    let user = json!({ "name": "alice", "uid": "u", "groups": ["g"], "extra": { "scopes": ["s"] } });
    let deed = json!({
        "requester": user, "verb": "create", "kind": "k", "namespace": "n", "name": "n", "id": "i", "omitted": 3,
    });
    vec![
        ("grant's row", kept),
        ("grant's row", given),
        ("export that was taken in", taken),
        ("actor of the journal", deed),
        (
            "actor of the journal",
            json!({ "requester": "platform", "verb": "delete", "kind": "k", "name": "n" }),
        ),
        ("description of a backup", description()),
        ("description of a run", run()),
        ("body of a row", body),
        ("artifact", artifact),
        ("repository's row", repository.clone()),
        ("imported repository", json!({ "grant": grant, "row": repository })),
        ("repository's settings", json!({ "disableMaintenance": true, "backgroundProcessTimeout": "90m" })),
        ("secret's row", json!({ "type": "Opaque", "data": { "key": "00ff" }, "labels": { "a": "b" } })),
        ("work's row", json!({ "kind": "k", "namespace": "n", "name": "n", "uid": "u" })),
        ("where it is enabled to", enabled),
        ("recovery under way", json!({ "plan": plan, "state": state(), "settled": true, "finished": false })),
    ]
}

/// What an instance keeps for itself.
fn instance_rows() -> Vec<(&'static str, Value)> {
    let adoption = json!({ "generation": 3, "lineage": ID, "origin": CLUSTER, "vault_keys": { "1": "00" }, "slots": ["00"] });
    let identity = json!({
        "instance": ID, "lineage": ID, "origin": CLUSTER, "vault_keys": { "1": "00ff" }, "slots": ["00ff"],
        "adoption": adoption,
    });
    let before = json!({ "source": CLUSTER, "since": TIME, "generation": 2 });
    let pending = json!({ "source": CLUSTER, "since": TIME, "generation": 3, "before": before });
    let held = json!({
        "profile": "p", "place": place(), "cluster": CLUSTER, "epoch": 2, "taken_at": TIME, "fenced_by": 3,
    });
    let unowned = json!({ "profile": "p", "place": place(), "cluster": CLUSTER, "why": "away" });
    let pass = json!({
        "at": TIME, "repositories": 2, "restorePointsRemoved": 1, "packsRemoved": 1, "bytesFreed": 9,
        "leftoversRemoved": 1, "refused": ["r"], "failures": ["f"], "failuresTotal": 1,
    });
    let former =
        json!({ "profile": "p", "place": place(), "cluster": CLUSTER, "repository": ID, "slots": [ID] });
    let fork = json!({ "cluster": CLUSTER, "repository": ID, "at": at(7) });
    let moving = json!({ "place": place(), "fork": fork, "repository": ID, "generation": 3, "why": "w" });
    vec![
        ("identity", identity),
        ("what is owned", json!({ "pending": pending, "held": { "k": held }, "unowned": { "k": unowned } })),
        ("passes of maintenance", json!({ "next": TIME, "count": 7, "last": pass })),
        ("when a policy is due", json!({ "uid": "u", "schedule": "@daily", "next": TIME, "last": TIME })),
        ("starts", json!({ "repository": ID, "found": 4, "nonce": "00ff" })),
        (
            "facts of a run",
            json!({ "repository": ID, "at": at(9), "outcome": ID, "run": run(), "retiredAt": TIME }),
        ),
        (
            "drills",
            json!({
                "repository": ID, "next": TIME, "last": drill(), "reports": [{ "at": TIME, "text": "signed" }],
            }),
        ),
        ("last run", json!(TIME)),
        ("move to a new chain", json!({ "from": ID, "at": TIME, "why": "w" })),
        ("move under way", moving),
        ("what was copied", json!({ "repository": ID, "through": 2_u64 << 40 | 9 })),
        ("what was dropped", json!({ "at": TIME, "through": 9 })),
        ("loss of bases", json!({ "repository": ID, "at": TIME, "why": "w" })),
        ("what is covered", json!({ "repository": ID, "generation": 2, "byBase": 7, "shipped": 9 })),
        (
            "source of the passphrase",
            json!({ "described": "key 'p' in Vault", "trouble": { "since": TIME, "why": "sealed" } }),
        ),
        ("enabling under way", json!({ "place": place(), "vaultKey": 1, "repository": ID })),
        ("former repository", former),
        ("late exports", json!({ "cluster": CLUSTER, "before": TIME })),
        (
            "form of a Passkey",
            json!({ "name": "n", "secret": { "namespace": "n", "name": "n" }, "sealed": "00ff" }),
        ),
        ("what the cluster is owed", json!([{ "kind": "k", "namespace": "n", "name": "n", "why": "w" }])),
    ]
}
