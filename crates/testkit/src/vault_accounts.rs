//! Accounts of a control plane that sign in to OpenBao: the plane itself says whose tokens they are.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::openbao::OpenBao;

const REVIEWER: &str = "vault-reviewer";
/// How often it is asked whether the plane knows a binding by now; each takes a tenth of a second at least.
const LOOKS_MAX: usize = 600;

/// Lets accounts of a control plane sign in at `auth/<mount>`. Once for each plane.
pub fn trust_plane(server: &OpenBao, mount: &str, plane: &ControlPlane) -> Result<()> {
    kubectl(plane, &["create", "serviceaccount", REVIEWER, "-n", "default"])?;
    let subject = format!("--serviceaccount=default:{REVIEWER}");
    let role = "--clusterrole=system:auth-delegator";
    kubectl(plane, &["create", "clusterrolebinding", REVIEWER, role, &subject])?;
    let reviewer = format!("--as=system:serviceaccount:default:{REVIEWER}");
    let may = ["auth", "can-i", "create", "tokenreviews.authentication.k8s.io", &reviewer];
    let is_known = (0..LOOKS_MAX).any(|_| kubectl(plane, &may).is_ok());
    ensure!(is_known, "the control plane does not know the binding of {REVIEWER}");
    let settings = json!({
        "kubernetes_host": plane.url(), "kubernetes_ca_cert": plane.authority(),
        "token_reviewer_jwt": account_token(plane, "default", REVIEWER)?, "disable_local_ca_jwt": true,
    });
    bao(server, &["auth", "enable", &format!("-path={mount}"), "kubernetes"], "")?;
    bao(server, &["write", &format!("auth/{mount}/config"), "-"], &settings.to_string())
}

/// A token of an account, as its pods have one.
pub fn account_token(plane: &ControlPlane, namespace: &str, account: &str) -> Result<String> {
    let token = kubectl(plane, &["create", "token", account, "-n", namespace, "--duration=1h"])?;
    Ok(token.trim().to_owned())
}

fn kubectl(plane: &ControlPlane, words: &[&str]) -> Result<String> {
    let said = plane.kubectl().args(words).output().context("run kubectl")?;
    let errors = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "kubectl {}: {}", words.join(" "), errors.trim());
    String::from_utf8(said.stdout).context("what kubectl says")
}

fn bao(server: &OpenBao, words: &[&str], input: &str) -> Result<()> {
    let mut bao = server.bao();
    bao.args(words).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut bao = bao.spawn().context("run bao")?;
    // Who has not asked for input may have ended by now.
    drop(bao.stdin.take().context("bao takes no input")?.write_all(input.as_bytes()));
    let said = bao.wait_with_output().context("wait for bao")?;
    let errors = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "bao {}: {}", words[0], errors.trim());
    Ok(())
}
