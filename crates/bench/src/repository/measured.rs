//! A program run to its end, and what it took: `bench measured FILE PROGRAM WORD…` writes that to the file.
//!
//! A process of its own waits for the program, because the kernel tells processor time and peak memory of all children of a
//! process together.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

/// What a program took. At least the peak memory of the small process that started it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub peak_memory: u64,
}

impl Usage {
    pub(super) const NONE: Self = Self { seconds: 0.0, cpu_seconds: 0.0, peak_memory: 0 };

    /// Of two programs, one after the other.
    pub(super) fn then(self, next: Self) -> Self {
        Self {
            seconds: self.seconds + next.seconds,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
            peak_memory: self.peak_memory.max(next.peak_memory),
        }
    }
}

/// One run of a program: its words and what it finds in its environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub program: OsString,
    pub words: Vec<OsString>,
    pub environment: Vec<(&'static str, OsString)>,
}

impl Command {
    /// Runs it and gives what it printed. `note` is a file that may be written.
    pub(super) async fn run(&self, note: &Path) -> Result<(Usage, String)> {
        let itself = std::env::current_exe().context("find this program")?;
        let mut command = tokio::process::Command::new(itself);
        command.arg("measured").arg(note).arg(&self.program).args(&self.words);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command.stdin(Stdio::null()).output().await.context("start a program")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{self:?} failed: {}\n{}", complaint.trim(), said.trim());
        let usage = fs::read(note).context("read what a program took")?;
        Ok((serde_json::from_slice(&usage).context("read what a program took")?, said))
    }
}

/// The inside of the process that waits.
pub(crate) fn measure(note: &Path, program: &OsStr, words: &[&OsStr]) -> Result<ExitCode> {
    let began = Instant::now();
    let status = std::process::Command::new(program).args(words).status();
    let status = status.with_context(|| format!("run {}", program.display()))?;
    let seconds = began.elapsed().as_secs_f64();
    let children = getrusage(UsageWho::RUSAGE_CHILDREN).context("ask what it took")?;
    let cpu = children.user_time() + children.system_time();
    let usage = Usage {
        seconds,
        cpu_seconds: cpu.num_microseconds() as f64 / 1e6,
        peak_memory: u64::try_from(children.max_rss())? << 10,
    };
    fs::write(note, serde_json::to_vec(&usage)?).context("note what it took")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_programs_take_both_times_and_the_greater_memory() {
        let usage = |seconds, cpu_seconds, peak_memory| Usage { seconds, cpu_seconds, peak_memory };
        assert_eq!(usage(1.0, 0.5, 7).then(usage(2.0, 4.0, 5)), usage(3.0, 4.5, 7));
        assert_eq!(Usage::NONE.then(usage(2.0, 4.0, 5)), usage(2.0, 4.0, 5));
    }
}
