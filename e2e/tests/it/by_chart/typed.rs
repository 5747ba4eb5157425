//! Lines of the page, and a shell into which they are typed: `kubectl` and `helm` are found under these names, and both know
//! the cluster.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use keelson_e2e::Answer;
use keelson_testkit::{Helm, NodeCluster};

pub(super) const CLUSTER_ID: &str = r#"$ kubectl get namespace default -o jsonpath="{.metadata.uid}{'\n'}""#;

pub(super) const DELETE_NAMESPACE: &str = "$ kubectl delete namespace kasten-io";

pub(super) const PASSPHRASE: &str = r"$ kubectl create secret generic k10-dr-secret \
--namespace kasten-io \
--from-literal key=<passphrase>";

pub(super) const PASSPHRASE_IN_VAULT: &str = r"$ kubectl create secret generic k10-dr-secret \
--namespace kasten-io \
--from-literal source=vault \
--from-literal vault-kv-version=<version-of-key-value-secrets-engine> \
--from-literal vault-mount-path=<path-where-key-value-engine-is-mounted> \
--from-literal vault-secret-path=<path-from-mount-to-passphrase-key> \
--from-literal key=<name-of-passphrase-key>";

/// The page's own example.
pub(super) const PASSPHRASE_IN_VAULT_KV1: &str = r"$ kubectl create secret generic k10-dr-secret \
--namespace kasten-io \
--from-literal source=vault \
--from-literal vault-kv-version=KVv1 \
--from-literal vault-mount-path=secret \
--from-literal vault-secret-path=k10 \
--from-literal key=passphrase";

/// The page's own example.
pub(super) const PASSPHRASE_IN_AWS: &str = r"$ kubectl create secret generic k10-dr-secret \
--namespace kasten-io \
--from-literal source=aws \
--from-literal aws-region=us-east-1 \
--from-literal key=k10/dr/passphrase";

pub(super) const VAULT_TOKEN: &str = r"kubectl create secret generic vault-creds \
--namespace kasten-io \
--from-literal vault_token=<vault-token>";

/// Of the page on the installation.
pub(super) const AUTHORITIES: &str = r"kubectl create configmap custom-ca-bundle-store --namespace=kasten-io \
--from-file=custom-ca-bundle.pem";

pub(super) const RESTORE: &str = r"$ helm install k10-restore kasten/k10restore --namespace=kasten-io \
--set sourceClusterID=<source-clusterID> \
--set profile.name=<location-profile-name>";

pub(super) const RESTORE_FROM_PRIVATE_REGISTRY: &str = r"$ helm install k10-restore kasten/k10restore --namespace=kasten-io \
--set airgapped.repository=repo.example.com \
--set sourceClusterID=<source-clusterID> \
--set profile.name=<location-profile-name>";

/// What is added to `RESTORE`, and to an installation.
pub(super) mod with {
    pub(crate) const AUTHORITIES: &str = "--set cacertconfigmap.name=custom-ca-bundle-store";

    pub(crate) const QUICK_MODE: &str = r"--set quickMode.enabled=true \
--set quickMode.overrideResources=true";

    pub(crate) const SKIPPED: &str = r#"--set skipResource="profiles\,policies""#;

    pub(crate) const TIMEOUT: &str = "--set restore.timeout=<timeout-in-minutes>";

    /// The page has a moment of its own there.
    pub(crate) const POINT_IN_TIME: &str = r#"--set pointInTime="<time>""#;

    pub(crate) const VAULT_TOKEN: &str = r"--set vault.enabled=true \
--set vault.address=<vault-server-address> \
--set vault.secretName=<name-of-secret-with-vault-creds>";

    pub(crate) const VAULT_ROLE: &str = r"--set vault.enabled=true \
--set vault.address=<vault-server-address> \
--set vault.role=<vault-kubernetes-authentication-role_name>";

    pub(crate) const VAULT_ROLE_AND_PATH: &str = r"--set vault.enabled=true \
--set vault.address=<vault-server-address> \
--set vault.role=<vault-kubernetes-authentication-role_name> \
--set vault.serviceAccountTokenPath=<service-account-token-path> # optional";

    pub(crate) const PULL_SECRET: &str = r#"--set-json 'imagePullSecrets=[{"name": "k10-ecr"}]'"#;

    pub(crate) const HARDENED_IMAGES: &str = r#"--values=<PATH TO DOWNLOADED k10restore-ironbank-values.yaml> \
--set-json 'imagePullSecrets=[{"name": "k10-ecr"}]'"#;
}

pub(super) const TAKE_OWNERSHIP: &str =
    "$ kubectl delete configmap --namespace=kasten-io k10-dr-remove-to-get-ownership";

pub(super) const UNINSTALL_RESTORE: &str = "$ helm uninstall k10-restore --namespace=kasten-io";

/// A line with another part, which goes on where it ends.
pub(super) fn extended(line: &str, more: &str) -> String {
    if more.is_empty() { line.to_owned() } else { format!("{line} \\\n{more}") }
}

/// What a person types who reads the line: without the prompt, and with words where the page leaves a place for them.
fn fill(page: &str, words: &[(&str, &str)]) -> Result<String> {
    let mut line = page.strip_prefix("$ ").unwrap_or(page).to_owned();
    for (place, word) in words {
        let place = format!("<{place}>");
        ensure!(line.contains(&place), "there is no {place} in: {page}");
        line = line.replace(&place, word);
    }
    ensure!(!line.contains('<'), "a place is left open: {line}");
    Ok(line)
}

pub(super) struct Shell {
    folder: PathBuf,
    variables: Vec<(OsString, OsString)>,
}

impl Shell {
    /// A shell of the cluster's administrator.
    pub(super) fn open(cluster: &NodeCluster, version: Helm) -> Result<Self> {
        let folder = cluster.directory().join("shell");
        let programs = folder.join("bin");
        fs::create_dir_all(&programs).context("create the folder of a shell")?;
        let helm = cluster.helm(version)?;
        symlink(helm.get_program(), programs.join("helm")).context("put helm into a shell")?;
        symlink(cluster.kubectl().get_program(), programs.join("kubectl"))
            .context("put kubectl into a shell")?;
        let mut path = programs.into_os_string();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let told = helm.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        let mut variables: Vec<_> = told.collect();
        variables.push(("PATH".into(), path));
        variables.push(("HOME".into(), folder.clone().into()));
        Ok(Self { folder, variables })
    }

    /// Types a line and waits for its end, whatever comes of it. Nobody waits longer than five minutes.
    pub(super) fn type_line(&self, page: &str, words: &[(&str, &str)]) -> Result<Answer> {
        let line = fill(page, words)?;
        let output = Command::new("timeout")
            .args(["300", "bash", "-o", "pipefail", "-c", &line])
            .envs(self.variables.iter().cloned())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()
            .context("run a shell")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().with_context(|| format!("a shell was killed in: {line}"))?;
        Ok(Answer { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }
}

#[test]
fn a_line_of_the_page_is_typed_with_the_words_that_it_leaves_open() -> Result<()> {
    let typed = fill(PASSPHRASE, &[("passphrase", "kept")])?;
    assert_eq!(
        typed,
        "kubectl create secret generic k10-dr-secret \\\n--namespace kasten-io \\\n--from-literal key=kept"
    );
    assert!(fill(PASSPHRASE, &[]).is_err(), "a place is left open");
    assert!(fill(DELETE_NAMESPACE, &[("passphrase", "kept")]).is_err(), "it has no such place");
    assert_eq!(extended("a", ""), "a");
    assert_eq!(extended("a", "--b"), "a \\\n--b");
    Ok(())
}
