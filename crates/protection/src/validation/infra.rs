//! Whether an infrastructure profile leads anywhere: one of AWS is asked who it is. What this version uses for nothing is not
//! tried.

use keelson_model::Classified;
use keelson_passphrase::aws::check_identity;
use serde_json::Value;

use super::{ProfileVerdict, told};
use crate::passphrases::{aws_settings, is_aws};
use crate::platform::Platform;

pub(super) async fn validate(platform: &Platform, profile: &Value) -> ProfileVerdict {
    if !is_aws(profile) {
        return ProfileVerdict::Writable(None);
    }
    let settings = match aws_settings(platform, profile).await {
        Ok(settings) => settings,
        Err(error) => return failed(&error),
    };
    match check_identity(&settings, platform.clock.now()).await {
        Ok(identity) => {
            tracing::debug!(identity, "AWS knows an infrastructure profile");
            ProfileVerdict::Writable(None)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn Classified) -> ProfileVerdict {
    ProfileVerdict::Failed { errors: vec![told(error)], class: error.class() }
}
