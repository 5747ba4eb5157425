//! What people see of repositories, and what they decide of them, with `kubectl`.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use keelson_e2e::Listing;
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, Stage};
use crate::world::{APPLICATION, ORIGIN, back_up, export, raise_protected};

fn listed(stage: &Stage) -> Result<Vec<Value>> {
    let list = stage.get(&["storagerepositories", "-n", NAMESPACE])?.context("no list")?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// The repository of an application, once there is one.
fn repository_of(stage: &Stage, application: &str) -> Result<Value> {
    stage.until(&format!("the repository of '{application}' is shown"), || {
        Ok(listed(stage)?.into_iter().find(|it| it["status"]["appName"] == application))
    })
}

fn name_of(object: &Value) -> Result<&str> {
    object["metadata"]["name"].as_str().context("no name")
}

#[test]
fn a_person_sees_each_repository_and_decides_about_its_maintenance() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = raise_protected(share.directory(), ORIGIN, &[])?;
    back_up(&stage, "first")?;
    export(&stage, "first")?;
    let exported = repository_of(&stage, APPLICATION)?;
    let name = name_of(&exported)?;
    let recovery = repository_of(&stage, NAMESPACE)?;
    let table = stage.kubectl(&["get", "storagerepositories", "-n", NAMESPACE], "")?;
    let rows: BTreeSet<Vec<_>> =
        table.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    ensure!(
        rows.contains(&vec!["NAME", "LOCATIONTYPE"]) && rows.contains(&vec![name, "FileStore"]),
        "{table}"
    );
    ensure!(rows.contains(&vec![name_of(&recovery)?, "FileStore"]) && rows.len() == 4, "{table}");

    let one = format!("storagerepository/{name}");
    let patch = |kind: &str, patch: &str| {
        stage.try_kubectl(&["patch", &one, "-n", NAMESPACE, "--type", kind, "-p", patch], "")
    };
    let said = patch("merge", r#"{"spec":{"disableMaintenance":true,"backgroundProcessTimeout":"2h"}}"#)?;
    ensure!(said.code == 0, "{said:?}");
    for (kind, change, words) in [
        (
            "merge",
            r#"{"spec":{"overrideLocation":{"name":"vault"}}}"#,
            "spec.overrideLocation: Forbidden: not supported",
        ),
        ("merge", r#"{"status":{"readOnly":true}}"#, "status: Forbidden"),
        ("json", r#"[{"op":"remove","path":"/spec"}]"#, "application/merge-patch+json"),
    ] {
        let said = patch(kind, change)?;
        ensure!(said.code != 0 && said.stderr.contains(words), "{said:?}");
    }
    let spec = json!({ "disableMaintenance": true, "backgroundProcessTimeout": "2h" });
    stage.kill_and_restart()?;
    let again = repository_of(&stage, APPLICATION)?;
    assert_eq!((name_of(&again)?, &again["spec"]), (name, &spec), "it is as it was after a kill");
    let path = format!(
        "/apis/repositories.kio.kasten.io/v1alpha1/namespaces/{NAMESPACE}/storagerepositories/{name}/details"
    );
    let details: Value = serde_json::from_str(&stage.kubectl(&["get", "--raw", &path], "")?)?;
    let packs = &details["status"]["details"]["storageUsage"]["blobStats"]["sizeStat"]["sizeB"];
    ensure!(packs.as_u64() > Some(50_000), "{details}");

    let packs = || -> Result<Listing> { Listing::of(&share.directory().join(ORIGIN)) };
    let before = packs()?.without("dr");
    stage.kubectl(&["delete", &one, "-n", NAMESPACE, "--timeout=20s"], "")?;
    ensure!(stage.get(&[&one, "-n", NAMESPACE])?.is_none(), "it is gone");
    assert_eq!(before.differences(&packs()?.without("dr")), Vec::<std::path::PathBuf>::new());
    back_up(&stage, "second")?;
    export(&stage, "second")?;
    let back = repository_of(&stage, APPLICATION)?;
    assert_eq!((name_of(&back)?, &back["spec"]), (name, &json!({ "disableMaintenance": false })));
    Ok(())
}
