//! A step of a bench as a process of its own, so that the memory it takes is told apart.

use std::ffi::OsStr;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::say;

/// Runs this program with other words, and reads what it measured.
pub(crate) async fn run<T: for<'a> Deserialize<'a>>(word: &str, words: &[&OsStr]) -> Result<T> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = tokio::process::Command::new(program);
    let output = command.arg(word).args(words).stderr(Stdio::inherit()).output().await;
    let output = output.context("run a step of the bench")?;
    ensure!(output.status.success(), "{word} failed");
    serde_json::from_slice(&output.stdout).context("read what a step says")
}

/// The end of a step: prints what it measured.
pub(crate) fn tell(measured: &impl Serialize) -> Result<()> {
    say(&serde_json::to_string(measured).context("write what was measured")?);
    Ok(())
}
