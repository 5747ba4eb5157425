//! Tries a profile's location, as decided.

use std::time::Duration;

use keelson_model::ErrorClass;
use keelson_protection::Platform;
use keelson_protection::validation::{ProfileVerdict, validate_profile};

use super::decide::Step;
use super::observe::Observed;

/// A location that answers as slowly as this is no place for backups.
const LOOK_MOST: Duration = Duration::from_secs(120);

pub(super) async fn act(platform: &Platform, observed: &Observed, step: Step) -> ProfileVerdict {
    match step {
        Step::Refuse { errors } => ProfileVerdict::Failed { errors, class: ErrorClass::Invalid },
        Step::TryLocation => {
            let look = validate_profile(platform, &observed.subject.object);
            tokio::time::timeout(LOOK_MOST, look).await.unwrap_or_else(|_| too_slow())
        }
    }
}

fn too_slow() -> ProfileVerdict {
    let errors = vec![format!("trying the location took more than {} seconds", LOOK_MOST.as_secs())];
    ProfileVerdict::Failed { errors, class: ErrorClass::Unavailable { retry_after: None } }
}
