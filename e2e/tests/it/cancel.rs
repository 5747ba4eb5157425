//! Work that somebody cancels, with kubectl alone: it is tried no more, also by a process that is started again.

use anyhow::Result;
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{ACTIONS, NAMESPACE, Stage};
use crate::world::{action, config_map_in, restore_point_of};

const ORCHARD: &str = "orchard";

fn cancel(stage: &Stage, kind: &str, (namespace, name): (&str, &str)) -> Result<String> {
    let subject = json!({ "kind": kind, "name": name, "namespace": namespace });
    stage.create(&json!({
        "apiVersion": ACTIONS, "kind": "CancelAction",
        "metadata": { "generateName": "cancel-", "namespace": namespace }, "spec": { "subject": subject },
    }))
}

/// A server of another group that does not answer: a backup fails, and is tried again.
fn lose_a_group(stage: &Stage) -> Result<()> {
    stage.create(&json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": "v1.away.example.com" },
        "spec": { "group": "away.example.com", "version": "v1", "insecureSkipTLSVerify": true,
            "groupPriorityMinimum": 10, "versionPriority": 10,
            "service": { "name": "nowhere", "namespace": ORCHARD, "port": 443 } },
    }))?;
    Ok(())
}

fn until_in_state(stage: &Stage, name: &str, states: &[&str]) -> Result<Value> {
    stage.until(&format!("{name} is one of {states:?}"), || {
        let backup = stage.get(&["backupaction", name, "-n", ORCHARD])?.unwrap_or_default();
        let state = backup["status"]["state"].as_str().unwrap_or_default();
        Ok(states.contains(&state).then_some(backup))
    })
}

#[test]
fn a_cancelled_backup_is_tried_no_more_and_the_next_one_is_made() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    stage.namespace(ORCHARD)?;
    stage.create(&config_map_in(ORCHARD, "trees"))?;
    lose_a_group(&stage)?;
    let subject = json!({ "subject": { "name": ORCHARD, "namespace": ORCHARD } });
    let back_up =
        |stage: &Stage, name: &str| stage.create(&action("BackupAction", name, ORCHARD, subject.clone()));
    for name in ["here", "across"] {
        back_up(&stage, name)?;
        until_in_state(&stage, name, &["AttemptFailed"])?;
        cancel(&stage, "BackupAction", (ORCHARD, name))?;
        if name == "across" {
            stage.kill_and_restart()?;
        }
        let ended = stage.ended("backupaction", ORCHARD, name)?;
        assert_eq!(ended["status"]["state"], "Cancelled", "{}", ended["status"]);
        let message = ended["status"]["error"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("cancelled by user '"), "{message}");
    }
    stage.delete(&["apiservice", "v1.away.example.com"])?;
    back_up(&stage, "after")?;
    let point = restore_point_of(&stage.complete("backupaction", ORCHARD, "after")?)?;
    let points = stage.get(&["restorepoints", "-n", ORCHARD])?.unwrap_or_default();
    let names: Vec<_> =
        points["items"].as_array().into_iter().flatten().map(|it| &it["metadata"]["name"]).collect();
    assert_eq!(names, [&json!(point)], "the cancelled ones made none");
    let refused = stage.try_kubectl(&["get", "cancelactions", "-n", NAMESPACE], "")?;
    assert!(refused.code != 0 && refused.stderr.contains("does not allow"), "{refused:?}");
    Ok(())
}
