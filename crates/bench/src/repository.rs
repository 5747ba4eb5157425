//! Backups of files by the repository, beside three programs that do that alone: the same data, the same kind of store (a
//! directory), one run. Each is a process of its own.
//!
//! Keelson backs up objects of Kubernetes so far. What is measured is the crate `keelson-repository` under a small program
//! ([`engine`]) that stores folders of files as streams through its public API.

mod archive;
mod content;
mod dataset;
pub(crate) mod engine;
mod figures;
pub(crate) mod measured;
mod tools;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

pub(crate) use self::dataset::Kind;
use self::dataset::{Dataset, compare};
pub(crate) use self::figures::Figures;
use self::figures::{Measured, Work};
use self::measured::{Command, Usage};
use self::tools::{Bench, Tool, Verb};
use crate::index::folder_bytes;
use crate::say;

/// `peers` is the folder in which the other programs lie.
pub(crate) async fn measure(peers: &Path, kinds: &[Kind], percent: u64) -> Result<Figures> {
    std::fs::create_dir_all("target").context("make a folder for the data")?;
    let folder = tempfile::Builder::new().prefix("bench-repository-").tempdir_in("target")?;
    let folder = folder.path().canonicalize().context("find the folder for the data")?;
    let mut figures = Figures { percent, datasets: Vec::new() };
    for &kind in kinds {
        let dataset = Dataset::plan(kind, percent);
        let mut tools = Vec::new();
        for tool in Tool::ALL {
            say(&format!("{} files, {}", kind.name(), tool.name()));
            let below = folder.join(format!("{}-{}", kind.name(), tool.name()));
            let lines = play(&dataset, tool, program(tool, peers)?, &below).await;
            tools.push((tool, lines.with_context(|| format!("{} files, {}", kind.name(), tool.name()))?));
            std::fs::remove_dir_all(&below).context("make room")?;
        }
        let (files, bytes) = (dataset.files(), dataset.bytes());
        figures.datasets.push(figures::OfDataset { kind, files, bytes, tools });
    }
    Ok(figures)
}

fn program(tool: Tool, peers: &Path) -> Result<PathBuf> {
    match tool {
        Tool::Keelson => std::env::current_exe().context("find this program"),
        Tool::Kopia | Tool::Restic | Tool::Rustic => Ok(peers.join(tool.name())),
    }
}

/// One program, from an empty repository to a pruned one. The data is made anew for each, so that each finds it as much in
/// the kernel's memory as the others.
async fn play(dataset: &Dataset, tool: Tool, program: PathBuf, folder: &Path) -> Result<Vec<Measured>> {
    let (source, target) = (folder.join("source"), folder.join("target"));
    std::fs::create_dir_all(&target)?;
    dataset.create(&source)?;
    let bench = Bench { tool, program: program.into(), folder, source: &source, target: &target, last: None };
    let mut player = Player { bench, measured: Vec::new() };
    player.run(Verb::Create).await?;
    player.measure(Work::Open, Verb::Open).await?;
    player.measure(Work::First, Verb::Backup).await?;
    player.measure(Work::Unchanged, Verb::Backup).await?;
    player.measure(Work::UnchangedAnew, Verb::BackupAnew).await?;
    dataset.change(&source)?;
    player.measure(Work::Changed, Verb::Backup).await?;
    player.measure(Work::Restore, Verb::Restore).await?;
    let began = Instant::now();
    compare(&source, &target)?;
    say(&format!("all came back the same, compared in {:.0} s", began.elapsed().as_secs_f64()));
    std::fs::remove_dir_all(&target)?;
    player.measure(Work::Verify, Verb::Verify).await?;
    dataset.halve(&source)?;
    player.measure(Work::Halved, Verb::Backup).await?;
    player.measure(Work::Prune, Verb::Prune).await?;
    std::fs::create_dir_all(&target)?;
    player.run(Verb::Restore).await?;
    compare(&source, &target).context("after the prune")?;
    Ok(player.measured)
}

struct Player<'a> {
    bench: Bench<'a>,
    measured: Vec<Measured>,
}

impl Player<'_> {
    async fn measure(&mut self, work: Work, verb: Verb) -> Result<()> {
        // What others left unwritten is not this one's to write.
        rustix::fs::sync();
        let usage = self.run(verb).await?;
        let stored_bytes = folder_bytes(&self.bench.store())?;
        let measured = Measured { work, usage, stored_bytes };
        say(&measured.to_string());
        self.measured.push(measured);
        Ok(())
    }

    async fn run(&mut self, verb: Verb) -> Result<Usage> {
        let note = self.bench.folder.join("usage");
        let mut usage = Usage::NONE;
        let commands: Vec<Command> = self.bench.commands(verb)?;
        for command in commands {
            let (took, said) = command.run(&note).await.with_context(|| format!("{verb:?}"))?;
            usage = usage.then(took);
            if matches!(verb, Verb::Backup | Verb::BackupAnew)
                && let Some(name) = self.bench.name_of(&said)?
            {
                self.bench.last = Some(name);
            }
        }
        if usage.seconds <= 0.0 {
            bail!("{verb:?} took no time");
        }
        Ok(usage)
    }
}
