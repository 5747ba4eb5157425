//! What the chores do to a machine: test beds of a person, and the queues of tests.

mod suites;
mod testbed;
