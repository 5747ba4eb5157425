//! Two clusters at once: what a policy exports on one is imported, restored and let go on the other, by kubectl alone.

use std::fs;

use anyhow::{Context, Result, ensure};
use keelson_e2e::Listing;
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{CONFIG, NAMESPACE, Stage, assert_said};
use crate::world::{APPLICATION, ORIGIN, action, create_application};

/// A platform that finds the location.
fn raise(share: &Supervisor) -> Result<Stage> {
    let stage = Stage::raise(share.directory(), &[])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    Ok(stage)
}

fn policy(stage: &Stage, name: &str, spec: Value) -> Result<()> {
    stage.create(&json!({
        "apiVersion": CONFIG, "kind": "Policy",
        "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
    }))?;
    stage.wait_valid("policy", name)
}

pub(crate) fn run(stage: &Stage, policy: &str, name: &str) -> Result<Value> {
    let subject = json!({ "kind": "Policy", "name": policy, "namespace": NAMESPACE });
    stage.create(&action("RunAction", name, NAMESPACE, json!({ "subject": subject })))?;
    stage.complete("runaction", NAMESPACE, name)
}

pub(crate) fn export_by_policy(stage: &Stage, profile: &str) -> Result<()> {
    let names = json!({ "key": "k10.kasten.io/appNamespace", "operator": "In", "values": [APPLICATION] });
    let spec = json!({
        "frequency": "@daily", "retention": { "daily": 7 },
        "selector": { "matchExpressions": [names] },
        "actions": [
            { "action": "backup" },
            { "action": "export", "exportParameters": { "profile": { "name": profile, "namespace": NAMESPACE } } },
        ],
    });
    policy(stage, "nightly", spec)
}

fn import_by_policy(stage: &Stage, receive_string: &str) -> Result<()> {
    let import = json!({
        "profile": { "name": "vault", "namespace": NAMESPACE }, "receiveString": receive_string,
    });
    let spec = json!({
        "frequency": "@hourly",
        "actions": [{ "action": "import", "importParameters": import }, { "action": "restore" }],
    });
    policy(stage, "theirs", spec)
}

pub(crate) fn receive_string(stage: &Stage, run: &str) -> Result<String> {
    let path =
        format!("/apis/actions.kio.kasten.io/v1alpha1/namespaces/{NAMESPACE}/runactions/{run}/details");
    let details: Value = serde_json::from_str(&stage.kubectl(&["get", "--raw", &path], "")?)?;
    let shown = details["status"]["actionDetails"]["receiveString"].as_str();
    Ok(shown.with_context(|| format!("no receive string in {details}"))?.to_owned())
}

/// The names of what was imported from a cluster.
fn imported(stage: &Stage, from: &str) -> Result<Vec<String>> {
    let selector = format!("k10.kasten.io/importedFrom={from}");
    let list = stage.get(&["restorepointcontents", "-l", &selector])?.context("a list")?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items.iter().filter_map(|item| Some(item["metadata"]["name"].as_str()?.to_owned())).collect())
}

fn orders(stage: &Stage) -> Result<Option<Value>> {
    let found = stage.get(&["configmap", "orders", "-n", APPLICATION])?;
    Ok(found.map(|mut found| found["data"].take()))
}

#[test]
fn what_a_policy_exports_is_imported_restored_and_let_go_on_another_cluster() -> Result<()> {
    let share = Supervisor::start("share")?;
    fs::create_dir_all(share.directory().join(ORIGIN))?;
    let source = raise(&share)?;
    create_application(&source)?;
    export_by_policy(&source, "vault")?;
    run(&source, "nightly", "first")?;
    let told = receive_string(&source, "first")?;
    let described = source.kubectl(&["describe", "runaction", "first", "-n", NAMESPACE], "")?;
    ensure!(!described.contains(&told), "it stands in the details alone");
    let source_id = source.cluster_id()?;

    let target = raise(&share)?;
    let listing =
        || Ok::<_, anyhow::Error>(Listing::of(share.directory())?.without("sessions").without("outcomes"));
    // A restore announces itself as a reader, and says when it is done.
    let before = listing()?;
    import_by_policy(&target, &told)?;
    run(&target, "theirs", "take")?;
    ensure!(orders(&target)?.is_some() && orders(&target)? == orders(&source)?, "it is not as at its source");
    let contents = imported(&target, &source_id)?;
    let [content] = &contents[..] else { anyhow::bail!("one export is not {contents:?}") };
    assert_eq!(before.differences(&listing()?), Vec::<std::path::PathBuf>::new(), "an import only reads");

    // Nothing new, and what was restored once is not restored again.
    target.delete(&["namespace", APPLICATION])?;
    run(&target, "theirs", "again")?;
    ensure!(imported(&target, &source_id)? == contents && orders(&target)?.is_none());

    // By hand it is named: the latest of an application is never another cluster's.
    let said = target.keelson(&["restore", APPLICATION])?;
    ensure!(said.code != 0 && orders(&target)?.is_none(), "{said:?}");
    let said = target.keelson(&["restore", APPLICATION, "--point", content])?;
    assert_said(&said, 0, &[]);
    ensure!(orders(&target)? == orders(&source)?);

    // What the source lets go of goes here with the next import, and the action says so.
    source.delete(&["restorepointcontents", "-l", "k10.kasten.io/exportProfile=vault"])?;
    source.until("the export is retired", || {
        let left = source.get(&["restorepointcontents", "-l", "k10.kasten.io/exportProfile=vault"])?;
        Ok(left.is_some_and(|left| left["items"].as_array().is_some_and(Vec::is_empty)).then_some(()))
    })?;
    run(&target, "theirs", "last")?;
    assert_eq!(imported(&target, &source_id)?, Vec::<String>::new());
    let actions = target.get(&["importactions", "-n", NAMESPACE])?.context("a list")?.to_string();
    ensure!(actions.contains("retired"), "{actions}");
    Ok(())
}

#[test]
fn a_receive_string_that_is_wrong_or_leads_nowhere_is_told_as_such() -> Result<()> {
    let share = Supervisor::start("share")?;
    fs::create_dir_all(share.directory().join(ORIGIN))?;
    fs::create_dir_all(share.directory().join("elsewhere"))?;
    let source = raise(&share)?;
    create_application(&source)?;
    export_by_policy(&source, "vault")?;
    run(&source, "nightly", "first")?;
    let told = receive_string(&source, "first")?;

    let target = raise(&share)?;
    let wrong = |name: &str, receive_string: &str, profile: &str| {
        let import = json!({
            "profile": { "name": profile, "namespace": NAMESPACE }, "receiveString": receive_string,
        });
        json!({
            "apiVersion": CONFIG, "kind": "Policy", "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "frequency": "@hourly", "actions": [{ "action": "import", "importParameters": import }] },
        })
    };
    let refused = |stage: &Stage, name: &str, told: &str| -> Result<()> {
        let status = stage.validation("policy", name)?;
        ensure!(status["validation"] == "Failed" && status.to_string().contains(told), "{name}: {status}");
        Ok(())
    };
    let cut = |by: usize| told.get(..told.len() - by).context("a longer string");
    target.create(&wrong("cut", cut(1)?, "vault"))?;
    refused(&target, "cut", "a part of it is missing or was changed")?;
    target.create(&wrong("short", cut(9)?, "vault"))?;
    refused(&target, "short", "is not of three parts with dots between them")?;
    source.create(&wrong("own", &told, "vault"))?;
    refused(&source, "own", "is of this cluster itself")?;

    target.profile("other", "elsewhere")?;
    target.wait_valid("profile", "other")?;
    target.create(&wrong("elsewhere", &told, "other"))?;
    target.wait_valid("policy", "elsewhere")?;
    let subject = json!({ "kind": "Policy", "name": "elsewhere", "namespace": NAMESPACE });
    target.create(&action("RunAction", "nowhere", NAMESPACE, json!({ "subject": subject })))?;
    let ended = target.ended("runaction", NAMESPACE, "nowhere")?["status"].to_string();
    ensure!(
        ended.contains("Failed") && ended.contains("is granted in the location of profile 'other'"),
        "{ended}"
    );
    Ok(())
}
