//! What the recovery itself runs through: its location and, where AWS holds the passphrase, who asks there. What was backed
//! up takes their place only where it leads there too.

use keelson_model::Chain;
use keelson_model::location::LocationSpec;
use keelson_workload::{NamespacedName, Secret};
use serde_json::Value;

use crate::kinds;
use crate::layout;
use crate::locations;
use crate::passphrases::{
    Unidentified, identify, identify_with, is_aws, is_in_aws, may_be_asked_through, secret_named,
};
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::plan::RecoveryPlan;

const OPENS_NOT: &str = "the backed-up one does not open the location";

/// As it stood before anything was put back.
pub(super) struct Own {
    location: Option<OwnLocation>,
    /// None where the passphrase is elsewhere.
    askers: Vec<Asker>,
}

/// The location, and the Secret that the profile in use names.
struct OwnLocation {
    secret: String,
    spec: Option<LocationSpec>,
}

/// An infrastructure profile by which AWS is asked for the passphrase. The Secret is none where the platform asks as what
/// it runs as.
struct Asker {
    profile: String,
    secret: Option<NamespacedName>,
}

impl Own {
    pub(super) async fn observe(platform: &Platform, plan: &RecoveryPlan) -> Result<Self, RecoveryError> {
        Ok(Self { location: observe_location(platform, plan).await, askers: observe_askers(platform).await? })
    }

    /// Why a Secret does not take the place of the one that is there.
    pub(super) async fn refuse_secret(
        &self,
        platform: &Platform,
        plan: &RecoveryPlan,
        secret: &Secret,
    ) -> Option<String> {
        if let Some(own) = self.location.as_ref().filter(|own| own.secret == secret.at.name) {
            let opens = match &own.spec {
                Some(spec) => locations::opens_with(&plan.profile, spec, secret).await,
                None => false,
            };
            if !opens {
                return Some(OPENS_NOT.to_owned());
            }
        }
        match self.askers.iter().any(|asker| asker.secret.as_ref() == Some(&secret.at)) {
            true => refuse_identity(identify_with(platform, secret).await),
            false => None,
        }
    }

    /// Why a profile does not take the place of the one that is there.
    pub(super) async fn refuse_profile(
        &self,
        platform: &Platform,
        plan: &RecoveryPlan,
        name: &str,
        object: &Value,
    ) -> Option<String> {
        if name == plan.profile
            && let Some(why) = refuse_location(platform, name, object).await
        {
            return Some(why.to_owned());
        }
        if !self.askers.iter().any(|asker| asker.profile == name) {
            return None;
        }
        if !is_aws(object) {
            return Some("the backed-up one is no infrastructure profile of type AWS".to_owned());
        }
        refuse_identity(identify(platform, object).await)
    }
}

async fn observe_location(platform: &Platform, plan: &RecoveryPlan) -> Option<OwnLocation> {
    let namespace = &platform.settings.install_namespace;
    let profile =
        platform.cluster.read_object(&kinds::profile(), Some(namespace), &plan.profile).await.ok()??;
    let secret = profile["spec"]["locationSpec"]["credential"]["secret"]["name"].as_str()?.to_owned();
    let spec = locations::known_profile(&plan.profile, &profile).ok().and_then(|known| known.spec);
    Some(OwnLocation { secret, spec })
}

/// All that may be asked through, not the chosen one alone: a recovery that goes on after a restart must find the same, and
/// one whose spec it has written itself counts as not looked at until the controllers were there.
async fn observe_askers(platform: &Platform) -> Result<Vec<Asker>, RecoveryError> {
    if !is_in_aws(platform).await.map_err(|source| RecoveryError::Passphrase { source })? {
        return Ok(Vec::new());
    }
    let namespace = &platform.settings.install_namespace;
    let listed = platform.cluster.list_objects(&kinds::profile(), Some(namespace), None).await;
    let failed = |source| RecoveryError::Cluster { what: "the infrastructure profiles".to_owned(), source };
    let profiles = listed.map_err(failed)?;
    let asker = |profile: &Value| Asker {
        profile: profile["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        // One whose credential is of no use asks for nothing.
        secret: secret_named(platform, profile).ok().flatten(),
    };
    Ok(profiles.iter().filter(|profile| may_be_asked_through(profile)).map(asker).collect())
}

/// Why the location does not open through the profile as it was backed up.
async fn refuse_location(platform: &Platform, name: &str, object: &Value) -> Option<&'static str> {
    let Some(spec) = locations::known_profile(name, object).ok().and_then(|known| known.spec) else {
        return Some("the backed-up one describes no location");
    };
    let listed = match platform.open_spec(name, &spec).await {
        Ok(location) => location.store.list_folders(&layout::clusters()).await.is_ok(),
        Err(_) => false,
    };
    (!listed).then_some(OPENS_NOT)
}

fn refuse_identity(identified: Result<String, Unidentified>) -> Option<String> {
    let error = identified.err()?;
    Some(format!("the backed-up one is not taken by AWS: {}", Chain(&*error)))
}
