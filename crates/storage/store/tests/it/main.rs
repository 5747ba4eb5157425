//! The store from outside: the conformance suite on every provider and decorator, and what users meet when a
//! location is wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod bad_buckets;
mod bad_directories;
mod conformance;
mod decorators;
mod probing;
mod protecting;
mod rewinding;
mod servers;
mod shares;
