//! How the platform protects itself, and what a recovery of each kind brings back.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_e2e::{Listing, answer};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{CONFIG, NAMESPACE, Stage, assert_said};
use crate::world::{
    APPLICATION, ORIGIN, PASSPHRASE, action, back_up, config_map, export, raise_protected, raise_source,
    wait_until_shipped,
};

/// What is promised to be lost at most.
const LOST_AT_MOST: Duration = Duration::from_secs(5);
/// How long the platform is busy before it is killed.
const BUSY: Duration = Duration::from_secs(15);

fn names(stage: &Stage, resource: &str) -> Result<Vec<String>> {
    let list = stage.get(&[resource, "-n", NAMESPACE])?.context("no list")?;
    let items = list["items"].as_array().context("no items")?;
    Ok(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect())
}

fn nightly() -> Value {
    json!({
        "apiVersion": CONFIG, "kind": "Policy", "metadata": { "name": "nightly", "namespace": NAMESPACE },
        "spec": {
            "frequency": "@daily", "retention": { "daily": 7 },
            "selector": { "matchExpressions": [
                { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": [APPLICATION] },
            ]},
            "actions": [{ "action": "backup" }],
        },
    })
}

/// A platform with Quick DR: one restore point is exported, a newer one is not.
fn raise_quick(share: &Supervisor) -> Result<Stage> {
    let stage = raise_protected(share.directory(), ORIGIN, &["--quick"])?;
    back_up(&stage, "first")?;
    export(&stage, "first")?;
    stage.create(&config_map("later"))?;
    back_up(&stage, "second")?;
    stage.create(&nightly())?;
    stage.wait_valid("policy", "nightly")?;
    let said = stage.keelson(&["dr", "run"])?;
    ensure!(said.code == 0, "{said:?}");
    wait_until_shipped(&stage)?;
    Ok(stage)
}

/// A fresh platform that has recovered from `vault`.
fn recover(share: &Supervisor, source: &str, more: &[&str]) -> Result<Stage> {
    let stage = Stage::raise(share.directory(), &[])?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    let restore = ["dr", "restore", "--profile", "vault", "--source-cluster-id", source];
    let said = stage.keelson(&[&restore, more].concat())?;
    ensure!(said.code == 0, "{said:?}");
    Ok(stage)
}

/// Of the two restore points and the export only the export has survived.
fn assert_only_the_export(stage: &Stage) -> Result<()> {
    let list = stage.get(&["restorepointcontents"])?.context("no list")?;
    let contents = list["items"].as_array().context("no items")?;
    assert_eq!(contents.len(), 1, "{list}");
    assert_eq!(contents[0]["metadata"]["labels"]["k10.kasten.io/exportProfile"], "vault");
    Ok(())
}

#[test]
fn quick_dr_brings_back_exports_and_configuration_except_what_is_skipped() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise_quick(&share)?;
    let listed = names(&source, "policies.config.kio.kasten.io")?;
    assert_eq!(listed, ["k10-disaster-recovery-policy", "nightly"]);
    let source_id = source.cluster_id()?;
    source.instance.kill()?;
    drop(source);

    let skipping = recover(&share, &source_id, &["--skip-resource", "profiles,policies"])?;
    assert_only_the_export(&skipping)?;
    assert_eq!(names(&skipping, "policies.config.kio.kasten.io")?, Vec::<String>::new());
    let map = ["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE];
    let map = skipping.get(&map)?.context("no ConfigMap")?;
    let told = map["data"].to_string();
    for words in [
        "no maintenance on the backups of its source",
        "only when no other instance uses the same backup data",
    ] {
        assert!(told.contains(words), "'{words}' is not in {told}");
    }
    skipping.instance.kill()?;
    drop(skipping);

    let stage = recover(&share, &source_id, &[])?;
    assert_only_the_export(&stage)?;
    assert_eq!(names(&stage, "policies.config.kio.kasten.io")?, listed);
    let said = stage.keelson(&["restore", APPLICATION])?;
    assert_eq!(said.code, 0, "{said:?}");
    for (name, expected) in [("orders", true), ("prices", true), ("later", false)] {
        let found = stage.get(&["configmap", name, "-n", APPLICATION])?.is_some();
        assert_eq!(found, expected, "{name}");
    }
    Ok(())
}

/// A second in which a platform rested, and the last entry before it, as `--point` takes it.
struct Moment {
    at: Timestamp,
    point: String,
}

#[expect(clippy::disallowed_methods, reason = "the platform beside us lives by it")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Returns in a later second.
fn rest(stage: &Stage) -> Result<Moment> {
    wait_until_shipped(stage)?;
    let (at, status) = (now(), stage.status()?);
    let repository = status["disasterRecovery"]["repository"].as_str().context("no repository")?;
    let catalog = &status["catalog"];
    let point = format!("{repository}.{}.{}", catalog["generation"], catalog["sequence"]);
    stage.until("another second", || Ok((now() > at + Duration::from_secs(2)).then_some(())))?;
    Ok(Moment { at, point })
}

/// A directory keeps no versions: what leads to an earlier moment is the chain alone.
#[test]
fn earlier_moments_are_recovered_from_a_directory_by_sequence_and_by_time() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise_protected(share.directory(), ORIGIN, &[])?;
    let source_id = source.cluster_id()?;
    back_up(&source, "first")?;
    export(&source, "first")?;
    let first = rest(&source)?;
    source.create(&config_map("later"))?;
    back_up(&source, "second")?;
    export(&source, "second")?;
    let second = rest(&source)?;
    back_up(&source, "third")?;
    export(&source, "third")?;
    wait_until_shipped(&source)?;
    source.instance.kill()?;
    drop(source);

    let at = second.at.to_string();
    let by_sequence = (["--point", &first.point], 1, false);
    let by_time = (["--point-in-time", &at], 2, true);
    for (moment, exports, later) in [by_sequence, by_time] {
        let stage = recover(&share, &source_id, &moment)?;
        let list = stage.get(&["restorepointcontents"])?.context("no list")?;
        let contents = list["items"].as_array().context("no items")?;
        let is_export = |it: &&Value| it["metadata"]["labels"]["k10.kasten.io/exportProfile"] == "vault";
        assert_eq!(contents.iter().filter(is_export).count(), exports, "{moment:?}: {list}");
        let said = stage.keelson(&["restore", APPLICATION])?;
        assert_eq!(said.code, 0, "{moment:?}: {said:?}");
        for (name, expected) in [("orders", true), ("later", later)] {
            let found = stage.get(&["configmap", name, "-n", APPLICATION])?.is_some();
            assert_eq!(found, expected, "{moment:?}: {name}");
        }
        stage.instance.kill()?;
    }
    Ok(())
}

/// The newest entry that a recovery would bring back: found by building it.
fn recoverable(share: &Supervisor) -> Result<u64> {
    let passphrase = share.directory().join("passphrase");
    fs::write(&passphrase, PASSPHRASE)?;
    let location = share.directory().join(ORIGIN);
    let (location, passphrase) = (location.display().to_string(), passphrase.display().to_string());
    let words = ["tools", "verify", "--directory", &location, "--passphrase-file", &passphrase];
    let said = answer(words.into_iter().chain(["--output", "json"]))?;
    ensure!(said.code == 0, "{said:?}");
    let verified: Value = serde_json::from_str(&said.stdout)?;
    let through = verified[0]["chains"][0]["through"].as_str().context("nothing was built")?;
    let (generation, sequence) =
        through.split_once('-').and_then(|(_, rest)| rest.split_once('-')).context("a position")?;
    Ok((generation.parse::<u64>()? << 40) | sequence.parse::<u64>()?)
}

#[test]
fn what_was_acknowledged_five_seconds_before_the_disk_is_lost_comes_back() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_source(share.directory(), ORIGIN)?;
    let subject = json!({ "subject": { "name": APPLICATION, "namespace": APPLICATION } });
    let began = Instant::now();
    let mut acknowledged = Vec::new();
    for number in 0.. {
        stage.create(&action("BackupAction", &format!("busy-{number}"), APPLICATION, subject.clone()))?;
        let revision = stage.revision()?.parse::<u64>()?;
        acknowledged.push((Instant::now(), revision));
        if began.elapsed() > BUSY && acknowledged.len() > 10 {
            break;
        }
    }
    let killed = Instant::now();
    stage.instance.kill()?;
    let due = acknowledged.iter().rev().find(|(at, _)| killed.duration_since(*at) >= LOST_AT_MOST);
    let (_, due) = due.context("nothing was acknowledged so long ago")?;
    let recoverable = recoverable(&share)?;
    assert!(recoverable >= *due, "entry {due} was acknowledged in time, {recoverable} is the last");
    Ok(())
}

#[test]
fn what_was_written_to_a_location_stays_as_it_is() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_source(share.directory(), ORIGIN)?;
    let location = share.directory().join(ORIGIN);
    let before = Listing::of(&location)?;
    stage.create(&config_map("more"))?;
    back_up(&stage, "third")?;
    export(&stage, "third")?;
    let point =
        stage.get(&["exportaction", "first-export", "-n", NAMESPACE])?.context("the export is gone")?;
    ensure!(point["status"]["state"] == "Complete", "{point}");
    for content in names_of_exports(&stage)?.iter().take(1) {
        stage.delete(&["restorepointcontent", content])?;
    }
    let said = stage.keelson(&["dr", "run"])?;
    ensure!(said.code == 0, "{said:?}");
    wait_until_shipped(&stage)?;
    let after = Listing::of(&location)?;
    let gone: Vec<_> = before.changed_in(&after);
    assert_eq!(gone, Vec::<std::path::PathBuf>::new());
    assert!(after.paths().any(|path| path.iter().any(|name| name == "retired")), "nothing was retired");
    Ok(())
}

fn names_of_exports(stage: &Stage) -> Result<Vec<String>> {
    let selector = "k10.kasten.io/exportProfile=vault";
    let list = stage.get(&["restorepointcontents", "-l", selector])?.context("no list")?;
    let items = list["items"].as_array().context("no items")?;
    Ok(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect())
}

#[test]
fn a_mended_passphrase_counts_at_once_and_enabling_again_keeps_what_the_command_does_not_name() -> Result<()>
{
    let share = Supervisor::start("share")?;
    fs::create_dir_all(share.directory().join(ORIGIN))?;
    let stage = Stage::raise(share.directory(), &[])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    stage.passphrase(&[("key", "short")])?;
    let enable = ["dr", "enable", "--profile", "vault"];
    assert_said(&stage.keelson(&enable)?, 3, &["disaster recovery was not enabled", "passphrase"]);
    stage.passphrase(&[("key", PASSPHRASE)])?;
    let said = stage.keelson(&[&enable[..], &["--quick"]].concat())?;
    assert_eq!(said.code, 0, "with the mended passphrase: {said:?}");

    let spec = || -> Result<Value> { Ok(stage.dr_policy()?["spec"].clone()) };
    assert!(spec()?["kdrSnapshotConfiguration"].is_object());
    let ours = json!({ "spec": { "frequency": "@daily", "retention": { "daily": 9, "hourly": null } } });
    let patch = ours.to_string();
    let policy = ["patch", "policy", "k10-disaster-recovery-policy", "-n", NAMESPACE, "--type=merge", "-p"];
    stage.kubectl(&[&policy[..], &[&patch]].concat(), "")?;
    let said = stage.keelson(&enable)?;
    assert_eq!(said.code, 0, "again: {said:?}");
    let kept = spec()?;
    let retention = json!({ "daily": 9, "weekly": 1, "monthly": 1, "yearly": 1 });
    assert_eq!((&kept["frequency"], &kept["retention"]), (&json!("@daily"), &retention));
    assert!(kept["kdrSnapshotConfiguration"].is_null(), "quick without --quick: {kept}");
    Ok(())
}

#[test]
fn a_location_that_is_away_and_a_platform_that_reports_no_more_are_told() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_source(share.directory(), ORIGIN)?;
    let (here, away) = (share.directory().join(ORIGIN), share.directory().join("away"));
    let alarms = || -> Result<String> { Ok(stage.status()?["disasterRecovery"]["alarms"].to_string()) };
    assert_eq!(alarms()?, "null");
    fs::rename(&here, &away)?;
    // A folder would be made anew.
    fs::write(&here, "not a folder")?;
    stage.create(&nightly())?;
    stage.until("the status tells that nothing is shipped", || {
        Ok(alarms()?.contains("nothing is shipped").then_some(()))
    })?;
    fs::remove_file(&here)?;
    fs::rename(&away, &here)?;
    stage.until("it is shipped again", || {
        let status = stage.status()?;
        let is_well = status["disasterRecovery"]["alarms"].is_null();
        Ok((is_well && status["disasterRecovery"]["shipped"]["behind"] == 0).then_some(()))
    })?;

    let said = stage.until("a status of long ago is told as such", || {
        let mut map = stage.get(&["configmap", "keelson-status", "-n", NAMESPACE])?.context("no status")?;
        let text = map["data"]["status.json"].as_str().context("no JSON")?;
        let mut status: Value = serde_json::from_str(text)?;
        status["writtenAt"] = json!("2026-01-01T00:00:00Z");
        map["data"]["status.json"] = json!(status.to_string());
        // The platform writes it each half minute, also just before this or just after.
        let put = stage.try_kubectl(&["replace", "-f", "-"], &map.to_string())?;
        let said = stage.keelson(&["dr", "status"])?;
        Ok((put.code == 0 && said.code != 0).then_some(said))
    })?;
    assert_said(&said, 7, &["and nothing since", "hint: is keelson serve running?"]);
    Ok(())
}
