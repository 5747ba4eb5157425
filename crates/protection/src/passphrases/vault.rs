//! The way to Vault as a request or the installation says it.

use std::path::PathBuf;

use keelson_model::passphrase::{VaultAccess, VaultField};
use keelson_passphrase::SecretText;
use keelson_passphrase::vault::{KubernetesAuth, VaultSettings, fetch_passphrase};
use keelson_workload::NamespacedName;
use zeroize::Zeroizing;

use super::PassphraseError;
use super::source_access::{SourceAccessError, read_secret, text, value};
use crate::platform::Platform;

pub(super) async fn fetch(
    platform: &Platform,
    field: VaultField<'_>,
    access: Option<&VaultAccess>,
    described: String,
) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
    let unknown = |source| PassphraseError::Access { kind: "HashiCorp Vault", source };
    let settings = settings(platform, access).await.map_err(unknown)?;
    fetch_with(&settings, field, described).await
}

async fn fetch_with(
    settings: &VaultSettings,
    field: VaultField<'_>,
    described: String,
) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
    let fetched = fetch_passphrase(settings, field).await;
    fetched.map_err(|source| PassphraseError::Vault { described, address: told_address(settings), source })
}

/// One with a password in it is refused, and its refusal goes into statuses, events and logs.
fn told_address(settings: &VaultSettings) -> String {
    let plain = settings.plain_address().map(|plain| format!("'{plain}'"));
    plain.unwrap_or_else(|| "the address given".to_owned())
}

async fn settings(
    platform: &Platform,
    access: Option<&VaultAccess>,
) -> Result<VaultSettings, SourceAccessError> {
    let access = match access {
        Some(access) => access.clone(),
        None => installed(platform).await?,
    };
    let namespace = &platform.settings.install_namespace;
    let VaultAccess {
        address,
        namespace: of_vault,
        role,
        token_path,
        mount_path,
        secret_name,
        ca_secret_name,
    } = access;
    let authority = match ca_secret_name {
        None => None,
        Some(name) => {
            let secret = read_secret(platform, NamespacedName::new(namespace, name)).await?;
            Some(value(&secret, VaultAccess::AUTHORITY_KEY)?.to_vec())
        }
    };
    let token = match secret_name {
        None => None,
        Some(name) => {
            match read_secret(platform, NamespacedName::new(namespace, name)).await {
                // Where the account can sign in the token is only a second way.
                Err(SourceAccessError::NoSecret { .. }) if role.is_some() => None,
                secret => Some(SecretText::new(text(&secret?, VaultAccess::TOKEN_KEY)?)),
            }
        }
    };
    let or = |given: Option<String>, usual: &str| given.unwrap_or_else(|| usual.to_owned());
    let kubernetes = role.map(|role| KubernetesAuth {
        role,
        mount_path: or(mount_path, VaultAccess::MOUNT_PATH),
        token_path: PathBuf::from(or(token_path, VaultAccess::TOKEN_PATH)),
    });
    Ok(VaultSettings { address, namespace: of_vault, authority, kubernetes, token })
}

/// As the installation says it.
async fn installed(platform: &Platform) -> Result<VaultAccess, SourceAccessError> {
    let at = NamespacedName::new(&platform.settings.install_namespace, VaultAccess::CONFIG_MAP);
    let read = platform.cluster.read_config_map(&at).await;
    let map = read.map_err(|source| SourceAccessError::Read { object: at.clone(), source })?;
    let access = map.and_then(|map| VaultAccess::of_config_map(&map.data));
    access.ok_or(SourceAccessError::NoVault { config_map: at })
}

#[cfg(test)]
mod tests {
    use keelson_model::passphrase::VaultEngine;
    use keelson_model::{Chain, Classified};

    use super::*;

    async fn refusal(address: &str) -> PassphraseError {
        let settings = VaultSettings {
            address: address.to_owned(),
            namespace: None,
            authority: None,
            kubernetes: None,
            token: None,
        };
        let (engine, mount_path, secret_path) = (VaultEngine::V2, "secret", "k10");
        let field = VaultField { engine, mount_path, secret_path, field: "passphrase" };
        fetch_with(&settings, field, "the passphrase".to_owned()).await.unwrap_err()
    }

    /// It stood in statuses, events, logs and the termination message of a Job.
    #[tokio::test]
    async fn a_password_in_the_address_is_told_nowhere() {
        for address in [
            "https://team:s3cret@vault:8200",
            " http://s3cret@vault/",
            "https://vault:8200/v1?token=s3cret",
            "team:s3cret@vault:8200",
        ] {
            let error = refusal(address).await;
            let told = Chain(&error).to_string();
            assert!(told.starts_with("fetch the passphrase at the address given: "), "{told}");
            let all = format!("{told} {error:?} {:?}", error.hint());
            for part in ["team", "s3cret"] {
                assert!(!all.contains(part), "'{part}' is in: {all}");
            }
        }
        let told = Chain(&refusal("https://vault:8200/").await).to_string();
        assert!(told.starts_with("fetch the passphrase at 'https://vault:8200': "), "{told}");
    }
}
