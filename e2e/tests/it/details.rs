//! What a person learns, with kubectl alone, of what an application is made of and what a restore point holds.

use std::fs;

use anyhow::{Context, Result};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, Stage};
use crate::world::{APPLICATION, ORIGIN, back_up, export_to, raise_protected};

const APPS: &str = "/apis/apps.kio.kasten.io/v1alpha1";
const PLACE: &str = "elsewhere";

fn details(stage: &Stage, path: &str, field: &str) -> Result<Value> {
    let path = format!("{APPS}/{path}/details");
    let mut object: Value = serde_json::from_str(&stage.kubectl(&["get", "--raw", &path], "")?)?;
    Ok(object["status"][field].take())
}

fn config_maps(details: &Value) -> Vec<&str> {
    let config = details["components"]["config"].as_array().into_iter().flatten();
    let maps = config.filter(|entry| entry["kind"] == "ConfigMap");
    maps.filter_map(|entry| entry["name"].as_str()).collect()
}

#[test]
fn details_tell_what_would_be_and_what_was_captured_and_when_that_cannot_be_read() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_protected(share.directory(), ORIGIN, &[])?;
    // To a place of its own, where nobody writes while it is away.
    fs::create_dir(share.directory().join(PLACE))?;
    stage.profile(PLACE, PLACE)?;
    stage.wait_valid("profile", PLACE)?;
    let point = back_up(&stage, "first")?;
    export_to(&stage, PLACE, "first")?;
    let export = stage.get(&["exportaction", "first-export", "-n", NAMESPACE])?.context("the export")?;
    let exported = export["status"]["restorePoint"]["name"].as_str().context("the exported point")?;
    stage.delete(&["configmap", "prices", "-n", APPLICATION])?;

    let of_application = format!("namespaces/{APPLICATION}/applications/{APPLICATION}");
    let now = details(&stage, &of_application, "appDetails")?;
    assert_eq!((config_maps(&now), &now["incomplete"]), (vec!["orders"], &Value::Null), "{now}");
    let of_point = format!("namespaces/{APPLICATION}/restorepoints/{exported}");
    let captured = details(&stage, &of_point, "restorePointDetails")?;
    assert_eq!(config_maps(&captured), ["orders", "prices"], "{captured}");
    assert_eq!(captured["objectCounts"]["configmaps"], 2, "{captured}");
    assert!(captured["artifacts"][0]["uploadEndTime"].is_string(), "{captured}");
    let of_content = format!("restorepointcontents/{APPLICATION}-{exported}");
    let same = details(&stage, &of_content, "restorePointContentDetails")?;
    assert_eq!(same, captured);

    let (location, away) = (share.directory().join(PLACE), share.directory().join("away"));
    fs::rename(&location, &away)?;
    let unread = details(&stage, &of_point, "restorePointDetails");
    fs::rename(&away, &location)?;
    let unread = unread?;
    let message = unread["incomplete"][0]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("what was captured could not be read to its end: "), "{unread}");
    assert_eq!((config_maps(&unread), &unread["objectCounts"]), (vec![], &json!({})), "{unread}");
    let local = format!("namespaces/{APPLICATION}/restorepoints/{point}");
    let local = details(&stage, &local, "restorePointDetails")?;
    assert_eq!(config_maps(&local), ["orders", "prices"], "what lies on the volume is told: {local}");
    Ok(())
}
