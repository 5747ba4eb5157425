//! Profiles, policies and restores that cannot work: the status says so, and nothing is made of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use keelson_e2e::Answer;
use keelson_testkit::skip;
use serde_json::{Value, json};

use crate::stage::{CONFIG, NAMESPACE, assert_said, profile};
use crate::world::{Except, World, action, enter};

const DR_POLICY: &str = "k10-disaster-recovery-policy";

fn policy(name: &str, namespace: &str, parameters: Value) -> Value {
    json!({
        "apiVersion": CONFIG, "kind": "Policy", "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "frequency": "@hourly", "retention": { "hourly": 4 },
            "selector": { "matchExpressions": [
                { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": [namespace] },
            ]},
            "actions": parameters,
        },
    })
}

fn exporting(name: &str, profile: &str) -> Value {
    let export = json!({ "frequency": "@hourly", "profile": { "name": profile, "namespace": NAMESPACE } });
    policy(
        name,
        "shop",
        json!([
            { "action": "backup" }, { "action": "export", "exportParameters": export },
        ]),
    )
}

pub(crate) fn dr_policy_to(profile: &str) -> Value {
    let parameters = json!({ "filters": {}, "profile": { "name": profile, "namespace": NAMESPACE } });
    policy(DR_POLICY, NAMESPACE, json!([{ "action": "backup", "backupParameters": parameters }]))
}

/// The policy's status says Failed with each of `words`; nothing is made of it.
#[track_caller]
pub(crate) fn assert_policy_refused(world: &World, policy: &Value, words: &[&str]) -> Result<()> {
    let stage = &world.stage;
    let name = policy["metadata"]["name"].as_str().unwrap_or_default();
    let before = world.everything()?;
    stage.apply(policy)?;
    let status = stage.validation("policy", name)?;
    stage.delete(&["policy", name, "-n", NAMESPACE])?;
    assert_eq!(status["validation"], "Failed", "{status}");
    let told = status["error"].to_string();
    for word in words {
        assert!(told.contains(word), "'{word}' is not in {told}");
    }
    world.assert_untouched(&before, Except::Nothing)
}

/// By the command, with a passphrase that is not the one in use.
fn enable_anew(world: &World, profile: &str) -> Result<Answer> {
    let passphrase = world.share.directory().join("another-passphrase");
    fs::write(&passphrase, "not the one that is in use")?;
    let file = passphrase.display().to_string();
    let said = world.stage.keelson(&["dr", "enable", "--profile", profile, "--passphrase-file", &file])?;
    fs::remove_file(&passphrase)?;
    Ok(said)
}

fn kept_passphrase(world: &World) -> Result<Option<Value>> {
    let secret = world.stage.get(&["secret", "k10-dr-secret", "-n", NAMESPACE])?;
    Ok(secret.map(|secret| secret["data"].clone()))
}

/// Refused as the target of disaster recovery by the command and by the policy; nothing is made of either, and the
/// passphrase that came with the command is not kept.
#[track_caller]
fn assert_no_target(world: &World, profile: &str, words: &[&str]) -> Result<()> {
    let before = world.everything()?;
    let kept = kept_passphrase(world)?;
    let said = enable_anew(world, profile)?;
    assert!(world.stage.get(&["policy", DR_POLICY, "-n", NAMESPACE])?.is_none(), "the policy is left");
    assert_eq!(kept_passphrase(world)?, kept);
    assert_said(&said, 3, &[&["disaster recovery was not enabled"], words].concat());
    assert_policy_refused(world, &dr_policy_to(profile), words)?;
    let status = world.stage.status()?;
    assert!(status["disasterRecovery"].is_null(), "{status}");
    world.assert_untouched(&before, Except::Nothing)
}

#[test]
fn a_policy_that_names_no_profile_there_is_fails_with_its_name() -> Result<()> {
    let world = enter()?;
    assert_policy_refused(&world, &exporting("to-nowhere", "nowhere"), &["there is no profile 'nowhere'"])
}

#[test]
fn a_policy_that_exports_without_a_profile_is_refused() -> Result<()> {
    let world = enter()?;
    let mut policy = exporting("without", "any");
    policy["spec"]["actions"][1]["exportParameters"] = json!({ "frequency": "@hourly" });
    assert_policy_refused(&world, &policy, &["spec.actions[1].exportParameters.profile is required"])
}

#[test]
fn a_policy_that_names_a_failed_profile_fails() -> Result<()> {
    let world = enter()?;
    let location = json!({ "type": "FileStore", "fileStore": { "claimName": "not-mounted", "path": "" } });
    world.stage.apply(&profile("failed", &json!({ "type": "Location", "locationSpec": location })))?;
    let status = world.stage.validation("profile", "failed")?;
    assert!(status["error"].to_string().contains("claim 'not-mounted'"), "{status}");
    assert_policy_refused(&world, &exporting("to-failed", "failed"), &["'failed'", "validation failed"])?;
    assert_no_target(&world, "failed", &["the profile's validation failed"])?;
    world.stage.delete(&["profile", "failed", "-n", NAMESPACE])
}

#[test]
fn a_vbr_profile_is_refused_as_target_of_disaster_recovery() -> Result<()> {
    let world = enter()?;
    let location = json!({
        "type": "VBR",
        "vbr": { "serverAddress": "vbr.acme.test", "serverPort": 9419, "repoName": "repository" },
        "credential": { "secretType": "VBRKey", "secret": {
            "apiVersion": "v1", "kind": "Secret", "name": "vbr", "namespace": NAMESPACE,
        }},
    });
    world.stage.apply(&profile("vbr", &json!({ "type": "Location", "locationSpec": location })))?;
    world.stage.validation("profile", "vbr")?;
    assert_no_target(&world, "vbr", &["a VBR profile holds volume data only"])?;
    world.stage.delete(&["profile", "vbr", "-n", NAMESPACE])
}

/// A file system of its own, for as long as it lives.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// None where the kernel does not let us: the test is skipped.
    pub(crate) fn new(folder: PathBuf, options: &str) -> Result<Option<Self>> {
        fs::create_dir_all(&folder)?;
        let mut command = Command::new("mount");
        let output = command.args(["-t", "tmpfs", "-o", options, "none"]).arg(&folder).output()?;
        if output.status.success() {
            return Ok(Some(Self(folder)));
        }
        skip(&format!("no mounts without privilege: {}", String::from_utf8_lossy(&output.stderr)));
        Ok(None)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_read_only_directory_is_told_and_refused_as_target_of_disaster_recovery() -> Result<()> {
    let world = enter()?;
    let Some(_mounted) = Mounted::new(world.folder("read-only"), "ro")? else { return Ok(()) };
    world.stage.profile("read-only", "read-only")?;
    let status = world.stage.validation("profile", "read-only")?;
    assert_eq!(status["readOnly"], true, "{status}");
    assert_no_target(&world, "read-only", &["location cannot be written to"])?;
    world.stage.delete(&["profile", "read-only", "-n", NAMESPACE])
}

#[test]
fn a_full_disk_is_told_and_refused_as_target_of_disaster_recovery() -> Result<()> {
    let world = enter()?;
    let Some(mounted) = Mounted::new(world.folder("full"), "size=64k")? else { return Ok(()) };
    // Written until nothing more fits.
    let filled = fs::write(mounted.0.join("ballast"), vec![0; 128 * 1024]);
    assert!(filled.is_err(), "the disk is not full");
    world.stage.profile("full", "full")?;
    let status = world.stage.validation("profile", "full")?;
    assert_eq!(status["validation"], "Failed", "{status}");
    assert!(status["error"].to_string().contains("full"), "{status}");
    assert_no_target(&world, "full", &["the profile's validation failed"])?;
    world.stage.delete(&["profile", "full", "-n", NAMESPACE])
}

/// The passphrase stayed replaced where the policy could not be put back.
#[test]
fn what_cannot_be_put_back_is_told_and_the_rest_is_put_back_all_the_same() -> Result<()> {
    let world = enter()?;
    let stage = &world.stage;
    let (before, kept) = (world.everything()?, kept_passphrase(&world)?);
    stage.apply(&dr_policy_to("nowhere"))?;
    stage.validation("policy", DR_POLICY)?;
    let expression = format!(
        "request.name != '{DR_POLICY}' || \
         object.spec.actions[0].backupParameters.profile.name != 'nowhere'"
    );
    stage.apply(&forbid(
        &json!({
            "apiGroups": ["config.kio.kasten.io"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"],
            "resources": ["policies"],
        }),
        &expression,
    ))?;
    let change = ["annotate", "policy", DR_POLICY, "-n", NAMESPACE, "example.com/a=b", "--dry-run=server"];
    let forbidden = stage.until("the admission policy is in force", || {
        let said = stage.try_kubectl(&change, "")?;
        Ok((said.code != 0).then_some(said))
    })?;
    let said = enable_anew(&world, "nobodys")?;
    let (left, passphrase) = (stage.dr_policy()?, kept_passphrase(&world)?);
    stage.delete(&["validatingadmissionpolicy,validatingadmissionpolicybinding", "keelson-test"])?;
    stage.delete(&["policy", DR_POLICY, "-n", NAMESPACE])?;
    assert_said(&forbidden, 1, &["not while the test runs"]);
    let told = "the DR policy could not be put back as it was: ";
    assert_said(&said, 3, &["there is no profile 'nobodys'", told, "not while the test runs"]);
    assert!(!said.stderr.contains("k10-dr-secret could not"), "{said:?}");
    assert_eq!(left["spec"]["actions"][0]["backupParameters"]["profile"]["name"], "nobodys", "{left}");
    assert_eq!(passphrase, kept);
    world.assert_untouched(&before, Except::Nothing)
}

#[test]
fn an_object_the_api_server_refuses_is_an_exception_of_a_complete_restore() -> Result<()> {
    let world = enter()?;
    let stage = &world.stage;
    stage.namespace("quota")?;
    for name in ["one", "two"] {
        stage.create(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "quota" },
        }))?;
    }
    let subject = json!({ "subject": { "name": "quota", "namespace": "quota" } });
    stage.create(&action("BackupAction", "before", "quota", subject))?;
    stage.complete("backupaction", "quota", "before")?;
    stage.delete(&["configmap", "one", "-n", "quota"])?;
    stage.apply(&forbid(
        &json!({
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"],
        }),
        "object.metadata.name != 'one'",
    ))?;
    let said = stage.until("the admission policy is in force", || {
        let said =
            stage.try_kubectl(&["create", "configmap", "one", "-n", "quota", "--dry-run=server"], "")?;
        Ok((said.code != 0).then_some(said))
    })?;
    assert_said(&said, 1, &["not while the test runs"]);

    let before = world.everything()?;
    let said = stage.keelson(&["restore", "quota", "--overwrite-existing"])?;
    world.assert_untouched(&before, Except::TheRecordOfTheAction)?;
    stage.delete(&["validatingadmissionpolicy,validatingadmissionpolicybinding", "keelson-test"])?;
    assert_said(&said, 0, &["note: ", "one", "not while the test runs"]);
    assert!(stage.get(&["configmap", "one", "-n", "quota"])?.is_none());
    let restores = stage.get(&["restoreactions", "-n", "quota"])?.unwrap_or_default();
    let status = &restores["items"][0]["status"];
    assert_eq!(status["state"], "Complete", "{status}");
    assert!(status["exceptions"][0]["message"].to_string().contains("one"), "{status}");
    Ok(())
}

/// Of the requests that a rule describes it lets those pass of which the expression is true.
fn forbid(rule: &Value, expression: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": "keelson-test" },
            "spec": {
                "matchConstraints": { "resourceRules": [rule] },
                "validations": [{ "expression": expression, "message": "not while the test runs" }],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": "keelson-test" },
            "spec": { "policyName": "keelson-test", "validationActions": ["Deny"] },
        },
    ]})
}
