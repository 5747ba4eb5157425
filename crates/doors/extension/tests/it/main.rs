//! The server behind a real API server: what people do with `kubectl`, and what the controllers of a cluster need.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

mod access;
mod controllers;
mod environment;
mod informers;
mod kubectl;
mod openapi;
mod registration;
mod rotation;
mod stranger;
mod tenants;
