//! Why Vault does not give the passphrase. Names what is missing or refused, never what signs in.

use std::path::PathBuf;

use http::header::InvalidHeaderValue;
use keelson_model::{Chain, Classified, ErrorClass};

use crate::secret::listed;
use crate::transport::{Loss, Lost, TrustError};

/// The passphrase cannot be had from Vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("Vault's address must be http:// or https:// with a host and perhaps a port")]
    Address,
    #[error("Vault's namespace cannot be the value of a header")]
    Namespace { source: InvalidHeaderValue },
    #[error("use the private authority of Vault")]
    Trust { source: TrustError },
    #[error("'{path}' is no path in Vault")]
    Path { path: String },
    #[error("neither a role nor a token is there to sign in to Vault")]
    NoSignIn,
    #[error("Vault's token cannot be the value of a header")]
    TokenUnfit { source: InvalidHeaderValue },
    #[error("ask Vault")]
    Request { source: http::Error },
    #[error("reach Vault")]
    Reach { source: Lost },
    #[error("read the service account's token from '{}'", path.display())]
    ReadAccountToken { path: PathBuf, source: std::io::Error },
    #[error("'{}' does not hold the token of a service account", path.display())]
    NoAccountToken { path: PathBuf },
    #[error("Vault is sealed")]
    Sealed,
    #[error("Vault has no role '{role}' at 'auth/{mount}': {message}")]
    NoRole { role: String, mount: String, message: String },
    #[error("Vault refuses the platform's service account for role '{role}' at 'auth/{mount}': {message}")]
    RoleUnbound { role: String, mount: String, message: String },
    #[error("nothing is mounted at 'auth/{mount}' in Vault")]
    NoAuthMount { mount: String },
    #[error("Vault does not take the token: it is expired, revoked or unknown")]
    TokenRefused,
    #[error("Vault's policies do not let '{path}' be read")]
    Forbidden { path: String },
    #[error("nothing is mounted at '{mount}' in Vault")]
    NoMount { mount: String },
    #[error("there is no secret '{path}' in Vault")]
    NoSecret { path: String },
    #[error("the newest version of secret '{path}' in Vault is deleted")]
    Deleted { path: String },
    #[error("the secret engine is {found}, and {asked} was asked for")]
    EngineVersion { asked: &'static str, found: &'static str },
    #[error("the secret in Vault has no key '{field}'; it has {}", listed(present))]
    NoField { field: String, present: Vec<String> },
    #[error("key '{field}' of the secret in Vault {fault}")]
    Field { field: String, fault: FieldFault },
    #[error("what answers is not Vault: status {status} without what Vault says with it")]
    NotVault { status: u16 },
    #[error("Vault leads elsewhere, with status {status}, and is not followed")]
    Redirected { status: u16 },
    #[error("Vault answers with status {status}: {message}")]
    Refused { status: u16, message: String },
    #[error("neither the service account nor the token is taken; the account: {}", Chain(&**account))]
    BothRefused { account: Box<VaultError>, source: Box<VaultError> },
}

/// What is wrong with the value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldFault {
    NotText,
    Empty,
    TooLong,
}

impl std::fmt::Display for FieldFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotText => "is not text",
            Self::Empty => "is empty",
            Self::TooLong => "is longer than 64 KiB",
        })
    }
}

impl VaultError {
    /// Whether another way of signing in may help.
    pub(super) fn is_about_access(&self) -> bool {
        match self {
            Self::ReadAccountToken { .. }
            | Self::NoAccountToken { .. }
            | Self::NoRole { .. }
            | Self::RoleUnbound { .. }
            | Self::NoAuthMount { .. }
            | Self::TokenUnfit { .. }
            | Self::TokenRefused
            | Self::Forbidden { .. } => true,
            Self::Address
            | Self::Namespace { .. }
            | Self::Trust { .. }
            | Self::Path { .. }
            | Self::NoSignIn
            | Self::Request { .. }
            | Self::Reach { .. }
            | Self::Sealed
            | Self::NoMount { .. }
            | Self::NoSecret { .. }
            | Self::Deleted { .. }
            | Self::EngineVersion { .. }
            | Self::NoField { .. }
            | Self::Field { .. }
            | Self::NotVault { .. }
            | Self::Redirected { .. }
            | Self::Refused { .. }
            | Self::BothRefused { .. } => false,
        }
    }
}

pub(crate) fn class_of(status: u16) -> ErrorClass {
    match status {
        429 | 500.. => ErrorClass::Unavailable { retry_after: None },
        _ => ErrorClass::Invalid,
    }
}

impl Classified for VaultError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Address
            | Self::Namespace { .. }
            | Self::Trust { .. }
            | Self::Path { .. }
            | Self::NoSignIn
            | Self::TokenUnfit { .. }
            | Self::Request { .. }
            | Self::NoAccountToken { .. }
            | Self::EngineVersion { .. }
            | Self::Field { .. }
            | Self::Redirected { .. } => ErrorClass::Invalid,
            // What stands before Vault says so while Vault is away.
            Self::NotVault { status } | Self::Refused { status, .. } => class_of(*status),
            Self::NoRole { .. }
            | Self::NoAuthMount { .. }
            | Self::NoMount { .. }
            | Self::NoSecret { .. }
            | Self::Deleted { .. }
            | Self::NoField { .. }
            | Self::ReadAccountToken { .. } => ErrorClass::NotFound,
            Self::RoleUnbound { .. } | Self::TokenRefused | Self::Forbidden { .. } => ErrorClass::Denied,
            Self::Reach { source } if source.loss == Loss::Untrusted => ErrorClass::Denied,
            Self::Reach { .. } | Self::Sealed => ErrorClass::Unavailable { retry_after: None },
            Self::BothRefused { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Address => "passphrase.vault.address",
            Self::Namespace { .. } => "passphrase.vault.namespace",
            Self::Trust { .. } => "passphrase.vault.authority",
            Self::Path { .. } => "passphrase.vault.path",
            Self::NoSignIn => "passphrase.vault.no_sign_in",
            Self::TokenUnfit { .. } => "passphrase.vault.token_unfit",
            Self::Request { .. } => "passphrase.vault.request",
            Self::Reach { .. } => "passphrase.vault.reach",
            Self::ReadAccountToken { .. } => "passphrase.vault.read_account_token",
            Self::NoAccountToken { .. } => "passphrase.vault.no_account_token",
            Self::Sealed => "passphrase.vault.sealed",
            Self::NoRole { .. } => "passphrase.vault.no_role",
            Self::RoleUnbound { .. } => "passphrase.vault.role_unbound",
            Self::NoAuthMount { .. } => "passphrase.vault.no_auth_mount",
            Self::TokenRefused => "passphrase.vault.token_refused",
            Self::Forbidden { .. } => "passphrase.vault.forbidden",
            Self::NoMount { .. } => "passphrase.vault.no_mount",
            Self::NoSecret { .. } => "passphrase.vault.no_secret",
            Self::Deleted { .. } => "passphrase.vault.deleted",
            Self::EngineVersion { .. } => "passphrase.vault.engine_version",
            Self::NoField { .. } => "passphrase.vault.no_key",
            Self::Field { .. } => "passphrase.vault.key",
            Self::NotVault { .. } => "passphrase.vault.not_vault",
            Self::Redirected { .. } => "passphrase.vault.redirected",
            Self::Refused { .. } => "passphrase.vault.refused",
            Self::BothRefused { .. } => "passphrase.vault.both_refused",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoSignIn => "set vault.role, or vault.secretName to a Secret with key 'vault_token'",
            Self::Trust { .. } => {
                "the Secret that vault.caSecretName names needs the authority in PEM, key 'ca.crt'"
            }
            Self::Reach { source } => match source.loss {
                Loss::Untrusted => {
                    "set vault.caSecretName to a Secret with the authority in key 'ca.crt', and vault.address to a \
                     name that the server's certificate bears"
                }
                Loss::TooLarge => "is vault.address the address of Vault?",
                Loss::UnknownName | Loss::Refused | Loss::TimedOut | Loss::Broken => {
                    "check vault.address, that Vault runs, and what the network lets through"
                }
            },
            Self::ReadAccountToken { .. } | Self::NoAccountToken { .. } => {
                "vault.serviceAccountTokenPath names the file with the token of the pod's service account"
            }
            Self::Sealed => "vault operator unseal",
            Self::NoRole { mount, .. } => {
                return Some(format!("vault list auth/{mount}/role shows the roles"));
            }
            Self::RoleUnbound { role, mount, .. } => {
                return Some(format!(
                    "vault read auth/{mount}/role/{role}: bound_service_account_names and \
                     bound_service_account_namespaces must name the account that the platform's pods run as, by \
                     default 'k10-k10' in 'kasten-io', and Vault must have the right to review tokens in this cluster; \
                     vault auth list shows whether anything is mounted there at all"
                ));
            }
            Self::NoAuthMount { .. } => "vault auth list shows what is mounted; vault.mountPath names it",
            Self::TokenRefused => {
                "vault token create makes another; put it into key 'vault_token' of the Secret that \
                 vault.secretName names"
            }
            Self::Forbidden { path } => {
                return Some(format!(
                    "vault policy write: path \"{path}\" {{ capabilities = [\"read\"] }}; with KVv2 the path has \
                     'data' in it, so is vault-kv-version right?"
                ));
            }
            Self::NoMount { .. } => "vault secrets list shows what is mounted; vault-mount-path names it",
            Self::NoSecret { .. } => {
                "vault kv list shows what is there; vault-secret-path is the path below the mount"
            }
            Self::Deleted { .. } => "vault kv undelete, or vault kv put",
            Self::EngineVersion { .. } => {
                "set vault-kv-version of k10-dr-secret to the engine's version, and vault-secret-path without 'data'"
            }
            Self::NoField { .. } => "key of k10-dr-secret is the name of the key in Vault's secret",
            Self::Redirected { .. } => "set vault.address to the address of the active server",
            Self::Address
            | Self::Namespace { .. }
            | Self::Path { .. }
            | Self::TokenUnfit { .. }
            | Self::Request { .. }
            | Self::Field { .. }
            | Self::NotVault { .. }
            | Self::Refused { .. } => return None,
            Self::BothRefused { source, .. } => return source.hint(),
        };
        Some(text.to_owned())
    }
}
