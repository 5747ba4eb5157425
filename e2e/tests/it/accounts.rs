//! The accounts of an installation, with the roles of `deploy/roles` and no other right.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use keelson_testkit::{ControlPlane, eventually};
use serde_json::json;

use crate::stage::{NAMESPACE, block_on, kubectl};

const ROLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/roles");

/// Who works in an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    Platform,
    Guard,
}

impl Account {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Platform => "k10-k10",
            Self::Guard => "k10-guard",
        }
    }

    /// One right of each of its bindings: what, and where.
    fn rights(self) -> &'static [[&'static str; 3]] {
        match self {
            Self::Platform => &[
                ["list", "apiservices", "default"],
                ["update", "leases/keelson-serve", NAMESPACE],
                ["get", "configmaps/extension-apiserver-authentication", "kube-system"],
                ["create", "deployments", "default"],
            ],
            Self::Guard => &[["list", "apiservices", "default"], ["get", "leases/keelson-serve", NAMESPACE]],
        }
    }
}

/// Makes the account as an installation does, and a kubeconfig with a token of it once its roles have taken effect.
pub(crate) fn install(plane: &ControlPlane, account: Account) -> Result<PathBuf> {
    let metadata = json!({ "name": account.name(), "namespace": NAMESPACE });
    for object in [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
    ] {
        run(plane, &["apply", "-f", "-"], &object.to_string())?;
    }
    run(plane, &["apply", "-f", ROLES], "")?;
    let user = format!("--as=system:serviceaccount:{NAMESPACE}:{}", account.name());
    for [verb, what, namespace] in account.rights().iter().copied() {
        let words = ["auth", "can-i", verb, what, "-n", namespace, &user];
        block_on(eventually(&format!("{} may {verb} {what}", account.name()), async || {
            Ok((kubectl(plane, &words, "")?.code == 0).then_some(()))
        }))?;
    }
    block_on(plane.kubeconfig_of_account(NAMESPACE, account.name()))
}

fn run(plane: &ControlPlane, words: &[&str], input: &str) -> Result<()> {
    let said = kubectl(plane, words, input)?;
    ensure!(said.code == 0, "kubectl {}: {}", words.join(" "), said.stderr.trim());
    Ok(())
}
