//! Queues of suites (`scripts/suites`) count each test once, and neither a suite that is killed, nor one that hangs, nor a
//! signal is taken for success or leaves a process. The suites here are scripts that say what libtest would.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use keelson_testkit::{eventually, processes_in};

const SUITES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/suites");
const GOOD: &str = "echo 'test a::one ... ok'; echo 'test a::two ... ignored'
    echo 'test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s'";
const BAD: &str = "echo 'test b::one ... ok'; echo 'test b::two ... FAILED'
    echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s'
    exit 101";
const KILLED: &str = "echo 'test c::one ... ok'; echo 'test c::two ... FAILED'; kill -KILL $$";
const SILENT: &str = "exit 0";
/// What is slow and has ended is not what it hangs at.
const HANGING: &str = "echo 'test d::one has been running for over 60 seconds'
    echo 'test d::two has been running for over 60 seconds'
    echo 'test d::one ... ok'
    sleep 600";
const WORDS: &str = "echo \"said: $* in $PWD\"; echo 'test result: ok. 0 passed; 0 failed; 0 ignored'";

const BUILT: &str = r#"{"reason":"compiler-artifact","package_id":"path+file:///x/crates/model#keelson-model@0.1.0","manifest_path":"/x/crates/model/Cargo.toml","target":{"kind":["lib"],"name":"keelson_model"},"profile":{"test":true},"executable":"/t/keelson_model-1"}
{"reason":"build-finished","success":true}
"#;

/// A table of suites, and the folder in which they work.
struct Table {
    folder: tempfile::TempDir,
    lines: String,
}

impl Table {
    fn empty() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, lines: String::new() })
    }

    /// Adds a suite that runs `script`.
    fn add(&mut self, queue: &str, package: &str, script: &str, words: &[&str]) -> Result<()> {
        let program = self.folder.path().join(format!("{package}.sh"));
        fs::write(&program, format!("#!/bin/bash\n{script}\n"))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let folder = self.folder.path().display();
        self.lines.push_str(&format!("{queue}\t{package}\ttest\tit\t{folder}\t{}", program.display()));
        words.iter().for_each(|word| self.lines.push_str(&format!("\t{word}")));
        self.lines.push('\n');
        Ok(())
    }

    fn start(&self, limit: &str) -> Result<Running> {
        let table = self.path("table");
        fs::write(&table, &self.lines)?;
        let script = Command::new(SUITES)
            .arg(&table)
            .arg(self.path("logs"))
            .env("KEELSON_SUITE_LIMIT", limit)
            .stdin(Stdio::null())
            .stdout(File::create(self.path("said"))?)
            .spawn();
        script.map(Running).context("run scripts/suites")
    }

    /// Whether all was well.
    fn run(&self, limit: &str) -> Result<bool> {
        self.start(limit)?.wait()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.path(name)).with_context(|| format!("read {name}"))
    }

    /// In an order that does not depend on which queue was faster.
    fn read_sorted(&self, name: &str) -> Result<Vec<String>> {
        let mut lines: Vec<String> = self.read(name)?.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    }
}

/// `scripts/suites` at work. Dropped before its end it gets the signal that ends its queues too: killed, it would leave them.
struct Running(Child);

impl Running {
    /// Whether all was well.
    fn wait(&mut self) -> Result<bool> {
        Ok(self.0.wait()?.success())
    }

    fn terminate(&self) -> Result<()> {
        let told = Command::new("kill").arg(self.0.id().to_string()).status()?;
        ensure!(told.success(), "it has ended by itself");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) && self.terminate().is_ok() {
            drop(self.0.wait());
        }
    }
}

async fn is_empty(folder: &Path) -> Result<()> {
    eventually("no process is left", async || Ok(processes_in(folder).is_empty().then_some(()))).await
}

/// What `cargo xtask suites` prints about messages of cargo, and whether it is content.
fn list(messages: &str) -> Result<(bool, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("built");
    fs::write(&path, messages)?;
    let listed = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("suites").arg(&path).output()?;
    Ok((listed.status.success(), String::from_utf8(listed.stdout)?))
}

#[test]
fn suites_are_those_that_cargo_says_it_has_built_and_none_is_an_error() -> Result<()> {
    let (content, listed) = list(BUILT)?;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(content && lines.len() == 2, "{listed}");
    assert_eq!(lines[0], "crates\tkeelson-model\tlib\tkeelson_model\t/x/crates/model\t/t/keelson_model-1");
    assert!(lines[1].starts_with("crates\tworkspace\tdoc\ttests\t"), "{listed}");
    let (content, refused) = list("{\"reason\":\"build-finished\",\"success\":true}\n")?;
    assert!(!content && refused.starts_with("error: no tests have been built"), "{refused}");
    Ok(())
}

#[test]
fn results_are_counted_and_a_suite_without_one_has_failed() -> Result<()> {
    let mut table = Table::empty()?;
    table.add("one", "good", GOOD, &[])?;
    table.add("one", "killed", KILLED, &[])?;
    table.add("two", "bad", BAD, &[])?;
    table.add("two", "silent", SILENT, &[])?;
    assert!(!table.run("9m")?);
    assert_eq!(table.read_sorted("logs/counts")?, ["0 1 0", "1 0 1", "1 1 0", "1 2 0"]);
    assert_eq!(
        table.read_sorted("logs/failures")?,
        [
            "b::two",
            "c::two",
            "suite killed test it ended with status 137",
            "suite silent test it ended with status 0"
        ]
    );
    let said = table.read("said")?;
    let whole = "     Running bad test it\ntest b::one ... ok\ntest b::two ... FAILED\ntest result: FAILED. ";
    assert!(said.contains(whole), "{said}");
    assert!(said.contains("=== killed test it: 1 passed, 2 failed, 0 skipped"), "{said}");
    Ok(())
}

#[test]
fn a_suite_gets_its_words_in_its_folder_and_all_is_well_if_none_fails() -> Result<()> {
    let mut table = Table::empty()?;
    table.add("one", "words", WORDS, &["some::", "more::", "--skip", "others::"])?;
    table.add("two", "good", GOOD, &[])?;
    assert!(table.run("9m")?);
    let said = table.read("said")?;
    let folder = table.folder.path().display().to_string();
    assert!(said.contains(&format!("said: some:: more:: --skip others:: in {folder}\n")), "{said}");
    assert!(said.contains("=== words test it some more: begun\n"), "{said}");
    assert_eq!(table.read("logs/failures")?, "");
    Ok(())
}

#[tokio::test]
async fn a_suite_that_hangs_is_ended_and_says_at_what_and_the_next_one_runs() -> Result<()> {
    let mut table = Table::empty()?;
    table.add("one", "hanging", HANGING, &[])?;
    table.add("one", "good", GOOD, &[])?;
    assert!(!table.run("10s")?);
    assert_eq!(table.read("logs/counts")?, "1 1 0\n1 0 1\n");
    assert_eq!(
        table.read("logs/failures")?,
        "suite hanging test it did not end within 10s, while these went on: d::two\n"
    );
    is_empty(table.folder.path()).await
}

#[tokio::test]
async fn a_signal_ends_every_queue_and_shows_what_was_said_last() -> Result<()> {
    let mut table = Table::empty()?;
    for (queue, package) in [("one", "first"), ("two", "second")] {
        table.add(queue, package, HANGING, &[])?;
        table.add(queue, &format!("{package}-next"), GOOD, &[])?;
    }
    let mut running = table.start("9m")?;
    eventually("both suites run", async || {
        let logs = ["logs/suite-1.log", "logs/suite-3.log"];
        let begun = logs.iter().all(|log| table.read(log).is_ok_and(|said| said.contains("d::one ... ok")));
        Ok(begun.then_some(()))
    })
    .await?;
    running.terminate()?;
    assert!(!running.wait()?);
    is_empty(table.folder.path()).await?;
    let end = "was ended by a signal, while these went on: d::two";
    assert_eq!(
        table.read_sorted("logs/failures")?,
        [format!("suite first test it {end}"), format!("suite second test it {end}")]
    );
    let said = table.read("said")?;
    assert_eq!(said.matches("test d::two has been running for over 60 seconds\n").count(), 2, "{said}");
    assert!(!said.contains("-next"), "{said}");
    Ok(())
}
