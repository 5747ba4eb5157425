//! Use cases on a real API server, in process: where the clock must be moved, and where what lies in a location is
//! read by another program than ours.

mod actions;
mod drill;
mod fixture;
mod mirror;
mod published;
mod reader;
mod rollback;
mod schedule;
mod stage;
mod unanswered;
