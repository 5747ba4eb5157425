//! The programs that are measured, and the words with which each does the same.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::measured::Command;

const PASSWORD: &str = "a password of a bench, kept nowhere";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Keelson,
    Kopia,
    Restic,
    Rustic,
}

impl Tool {
    pub(super) const ALL: [Self; 4] = [Self::Keelson, Self::Kopia, Self::Restic, Self::Rustic];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Keelson => "keelson",
            Self::Kopia => "kopia",
            Self::Restic => "restic",
            Self::Rustic => "rustic",
        }
    }
}

/// What a program is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    /// As little as it can do with a repository: what every other run takes besides.
    Open,
    Backup,
    /// Without believing what it knows of unchanged files.
    BackupAnew,
    Restore,
    Verify,
    /// Removes all but the last backup.
    Prune,
}

/// One program with a repository and a home of its own.
pub(super) struct Bench<'a> {
    pub tool: Tool,
    pub program: OsString,
    /// Everything of it lies below.
    pub folder: &'a Path,
    pub source: &'a Path,
    pub target: &'a Path,
    /// As the last backup named itself.
    pub last: Option<String>,
}

impl Bench<'_> {
    pub(super) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    pub(super) fn commands(&self, verb: Verb) -> Result<Vec<Command>> {
        let runs = match self.tool {
            Tool::Keelson => self.keelson(verb)?,
            Tool::Kopia => self.kopia(verb)?,
            Tool::Restic => self.restic(verb),
            Tool::Rustic => self.rustic(verb),
        };
        let command =
            |words| Command { program: self.program.clone(), words, environment: self.environment() };
        Ok(runs.into_iter().map(command).collect())
    }

    /// Nothing of the user's is read, and each finds its repository.
    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let (store, cache) = (self.store().into_os_string(), self.folder.join("cache").into_os_string());
        let mut environment = vec![("HOME", self.folder.as_os_str().to_owned())];
        environment.extend(match self.tool {
            Tool::Keelson => vec![],
            Tool::Kopia => vec![
                ("KOPIA_PASSWORD", PASSWORD.into()),
                ("KOPIA_CONFIG_PATH", self.folder.join("kopia.config").into()),
                ("KOPIA_LOG_DIR", self.folder.join("log").into()),
                ("KOPIA_CHECK_FOR_UPDATES", "false".into()),
            ],
            Tool::Restic => vec![
                ("RESTIC_REPOSITORY", store),
                ("RESTIC_PASSWORD", PASSWORD.into()),
                ("RESTIC_CACHE_DIR", cache),
            ],
            Tool::Rustic => vec![
                ("RUSTIC_REPOSITORY", store),
                ("RUSTIC_PASSWORD", PASSWORD.into()),
                ("RUSTIC_CACHE_DIR", cache),
                ("RUSTIC_NO_PROGRESS", "true".into()),
            ],
        });
        environment
    }

    fn last(&self) -> Result<&str> {
        self.last.as_deref().context("nothing was backed up")
    }

    fn keelson(&self, verb: Verb) -> Result<Vec<Vec<OsString>>> {
        let store = self.store();
        let store = store.as_os_str();
        let mut run = words(["repository-engine"]);
        run.extend(match verb {
            Verb::Create => vec!["create".into(), store.to_owned()],
            Verb::Open => vec!["open".into(), store.to_owned()],
            Verb::Backup | Verb::BackupAnew => vec!["backup".into(), store.to_owned(), self.source.into()],
            Verb::Restore => {
                vec!["restore".into(), store.to_owned(), self.last()?.into(), self.target.into()]
            }
            Verb::Verify => vec!["verify".into(), store.to_owned()],
            Verb::Prune => vec!["prune".into(), store.to_owned(), self.last()?.into()],
        });
        Ok(vec![run])
    }

    fn kopia(&self, verb: Verb) -> Result<Vec<Vec<OsString>>> {
        let (store, cache) = (self.store(), self.folder.join("cache"));
        let backup = |more: &[&str]| {
            let mut run = words(["snapshot", "create", "--json"]);
            run.extend(more.iter().map(OsString::from));
            run.push(self.source.into());
            run
        };
        let keep = ["latest=1", "hourly=0", "daily=0", "weekly=0", "monthly=0", "annual=0"];
        let mut runs = match verb {
            Verb::Create => {
                let mut create = words(["repository", "create", "filesystem", "--path"]);
                create.extend([store.into(), "--cache-directory".into(), cache.into()]);
                // Unlike the others it compresses nothing unless told to.
                vec![create, words(["policy", "set", "--global", "--compression=zstd"])]
            }
            Verb::Open => vec![words(["snapshot", "list"])],
            Verb::Backup => vec![backup(&[])],
            Verb::BackupAnew => vec![backup(&["--force-hash=100"])],
            Verb::Restore => {
                let mut restore = words(["snapshot", "restore"]);
                restore.extend([self.last()?.into(), self.target.into()]);
                vec![restore]
            }
            Verb::Verify => vec![words(["snapshot", "verify", "--verify-files-percent=100"])],
            Verb::Prune => {
                let mut policy = words(["policy", "set", "--global"]);
                policy.extend(keep.map(|keep| format!("--keep-{keep}").into()));
                let expire = words(["snapshot", "expire", "--all", "--delete"]);
                // The first run says what is unused, the second deletes it.
                let maintain = words(["maintenance", "run", "--full", "--safety=none"]);
                vec![policy, expire, maintain.clone(), maintain]
            }
        };
        runs.iter_mut().for_each(|run| run.extend(words(["--no-auto-maintenance", "--no-progress"])));
        Ok(runs)
    }

    fn restic(&self, verb: Verb) -> Vec<Vec<OsString>> {
        let mut run = words(match verb {
            Verb::Create => &["init"][..],
            Verb::Open => &["snapshots"],
            Verb::Backup => &["backup"],
            Verb::BackupAnew => &["backup", "--force"],
            Verb::Restore => &["restore"],
            Verb::Verify => &["check", "--read-data"],
            Verb::Prune => &["forget", "--keep-last", "1", "--prune"],
        });
        match verb {
            Verb::Backup | Verb::BackupAnew => run.push(self.source.into()),
            Verb::Restore => run.extend([self.latest(), "--target".into(), self.target.into()]),
            Verb::Create | Verb::Open | Verb::Verify | Verb::Prune => {}
        }
        vec![run]
    }

    fn rustic(&self, verb: Verb) -> Vec<Vec<OsString>> {
        let mut run = words(match verb {
            Verb::Create => &["init"][..],
            Verb::Open => &["snapshots"],
            Verb::Backup => &["backup"],
            Verb::BackupAnew => &["backup", "--force"],
            Verb::Restore => &["restore"],
            Verb::Verify => &["check", "--read-data"],
            // Without the last word what is free goes with a later prune only.
            Verb::Prune => &["forget", "--keep-last", "1", "--prune", "--instant-delete"],
        });
        match verb {
            Verb::Backup | Verb::BackupAnew => run.push(self.source.into()),
            Verb::Restore => run.extend([self.latest(), self.target.into()]),
            Verb::Create | Verb::Open | Verb::Verify | Verb::Prune => {}
        }
        vec![run]
    }

    /// The source within the last backup.
    fn latest(&self) -> OsString {
        let mut latest = OsString::from("latest:");
        latest.push(self.source);
        latest
    }

    /// What a backup that said this can be called by later.
    pub(super) fn name_of(&self, said: &str) -> Result<Option<String>> {
        match self.tool {
            Tool::Keelson => Ok(Some(said.trim().to_owned())),
            Tool::Kopia => {
                let made: Value = serde_json::from_str(said.trim()).context("read what kopia said")?;
                Ok(Some(made["id"].as_str().context("kopia named no snapshot")?.to_owned()))
            }
            Tool::Restic | Tool::Rustic => Ok(None),
        }
    }
}

fn words<'a>(
    words: impl IntoIterator<Item = impl Into<OsString> + AsRef<std::ffi::OsStr> + 'a>,
) -> Vec<OsString> {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_its_repository_and_what_it_made_last() {
        let check = |tool, verb, expected: &[&str]| {
            let bench = Bench {
                tool,
                program: "program".into(),
                folder: Path::new("/w"),
                source: Path::new("/s"),
                target: Path::new("/t"),
                last: Some("made".to_owned()),
            };
            let commands = bench.commands(verb).unwrap();
            let line = |command: &Command| command.words.join(" ".as_ref()).into_string().unwrap();
            assert_eq!(commands.iter().map(line).collect::<Vec<_>>(), expected);
            assert!(commands.iter().all(|command| command.environment.contains(&("HOME", "/w".into()))));
        };
        check(Tool::Keelson, Verb::Restore, &["repository-engine restore /w/store made /t"]);
        check(Tool::Restic, Verb::Restore, &["restore latest:/s --target /t"]);
        check(Tool::Rustic, Verb::BackupAnew, &["backup --force /s"]);
        let quiet = "--no-auto-maintenance --no-progress";
        check(Tool::Kopia, Verb::Restore, &[&format!("snapshot restore made /t {quiet}")]);
        check(
            Tool::Kopia,
            Verb::BackupAnew,
            &[&format!("snapshot create --json --force-hash=100 /s {quiet}")],
        );
    }
}
