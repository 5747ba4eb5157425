//! The independent reader of `docs/format/reader`, as its users run it: another program, in another language.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format/reader");

/// The reader, with the interpreter that its own script prepares.
#[derive(Debug, Clone)]
pub struct FormatReader {
    interpreter: PathBuf,
}

/// What the reader told.
#[derive(Debug, Clone)]
pub struct Told {
    /// 0 all is well, 1 damage, 2 misuse, 3 something was not opened.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Told {
    /// Output of one JSON object a line.
    pub fn lines(&self) -> Result<Vec<serde_json::Value>> {
        let lines = self.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).context("a line of the reader is not JSON")).collect()
    }
}

impl FormatReader {
    /// Installs what is missing, once a machine. Fails where there is no Python.
    pub fn prepare() -> Result<Self> {
        let script = format!("{READER}/prepare");
        let prepared = Command::new(&script).stderr(Stdio::inherit()).output();
        let prepared = prepared.with_context(|| format!("run {script}"))?;
        ensure!(prepared.status.success(), "{script} failed: the reader has no Python to run with");
        let interpreter = String::from_utf8(prepared.stdout).context("read the answer of the script")?;
        Ok(Self { interpreter: PathBuf::from(interpreter.trim_end()) })
    }

    /// Reads a location that is a directory.
    pub fn read<A: AsRef<OsStr>>(&self, location: &Path, passphrase: &str, command: &[A]) -> Result<Told> {
        let location = [OsStr::new("--location"), location.as_os_str()];
        self.run(passphrase, location.into_iter().chain(command.iter().map(AsRef::as_ref)))
    }

    /// With these words. The passphrase goes through the environment, as a secret should.
    pub fn run<A: AsRef<OsStr>>(&self, passphrase: &str, words: impl IntoIterator<Item = A>) -> Result<Told> {
        let output = Command::new(&self.interpreter)
            .args(["-I", "-B", READER])
            .args(words)
            .env("KEELSON_PASSPHRASE", passphrase)
            .output()
            .with_context(|| format!("run the reader with {}", self.interpreter.display()))?;
        let code = output.status.code().context("the reader was killed")?;
        let stderr = String::from_utf8(output.stderr).context("the reader's words are not UTF-8")?;
        // A traceback means that a hostile byte got past every check, whatever the exit code says.
        ensure!(!stderr.contains("Traceback"), "the reader broke: {stderr}");
        Ok(Told { code, stdout: output.stdout, stderr })
    }
}
