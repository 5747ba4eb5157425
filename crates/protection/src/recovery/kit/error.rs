//! What can go wrong with a recovery kit. Names objects and keys, never values.

use keelson_crypto::{DecodeSlotError, OpenKitError, SealKitError};
use keelson_model::{Classified, ErrorClass};
use keelson_workload::RequestError;

/// A kit cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    #[error("seal the recovery kit")]
    Seal { source: SealKitError },
    #[error("open the recovery kit")]
    Open { source: OpenKitError },
    #[error("decode the recovery kit")]
    Decode { source: serde_json::Error },
    #[error("the recovery kit has version {found}, newer than this release knows")]
    NewerVersion { found: u32 },
    #[error("decode a passphrase slot of the recovery kit")]
    Slot { source: DecodeSlotError },
    #[error("the passphrase in Secret 'k10-dr-secret' does not open every slot that the platform uses")]
    OtherPassphrase,
    #[error("read {what}")]
    Read { what: String, source: RequestError },
    #[error("no platform has reported its status in namespace '{namespace}'")]
    NoStatus { namespace: String },
    #[error("{what} does not exist")]
    Absent { what: String },
    #[error("the status of the platform is {seconds} s old")]
    Stale { seconds: i64 },
    #[error("disaster recovery is not enabled: there is nothing that a kit could lead to")]
    NotEnabled,
    #[error("nothing has reached the location yet")]
    NothingShipped,
    #[error("profile '{profile}' is not usable: {}", faults.join("; "))]
    Profile { profile: String, faults: Vec<String> },
    #[error("the kit was made in namespace '{made_in}', and this is '{here}'")]
    OtherNamespace { made_in: String, here: String },
    #[error("the cluster has other things under the same names: {}", objects.join(", "))]
    Differs { objects: Vec<String> },
    #[error("the kit holds no credentials, and Secret '{secret}' with them is not in the cluster")]
    NoCredentials { secret: String },
    #[error("create {what}")]
    Create { what: String, source: RequestError },
}

impl Classified for KitError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Seal { source } => source.class(),
            Self::Open { source } => source.class(),
            Self::Slot { source } => source.class(),
            Self::Read { source, .. } | Self::Create { source, .. } => source.class(),
            Self::Decode { .. } => ErrorClass::Corrupt,
            Self::NewerVersion { .. } | Self::Profile { .. } | Self::OtherNamespace { .. } => {
                ErrorClass::Invalid
            }
            Self::NoStatus { .. } | Self::Absent { .. } | Self::NotEnabled | Self::NoCredentials { .. } => {
                ErrorClass::NotFound
            }
            Self::Stale { .. } | Self::NothingShipped => ErrorClass::Unavailable { retry_after: None },
            Self::OtherPassphrase | Self::Differs { .. } => ErrorClass::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Seal { .. } => "kit.seal",
            Self::Open { .. } => "kit.open",
            Self::Decode { .. } => "kit.decode",
            Self::NewerVersion { .. } => "kit.newer_version",
            Self::Slot { .. } => "kit.slot",
            Self::OtherPassphrase => "kit.other_passphrase",
            Self::Read { .. } => "kit.read",
            Self::NoStatus { .. } => "kit.no_status",
            Self::Absent { .. } => "kit.absent",
            Self::Stale { .. } => "kit.stale",
            Self::NotEnabled => "kit.not_enabled",
            Self::NothingShipped => "kit.nothing_shipped",
            Self::Profile { .. } => "kit.profile",
            Self::OtherNamespace { .. } => "kit.other_namespace",
            Self::Differs { .. } => "kit.differs",
            Self::NoCredentials { .. } => "kit.no_credentials",
            Self::Create { .. } => "kit.create",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { source } => source.hint(),
            Self::NewerVersion { .. } => Some("use the release that made it, or a later one".to_owned()),
            Self::OtherPassphrase => Some(
                "wait until the platform has taken the new passphrase, or run keelson dr enable again"
                    .to_owned(),
            ),
            Self::NoStatus { .. } | Self::Stale { .. } => Some("is keelson serve running?".to_owned()),
            Self::NotEnabled => Some("keelson dr enable --profile <name>".to_owned()),
            Self::NothingShipped => Some("keelson dr status tells how far shipping is".to_owned()),
            Self::OtherNamespace { made_in, .. } => {
                Some(format!("install there, and add --namespace {made_in}"))
            }
            Self::Differs { .. } => Some(
                "nothing was changed; remove them, or name the profile to go through with --profile"
                    .to_owned(),
            ),
            Self::NoCredentials { secret } => Some(format!("create Secret '{secret}' first")),
            Self::Seal { .. }
            | Self::Decode { .. }
            | Self::Slot { .. }
            | Self::Read { .. }
            | Self::Absent { .. }
            | Self::Profile { .. }
            | Self::Create { .. } => None,
        }
    }
}
