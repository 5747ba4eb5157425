//! What whole stories are told with: the program as it ships, run and killed as a process, and what a location holds.
//!
//! Control planes and S3 servers come from the test kit. Nothing here reaches into the program: a story sees what a
//! user sees.

pub mod demo;
mod location;
mod program;

pub use location::Listing;
pub use program::{Answer, Instance, answer, answer_of, program, start, xtask};
