//! Exports that somebody has validated with kubectl before they are needed.

use std::fs;

use anyhow::{Context, Result};
use keelson_e2e::Listing;
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{ACTIONS, NAMESPACE, Stage};
use crate::world::{APPLICATION, ORIGIN, action, back_up, export_action, raise_source};

fn validate(stage: &Stage, name: &str, content: &str) -> Result<(Value, Value)> {
    let subject = json!({ "kind": "RestorePointContent", "name": content });
    stage.create(&action("ValidateAction", name, NAMESPACE, json!({ "subject": subject })))?;
    let ended = stage.ended("validateaction", NAMESPACE, name)?;
    let path = format!("/apis/{ACTIONS}/namespaces/{NAMESPACE}/validateactions/{name}/details");
    let mut details: Value = serde_json::from_str(&stage.kubectl(&["get", "--raw", &path], "")?)?;
    Ok((ended, details["status"]["actionDetails"].take()))
}

#[test]
fn an_export_is_validated_before_it_is_needed_and_its_damage_told() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_source(share.directory(), ORIGIN)?;
    let point = back_up(&stage, "tried")?;
    stage.create(&export_action("tried", &point))?;
    let export = stage.complete("exportaction", NAMESPACE, "tried")?;
    let made = export["status"]["restorePoint"]["name"].as_str().context("the exported point")?;
    let content = format!("{APPLICATION}-{made}");

    let (ended, details) = validate(&stage, "whole", &content)?;
    assert_eq!(ended["status"]["state"], "Complete", "{}", ended["status"]);
    assert_eq!(details["errorCount"], 0, "{details}");
    let read = details["objectDataCheckResult"].as_array().into_iter().flatten();
    let read: u64 = read.filter_map(|result| result["stats"]["readBytes"].as_u64()).sum();
    assert!(read > 0, "{details}");

    let exports = share.directory().join(ORIGIN).join("k10").join(stage.cluster_id()?).join("exports");
    let mut flipped = 0;
    for path in Listing::of(&exports)?.paths().filter(|path| path.iter().any(|name| name == "packs")) {
        let path = exports.join(path);
        let mut bytes = fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes)?;
        flipped += 1;
    }
    assert!(flipped > 0, "no pack in {}", exports.display());
    let (ended, details) = validate(&stage, "damaged", &content)?;
    let message = ended["status"]["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(ended["status"]["state"], "Failed", "{}", ended["status"]);
    assert!(message.contains(&format!("restore point content '{content}' is damaged in")), "{message}");
    assert!(details["errorCount"].as_u64() > Some(0), "{details}");
    Ok(())
}
