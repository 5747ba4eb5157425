//! The passphrase of disaster recovery, from the Secret `k10-dr-secret`.
//!
//! Never trimmed, never logged; read anew each time it is needed.

use std::sync::Arc;

use keelson_crypto::Passphrase;
use keelson_model::names::DR_SECRET;
use keelson_model::passphrase::{
    PassphraseSecretError, PassphraseSource, further_passphrases, parse_dr_secret,
};
use keelson_model::{Classified, ErrorClass};
use keelson_workload::{NamespacedName, RequestError};

use crate::platform::Platform;

/// Each passphrase is a slot in every repository, and costs a third of a second wherever one is tried.
const FURTHER_MAX: usize = 3;

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
    #[error("Secret '{secret}' holds {found} further passphrases, {FURTHER_MAX} are allowed")]
    TooMany { secret: NamespacedName, found: usize },
}

impl Classified for PassphraseError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } => source.class(),
            Self::Absent { .. } => ErrorClass::NotFound,
            Self::Malformed { .. } | Self::UnsupportedSource { .. } | Self::TooMany { .. } => {
                ErrorClass::Invalid
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "passphrase.read",
            Self::Absent { .. } => "passphrase.absent",
            Self::Malformed { .. } => "passphrase.malformed",
            Self::UnsupportedSource { .. } => "passphrase.unsupported_source",
            Self::TooMany { .. } => "passphrase.too_many",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Absent { secret } | Self::Malformed { secret, .. } => Some(format!(
                "kubectl create secret generic {} --namespace {} --from-literal key=<passphrase>",
                secret.name, secret.namespace
            )),
            Self::Read { .. } | Self::UnsupportedSource { .. } | Self::TooMany { .. } => None,
        }
    }
}

/// The passphrases as they stand in the cluster now, at least one. Each opens the backups alone.
pub(crate) async fn read(platform: &Platform) -> Result<Vec<Arc<Passphrase>>, PassphraseError> {
    let at = NamespacedName::new(&platform.settings.install_namespace, DR_SECRET);
    let secret = platform
        .cluster
        .read_secret(&at)
        .await
        .map_err(|source| PassphraseError::Read { secret: at.clone(), source })?
        .ok_or_else(|| PassphraseError::Absent { secret: at.clone() })?;
    let source = parse_dr_secret(&secret.data)
        .map_err(|source| PassphraseError::Malformed { secret: at.clone(), source })?;
    let first = match source {
        PassphraseSource::Raw(bytes) => bytes,
        PassphraseSource::Vault(_) => return Err(unsupported(at, "HashiCorp Vault")),
        PassphraseSource::Aws(_) => return Err(unsupported(at, "AWS Secrets Manager")),
        PassphraseSource::Azure(_) => return Err(unsupported(at, "Azure Key Vault")),
    };
    let further = further_passphrases(&secret.data);
    if further.len() > FURTHER_MAX {
        return Err(PassphraseError::TooMany { secret: at, found: further.len() });
    }
    let all = std::iter::once(first).chain(further);
    Ok(all.map(|bytes| Arc::new(Passphrase::new(bytes.to_vec()))).collect())
}

fn unsupported(secret: NamespacedName, kind: &'static str) -> PassphraseError {
    PassphraseError::UnsupportedSource { secret, kind }
}
