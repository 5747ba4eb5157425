//! A real server of HashiCorp Vault's API for tests: OpenBao as a process of its own, initialised and unsealed, with what
//! it knows in memory. It is OpenBao that is tested against, and not Vault.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::control_plane::ServerCertificate;
use crate::nodes::NodeCluster;
use crate::ports::free_port_at;
use crate::private_files::write_private;
use crate::programs::testbed_service;
use crate::supervisor::{Program, Supervisor};

const OPENBAO: &str = "openbao";

/// Which of the two engines for secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvVersion {
    One,
    Two,
}

/// A running server. Dropping it kills it, and what it knew is gone.
pub struct OpenBao {
    supervisor: Supervisor,
    program: PathBuf,
    address: SocketAddr,
    certificate: Option<ServerCertificate>,
    unseal_key: String,
    root_token: String,
}

impl OpenBao {
    /// Starts one that listens at `address` of this machine, without TLS.
    pub async fn start(address: IpAddr) -> Result<Self> {
        Self::start_with(address, None).await
    }

    /// One with a certificate that an authority of its own has signed, for `address` and the name `vault.test`.
    pub async fn start_with_tls(address: IpAddr) -> Result<Self> {
        let hosts = [address.to_string(), "vault.test".to_owned(), "localhost".to_owned()];
        Self::start_with(address, Some(ServerCertificate::of_hosts(&hosts)?)).await
    }

    async fn start_with(address: IpAddr, certificate: Option<ServerCertificate>) -> Result<Self> {
        let mut server = Self {
            supervisor: Supervisor::start(OPENBAO)?,
            program: testbed_service(OPENBAO)?.join("bao"),
            address: SocketAddr::new(address, free_port_at(address)?),
            certificate,
            unseal_key: String::new(),
            root_token: String::new(),
        };
        let settings = server.file("settings.json");
        fs::write(&settings, server.settings()?.to_string()).context("write the settings of OpenBao")?;
        let program = Program::new(&server.program).arg("server").arg("-config").arg(&settings);
        server.supervisor.run(OPENBAO, &program)?;
        server.supervisor.wait_for_listener(OPENBAO, server.address).await?;
        let told = server.ask(&["operator", "init", "-format=json", "-key-shares=1", "-key-threshold=1"])?;
        let told: Value = serde_json::from_str(&told).context("read what OpenBao was initialised with")?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("OpenBao tells no keys");
        server.unseal_key = text(&told["unseal_keys_b64"][0])?;
        server.root_token = text(&told["root_token"])?;
        server.unseal()?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Who signed its certificate, in PEM.
    pub fn authority(&self) -> Option<&str> {
        self.certificate.as_ref().map(|certificate| certificate.authority.as_str())
    }

    /// A token with all rights.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// Mounts an engine for secrets at `path`.
    pub fn enable_kv(&self, path: &str, version: KvVersion) -> Result<()> {
        let version = match version {
            KvVersion::One => "-version=1",
            KvVersion::Two => "-version=2",
        };
        self.ask(&["secrets", "enable", &format!("-path={path}"), version, "kv"]).map(drop)
    }

    /// Writes a secret with one key into the engine at `mount`.
    pub fn put(&self, mount: &str, path: &str, key: &str, value: &str) -> Result<()> {
        let pair = json!({ key: value }).to_string();
        self.tell(&["kv", "put", &format!("-mount={mount}"), path, "-"], &pair).map(drop)
    }

    /// Allows what the policy says (in HCL or JSON) to tokens and roles that name it.
    pub fn write_policy(&self, name: &str, policy: &str) -> Result<()> {
        self.tell(&["policy", "write", name, "-"], policy).map(drop)
    }

    /// A token with this policy that lives for so long: `1h`, `2s`.
    pub fn create_token(&self, policy: &str, lifetime: &str) -> Result<String> {
        let (policy, lifetime) = (format!("-policy={policy}"), format!("-ttl={lifetime}"));
        let token = self.ask(&["token", "create", &policy, &lifetime, "-field=token"])?;
        Ok(token.trim().to_owned())
    }

    /// Lets accounts of `cluster` log in at `mount`; the server asks that cluster's API server who they are, with
    /// `reviewer`, a token of an account that may do so (`system:auth-delegator`).
    pub fn trust_cluster(&self, mount: &str, cluster: &NodeCluster, reviewer: &str) -> Result<()> {
        self.ask(&["auth", "enable", &format!("-path={mount}"), "kubernetes"])?;
        let settings = json!({
            "kubernetes_host": cluster.url(),
            "kubernetes_ca_cert": cluster.control_plane().authority(),
            "token_reviewer_jwt": reviewer,
            "disable_local_ca_jwt": true,
        });
        self.tell(&["write", &format!("auth/{mount}/config"), "-"], &settings.to_string()).map(drop)
    }

    /// A role at `mount` for one account of the cluster there, with one policy.
    pub fn bind_account(&self, mount: &str, role: &Role<'_>) -> Result<()> {
        let settings = json!({
            "bound_service_account_names": [role.account],
            "bound_service_account_namespaces": [role.namespace],
            "token_policies": [role.policy],
            "token_ttl": "1h",
        });
        let path = format!("auth/{mount}/role/{}", role.name);
        self.tell(&["write", &path, "-"], &settings.to_string()).map(drop)
    }

    /// From now on it answers nobody, until it is unsealed.
    pub fn seal(&self) -> Result<()> {
        self.ask(&["operator", "seal"]).map(drop)
    }

    pub fn unseal(&self) -> Result<()> {
        self.ask(&["operator", "unseal", &self.unseal_key]).map(drop)
    }

    /// `bao` with all rights, for what there is no function for.
    pub fn bao(&self) -> Command {
        let mut bao = Command::new(&self.program);
        bao.env("BAO_ADDR", self.url())
            .env("BAO_TOKEN", &self.root_token)
            .env("HOME", self.supervisor.directory());
        if self.certificate.is_some() {
            bao.env("BAO_CACERT", self.file("ca.crt"));
        }
        bao
    }

    /// Kills the server and returns when it is gone. Dropping does the same.
    pub async fn stop(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await.context("stop OpenBao")
    }

    fn ask(&self, words: &[&str]) -> Result<String> {
        self.tell(words, "")
    }

    /// The words of an error are not told whole: there may be keys among them.
    fn tell(&self, words: &[&str], input: &str) -> Result<String> {
        let what = words.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        let mut bao = self.bao();
        let bao = bao.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut bao = bao.spawn().with_context(|| format!("run bao {what}"))?;
        let mut stdin = bao.stdin.take().context("bao takes no input")?;
        // Who has not asked for input may have ended by now.
        drop(stdin.write_all(input.as_bytes()));
        drop(stdin);
        let output = bao.wait_with_output().with_context(|| format!("wait for bao {what}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "bao {what}: {}", said.trim());
        String::from_utf8(output.stdout).with_context(|| format!("read the answer of bao {what}"))
    }

    fn settings(&self) -> Result<Value> {
        let listener = match &self.certificate {
            None => json!({ "address": self.address, "tls_disable": true }),
            Some(certificate) => {
                let (chain, key) = (self.file("server.crt"), self.file("server.key"));
                fs::write(&chain, &certificate.certificate).context("write a certificate of OpenBao")?;
                write_private(&key, &certificate.key).context("write a key of OpenBao")?;
                fs::write(self.file("ca.crt"), &certificate.authority)
                    .context("write an authority of OpenBao")?;
                json!({ "address": self.address, "tls_cert_file": chain, "tls_key_file": key })
            }
        };
        Ok(json!({
            "storage": { "inmem": {} },
            "listener": [{ "tcp": listener }],
            "api_addr": self.url(),
            // Not everybody may lock memory, and a test has nothing to hide.
            "disable_mlock": true,
        }))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.supervisor.directory().join(name)
    }
}

/// Whom a role is for and what it allows.
#[derive(Debug, Clone, Copy)]
pub struct Role<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub account: &'a str,
    pub policy: &'a str,
}
