//! Protecting and recovering the platform itself.
//!
//! `enable` makes the platform's own repository in a location; `ship` sends every change of the catalog there within
//! a second or two; `run` writes a manifest that names a point of what was shipped. `review` reads a location, `plan`
//! says what a recovery would do, `execute` does it.

pub(crate) mod adopt;
pub(crate) mod cards;
pub(crate) mod chain;
pub mod discover;
pub(crate) mod documents;
pub mod drill;
pub mod enable;
mod error;
pub(crate) mod execute;
pub(crate) mod exports;
pub(crate) mod former;
pub mod kit;
pub mod known_head;
pub(crate) mod late_exports;
pub(crate) mod moment;
pub(crate) mod open;
pub mod plan;
pub mod prove;
pub(crate) mod read;
pub(crate) mod relatives;
pub mod report;
pub mod review;
pub(crate) mod run;
pub(crate) mod service;
pub(crate) mod ship;
pub(crate) mod slots;
pub mod state;
pub(crate) mod unnamed;

pub use documents::{BaseDocument, CardDocument, ManifestDocument, StartDocument};
pub use error::RecoveryError;
pub(crate) use state::is_unfinished;
