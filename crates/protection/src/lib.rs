//! The use cases, the one place where storage and clusters meet: backup, export, restore, retire, policy runs,
//! and the protection and recovery of the platform itself.
//!
//! Knows no HTTP, no command line and none of kube's types: doors hand in plain requests, `workload` hands in
//! plain objects. Every door ends in the same functions here.

mod platform;
mod requester;
mod records;
mod kinds;
pub mod requests;

mod actions;
mod engine;
mod streams;
mod backup;
mod export;
mod restore;
mod retire;
mod run;
mod retention;
mod restore_points;
mod repositories;

mod policies;
mod scheduler;
mod mirror;
mod applications;
pub mod validation;

mod identity;
mod documents;
mod epochs;
mod layout;
mod locations;
mod ownership;
pub mod passphrases;
pub mod recovery;

mod service;
pub mod status;

pub use identity::{IdentityError, INSTANCE_SECRET};
pub use layout::{Epoch, Position};
pub use locations::{Location, LocationError, Place};
pub use ownership::OwnershipError;
pub use platform::{CatalogAway, OWNERSHIP_GRACE, OpenPlatformError, Platform, Settings};
pub use records::{Body, DecodeRecordError, Record, random_suffix};
pub use repositories::RepositoriesError;
pub use requester::Requester;
pub use service::run;
