//! Use cases on a real API server, in process: where the clock must be moved.

mod schedule;
