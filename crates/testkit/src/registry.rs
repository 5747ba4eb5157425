//! A real registry of images for tests: distribution as a process of its own, with or without TLS and a password.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::control_plane::ServerCertificate;
use crate::ports::{free_port_at, random_hex};
use crate::private_files::write_private;
use crate::programs::testbed_program;
use crate::supervisor::{Program, Supervisor};

const REGISTRY: &str = "registry";
/// The password reaches it by the environment; libcrypt of every Debian knows bcrypt, the one kind the registry takes.
const HASH: &str = r#"print crypt($ENV{PASSWORD}, "\$2y\$05\$" . $ENV{SALT});"#;

/// In which ways a registry differs from the plainest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Where it listens; loopback is out of pods' and nodes' reach.
    pub address: IpAddr,
    /// Whether it asks for `user` and `password`.
    pub with_password: bool,
    pub with_tls: bool,
}

/// A running registry. Dropping it kills it and deletes its images.
pub struct Registry {
    supervisor: Supervisor,
    address: SocketAddr,
    password: Option<String>,
    certificate: Option<ServerCertificate>,
}

impl Registry {
    /// Starts one in a directory of its own below `TMPDIR` and waits until it serves.
    pub async fn start(settings: RegistrySettings) -> Result<Self> {
        let RegistrySettings { address, with_password, with_tls } = settings;
        let hosts = [address.to_string(), "registry.test".to_owned(), "localhost".to_owned()];
        let certificate = with_tls.then(|| ServerCertificate::of_hosts(&hosts)).transpose()?;
        let mut registry = Self {
            supervisor: Supervisor::start(REGISTRY)?,
            address: SocketAddr::new(address, free_port_at(address)?),
            password: with_password.then(random_hex::<12>),
            certificate,
        };
        let settings = registry.file("settings.json");
        write_private(&settings, format!("{:#}\n", registry.settings()?))
            .context("write the settings of a registry")?;
        let program = Program::new(testbed_program(REGISTRY)?)
            .arg("serve")
            .arg(&settings)
            // Otherwise it looks for a collector of traces.
            .env("OTEL_TRACES_EXPORTER", "none");
        registry.supervisor.run(REGISTRY, &program)?;
        registry.supervisor.wait_for_listener(REGISTRY, registry.address).await?;
        Ok(registry)
    }

    /// Address and port, as they stand before the name of an image.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn user(&self) -> &'static str {
        "puller"
    }

    /// Of whoever pulls or pushes, if the registry asks for one.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Who signed its certificate, in PEM.
    pub fn authority(&self) -> Option<&str> {
        self.certificate.as_ref().map(|certificate| certificate.authority.as_str())
    }

    /// The content of a secret of the type `kubernetes.io/dockerconfigjson`, with which pods pull images whose names
    /// begin with `host`.
    pub fn docker_config(&self, host: &str) -> String {
        let auths = match &self.password {
            Some(password) => {
                let both = STANDARD.encode(format!("{}:{password}", self.user()));
                json!({ host: { "username": self.user(), "password": password, "auth": both } })
            }
            None => json!({}),
        };
        json!({ "auths": auths }).to_string()
    }

    /// Puts an image, an OCI layout in a tar, under `name`: `team/app:1`. Answers its digest.
    pub fn push(&self, archive: &Path, name: &str) -> Result<String> {
        let layout = self.file(&format!("layout-{}", random_hex::<4>()));
        fs::create_dir(&layout).context("create a directory for an image")?;
        let archive = archive.to_str().context("read the path of an image")?;
        told("tar", Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&layout))?;
        let target = format!("{}/{name}", self.host());
        let mut crane = self.crane()?;
        if self.certificate.is_none() {
            crane.arg("--insecure");
        }
        let pushed = told("crane push", crane.arg("push").arg(&layout).arg(&target))?;
        fs::remove_dir_all(&layout).context("remove the directory of an image")?;
        let (_, digest) = pushed.trim().rsplit_once('@').context("crane tells no digest")?;
        Ok(digest.to_owned())
    }

    /// `crane` with the registry's password and authority.
    pub fn crane(&self) -> Result<Command> {
        let home = self.file("crane");
        fs::create_dir_all(&home).context("create a home for crane")?;
        write_private(home.join("config.json"), self.docker_config(&self.host()))
            .context("write crane's settings")?;
        let mut crane = Command::new(testbed_program("crane")?);
        crane.env("DOCKER_CONFIG", &home);
        if let Some(authority) = self.authority() {
            let file = home.join("ca.crt");
            fs::write(&file, authority).context("write the authority of a registry")?;
            crane.env("SSL_CERT_FILE", file);
        }
        Ok(crane)
    }

    /// Kills the server, deletes its images and returns when both are gone. Dropping does the same.
    pub async fn stop(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await.context("stop the registry")
    }

    /// JSON, which is YAML too.
    fn settings(&self) -> Result<Value> {
        let mut settings = json!({
            "version": "0.1",
            "log": { "level": "warn", "accesslog": { "disabled": true } },
            "storage": {
                "filesystem": { "rootdirectory": self.file("images") },
                "delete": { "enabled": true },
            },
            "http": { "addr": self.host(), "secret": random_hex::<16>() },
        });
        if let Some(certificate) = &self.certificate {
            let (chain, key) = (self.file("server.crt"), self.file("server.key"));
            fs::write(&chain, &certificate.certificate).context("write a registry's certificate")?;
            write_private(&key, &certificate.key).context("write a registry's key")?;
            settings["http"]["tls"] = json!({ "certificate": chain, "key": key });
        }
        if let Some(password) = &self.password {
            let file = self.file("passwords");
            // 22 characters, of which the last may not be just any.
            let salt = format!("{}u", &random_hex::<11>()[..21]);
            let mut perl = Command::new("perl");
            perl.args(["-e", HASH]).env("PASSWORD", password).env("SALT", salt);
            write_private(&file, format!("{}:{}\n", self.user(), told("perl", &mut perl)?))
                .context("write a registry's passwords")?;
            settings["auth"] = json!({ "htpasswd": { "realm": "test", "path": file } });
        }
        Ok(settings)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.supervisor.directory().join(name)
    }
}

fn told(what: &str, command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {what}"))?;
    ensure!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
