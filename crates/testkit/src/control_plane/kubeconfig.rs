//! Writes kubeconfig files that carry everything in themselves.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::pki::ClientCertificate;
use crate::private_files::write_private;

const CLUSTER: &str = "keelson-testbed";

/// By what the API server knows a client.
pub(super) enum Identity<'a> {
    Certificate(&'a ClientCertificate),
    /// Of an account of the cluster.
    Token(&'a str),
}

impl Identity<'_> {
    fn to_user(&self) -> Value {
        match self {
            Self::Certificate(client) => json!({
                "client-certificate-data": STANDARD.encode(&client.certificate),
                "client-key-data": STANDARD.encode(&client.key),
            }),
            Self::Token(token) => json!({ "token": token }),
        }
    }
}

/// Writes JSON, which is YAML too.
pub(super) fn write(path: &Path, url: &str, authority: &str, identity: &Identity<'_>) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": CLUSTER,
            "cluster": { "server": url, "certificate-authority-data": STANDARD.encode(authority) },
        }],
        "users": [{ "name": CLUSTER, "user": identity.to_user() }],
        "contexts": [{ "name": CLUSTER, "context": { "cluster": CLUSTER, "user": CLUSTER } }],
        "current-context": CLUSTER,
    });
    write_private(path, format!("{config:#}\n")).with_context(|| format!("write {}", path.display()))
}
