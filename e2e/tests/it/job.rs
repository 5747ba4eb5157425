//! `keelson dr restore` as the Job of the restore chart runs it: it comes back to what its Job has begun, says which other
//! one runs, ends when it is told to, and leaves its last word where Kubernetes shows it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keelson_e2e::{Answer, answer, answer_of};
use keelson_testkit::{ControlPlane, OwnedChild, Supervisor};
use serde_json::Value;

use crate::recovery_refusals::silent_bucket;
use crate::stage::{NAMESPACE, Stage, assert_said, block_on};
use crate::world::{ORIGIN, PASSPHRASE, raise_source};

const NAME: &str = "k10-restore";
const NO_CLUSTER: &str = "0c3e8c52-3a5f-4f0e-9f0b-6f2f8c1d7e10";
/// How often a restore is begun until one is caught while it runs. On a loaded machine it may end before anybody has looked.
const CATCHES_MAX: usize = 20;
/// How often a restore is begun until its minute is up before anything else.
const MINUTES_MAX: usize = 4;

/// A Job of the chart, and where its pods leave their last word.
struct Job<'a> {
    profile: &'a str,
    source: &'a str,
    log: PathBuf,
}

impl Job<'_> {
    /// One of its pods.
    fn start(&self, stage: &Stage, uid: &str, more: &[&str]) -> Result<OwnedChild> {
        let log = self.log.display().to_string();
        let words = ["dr", "restore", "--profile", self.profile, "--source-cluster-id", self.source];
        let job = ["--name", NAME, "--request", uid, "--termination-log", &log];
        stage.start_keelson(&[&words[..], &job, more].concat())
    }

    fn run(&self, stage: &Stage, uid: &str, more: &[&str]) -> Result<Answer> {
        answer_of(self.start(stage, uid, more)?)
    }

    fn last_word(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }
}

/// Waits until it says that. What comes after is left to whoever asks for its answer.
fn hear(pod: &mut OwnedChild, words: &str) -> Result<()> {
    let said = pod.stderr.as_mut().context("nothing is heard of it")?;
    for line in BufReader::with_capacity(1, said).lines() {
        if line?.contains(words) {
            return Ok(());
        }
    }
    anyhow::bail!("it has not said '{words}'")
}

fn found(stage: &Stage) -> Result<Option<Value>> {
    stage.get(&["kastendrrestore", NAME, "-n", NAMESPACE])
}

fn requested_by(stage: &Stage) -> Result<String> {
    let restore = found(stage)?.context("no restore")?;
    Ok(restore["metadata"]["annotations"]["keelson.io/request"].as_str().unwrap_or_default().to_owned())
}

fn is_running(restore: &Value) -> bool {
    !matches!(restore["status"]["state"].as_str(), Some("success" | "failed"))
}

fn signal(process: u32, name: &str) -> Result<()> {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status()?;
    ensure!(sent.success(), "kill -{name} {process}");
    Ok(())
}

/// A fresh platform that reaches what the lost one left.
fn raise_successor(share: &Supervisor) -> Result<Stage> {
    let stage = Stage::raise(share.directory(), &[])?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    Ok(stage)
}

/// A fresh platform whose profile `silent` leads to a bucket that never answers.
fn raise_waiting(share: &Supervisor) -> Result<(Stage, std::net::TcpListener)> {
    let stage = Stage::raise(share.directory(), &[])?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    let silent = silent_bucket(&stage)?;
    Ok((stage, silent))
}

#[test]
fn a_pod_that_comes_after_another_follows_what_their_job_began_and_another_job_begins_anew() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise_source(share.directory(), ORIGIN)?;
    let source_id = source.cluster_id()?;
    source.instance.kill()?;
    drop(source);
    let stage = raise_successor(&share)?;
    let job = Job { profile: "vault", source: &source_id, log: share.directory().join("termination") };

    let said = job.run(&stage, "uid-1", &["--skip-resource", "catalog"])?;
    assert_said(&said, 3, &["'catalog' cannot be skipped; known are 'profiles', 'policies' and 'secrets'"]);
    assert!(found(&stage)?.is_none());
    assert!(job.last_word()?.starts_with("error: 'catalog' cannot be skipped"), "{}", job.last_word()?);

    let said = job.run(&stage, "uid-1", &["--timeout", "30"])?;
    assert_said(&said, 0, &["step rebuild: ", "step switch: "]);
    let own = format!("kubectl delete configmap --namespace={NAMESPACE} k10-dr-remove-to-get-ownership");
    let told = job.last_word()?;
    assert!(told.starts_with("the platform is recovered\n") && told.contains(&own), "{told}");
    assert!(told.contains(&format!("of cluster {source_id}")), "{told}");
    assert_eq!(requested_by(&stage)?, "uid-1");
    let generation = || -> Result<Value> { Ok(stage.status()?["catalog"]["generation"].clone()) };
    stage.state()?;
    let recovered = generation()?;

    // The pod was evicted before anybody could see how it ended.
    let said = job.run(&stage, "uid-1", &[])?;
    assert_said(&said, 0, &["going on with KastenDRRestore 'k10-restore', which was asked for before"]);
    stage.state()?;
    assert_eq!(generation()?, recovered);

    // Another installation of the chart, on a platform that has a catalog by now.
    let words = ["which a recovery replaces", "--replace-catalog"];
    assert_said(&job.run(&stage, "uid-2", &[])?, 3, &words);
    assert_eq!(requested_by(&stage)?, "uid-2");
    let told = job.last_word()?;
    assert!(told.starts_with("error: ") && told.contains("hint: "), "{told}");
    // As its next pod says, too.
    assert_said(&job.run(&stage, "uid-2", &[])?, 3, &words);

    let skip = ["--skip-resource", " Profile ,POLICIES", "--replace-catalog"];
    assert_said(&job.run(&stage, "uid-3", &skip)?, 0, &[]);
    let restore = found(&stage)?.context("no restore")?;
    assert_eq!(restore["spec"]["skipResources"], "profiles,policies");
    stage.state()?;
    assert!(generation()?.as_u64() > recovered.as_u64());
    Ok(())
}

#[test]
fn a_restore_that_was_started_twice_is_refused_and_one_whose_pod_is_ended_goes_on() -> Result<()> {
    let share = Supervisor::start("share")?;
    let (stage, silent) = raise_waiting(&share)?;
    let job = Job { profile: "silent", source: NO_CLUSTER, log: share.directory().join("termination") };
    let first = job.start(&stage, "uid-1", &[])?;
    stage.until("the restore runs", || {
        Ok(found(&stage)?.filter(|restore| restore["status"]["state"] == "running"))
    })?;

    let said = job.run(&stage, "uid-2", &[])?;
    let words = [
        "KastenDRRestore 'k10-restore' exists already (asked for by 'uid-1') and has not ended",
        "the restore was started twice",
        "hint: kubectl get kastendrrestore k10-restore",
    ];
    assert_said(&said, 5, &words);
    assert!(job.last_word()?.contains("the restore was started twice"), "{}", job.last_word()?);

    // A drained node.
    signal(first.id(), "TERM")?;
    assert_said(&answer_of(first)?, 9, &["interrupted", "a run goes on without this command"]);
    assert!(job.last_word()?.contains("interrupted"), "{}", job.last_word()?);
    assert!(found(&stage)?.is_some_and(|restore| is_running(&restore)), "the restore goes on");
    let mut second = job.start(&stage, "uid-1", &[])?;
    hear(&mut second, "going on with KastenDRRestore 'k10-restore'")?;
    drop(silent);
    assert_said(&answer_of(second)?, 7, &["vault"]);
    Ok(())
}

/// What a restore says that may take a minute. A bucket's silence ends it after a minute, too (7); where the machine stands
/// still that may come first, and then it is begun anew.
fn run_for_a_minute(stage: &Stage, job: &Job<'_>) -> Result<Answer> {
    let run = |number: usize| job.run(stage, &format!("uid-{number}"), &["--timeout", "1"]);
    let mut said = run(1)?;
    for number in 2..=MINUTES_MAX {
        if said.code != 7 {
            break;
        }
        said = run(number)?;
    }
    Ok(said)
}

#[test]
fn a_restore_whose_time_is_up_before_its_switch_leaves_the_platform_as_it_was() -> Result<()> {
    let share = Supervisor::start("share")?;
    let (stage, _silent) = raise_waiting(&share)?;
    // The profile is still being tried, and its verdict may come at any time: the catalog's generation is what must stay.
    let generation = || -> Result<Value> { Ok(stage.status()?["catalog"]["generation"].clone()) };
    stage.state()?;
    let before = generation()?;
    let job = Job { profile: "silent", source: NO_CLUSTER, log: share.directory().join("termination") };
    let said = run_for_a_minute(&stage, &job)?;
    // A line from time to time where nothing changes.
    assert_said(&said, 11, &["did not end within 1 minutes", "hint: everything is as it was", " s by now"]);
    assert!(job.last_word()?.contains("did not end within 1 minutes"), "{}", job.last_word()?);
    let restore = found(&stage)?.context("no restore")?;
    assert_eq!(restore["status"]["state"], "failed", "{restore}");
    assert!(restore["status"]["partlyDone"].is_null(), "{restore}");
    assert_eq!(generation()?, before);
    let map = stage.get(&["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE])?;
    assert_eq!(map, None);
    Ok(())
}

/// A pod and its restore, which has not ended: the platform is stopped in the middle of it.
fn catch(stage: &Stage, job: &Job<'_>, platform: u32) -> Result<OwnedChild> {
    for number in 0..CATCHES_MAX {
        let uid = format!("uid-{number}");
        let pod = job.start(stage, &uid, &["--replace-catalog"])?;
        stage.until("the restore is there", || {
            Ok(found(stage)?.filter(|_| requested_by(stage).is_ok_and(|by| by == uid)))
        })?;
        signal(platform, "STOP")?;
        let log = fs::read_to_string(stage.instance.log_file())?;
        if log.matches("recovery request succeeded").count() == number {
            return Ok(pod);
        }
        signal(platform, "CONT")?;
        ensure!(answer_of(pod)?.code == 0, "a restore that nobody stopped has failed");
    }
    anyhow::bail!("each restore ended before it could be caught")
}

#[test]
fn a_restore_is_followed_while_the_api_server_starts_again() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise_source(share.directory(), ORIGIN)?;
    let source_id = source.cluster_id()?;
    source.instance.kill()?;
    drop(source);
    let mut stage = raise_successor(&share)?;
    let platform = stage.instance.process_id().context("keelson serve has ended")?;
    let job = Job { profile: "vault", source: &source_id, log: share.directory().join("termination") };
    let pod = catch(&stage, &job, platform)?;
    let restarted = stage.restart_api_server();
    signal(platform, "CONT")?;
    restarted?;
    let said = answer_of(pod)?;
    assert_said(&said, 0, &[]);
    assert!(job.last_word()?.starts_with("the platform is recovered\n"), "{}", job.last_word()?);
    stage.complete("kastendrrestore", NAMESPACE, NAME)?;
    Ok(())
}

/// What is installed in one go: the next pod of the Job finds the platform.
#[test]
fn a_restore_that_comes_before_the_platform_is_told_so_as_what_may_go_well_later() -> Result<()> {
    let plane = block_on(ControlPlane::start())?;
    let kubeconfig = plane.kubeconfig().display().to_string();
    let source = ["dr", "restore", "--profile", "vault", "--source-cluster-id", NO_CLUSTER];
    let said = answer([&source[..], &["--kubeconfig", &kubeconfig]].concat())?;
    assert_said(&said, 7, &["nobody serves KastenDRRestores", "hint: kubectl get pods"]);
    Ok(())
}
