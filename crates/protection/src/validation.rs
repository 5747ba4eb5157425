//! Validation of profiles and policies: what their status says, decided by looking, not by believing.

mod immutable;
mod infra;

use std::fmt::Display;

use keelson_model::location::ProfileKind;
use keelson_model::{Chain, Classified, ErrorClass};
use keelson_resources::policy::ParsedPolicy;
pub use keelson_store::probe::Dialect;
use keelson_store::probe::{Unfit, probe};
pub use keelson_store::providers::s3::LockMode;
use keelson_store::providers::s3::{ProtectionCheck, ProtectionFault};
use serde_json::Value;

use crate::grants;
use crate::locations::{self, LocationError, Place};
use crate::platform::Platform;
use crate::records::random_suffix;
use crate::recovery::{enable, state};

/// What was found out about a profile.
#[derive(Debug, Clone)]
pub enum ProfileVerdict {
    Writable(Option<Dialect>),
    /// Enough to import and to restore.
    ReadOnly {
        reason: String,
    },
    Failed {
        errors: Vec<String>,
        class: ErrorClass,
    },
}

/// What was found out about a policy.
#[derive(Debug, Clone)]
pub enum PolicyVerdict {
    /// It can run. What does not stand against that, and yet should be known, comes as warnings.
    Sound {
        warnings: Vec<String>,
        /// Why the source of the passphrase in force cannot be read now. What is enabled stays so.
        source_trouble: Option<String>,
    },
    Failed {
        errors: Vec<String>,
        class: ErrorClass,
    },
}

/// Opens the profile's location and tries what a location must be able to do.
pub async fn validate_profile(platform: &Platform, object: &Value) -> ProfileVerdict {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let failed =
        |error: &LocationError| ProfileVerdict::Failed { errors: vec![told(error)], class: error.class() };
    let known = match locations::known_profile(name, object) {
        Ok(known) => known,
        Err(LocationError::MalformedProfile { faults, .. }) => {
            return ProfileVerdict::Failed { errors: faults, class: ErrorClass::Invalid };
        }
        Err(error) => return failed(&error),
    };
    let spec = match (known.kind, known.spec) {
        (ProfileKind::Vbr, _) => return ProfileVerdict::Writable(None),
        (ProfileKind::Infra, _) => return infra::validate(platform, object).await,
        (_, Some(spec)) => spec,
        (_, None) => return failed(&LocationError::NoLocation { profile: name.to_owned() }),
    };
    let trial = match platform.open_trial(name, &spec).await {
        Ok(trial) => trial,
        Err(error) => return failed(&error),
    };
    let (nonce, now) = (random_suffix(), platform.clock.now());
    let check = async {
        match &trial.protecting {
            Some(bucket) => bucket.check_protection(&nonce).await.map(Some),
            None => Ok(None),
        }
    };
    let (dialect, check) = tokio::join!(probe(&*trial.store, &nonce, now), check);
    let mut dialect = match dialect {
        Ok(dialect) => dialect,
        Err(error) => {
            // The right that is missing here is missing there by its name.
            let mut errors: Vec<String> = check.ok().flatten().iter().flat_map(faults).collect();
            errors.push(told(&error));
            return ProfileVerdict::Failed { errors, class: error.class() };
        }
    };
    if let Err(error) = platform.check_kept(name, &Place::of(&spec), &*trial.store).await {
        return failed(&error);
    }
    match check {
        Ok(Some(check)) => {
            let errors = unprotected(&dialect, &check);
            if !errors.is_empty() {
                return ProfileVerdict::Failed { errors, class: ErrorClass::Invalid };
            }
            dialect.warnings.extend(weaknesses(&check).map(str::to_owned));
            dialect.lock_mode = Some(check.mode);
        }
        Ok(None) => {}
        Err(error) => {
            return ProfileVerdict::Failed { errors: vec![told(&error)], class: error.class() };
        }
    }
    match dialect.unfit().as_slice() {
        [] => ProfileVerdict::Writable(Some(dialect)),
        unfit => {
            let reasons: Vec<_> = unfit.iter().map(ToString::to_string).chain(dialect.reason).collect();
            ProfileVerdict::ReadOnly { reason: reasons.join("; ") }
        }
    }
}

/// Pure. Why a bucket does not protect, one message a check: it would be unprotected silently otherwise.
fn unprotected(dialect: &Dialect, check: &ProtectionCheck) -> Vec<String> {
    let mut errors: Vec<String> = faults(check).collect();
    // The check names the rule.
    let unfit = dialect.unfit().into_iter().filter(|unfit| *unfit != Unfit::ExpiresVersions);
    errors.extend(unfit.map(unheld));
    if errors.is_empty() && !dialect.object_lock {
        errors.push(unheld(ProtectionFault::LockNotEnforced));
    }
    errors
}

fn faults(check: &ProtectionCheck) -> impl Iterator<Item = String> {
    check.faults.iter().map(unheld)
}

fn unheld(fault: impl Display) -> String {
    format!("protectionPeriod cannot be held: {fault}")
}

/// Pure. What does not stand against a bucket, and yet should be known.
fn weaknesses(check: &ProtectionCheck) -> impl Iterator<Item = &'static str> {
    let bypassed = "locks are in GOVERNANCE mode and these credentials may bypass them: take the right \
                    s3:BypassGovernanceRetention from them, or give the bucket a default retention in COMPLIANCE mode";
    let times = "the store changes the time of an object that something is laid over: a point in time is found in what \
                 was shipped, not in what the store held then";
    [(check.bypassed, bypassed), (check.times_move, times)]
        .into_iter()
        .filter_map(|(holds, text)| holds.then_some(text))
}

/// An error as whoever asked sees it: why, and what to do.
pub(crate) fn told(error: &dyn Classified) -> String {
    match error.hint() {
        Some(hint) => format!("{}; hint: {hint}", Chain(error)),
        None => Chain(error).to_string(),
    }
}

/// Checks what a policy names; of the DR policy it also makes the protection that it asks for, and of one that imports it
/// keeps what was granted.
pub async fn validate_policy(platform: &Platform, policy: &ParsedPolicy) -> PolicyVerdict {
    let misplaced = policy.check_placement(&platform.settings.install_namespace);
    if !misplaced.is_empty() {
        return PolicyVerdict::Failed { errors: misplaced, class: ErrorClass::Invalid };
    }
    let mut errors = Vec::new();
    let mut class = ErrorClass::Invalid;
    for profile in policy.profiles() {
        let checked = match policy.import {
            Some(_) => check_source(platform, profile).await,
            None => check_profile(platform, profile).await,
        };
        if let Err(error) = checked {
            class = error.class();
            errors.push(told(&error));
        }
    }
    if let Some(import) = &policy.import
        && let Err(error) = grants::hold(platform, &import.receive_string).await
    {
        class = error.class();
        errors.push(told(&error));
    }
    let (mut warnings, mut source_trouble) = (Vec::new(), None);
    if let Some(import) = &policy.import
        && check_profile(platform, &import.profile).await.is_ok()
    {
        warnings.push(format!(
            "profile '{}' may write where it is imported from: give it credentials that can only read",
            import.profile
        ));
    }
    if errors.is_empty()
        && let Some(dr) = policy.disaster_recovery.as_ref()
    {
        let mode = enable::mode_of(platform, dr);
        if let Err(error) = enable::enable(platform, &dr.profile, mode).await {
            class = error.class();
            errors.push(told(&error));
        }
        warnings = immutable::find_weaknesses(platform, &dr.profile, policy.frequency).await;
        let known = state::passphrase_source(platform).ok().flatten();
        source_trouble = known.and_then(|known| known.trouble).map(|trouble| trouble.why);
    }
    match errors.is_empty() {
        true => PolicyVerdict::Sound { warnings, source_trouble },
        false => PolicyVerdict::Failed { errors, class },
    }
}

/// A profile that backups are to be written through.
async fn check_profile(platform: &Platform, name: &str) -> Result<(), LocationError> {
    platform.profile(name).await?.check_target()
}

/// A profile that is imported through.
async fn check_source(platform: &Platform, name: &str) -> Result<(), LocationError> {
    platform.profile(name).await?.check_source()
}

/// What a controller wrote into a status as wrong.
pub(crate) fn faults_of(status: &Value) -> Vec<String> {
    let faults = status["error"].as_array().into_iter().flatten();
    faults.map(|fault| fault.as_str().unwrap_or_default().to_owned()).collect()
}
