//! Runs `keelson`: a command and its answer, or `serve` until it is killed.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use keelson_testkit::{OwnedChild, Program, Supervisor, eventually};

const NAME: &str = "keelson";

/// What a command said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `keelson` with `arguments` to its end.
pub fn answer<W: AsRef<OsStr>>(arguments: impl IntoIterator<Item = W>) -> Result<Answer> {
    answer_of(start(arguments)?)
}

/// Starts `keelson` with `arguments`.
pub fn start<W: AsRef<OsStr>>(arguments: impl IntoIterator<Item = W>) -> Result<OwnedChild> {
    let mut command = Command::new(program()?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    OwnedChild::spawn(&mut command).context("start keelson")
}

/// Waits for the end of what was started.
pub fn answer_of(child: OwnedChild) -> Result<Answer> {
    let output = child.wait_with_output().context("wait for keelson")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().context("keelson was killed")?;
    Ok(Answer { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// A `keelson serve`, a guard or an operator, in a directory of its own. Dropping it kills the process and deletes the directory.
pub struct Instance {
    supervisor: Supervisor,
}

impl Instance {
    /// Starts it against the cluster of `kubeconfig`; what the directory is for is `arguments`' to say.
    pub fn serve<W: AsRef<OsStr>>(
        kubeconfig: &Path,
        arguments: impl FnOnce(&Path) -> Vec<W>,
    ) -> Result<Self> {
        Self::serve_in(kubeconfig, &[], arguments)
    }

    /// The same, with more in its environment.
    pub fn serve_in<W: AsRef<OsStr>>(
        kubeconfig: &Path,
        environment: &[(&str, &str)],
        arguments: impl FnOnce(&Path) -> Vec<W>,
    ) -> Result<Self> {
        let mut supervisor = Supervisor::start("serve")?;
        let temporary = temporary(supervisor.directory());
        fs::create_dir(&temporary).with_context(|| format!("create {}", temporary.display()))?;
        let arguments = arguments(supervisor.directory());
        let mut program = Program::new(program()?)
            .args(["serve", "--kubeconfig"])
            .arg(kubeconfig)
            .args(arguments.iter().map(AsRef::as_ref))
            .env("TMPDIR", &temporary.display().to_string());
        for (name, value) in environment {
            program = program.env(name, value);
        }
        supervisor.run(NAME, &program)?;
        Ok(Self { supervisor })
    }

    /// Starts `keelson guard` instead.
    pub fn guard(kubeconfig: &Path, namespace: &str) -> Result<Self> {
        Self::beside("guard", kubeconfig, namespace)
    }

    /// Starts `keelson operator` instead.
    pub fn operator(kubeconfig: &Path, namespace: &str) -> Result<Self> {
        Self::beside("operator", kubeconfig, namespace)
    }

    fn beside(command: &str, kubeconfig: &Path, namespace: &str) -> Result<Self> {
        let mut supervisor = Supervisor::start(command)?;
        let words = [command, "--namespace", namespace, "--kubeconfig"];
        supervisor.run(NAME, &Program::new(program()?).args(words).arg(kubeconfig))?;
        Ok(Self { supervisor })
    }

    /// Waits until `check` holds; fails at once, with the end of the log, when the process has ended.
    pub async fn wait_until<T>(
        &self,
        what: &str,
        mut check: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        eventually(what, async || {
            ensure!(self.supervisor.is_running(NAME), "keelson ended:\n{}", self.log_tail());
            check().await
        })
        .await
    }

    /// SIGKILL, in the middle of whatever it does. Its files stay.
    pub fn kill(&self) -> Result<()> {
        self.supervisor.kill(NAME)
    }

    /// SIGTERM, and waits until it has ended. Its files stay.
    pub fn stop(&self) -> Result<()> {
        self.supervisor.terminate(NAME)
    }

    /// Starts again what was killed or has ended, on the same files.
    pub fn restart(&mut self) -> Result<()> {
        self.supervisor.rerun(NAME)
    }

    pub fn is_running(&self) -> bool {
        self.supervisor.is_running(NAME)
    }

    /// The process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.supervisor.process_id(NAME)
    }

    pub fn directory(&self) -> &Path {
        self.supervisor.directory()
    }

    /// What a `serve` takes for its `TMPDIR`.
    pub fn temporary(&self) -> PathBuf {
        temporary(self.directory())
    }

    /// All that it has said.
    pub fn log_file(&self) -> PathBuf {
        self.directory().join(format!("{NAME}.log"))
    }

    pub fn log_tail(&self) -> String {
        self.supervisor.log_tail(NAME)
    }
}

fn temporary(directory: &Path) -> PathBuf {
    directory.join("tmp")
}

/// The executable: `KEELSON_PROGRAM`, or else what cargo builds from this tree now.
pub fn program() -> Result<PathBuf> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return Ok(program.clone());
    }
    let program = match env::var_os("KEELSON_PROGRAM") {
        Some(program) => PathBuf::from(program),
        None => build()?,
    };
    ensure!(program.is_file(), "there is no program {}", program.display());
    Ok(PROGRAM.get_or_init(|| program).clone())
}

/// `cargo xtask` in this tree: what is built beside the program, and what cargo builds where that is not there.
pub fn xtask() -> Result<Command> {
    let program = program()?.with_file_name("xtask");
    let mut command = if program.is_file() {
        Command::new(program)
    } else {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["run", "--quiet", "--package", "xtask", "--"]);
        cargo
    };
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    Ok(command)
}

fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--package", "keelson", "--bin", "keelson"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "cargo build failed");
    let own = env::current_exe().context("find this program's executable")?;
    let folder = own.parent().context("find the folder of programs")?;
    // Test executables lie in `deps`, programs beside it.
    let programs = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(programs.join("keelson"))
}
