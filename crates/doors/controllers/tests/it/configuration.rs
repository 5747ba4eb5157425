//! What the status of presets, transforms, bindings and the like says, and that it follows what they name.

use anyhow::{Context, Result, ensure};
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::{Value, json};

use super::{NAMESPACE, Scene, event_reasons, policies, profile, profiles};

fn kind(name: &str) -> Kind {
    let plural = format!("{}s", name.to_lowercase());
    Kind::namespaced("config.kio.kasten.io/v1alpha1", name, &plural)
}

impl Scene {
    async fn configure(&self, of: &str, namespace: &str, name: &str, spec: Value) -> Result<()> {
        self.apply(&kind(of), &json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec }))
            .await
    }

    /// Waits for a verdict that is `Failed` and says this.
    async fn refused(&self, of: &str, namespace: &str, name: &str, words: &str) -> Result<()> {
        eventually(&format!("'{name}' is refused: {words}"), async || {
            let status = self.status(&kind(of), namespace, name, "Failed").await?;
            Ok(status["error"].to_string().contains(words).then_some(()))
        })
        .await
    }

    async fn sound(&self, of: &str, namespace: &str, name: &str) -> Result<Value> {
        let status = self.status(&kind(of), namespace, name, "Success").await?;
        ensure!(status.get("error").is_none(), "{status}");
        let conditions = status["conditions"].as_array().context("conditions")?;
        let unused = conditions.iter().find(|one| one["type"] == "Ignored");
        let told = unused.and_then(|one| one["message"].as_str()).unwrap_or_default();
        ensure!(told.contains("this version") == (of != "PolicyPreset"), "{status}");
        Ok(status)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_each_kind_follows_what_it_says_and_names() -> Result<()> {
    let scene = Scene::set().await?;
    std::fs::create_dir_all(scene.mounts.join("share"))?;
    presets_follow_their_profiles(&scene).await?;
    policies_follow_their_preset(&scene).await?;
    transforms_follow_each_other(&scene).await?;
    bindings_follow_what_they_bind(&scene).await?;
    audit_configurations_need_s3(&scene).await?;
    nothing_is_written_without_a_change(&scene).await?;
    scene.end().await
}

fn hourly() -> Value {
    json!({
        "backup": { "frequency": "@hourly", "retention": { "hourly": 24, "daily": 7 } },
        "export": { "frequency": "@daily", "exportData": { "enabled": true }, "profile": { "name": "share" } },
    })
}

async fn presets_follow_their_profiles(scene: &Scene) -> Result<()> {
    scene.configure("PolicyPreset", NAMESPACE, "gold", hourly()).await?;
    scene.refused("PolicyPreset", NAMESPACE, "gold", "there is no profile 'share'").await?;
    scene.apply(&profiles(), &profile(NAMESPACE, "share")).await?;
    let status = scene.sound("PolicyPreset", NAMESPACE, "gold").await?;
    ensure!(status["type"] == "backup-export" && status["observedGeneration"] == 1, "{status}");
    let mut weekly = hourly();
    weekly["export"]["frequency"] = json!("@weekly");
    scene.configure("PolicyPreset", NAMESPACE, "gold", weekly).await?;
    let status = scene.status(&kind("PolicyPreset"), NAMESPACE, "gold", "Failed").await?;
    ensure!(status["error"].to_string().contains("needs spec.backup.retention.weekly"), "{status}");
    ensure!(status["type"] == "unknown" && status["observedGeneration"] == 2, "{status}");
    eventually("events tell of each change", async || {
        let reasons = event_reasons(scene, "gold").await?;
        let expected = ["ConfigurationFailed", "ConfigurationValidated", "ConfigurationFailed"];
        Ok((reasons == expected).then_some(()))
    })
    .await
}

/// The preset was left invalid.
async fn policies_follow_their_preset(scene: &Scene) -> Result<()> {
    let own = json!({ "key": "k10.kasten.io/appNamespace", "operator": "In", "values": ["elsewhere"] });
    let selector = json!({ "matchExpressions": [own] });
    let on_preset = json!({
        "metadata": { "namespace": "elsewhere", "name": "own" },
        "spec": {
            "presetRef": { "name": "gold", "namespace": NAMESPACE },
            "selector": selector, "actions": [{ "action": "backup" }],
        },
    });
    let refused = async |words: &str| {
        eventually(&format!("the policy is refused: {words}"), async || {
            let status = scene.status(&policies(), "elsewhere", "own", "Failed").await?;
            Ok(status["error"].to_string().contains(words).then_some(()))
        })
        .await
    };
    scene.apply(&policies(), &on_preset).await?;
    refused("preset 'kasten-io/gold' is not valid").await?;
    scene.configure("PolicyPreset", NAMESPACE, "gold", hourly()).await?;
    scene.status(&policies(), "elsewhere", "own", "Success").await?;
    scene.cluster.delete_object(&kind("PolicyPreset"), Some(NAMESPACE), "gold").await?;
    refused("there is no preset 'gold' in namespace 'kasten-io'").await?;
    scene.configure("PolicyPreset", NAMESPACE, "gold", hourly()).await?;
    scene.status(&policies(), "elsewhere", "own", "Success").await.map(drop)
}

async fn transforms_follow_each_other(scene: &Scene) -> Result<()> {
    let named = |set: &str| json!({ "transforms": [{ "transformSetRef": { "name": set } }] });
    let regex = |regex: &str| {
        let command = json!({ "op": "test", "path": "/metadata/name", "regex": regex });
        json!({ "transforms": [{ "subject": { "resource": "pods" }, "name": "t", "json": [command] }] })
    };
    scene.configure("TransformSet", "elsewhere", "first", named("second")).await?;
    scene.refused("TransformSet", "elsewhere", "first", "there is no transform set 'second'").await?;
    scene.configure("TransformSet", "elsewhere", "second", regex("(")).await?;
    scene.refused("TransformSet", "elsewhere", "second", "regex '(' cannot be read: unclosed group").await?;
    scene.sound("TransformSet", "elsewhere", "first").await?;
    scene.configure("TransformSet", "elsewhere", "second", regex("^shop-")).await?;
    scene.sound("TransformSet", "elsewhere", "second").await?;
    scene.configure("TransformSet", "elsewhere", "second", named("first")).await?;
    scene.refused("TransformSet", "elsewhere", "first", "'second' leads back to this set").await?;
    scene.refused("TransformSet", "elsewhere", "second", "'first' leads back to this set").await
}

async fn bindings_follow_what_they_bind(scene: &Scene) -> Result<()> {
    const BINDING: &str = "StorageSecurityContextBinding";
    let binding = |class: &str| {
        let subjects = json!([{ "kind": "StorageClass", "name": class }]);
        json!({ "storageSecurityContextRef": { "name": "nfs" }, "subjects": subjects })
    };
    let context = json!({ "security": { "userId": 1000 } });
    scene.configure(BINDING, NAMESPACE, "one", binding("files")).await?;
    scene.refused(BINDING, NAMESPACE, "one", "there is no storage security context 'nfs'").await?;
    scene.configure("StorageSecurityContext", NAMESPACE, "nfs", context).await?;
    scene.sound("StorageSecurityContext", NAMESPACE, "nfs").await?;
    scene.sound(BINDING, NAMESPACE, "one").await?;
    scene.configure(BINDING, NAMESPACE, "two", binding("files")).await?;
    for (binding, other) in [("one", "two"), ("two", "one")] {
        let told = format!("StorageClass 'files' is bound by '{other}' too");
        scene.refused(BINDING, NAMESPACE, binding, &told).await?;
    }
    scene.configure(BINDING, NAMESPACE, "two", binding("disks")).await?;
    scene.sound(BINDING, NAMESPACE, "one").await?;
    scene.sound(BINDING, NAMESPACE, "two").await?;

    let exists = json!({ "labels": { "key": "app", "operator": "Exists" } });
    let blueprint = json!({ "blueprintRef": { "name": "b" }, "resources": { "matchAny": [exists] } });
    scene.configure("BlueprintBinding", NAMESPACE, "all", blueprint.clone()).await?;
    scene.sound("BlueprintBinding", NAMESPACE, "all").await?;
    scene.configure("BlueprintBinding", "elsewhere", "all", blueprint).await?;
    scene.refused("BlueprintBinding", "elsewhere", "all", "counts only in namespace 'kasten-io'").await?;

    let bound = json!({ "actionPodSpecRef": { "name": "big", "namespace": NAMESPACE } });
    let options = |limit: &str| {
        let resources = json!({ "requests": { "memory": "1Gi" }, "limits": { "memory": limit } });
        json!({ "options": [{ "podType": "*", "resources": resources }] })
    };
    scene.configure("ActionPodSpecBinding", "elsewhere", "own", bound).await?;
    scene
        .refused("ActionPodSpecBinding", "elsewhere", "own", "there is no action pod specification 'big'")
        .await?;
    scene.configure("ActionPodSpec", NAMESPACE, "big", options("512Mi")).await?;
    scene.refused("ActionPodSpec", NAMESPACE, "big", "requests.memory is more than the limit").await?;
    scene.configure("ActionPodSpec", NAMESPACE, "big", options("2Gi")).await?;
    scene.sound("ActionPodSpec", NAMESPACE, "big").await?;
    scene.sound("ActionPodSpecBinding", "elsewhere", "own").await.map(drop)
}

async fn audit_configurations_need_s3(scene: &Scene) -> Result<()> {
    let to = |profile: &str| json!({ "profile": { "name": profile } });
    scene.configure("AuditConfig", NAMESPACE, "audit", to("gone")).await?;
    scene.refused("AuditConfig", NAMESPACE, "audit", "there is no profile 'gone'").await?;
    scene.configure("AuditConfig", NAMESPACE, "audit", to("share")).await?;
    scene.refused("AuditConfig", NAMESPACE, "audit", "'share' is no location of type S3").await
}

/// Another object's changes make every object be considered again; none of it may end in a write.
async fn nothing_is_written_without_a_change(scene: &Scene) -> Result<()> {
    let versions = async || {
        let mut versions = Vec::new();
        for (of, name) in [("PolicyPreset", "gold"), ("AuditConfig", "audit"), ("ActionPodSpec", "big")] {
            let object = scene.cluster.read_object(&kind(of), Some(NAMESPACE), name).await?;
            versions.push(object.context("it is there")?["metadata"]["resourceVersion"].clone());
        }
        anyhow::Ok(versions)
    };
    let before = versions().await?;
    scene.apply(&profiles(), &profile(NAMESPACE, "other")).await?;
    scene.status(&profiles(), NAMESPACE, "other", "Failed").await?;
    scene.configure("AuditConfig", NAMESPACE, "later", json!({ "profile": { "name": "other" } })).await?;
    scene.refused("AuditConfig", NAMESPACE, "later", "profile 'other' is no").await?;
    ensure!(before == versions().await?, "a status was written that says the same");
    Ok(())
}
