//! Reading `k10-dr-secret`: where the platform's passphrase comes from.
//!
//! Nothing here copies or prints a passphrase: a raw one stays a borrow of the Secret's bytes.

use std::collections::BTreeMap;

use crate::{Classified, ErrorClass};

#[cfg(test)]
mod tests;

/// Where the passphrase is. Has no `Debug`, since `Raw` borrows the passphrase itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PassphraseSource<'a> {
    /// The Secret holds it under `key`. Never trimmed.
    Raw(&'a [u8]),
    Vault(VaultField<'a>),
    Aws(AwsSecret<'a>),
    Azure(AzureSecret<'a>),
}

/// A field of a secret in HashiCorp Vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultField<'a> {
    pub engine: VaultEngine,
    pub mount_path: &'a str,
    pub secret_path: &'a str,
    pub field: &'a str,
}

/// The version of Vault's key-value engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VaultEngine {
    V1,
    V2,
}

/// How the platform reaches Vault and signs in. Holds no secret, only where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultAccess {
    /// `http` or `https`, a host, perhaps a port.
    pub address: String,
    /// Of an enterprise server.
    pub namespace: Option<String>,
    /// The role as which the platform's service account signs in; none means that it does not.
    pub role: Option<String>,
    /// The file with the account's token; none means [`VaultAccess::TOKEN_PATH`].
    pub token_path: Option<String>,
    /// Where Kubernetes auth is mounted; none means [`VaultAccess::MOUNT_PATH`].
    pub mount_path: Option<String>,
    /// The Secret with a token, under [`VaultAccess::TOKEN_KEY`].
    pub secret_name: Option<String>,
    /// The Secret with a private authority, under [`VaultAccess::AUTHORITY_KEY`].
    pub ca_secret_name: Option<String>,
}

impl VaultAccess {
    /// The ConfigMap of the install namespace in which an installation says it.
    pub const CONFIG_MAP: &str = "keelson-vault";
    pub const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    pub const MOUNT_PATH: &str = "kubernetes";
    pub const TOKEN_KEY: &str = "vault_token";
    pub const AUTHORITY_KEY: &str = "ca.crt";
    /// Where the tokens of a pod's accounts are mounted.
    pub const TOKEN_FOLDER: &str = "/var/run/secrets/";

    /// Whether a request may name that file. The platform reads it, and sends what it holds to an address of the same
    /// request.
    pub fn may_be_asked_for(token_path: &str) -> bool {
        let below = token_path.strip_prefix(Self::TOKEN_FOLDER);
        below.is_some_and(|path| path.split('/').all(|part| !matches!(part, "" | "." | "..")))
    }

    /// Reads the data of that ConfigMap. An empty value counts as absent; without an address there is none.
    pub fn of_config_map(data: &BTreeMap<String, String>) -> Option<Self> {
        let read = |key: &str| data.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
        let text = |key: &str| read(key).map(str::to_owned);
        Some(Self {
            address: text("address")?,
            namespace: text("namespace"),
            role: text("role"),
            token_path: text("serviceAccountTokenPath"),
            mount_path: text("mountPath"),
            secret_name: text("secretName"),
            ca_secret_name: text("caSecretName"),
        })
    }
}

/// A secret in AWS Secrets Manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwsSecret<'a> {
    pub region: &'a str,
    pub name: &'a str,
    /// The field of a JSON secret; none means the whole value.
    pub json_field: Option<&'a str>,
}

/// A secret in Azure Key Vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AzureSecret<'a> {
    pub vault_url: &'a str,
    pub name: &'a str,
    /// None means the latest.
    pub version: Option<&'a str>,
    /// The field of a JSON secret; none means the whole value.
    pub json_field: Option<&'a str>,
}

/// The keys of `k10-dr-secret`.
pub mod key {
    pub const KEY: &str = "key";
    /// What the names of further passphrases begin with, beside one in `key`.
    pub const FURTHER: &str = "key-";
    pub const SOURCE: &str = "source";
    pub const VAULT_VERSION: &str = "vault-kv-version";
    pub const VAULT_MOUNT: &str = "vault-mount-path";
    pub const VAULT_SECRET: &str = "vault-secret-path";
    pub const AWS_REGION: &str = "aws-region";
    pub const AWS_JSON_FIELD: &str = "aws-secret-key";
    pub const AZURE_URL: &str = "azure-key-vault-url";
    pub const AZURE_VERSION: &str = "azure-secret-version";
    pub const AZURE_JSON_FIELD: &str = "azure-secret-json-key";
}

impl PassphraseSource<'_> {
    /// What is named as the source, to be compared and told. Nothing for a raw passphrase.
    pub fn describe(&self) -> Option<String> {
        match self {
            Self::Raw(_) => None,
            Self::Vault(VaultField { engine, mount_path, secret_path, field }) => {
                let version = match engine {
                    VaultEngine::V1 => "KVv1",
                    VaultEngine::V2 => "KVv2",
                };
                Some(format!("key '{field}' of '{secret_path}' at '{mount_path}' ({version}) in Vault"))
            }
            Self::Aws(AwsSecret { region, name, json_field: None }) => {
                Some(format!("secret '{name}' of region '{region}' in AWS Secrets Manager"))
            }
            Self::Aws(AwsSecret { region, name, json_field: Some(field) }) => Some(format!(
                "field '{field}' of secret '{name}' of region '{region}' in AWS Secrets Manager"
            )),
            Self::Azure(AzureSecret { vault_url, name, version: _, json_field: _ }) => {
                Some(format!("secret '{name}' of '{vault_url}'"))
            }
        }
    }
}

/// A `k10-dr-secret` that does not say where the passphrase is. Names keys, never values.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PassphraseSecretError {
    #[error("secret 'k10-dr-secret' does not contain key '{missing}'; it contains {}", list(present))]
    MissingKey { missing: &'static str, present: Vec<String> },
    #[error("key '{key}' of secret 'k10-dr-secret' is empty")]
    EmptyKey { key: &'static str },
    #[error("key '{key}' of secret 'k10-dr-secret' is not text")]
    NotText { key: &'static str },
    #[error("key 'source' of secret 'k10-dr-secret' is none of 'vault', 'aws' and 'azure'")]
    UnknownSource,
    #[error("key 'vault-kv-version' of secret 'k10-dr-secret' is neither 'KVv1' nor 'KVv2'")]
    UnknownVaultEngine,
}

impl Classified for PassphraseSecretError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }

    fn code(&self) -> &'static str {
        match self {
            Self::MissingKey { .. } => "passphrase.secret.missing_key",
            Self::EmptyKey { .. } => "passphrase.secret.empty_key",
            Self::NotText { .. } => "passphrase.secret.not_text",
            Self::UnknownSource => "passphrase.secret.unknown_source",
            Self::UnknownVaultEngine => "passphrase.secret.unknown_vault_engine",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingKey { missing: key::KEY, .. } => Some(
                "kubectl create secret generic k10-dr-secret --namespace kasten-io --from-literal key=<passphrase>"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn list(keys: &[String]) -> String {
    let quoted: Vec<_> = keys.iter().map(|key| format!("'{key}'")).collect();
    if quoted.is_empty() { "no keys".to_owned() } else { quoted.join(", ") }
}

/// Reads the data of `k10-dr-secret`.
pub fn parse_dr_secret<V: AsRef<[u8]>>(
    data: &BTreeMap<String, V>,
) -> Result<PassphraseSource<'_>, PassphraseSecretError> {
    let secret = SecretData(data);
    if !data.contains_key(key::SOURCE) {
        return secret.bytes(key::KEY).map(PassphraseSource::Raw);
    }
    match secret.text(key::SOURCE)? {
        "vault" => Ok(PassphraseSource::Vault(VaultField {
            engine: match secret.text(key::VAULT_VERSION)? {
                "KVv1" => VaultEngine::V1,
                "KVv2" => VaultEngine::V2,
                _ => return Err(PassphraseSecretError::UnknownVaultEngine),
            },
            mount_path: secret.text(key::VAULT_MOUNT)?,
            secret_path: secret.text(key::VAULT_SECRET)?,
            field: secret.text(key::KEY)?,
        })),
        "aws" => Ok(PassphraseSource::Aws(AwsSecret {
            region: secret.text(key::AWS_REGION)?,
            name: secret.text(key::KEY)?,
            json_field: secret.optional_text(key::AWS_JSON_FIELD)?,
        })),
        "azure" => Ok(PassphraseSource::Azure(AzureSecret {
            vault_url: secret.text(key::AZURE_URL)?,
            name: secret.text(key::KEY)?,
            version: secret.optional_text(key::AZURE_VERSION)?,
            json_field: secret.optional_text(key::AZURE_JSON_FIELD)?,
        })),
        _ => Err(PassphraseSecretError::UnknownSource),
    }
}

/// Further passphrases, each of which opens the platform's backups alone. Only beside a raw one.
pub fn further_passphrases<V: AsRef<[u8]>>(data: &BTreeMap<String, V>) -> Vec<&[u8]> {
    if data.contains_key(key::SOURCE) {
        return Vec::new();
    }
    let named = data.iter().filter(|(name, _)| name.starts_with(key::FURTHER));
    named.map(|(_, value)| value.as_ref()).filter(|value| !value.is_empty()).collect()
}

struct SecretData<'a, V>(&'a BTreeMap<String, V>);

impl<'a, V: AsRef<[u8]>> SecretData<'a, V> {
    fn bytes(&self, key: &'static str) -> Result<&'a [u8], PassphraseSecretError> {
        let Some(value) = self.0.get(key).map(AsRef::as_ref) else {
            let present = self.0.keys().cloned().collect();
            return Err(PassphraseSecretError::MissingKey { missing: key, present });
        };
        if value.is_empty() {
            return Err(PassphraseSecretError::EmptyKey { key });
        }
        Ok(value)
    }

    fn text(&self, key: &'static str) -> Result<&'a str, PassphraseSecretError> {
        std::str::from_utf8(self.bytes(key)?).map_err(|_| PassphraseSecretError::NotText { key })
    }

    fn optional_text(&self, key: &'static str) -> Result<Option<&'a str>, PassphraseSecretError> {
        let given = self.0.get(key).is_some_and(|value| !value.as_ref().is_empty());
        if given { self.text(key).map(Some) } else { Ok(None) }
    }
}
