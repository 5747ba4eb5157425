//! `cargo xtask e2e`: the scenarios of the package `keelson-e2e`, one by one, each with its verdict, the promises that it
//! proves, and its time.
//!
//! They are plain tests, which `./test` runs beside others (`suites`). Here nothing runs beside a scenario unless it is asked
//! for, and what it says is kept.

use std::collections::VecDeque;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use keelson_testkit::{FIGURES, Nodes, SKIPS, testbed_program, testbed_service};

use crate::built::{Built, executables};
use crate::promises::{self, Promises};
use crate::tree::Tree;

/// What scenarios run beside `keelson`. They would build or fetch it themselves, and that would count as their time.
const SERVERS: [&str; 7] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "minio", "versitygw", "clients"];
/// What those on whole clusters run besides, where there can be any.
const NODE_SERVERS: [&str; 8] =
    ["kubelet", "kube-scheduler", "kube-proxy", "coredns", "registry", "crane", "helm3", "helm4"];
/// Where passphrases are kept.
const SERVICES: [&str; 2] = ["openbao", "moto"];
/// Where what a scenario says is kept, below the folder of the programs.
const LOGS: &str = "e2e-logs";
/// What scenarios have measured, beside what they say.
const MEASURED: &str = "figures.txt";
/// Which could not run here, and why.
const SKIPPED: &str = "skips.txt";
/// As much of it as is printed when it failed.
const LINES_SHOWN: usize = 30;

/// How the names of scenarios on whole clusters begin. Each takes a processor's worth, so they never run beside each other.
const ON_CLUSTERS: &str = "by_chart::";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only scenarios in whose names this occurs, as in `guard::`
    filter: Option<String>,
    /// How many run beside each other, of those on whole clusters one
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let tree = Tree::here()?;
    let promises = promises::read(&tree)?;
    let suite = Suite::build(tree.root())?;
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let names: Vec<String> = suite.list()?.into_iter().filter(|name| name.contains(filter)).collect();
    ensure!(!names.is_empty(), "no scenario has '{filter}' in its name");
    let begun = Instant::now();
    let round = Round {
        suite: &suite,
        promises: &promises,
        waiting: Mutex::new(Waiting::of(names)),
        tally: Mutex::default(),
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs).map(|_| scope.spawn(|| round.work())).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })?;
    let Tally { passed, failed, skipped } = *lock(&round.tally);
    suite.show_figures()?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{passed} passed, {failed} failed, {skipped} skipped, {seconds:.1} seconds");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The scenarios that were asked for, and what has become of them.
struct Round<'a> {
    suite: &'a Suite,
    promises: &'a Promises,
    waiting: Mutex<Waiting>,
    tally: Mutex<Tally>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Round<'_> {
    /// One scenario after the other, until none is left.
    fn work(&self) -> Result<()> {
        loop {
            let Some(name) = lock(&self.waiting).take() else { return Ok(()) };
            self.run(&name)?;
            lock(&self.waiting).release(&name);
        }
    }

    fn run(&self, name: &str) -> Result<()> {
        let (suite, begun) = (self.suite, Instant::now());
        let log = suite.logs.join(format!("{}.log", name.replace("::", "-")));
        let passed = suite.run(name, &log)?;
        let seconds = begun.elapsed().as_secs_f64();
        let skip = suite.skip_of(name)?;
        // Whoever counts prints, alone.
        let mut tally = lock(&self.tally);
        let verdict = match (passed, &skip) {
            (false, _) => "FAIL",
            (true, None) => "PASS",
            (true, Some(_)) => "SKIP",
        };
        println!("{verdict} {name} {} {seconds:.1}", self.promises.proven_by(name));
        match (passed, skip) {
            (false, _) => {
                tally.failed += 1;
                show_end(&log)?;
            }
            (true, Some(reason)) => {
                tally.skipped += 1;
                println!("    {reason}");
            }
            (true, None) => tally.passed += 1,
        }
        std::io::stdout().flush().context("print a verdict")
    }
}

/// What nobody runs yet.
struct Waiting {
    on_clusters: VecDeque<String>,
    others: VecDeque<String>,
    are_clusters_taken: bool,
}

impl Waiting {
    fn of(names: Vec<String>) -> Self {
        let (on_clusters, others): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.starts_with(ON_CLUSTERS));
        Self { on_clusters: on_clusters.into(), others: others.into(), are_clusters_taken: false }
    }

    /// Those on clusters first: they take the longest.
    fn take(&mut self) -> Option<String> {
        if !self.are_clusters_taken
            && let Some(name) = self.on_clusters.pop_front()
        {
            self.are_clusters_taken = true;
            return Some(name);
        }
        self.others.pop_front()
    }

    fn release(&mut self, name: &str) {
        if name.starts_with(ON_CLUSTERS) {
            self.are_clusters_taken = false;
        }
    }
}

/// A worker that has panicked ends all of it anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The scenarios, ready to be run.
struct Suite {
    scenarios: PathBuf,
    keelson: PathBuf,
    /// Where cargo runs the tests of the package.
    folder: PathBuf,
    logs: PathBuf,
    figures: PathBuf,
    skips: PathBuf,
}

impl Suite {
    /// Builds with the features of the whole workspace, as `./test` does, so that nothing is built twice.
    fn build(root: &Path) -> Result<Self> {
        let of_nodes = NODE_SERVERS.into_iter().filter(|_| Nodes::available().is_ok());
        for server in SERVERS.into_iter().chain(of_nodes) {
            testbed_program(server)?;
        }
        for service in SERVICES {
            testbed_service(service)?;
        }
        let built = executables(&cargo(root, &["build", "--workspace", "--bins", "--test", "it"])?);
        let find = |package: &str, target: &str| {
            let of_both = |built: &&Built| built.package == package && built.target == target;
            let found = built.iter().find(of_both).cloned();
            found.with_context(|| format!("cargo has not built '{target}' of {package}"))
        };
        let keelson = find("keelson", "keelson")?.executable;
        let logs = keelson.parent().context("a program lies in a folder")?.join(LOGS);
        fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
        let (figures, skips) = (logs.join(MEASURED), logs.join(SKIPPED));
        for notes in [&figures, &skips] {
            File::create(notes).with_context(|| format!("write {}", notes.display()))?;
        }
        let scenarios = find("keelson-e2e", "it")?;
        Ok(Self { scenarios: scenarios.executable, keelson, folder: scenarios.folder, logs, figures, skips })
    }

    fn list(&self) -> Result<Vec<String>> {
        let output = Command::new(&self.scenarios)
            .args(["--list", "--format=terse"])
            .current_dir(&self.folder)
            .output()
            .context("list the scenarios")?;
        ensure!(output.status.success(), "the scenarios were not listed: {}", output.status);
        Ok(names(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Runs one to its end. A panic, an abort and a scenario that is not there any more are all failures.
    fn run(&self, name: &str, log: &Path) -> Result<bool> {
        let log = File::create(log).with_context(|| format!("write {}", log.display()))?;
        let status = dying_with_us(&self.scenarios)
            .args(["--exact", "--nocapture", name])
            .env("KEELSON_PROGRAM", &self.keelson)
            .env(FIGURES, &self.figures)
            .env(SKIPS, &self.skips)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .status()
            .with_context(|| format!("run {name}"))?;
        Ok(status.success())
    }

    /// Why a scenario that has ended could not run here: for libtest it has passed.
    fn skip_of(&self, name: &str) -> Result<Option<String>> {
        let skips = &self.skips;
        let told = fs::read_to_string(skips).with_context(|| format!("read {}", skips.display()))?;
        Ok(reason_of(name, &told))
    }

    /// What the scenarios have measured, with the name of each: who passes says nothing else.
    fn show_figures(&self) -> Result<()> {
        let figures = &self.figures;
        let told = fs::read_to_string(figures).with_context(|| format!("read {}", figures.display()))?;
        told.lines().for_each(|line| println!("figure: {line}"));
        Ok(())
    }
}

/// A program that the kernel kills once the thread that starts it is gone, as it is when we are killed. What it has started
/// itself follows it. Whoever starts it waits for its end in the same thread.
fn dying_with_us(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// What cargo says of its work, in JSON. Its talk for people goes past us.
fn cargo(root: &Path, words: &[&str]) -> Result<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(words)
        .args(["--locked", "--quiet", "--message-format=json-render-diagnostics"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "cargo {} failed", words.join(" "));
    String::from_utf8(output.stdout).context("read what cargo says")
}

/// The tests of a list, which may name benches too.
fn names(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// The reason that a note gives, a line `NAME: REASON`.
fn reason_of(name: &str, told: &str) -> Option<String> {
    told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
}

fn show_end(log: &Path) -> Result<()> {
    let bytes = fs::read(log).with_context(|| format!("read {}", log.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
        println!("    {line}");
    }
    println!("    all of it: {}", log.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_scenario_is_killed_with_the_thread_that_waits_for_it() -> Result<()> {
        let starter = thread::spawn(|| {
            let mut command = dying_with_us(Path::new("sh"));
            command.args(["-c", "echo begun; exec sleep 60"]).stdout(Stdio::piped());
            let mut scenario = command.spawn()?;
            let mut said = [0; 5];
            scenario.stdout.take().context("it has no output")?.read_exact(&mut said)?;
            anyhow::Ok(scenario)
        });
        let mut scenario = starter.join().unwrap()?;
        assert_eq!(scenario.wait()?.signal(), Some(9));
        Ok(())
    }

    #[test]
    fn of_scenarios_on_clusters_one_runs_at_a_time() {
        let names = ["kit::one", "by_chart::two", "by_chart::three", "guard::four"];
        let mut waiting = Waiting::of(names.map(str::to_owned).into());
        let mut take = |released: &[&str]| {
            released.iter().for_each(|name| waiting.release(name));
            waiting.take()
        };
        assert_eq!(take(&[]).as_deref(), Some("by_chart::two"));
        assert_eq!(take(&[]).as_deref(), Some("kit::one"));
        assert_eq!(take(&["kit::one"]).as_deref(), Some("guard::four"));
        assert_eq!(take(&[]), None);
        assert_eq!(take(&["by_chart::two"]).as_deref(), Some("by_chart::three"));
        assert_eq!(take(&["by_chart::three"]), None);
    }

    #[test]
    fn scenarios_are_the_tests_of_a_list() {
        assert_eq!(
            names("guard::one: test\nbenches::two: benchmark\n\nkit::three: test\n"),
            ["guard::one", "kit::three"]
        );
    }

    #[test]
    fn a_skip_is_that_of_its_scenario() {
        let told = "kit::three_more: no root\nkit::three: no mounts: refused\n";
        assert_eq!(reason_of("kit::three", told).as_deref(), Some("no mounts: refused"));
        assert_eq!(reason_of("guard::one", told), None);
    }
}
