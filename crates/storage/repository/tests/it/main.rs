//! The repository as its callers see it, over a store in memory and over a directory.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test did not expect ends it")]

mod crash;
mod damage;
mod explore;
mod golden;
mod hostile;
mod index_cache;
mod keys;
mod model;
mod protocol;
mod prune;
mod prune_crash;
mod prune_model;
mod upkeep;
mod world;
