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
    let fetched = fetch_passphrase(&settings, field).await;
    fetched.map_err(|source| PassphraseError::Vault { described, address: settings.address, source })
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
