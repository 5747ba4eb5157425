//! The passphrase of disaster recovery, from the Secret `k10-dr-secret`.
//!
//! Never trimmed, never logged; read anew each time it is needed.

use keelson_crypto::Passphrase;
use keelson_model::names::DR_SECRET;
use keelson_model::passphrase::{PassphraseSecretError, PassphraseSource, parse_dr_secret};
use keelson_model::{Classified, ErrorClass};
use keelson_workload::{NamespacedName, RequestError};

use crate::platform::Platform;

/// There is no passphrase to be had.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    #[error("read Secret '{secret}'")]
    Read { secret: NamespacedName, source: RequestError },
    #[error("Secret '{secret}' does not exist")]
    Absent { secret: NamespacedName },
    #[error("Secret '{secret}'")]
    Malformed { secret: NamespacedName, source: PassphraseSecretError },
    #[error("Secret '{secret}' names {kind}, which this version cannot read")]
    UnsupportedSource { secret: NamespacedName, kind: &'static str },
}

impl Classified for PassphraseError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } => source.class(),
            Self::Absent { .. } => ErrorClass::NotFound,
            Self::Malformed { .. } | Self::UnsupportedSource { .. } => ErrorClass::Invalid,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "passphrase.read",
            Self::Absent { .. } => "passphrase.absent",
            Self::Malformed { .. } => "passphrase.malformed",
            Self::UnsupportedSource { .. } => "passphrase.unsupported_source",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Absent { secret } | Self::Malformed { secret, .. } => Some(format!(
                "kubectl create secret generic {} --namespace {} --from-literal key=<passphrase>",
                secret.name, secret.namespace
            )),
            Self::Read { .. } | Self::UnsupportedSource { .. } => None,
        }
    }
}

/// The passphrase as it stands in the cluster now.
pub async fn read(platform: &Platform) -> Result<Passphrase, PassphraseError> {
    let at = NamespacedName::new(&platform.settings.install_namespace, DR_SECRET);
    let secret = platform
        .cluster
        .read_secret(&at)
        .await
        .map_err(|source| PassphraseError::Read { secret: at.clone(), source })?
        .ok_or_else(|| PassphraseError::Absent { secret: at.clone() })?;
    let source = parse_dr_secret(&secret.data)
        .map_err(|source| PassphraseError::Malformed { secret: at.clone(), source })?;
    match source {
        PassphraseSource::Raw(bytes) => Ok(Passphrase::new(bytes.to_vec())),
        PassphraseSource::Vault(_) => unsupported(at, "HashiCorp Vault"),
        PassphraseSource::Aws(_) => unsupported(at, "AWS Secrets Manager"),
        PassphraseSource::Azure(_) => unsupported(at, "Azure Key Vault"),
    }
}

fn unsupported(secret: NamespacedName, kind: &'static str) -> Result<Passphrase, PassphraseError> {
    Err(PassphraseError::UnsupportedSource { secret, kind })
}
