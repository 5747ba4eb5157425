//! Where backups lie: the plain description of a location, and which profiles may hold the platform's own.

use crate::GoDuration;

/// A place for backups, as a profile describes it. Holds no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocationSpec {
    FileStore(FileStoreLocation),
    ObjectStore(ObjectStoreLocation),
}

impl LocationSpec {
    /// How long each object must be immutable; none means not at all.
    pub fn protection_period(&self) -> Option<GoDuration> {
        match self {
            Self::FileStore(_) => None,
            Self::ObjectStore(object) => object.protection_period,
        }
    }
}

/// A directory on a shared volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStoreLocation {
    /// The claim in the install namespace that is mounted.
    pub claim: String,
    /// Below the claim's root, without slashes at the ends; empty means the root itself.
    pub path: String,
    /// The group that files are written with.
    pub supplemental_group: Option<i64>,
}

/// A bucket or container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStoreLocation {
    pub provider: ObjectStoreProvider,
    pub bucket: String,
    /// Empty where the provider has no regions.
    pub region: String,
    /// Set for stores that only speak the provider's protocol.
    pub endpoint: Option<String>,
    /// Below the bucket's root, without slashes at the ends; empty means the root itself.
    pub path: String,
    pub skip_tls_verify: bool,
    /// How long each object must be immutable; none means not at all.
    pub protection_period: Option<GoDuration>,
    /// The Secret that holds the credentials.
    pub credential: SecretReference,
}

/// The protocol of an object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectStoreProvider {
    S3,
    Gcs,
    Azure,
}

/// A Secret by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretReference {
    pub namespace: String,
    pub name: String,
}

/// What a profile is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProfileKind {
    ObjectStore,
    FileStore,
    /// A Veeam repository, which holds volume data only.
    Vbr,
    /// Credentials of an infrastructure, no location.
    Infra,
}

/// What probing a profile found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProfileHealth {
    NotValidated,
    Failed,
    /// Fit for import and restore only.
    ReadOnly,
    Writable,
}

/// Why a profile cannot hold the platform's own backups.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum DrTargetRefusal {
    #[error("a VBR profile holds volume data only and cannot be the target of disaster recovery")]
    Vbr,
    #[error("an infrastructure profile is not a location and cannot be the target of disaster recovery")]
    Infra,
    #[error("the profile is not validated yet")]
    NotValidated,
    #[error("the profile's validation failed")]
    Failed,
    #[error("the profile's location cannot be written to")]
    ReadOnly,
}

/// Decides whether a profile may hold the platform's own backups. Every door asks here.
pub fn check_dr_target(kind: ProfileKind, health: ProfileHealth) -> Result<(), DrTargetRefusal> {
    match kind {
        ProfileKind::Vbr => return Err(DrTargetRefusal::Vbr),
        ProfileKind::Infra => return Err(DrTargetRefusal::Infra),
        ProfileKind::ObjectStore | ProfileKind::FileStore => {}
    }
    match health {
        ProfileHealth::NotValidated => Err(DrTargetRefusal::NotValidated),
        ProfileHealth::Failed => Err(DrTargetRefusal::Failed),
        ProfileHealth::ReadOnly => Err(DrTargetRefusal::ReadOnly),
        ProfileHealth::Writable => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_writable_location_may_hold_the_platform() {
        use ProfileHealth::*;
        use ProfileKind::*;
        for (kind, health, expected) in [
            (ObjectStore, Writable, Ok(())),
            (FileStore, Writable, Ok(())),
            (ObjectStore, ReadOnly, Err(DrTargetRefusal::ReadOnly)),
            (FileStore, Failed, Err(DrTargetRefusal::Failed)),
            (ObjectStore, NotValidated, Err(DrTargetRefusal::NotValidated)),
            (Vbr, Writable, Err(DrTargetRefusal::Vbr)),
            (Infra, Writable, Err(DrTargetRefusal::Infra)),
        ] {
            assert_eq!(check_dr_target(kind, health), expected, "{kind:?} {health:?}");
        }
    }
}
