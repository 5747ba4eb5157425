//! Capture, restore and configuration against a real control plane.

mod application;
mod cluster_scope;
mod configuration;
mod conflicts;
mod interruptions;
mod recreate;
mod refusals;
mod rights;
mod round_trip;
mod throughput;
mod unanswered;
