//! A `keelson serve` in a directory of its own, its commands, and the memory it took.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use keelson_testkit::{Program, Supervisor};

use crate::cluster::{CLAIM, NAMESPACE};

const SERVE: &str = "keelson";

pub(crate) struct Instance {
    supervisor: Supervisor,
    executable: PathBuf,
    kubeconfig: PathBuf,
    program: Program,
}

impl Instance {
    /// Runs nothing yet: its data directory may be filled first.
    pub(crate) fn new(executable: &Path, kubeconfig: &Path, share: &Path) -> Result<Self> {
        let supervisor = Supervisor::start("bench-serve")?;
        let program = Program::new(executable)
            .args(["serve", "--listen", "127.0.0.1:0", "--kubeconfig"])
            .arg(kubeconfig)
            .args(["--namespace", NAMESPACE])
            .arg("--data")
            .arg(data_below(supervisor.directory()))
            .arg("--claim")
            .arg(format!("{CLAIM}={}", share.display()));
        Ok(Self { supervisor, executable: executable.to_owned(), kubeconfig: kubeconfig.to_owned(), program })
    }

    pub(crate) fn data(&self) -> PathBuf {
        data_below(self.supervisor.directory())
    }

    pub(crate) fn serve(&mut self) -> Result<()> {
        self.supervisor.run(SERVE, &self.program)
    }

    /// Runs a command of the program to its end and returns what it printed.
    pub(crate) async fn answer(&self, words: &[&str]) -> Result<String> {
        let output = tokio::process::Command::new(&self.executable)
            .args(words)
            .args(["--namespace", NAMESPACE])
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("run keelson")?;
        ensure!(
            output.status.success(),
            "keelson {}: {}\nthe end of serve's log:\n{}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim(),
            self.supervisor.log_tail(SERVE)
        );
        String::from_utf8(output.stdout).context("read what keelson printed")
    }

    /// The most memory that the running process ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        peak_memory(&self.process_id()?.to_string())
    }

    pub(crate) fn process_id(&self) -> Result<u32> {
        let id = self.supervisor.process_id(SERVE);
        id.with_context(|| format!("keelson serve ended:\n{}", self.supervisor.log_tail(SERVE)))
    }

    pub(crate) fn kill(&self) -> Result<()> {
        self.supervisor.kill(SERVE)
    }

    /// Kills it and deletes all that it knew.
    pub(crate) async fn destroy(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await.context("stop keelson serve")
    }
}

/// The most memory that a process, a number or `self`, ever had resident, in bytes.
pub(crate) fn peak_memory(process: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context("read its status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.trim().strip_suffix(" kB")).and_then(|text| text.parse::<u64>().ok());
    Ok(kib.context("the status tells no peak")? << 10)
}

/// Where the data of one platform lies in its own directory.
fn data_below(directory: &Path) -> PathBuf {
    directory.join("data")
}
