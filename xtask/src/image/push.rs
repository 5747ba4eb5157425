//! Handing an image to a registry, by `crane` of the test bed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use keelson_testkit::{make_private_folder, testbed_program, write_private};
use serde_json::json;
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::layout::Image;

/// By this name clients keep what opens the registry that is called by two others.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
const DOCKER_HUB_HOSTS: &[&str] = &["docker.io", "index.docker.io"];

#[derive(Args)]
pub(super) struct Destination {
    /// Push the image there too
    #[arg(long = "push", value_name = "HOST/REPOSITORY:TAG")]
    reference: Option<String>,
    /// The registry speaks HTTP without TLS; if it has TLS, its certificate is not checked
    #[arg(long, requires = "reference")]
    plain_http: bool,
    /// Who pushes; without it whoever is logged in with docker or crane
    #[arg(long, requires = "reference", requires = "password_file")]
    username: Option<String>,
    /// Where that user's password stands
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
}

impl Destination {
    /// What is wrong with them is said before anything is made.
    pub(super) fn check(&self) -> Result<()> {
        self.reference.as_deref().map_or(Ok(()), |reference| host_of(reference).map(|_| ()))
    }

    /// Pushes if a registry was named; answers where the image can be pulled from.
    pub(super) fn push(&self, image: &Image) -> Result<Option<String>> {
        let Some(reference) = &self.reference else { return Ok(None) };
        let crane = testbed_program("crane")?;
        let runtime = Runtime::new().context("start a runtime")?;
        let output = runtime.block_on(self.run(&crane, reference, image))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "push '{reference}': {}", said.trim_end());
        let pushed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(
            pushed.ends_with(&image.digest),
            "'{reference}' was pushed as '{pushed}', which is another image"
        );
        Ok(Some(pushed))
    }

    async fn run(&self, crane: &Path, reference: &str, image: &Image) -> Result<Output> {
        // Before there is a login to leave behind.
        let ending = Ending::listen()?;
        let folder = make_private_folder("keelson-push-").context("make a folder for what is pushed")?;
        let layout = folder.path().join("layout");
        image.layout.unpack(&layout)?;

        let mut command = Command::new(crane);
        command.arg("push").arg(&layout).arg(reference);
        if self.plain_http {
            command.arg("--insecure");
        }
        if let (Some(username), Some(file)) = (&self.username, &self.password_file) {
            let password = fs::read_to_string(file)
                .with_context(|| format!("read the password in {}", file.display()))?;
            let password = password.trim_end_matches(['\r', '\n']);
            write_login(folder.path(), host_of(reference)?, &format!("{username}:{password}"))?;
            command.env("DOCKER_CONFIG", folder.path());
        }
        ending.run(command).await.with_context(|| format!("push '{reference}'"))
    }
}

/// The signals by which somebody, or a terminal that is closed, asks us to end. Who listens to them is not ended by
/// them, and has time to tidy up.
struct Ending {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Ending {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("listen to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Runs a program to its end. If we are asked to end first, it is killed.
    async fn run(mut self, mut command: Command) -> Result<Output> {
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        tokio::select! {
            // A terminal asks the program too, which then has failed for no reason of its own.
            biased;
            _ = self.interrupt.recv() => bail!("it was interrupted"),
            _ = self.terminate.recv() => bail!("it was terminated"),
            _ = self.hang_up.recv() => bail!("its terminal is gone"),
            output = output => output.context("run it"),
        }
    }
}

/// Nobody else reads it, and it goes with its folder, however `crane` ends. Only SIGKILL, for us, leaves it there.
fn write_login(folder: &Path, host: &str, login: &str) -> Result<()> {
    let host = if DOCKER_HUB_HOSTS.contains(&host) { DOCKER_HUB } else { host };
    let text = json!({ "auths": { host: { "auth": STANDARD.encode(login) } } }).to_string();
    write_private(folder.join("config.json"), text).context("write down the login for crane")
}

/// Without a host a client would choose one, and without a tag another.
fn host_of(reference: &str) -> Result<&str> {
    let Some((host, repository)) = reference.split_once('/') else {
        bail!("'{reference}' names no registry: give HOST/REPOSITORY:TAG");
    };
    let is_host = host == "localhost" || host.contains(['.', ':']);
    ensure!(is_host, "'{host}' in '{reference}' is no host of a registry: give HOST/REPOSITORY:TAG");
    let tag = repository.rsplit_once(':').map(|(_, tag)| tag);
    let is_tag = tag.is_some_and(|tag| !tag.is_empty() && !tag.contains('/'));
    ensure!(is_tag && !reference.contains('@'), "'{reference}' names no tag: give HOST/REPOSITORY:TAG");
    Ok(host)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_reference_names_host_and_tag() {
        for (reference, host) in [
            ("repo.example.com/keelson:0.1.0", "repo.example.com"),
            ("127.0.0.1:5000/team/keelson:0.1.0", "127.0.0.1:5000"),
            ("localhost/keelson:1", "localhost"),
        ] {
            assert_eq!(host_of(reference).unwrap(), host);
        }
        for wrong in [
            "keelson:1",
            "team/keelson:1",
            "repo.example.com/keelson",
            "repo.example.com/keelson:",
            "repo.example.com:5000/keelson",
            "repo.example.com/keelson:1@sha256:00",
        ] {
            let refused = host_of(wrong).unwrap_err().to_string();
            assert!(refused.starts_with('\'') && refused.ends_with("give HOST/REPOSITORY:TAG"), "{refused}");
        }
    }

    #[test]
    fn a_login_is_written_as_registries_clients_read_it() {
        let folder = make_private_folder("keelson-push-").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (host, key) in [("repo.example.com", "repo.example.com"), ("docker.io", DOCKER_HUB)] {
            write_login(folder.path(), host, "user:word").unwrap();
            let file = folder.path().join("config.json");
            assert_eq!((mode(folder.path()), mode(&file)), (0o700, 0o600));
            let text = fs::read_to_string(file).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["auths"][key]["auth"], "dXNlcjp3b3Jk");
        }
    }

    /// Otherwise its folder, with the login in it, would stay.
    #[tokio::test]
    async fn who_is_asked_to_end_while_a_push_runs_ends_it_and_goes_on() {
        let ending = Ending::listen().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "kill -TERM $PPID; exec sleep 600"]);
        let refused = ending.run(shell).await.unwrap_err().to_string();
        assert_eq!(refused, "it was terminated");
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo told"]);
        let told = Ending::listen().unwrap().run(shell).await.unwrap();
        assert!(told.status.success() && told.stdout == b"told\n");
    }
}
