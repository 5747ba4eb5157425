//! Runs servers so that nothing of them outlives their owner, however the owner ends.
//!
//! A thread's death signal would not do: the kernel sends it when the *thread* that spawned a child ends, and
//! test threads come and go. A small shell (`supervise.bash`) is the parent of all programs instead; it notices
//! our end by a closed pipe. It is its own process group, so a Ctrl-C meant for us does not reach it.

mod detached;

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

pub use self::detached::{Detached, processes_in};
use crate::private_files::{FOLDER_MODE, make_private_folder, write_private};

const SCRIPT: &str = include_str!("supervisor/supervise.bash");

/// A script of this name in the directory is run once the programs are gone, and before the directory is: for what they
/// leave outside of it. It may be run twice.
pub(crate) const UNDO: &str = "undo";

/// How long a program may take to be started or to be gone; both take milliseconds on an idle machine. One that stands still
/// for a minute, as a virtual machine may, is none to give up for.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);

/// How much of a server's log an error quotes.
const LOG_TAIL_LINES: usize = 15;

/// A program to run: its words and the variables it gets beside ours.
#[derive(Clone)]
pub struct Program {
    words: Vec<OsString>,
    environment: Vec<OsString>,
}

impl Program {
    pub fn new(executable: impl Into<OsString>) -> Self {
        Self { words: vec![executable.into()], environment: Vec::new() }
    }

    pub fn arg(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    pub fn args<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}").into());
        self
    }

    /// The words as the shells read them: each ended by a NUL.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let prefix = (!self.environment.is_empty()).then(|| OsString::from("env"));
        let words = prefix.iter().chain(&self.environment).chain(&self.words);
        words.flat_map(|word| word.as_bytes().iter().copied().chain([0])).collect()
    }
}

/// Owner of a directory and of the programs that live in it. Dropping it ends the programs with SIGKILL and
/// removes the directory. What they keep and log there, keys among it, other accounts of the machine do not read.
pub struct Supervisor {
    shell: Child,
    pipe: Option<ChildStdin>,
    directory: PathBuf,
}

impl Supervisor {
    /// Supervises programs in a new directory below `TMPDIR`.
    pub fn start(purpose: &str) -> Result<Self> {
        let directory =
            make_private_folder(&format!("keelson-{purpose}-")).context("create state directory")?;
        Self::start_in(directory.keep())
    }

    /// Supervises programs in `directory`, which from now on belongs to the supervisor.
    pub fn start_in(directory: PathBuf) -> Result<Self> {
        let created = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&directory);
        created.with_context(|| format!("create {}", directory.display()))?;
        let mut shell = Command::new("bash")
            .args(["-c", SCRIPT, "keelson-supervise"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start bash to supervise programs")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe, directory })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Process id of the supervising shell.
    pub fn id(&self) -> u32 {
        self.shell.id()
    }

    /// Starts `program`; its output goes to `NAME.log` in the directory. A name runs once at a time.
    pub fn run(&mut self, name: &str, program: &Program) -> Result<()> {
        ensure!(!self.is_running(name), "{name} runs already");
        write_private(self.directory.join(format!("{name}.argv")), program.encode())?;
        self.rerun(name)
    }

    /// Starts again, with the same words, a program that `run` started and that has ended since.
    pub fn rerun(&mut self, name: &str) -> Result<()> {
        let pid_file = self.pid_file(name);
        if pid_file.exists() {
            fs::remove_file(&pid_file)?;
        }
        self.tell(&format!("start {name}"))?;
        if !wait_until(|| pid_file.exists()) {
            bail!("start {name}: the supervisor does not answer");
        }
        Ok(())
    }

    /// Ends one program with SIGKILL and leaves what it wrote; `run` may start it again.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.end(name, Signal::KILL).with_context(|| format!("kill {name}"))
    }

    /// Asks one program to end, with SIGTERM, and waits until it has.
    pub fn terminate(&self, name: &str) -> Result<()> {
        self.end(name, Signal::TERM).with_context(|| format!("terminate {name}"))
    }

    fn end(&self, name: &str, signal: Signal) -> Result<()> {
        if let Some(pid) = self.pid(name) {
            kill_process(pid, signal)?;
            // A dead process with threads still ending is a zombie that holds its ports; wait until it is reaped.
            ensure!(wait_until(|| self.state(name).is_none()), "it does not end");
        }
        Ok(())
    }

    pub fn is_running(&self, name: &str) -> bool {
        self.pid(name).is_some()
    }

    /// Process id of a program that runs.
    pub fn process_id(&self, name: &str) -> Option<u32> {
        self.pid(name).and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
    }

    /// Waits until the program `name` listens at `address`.
    pub(crate) async fn wait_for_listener(&self, name: &str, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            ensure!(self.is_running(name), "{name} ended:\n{}", self.log_tail(name));
            ensure!(Instant::now() < deadline, "{name} does not listen:\n{}", self.log_tail(name));
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The end of a program's output, for the error that tells of its failure.
    pub fn log_tail(&self, name: &str) -> String {
        let log = fs::read(self.directory.join(format!("{name}.log"))).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Lets programs and directory outlive this process.
    pub fn detach(mut self) -> Result<Detached> {
        let detached = Detached::of(self.shell.id(), &self.directory)?;
        self.tell("detach")?;
        drop(self.pipe.take());
        Ok(detached)
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let pipe = self.pipe.as_mut().context("the supervisor is detached")?;
        writeln!(pipe, "{line}").with_context(|| format!("tell the supervisor to {line}"))
    }

    /// The process id of a program that runs; a zombie does not.
    fn pid(&self, name: &str) -> Option<Pid> {
        let (pid, state) = self.state(name)?;
        (state != 'Z').then(|| Pid::from_raw(pid)).flatten()
    }

    /// Process id and state of a child that has not been reaped. The parent tells it from a later process with the
    /// same id.
    fn state(&self, name: &str) -> Option<(i32, char)> {
        let text = fs::read_to_string(self.pid_file(name)).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, after_command) = stat.rsplit_once(") ")?;
        let mut fields = after_command.split(' ');
        let state = fields.next()?.chars().next()?;
        let parent: u32 = fields.next()?.parse().ok()?;
        (parent == self.shell.id()).then_some((pid, state))
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.pid"))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.pipe.take().is_none() {
            return;
        }
        // A failure here has no one to go to; the tests for what is left behind are the ones to notice it.
        let _ = self.shell.wait();
        if self.directory.exists() {
            // The shell was killed; the kernel is about to kill its programs, which may still be writing.
            wait_until(|| processes_in(&self.directory).is_empty());
            let _ = undo(&self.directory);
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

fn undo(directory: &Path) -> Result<()> {
    let script = directory.join(UNDO);
    if script.exists() {
        let output = Command::new("bash").arg(script).stdin(Stdio::null()).output();
        let output = output.context("run bash to undo what programs have done")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "undo what programs have done: {said}");
    }
    Ok(())
}

fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}
