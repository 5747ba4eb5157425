//! Use cases on a real API server, in process: where the clock must be moved.

mod actions;
mod fixture;
mod schedule;
