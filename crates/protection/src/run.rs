//! A run of a policy: which children it makes, and what their ends mean for it.
//!
//! Guarantees: children are named in the run's plan before the first is made, so a repeated attempt finds its own.
//! The run of the DR policy is the platform's own protection and makes no children.

mod execute;
mod plan;

pub(crate) use execute::execute;
#[cfg(any(test, fuzzing))]
pub(crate) use plan::RunPlan;
