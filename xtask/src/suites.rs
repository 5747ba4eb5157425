//! `cargo xtask suites`: the suites of all tests, in the queues in which `./test` runs them beside each other.
//!
//! Builds and runs nothing. It reads what cargo says that it has built, and prints a line for each suite: queue, package,
//! kind, target, folder to run in, program and its words, separated by tabs (`scripts/suites`). Of the environment that
//! cargo gives to tests, ours use nothing that was not compiled into them.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::built::{Built, executables};
use crate::tree;

/// The suites of a queue do not meet, and come in the order of this table. Of suites that are not named here all run in
/// the queue of the crates, at last. A test runs in the first part that takes it.
const PARTS: &[Part] = &[
    // A number of a cluster that is free again must not be another's by the time somebody looks what was left of it.
    Part { queue: Queue::Clusters, package: "keelson-e2e", target: "it", takes: BY_CHART_MISHAPS },
    Part { queue: Queue::Clusters, package: "keelson-e2e", target: "it", takes: BY_CHART_ELSEWHERE },
    Part { queue: Queue::Clusters, package: "keelson-e2e", target: "it", takes: &["by_chart::"] },
    Part { queue: Queue::Clusters, package: "keelson-testkit", target: "it", takes: &["nodes::"] },
    Part { queue: Queue::Clusters, package: "xtask", target: "it", takes: &["testbed::"] },
    // `guard` looks at the clock, and the clients of `rude` take both cores.
    Part { queue: Queue::Stories, package: "keelson-e2e", target: "it", takes: ADVERSITIES },
    Part { queue: Queue::Stories, package: "keelson-e2e", target: "it", takes: ALL },
    // The longest of the others.
    Part { queue: Queue::Crates, package: "keelson-protection", target: "it", takes: ALL },
    Part { queue: Queue::Crates, package: "keelson-extension", target: "it", takes: ALL },
    // Explorers and `throughput` take both cores: when adversities have ended.
    Part { queue: Queue::Crates, package: "keelson-repository", target: "it", takes: ALL },
];
const ALL: &[&str] = &[];
/// Parts of them, so that no suite takes nearly as long as one may.
const BY_CHART_MISHAPS: &[&str] = &["by_chart::choices::", "by_chart::mishaps::"];
const BY_CHART_ELSEWHERE: &[&str] =
    &["by_chart::passphrases::", "by_chart::registries::", "by_chart::rehearsals::"];
/// Damage is not among them: it shares the world that stories of other files recover from, and a suite makes its own.
const ADVERSITIES: &[&str] = &["attack::", "guard::", "kills::", "neighbour::", "rude::"];

/// There are none today. Cargo builds those that come.
const DOC_TESTS: &[&str] = &["test", "--locked", "--workspace", "--doc", "--no-fail-fast"];

#[derive(Args)]
pub(crate) struct Arguments {
    /// What `cargo build --tests --message-format=json` has said; without it standard input
    messages: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    Clusters,
    Stories,
    Crates,
}

/// Some tests of a target, or all of them.
struct Part {
    queue: Queue,
    package: &'static str,
    target: &'static str,
    /// What occurs in the names of its tests. Nothing: it takes those that no part before it takes.
    takes: &'static [&'static str],
}

/// What is run.
struct Suite<'a> {
    queue: Queue,
    package: &'a str,
    kind: &'a str,
    target: &'a str,
    folder: &'a Path,
    program: &'a Path,
    words: Vec<&'static str>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let messages = match &arguments.messages {
        Some(path) => fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?,
        None => io::read_to_string(io::stdin()).context("read standard input")?,
    };
    let mut tests: Vec<Built> = executables(&messages).into_iter().filter(|built| built.is_test).collect();
    ensure!(
        !tests.is_empty(),
        "no tests have been built by what was read: give what `cargo build --tests --message-format=json` prints"
    );
    tests.sort();
    for suite in suites(&tests) {
        println!("{suite}");
    }
    println!("{}", doc_tests(&tree::root()?));
    Ok(ExitCode::SUCCESS)
}

fn suites(tests: &[Built]) -> Vec<Suite<'_>> {
    let mut suites = Vec::new();
    for (index, part) in PARTS.iter().enumerate() {
        let of_part = tests.iter().filter(|built| part.is_of(built));
        suites.extend(of_part.map(|built| Suite::new(part.queue, built, part.takes, &PARTS[..index])));
    }
    let is_whole = |built: &&Built| PARTS.iter().any(|part| part.is_of(built) && part.takes.is_empty());
    let others = tests.iter().filter(|built| !is_whole(built));
    suites.extend(others.map(|built| Suite::new(Queue::Crates, built, ALL, PARTS)));
    suites
}

fn doc_tests(root: &Path) -> Suite<'_> {
    Suite {
        queue: Queue::Crates,
        package: "workspace",
        kind: "doc",
        target: "tests",
        folder: root,
        program: Path::new("cargo"),
        words: DOC_TESTS.to_vec(),
    }
}

impl Part {
    fn is_of(&self, built: &Built) -> bool {
        built.package == self.package && built.target == self.target
    }
}

impl<'a> Suite<'a> {
    /// The tests that `takes` names and no part of `before`.
    fn new(queue: Queue, built: &'a Built, takes: &[&'static str], before: &[Part]) -> Self {
        let taken = before.iter().filter(|part| part.is_of(built)).flat_map(|part| part.takes);
        let skipped = taken.flat_map(|name| ["--skip", *name]);
        Self {
            queue,
            package: &built.package,
            kind: &built.kind,
            target: &built.target,
            folder: &built.folder,
            program: &built.executable,
            words: takes.iter().copied().chain(skipped).collect(),
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clusters => "clusters",
            Self::Stories => "stories",
            Self::Crates => "crates",
        })
    }
}

impl fmt::Display for Suite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, package, kind, target, folder, program, words } = self;
        write!(f, "{queue}\t{package}\t{kind}\t{target}\t{}\t{}", folder.display(), program.display())?;
        words.iter().try_for_each(|word| write!(f, "\t{word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn built(package: &str, kind: &str, target: &str) -> Built {
        Built {
            package: package.to_owned(),
            kind: kind.to_owned(),
            target: target.to_owned(),
            folder: "/x".into(),
            executable: "/t/program".into(),
            is_test: true,
        }
    }

    #[test]
    fn a_test_runs_in_the_first_part_that_takes_it_and_in_no_other() {
        let tests = [built("keelson-model", "lib", "keelson_model"), built("keelson-testkit", "test", "it")];
        let lines: Vec<String> = suites(&tests).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "clusters\tkeelson-testkit\ttest\tit\t/x\t/t/program\tnodes::",
                "crates\tkeelson-model\tlib\tkeelson_model\t/x\t/t/program",
                "crates\tkeelson-testkit\ttest\tit\t/x\t/t/program\t--skip\tnodes::",
            ]
        );
        let scenarios = [built("keelson-e2e", "test", "it")];
        let words: Vec<String> = suites(&scenarios).iter().map(|suite| suite.words.join(" ")).collect();
        let adversities = ADVERSITIES.join(" ");
        let skipping = |names: &[&str]| format!("--skip {}", names.join(" --skip "));
        let mishaps = skipping(BY_CHART_MISHAPS);
        let taken = format!("{mishaps} {}", skipping(BY_CHART_ELSEWHERE));
        assert_eq!(words.len(), 5);
        assert_eq!(words[0], "by_chart::choices:: by_chart::mishaps::");
        assert_eq!(words[1], format!("{} {mishaps}", BY_CHART_ELSEWHERE.join(" ")));
        assert_eq!(words[2], format!("by_chart:: {taken}"));
        assert_eq!(words[3], format!("{adversities} {taken} --skip by_chart::"));
        assert_eq!(words[4], format!("{taken} --skip by_chart:: {}", skipping(ADVERSITIES)));
    }

    #[test]
    fn doc_tests_are_a_suite_of_cargo() {
        let line = doc_tests(Path::new("/x")).to_string();
        assert_eq!(
            line,
            "crates\tworkspace\tdoc\ttests\t/x\tcargo\ttest\t--locked\t--workspace\t--doc\t--no-fail-fast"
        );
    }

    #[test]
    fn parts_are_of_modules_that_are_there() -> Result<()> {
        let tree = Tree::here()?;
        for (index, part) in PARTS.iter().enumerate() {
            let package = tree.packages().iter().find(|package| package.name == part.package);
            let folder = tree.folder_of(package.with_context(|| format!("there is no {}", part.package))?);
            let main = if part.target == "it" { "tests/it/main.rs" } else { "src/lib.rs" };
            assert!(tree.file(&format!("{folder}/{main}")).is_some(), "{} of {folder}", part.target);
            for taken in part.takes {
                let module = taken.trim_end_matches("::").replace("::", "/");
                assert!(
                    tree.file(&format!("{folder}/tests/it/{module}.rs")).is_some(),
                    "{taken} of {folder}"
                );
            }
            let same = |other: &&Part| other.package == part.package && other.target == part.target;
            let whole = PARTS[..index].iter().filter(same).any(|other| other.takes.is_empty());
            assert!(!whole, "{} {} runs whole before a part of it", part.package, part.target);
        }
        Ok(())
    }
}
