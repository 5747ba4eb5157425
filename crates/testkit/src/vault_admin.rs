//! What an administrator sets up in a server that speaks Vault's API: policies, tokens, accounts of a cluster.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Whoever holds a token that may do everything.
pub struct VaultAdmin {
    host: String,
    token: String,
}

impl VaultAdmin {
    /// `address` is `http://`, a host and a port.
    pub fn new(address: &str, token: &str) -> Self {
        let host = address.trim_start_matches("http://").trim_end_matches('/');
        Self { host: host.to_owned(), token: token.to_owned() }
    }

    /// Writes below `/v1/` and gives what is answered.
    pub fn write(&self, path: &str, body: &Value) -> Result<Value> {
        let mut stream = TcpStream::connect(&self.host).with_context(|| format!("reach {}", self.host))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let body = body.to_string();
        // The older protocol ends an answer by closing.
        let head = format!(
            "POST /v1/{path} HTTP/1.0\r\nhost: {}\r\nx-vault-token: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.host,
            self.token,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(|| format!("read the answer to {path}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{path}: {status}: {body}");
        match body.trim() {
            "" => Ok(Value::Null),
            body => serde_json::from_str(body).with_context(|| format!("the answer to {path}: {body}")),
        }
    }

    /// A policy that lets one path be read and nothing else.
    pub fn allow(&self, policy: &str, path: &str) -> Result<()> {
        let rule = format!("path \"{path}\" {{ capabilities = [\"read\"] }}");
        self.write(&format!("sys/policies/acl/{policy}"), &json!({ "policy": rule })).map(drop)
    }

    /// A token of a policy, and of the one that everybody has.
    pub fn token_of(&self, policy: &str) -> Result<String> {
        let made = self.write("auth/token/create", &json!({ "policies": [policy], "ttl": "1h" }))?;
        let token = made["auth"]["client_token"].as_str();
        token.map(str::to_owned).context("no token in the answer")
    }

    pub fn revoke(&self, token: &str) -> Result<()> {
        self.write("auth/token/revoke", &json!({ "token": token })).map(drop)
    }

    /// Lets accounts of a cluster sign in at `auth/<mount>`; the cluster is asked whose tokens they are.
    pub fn enable_kubernetes(&self, mount: &str, plane: &ControlPlane) -> Result<()> {
        let kubectl = |words: &[&str]| account_command(plane, words);
        kubectl(&["create", "serviceaccount", "vault-reviewer", "-n", "default"])?;
        let role = ["create", "clusterrolebinding", "vault-reviewer", "--clusterrole=system:auth-delegator"];
        kubectl(&[&role[..], &["--serviceaccount=default:vault-reviewer"]].concat())?;
        let reviewer = account_token(plane, "default", "vault-reviewer")?;
        self.write(&format!("sys/auth/{mount}"), &json!({ "type": "kubernetes" }))?;
        let config = json!({
            "kubernetes_host": plane.url(), "kubernetes_ca_cert": plane.authority(),
            "token_reviewer_jwt": reviewer, "disable_local_ca_jwt": true,
        });
        self.write(&format!("auth/{mount}/config"), &config).map(drop)
    }

    /// Binds an account of that cluster to a policy, by a role.
    pub fn bind(&self, mount: &str, role: &str, account: (&str, &str), policy: &str) -> Result<()> {
        let (namespace, name) = account;
        let bound = json!({
            "bound_service_account_names": [name], "bound_service_account_namespaces": [namespace],
            "token_policies": [policy], "token_ttl": "10m",
        });
        self.write(&format!("auth/{mount}/role/{role}"), &bound).map(drop)
    }
}

/// A token of an account, as its pods have one.
pub fn account_token(plane: &ControlPlane, namespace: &str, account: &str) -> Result<String> {
    let token = account_command(plane, &["create", "token", account, "-n", namespace, "--duration=1h"])?;
    Ok(token.trim().to_owned())
}

fn account_command(plane: &ControlPlane, words: &[&str]) -> Result<String> {
    let said = plane.kubectl().args(words).output().context("run kubectl")?;
    let errors = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "kubectl {}: {}", words.join(" "), errors.trim());
    String::from_utf8(said.stdout).context("what kubectl says")
}
