//! A person's test bed: up in seconds, usable, gone without a trace.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use keelson_testkit::{Nodes, Traces, figure, processes_in, skip};
use serde_json::Value;

/// Thirty seconds are promised on an idle machine, and the figure tells how many they were; others work on this one, which may
/// stand still for a while.
const READY_WITHIN: Duration = Duration::from_secs(300);

fn xtask(state: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .env("XDG_STATE_HOME", state)
        .output()
        .context("run xtask")?;
    text_of(&output)
}

fn text_of(output: &Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

#[test]
fn a_test_bed_is_up_between_two_commands_and_leaves_nothing() -> Result<()> {
    let state = tempfile::tempdir()?;
    let printed = xtask(state.path(), &["testbed", "up", "--name", "tried"])?;
    let result = use_test_bed(state.path(), &printed);
    let down = xtask(state.path(), &["testbed", "down", "--name", "tried"])?;
    result?;
    assert_eq!(down, "'tried' is down, nothing is left of it\n");
    assert!(processes_in(state.path()).is_empty());
    assert_eq!(state.path().join("keelson/testbed").read_dir()?.count(), 0);
    assert_eq!(xtask(state.path(), &["testbed", "down", "--name", "tried"])?, "'tried' is not up\n");
    Ok(())
}

fn use_test_bed(state: &Path, printed: &str) -> Result<()> {
    let line = |start: &str| printed.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
    let kubeconfig = line("export KUBECONFIG=").context("find the kubeconfig in the output")?;
    let kubectl = line("kubectl ").context("find kubectl in the output")?;
    let mut nodes = Command::new(kubectl);
    nodes.args(["get", "namespace", "kube-system", "--output=name"]).env("KUBECONFIG", kubeconfig);
    assert_eq!(text_of(&nodes.output()?)?, "namespace/kube-system\n");

    let status = xtask(state, &["testbed", "status"])?;
    assert!(status.lines().any(|line| line.starts_with("tried ") && line.contains(" up ")), "{status}");
    assert!(xtask(state, &["testbed", "up", "--name", "tried"])?.starts_with("'tried' is up already"));
    assert!(xtask(state, &["testbed", "up", "--name", "../tried"]).is_err());
    Ok(())
}

#[test]
fn a_whole_cluster_is_up_between_two_commands_or_says_in_a_line_why_not() -> Result<()> {
    let state = tempfile::tempdir()?;
    let up = ["testbed", "up", "--nodes", "--s3", "--name", "whole"];
    if let Err(reason) = Nodes::available() {
        let refused = xtask(state.path(), &up).expect_err("there is no cluster without nodes").to_string();
        assert_eq!(refused.trim_end(), format!("error: {reason}"));
        skip(&reason);
        return Ok(());
    }
    for ending in [Ending::Down, Ending::KilledBefore] {
        let began = Instant::now();
        let printed = xtask(state.path(), &up)?;
        let took = began.elapsed();
        let folder = state.path().join("keelson/testbed/whole");
        let left = Traces::of(&folder.join("control-plane"));
        let result = use_cluster(&printed).and_then(|()| ending.come_about(&folder));
        let down = xtask(state.path(), &["testbed", "down", "--name", "whole"])?;
        result?;
        assert_eq!(down, "'whole' is down, nothing is left of it\n");
        assert!(processes_in(state.path()).is_empty());
        assert_eq!(state.path().join("keelson/testbed").read_dir()?.count(), 0);
        // What the kernel takes down by itself may take a moment.
        tokio::runtime::Runtime::new()?.block_on(left?.are_gone())?;
        if ending == Ending::KilledBefore {
            // The first may have built what it runs.
            figure(&format!("a whole cluster was ready {:.1} s after it was asked for", took.as_secs_f64()));
            assert!(took < READY_WITHIN, "it took {took:?}");
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Down,
    /// Whoever supervises the programs is killed, and cannot take down what they leave.
    KilledBefore,
}

impl Ending {
    fn come_about(self, folder: &Path) -> Result<()> {
        if self == Self::Down {
            return Ok(());
        }
        let record: Value = serde_json::from_slice(&fs::read(folder.join("testbed.json"))?)?;
        let supervisor = record["control_plane"]["shell"].as_u64().context("find the supervisor's id")?;
        let killed = Command::new("bash").args(["-c", &format!("kill -KILL {supervisor}")]).output()?;
        text_of(&killed).map(drop)
    }
}

fn use_cluster(printed: &str) -> Result<()> {
    let line = |start: &str| printed.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
    let kubeconfig = line("export KUBECONFIG=").context("find the kubeconfig in the output")?;
    let kubectl = line("kubectl ").context("find kubectl in the output")?;
    let mut nodes = Command::new(kubectl);
    nodes.args(["get", "nodes", "--no-headers"]).env("KUBECONFIG", kubeconfig);
    let nodes = text_of(&nodes.output()?)?;
    assert!(nodes.starts_with("whole-1 ") && nodes.contains(" Ready "), "{nodes}");
    let s3 = line("S3 ").context("find the S3 server in the output")?;
    assert!(s3.starts_with("http://10."), "pods reach it: {s3}");
    Ok(())
}
