//! What a cluster leaves on this machine for as long as it runs: files, processes, a wire, mounts, groups of processes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::eventually::eventually;
use crate::supervisor::processes_in;

/// Where a cluster shows on this machine. Needs nothing of the cluster, so that it may be asked when that is gone.
pub struct Traces {
    directory: PathBuf,
    number: String,
}

impl Traces {
    /// Of a cluster that runs, which has all of them.
    pub fn of(directory: &Path) -> Result<Self> {
        let held = fs::read_to_string(directory.join("held")).context("read the number of the cluster")?;
        let (_, number) = held.trim().split_once(' ').context("read the number of the cluster")?;
        let traces = Self { directory: directory.to_owned(), number: number.to_owned() };
        ensure!(traces.found()?.len() == 5, "a cluster that runs shows everywhere: {:?}", traces.found()?);
        Ok(traces)
    }

    /// What there is of them at the moment, in words.
    pub fn found(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        if self.directory.exists() {
            found.push(self.directory.display().to_string());
        }
        if !processes_in(&self.directory).is_empty() {
            found.push("processes".to_owned());
        }
        if Path::new("/sys/class/net").join(format!("kt-{}-0", self.number)).exists() {
            found.push("a wire".to_owned());
        }
        if mounts()?.contains(&*self.directory.to_string_lossy()) {
            found.push("mounts".to_owned());
        }
        let group = format!("keelson-testbed-{}-0", self.number);
        let mut hierarchies = fs::read_dir("/sys/fs/cgroup")?.map_while(Result::ok);
        let root = Path::new("/sys/fs/cgroup").join(&group).exists();
        if root || hierarchies.any(|hierarchy| hierarchy.path().join(&group).exists()) {
            found.push("groups of processes".to_owned());
        }
        Ok(found)
    }

    pub async fn are_gone(&self) -> Result<()> {
        eventually("nothing is left of the cluster", async || Ok(self.found()?.is_empty().then_some(())))
            .await
    }
}

/// Those of all processes, each in its namespace.
fn mounts() -> Result<String> {
    let mut mounts = String::new();
    for process in fs::read_dir("/proc")?.map_while(Result::ok) {
        // A process may have ended by now.
        mounts.push_str(&fs::read_to_string(process.path().join("mountinfo")).unwrap_or_default());
    }
    Ok(mounts)
}
