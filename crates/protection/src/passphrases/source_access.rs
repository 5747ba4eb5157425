//! What the cluster says of the way to a passphrase that is kept elsewhere: Secrets, a ConfigMap, profiles.

use keelson_model::{Classified, ErrorClass};
use keelson_workload::{NamespacedName, RequestError, Secret};
use zeroize::Zeroizing;

use crate::platform::Platform;

/// The way to the passphrase is not known.
#[derive(Debug, thiserror::Error)]
pub enum SourceAccessError {
    #[error("read '{object}'")]
    Read { object: NamespacedName, source: RequestError },
    #[error("list the profiles")]
    ListProfiles { source: RequestError },
    #[error("neither the request nor ConfigMap '{config_map}' says where Vault is")]
    NoVault { config_map: NamespacedName },
    #[error("there is no valid infrastructure profile of type AWS in namespace '{namespace}'{}", told(unfit))]
    NoAwsProfile { namespace: String, unfit: Vec<String> },
    #[error("the profile's secretType '{given}' is not 'AwsAccessKey'")]
    SecretType { given: String },
    #[error("Secret '{secret}' does not exist")]
    NoSecret { secret: NamespacedName },
    #[error("Secret '{secret}' has no key '{missing}'; it has {}", present.join(", "))]
    MissingKey { secret: NamespacedName, missing: &'static str, present: Vec<String> },
    #[error("key '{key}' of Secret '{secret}' is not text")]
    NotText { secret: NamespacedName, key: &'static str },
}

fn told(unfit: &[String]) -> String {
    match unfit {
        [] => String::new(),
        unfit => format!("; not valid: {}", unfit.join("; ")),
    }
}

impl Classified for SourceAccessError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } | Self::ListProfiles { source } => source.class(),
            Self::NoVault { .. } | Self::NoAwsProfile { .. } | Self::NoSecret { .. } => ErrorClass::NotFound,
            Self::SecretType { .. } | Self::MissingKey { .. } | Self::NotText { .. } => ErrorClass::Invalid,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "passphrase.access.read",
            Self::ListProfiles { .. } => "passphrase.access.list_profiles",
            Self::NoVault { .. } => "passphrase.access.no_vault",
            Self::NoAwsProfile { .. } => "passphrase.access.no_aws_profile",
            Self::SecretType { .. } => "passphrase.access.secret_type",
            Self::NoSecret { .. } => "passphrase.access.no_secret",
            Self::MissingKey { .. } => "passphrase.access.missing_key",
            Self::NotText { .. } => "passphrase.access.not_text",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoVault { .. } => {
                "helm upgrade k10 kasten/k10 --reset-then-reuse-values --set vault.address=https://… with vault.secretName or \
                 vault.role; of chart k10restore: vault.enabled=true with the same"
            }
            Self::NoAwsProfile { .. } => {
                "create a Profile of type Infra, infra.type AWS, whose identity has secretsmanager:GetSecretValue"
            }
            Self::NoSecret { .. } | Self::MissingKey { .. } | Self::NotText { .. } => {
                "a token of Vault lies in key 'vault_token', a private authority in 'ca.crt', keys of AWS in \
                 'aws_access_key_id' and 'aws_secret_access_key'"
            }
            Self::Read { .. } | Self::ListProfiles { .. } | Self::SecretType { .. } => return None,
        };
        Some(text.to_owned())
    }
}

pub(super) async fn read_secret(
    platform: &Platform,
    at: NamespacedName,
) -> Result<Secret, SourceAccessError> {
    let read = platform.cluster.read_secret(&at).await;
    let read = read.map_err(|source| SourceAccessError::Read { object: at.clone(), source })?;
    read.ok_or(SourceAccessError::NoSecret { secret: at })
}

pub(super) fn value<'a>(
    secret: &'a Secret,
    key: &'static str,
) -> Result<&'a Zeroizing<Vec<u8>>, SourceAccessError> {
    secret.data.get(key).filter(|value| !value.is_empty()).ok_or_else(|| SourceAccessError::MissingKey {
        secret: secret.at.clone(),
        missing: key,
        present: secret.data.keys().cloned().collect(),
    })
}

pub(super) fn text(secret: &Secret, key: &'static str) -> Result<String, SourceAccessError> {
    let text = std::str::from_utf8(value(secret, key)?).map(str::to_owned);
    text.map_err(|_| SourceAccessError::NotText { secret: secret.at.clone(), key })
}
