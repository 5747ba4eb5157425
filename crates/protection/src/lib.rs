//! The use cases, the one place where storage and clusters meet: backup, export, restore, retire, policy runs,
//! and the protection and recovery of the platform itself.
//!
//! Knows no HTTP, no command line and none of kube's types: doors hand in plain requests, `workload` hands in
//! plain objects. Every door ends in the same functions here.

mod access;
pub mod audit;
mod kept;
mod kinds;
mod platform;
mod records;
mod requester;
pub mod requests;

mod actions;
mod backup;
mod batch;
mod cancel;
mod cluster_scope;
mod components;
mod contents;
mod engine;
mod events;
mod expiry;
mod export;
mod grants;
mod history;
mod import;
mod orphans;
mod report;
mod repositories;
mod restore;
mod restore_points;
mod retention;
mod retire;
mod run;
mod storage_repositories;
mod streams;
mod validate;

mod applications;
mod mirror;
mod namespaces;
mod policies;
mod scheduler;
pub mod validation;

mod digest;
mod documents;
mod epochs;
mod identity;
mod instance_secret;
mod layout;
mod locations;
pub mod maintenance;
pub mod metrics;
mod ownership;
pub mod passkeys;
pub mod passphrases;
pub mod recovery;

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod service;
pub mod status;
mod upgrade;
mod upkeep;

pub use identity::IdentityError;
pub use instance_secret::INSTANCE_SECRET;
pub use keelson_crypto::KdfCost;
pub use keelson_passphrase::aws::AwsEnvironment;
pub use keelson_store::probe::CLOCK_DIFFERENCE_MAX;
pub use layout::{Epoch, Position};
pub use locations::{Location, LocationError, Place};
pub use namespaces::follow_namespaces;
pub use ownership::OwnershipError;
pub use platform::{
    CatalogAway, OWNERSHIP_GRACE, OpenPlatformError, Platform, RecoveryBounds, Settings, TakenApi,
};
pub use records::{Body, DecodeRecordError, Record, random_suffix};
pub use repositories::RepositoriesError;
pub use requester::{Requester, User};
pub use service::run;
