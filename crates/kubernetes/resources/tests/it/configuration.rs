//! Which presets, transforms, bindings and the like the API server takes, and what it says about the others.

use anyhow::Result;
use keelson_testkit::ControlPlane;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::server::{NAMESPACE, api, changed, check_refused, client_with_definitions, object, try_create};

fn preset() -> Value {
    json!({
        "comment": "hourly, exported once a day",
        "backup": {
            "frequency": "@hourly",
            "subFrequency": { "minutes": [30], "hours": [22], "weekdays": [0], "days": [1], "months": [1] },
            "retention": { "hourly": 24, "daily": 7 },
            "profile": { "name": "vault", "namespace": NAMESPACE },
        },
        "export": {
            "frequency": "@daily",
            "retention": { "daily": 7 },
            "profile": { "name": "vault", "namespace": NAMESPACE },
            "blockModeProfile": { "name": "vbr", "namespace": NAMESPACE },
            "exportData": { "enabled": true, "overrides": [{ "storageClassName": "x", "enabled": false }] },
            "volumeSnapshots": { "awsEbs": { "regions": ["eu-central-1"] } },
        },
    })
}

fn transform_set() -> Value {
    json!({
        "comment": "for the other region",
        "transforms": [
            {
                "subject": { "group": "apps", "version": "v1", "resource": "deployments", "name": "shop" },
                "name": "scale",
                "json": [
                    { "op": "test", "path": "/metadata/labels/release" },
                    { "op": "test", "path": "/metadata/name", "regex": "^shop-(.*)$" },
                    { "op": "copy", "from": "/metadata/labels/*", "path": "/spec/template/metadata/labels/$1" },
                    { "op": "move", "from": "/a", "path": "/b", "regex": "^(.*)$", "value": "x-$1" },
                    { "op": "replace", "path": "/spec/replicas", "value": 3 },
                    { "op": "add", "path": "/spec/template/spec/tolerations/-", "value": { "key": "a", "effect": null } },
                    { "op": "add", "path": "/metadata/labels/app.kubernetes.io~1name", "value": "shop" },
                    { "op": "remove", "path": "/**/nodeName" },
                ],
            },
            { "transformSetRef": { "name": "storage", "namespace": NAMESPACE } },
        ],
    })
}

fn blueprint_binding() -> Value {
    json!({
        "disabled": false,
        "blueprintRef": { "name": "postgres", "namespace": NAMESPACE },
        "resources": {
            "matchAll": [
                { "type": { "operator": "In", "values": [{ "group": "apps", "resource": "statefulsets" }] } },
                { "namespace": { "operator": "NotIn", "values": ["kube-system"] } },
            ],
            "matchAny": [
                { "annotations": { "key": "kanister.kasten.io/blueprint", "operator": "DoesNotExist" } },
                { "labels": { "key": "app", "operator": "In", "values": ["postgres"] } },
            ],
        },
    })
}

fn audit_config() -> Value {
    json!({ "profile": { "name": "audit-s3", "namespace": NAMESPACE } })
}

fn storage_security_context() -> Value {
    json!({ "security": { "userId": 1000, "groupId": 1000, "supplementalGroups": [2000, 3000] } })
}

fn storage_security_context_binding() -> Value {
    json!({
        "storageSecurityContextRef": { "name": "nfs" },
        "subjects": [
            { "kind": "Volume", "name": "data", "namespace": "shop" },
            { "kind": "StorageClass", "name": "filestore" },
            { "kind": "Provisioner", "name": "filestore.csi.storage.gke.io" },
        ],
    })
}

fn action_pod_spec() -> Value {
    json!({
        "options": [
            { "podType": "*", "resources": { "requests": { "cpu": "100m", "memory": "256Mi" } } },
            {
                "podType": "restore-data-dr",
                "resources": {
                    "requests": { "cpu": 1, "memory": "1Gi", "ephemeral-storage": "10Gi" },
                    "limits": { "cpu": "1.5", "memory": "2e9", "ephemeral-storage": "20Gi" },
                },
            },
        ],
    })
}

fn action_pod_spec_binding() -> Value {
    json!({ "actionPodSpecRef": { "name": "large", "namespace": NAMESPACE } })
}

/// Each kind with all that is documented for it.
fn documented() -> [(&'static str, Value); 8] {
    [
        ("PolicyPreset", preset()),
        ("TransformSet", transform_set()),
        ("BlueprintBinding", blueprint_binding()),
        ("AuditConfig", audit_config()),
        ("StorageSecurityContext", storage_security_context()),
        ("StorageSecurityContextBinding", storage_security_context_binding()),
        ("ActionPodSpec", action_pod_spec()),
        ("ActionPodSpecBinding", action_pod_spec_binding()),
    ]
}

#[tokio::test]
async fn the_server_takes_and_keeps_all_that_is_documented_of_each_kind() -> Result<()> {
    let client = client_with_definitions().await?;
    for (kind, spec) in documented() {
        let said = try_create(&client, kind, "taken", &spec).await?;
        assert_eq!(said, "accepted", "{kind}");
        let created: DynamicObject = serde_json::from_value(object(kind, "kept-whole", &spec))?;
        let kept = api(&client, kind).create(&PostParams::default(), &created).await?;
        assert_eq!(kept.data["spec"], spec, "{kind}");
        let status = json!({ "status": { "validation": "Success", "hash": 7, "observedGeneration": 1 } });
        let patch = Patch::Merge(&status);
        let patched = api(&client, kind).patch_status("kept-whole", &PatchParams::default(), &patch).await?;
        assert_eq!(patched.data["status"], status["status"], "{kind}");
        api(&client, kind).delete("kept-whole", &Default::default()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_least_of_each_kind_is_taken() -> Result<()> {
    let client = client_with_definitions().await?;
    let backup = json!({ "backup": { "frequency": "@daily", "retention": { "daily": 7 } } });
    let class = json!({ "storageSecurityContextRef": { "name": "n" }, "subjects": [{ "kind": "Provisioner", "name": "p" }] });
    let exists = json!({ "labels": { "key": "app", "operator": "Exists" } });
    let binding = json!({ "blueprintRef": { "name": "b" }, "resources": { "matchAny": [exists] } });
    for (kind, spec) in [
        ("PolicyPreset", backup),
        ("TransformSet", json!({})),
        ("BlueprintBinding", binding),
        ("AuditConfig", json!({ "profile": { "name": "p" } })),
        ("StorageSecurityContext", json!({ "security": {} })),
        ("StorageSecurityContextBinding", class),
        ("ActionPodSpec", json!({ "options": [{ "podType": "image-copy" }] })),
        ("ActionPodSpecBinding", json!({ "actionPodSpecRef": { "name": "a" } })),
    ] {
        assert_eq!(try_create(&client, kind, "least", &spec).await?, "accepted", "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn the_server_says_what_is_wrong_with_a_preset() -> Result<()> {
    let client = client_with_definitions().await?;
    let with = |pointer: &str, value: Value| changed(preset(), pointer, value);
    let absent = || json!("absent");
    let window = json!({ "start": { "hour": 22 }, "end": { "hour": 6 } });
    let cases = [
        (json!({}), "spec.backup: Required value"),
        (with("/backup/frequency", absent()), "spec.backup.frequency: Required value"),
        (with("/backup/retention", absent()), "spec.backup.retention: Required value"),
        (with("/backup/frequency", json!("@minutely")), "Unsupported value: \"@minutely\""),
        (with("/backup/frequency", json!("@onDemand")), "a preset cannot have frequency @onDemand"),
        (with("/export/frequency", json!("@onDemand")), "a preset cannot have frequency @onDemand"),
        (with("/backup/enableStaggering", json!(true)), "enableStaggering needs backupWindow"),
        (
            with("/backup/backupWindow", window),
            "backupWindow excludes subFrequency.minutes and subFrequency.hours",
        ),
        (
            with("/backup/subFrequency/hours", json!([1, 2])),
            "several subFrequency.hours are possible with @daily only",
        ),
        (with("/backup/frequency", json!("@daily")), "retention.hourly is finer than the frequency"),
        (with("/backup/retention/hourly", json!(-1)), "spec.backup.retention.hourly"),
        (with("/export/profile", absent()), "spec.export.profile: Required value"),
        (with("/export/exportData", absent()), "spec.export.exportData: Required value"),
        (with("/selector", json!({})), "field not declared in schema"),
    ];
    check_refused(&client, "PolicyPreset", &cases).await
}

#[tokio::test]
async fn the_server_says_what_is_wrong_with_a_transform() -> Result<()> {
    let client = client_with_definitions().await?;
    let with =
        |pointer: &str, value: Value| changed(transform_set(), &format!("/transforms/0{pointer}"), value);
    let absent = || json!("absent");
    let either = "a transform has either json or transformSetRef";
    let subject = "subject needs at least one of group, version, resource and name";
    let cases = [
        (with("/json", absent()), either),
        (with("/json", json!([])), either),
        (with("/transformSetRef", json!({ "name": "other" })), either),
        (with("/name", absent()), "name is required for a transform with json"),
        (with("/name", json!("")), "name is required for a transform with json"),
        (with("/subject", absent()), subject),
        (with("/subject", json!({})), subject),
        (with("/json/0/op", json!("merge")), "Unsupported value: \"merge\""),
        (with("/json/0/op", absent()), "op: Required value"),
        (with("/json/0/path", absent()), "path: Required value"),
        (with("/json/0/path", json!("metadata")), "path must begin with '/'"),
        (with("/json/2/from", absent()), "copy and move need from"),
        (with("/json/2/from", json!("metadata")), "from must begin with '/'"),
        (with("/json/4/from", json!("/a")), "from is for copy and move only"),
        (with("/json/0/regexp", json!("a")), "field not declared in schema"),
    ];
    check_refused(&client, "TransformSet", &cases).await
}

#[tokio::test]
async fn the_server_says_what_is_wrong_with_a_blueprint_binding() -> Result<()> {
    let client = client_with_definitions().await?;
    let with = |pointer: &str, value: Value| changed(blueprint_binding(), pointer, value);
    let absent = || json!("absent");
    let exactly = "a requirement is exactly one of type, namespace, annotations and labels";
    let any = "/resources/matchAny/1/labels";
    let cases = [
        (with("/blueprintRef", absent()), "spec.blueprintRef: Required value"),
        (with("/resources", absent()), "spec.resources: Required value"),
        (with("/resources", json!({})), "matchAll or matchAny needs at least one requirement"),
        (
            with("/resources", json!({ "matchAll": [], "matchAny": [] })),
            "matchAll or matchAny needs at least one requirement",
        ),
        (with("/resources/matchAny", json!([{}])), exactly),
        (with("/resources/matchAny/1/annotations", json!({ "key": "a", "operator": "Exists" })), exactly),
        (with(&format!("{any}/operator"), json!("Near")), "Unsupported value: \"Near\""),
        (with(&format!("{any}/values"), json!([])), "In and NotIn need values"),
        (with(&format!("{any}/operator"), json!("Exists")), "Exists and DoesNotExist take no values"),
        (with(&format!("{any}/key"), json!("")), "labels.key"),
        (with("/resources/matchAll/0/type/operator", json!("Exists")), "Unsupported value: \"Exists\""),
        (with("/resources/matchAll/0/type/values", json!([])), "type.values"),
        (
            with("/resources/matchAll/0/type/values", json!([{}])),
            "each value needs at least one of group, version, resource and name",
        ),
        (with("/resources/matchAll/1/namespace/values", json!([])), "namespace.values"),
    ];
    check_refused(&client, "BlueprintBinding", &cases).await
}

#[tokio::test]
async fn the_server_says_what_is_wrong_with_the_security_of_a_storage() -> Result<()> {
    let client = client_with_definitions().await?;
    let with = |pointer: &str, value: Value| changed(storage_security_context(), pointer, value);
    let cases = [
        (json!({}), "spec.security: Required value"),
        (with("/security/userId", json!(-1)), "spec.security.userId"),
        (with("/security/groupId", json!("root")), "spec.security.groupId"),
        (with("/security/supplementalGroups", json!([-1])), "spec.security.supplementalGroups[0]"),
    ];
    check_refused(&client, "StorageSecurityContext", &cases).await?;
    let with = |pointer: &str, value: Value| changed(storage_security_context_binding(), pointer, value);
    let cases = [
        (
            with("/storageSecurityContextRef", json!("absent")),
            "spec.storageSecurityContextRef: Required value",
        ),
        (with("/subjects", json!([])), "spec.subjects"),
        (with("/subjects/0/kind", json!("Disk")), "Unsupported value: \"Disk\""),
        (with("/subjects/0/name", json!("")), "spec.subjects[0].name"),
        (with("/subjects/1/namespace", json!("shop")), "namespace is for kind Volume only"),
    ];
    check_refused(&client, "StorageSecurityContextBinding", &cases).await
}

#[tokio::test]
async fn the_server_says_what_is_wrong_with_specifications_of_pods_and_audit_configurations() -> Result<()> {
    let client = client_with_definitions().await?;
    let with = |pointer: &str, value: Value| changed(action_pod_spec(), pointer, value);
    let cases = [
        (json!({}), "spec.options: Required value"),
        (json!({ "options": [] }), "spec.options"),
        (with("/options/0/podType", json!("restore-data-dr")), "options name each podType once"),
        (with("/options/0/podType", json!("Big One")), "spec.options[0].podType"),
        (with("/options/0/resources/requests/cpu", json!("lots")), "spec.options[0].resources.requests.cpu"),
        (with("/options/0/resources/requests/cpu", json!(1.5)), "spec.options[0].resources.requests.cpu"),
        (with("/options/0/resources/requests/gpu", json!(1)), "field not declared in schema"),
    ];
    check_refused(&client, "ActionPodSpec", &cases).await?;
    let cases = [(json!({}), "spec.actionPodSpecRef: Required value")];
    check_refused(&client, "ActionPodSpecBinding", &cases).await?;
    let cases = [
        (json!({}), "spec.profile: Required value"),
        (json!({ "profile": {} }), "spec.profile.name: Required value"),
    ];
    check_refused(&client, "AuditConfig", &cases).await
}

#[tokio::test]
async fn kubectl_prints_the_documented_columns_of_a_blueprint_binding() -> Result<()> {
    let client = client_with_definitions().await?;
    let created: DynamicObject =
        serde_json::from_value(object("BlueprintBinding", "shown", &blueprint_binding()))?;
    let bindings = api(&client, "BlueprintBinding");
    bindings.create(&PostParams::default(), &created).await?;
    let status = Patch::Merge(json!({ "status": { "validation": "Success" } }));
    bindings.patch_status("shown", &PatchParams::default(), &status).await?;
    let mut kubectl = ControlPlane::shared().await?.kubectl();
    kubectl.args(["get", "blueprintbindings.config.kio.kasten.io", "shown", "--namespace", NAMESPACE]);
    let output = tokio::task::spawn_blocking(move || kubectl.output()).await??;
    let printed = String::from_utf8(output.stdout)?;
    let words: Vec<_> = printed.split_whitespace().collect();
    let expected = ["NAME", "DISABLED", "STATUS", "AGE", "shown", "false", "Success"];
    assert_eq!(words[..7], expected, "{printed}");
    bindings.delete("shown", &Default::default()).await?;
    Ok(())
}
