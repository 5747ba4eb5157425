//! Nothing is removed where the store's clock and ours differ: one of the two is wrong, and what looks expired may not be.
//!
//! What is asked is the store of the backups; for those on the platform's own volume the location of disaster recovery,
//! where there is one. Limits: a look counts for [`LOOK_EVERY`], so that much that expires asks once.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::OwnershipError;
use crate::locations::Location;
use crate::platform::Platform;
use crate::recovery::state;
use crate::restore_points::ExportedTo;

const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What was found out this long ago may be otherwise by now. As long as something has expired it is found out anew.
const TOLD_FOR: Duration = Duration::from_secs(600);
/// By more than this our clock does not go on between two looks, unless it is set.
const SET_MAX: SignedDuration = SignedDuration::from_mins(2);

/// What the last look at a store's clock brought, by the profile that leads there.
#[derive(Debug, Default)]
pub(crate) struct ClockLooks(std::sync::Mutex<BTreeMap<String, Look>>);

#[derive(Debug, Clone)]
struct Look {
    at: Instant,
    /// The same moment by the platform's clock.
    now: Timestamp,
    /// Why nothing is removed; none where the clocks agree.
    why: Option<String>,
}

impl ClockLooks {
    /// A look of a moment ago, unless our clock was set since.
    fn known(&self, profile: &str, now: Timestamp) -> Option<Look> {
        let looks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let look = looks.get(profile).filter(|look| look.at.elapsed() < LOOK_EVERY)?;
        (now.duration_since(look.now).abs() < SET_MAX).then(|| look.clone())
    }

    fn note(&self, profile: &str, now: Timestamp, why: Option<String>) {
        let mut looks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        looks.insert(profile.to_owned(), Look { at: Instant::now(), now, why });
    }

    /// Why nothing is removed now, each profile's reason.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let looks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        looks
            .values()
            .filter(|look| look.at.elapsed() < TOLD_FOR)
            .filter_map(|look| look.why.clone())
            .collect()
    }
}

/// Asks a store for its time, each time anew.
pub(super) async fn check(platform: &Platform, location: &Location) -> Result<(), OwnershipError> {
    let profile = || location.profile.clone();
    let theirs = location.store.time().await;
    let theirs = theirs.map_err(|source| OwnershipError::AskTime { profile: profile(), source })?;
    let now = platform.clock.now();
    let difference = theirs.duration_since(now);
    if difference.abs() <= platform.settings.clock_difference_max {
        platform.clock_looks.note(&location.profile, now, None);
        return Ok(());
    }
    let error = OwnershipError::ClocksDiffer { profile: profile(), difference: rounded(difference.abs()) };
    tracing::error!(profile = location.profile, %theirs, "nothing is removed here: the store's clock and ours differ");
    platform.clock_looks.note(&location.profile, now, Some(error.to_string()));
    Err(error)
}

fn rounded(difference: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(difference.as_secs())
}

/// Why what has expired stays, in words for a person; none where it may go. A store that cannot be asked now is none:
/// nothing can be removed there without asking it again.
pub(crate) async fn keep_expired(platform: &Platform, exported: Option<&ExportedTo>) -> Option<String> {
    let profile = match exported {
        // Nothing is removed there.
        Some(exported) if exported.is_imported() => return None,
        Some(exported) => exported.profile.clone(),
        None => state::enabled(platform).ok().flatten()?.profile,
    };
    if let Some(look) = platform.clock_looks.known(&profile, platform.clock.now()) {
        return look.why;
    }
    let location = platform.open_location(&profile).await.ok()?;
    match check(platform, &location).await {
        Err(error @ OwnershipError::ClocksDiffer { .. }) => Some(error.to_string()),
        Ok(()) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use anyhow::Result;
    use keelson_model::recovery::DrMode;
    use keelson_model::{ManualClock, RepositoryId};
    use keelson_testkit::ControlPlane;
    use keelson_workload::Cluster;
    use serde_json::json;

    use super::*;
    use crate::locations::Place;
    use crate::platform::Settings;
    use crate::recovery::state::Enabled;

    const NAMESPACE: &str = "kasten-io";
    const WHY: &str = "the clocks differ";

    fn enabled_to(profile: &str) -> Enabled {
        Enabled {
            profile: profile.to_owned(),
            place: Place::FileStore { claim: "share".to_owned(), path: String::new() },
            repository: RepositoryId::from_bytes([1; 16]),
            mode: DrMode::Legacy,
            enabled_at: Timestamp::UNIX_EPOCH,
            vault_key: 1,
            slots: Vec::new(),
            parent: None,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn backups_on_our_own_volume_wait_with_the_location_of_disaster_recovery() -> Result<()> {
        let (plane, data) = (ControlPlane::start().await?, tempfile::tempdir()?);
        let cluster = Cluster::from_client(plane.client().await?);
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
        cluster.apply_manifest(&namespace).await?;
        let clock = Arc::new(ManualClock::new("2026-03-04T09:30:00Z".parse()?));
        let platform = Platform::open(Settings::of_a_test(data.path()), cluster, clock.clone()).await?;
        let look = |why: Option<&str>| {
            platform.clock_looks.note("vault", platform.clock.now(), why.map(str::to_owned));
        };

        look(Some(WHY));
        assert_eq!(keep_expired(&platform, None).await, None, "there is no location to wait with");
        state::write_enabled(&platform, &enabled_to("elsewhere")).await?;
        assert_eq!(keep_expired(&platform, None).await, None, "that location cannot be reached");
        state::write_enabled(&platform, &enabled_to("vault")).await?;
        assert_eq!(keep_expired(&platform, None).await.as_deref(), Some(WHY));
        look(None);
        assert_eq!(keep_expired(&platform, None).await, None, "the clocks agree");

        // What was found out before our clock was set counts no more, and nobody can be asked.
        look(Some(WHY));
        clock.advance(Duration::from_secs(3600));
        assert_eq!(keep_expired(&platform, None).await, None, "there is no such profile");
        plane.stop().await
    }
}
