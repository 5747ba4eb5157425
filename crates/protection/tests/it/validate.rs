//! Restore points that are read to the last byte: whole, damaged, lost, and those that somebody may not have validated.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use keelson_protection::Record;
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::fixture::{World, files, user};
use crate::stage::{NAMESPACE, config, make_valid, profile};

const SHOP: &str = "shop";

async fn validate(world: &World, name: &str, spec: Value) -> Result<(Record, Value)> {
    world.create("ValidateAction", (SHOP, name), spec).await?;
    let ended = world.ended("ValidateAction", (SHOP, name)).await?;
    Ok((ended, world.details("ValidateAction", (SHOP, name)).await?))
}

/// The packs of the application's repository in the location.
fn packs(world: &World) -> Result<Vec<PathBuf>> {
    let root = world.share.path();
    let found =
        files(root)?.into_iter().filter(|file| file.contains("/exports/") && file.contains("/packs/"));
    Ok(found.map(|file| root.join(file)).collect())
}

/// Failed at once, and says so.
fn assert_damaged(ended: &Record, details: &Value, words: &str) {
    let error = &ended.body.status["error"];
    assert_eq!(
        (&ended.body.status["state"], &error["class"]),
        (&json!("Failed"), &json!("Corrupt")),
        "{error}"
    );
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("is damaged in") && message.contains(words), "{message}");
    assert!(message.contains("; hint: restore from another restore point"), "{message}");
    assert_eq!(ended.body.internal["attempts"], 1, "damage is not tried again");
    assert!(details["errorCount"].as_u64() > Some(0), "{details}");
    assert_eq!(details["phases"][1]["state"], "failed");
}

fn streams(details: &Value) -> &[Value] {
    details["objectDataCheckResult"].as_array().map_or(&[], Vec::as_slice)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validation_reads_every_byte_and_names_what_is_damaged() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(SHOP).await?;
    let kind = Kind::namespaced("v1", "ConfigMap", "configmaps");
    for number in 0..20 {
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "text": "x".repeat(number * 97) },
            "metadata": { "name": format!("shelf-{number}"), "namespace": SHOP } });
        world.platform.cluster().create_object(&kind, &object).await?;
    }
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    let export = world.export(SHOP, "one", json!({})).await?;
    let backup = world.read("BackupAction", (SHOP, "one"))?.context("the backup")?;
    let point_of = |action: &Record| action.body.status["restorePoint"]["name"].clone();
    let local =
        json!({ "subject": { "kind": "RestorePoint", "name": point_of(&backup), "namespace": SHOP } });
    let content = format!("{SHOP}-{}", point_of(&export).as_str().context("a point")?);
    let exported = json!({ "subject": { "kind": "RestorePointContent", "name": content } });

    for (name, spec) in [("local", &local), ("exported", &exported)] {
        let (ended, details) = validate(&world, name, spec.clone()).await?;
        assert_eq!(ended.body.status["state"], "Complete", "{}", ended.body.status);
        assert_eq!(ended.labels["k10.kasten.io/appName"], SHOP);
        assert_eq!((&details["errorCount"], &details["volumeDataCheckResult"]), (&json!(0), &json!([])));
        let sum =
            |field: &str| streams(&details).iter().filter_map(|it| it["stats"][field].as_u64()).sum::<u64>();
        assert_eq!(sum("readBytes"), sum("totalBytes"), "{details}");
        let known = world.read("RestorePointContent", ("", &content))?.context("the content")?;
        let artifact = &known.body.internal["artifact"];
        assert_eq!(
            json!([sum("processedObjectCount"), sum("readBytes")]),
            json!([artifact["objects"], artifact["bytes"]])
        );
    }

    let kept: Vec<(PathBuf, Vec<u8>)> =
        packs(&world)?.into_iter().map(|path| Ok((path.clone(), fs::read(path)?))).collect::<Result<_>>()?;
    for (path, bytes) in &kept {
        let mut damaged = bytes.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(path, damaged)?;
    }
    let (ended, details) = validate(&world, "flipped", exported.clone()).await?;
    assert_damaged(&ended, &details, "packs/");
    for (path, _) in &kept {
        fs::remove_file(path)?;
    }
    let (ended, details) = validate(&world, "lost", exported.clone()).await?;
    assert_damaged(&ended, &details, "packs/");
    let all = streams(&details).len();
    assert!(all > 1 && streams(&details).iter().all(|it| it["errCount"] == 1), "{details}");
    let mut fast = exported.clone();
    fast["volumeDataCheckOptions"] = json!({ "failFast": true });
    let (_, details) = validate(&world, "fast", fast).await?;
    assert_eq!((streams(&details).len(), &details["errorCount"]), (1, &json!(1)), "{details}");

    let (ended, _) = validate(&world, "local-again", local).await?;
    assert_eq!(ended.body.status["state"], "Complete", "the other copy is whole");
    for (path, bytes) in kept {
        fs::write(path, bytes)?;
    }
    let (ended, _) = validate(&world, "whole-again", exported).await?;
    assert_eq!(ended.body.status["state"], "Complete", "{}", ended.body.status);
    world.end().await
}

/// The right may be taken away while the action waits: it is asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_read_a_restore_point_does_not_learn_whether_it_is_whole() -> Result<()> {
    let mut world = World::start().await?;
    world.namespace(SHOP).await?;
    world.serve();
    let subject = json!({ "subject": { "name": SHOP, "namespace": SHOP } });
    world.create("BackupAction", (SHOP, "one"), subject).await?;
    let backup = world.completed("BackupAction", (SHOP, "one")).await?;
    let point = backup.body.status["restorePoint"]["name"].as_str().context("a point")?.to_owned();
    let eve = user("eve");
    for (name, subject, told) in [
        ("point", json!({ "kind": "RestorePoint", "name": point, "namespace": SHOP }), "get restorepoints"),
        (
            "content",
            json!({ "kind": "RestorePointContent", "name": format!("{SHOP}-{point}") }),
            "get restorepointcontents",
        ),
    ] {
        world.create_as(&eve, "ValidateAction", (NAMESPACE, name), json!({ "subject": subject })).await?;
        let ended = world.ended("ValidateAction", (NAMESPACE, name)).await?;
        let message = ended.body.status["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("user 'eve' may not {told}")), "{}", ended.body.status);
    }
    let absent = json!({ "subject": { "kind": "RestorePointContent", "name": "none" } });
    let refused = world.create("ValidateAction", (SHOP, "absent"), absent).await.unwrap_err();
    assert!(refused.to_string().contains("there is no restore point content 'none'"), "{refused}");
    world.end().await
}
