//! Our own configuration in the cluster: secrets, config maps, configuration kinds, reviews, events, manifests.
//!
//! Only these are written with server-side apply. Applications never are: it would take every field from its owner.

mod events;
mod manifests;
mod review;
mod secrets;
mod watch;

use serde_json::Value;

pub use events::{EventRecord, EventSeverity};
pub(crate) use manifests::definition_kind;
pub use review::{AccessDecision, SubjectReview};
pub use secrets::{ConfigMap, Secret};
#[cfg(any(test, fuzzing))]
pub(crate) use secrets::{withstand_config_map, withstand_secret};
pub use watch::{ChangeKind, ConfigEvent};

/// What became of a creation.
#[derive(Clone, PartialEq)]
pub enum Creation {
    Created(Value),
    Existed,
}

/// Never prints the object: it may be a Secret.
impl std::fmt::Debug for Creation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created(_) => "Created",
            Self::Existed => "Existed",
        })
    }
}
