//! What a KastenDRRestore asks for, and what a person must have said yes to. Decides; changes nothing.

use std::time::Duration;

use jiff::Timestamp;
use keelson_model::passphrase::VaultAccess;
use keelson_model::skip::SkipResources;
use keelson_resources::recovery;
use keelson_resources::recovery::restore::QuickMode;
use serde::Deserialize;
use serde_json::Value;

use crate::engine::read;
use crate::kinds;
use crate::platform::Platform;
use crate::records::Record;
use crate::recovery::RecoveryError;
use crate::recovery::execute::{Opened, RecoveryRequest, Wanted};
use crate::recovery::plan::{Existing, RecoveryPlan};
use crate::recovery::review::Source;

/// What to recover. A point that was chosen before a kill stays chosen.
pub(super) fn wanted(platform: &Platform, request: &Record) -> Result<RecoveryRequest, RecoveryError> {
    let spec = &request.body.spec;
    let skip: SkipResources = spec["skipResources"]
        .as_str()
        .unwrap_or_default()
        .parse()
        .map_err(|error| RecoveryError::Request { what: "skipResources", why: format!("{error}") })?;
    let details = &spec["kastenDRReviewDetails"];
    let exports = spec["rebuildFromExports"].as_bool().unwrap_or(false);
    let own_vault = vault_of(spec)?;
    let (source, vault, point) = match details["id"].as_str() {
        None => (source_of(&spec["sourceClusterInfo"])?, own_vault, None),
        Some(id) => {
            let name = details["kastenDRReviewRef"]["name"].as_str().unwrap_or_default();
            let key = keelson_catalog::RowKey::new(kinds::dr_reviews(), request.namespace.clone(), name);
            let review = read(&platform.instance, &key).ok().flatten();
            let review = review.ok_or_else(|| RecoveryError::Request {
                what: "kastenDRReviewDetails",
                why: format!("there is no KastenDRReview '{name}'"),
            })?;
            let source = source_of(&review.body.spec["sourceClusterInfo"])?;
            let vault = own_vault.map_or_else(|| vault_of(&review.body.spec), |own| Ok(Some(own)))?;
            (source, vault, Some(id.to_owned()))
        }
    };
    let chosen = request.body.internal["plan"]["point"].as_str().map(str::to_owned);
    let wanted = match chosen.or(point) {
        _ if exports => Wanted::Exports,
        Some(point) => Wanted::Point(point),
        None => Wanted::Latest,
    };
    let existing = match quick_mode(spec)?.override_resources {
        Some(true) => Existing::Replace,
        Some(false) | None => Existing::Keep,
    };
    Ok(RecoveryRequest { source, vault, wanted, skip, existing })
}

pub(super) fn source_of(value: &Value) -> Result<Source, RecoveryError> {
    Source::deserialize(value)
        .map_err(|source| RecoveryError::Request { what: "sourceClusterInfo", why: source.to_string() })
}

/// How the request says that Vault is reached.
pub(super) fn vault_of(spec: &Value) -> Result<Option<VaultAccess>, RecoveryError> {
    let vault = spec.get("vault").map_or(Ok(None), Option::<recovery::VaultAccess>::deserialize);
    let vault = vault.map_err(|source| RecoveryError::Request { what: "vault", why: source.to_string() })?;
    Ok(vault.map(VaultAccess::from))
}

fn quick_mode(spec: &Value) -> Result<QuickMode, RecoveryError> {
    let quick = spec.get("quickMode").map_or(Ok(None), Option::<QuickMode>::deserialize);
    let quick =
        quick.map_err(|source| RecoveryError::Request { what: "quickMode", why: source.to_string() })?;
    Ok(quick.unwrap_or_default())
}

/// What a person must have said yes to.
pub(super) fn check_confirmations(
    request: &Record,
    plan: &RecoveryPlan,
    opened: &Opened,
) -> Result<(), RecoveryError> {
    let spec = &request.body.spec;
    if plan.present > 0 && spec["replaceCatalog"] != true {
        return Err(RecoveryError::CatalogInUse { contents: plan.present });
    }
    match opened {
        Opened::Exports(..) => return Ok(()),
        Opened::Chains(reviewed) => match &reviewed.rollback {
            Some(rollback) if spec["acceptRollback"] != true => {
                return Err(RecoveryError::RolledBack { source: rollback.clone() });
            }
            Some(_) | None => {}
        },
    }
    check_mode(quick_mode(spec)?, plan)
}

/// A door that said nothing of the mode gets what there is. One that said something must have said what is so.
fn check_mode(quick: QuickMode, plan: &RecoveryPlan) -> Result<(), RecoveryError> {
    let QuickMode { enabled, override_resources } = quick;
    let (point, mode) = (plan.point.clone(), plan.mode);
    match (enabled, mode.is_quick()) {
        (Some(true), false) | (Some(false), true) => Err(RecoveryError::OtherMode { point, mode }),
        (Some(true), true) if override_resources != Some(true) => {
            Err(RecoveryError::Unconfirmed { point, mode })
        }
        (None, true) if override_resources == Some(false) => Err(RecoveryError::Unconfirmed { point, mode }),
        _ => Ok(()),
    }
}

/// What is left of the whole. A clock that was set back has taken nothing.
pub(super) fn time_left(begun: Option<Timestamp>, minutes: u64, now: Timestamp) -> Duration {
    let whole = Duration::from_secs(minutes.saturating_mul(60));
    let spent = begun.map(|begun| Duration::try_from(now.duration_since(begun)).unwrap_or_default());
    whole.saturating_sub(spent.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_restore_is_counted_from_its_first_beginning() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let begun = at("2026-03-04T09:30:00Z");
        for (now, left) in [
            ("2026-03-04T09:30:00Z", 600),
            ("2026-03-04T09:33:20Z", 400),
            ("2026-03-04T09:40:00Z", 0),
            ("2026-03-05T09:30:00Z", 0),
            ("2026-03-04T08:30:00Z", 600),
        ] {
            assert_eq!(time_left(Some(begun), 10, at(now)), Duration::from_secs(left), "{now}");
        }
        assert_eq!(time_left(None, 10, begun), Duration::from_secs(600));
    }
}
