//! The extension API server: serves our kinds beside the built-in ones, straight from the catalog.
//!
//! Speaks the protocol of Kubernetes and decides nothing: creating and deleting end in `protection`, kinds and their
//! schemas come from `resources`, rows and their versions from `catalog`.

mod accept;
mod authentication;
mod authorization;
mod body;
mod certificates;
mod continuation;
mod control_plane;
mod create;
mod delete;
mod delete_options;
mod discovery;
mod extension;
mod failure;
mod fairness;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod get;
mod limits;
mod list;
mod object;
mod openapi;
mod options;
mod parameters;
mod patch;
mod readiness;
mod refusal;
mod registration;
mod response;
mod room;
mod router;
mod rows;
mod server;
mod shared;
mod table;
mod target;
mod view;
mod watch;

#[cfg(test)]
mod tests;

pub use authentication::{FrontProxy, FrontProxyTrust, ParseTrustError};
pub use certificates::{CertificateError, Renewed, ServingCertificates};
pub use discovery::{GroupVersion, Withheld, group_versions};
pub use extension::{Extension, ReadTrustError};
pub use readiness::Readiness;
pub use registration::{
    Answers, Guard, GuardTimes, Holder, LeaseError, LeaseTimes, Reach, RegisterError, Registration,
    RemoveError, ServeLease, Standing, StandingTimes, Successor, TellTaken, api_service_name,
    groups_that_answer,
};
pub use server::Farewell;
