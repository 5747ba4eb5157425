//! A person's test bed: up in seconds, usable, gone without a trace.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use keelson_testkit::{Nodes, processes_in, skip};

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
    let printed = xtask(state.path(), &up)?;
    let result = use_cluster(&printed);
    let down = xtask(state.path(), &["testbed", "down", "--name", "whole"])?;
    result?;
    assert_eq!(down, "'whole' is down, nothing is left of it\n");
    assert!(processes_in(state.path()).is_empty());
    assert_eq!(state.path().join("keelson/testbed").read_dir()?.count(), 0);
    Ok(())
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
