//! Configuration of every kind: checked when it is applied, lost with the platform, and recovered as it was.

use anyhow::{Context, Result, ensure};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{CONFIG, NAMESPACE, Stage};
use crate::world::{APPLICATION, ORIGIN, PASSPHRASE, action, raise_protected, wait_until_shipped};

/// One of each kind besides profiles and policies, with the namespace where it belongs, and what its status says then.
fn configured() -> [(&'static str, &'static str, Value, &'static str); 9] {
    let vault = json!({ "name": "vault", "namespace": NAMESPACE });
    let backup = json!({ "frequency": "@hourly", "retention": { "hourly": 24, "daily": 7 } });
    let export = json!({ "frequency": "@daily", "profile": vault, "exportData": { "enabled": true } });
    let add = json!({ "op": "add", "path": "/spec/template/spec/tolerations/-", "value": { "key": "a", "effect": null } });
    let copy =
        json!({ "op": "copy", "from": "/metadata/labels/*", "path": "/spec/template/metadata/labels/$1" });
    let transform = json!({ "subject": { "resource": "deployments" }, "name": "scale", "json": [add, copy] });
    let statefulsets =
        json!({ "operator": "In", "values": [{ "group": "apps", "resource": "statefulsets" }] });
    let amounts = json!({ "requests": { "cpu": 1, "memory": "1Gi" }, "limits": { "cpu": "2" } });
    let class = json!({ "kind": "StorageClass", "name": "filestore" });
    [
        (
            "StorageSecurityContextBinding",
            NAMESPACE,
            json!({ "storageSecurityContextRef": { "name": "kept" }, "subjects": [class] }),
            "Success",
        ),
        (
            "StorageSecurityContext",
            NAMESPACE,
            json!({ "security": { "userId": 1000, "groupId": 0, "supplementalGroups": [7] } }),
            "Success",
        ),
        (
            "ActionPodSpecBinding",
            APPLICATION,
            json!({ "actionPodSpecRef": { "name": "kept", "namespace": NAMESPACE } }),
            "Success",
        ),
        (
            "ActionPodSpec",
            NAMESPACE,
            json!({ "options": [{ "podType": "*", "resources": amounts }] }),
            "Success",
        ),
        ("TransformSet", NAMESPACE, json!({ "comment": "kept", "transforms": [transform] }), "Success"),
        (
            "BlueprintBinding",
            NAMESPACE,
            json!({ "disabled": true, "blueprintRef": { "name": "b", "namespace": NAMESPACE },
                "resources": { "matchAll": [{ "type": statefulsets }] } }),
            "Success",
        ),
        ("AuditConfig", NAMESPACE, json!({ "profile": vault }), "Failed"),
        ("PolicyPreset", NAMESPACE, json!({ "backup": backup, "export": export }), "Success"),
        (
            "Policy",
            NAMESPACE,
            json!({ "frequency": "@daily", "retention": { "daily": 7 },
                "selector": { "matchLabels": { "k10.kasten.io/appNamespace": APPLICATION } },
                "actions": [{ "action": "backup" }] }),
            "Success",
        ),
    ]
}

fn object(kind: &str, namespace: &str, spec: &Value) -> Value {
    let labels = json!({ "team": "platform" });
    let annotations = json!({ "note": "as it was" });
    json!({
        "apiVersion": CONFIG, "kind": kind, "spec": spec,
        "metadata": { "name": "kept", "namespace": namespace, "labels": labels, "annotations": annotations },
    })
}

/// What of an object is its user's, once its status says this.
fn users_part(stage: &Stage, kind: &str, namespace: &str, validation: &str) -> Result<Value> {
    stage.until(&format!("{kind} is there and {validation}"), || {
        let resource = format!("{kind}.v1alpha1.config.kio.kasten.io");
        let Some(found) = stage.get(&[&resource, "kept", "-n", namespace])? else { return Ok(None) };
        let (status, metadata) = (&found["status"], &found["metadata"]);
        let is_told = status["observedGeneration"] == metadata["generation"];
        if !is_told || status["validation"] != validation {
            return Ok(None);
        }
        Ok(Some(json!([metadata["labels"], metadata["annotations"], found["spec"]])))
    })
}

#[test]
fn configuration_of_every_kind_is_checked_and_comes_back_as_it_was() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_protected(share.directory(), ORIGIN, &[])?;
    let mut before = Vec::new();
    for (kind, namespace, spec, _) in configured() {
        stage.create(&object(kind, namespace, &spec))?;
    }
    for (kind, namespace, spec, validation) in configured() {
        let kept = users_part(&stage, kind, namespace, validation)?;
        assert_eq!(kept[2], spec, "{kind}");
        before.push(kept);
    }
    let unused = stage.get(&["transformset", "kept", "-n", NAMESPACE])?.context("the set")?;
    let told = unused["status"]["conditions"][1]["message"].as_str().unwrap_or_default();
    ensure!(told == "this version's restores have no transforms", "{}", unused["status"]);
    wait_until_shipped(&stage)?;
    let source = stage.cluster_id()?;
    stage.instance.kill()?;
    drop(stage);

    let stage = Stage::raise(share.directory(), &[])?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    let said = stage.keelson(&["dr", "restore", "--profile", "vault", "--source-cluster-id", &source])?;
    ensure!(said.code == 0, "{said:?}");
    // What belongs into the application's namespace comes when that is there.
    stage.namespace(APPLICATION)?;
    for ((kind, namespace, _, validation), before) in configured().into_iter().zip(before) {
        assert_eq!(users_part(&stage, kind, namespace, validation)?, before, "{kind}");
    }
    Ok(())
}

/// The restore points of the policy, local and exported.
fn made_by(stage: &Stage, policy: &str) -> Result<(usize, usize)> {
    let selector = format!("k10.kasten.io/policyName={policy}");
    let list = stage.get(&["restorepointcontents", "-l", &selector])?.context("no list")?;
    let contents = list["items"].as_array().context("no items")?;
    let is_export = |content: &&Value| {
        content["metadata"]["labels"]
            .get("k10.kasten.io/exportProfile")
            .is_some_and(|profile| profile == "vault")
    };
    let exported = contents.iter().filter(is_export).count();
    Ok((contents.len() - exported, exported))
}

#[test]
fn a_policy_on_a_preset_backs_up_and_exports_as_the_preset_says() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_protected(share.directory(), ORIGIN, &[])?;
    let preset = |export: Value| {
        let spec =
            json!({ "backup": { "frequency": "@yearly", "retention": { "yearly": 2 } }, "export": export });
        json!({ "apiVersion": CONFIG, "kind": "PolicyPreset", "spec": spec,
            "metadata": { "name": "gold", "namespace": NAMESPACE } })
    };
    let profile = json!({ "name": "vault", "namespace": NAMESPACE });
    stage.apply(&preset(json!({ "profile": profile, "exportData": { "enabled": true } })))?;
    stage.wait_valid("policypreset", "gold")?;
    stage.create(&json!({
        "apiVersion": CONFIG, "kind": "Policy", "metadata": { "name": "on-gold", "namespace": NAMESPACE },
        "spec": {
            "presetRef": { "name": "gold", "namespace": NAMESPACE },
            "selector": { "matchExpressions": [
                { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": [APPLICATION] },
            ]},
            "actions": [{ "action": "backup" }],
        },
    }))?;
    stage.wait_valid("policy", "on-gold")?;
    let ask = |name: &str| {
        let subject = json!({ "kind": "Policy", "name": "on-gold", "namespace": NAMESPACE });
        stage.create(&action("RunAction", name, NAMESPACE, json!({ "subject": subject })))
    };
    let run = |name: &str| {
        ask(name)?;
        stage.complete("runaction", NAMESPACE, name)
    };
    run("first")?;
    assert_eq!(made_by(&stage, "on-gold")?, (1, 1));
    // Its export goes with the preset's.
    stage.apply(&preset(Value::Null))?;
    stage.wait_valid("policypreset", "gold")?;
    run("second")?;
    assert_eq!(made_by(&stage, "on-gold")?, (2, 1));
    stage.delete(&["policypreset", "gold", "-n", NAMESPACE])?;
    stage.until("the policy is not valid any more", || {
        let policy = stage.get(&["policy", "on-gold", "-n", NAMESPACE])?.context("the policy")?;
        Ok((policy["status"]["validation"] == "Failed").then_some(()))
    })?;
    ask("third")?;
    let ended = stage.ended("runaction", NAMESPACE, "third")?["status"].take();
    assert_eq!(ended["state"], "Failed", "{ended}");
    assert!(ended.to_string().contains("there is no preset 'gold'"), "{ended}");
    assert_eq!(made_by(&stage, "on-gold")?, (2, 1), "nothing was made without the preset");
    Ok(())
}
