//! The catalog as its callers see it: commits, reads, watches, shipping, recovery, and what survives a crash.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test did not expect ends it")]

mod commits;
mod crash;
mod data_dir;
mod fixture;
mod generations;
mod model;
mod opening;
mod reads;
mod recovery;
mod shipping;
mod speed;
mod watch;
