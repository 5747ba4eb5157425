//! `keelson serve` killed with SIGKILL in the middle of its work, and what comes back: the run that was under way, a
//! recovery, an owner of yesterday, a catalog that was damaged meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keelson_e2e::Listing;
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, Stage, assert_said, block_on};
use crate::world::{
    APPLICATION, ORIGIN, PASSPHRASE, action, back_up, config_map, export_action, raise_source,
    recovery_request, restore_point_of, wait_until_shipped,
};

/// Moments after the request at which the process dies; the work takes some tenths of a second.
const MOMENTS: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(60), Duration::from_millis(250)];

fn wait_for(moment: Duration) {
    block_on(async {
        let _ = tokio::time::timeout(moment, std::future::pending::<()>()).await;
    });
}

/// A run that a kill interrupted has ended well, or says why not.
fn assert_told(action: &Value) {
    let status = &action["status"];
    let is_told = status["error"]["message"].as_str().is_some_and(|message| !message.is_empty());
    assert!(status["state"] == "Complete" || is_told, "{status}");
}

#[test]
fn a_kill_in_the_middle_of_backup_export_and_dr_run_leaves_runs_that_end() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = raise_source(share.directory(), ORIGIN)?;
    let subject = json!({ "subject": { "name": APPLICATION, "namespace": APPLICATION } });
    for (number, moment) in MOMENTS.into_iter().enumerate() {
        stage.create(&config_map(&format!("more-{number}")))?;
        let name = format!("backup-{number}");
        stage.create(&action("BackupAction", &name, APPLICATION, subject.clone()))?;
        wait_for(moment);
        stage.kill_and_restart()?;
        assert_told(&stage.ended("backupaction", APPLICATION, &name)?);

        let point = back_up(&stage, &format!("after-{number}"))?;
        let name = format!("export-{number}");
        stage.create(&export_action(&name, &point))?;
        wait_for(moment);
        stage.kill_and_restart()?;
        assert_told(&stage.ended("exportaction", NAMESPACE, &name)?);

        let policy =
            json!({ "kind": "Policy", "name": "k10-disaster-recovery-policy", "namespace": NAMESPACE });
        let name = format!("run-{number}");
        stage.create(&action("RunAction", &name, NAMESPACE, json!({ "subject": policy })))?;
        wait_for(moment);
        stage.kill_and_restart()?;
        assert_told(&stage.ended("runaction", NAMESPACE, &name)?);
    }
    let said = stage.keelson(&["dr", "run"])?;
    assert_eq!(said.code, 0, "{said:?}");
    wait_until_shipped(&stage)?;
    let file = share.directory().join("passphrase");
    fs::write(&file, PASSPHRASE)?;
    let (file, place) = (file.display().to_string(), share.directory().join(ORIGIN).display().to_string());
    let said = keelson_e2e::answer(["tools", "verify", "--directory", &place, "--passphrase-file", &file])?;
    assert_eq!(said.code, 0, "{said:?}");
    Ok(())
}

/// A fresh platform recovers from `vault`; `killed` is where it is killed on the way.
fn recover(share: &Supervisor, source: &str, killed: &[Duration]) -> Result<Stage> {
    let mut stage = Stage::raise(share.directory(), &[])?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    stage.create(&recovery_request("KastenDRRestore", "again", "vault", source))?;
    for moment in killed {
        wait_for(*moment);
        stage.instance.kill()?;
        // The recovery goes on at once, before anybody could ask for it.
        stage.instance.restart()?;
    }
    stage.wait_until_served()?;
    stage.complete("kastendrrestore", NAMESPACE, "again")?;
    Ok(stage)
}

#[test]
fn a_kill_in_the_middle_of_a_recovery_is_followed_by_the_same_recovery_to_its_end() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise_source(share.directory(), ORIGIN)?;
    let (source_id, lost) = (source.cluster_id()?, source.status()?);
    source.instance.kill()?;

    let killed = [5, 700, 1000, 1300, 1600].map(Duration::from_millis);
    let stage = recover(&share, &source_id, &killed)?;
    let restored =
        stage.get(&["kastendrrestore", "again", "-n", NAMESPACE])?.context("the restore is gone")?;
    let status = stage.status()?;
    // After the switch the request goes on and tells no digests; before it, they are those of the source.
    if let Some(chain) = restored["status"]["recovered"]["chain"].as_str().filter(|it| !it.is_empty()) {
        assert_eq!(Some(chain), lost["catalog"]["chain"].as_str());
    }
    assert!(status["catalog"]["generation"].as_u64() > lost["catalog"]["generation"].as_u64(), "{status}");
    let contents = stage.get(&["restorepointcontents"])?.context("no list")?;
    let before = contents["items"].as_array().map_or(0, Vec::len);
    assert_eq!(before, 4, "two backups and their exports");
    for profile in ["vault", "late"] {
        stage.wait_valid("profile", profile)?;
    }
    Ok(())
}

#[test]
fn an_old_instance_that_comes_back_after_a_new_owner_claimed_is_fenced() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut old = raise_source(share.directory(), ORIGIN)?;
    let source_id = old.cluster_id()?;
    let action = old.get(&["backupaction", "second", "-n", APPLICATION])?.context("no backup")?;
    let point = restore_point_of(&action)?;
    old.instance.kill()?;

    let new = recover(&share, &source_id, &[])?;
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
    let before = Listing::of(&source_folder.join("exports"))?;

    old.instance.restart()?;
    old.wait_until_served()?;
    old.create(&export_action("late-export", &point))?;
    let export = old.ended("exportaction", NAMESPACE, "late-export")?;
    assert_eq!(export["status"]["state"], "Failed", "{}", export["status"]);
    let told = export["status"]["error"].to_string();
    assert!(told.contains("another instance has claimed epoch"), "{told}");
    old.until("the old instance says that it is fenced", || {
        Ok((old.status()?["ownership"]["state"] == "Fenced").then_some(()))
    })?;
    let said = old.keelson(&["dr", "run"])?;
    assert_said(
        &said,
        3,
        &["is not valid", "another instance has claimed epoch", "hint: shut this instance down"],
    );
    assert_eq!(Listing::of(&source_folder.join("exports"))?, before);
    Ok(())
}

#[test]
fn a_catalog_that_is_corrupt_at_start_leaves_a_platform_that_says_so_and_can_be_recovered() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = raise_source(share.directory(), ORIGIN)?;
    let source_id = stage.cluster_id()?;
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
        stage.delete(&["namespace", namespace, "--timeout=60s"])?;
    }

    let began = Instant::now();
    let said = stage.keelson(&["dr", "restore", "--profile", "vault", "--source-cluster-id", &source_id])?;
    assert_eq!(said.code, 0, "after {:?}: {said:?}", began.elapsed());
    let contents = stage.get(&["restorepointcontents"])?.context("no list")?;
    assert_eq!(contents["items"].as_array().map_or(0, Vec::len), 4);
    Ok(())
}

fn catalog_files(stage: &Stage) -> Result<Vec<std::path::PathBuf>> {
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
