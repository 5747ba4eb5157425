//! A client that is not ours, at work: a subcommand of `testbed/clients`. What it saw are its lines on stdout, each a
//! piece of JSON; what client-go complains of goes to a file. Waiting for a line is the caller's.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::programs::testbed_program;

/// Dropping it ends it.
pub struct Stranger {
    child: Child,
    stdin: Option<ChildStdin>,
    reader: Option<JoinHandle<Result<()>>>,
    told: Arc<Mutex<Vec<Value>>>,
    complaints: PathBuf,
}

impl Stranger {
    /// Starts one that complains into a file. `switches` are variables of client-go.
    pub fn start(complaints: PathBuf, words: &[&str], switches: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(testbed_program("clients")?);
        command.args(words).envs(switches.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&complaints).context("create the file of complaints")?);
        let mut child = command.spawn().context("start the client")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().context("the client has no output")?);
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&told);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let line = serde_json::from_str(&line?).context("read a line of the client")?;
                into.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
            Ok(())
        });
        Ok(Self { child, stdin, reader: Some(reader), told, complaints })
    }

    /// Gives it a line, which means what the subcommand says.
    pub fn ask(&mut self) -> Result<()> {
        self.stdin.as_mut().context("the client was dismissed")?.write_all(b"\n").context("ask the client")
    }

    /// All lines that have a key, so far.
    pub fn lines(&self, key: &str) -> Vec<Value> {
        self.seen().iter().filter(|line| line.get(key).is_some()).cloned().collect()
    }

    /// What these lines say under it.
    pub fn told(&self, key: &str) -> Vec<Value> {
        self.seen().iter().filter_map(|line| line.get(key)).cloned().collect()
    }

    /// Tells it to end, which it does in its own time.
    pub fn dismiss(&mut self) {
        drop(self.stdin.take());
    }

    /// How it ended, if it has. Everything that it said has been read then.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(status) = self.child.try_wait().context("look for the client")? else { return Ok(None) };
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| anyhow!("the client's lines were not read"))??;
        }
        Ok(Some(status))
    }

    /// All that client-go has complained of.
    pub fn complaints(&self) -> Result<String> {
        std::fs::read_to_string(&self.complaints).context("read the complaints of the client")
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Value>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
