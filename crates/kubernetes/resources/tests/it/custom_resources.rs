//! Which profiles and policies the API server takes, and what it says about the others.

use anyhow::Result;
use keelson_resources::{policy, profile};
use keelson_testkit::ControlPlane;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::server::{NAMESPACE, api, changed, check_refused, client_with_definitions, object, try_create};

fn s3() -> Value {
    json!({
        "type": "Location",
        "locationSpec": {
            "type": "ObjectStore",
            "credential": {
                "secretType": "AwsAccessKey",
                "secret": { "apiVersion": "v1", "kind": "secret", "name": "s3-creds", "namespace": NAMESPACE },
            },
            "objectStore": {
                "objectStoreType": "S3",
                "name": "acme-dr-bucket",
                "region": "eu-central-1",
                "endpoint": "https://s3.acme.test",
                "skipSSLVerify": false,
                "path": "k10/0c3e/migration",
                "pathType": "Directory",
                "protectionPeriod": "168h0m0s",
            },
            "infraPortable": false,
        },
    })
}

fn file_store() -> Value {
    json!({
        "type": "Location",
        "locationSpec": {
            "type": "FileStore",
            "fileStore": { "claimName": "dr-share", "path": "/" },
            "credential": {
                "secretType": "",
                "secret": { "apiVersion": "", "kind": "", "name": "", "namespace": "" },
            },
        },
    })
}

#[tokio::test]
async fn the_server_takes_every_documented_profile() -> Result<()> {
    let client = client_with_definitions().await?;
    let vbr = json!({
        "type": "Location",
        "locationSpec": {
            "type": "VBR",
            "credential": { "secretType": "VBRKey", "secret": { "apiVersion": "v1", "kind": "Secret", "name": "vbr" } },
            "vbr": { "serverAddress": "vbr.acme.test", "serverPort": 9419, "repoName": "Default Backup Repository" },
        },
    });
    let infra = json!({
        "type": "Infra",
        "infra": {
            "type": "AWS",
            "aws": { "hasAccessForEBS": true, "hasAccessForEFS": false },
            "credential": { "secretType": "AwsAccessKey", "secret": { "name": "aws-infra" } },
        },
    });
    let azure = changed(s3(), "/locationSpec/objectStore/objectStoreType", json!("AZ"));
    let azure_again = changed(s3(), "/locationSpec/objectStore/objectStoreType", json!("Azure"));
    for spec in [s3(), file_store(), vbr, infra, azure, azure_again] {
        assert_eq!(try_create(&client, "Profile", "taken", &spec).await?, "accepted", "{spec}");
    }
    Ok(())
}

#[tokio::test]
async fn the_server_says_what_is_wrong_with_a_profile() -> Result<()> {
    let client = client_with_definitions().await?;
    let store = "/locationSpec/objectStore";
    let cases = [
        (json!({}), "spec.type: Required value"),
        (json!({ "type": "Place" }), "spec.type: Unsupported value: \"Place\""),
        (json!({ "type": "Location" }), "type Location needs locationSpec and excludes infra"),
        (json!({ "type": "Infra" }), "type Infra needs infra and excludes locationSpec"),
        (changed(s3(), store, json!("absent")), "type ObjectStore needs objectStore"),
        (
            changed(s3(), "/locationSpec/credential", json!("absent")),
            "type ObjectStore needs credential.secret.name",
        ),
        (
            changed(s3(), "/locationSpec/credential/secret/name", json!("")),
            "type ObjectStore needs credential.secret.name",
        ),
        (changed(s3(), &format!("{store}/name"), json!("")), "spec.locationSpec.objectStore.name"),
        (changed(s3(), &format!("{store}/objectStoreType"), json!("FTP")), "Unsupported value: \"FTP\""),
        (changed(s3(), &format!("{store}/path"), json!("a/../b")), "path may not contain '..'"),
        (
            changed(s3(), &format!("{store}/protectionPeriod"), json!("7 days")),
            "spec.locationSpec.objectStore.protectionPeriod",
        ),
        (changed(s3(), &format!("{store}/pathType"), json!("File")), "Unsupported value: \"File\""),
        (
            changed(
                changed(s3(), &format!("{store}/objectStoreType"), json!("VeeamVaultAzure")),
                &format!("{store}/protectionPeriod"),
                json!("absent"),
            ),
            "a Veeam Vault on Azure needs protectionPeriod",
        ),
        (changed(file_store(), "/locationSpec/fileStore", json!("absent")), "type FileStore needs fileStore"),
        (changed(file_store(), "/locationSpec/fileStore/claimName", json!("")), "claimName"),
        (changed(file_store(), "/locationSpec/fileStore/path", json!("..")), "path may not contain '..'"),
        (json!({ "type": "Location", "locationSpec": { "type": "VBR" } }), "type VBR needs vbr"),
        (json!({ "type": "Infra", "infra": { "type": "VSphere" } }), "type VSphere needs vsphere"),
    ];
    check_refused(&client, "Profile", &cases).await
}

fn nightly() -> Value {
    json!({
        "comment": "every night",
        "frequency": "@daily",
        "subFrequency": { "hours": [22, 10], "minutes": [30], "weekdays": [0], "days": [1], "months": [1] },
        "retention": { "daily": 7, "weekly": 4, "monthly": 12, "yearly": 7 },
        "selector": {
            "matchExpressions": [
                { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": ["shop", "app-*"] },
            ],
        },
        "actions": [
            { "action": "backup", "backupParameters": { "filters": {}, "profile": { "name": "p", "namespace": NAMESPACE } } },
            {
                "action": "export",
                "exportParameters": {
                    "frequency": "@weekly",
                    "profile": { "name": "p", "namespace": NAMESPACE },
                    "exportData": { "enabled": true },
                    "migrationToken": { "name": "t", "namespace": NAMESPACE },
                },
                "retention": { "weekly": 4 },
            },
        ],
    })
}

fn dr_policy() -> Value {
    json!({
        "frequency": "@hourly",
        "retention": { "hourly": 4, "daily": 1, "weekly": 1, "monthly": 1, "yearly": 1 },
        "selector": {
            "matchExpressions": [
                { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": ["kasten-io"] },
            ],
        },
        "actions": [
            {
                "action": "backup",
                "backupParameters": { "filters": {}, "profile": { "name": "vaulted-s3", "namespace": "kasten-io" } },
            },
        ],
        "createdBy": "kasten-io:login-sa",
        "kdrSnapshotConfiguration": { "takeLocalCatalogSnapshot": true },
    })
}

#[tokio::test]
async fn the_server_takes_every_documented_policy() -> Result<()> {
    let client = client_with_definitions().await?;
    let on_demand = json!({
        "frequency": "@onDemand",
        "selector": { "matchLabels": { "app": "shop" } },
        "actions": [{ "action": "backup" }],
    });
    let preset = json!({
        "presetRef": { "name": "gold", "namespace": "kasten-io" },
        "selector": { "matchLabels": { "app": "shop" } },
        "actions": [{ "action": "backup" }],
    });
    let import = json!({
        "frequency": "@hourly",
        "actions": [
            { "action": "import", "importParameters": { "profile": { "name": "p" }, "receiveString": "x" } },
            { "action": "restore", "restoreParameters": { "dataOnly": false, "transforms": [] } },
        ],
    });
    let report = json!({
        "frequency": "@daily",
        "retention": { "daily": 7 },
        "actions": [{ "action": "report", "reportParameters": { "statsIntervalDays": 1, "statsIntervalHours": 0 } }],
    });
    let window = changed(
        changed(nightly(), "/subFrequency", json!("absent")),
        "/backupWindow",
        json!({ "start": { "hour": 22, "minute": 30 }, "end": { "hour": 6 } }),
    );
    let staggered = changed(window.clone(), "/enableStaggering", json!(true));
    for spec in [nightly(), on_demand, preset, import, report, window, staggered] {
        assert_eq!(try_create(&client, "Policy", "taken", &spec).await?, "accepted", "{spec}");
    }
    let said = try_create(&client, "Policy", "k10-disaster-recovery-policy", &dr_policy()).await?;
    assert_eq!(said, "accepted");
    Ok(())
}

#[tokio::test]
async fn the_server_says_what_is_wrong_with_the_timing_of_a_policy() -> Result<()> {
    let client = client_with_definitions().await?;
    let hourly = |sub: Value| {
        let spec = changed(changed(nightly(), "/frequency", json!("@hourly")), "/subFrequency", sub);
        changed(spec, "/retention", json!({ "hourly": 4 }))
    };
    let only = |frequency: &str, sub: Value| {
        let spec = changed(changed(nightly(), "/frequency", json!(frequency)), "/subFrequency", sub);
        changed(spec, "/retention", json!({ "yearly": 4 }))
    };
    let window = |minute: i32| json!({ "start": { "hour": 22, "minute": minute }, "end": { "hour": 6 } });
    let odd_window =
        changed(changed(nightly(), "/subFrequency", json!("absent")), "/backupWindow", window(31));
    let cases = [
        (
            changed(nightly(), "/frequency", json!("@minutely")),
            "spec.frequency: Unsupported value: \"@minutely\"",
        ),
        (changed(nightly(), "/frequency", json!("absent")), "frequency is required without presetRef"),
        (
            changed(nightly(), "/presetRef", json!({ "name": "gold" })),
            "presetRef excludes frequency, subFrequency, backupWindow and retention",
        ),
        (
            changed(nightly(), "/frequency", json!("@onDemand")),
            "@onDemand excludes subFrequency and backupWindow",
        ),
        (
            changed(nightly(), "/backupWindow", window(30)),
            "backupWindow excludes subFrequency.minutes and subFrequency.hours",
        ),
        (odd_window, "spec.backupWindow.start.minute"),
        (changed(nightly(), "/enableStaggering", json!(true)), "enableStaggering needs backupWindow"),
        (hourly(json!({ "minutes": [60] })), "spec.subFrequency.minutes[0]"),
        (hourly(json!({ "weekdays": [8] })), "spec.subFrequency.weekdays[0]"),
        (hourly(json!({ "hours": [1, 2] })), "several subFrequency.hours are possible with @daily only"),
        (
            only("@daily", json!({ "minutes": [0, 30] })),
            "several subFrequency.minutes are possible with @hourly only",
        ),
        (
            only("@daily", json!({ "weekdays": [0, 1] })),
            "several subFrequency.weekdays are possible with @weekly only",
        ),
        (
            only("@daily", json!({ "days": [1, 2] })),
            "several subFrequency.days are possible with @monthly only",
        ),
        (
            only("@daily", json!({ "months": [1, 2] })),
            "several subFrequency.months are possible with @yearly only",
        ),
        (only("@weekly", json!({ "days": [1] })), "subFrequency.days cannot be combined with @weekly"),
        (
            only("@monthly", json!({ "weekdays": [1] })),
            "subFrequency.weekdays cannot be combined with @monthly or @yearly",
        ),
        (changed(nightly(), "/retention", json!("absent")), "retention is required to back up"),
        (changed(nightly(), "/retention/hourly", json!(1)), "retention.hourly is finer than the frequency"),
        (changed(nightly(), "/retention/daily", json!(-1)), "spec.retention.daily"),
        (changed(nightly(), "/frequency", json!("@weekly")), "retention.daily is finer than the frequency"),
        (changed(nightly(), "/frequency", json!("@monthly")), "retention.weekly is finer than the frequency"),
        (changed(nightly(), "/frequency", json!("@yearly")), "retention.monthly is finer than the frequency"),
    ];
    check_refused(&client, "Policy", &cases).await
}

#[tokio::test]
async fn the_server_says_what_is_wrong_with_the_actions_of_a_policy() -> Result<()> {
    let client = client_with_definitions().await?;
    let actions = |actions: Value| changed(nightly(), "/actions", actions);
    let cases = [
        (changed(nightly(), "/selector", json!("absent")), "selector is required to back up"),
        (actions(json!([])), "spec.actions"),
        (actions(json!([{ "action": "compress" }])), "Unsupported value: \"compress\""),
        (actions(json!([{ "action": "export" }])), "an export needs a backup in the same policy"),
        (actions(json!([{ "action": "restore" }])), "a restore needs an import in the same policy"),
        (
            actions(json!([{ "action": "backup", "exportParameters": {} }])),
            "exportParameters are for action export only",
        ),
        (
            actions(json!([{ "action": "report", "reportParameters": { "statsIntervalDays": 0 } }])),
            "the sum of statsIntervalDays and statsIntervalHours must not be zero",
        ),
        (
            json!({ "presetRef": { "name": "gold" }, "actions": [{ "action": "import" }] }),
            "presetRef is for backup policies only",
        ),
        (
            changed(nightly(), "/selector/matchExpressions/0/operator", json!("Near")),
            "Unsupported value: \"Near\"",
        ),
        (dr_policy(), "spec.kdrSnapshotConfiguration is for the policy k10-disaster-recovery-policy only"),
        (changed(nightly(), "/frequenzy", json!("@daily")), "field not declared in schema"),
    ];
    check_refused(&client, "Policy", &cases).await
}

#[tokio::test]
async fn what_the_server_keeps_is_what_was_sent_and_parses() -> Result<()> {
    let client = client_with_definitions().await?;
    let name = "kept";
    for (kind, spec) in [("Profile", s3()), ("Policy", nightly())] {
        let created: DynamicObject = serde_json::from_value(object(kind, name, &spec))?;
        let kept = api(&client, kind).create(&PostParams::default(), &created).await?;
        assert_eq!(kept.data["spec"], spec);
        let kept = serde_json::to_value(&kept)?;
        match kind {
            "Profile" => drop(profile::parse(&kept).map_err(|faults| anyhow::anyhow!("{faults:?}"))?),
            _ => drop(policy::parse(&kept).map_err(|faults| anyhow::anyhow!("{faults:?}"))?),
        }
        let status = json!({ "status": { "validation": "Success", "error": null, "hash": 7 } });
        let parameters = PatchParams::default();
        api(&client, kind).patch_status(name, &parameters, &Patch::Merge(&status)).await?;
        api(&client, kind).delete(name, &Default::default()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_null_counts_as_an_absent_field() -> Result<()> {
    let client = client_with_definitions().await?;
    let profile = changed(changed(s3(), "/infra", json!(null)), "/locationSpec/fileStore", json!(null));
    let policy = changed(changed(nightly(), "/presetRef", json!(null)), "/retention/hourly", json!(null));
    let policy = changed(policy, "/actions/0/exportParameters", json!(null));
    for (kind, spec) in [("Profile", profile), ("Policy", policy)] {
        let object: DynamicObject = serde_json::from_value(object(kind, "nulls", &spec))?;
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        api(&client, kind).create(&parameters, &object).await?;
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_prints_the_documented_columns() -> Result<()> {
    let client = client_with_definitions().await?;
    let created: DynamicObject = serde_json::from_value(object("Profile", "printed", &file_store()))?;
    let profiles = api(&client, "Profile");
    profiles.create(&PostParams::default(), &created).await?;
    let status = Patch::Merge(json!({ "status": { "validation": "Success" } }));
    profiles.patch_status("printed", &PatchParams::default(), &status).await?;
    let mut kubectl = ControlPlane::shared().await?.kubectl();
    kubectl.args(["get", "profiles.config.kio.kasten.io", "printed", "--namespace", NAMESPACE]);
    let output = tokio::task::spawn_blocking(move || kubectl.output()).await??;
    let printed = String::from_utf8(output.stdout)?;
    let words: Vec<_> = printed.split_whitespace().collect();
    assert_eq!(words[..5], ["NAME", "STATUS", "AGE", "printed", "Success"], "{printed}");
    profiles.delete("printed", &Default::default()).await?;
    Ok(())
}
