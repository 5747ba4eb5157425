//! The life of disaster recovery: the modes a policy asks for, how it is made, changed, taken away and made again, and what
//! becomes of what was stored.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use keelson_e2e::Listing;
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::refusals::dr_policy_to;
use crate::stage::{NAMESPACE, Stage, assert_said};
use crate::world::{
    ORIGIN, PASSPHRASE, back_up, create_application, export, raise_protected, wait_until_shipped,
};

const DR_POLICY: &str = "k10-disaster-recovery-policy";
const CHANGED: &str = "another one, kept outside as well";

fn raise(share: &Supervisor) -> Result<Stage> {
    fs::create_dir_all(share.directory().join(ORIGIN))?;
    let stage = Stage::raise(share.directory(), &[])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    Ok(stage)
}

/// The DR policy as it is documented for a mode.
fn policy(configuration: &Value) -> Value {
    let mut policy = dr_policy_to("vault");
    if !configuration.is_null() {
        policy["spec"]["kdrSnapshotConfiguration"] = configuration.clone();
    }
    if configuration["exportCatalogSnapshot"] == true {
        let profile = json!({ "name": "vault", "namespace": NAMESPACE });
        let export = json!({ "action": "export", "exportParameters": {
            "profile": profile, "exportData": { "enabled": true },
        }});
        policy["spec"]["actions"].as_array_mut().expect("a list").push(export);
    }
    policy
}

fn run(stage: &Stage) -> Result<()> {
    let said = stage.keelson(&["dr", "run"])?;
    ensure!(said.code == 0, "{said:?}");
    wait_until_shipped(stage)
}

/// The list of a review, through a profile.
fn points(stage: &Stage, profile: &str, source: &str) -> Result<Vec<Value>> {
    let words = ["dr", "review", "--profile", profile, "--source-cluster-id", source, "--output", "json"];
    let said = stage.keelson(&words)?;
    ensure!(said.code == 0, "{said:?}");
    let review: Value = serde_json::from_str(&said.stdout)?;
    Ok(review["restorePointList"].as_array().context("no list")?.clone())
}

/// The ids of the runs: the first of a list is the latest, which moves on.
fn runs(stage: &Stage, profile: &str, source: &str) -> Result<Vec<String>> {
    let found = texts(&points(stage, profile, source)?, "id");
    ensure!(found.len() > 1, "no run is listed: {found:?}");
    Ok(found[1..].to_vec())
}

fn texts(points: &[Value], field: &str) -> Vec<String> {
    points.iter().map(|point| point[field].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_policy_of_every_mode_is_accepted_and_a_review_tells_the_version_of_each_run_newest_first() -> Result<()>
{
    let share = Supervisor::start("share")?;
    let stage = raise(&share)?;
    create_application(&stage)?;
    let modes = [
        (Value::Null, "v2", false),
        (json!({ "takeLocalCatalogSnapshot": true }), "v3", true),
        (json!({ "takeLocalCatalogSnapshot": true, "exportCatalogSnapshot": true }), "v3.2_data", true),
        (json!({}), "v3.2_metadata", false),
    ];
    for (number, (configuration, version, told)) in modes.iter().enumerate() {
        stage.apply(&policy(configuration))?;
        stage.wait_valid("policy", DR_POLICY)?;
        // Something new for each run.
        back_up(&stage, &format!("backup-{number}"))?;
        run(&stage)?;
        let status = stage.status()?;
        assert_eq!(status["disasterRecovery"]["mode"], *version, "{status}");
        let conditions = stage.dr_policy()?["status"]["conditions"].to_string();
        let tells = conditions.contains("no snapshot of the catalog's volume is made");
        assert_eq!(tells, *told, "{version}: {conditions}");
        let found = points(&stage, "vault", &stage.cluster_id()?)?;
        assert_eq!(found[0]["version"], *version, "the latest: {found:?}");
    }
    let found = points(&stage, "vault", &stage.cluster_id()?)?;
    let mut versions = texts(&found, "version");
    versions.dedup();
    assert_eq!(versions, ["v3.2_metadata", "v3.2_data", "v3", "v2"], "{found:?}");
    let times = texts(&found, "creationTime");
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "newest first: {times:?}");
    assert_eq!(times, texts(&found, "createdTime"));
    for point in &found {
        assert_eq!(point["validSnapshotAvailable"], false, "{point}");
    }
    Ok(())
}

fn is_off(stage: &Stage) -> Result<Option<()>> {
    Ok(stage.status()?["disasterRecovery"].is_null().then_some(()))
}

#[test]
fn a_retention_that_does_not_fit_is_refused_and_nothing_stays_that_the_command_takes_back() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise(&share)?;
    assert_retentions_must_fit(&stage).context("a retention that does not fit the frequency")?;
    stage.delete(&["policy", DR_POLICY, "-n", NAMESPACE])?;
    stage.until("disaster recovery is off", || is_off(&stage))?;
    assert_policy_is_taken_back(&stage).context("what kubectl wrote into the policy")?;
    assert_secret_is_taken_back(&stage, &share).context("what kubectl wrote into the Secret")
}

/// Each is refused by the name of its tier, and makes nothing; those that fit enable disaster recovery.
fn assert_retentions_must_fit(stage: &Stage) -> Result<()> {
    let with = |frequency: &str, retention: Value| {
        let mut policy = policy(&Value::Null);
        policy["spec"]["frequency"] = json!(frequency);
        policy["spec"]["retention"] = retention;
        policy.to_string()
    };
    for (frequency, tier) in
        [("@daily", "hourly"), ("@weekly", "daily"), ("@monthly", "weekly"), ("@yearly", "monthly")]
    {
        let mut retention = json!({ "yearly": 1 });
        retention[tier] = json!(3);
        let said = stage.try_kubectl(&["apply", "-f", "-"], &with(frequency, retention))?;
        assert_said(&said, 1, &[&format!("retention.{tier} is finer than the frequency")]);
    }
    let said = stage.try_kubectl(&["apply", "-f", "-"], &with("@sometimes", json!({ "daily": 1 })))?;
    assert_said(&said, 1, &["@sometimes"]);
    assert!(stage.get(&["policy", DR_POLICY, "-n", NAMESPACE])?.is_none());

    // What no rule of a schema says is said by the status.
    stage.kubectl(&["apply", "-f", "-"], &with("@hourly", json!({ "hourly": 0 })))?;
    let status = stage.validation("policy", DR_POLICY)?;
    assert!(status["error"].to_string().contains("spec.retention keeps nothing"), "{status}");
    assert!(stage.status()?["disasterRecovery"].is_null());
    for (frequency, retention) in [
        ("@daily", json!({ "daily": 7, "weekly": 4 })),
        ("@hourly", json!({ "hourly": 4, "daily": 1, "weekly": 1, "monthly": 1, "yearly": 1 })),
    ] {
        // Whole, as a new file of the user's says it.
        stage.kubectl(&["replace", "-f", "-"], &with(frequency, retention))?;
        stage.wait_valid("policy", DR_POLICY)?;
    }
    stage.until("disaster recovery is enabled", || {
        Ok((!stage.status()?["disasterRecovery"].is_null()).then_some(()))
    })
}

#[test]
fn disabling_leaves_what_was_stored_and_enabling_again_adds_to_it() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_protected(share.directory(), ORIGIN, &[])?;
    let location = share.directory().join(ORIGIN);
    back_up(&stage, "first")?;
    export(&stage, "first")?;
    run(&stage)?;
    let source = stage.cluster_id()?;
    let stored = || -> Result<Listing> { Ok(Listing::of(&location)?.without("sessions")) };
    let known = runs(&stage, "vault", &source)?;

    assert_said(&stage.keelson(&["dr", "disable"])?, 0, &[]);
    stage.until("disaster recovery is off", || is_off(&stage))?;
    let kept = stored()?;
    assert_said(&stage.keelson(&["dr", "disable"])?, 4, &["disaster recovery is not enabled"]);
    assert_said(&stage.keelson(&["dr", "run"])?, 3, &[DR_POLICY]);
    // Whoever made the Secret keeps it.
    assert!(stage.get(&["secret", "k10-dr-secret", "-n", NAMESPACE])?.is_some());
    let found = texts(&points(&stage, "vault", &source)?, "id");
    assert!(known.iter().all(|id| found.contains(id)), "{known:?} are in {found:?}");

    // By the command, and by hand: both take it up, and both times nothing of before is touched.
    assert_said(&stage.keelson(&["dr", "enable", "--profile", "vault"])?, 0, &[]);
    run(&stage)?;
    assert_eq!(kept.changed_in(&stored()?), Vec::<PathBuf>::new());
    stage.delete(&["policy", DR_POLICY, "-n", NAMESPACE])?;
    stage.until("disaster recovery is off", || is_off(&stage))?;
    stage.apply(&policy(&Value::Null))?;
    stage.wait_valid("policy", DR_POLICY)?;
    run(&stage)?;
    assert_eq!(kept.changed_in(&stored()?), Vec::<PathBuf>::new());
    let found = texts(&points(&stage, "vault", &source)?, "id");
    assert!(found.len() > known.len() && known.iter().all(|id| found.contains(id)), "{known:?}, {found:?}");
    Ok(())
}

#[test]
fn another_profile_and_another_passphrase_go_on_beside_what_the_old_ones_lead_to() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_protected(share.directory(), ORIGIN, &[])?;
    fs::create_dir_all(share.directory().join("elsewhere"))?;
    stage.profile("other", "elsewhere")?;
    stage.wait_valid("profile", "other")?;
    run(&stage)?;
    let source = stage.cluster_id()?;
    let before = runs(&stage, "vault", &source)?;

    assert_said(&stage.keelson(&["dr", "enable", "--profile", "other"])?, 0, &[]);
    run(&stage)?;
    assert_eq!(stage.status()?["disasterRecovery"]["profile"], "other");
    assert_eq!(stage.dr_policy()?["spec"]["frequency"], "@hourly");
    let elsewhere = runs(&stage, "other", &source)?;
    assert!(elsewhere.iter().all(|id| !before.contains(id)), "{before:?}, {elsewhere:?}");
    let found = texts(&points(&stage, "vault", &source)?, "id");
    assert!(before.iter().all(|id| found.contains(id)), "{before:?} are in {found:?}");

    let file = share.directory().join("changed");
    fs::write(&file, CHANGED)?;
    let file = file.display().to_string();
    let words = ["dr", "enable", "--profile", "other", "--passphrase-file", &file];
    assert_said(&stage.keelson(&words)?, 0, &[]);
    run(&stage)?;
    let latest = stage.status()?["disasterRecovery"]["repository"].clone();
    stage.instance.kill()?;
    drop(stage);

    let stage = Stage::raise(share.directory(), &[])?;
    stage.profile("other", "elsewhere")?;
    stage.wait_valid("profile", "other")?;
    stage.passphrase(&[("key", CHANGED)])?;
    let found = texts(&points(&stage, "other", &source)?, "id");
    let latest = latest.as_str().context("no repository")?;
    assert!(found[0].starts_with(&format!("{latest}.")), "{found:?} begins in {latest}");
    assert!(elsewhere.iter().all(|id| found.contains(id)), "the newest passphrase opens all: {found:?}");
    Ok(())
}

#[test]
fn a_quick_backup_is_restored_once_it_is_confirmed_that_resources_are_replaced() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise_protected(share.directory(), ORIGIN, &["--quick"])?;
    back_up(&source, "first")?;
    export(&source, "first")?;
    source.profile("mine", "before")?;
    source.wait_valid("profile", "mine")?;
    run(&source)?;
    let source_id = source.cluster_id()?;
    source.instance.kill()?;
    drop(source);

    let stage = raise(&share)?;
    stage.profile("mine", "now")?;
    let path = || -> Result<Value> {
        let profile = stage.get(&["profile", "mine", "-n", NAMESPACE])?.context("no profile")?;
        Ok(profile["spec"]["locationSpec"]["fileStore"]["path"].clone())
    };
    let restore = ["dr", "restore", "--profile", "vault", "--source-cluster-id", &source_id];
    let said = stage.keelson(&[&restore[..], &["--quick-mode"]].concat())?;
    assert_said(
        &said,
        3,
        &["was made by Quick DR", "hint: a Quick restore point creates or replaces resources"],
    );
    assert_eq!(path()?, "now");
    assert!(stage.get(&["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE])?.is_none());
    let said = stage.keelson(&[&restore[..], &["--quick-mode", "--override-resources"]].concat())?;
    assert_said(&said, 0, &[]);
    assert_eq!(path()?, "before");
    Ok(())
}

/// Server-side apply takes away only what the same manager wrote: what `kubectl` had written stayed in the policy.
fn assert_policy_is_taken_back(stage: &Stage) -> Result<()> {
    let mut quick = policy(&json!({ "takeLocalCatalogSnapshot": true }));
    quick["spec"]["subFrequency"] = json!({ "minutes": [15, 45] });
    quick["metadata"]["labels"] = json!({ "team": "platform" });
    stage.apply(&quick)?;
    stage.wait_valid("policy", DR_POLICY)?;
    assert_said(&stage.keelson(&["dr", "enable", "--profile", "vault"])?, 0, &[]);
    let enabled = stage.dr_policy()?;
    let spec = &enabled["spec"];
    assert!(spec["kdrSnapshotConfiguration"].is_null(), "quick without --quick: {spec}");
    assert_eq!(spec["subFrequency"], quick["spec"]["subFrequency"], "what the command does not name stays");
    assert_eq!(enabled["metadata"]["labels"]["team"], "platform");
    stage.until("it is Legacy DR", || {
        Ok((stage.status()?["disasterRecovery"]["mode"] == "v2").then_some(()))
    })?;
    // Who keeps it in a file goes on from there.
    quick["spec"]["subFrequency"] = json!({ "minutes": [30] });
    stage.apply(&quick)?;
    stage.wait_valid("policy", DR_POLICY)?;
    assert_eq!(stage.dr_policy()?["spec"]["subFrequency"]["minutes"], json!([30]));
    Ok(())
}

/// It stayed in the Secret as well.
fn assert_secret_is_taken_back(stage: &Stage, share: &Supervisor) -> Result<()> {
    stage.passphrase(&[
        ("source", "vault"),
        ("vault-kv-version", "KVv2"),
        ("vault-mount-path", "secret"),
        ("vault-secret-path", "k10"),
        ("key", "passphrase"),
    ])?;
    let file = share.directory().join("passphrase");
    fs::write(&file, PASSPHRASE)?;
    let file = file.display().to_string();
    let words = ["dr", "enable", "--profile", "vault", "--passphrase-file", &file];
    assert_said(&stage.keelson(&words)?, 0, &[]);
    let secret = stage.get(&["secret", "k10-dr-secret", "-n", NAMESPACE])?.context("no Secret")?;
    let keys: Vec<&String> = secret["data"].as_object().context("no data")?.keys().collect();
    assert_eq!(keys, ["key"]);
    Ok(())
}
