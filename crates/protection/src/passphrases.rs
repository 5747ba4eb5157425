//! The passphrase of disaster recovery: from the Secret `k10-dr-secret`, or from where that says it is kept.
//!
//! Never trimmed, never logged; read anew each time it is needed.

mod aws;
mod source_access;
mod vault;
pub(crate) mod watched;

use std::sync::Arc;

use keelson_crypto::Passphrase;
use keelson_model::names::DR_SECRET;
use keelson_model::passphrase::{
    PassphraseSecretError, PassphraseSource, VaultAccess, further_passphrases, parse_dr_secret,
};
use keelson_model::{Classified, ErrorClass};
use keelson_passphrase::aws::AwsError;
use keelson_passphrase::vault::VaultError;
use keelson_workload::{NamespacedName, RequestError, Secret};

pub(crate) use self::aws::{
    Unidentified, identify, identify_with, is_aws, is_in_aws, may_be_asked_through, secret_named,
};
pub use self::source_access::SourceAccessError;
pub use self::watched::{KnownSource, SourceTrouble};
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
    #[error("find out how {kind} is reached")]
    Access { kind: &'static str, source: SourceAccessError },
    #[error("fetch {described} at {address}")]
    Vault { described: String, address: String, source: VaultError },
    #[error("fetch {described} as profile '{profile}' says")]
    Aws { described: String, profile: String, source: AwsError },
}

impl PassphraseError {
    /// Whether the Secret says well where the passphrase is, and it cannot be had there now.
    fn is_of_the_source(&self) -> bool {
        match self {
            Self::Access { .. } | Self::Vault { .. } | Self::Aws { .. } => true,
            Self::Read { .. }
            | Self::Absent { .. }
            | Self::Malformed { .. }
            | Self::UnsupportedSource { .. }
            | Self::TooMany { .. } => false,
        }
    }
}

impl Classified for PassphraseError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } => source.class(),
            Self::Absent { .. } => ErrorClass::NotFound,
            Self::Malformed { .. } | Self::UnsupportedSource { .. } | Self::TooMany { .. } => {
                ErrorClass::Invalid
            }
            Self::Access { source, .. } => source.class(),
            Self::Vault { source, .. } => source.class(),
            Self::Aws { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "passphrase.read",
            Self::Absent { .. } => "passphrase.absent",
            Self::Malformed { .. } => "passphrase.malformed",
            Self::UnsupportedSource { .. } => "passphrase.unsupported_source",
            Self::TooMany { .. } => "passphrase.too_many",
            Self::Access { .. } => "passphrase.access",
            Self::Vault { .. } => "passphrase.vault",
            Self::Aws { .. } => "passphrase.aws",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Absent { secret } | Self::Malformed { secret, .. } => Some(format!(
                "kubectl create secret generic {} --namespace {} --from-literal key=<passphrase>",
                secret.name, secret.namespace
            )),
            Self::Access { source, .. } => source.hint(),
            Self::Vault { source, .. } => source.hint(),
            Self::Aws { source, .. } => source.hint(),
            Self::UnsupportedSource { .. } => {
                Some("keep it in the Secret, in HashiCorp Vault or in AWS Secrets Manager".to_owned())
            }
            Self::Read { .. } | Self::TooMany { .. } => None,
        }
    }
}

/// The passphrases as they stand now, at least one. Each opens the backups alone.
///
/// `access` is how Vault is reached; without it the installation's ConfigMap says so.
pub(crate) async fn read(
    platform: &Platform,
    access: Option<&VaultAccess>,
) -> Result<Vec<Arc<Passphrase>>, PassphraseError> {
    let secret = fetch_secret(platform).await?;
    resolve(platform, &secret, access).await
}

async fn fetch_secret(platform: &Platform) -> Result<Secret, PassphraseError> {
    let at = NamespacedName::new(&platform.settings.install_namespace, DR_SECRET);
    platform
        .cluster
        .read_secret(&at)
        .await
        .map_err(|source| PassphraseError::Read { secret: at.clone(), source })?
        .ok_or(PassphraseError::Absent { secret: at })
}

fn parse(secret: &Secret) -> Result<PassphraseSource<'_>, PassphraseError> {
    let malformed = |source| PassphraseError::Malformed { secret: secret.at.clone(), source };
    parse_dr_secret(&secret.data).map_err(malformed)
}

async fn resolve(
    platform: &Platform,
    secret: &Secret,
    access: Option<&VaultAccess>,
) -> Result<Vec<Arc<Passphrase>>, PassphraseError> {
    let source = parse(secret)?;
    let described = source.describe().unwrap_or_default();
    let first = match source {
        PassphraseSource::Raw(bytes) => bytes.to_vec(),
        PassphraseSource::Vault(field) => {
            let fetched = vault::fetch(platform, field, access, described).await?;
            fetched.to_vec()
        }
        PassphraseSource::Aws(wanted) => aws::fetch(platform, wanted, described).await?.to_vec(),
        PassphraseSource::Azure(_) => {
            let kind = "Azure Key Vault";
            return Err(PassphraseError::UnsupportedSource { secret: secret.at.clone(), kind });
        }
    };
    let first = Arc::new(Passphrase::new(first));
    let further = further_passphrases(&secret.data);
    if further.len() > FURTHER_MAX {
        return Err(PassphraseError::TooMany { secret: secret.at.clone(), found: further.len() });
    }
    let further = further.into_iter().map(|bytes| Arc::new(Passphrase::new(bytes.to_vec())));
    Ok(std::iter::once(first).chain(further).collect())
}
