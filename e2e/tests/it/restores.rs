//! Backups, exports and restores that meet what an operator meets: a namespace that does not go, an operator of a newer
//! release, a disk that fills up. Each says so, and nothing in a location is harmed.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::refusals::Mounted;
use crate::stage::{NAMESPACE, Stage, assert_said};
use crate::world::{Except, action, back_up_of, config_map_in, enter};

#[test]
fn a_restore_point_of_another_application_is_not_restored() -> Result<()> {
    let world = enter()?;
    let stage = &world.stage;
    stage.namespace("garden")?;
    stage.create(&config_map_in("garden", "beds"))?;
    let point = back_up_of(stage, "garden", "before")?;
    let found = stage.get(&["restorepoint", &point, "-n", "garden"])?.context("the restore point")?;
    let content = found["spec"]["restorePointContentRef"]["name"].as_str().context("its content")?;
    let before = world.everything()?;
    assert_said(
        &stage.keelson(&["restore", "orchard", "--point", content])?,
        3,
        &["is of application 'garden', not of 'orchard'", "hint: keelson restore garden --point"],
    );
    assert_eq!(world.everything()?, before);
    assert_eq!(stage.get(&["namespace", "orchard"])?, None);
    stage.delete(&["namespace", "garden"])
}

#[test]
fn a_restore_into_a_namespace_stuck_terminating_tells_what_holds_it() -> Result<()> {
    let world = enter()?;
    let stage = &world.stage;
    stage.namespace("stuck")?;
    stage.create(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "held", "namespace": "stuck", "finalizers": ["example.com/hold"] },
    }))?;
    back_up_of(stage, "stuck", "before")?;
    let before = world.everything()?;
    stage.kubectl(&["delete", "namespace", "stuck", "--wait=false"], "")?;
    stage.until("the namespace tells what it waits for", || {
        let namespace = stage.get(&["namespace", "stuck"])?.unwrap_or_default();
        Ok(namespace["status"]["conditions"].to_string().contains("example.com/hold").then_some(()))
    })?;
    let said = stage.keelson(&["restore", "stuck"])?;
    assert_said(
        &said,
        5,
        &[
            "namespace 'stuck' is terminating (since 20",
            "example.com/hold",
            "hint: remove what holds the finalizers",
        ],
    );
    world.assert_untouched(&before, Except::TheRecordOfTheAction)?;

    let release = json!([{ "op": "remove", "path": "/metadata/finalizers" }]).to_string();
    stage.kubectl(&["patch", "configmap", "held", "-n", "stuck", "--type=json", "-p", &release], "")?;
    stage
        .until("the namespace is gone", || Ok(stage.get(&["namespace", "stuck"])?.is_none().then_some(())))?;
    let said = stage.keelson(&["restore", "stuck"])?;
    assert_eq!(said.code, 0, "{said:?}");
    Ok(())
}

fn shelves(version: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "shelves.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "shelves", "singular": "shelf", "kind": "Shelf" },
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    })
}

fn define(stage: &Stage, version: &str) -> Result<()> {
    stage.create(&shelves(version))?;
    stage
        .kubectl(&["wait", "--for=condition=Established", "crd/shelves.example.com", "--timeout=60s"], "")?;
    stage.until("the kind is served", || {
        let said = stage.try_kubectl(&["get", &format!("shelves.{version}.example.com"), "-A"], "")?;
        Ok((said.code == 0).then_some(()))
    })
}

#[test]
fn a_restore_of_a_kind_whose_version_is_gone_names_it_and_brings_the_rest_back() -> Result<()> {
    let world = enter()?;
    let stage = &world.stage;
    define(stage, "v1")?;
    stage.namespace("library")?;
    stage.create(&json!({
        "apiVersion": "example.com/v1", "kind": "Shelf",
        "metadata": { "name": "novels", "namespace": "library" }, "rows": 3,
    }))?;
    stage.create(&config_map_in("library", "opening-hours"))?;
    back_up_of(stage, "library", "before")?;
    let before = world.everything()?;
    stage.delete(&["namespace", "library"])?;
    stage.delete(&["crd", "shelves.example.com"])?;
    define(stage, "v2")?;

    let said = stage.keelson(&["restore", "library"])?;
    stage.delete(&["crd", "shelves.example.com"])?;
    assert_said(
        &said,
        0,
        &[
            "'library/novels': version 'v1' of 'shelves.example.com' is no longer served; the cluster serves v2",
        ],
    );
    assert!(stage.get(&["configmap", "opening-hours", "-n", "library"])?.is_some());
    world.assert_untouched(&before, Except::TheRecordOfTheAction)?;
    Ok(())
}

#[test]
fn an_export_to_a_disk_that_fills_up_fails_and_goes_well_once_there_is_room() -> Result<()> {
    let world = enter()?;
    let stage = &world.stage;
    let Some(mounted) = Mounted::new(world.folder("filling"), "size=4m")? else { return Ok(()) };
    stage.profile("filling", "filling")?;
    stage.wait_valid("profile", "filling")?;
    stage.namespace("archive")?;
    for name in ["one", "two", "three"] {
        stage.create(&config_map_in("archive", name))?;
    }
    let export = |name: &str, point: &str| -> Result<Value> {
        let spec = json!({
            "subject": { "kind": "RestorePoint", "name": point, "namespace": "archive" },
            "profile": { "name": "filling", "namespace": NAMESPACE },
        });
        stage.create(&action("ExportAction", name, NAMESPACE, spec))?;
        stage.ended("exportaction", NAMESPACE, name)
    };
    let first = export("first", &back_up_of(stage, "archive", "first")?)?;
    assert_eq!(first["status"]["state"], "Complete", "{}", first["status"]);
    stage.create(&config_map_in("archive", "four"))?;
    let point = back_up_of(stage, "archive", "second")?;
    let ballast = mounted.folder().join("ballast");
    assert!(std::fs::write(&ballast, vec![0; 8 << 20]).is_err(), "the disk is not full");
    let before = world.everything()?;

    let failed = export("to-a-full-disk", &point)?;
    assert_eq!(failed["status"]["state"], "Failed", "{}", failed["status"]);
    let told = failed["status"]["error"].to_string();
    assert!(told.contains("full") || told.contains("No space left"), "{told}");
    world.assert_untouched(&before, Except::TheRecordOfTheAction)?;

    std::fs::remove_file(&ballast)?;
    let done = export("with-room", &point)?;
    assert_eq!(done["status"]["state"], "Complete", "{}", done["status"]);
    stage.delete(&["profile", "filling", "-n", NAMESPACE])
}
