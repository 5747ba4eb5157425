//! What the rest of the cluster notices of us when much happens at once: many namespaces go, and we go with them again
//! and again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keelson_testkit::Supervisor;
use kube::Client;
use serde_json::{Value, json};

use crate::catalog::multiply_backups;
use crate::stage::{Stage, block_on};
use crate::world::action;

const NAMESPACES: usize = 200;
/// Restore points of each namespace, and actions. Each is a request and a commit of its own when the namespace goes; the
/// backups themselves, a real one a namespace, are what takes long.
const OF_EACH: usize = 20;
const ACTIONS: &str = "/apis/actions.kio.kasten.io/v1alpha1";
const POINTS: &str = "/apis/apps.kio.kasten.io/v1alpha1/restorepoints?limit=1";
const FILLED_WITHIN: Duration = Duration::from_secs(600);
/// All of them, with us at rest and with us being killed. Without anything of ours they take about a minute.
const GONE_WITHIN: Duration = Duration::from_secs(180);
const GONE_BETWEEN_KILLS_WITHIN: Duration = Duration::from_secs(300);
/// How long `serve` lives each time, from its first answer on.
const LIFE: Duration = Duration::from_secs(10);

fn names(series: &str) -> Vec<String> {
    (0..NAMESPACES).map(|number| format!("{series}-{number:03}")).collect()
}

fn list(items: Vec<Value>) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

/// Namespaces with a backup each.
fn populate(stage: &Stage, client: &Client, series: &str) -> Result<()> {
    let names = names(series);
    let namespaces = names.iter().map(|name| {
        let metadata = json!({ "name": name, "labels": { "series": series } });
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
    });
    stage.kubectl(&["create", "-f", "-"], &list(namespaces.collect()))?;
    let backups = names.iter().map(|name| {
        action("BackupAction", "backup", name, json!({ "subject": { "name": name, "namespace": name } }))
    });
    stage.kubectl(&["create", "-f", "-"], &list(backups.collect()))?;
    // The first is cheap to ask for; the other backups need the machine.
    let newest = format!("{ACTIONS}/namespaces/{series}-{:03}/backupactions/backup", NAMESPACES - 1);
    stage.patiently("the last backup is complete", FILLED_WITHIN, || {
        Ok(read(client, &newest)?["status"]["state"] == "Complete")
    })?;
    stage
        .patiently("all backups are complete", FILLED_WITHIN, || {
            let actions = read(client, &format!("{ACTIONS}/backupactions"))?;
            let is_complete = |action: &&Value| {
                let namespace = action["metadata"]["namespace"].as_str().unwrap_or_default();
                namespace.starts_with(series) && action["status"]["state"] == "Complete"
            };
            Ok(actions["items"].as_array().context("no items")?.iter().filter(is_complete).count()
                == NAMESPACES)
        })
        .map(drop)
}

/// Cheaper than `kubectl` for what is asked again and again.
fn read(client: &Client, path: &str) -> Result<Value> {
    let request = http::Request::get(path).body(Vec::new())?;
    Ok(block_on(client.request(request))?)
}

/// Whether all namespaces of a series are gone.
fn are_gone(client: &Client, series: &str) -> Result<bool> {
    let path = format!("/api/v1/namespaces?limit=1&labelSelector=series={series}");
    Ok(read(client, &path)?["items"].as_array().context("no items")?.is_empty())
}

/// How many namespaces of a series are left.
fn count(client: &Client, series: &str) -> Result<usize> {
    let path = format!("/api/v1/namespaces?labelSelector=series={series}");
    Ok(read(client, &path)?["items"].as_array().context("no items")?.len())
}

fn begin_removal(stage: &Stage, series: &str) -> Result<()> {
    let words = ["delete", "namespaces", "-l", &format!("series={series}"), "--wait=false"];
    let said = stage.try_kubectl(&words, "")?;
    ensure!(said.code == 0 && said.stdout.lines().count() == NAMESPACES, "{said:?}");
    Ok(())
}

/// Nothing of ours is left in them but what the backups hold, which is bound to nothing.
fn assert_only_contents_are_left(stage: &Stage, series: &str) -> Result<()> {
    for kind in ["restorepoints", "backupactions"] {
        let told = stage.kubectl(&["get", kind, "-A", "--no-headers"], "")?;
        let left: Vec<_> = told.lines().filter(|line| line.starts_with(series)).collect();
        assert_eq!(left, Vec::<&str>::new(), "{kind}");
    }
    stage.until("what was bound in the namespaces is not any more", || {
        let contents = stage.get(&["restorepointcontents"])?.context("no list")?;
        let of_series = |content: &&Value| {
            let application = content["metadata"]["labels"]["k10.kasten.io/appName"].as_str();
            application.is_some_and(|name| name.starts_with(series))
        };
        let contents: Vec<_> =
            contents["items"].as_array().context("no items")?.iter().filter(of_series).collect();
        ensure!(contents.len() == NAMESPACES * OF_EACH, "{} contents are left", contents.len());
        Ok(contents.iter().all(|content| content["status"]["state"] == "Unbound").then_some(()))
    })
}

#[test]
fn many_namespaces_go_at_once_whether_we_are_there_or_killed_again_and_again() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    let client = block_on(stage.plane().client())?;
    for series in ["calm", "rough"] {
        let begun = Instant::now();
        populate(&stage, &client, series)?;
        println!("{NAMESPACES} namespaces were backed up in {:?}", begun.elapsed());
    }
    let begun = Instant::now();
    multiply_backups(&mut stage, OF_EACH)?;
    for kind in ["restorepoints", "backupactions"] {
        let told = stage.kubectl(&["get", kind, "-A", "--no-headers"], "")?;
        assert_eq!(told.lines().count(), 2 * NAMESPACES * OF_EACH, "{kind}");
    }
    println!("there were {OF_EACH} restore points and actions in each after {:?}", begun.elapsed());

    begin_removal(&stage, "calm")?;
    let took = stage.patiently("all namespaces are gone", GONE_WITHIN, || are_gone(&client, "calm"))?;
    println!("{NAMESPACES} namespaces went in {took:?}");
    assert_only_contents_are_left(&stage, "calm")?;

    begin_removal(&stage, "rough")?;
    let begun = Instant::now();
    let mut kills = 0;
    // They go between the kills or not at all: nothing is left to be done at rest.
    while !are_gone(&client, "rough")? {
        let left = count(&client, "rough")?;
        assert!(
            begun.elapsed() < GONE_BETWEEN_KILLS_WITHIN,
            "{left} of {NAMESPACES} namespaces are left after {kills} kills"
        );
        stage.instance.kill()?;
        stage.instance.restart()?;
        kills += 1;
        stage.until("it answers again", || Ok(read(&client, POINTS).is_ok().then_some(())))?;
        let answered = Instant::now();
        stage.until("it has lived for a while", || {
            let over = answered.elapsed() >= LIFE || are_gone(&client, "rough")?;
            Ok(over.then_some(()))
        })?;
    }
    println!("{NAMESPACES} namespaces went in {:?} over {kills} kills", begun.elapsed());
    assert!(kills > 2, "they were gone before much was killed");
    stage.wait_until_served()?;
    assert_only_contents_are_left(&stage, "rough")
}
