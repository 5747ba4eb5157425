//! Programs that live on after the process that started them: a person's test bed between `up` and `down`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::{undo, wait_until};

/// Who supervises the programs of a directory. Written down, read again by a later process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Detached {
    directory: PathBuf,
    shell: u32,
    /// In ticks since the machine booted. A process id is used again one day; with this it is not confused.
    started: u64,
}

impl Detached {
    pub(super) fn of(shell: u32, directory: &Path) -> Result<Self> {
        let started = start_time(shell).context("read when the supervisor was started")?;
        Ok(Self { directory: directory.to_owned(), shell, started })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Process id of the supervising shell.
    pub fn id(&self) -> u32 {
        self.shell
    }

    pub fn is_running(&self) -> bool {
        start_time(self.shell) == Some(self.started)
    }

    /// Kills the programs with SIGKILL, by way of their supervisor, and removes the directory. May be repeated.
    pub fn end(&self) -> Result<()> {
        if self.is_running() {
            let shell =
                i32::try_from(self.shell).ok().and_then(Pid::from_raw).context("read a process id")?;
            kill_process(shell, Signal::KILL).context("kill the supervisor")?;
        }
        ensure!(wait_until(|| processes_in(&self.directory).is_empty()), "the programs do not end");
        if self.directory.exists() {
            undo(&self.directory)?;
            fs::remove_dir_all(&self.directory)
                .with_context(|| format!("remove {}", self.directory.display()))?;
        }
        Ok(())
    }
}

/// Ids of the processes that work in `directory`, as a supervisor and all its programs do.
pub fn processes_in(directory: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| {
            fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory))
        })
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect()
}

fn start_time(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it, in parentheses, may hold spaces. Counted from the state, the start is the 20th field.
    let (_, after_command) = stat.rsplit_once(") ")?;
    let mut fields = after_command.split(' ');
    let is_zombie = fields.next()? == "Z";
    let started = fields.nth(18)?.parse().ok()?;
    (!is_zombie).then_some(started)
}
