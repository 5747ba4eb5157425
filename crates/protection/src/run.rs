//! A run of a policy: which children it makes, and what their ends mean for it.
//!
//! Guarantees: children are named in the run's plan before the first is made, so a repeated attempt finds its own.
//! The run of the DR policy is the platform's own protection and makes no children.

mod execute;
mod plan;

pub(crate) use execute::execute;
#[cfg(any(test, fuzzing))]
pub(crate) use plan::RunPlan;

use crate::records::Record;

/// Namespace and name of the policy that a run carries out. The namespace defaults to the run's own.
pub(crate) fn policy_of(run: &Record) -> (&str, &str) {
    let subject = &run.body.spec["subject"];
    let namespace = subject["namespace"].as_str().filter(|named| !named.is_empty());
    (namespace.unwrap_or(&run.namespace), subject["name"].as_str().unwrap_or_default())
}
