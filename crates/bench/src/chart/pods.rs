//! What pods take of memory and processors, as the groups of processes tell in which their node keeps them. Both versions of
//! control groups are read, whichever counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::cluster::{Cluster, NAMESPACE};
use crate::instance::peak_memory;

/// What selects the pod of the platform, and those that watch over it.
pub(super) const SERVE: &str = "component=crypto";
const GUARD: &str = "component=guard";
/// Where all groups are.
const GROUPS: &str = "/sys/fs/cgroup";
/// The time of processors, in the first version of groups.
const TIME_OF_FIRST: &str = "cpuacct.usage";

const WATCHED: Duration = Duration::from_secs(60);
const SAMPLE: Duration = Duration::from_secs(1);
/// Idle is who has ended what was set going: starting, recovering. The share is of one processor.
const SETTLED_SHARE: f64 = 0.1;
const SETTLE_PATIENCE: Duration = Duration::from_secs(120);

/// What a pod takes while nobody asks it for anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Taken {
    /// The largest working set, as a kubelet counts it: all but files that were not used lately.
    pub(super) working_set: u64,
    /// The most of what no file stands behind.
    pub(super) anonymous: u64,
    /// Of one processor, on average.
    pub(super) processor_share: f64,
}

/// Of several pods, the one that takes most.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Idle {
    pub(super) serve: Taken,
    pub(super) guard: Taken,
}

pub(super) struct Pods {
    serve: Vec<Group>,
    guard: Vec<Group>,
}

/// The folders in which a pod's memory and its time of processors are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    memory: PathBuf,
    processor: PathBuf,
}

/// A pod that is being watched.
struct Watched<'a> {
    group: &'a Group,
    time_before: Duration,
    taken: Taken,
}

impl Pods {
    pub(super) async fn find(cluster: &Cluster) -> Result<Self> {
        Ok(Self { serve: groups(cluster, SERVE).await?, guard: groups(cluster, GUARD).await? })
    }

    /// Waits until all are at rest, or long enough, and watches them for a minute.
    pub(super) async fn watch(&self) -> Result<Idle> {
        self.settle().await?;
        let began = Instant::now();
        let mut serve = watched(&self.serve)?;
        let mut guard = watched(&self.guard)?;
        while began.elapsed() < WATCHED {
            serve.iter_mut().chain(&mut guard).try_for_each(Watched::sample)?;
            tokio::time::sleep(SAMPLE).await;
        }
        let took = began.elapsed();
        Ok(Idle { serve: most(&serve, took)?, guard: most(&guard, took)? })
    }

    /// The most memory that a process of the platform's pod ever had resident, in bytes.
    pub(super) fn peak_memory_of_serve(&self) -> Result<u64> {
        let mut processes = Vec::new();
        self.serve.iter().for_each(|group| collect_processes(&group.memory, &mut processes));
        // The sandbox's own process is among them, and smaller.
        let peaks: Vec<u64> = processes.iter().filter_map(|process| peak_memory(process).ok()).collect();
        peaks.into_iter().max().context("no process of the platform's pod is there")
    }

    async fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        loop {
            let (before, began) = (self.time()?, Instant::now());
            tokio::time::sleep(SAMPLE).await;
            let share = share(self.time()?.saturating_sub(before), began.elapsed());
            if share < SETTLED_SHARE || Instant::now() > deadline {
                return Ok(());
            }
        }
    }

    fn time(&self) -> Result<Duration> {
        self.serve.iter().chain(&self.guard).map(Group::time).sum()
    }
}

fn watched(groups: &[Group]) -> Result<Vec<Watched<'_>>> {
    groups.iter().map(Watched::begin).collect()
}

impl<'a> Watched<'a> {
    fn begin(group: &'a Group) -> Result<Self> {
        Ok(Self { group, time_before: group.time()?, taken: Taken::default() })
    }

    fn sample(&mut self) -> Result<()> {
        let taken = &mut self.taken;
        taken.working_set = taken.working_set.max(self.group.working_set()?);
        taken.anonymous = taken.anonymous.max(self.group.anonymous()?);
        Ok(())
    }
}

/// What the largest of each takes.
fn most(watched: &[Watched<'_>], took: Duration) -> Result<Taken> {
    let mut most = Taken::default();
    for Watched { group, time_before, taken } in watched {
        let share = share(group.time()?.saturating_sub(*time_before), took);
        most = Taken {
            working_set: most.working_set.max(taken.working_set),
            anonymous: most.anonymous.max(taken.anonymous),
            processor_share: most.processor_share.max(share),
        };
    }
    Ok(most)
}

fn share(time: Duration, took: Duration) -> f64 {
    time.as_secs_f64() / took.as_secs_f64()
}

async fn groups(cluster: &Cluster, selector: &str) -> Result<Vec<Group>> {
    let ids = "jsonpath={range .items[*]}{.metadata.uid} {end}";
    let ids = cluster.kubectl(&["get", "pods", "-n", NAMESPACE, "-l", selector, "-o", ids], b"").await?;
    let groups: Vec<Group> =
        ids.split_whitespace().map(|id| Group::find(Path::new(GROUPS), id)).collect::<Result<_>>()?;
    ensure!(!groups.is_empty(), "no pod is selected by {selector}");
    Ok(groups)
}

impl Group {
    fn find(root: &Path, pod: &str) -> Result<Self> {
        let mut folders = Vec::new();
        collect_folders(root, &format!("pod{pod}"), &mut folders);
        let counts_memory = |folder: &&PathBuf| memory_file(folder).is_some();
        // Where both versions are mounted, the second may have a group that nobody is in.
        let is_first = |folder: &&PathBuf| folder.join(TIME_OF_FIRST).exists();
        let counts_time = |folder: &&PathBuf| time(folder).is_ok();
        let memory = folders.iter().find(counts_memory).cloned();
        let processor = folders.iter().find(is_first).or_else(|| folders.iter().find(counts_time)).cloned();
        let (memory, processor) = memory.zip(processor).with_context(|| {
            format!("no group of processes below {} counts for pod {pod}", root.display())
        })?;
        Ok(Self { memory, processor })
    }

    fn time(&self) -> Result<Duration> {
        time(&self.processor)
    }

    fn working_set(&self) -> Result<u64> {
        let file = memory_file(&self.memory).context("a pod has ended")?;
        let used = fs::read_to_string(file).context("read the memory of a pod")?;
        let used: u64 = used.trim().parse().context("read the memory of a pod")?;
        Ok(used.saturating_sub(self.stat(["total_inactive_file", "inactive_file"])?))
    }

    fn anonymous(&self) -> Result<u64> {
        self.stat(["total_rss", "anon"])
    }

    /// A figure with what is below the pod: by its name in the first version, or in the second.
    fn stat(&self, names: [&str; 2]) -> Result<u64> {
        let stat = fs::read_to_string(self.memory.join("memory.stat")).context("read the memory of a pod")?;
        let found = names.iter().find_map(|name| figure(&stat, name));
        found.with_context(|| format!("memory.stat tells no {}", names[1]))
    }
}

/// The file that tells how much memory is used: of the second version, or of the first.
fn memory_file(folder: &Path) -> Option<PathBuf> {
    let files = ["memory.current", "memory.usage_in_bytes"].map(|file| folder.join(file));
    files.into_iter().find(|file| file.exists())
}

/// How long processors have worked for a group, as the first version tells it or the second.
fn time(folder: &Path) -> Result<Duration> {
    if let Ok(nanoseconds) = fs::read_to_string(folder.join(TIME_OF_FIRST)) {
        return Ok(Duration::from_nanos(nanoseconds.trim().parse().context("read a time of processors")?));
    }
    let stat = fs::read_to_string(folder.join("cpu.stat")).context("read a time of processors")?;
    figure(&stat, "usage_usec").map(Duration::from_micros).context("cpu.stat tells no usage_usec")
}

fn figure(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Folders of that name. What has gone meanwhile has none.
fn collect_folders(below: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for folder in folders(below) {
        if folder.ends_with(name) {
            found.push(folder);
        } else {
            collect_folders(&folder, name, found);
        }
    }
}

fn collect_processes(group: &Path, found: &mut Vec<String>) {
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(processes.lines().map(str::to_owned));
    folders(group).iter().for_each(|folder| collect_processes(folder, found));
}

/// Not behind links: of a hierarchy with two names one is enough.
fn folders(below: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(below).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) -> Result<()> {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
            fs::write(path, text)?;
        }
        Ok(())
    }

    #[test]
    fn both_versions_of_groups_are_read() -> Result<()> {
        let first = tempfile::tempdir()?;
        write(
            first.path(),
            &[
                ("unified/node/podx/cpu.stat", "usage_usec 0\n"),
                ("memory/node/kubepods/podx/memory.usage_in_bytes", "5000\n"),
                (
                    "memory/node/kubepods/podx/memory.stat",
                    "rss 1\ninactive_file 2\ntotal_rss 3000\ntotal_inactive_file 1500\n",
                ),
                ("memory/node/kubepods/podx/container/cgroup.procs", "7\n9\n"),
                ("cpu/node/kubepods/podx/cpu.stat", "nr_periods 0\n"),
                ("cpuacct/node/kubepods/podx/cpuacct.usage", "2500000000\n"),
            ],
        )?;
        let second = tempfile::tempdir()?;
        write(
            second.path(),
            &[
                ("node/kubepods/podx/memory.current", "5000\n"),
                ("node/kubepods/podx/memory.stat", "anon 3000\nfile 2000\ninactive_file 1500\n"),
                ("node/kubepods/podx/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
            ],
        )?;
        for root in [first.path(), second.path()] {
            let group = Group::find(root, "x")?;
            assert_eq!((group.working_set()?, group.anonymous()?), (3500, 3000), "{}", root.display());
            assert_eq!(group.time()?, Duration::from_millis(2500));
            assert!(Group::find(root, "y").is_err());
        }
        let mut processes = Vec::new();
        collect_processes(&Group::find(first.path(), "x")?.memory, &mut processes);
        assert_eq!(processes, ["7", "9"]);
        Ok(())
    }

    fn write_pod(root: &Path, name: &str, memory: &str, time: &str) -> Result<()> {
        let stat = "anon 5\ninactive_file 10\n";
        for (file, text) in [("memory.current", memory), ("memory.stat", stat), ("cpu.stat", time)] {
            write(root, &[(format!("{name}/{file}").as_str(), text)])?;
        }
        Ok(())
    }

    #[test]
    fn of_several_pods_the_largest_counts() -> Result<()> {
        let root = tempfile::tempdir()?;
        write_pod(root.path(), "poda", "110", "usage_usec 0\n")?;
        write_pod(root.path(), "podb", "60", "usage_usec 0\n")?;
        let groups = [Group::find(root.path(), "a")?, Group::find(root.path(), "b")?];
        let mut watched = watched(&groups)?;
        watched.iter_mut().try_for_each(Watched::sample)?;
        write_pod(root.path(), "podb", "60", "usage_usec 3000000\n")?;
        let taken = most(&watched, Duration::from_secs(60))?;
        assert_eq!(taken, Taken { working_set: 100, anonymous: 5, processor_share: 0.05 });
        Ok(())
    }
}
