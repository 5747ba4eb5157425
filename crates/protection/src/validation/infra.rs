//! Whether an infrastructure profile leads anywhere: one of AWS is asked who it is. What this version uses for nothing is not
//! tried.

use serde_json::Value;

use super::{ProfileVerdict, told};
use crate::passphrases::{identify, is_aws};
use crate::platform::Platform;

pub(super) async fn validate(platform: &Platform, profile: &Value) -> ProfileVerdict {
    if !is_aws(profile) {
        return ProfileVerdict::Writable(None);
    }
    match identify(platform, profile).await {
        Ok(identity) => {
            tracing::debug!(identity, "AWS knows an infrastructure profile");
            ProfileVerdict::Writable(None)
        }
        Err(error) => ProfileVerdict::Failed { errors: vec![told(&*error)], class: error.class() },
    }
}
