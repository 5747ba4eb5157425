//! OpenBao with both engines, and accounts of a real cluster.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Result, ensure};
use keelson_model::passphrase::{VaultEngine, VaultField};
use keelson_model::{Chain, Classified};
use keelson_passphrase::SecretText;
use keelson_passphrase::vault::{KubernetesAuth, VaultError, VaultSettings, fetch_passphrase};
use keelson_testkit::{ControlPlane, KvVersion, OpenBao, Role, account_token, eventually, trust_plane};

const PHRASE: &str = " kept in a real server \n";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn by_token(address: &str, token: &str) -> VaultSettings {
    VaultSettings {
        address: address.to_owned(),
        namespace: None,
        authority: None,
        kubernetes: None,
        token: Some(SecretText::new(token.to_owned())),
    }
}

fn by_account(address: &str, role: &str, token_path: &Path) -> VaultSettings {
    let kubernetes = KubernetesAuth {
        role: role.to_owned(),
        mount_path: "kubernetes".to_owned(),
        token_path: token_path.to_owned(),
    };
    VaultSettings { kubernetes: Some(kubernetes), token: None, ..by_token(address, "") }
}

const FIRST: VaultField<'static> =
    VaultField { engine: VaultEngine::V1, mount_path: "first", secret_path: "k10/dr", field: "passphrase" };
const SECOND: VaultField<'static> = VaultField { engine: VaultEngine::V2, mount_path: "second", ..FIRST };

async fn fill(server: &OpenBao) -> Result<()> {
    for (mount, version, policy, path) in [
        ("first", KvVersion::One, "reads-first", "first/k10/dr"),
        ("second", KvVersion::Two, "reads-second", "second/data/k10/dr"),
    ] {
        server.enable_kv(mount, version)?;
        // An engine with versions takes a moment.
        let what = format!("the engine at '{mount}' takes a secret");
        eventually(&what, async || Ok(server.put(mount, "k10/dr", "passphrase", PHRASE).ok())).await?;
        server.write_policy(policy, &format!("path \"{path}\" {{ capabilities = [\"read\"] }}"))?;
    }
    Ok(())
}

async fn start() -> Result<OpenBao> {
    let server = OpenBao::start(HERE).await?;
    fill(&server).await?;
    Ok(server)
}

fn bao(server: &OpenBao, words: &[&str]) -> Result<()> {
    let said = server.bao().args(words).output()?;
    ensure!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
    Ok(())
}

async fn check_read(settings: &VaultSettings, field: VaultField<'_>) -> Result<()> {
    let found = fetch_passphrase(settings, field).await?;
    ensure!(found.as_slice() == PHRASE.as_bytes(), "another passphrase is read");
    Ok(())
}

async fn refusal(settings: &VaultSettings, field: VaultField<'_>) -> VaultError {
    fetch_passphrase(settings, field).await.unwrap_err()
}

#[track_caller]
fn assert_told(error: &VaultError, code: &str, word: &str) {
    let told = format!("{}; {:?}", Chain(error), error.hint());
    assert_eq!(error.code(), code, "{told}");
    assert!(told.contains(word), "'{word}' is not in: {told}");
}

#[tokio::test]
async fn a_token_reads_both_engines_and_what_is_wrong_is_told_apart() -> Result<()> {
    let server = start().await?;
    let address = server.url();
    let root = by_token(&address, server.root_token());
    check_read(&root, FIRST).await?;
    check_read(&root, SECOND).await?;

    let wrong = VaultField { engine: VaultEngine::V1, ..SECOND };
    assert_told(&refusal(&root, wrong).await, "passphrase.vault.engine_version", "is KVv2, and KVv1");
    let wrong = VaultField { engine: VaultEngine::V2, ..FIRST };
    assert_told(&refusal(&root, wrong).await, "passphrase.vault.engine_version", "is KVv1, and KVv2");
    let spelled = VaultField { engine: VaultEngine::V1, secret_path: "data/k10/dr", ..SECOND };
    assert_told(&refusal(&root, spelled).await, "passphrase.vault.engine_version", "without 'data'");
    for field in [FIRST, SECOND] {
        let absent = VaultField { secret_path: "k10/other", ..field };
        assert_told(&refusal(&root, absent).await, "passphrase.vault.no_secret", "vault-secret-path");
        let keyless = VaultField { field: "password", ..field };
        assert_told(&refusal(&root, keyless).await, "passphrase.vault.no_key", "it has 'passphrase'");
        let unmounted = VaultField { mount_path: "third", ..field };
        assert_told(&refusal(&root, unmounted).await, "passphrase.vault.no_mount", "vault-mount-path");
    }

    let token = server.create_token("reads-first", "1h")?;
    let limited = by_token(&address, &token);
    check_read(&limited, FIRST).await?;
    let denied = refusal(&limited, SECOND).await;
    assert_told(&denied, "passphrase.vault.forbidden", "second/data/k10/dr");
    bao(&server, &["token", "revoke", &token])?;
    assert_told(&refusal(&limited, FIRST).await, "passphrase.vault.token_refused", "vault_token");
    let unknown = by_token(&address, "s.unknown");
    assert_told(&refusal(&unknown, FIRST).await, "passphrase.vault.token_refused", "expired");
    let secured = by_token(&address.replace("http://", "https://"), "s.unknown");
    assert_told(&refusal(&secured, FIRST).await, "passphrase.vault.reach", "TLS");

    server.seal()?;
    assert_told(&refusal(&root, FIRST).await, "passphrase.vault.sealed", "unseal");
    server.unseal()?;
    check_read(&root, FIRST).await?;
    Ok(())
}

#[tokio::test]
async fn a_version_that_was_deleted_is_told_as_that() -> Result<()> {
    let server = start().await?;
    bao(&server, &["kv", "delete", "-mount=second", "k10/dr"])?;
    let root = by_token(&server.url(), server.root_token());
    assert_told(&refusal(&root, SECOND).await, "passphrase.vault.deleted", "undelete");
    Ok(())
}

#[tokio::test]
async fn a_private_authority_is_given_or_the_server_is_not_trusted() -> Result<()> {
    let server = OpenBao::start_with_tls(HERE).await?;
    fill(&server).await?;
    let mut settings = by_token(&server.url(), server.root_token());
    assert_told(&refusal(&settings, FIRST).await, "passphrase.vault.reach", "vault.caSecretName");
    settings.authority = server.authority().map(|authority| authority.as_bytes().to_vec());
    check_read(&settings, FIRST).await?;
    Ok(())
}

/// The cluster itself says whose token it is.
#[tokio::test]
async fn an_account_of_a_cluster_signs_in_by_a_role_that_binds_it() -> Result<()> {
    let server = start().await?;
    let plane = ControlPlane::start().await?;
    let folder = tempfile::tempdir()?;
    for account in ["k10-k10", "stranger"] {
        let made = plane.kubectl().args(["create", "serviceaccount", account, "-n", "default"]).status()?;
        ensure!(made.success(), "account '{account}' is not made");
        std::fs::write(folder.path().join(account), account_token(&plane, "default", account)?)?;
    }
    let (ours, strangers) = (folder.path().join("k10-k10"), folder.path().join("stranger"));
    let address = server.url();
    let unmounted = refusal(&by_account(&address, "k10", &ours), FIRST).await;
    let codes = ["passphrase.vault.no_auth_mount", "passphrase.vault.role_unbound"];
    assert!(codes.contains(&unmounted.code()), "{}", Chain(&unmounted));

    trust_plane(&server, "kubernetes", &plane)?;
    for (name, policy) in [("first", "reads-first"), ("second", "reads-second")] {
        let role = Role { name, namespace: "default", account: "k10-k10", policy };
        server.bind_account("kubernetes", &role)?;
    }
    check_read(&by_account(&address, "first", &ours), FIRST).await?;
    check_read(&by_account(&address, "second", &ours), SECOND).await?;

    let unknown = refusal(&by_account(&address, "unknown", &ours), FIRST).await;
    assert_told(&unknown, "passphrase.vault.no_role", "'unknown'");
    let unbound = refusal(&by_account(&address, "first", &strangers), FIRST).await;
    assert_told(&unbound, "passphrase.vault.role_unbound", "bound_service_account_names");
    let denied = refusal(&by_account(&address, "second", &ours), FIRST).await;
    assert_told(&denied, "passphrase.vault.forbidden", "first/k10/dr");

    // A token beside it is for when the account does not help.
    let mut both = by_account(&address, "unknown", &ours);
    both.token = Some(SecretText::new(server.root_token().to_owned()));
    check_read(&both, SECOND).await?;
    both.token = Some(SecretText::new("s.unknown".to_owned()));
    assert_told(&refusal(&both, SECOND).await, "passphrase.vault.both_refused", "no role 'unknown'");
    Ok(())
}
