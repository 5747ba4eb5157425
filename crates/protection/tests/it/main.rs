//! Use cases on a real API server, in process: where the clock must be moved, the process stopped, or where what lies in
//! a location is read by another program than ours.

mod actions;
mod attacked;
mod batch;
mod bucket;
mod cancel;
mod chains;
mod cluster_scope;
mod confirm;
mod copies;
mod details;
mod drill;
mod fixture;
mod imports;
mod late_exports;
mod locks;
mod maintenance;
mod mirror;
mod passkeys;
mod passphrase;
mod platform;
mod published;
mod reader;
mod recovery_sessions;
mod rehearsal;
mod replaced;
mod reports;
mod rollback;
mod schedule;
mod stage;
mod storage_repositories;
mod teardown;
mod unanswered;
mod upgrades;
mod validate;
mod wrong_clocks;
