//! `keelson serve` killed with SIGKILL in the middle of its work, and what comes back: the run that was under way, a
//! recovery, an owner of yesterday, a catalog that was damaged meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use keelson_e2e::Listing;
use keelson_testkit::{Supervisor, promptly};
use serde_json::{Value, json};

use crate::informers::Informer;
use crate::stage::{ACTIONS, NAMESPACE, Stage, assert_said, block_on};
use crate::world::{
    APPLICATION, ORIGIN, PASSPHRASE, action, back_up, back_up_of, config_map, export_action, raise_source,
    recovery_request, restore_point_of, wait_until_shipped,
};

/// What the work has just written when the process dies, its announcement, its first data, its result; and how many works
/// are killed there until one was interrupted. On a busy machine the signal may come after the end of the action, and
/// behind the result on any.
const MOMENTS: [(&str, usize); 3] = [("sessions", 15), ("packs", 30), ("outcomes", 1)];

/// Waits until something new lies in a folder of this name.
fn until_written(within: &Path, folder: &str, before: &Listing) -> Result<()> {
    let is_new = |path: &Path| path.iter().any(|name| name == folder) && before.paths().all(|it| it != path);
    block_on(promptly(&format!("something new in {folder} of {}", within.display()), async || {
        // What goes while it is listed makes an error of it.
        Ok(Listing::of(within).is_ok_and(|listing| listing.paths().any(is_new)).then_some(()))
    }))
}

/// Asks for an action, kills the process when the work has written to `folder` within `place`, and starts it again.
/// The action has ended well, or says why not. True if the kill interrupted it.
fn kill_within(
    stage: &mut Stage,
    resource: &str,
    action: &Value,
    place: &Path,
    folder: &str,
) -> Result<bool> {
    let before = Listing::of(place)?;
    kill_once(stage, resource, action, |_| until_written(place, folder, &before))
}

/// The same where something else tells the moment.
fn kill_once(
    stage: &mut Stage,
    resource: &str,
    action: &Value,
    moment: impl FnOnce(&Stage) -> Result<()>,
) -> Result<bool> {
    let [namespace, name] =
        ["namespace", "name"].map(|field| action["metadata"][field].as_str().unwrap_or_default());
    stage.create(action)?;
    moment(stage)?;
    stage.kill_and_restart()?;
    let ended = stage.ended(resource, namespace, name)?;
    let status = &ended["status"];
    let is_told = status["error"]["message"].as_str().is_some_and(|message| !message.is_empty());
    assert!(status["state"] == "Complete" || is_told, "{status}");
    let details = format!("/apis/{ACTIONS}/namespaces/{namespace}/{resource}s/{name}/details");
    let details: Value = serde_json::from_str(&stage.kubectl(&["get", "--raw", &details], "")?)?;
    let phases = details["status"]["actionDetails"]["phases"].as_array();
    let attempts = phases.into_iter().flatten().filter_map(|phase| phase["attempt"].as_u64());
    Ok(attempts.max().with_context(|| format!("no attempt in {details}"))? > 1)
}

/// A platform whose work is killed at each of the moments. `work` gives the action, its resource and where it writes.
fn kill_each_moment(
    work: impl Fn(&Stage, usize) -> Result<(&'static str, Value)>,
    place_of: impl Fn(&Stage, &Path) -> Result<PathBuf>,
) -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = raise_source(share.directory(), ORIGIN)?;
    let place = place_of(&stage, &share.directory().join(ORIGIN))?;
    let mut numbers = 0_usize..;
    let mut interrupted = Vec::new();
    for (moment, works) in MOMENTS {
        for number in numbers.by_ref().take(works) {
            stage.create(&config_map(&format!("more-{number}")))?;
            let (resource, action) = work(&stage, number)?;
            if kill_within(&mut stage, resource, &action, &place, moment)? {
                interrupted.push(moment);
                break;
            }
        }
    }
    assert!(interrupted.len() >= 2, "kills came within the work at {interrupted:?} alone");
    assert_nothing_unnamed(&stage, &share)
}

/// The platform goes on, and nothing is stored that no restore point names.
fn assert_nothing_unnamed(stage: &Stage, share: &Supervisor) -> Result<()> {
    let place = share.directory().join(ORIGIN);
    let said = stage.keelson(&["dr", "run"])?;
    assert_eq!(said.code, 0, "{said:?}");
    stage.wait_event(&stage.dr_policy()?, "RunCompleted")?;
    wait_until_shipped(stage)?;
    let file = share.directory().join("passphrase");
    fs::write(&file, PASSPHRASE)?;
    let (file, place) = (file.display().to_string(), place.display().to_string());
    let look = |verb: &str| {
        let place = ["--directory", &place, "--passphrase-file", &file, "--output", "json"];
        let said = keelson_e2e::answer([&["tools", verb], &place[..]].concat())?;
        assert_eq!(said.code, 0, "{said:?}");
        Ok::<Value, anyhow::Error>(serde_json::from_str(&said.stdout)?)
    };
    look("verify")?;
    let listed = look("list")?;
    let exports =
        listed[0]["repositories"].as_array().into_iter().flatten().filter(|it| it["of"] == APPLICATION);
    let stored: u64 = exports.filter_map(|repository| repository["outcomes"].as_u64()).sum();
    let exported = ["restorepointcontents", "-l", "k10.kasten.io/exportProfile"];
    let known = stage.get(&exported)?.context("no list")?["items"].as_array().map_or(0, Vec::len);
    assert_eq!(stored, known as u64, "{listed}");
    Ok(())
}

#[test]
fn a_kill_in_the_middle_of_a_backup_is_followed_by_the_same_backup_to_its_end() -> Result<()> {
    let work = |_: &Stage, number| {
        let subject = json!({ "subject": { "name": APPLICATION, "namespace": APPLICATION } });
        Ok(("backupaction", action("BackupAction", &format!("backup-{number}"), APPLICATION, subject)))
    };
    kill_each_moment(work, |stage, _| Ok(stage.data().join("local")))
}

#[test]
fn a_kill_in_the_middle_of_an_export_is_followed_by_the_same_export_to_its_end() -> Result<()> {
    let work = |stage: &Stage, number| {
        let point = back_up(stage, &format!("before-{number}"))?;
        Ok(("exportaction", export_action(&format!("export-{number}"), &point)))
    };
    kill_each_moment(work, |stage, place| Ok(place.join("k10").join(stage.cluster_id()?).join("exports")))
}

#[test]
fn a_kill_in_the_middle_of_a_dr_run_is_followed_by_the_same_run_to_its_end() -> Result<()> {
    let work = |stage: &Stage, number| {
        // There is something for it to copy.
        back_up(stage, &format!("before-{number}"))?;
        let policy = json!({ "subject": {
            "kind": "Policy", "name": "k10-disaster-recovery-policy", "namespace": NAMESPACE,
        }});
        Ok(("runaction", action("RunAction", &format!("run-{number}"), NAMESPACE, policy)))
    };
    kill_each_moment(work, |stage, place| Ok(place.join("k10").join(stage.cluster_id()?).join("dr")))
}

/// So many make a restore that lasts.
const MAPS: usize = 24;
/// Restores are killed at a moment until one was interrupted.
const RESTORES: usize = 8;

/// In the order of the API server they stand before all else in the namespace.
fn map_names() -> Vec<String> {
    (0..MAPS).map(|number| format!("a-map-{number:02}")).collect()
}

/// What the maps hold; one that is not there holds nothing.
fn contents(stage: &Stage) -> Result<Vec<Value>> {
    let maps = stage.get(&["configmaps", "-n", APPLICATION])?.context("no list")?;
    let maps = maps["items"].as_array().context("no items")?;
    let held = |name: &String| {
        let map = maps.iter().find(|map| map["metadata"]["name"] == name.as_str());
        map.map(|map| map["data"].clone()).unwrap_or_default()
    };
    Ok(map_names().iter().map(held).collect())
}

/// Waits until the first map is back.
fn until_restoring(stage: &Stage) -> Result<()> {
    let client = stage.client()?;
    let path = format!("/api/v1/namespaces/{APPLICATION}/configmaps?limit=1");
    block_on(promptly("the first map is back", async || {
        let list: Value = client.request(http::Request::get(&path).body(Vec::new())?).await?;
        let first = list["items"][0]["metadata"]["name"].as_str().unwrap_or_default();
        Ok(first.starts_with("a-map-").then_some(()))
    }))
}

#[test]
fn a_kill_in_the_middle_of_a_restore_is_followed_by_the_same_restore_to_its_end() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    stage.namespace(APPLICATION)?;
    let maps: Vec<Value> = map_names().iter().map(|name| config_map(name)).collect();
    stage.create(&json!({ "apiVersion": "v1", "kind": "List", "items": maps }))?;
    let (kept, point) = (contents(&stage)?, back_up(&stage, "kept")?);
    let subject = json!({ "kind": "RestorePoint", "name": point, "namespace": APPLICATION });
    let names = map_names();
    let gone: Vec<&str> =
        ["configmap", "-n", APPLICATION].into_iter().chain(names.iter().map(String::as_str)).collect();
    let (mut numbers, mut interrupted) = (0_usize.., Vec::new());
    for moment in ["its session", "its first object"] {
        for number in numbers.by_ref().take(RESTORES) {
            stage.delete(&gone)?;
            let name = format!("restore-{number}");
            let restore = action("RestoreAction", &name, APPLICATION, json!({ "subject": subject }));
            let is_interrupted = match moment {
                "its session" => {
                    let local = stage.data().join("local");
                    kill_within(&mut stage, "restoreaction", &restore, &local, "sessions")?
                }
                _ => kill_once(&mut stage, "restoreaction", &restore, until_restoring)?,
            };
            if is_interrupted {
                let ended = stage.complete("restoreaction", APPLICATION, &name)?;
                assert!(contents(&stage)? == kept, "not all is as it was: {}", ended["status"]);
                interrupted.push(moment);
                break;
            }
        }
    }
    println!("restores were interrupted at {interrupted:?}");
    assert!(!interrupted.is_empty(), "no kill came within a restore");
    Ok(())
}

fn log_length(stage: &Stage) -> Result<usize> {
    Ok(fs::read(stage.instance.log_file())?.len())
}

/// Waits until words are in the log, and answers where they end.
fn until_logged(stage: &Stage, from: usize, words: &str) -> Result<usize> {
    block_on(promptly(&format!("'{words}' in the log"), async || {
        let log = fs::read(stage.instance.log_file())?;
        let said = String::from_utf8_lossy(&log[from.min(log.len())..]);
        Ok(said.find(words).map(|place| from + place + words.len()))
    }))
}

/// A fresh platform that reaches what the lost one left.
fn raise_successor(share: &Supervisor) -> Result<Stage> {
    let stage = Stage::raise(share.directory(), &[])?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    Ok(stage)
}

/// Recovers from `vault`, whatever there is already; it is killed each time that it logs one of these phases.
fn recover(stage: &mut Stage, source: &str, killed: &[&str]) -> Result<()> {
    let mut logged = log_length(stage)?;
    let mut request = recovery_request("KastenDRRestore", "again", "vault", source);
    request["spec"]["replaceCatalog"] = json!(true);
    stage.create(&request)?;
    for phase in killed {
        // The next one may be there before the signal comes, and is not logged again.
        logged = until_logged(stage, logged, phase)?;
        stage.instance.kill()?;
        // The recovery goes on at once, before anybody could ask for it.
        stage.instance.restart()?;
    }
    stage.wait_until_served()?;
    stage.complete("kastendrrestore", NAMESPACE, "again").map(drop)
}

#[test]
fn a_kill_in_the_middle_of_a_recovery_is_followed_by_the_same_recovery_to_its_end() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise_source(share.directory(), ORIGIN)?;
    let (source_id, lost) = (source.cluster_id()?, source.status()?);
    source.instance.kill()?;

    let phases = [
        "Reading the location",
        "Rebuilding the catalog",
        "Placing the ownership ConfigMap",
        "Switching to the recovered catalog",
        "Restoring profiles",
        "Restoring policies",
    ];
    let mut stage = raise_successor(&share)?;
    let mut informers = inform_of_what_goes(&stage)?;
    recover(&mut stage, &source_id, &phases)?;
    let restored =
        stage.get(&["kastendrrestore", "again", "-n", NAMESPACE])?.context("the restore is gone")?;
    let status = stage.status()?;
    stage.wait_event(&restored, "RecoveryCompleted")?;
    assert_eq!(restored["status"]["recovered"]["chain"], lost["catalog"]["chain"], "{}", restored["status"]);
    assert!(status["catalog"]["generation"].as_u64() > lost["catalog"]["generation"].as_u64(), "{status}");
    let contents = stage.get(&["restorepointcontents"])?.context("no list")?;
    let before = contents["items"].as_array().map_or(0, Vec::len);
    assert_eq!(before, 4, "two backups and their exports");
    for profile in ["vault", "late"] {
        stage.wait_valid("profile", profile)?;
    }
    for informer in &mut informers {
        let held = informer.await_holding_what_is_served(&stage)?;
        assert!(
            held.iter().any(|name| name.starts_with("shop/")) && !held.contains(&GOES.to_owned()),
            "{held:?}"
        );
        assert!(informer.missed(GOES), "the versions of before are of another catalog: it has listed anew");
    }
    Ok(())
}

/// A backup of the time before the recovery.
const GOES: &str = "before/first";

/// Informers that hold what a recovery will replace.
fn inform_of_what_goes(stage: &Stage) -> Result<[Informer; 2]> {
    stage.namespace("before")?;
    back_up_of(stage, "before", "first")?;
    let mut informers = Informer::start_both(stage, ACTIONS, "backupactions")?;
    for informer in &mut informers {
        assert_eq!(informer.await_holding_what_is_served(stage)?, [GOES]);
    }
    Ok(informers)
}

#[test]
fn an_old_instance_that_comes_back_after_a_new_owner_claimed_is_fenced() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut old = raise_source(share.directory(), ORIGIN)?;
    let source_id = old.cluster_id()?;
    let action = old.get(&["backupaction", "second", "-n", APPLICATION])?.context("no backup")?;
    let point = restore_point_of(&action)?;
    old.instance.kill()?;

    let mut new = raise_successor(&share)?;
    recover(&mut new, &source_id, &[])?;
    new.delete(&["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE])?;
    // The claim itself: a status may still be the one from before the recovery.
    new.until("the new instance owns the backups", || {
        let ownership = new.status()?["ownership"].clone();
        let claims = ownership["claims"].as_array().cloned().unwrap_or_default();
        let taken = claims.iter().any(|claim| claim["cluster"] == source_id.as_str() && claim["epoch"] == 2);
        Ok((ownership["state"] == "Owned" && taken).then_some(()))
    })?;
    new.state()?;
    new.instance.kill()?;
    let source_folder = share.directory().join(ORIGIN).join("k10").join(&source_id);
    let before = Listing::of(&source_folder)?.without("sessions");

    old.instance.restart()?;
    old.wait_until_served()?;
    let state = old.state()?;
    old.create(&export_action("late-export", &point))?;
    let export = old.ended("exportaction", NAMESPACE, "late-export")?;
    assert_eq!(export["status"]["state"], "Failed", "{}", export["status"]);
    let told = export["status"]["error"].to_string();
    assert!(told.contains("another instance has claimed epoch"), "{told}");
    old.until("the old instance says that it is fenced", || {
        Ok((old.status()?["ownership"]["state"] == "Fenced").then_some(()))
    })?;
    old.wait_event(&old.dr_policy()?, "OwnershipLost")?;
    let said = old.keelson(&["dr", "run"])?;
    assert_said(
        &said,
        3,
        &["is not valid", "another instance has claimed epoch", "hint: shut this instance down"],
    );
    let after = Listing::of(&source_folder)?.without("sessions");
    assert_eq!(before.differences(&after), Vec::<PathBuf>::new());
    // Its own catalog has what it was asked for and why that failed, and nothing else has changed.
    assert_eq!(old.state()?.digests["configuration"], state.digests["configuration"]);
    Ok(())
}

#[test]
fn a_catalog_that_is_corrupt_at_start_leaves_a_platform_that_says_so_and_can_be_recovered() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = raise_source(share.directory(), ORIGIN)?;
    let (source_id, lost) = (stage.cluster_id()?, stage.status()?);
    stage.instance.kill()?;
    for file in catalog_files(&stage)? {
        let mut bytes = fs::read(&file)?;
        bytes.iter_mut().take(4096).for_each(|byte| *byte ^= 0x55);
        fs::write(&file, bytes)?;
    }
    let before = Listing::of(&share.directory().join(ORIGIN))?;
    stage.instance.restart()?;
    let said = stage.until("the API says that the catalog is away", || {
        let said = stage
            .try_kubectl(&["get", "--raw", "/apis/apps.kio.kasten.io/v1alpha1/restorepointcontents"], "")?;
        Ok(said.stderr.contains("corrupt").then_some(said))
    })?;
    ensure!(said.code != 0, "{said:?}");
    stage.until("the status tells the problem", || {
        let status = stage.status()?;
        Ok(status["problem"].as_str().is_some_and(|problem| problem.contains("corrupt")).then_some(()))
    })?;
    assert_eq!(Listing::of(&share.directory().join(ORIGIN))?, before);
    // It holds up no namespace of the cluster, whether that has anything of ours or not.
    stage.namespace("unrelated")?;
    for namespace in ["unrelated", APPLICATION] {
        stage.delete(&["namespace", namespace, "--timeout=240s"])?;
    }

    let began = Instant::now();
    let source = ["--profile", "vault", "--source-cluster-id", &source_id, "--output", "json"];
    let said = stage.keelson(&[&["dr", "restore"], &source[..]].concat())?;
    assert_eq!(said.code, 0, "after {:?}: {said:?}", began.elapsed());
    let restored: Value = serde_json::from_str(&said.stdout)?;
    assert_eq!(restored["recovered"]["chain"], lost["catalog"]["chain"], "{restored}");
    let contents = stage.get(&["restorepointcontents"])?.context("no list")?;
    assert_eq!(contents["items"].as_array().map_or(0, Vec::len), 4);
    Ok(())
}

pub(crate) fn catalog_files(stage: &Stage) -> Result<Vec<PathBuf>> {
    let data = stage.data();
    let files: Vec<_> = Listing::of(&data)?
        .paths()
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("catalog.sqlite"))
        })
        .map(|path| data.join(path))
        .collect();
    ensure!(!files.is_empty(), "no catalog in {}", data.display());
    Ok(files)
}
