//! Checks a policy, as decided. Of the policy that protects the platform this also makes the protection.

use keelson_model::ErrorClass;
use keelson_protection::Platform;
use keelson_protection::validation::{PolicyVerdict, validate_policy};

use super::decide::Step;

pub(super) async fn act(platform: &Platform, step: Step) -> PolicyVerdict {
    match step {
        Step::Refuse { errors } => PolicyVerdict::Failed { errors, class: ErrorClass::Invalid },
        // Without a time limit: the first base of a large catalog takes as long as it takes.
        Step::Validate(policy) => validate_policy(platform, &policy).await,
    }
}
