//! The wait after a take-over ends early if a person, who was told what would be freed, says so by a ConfigMap.
//!
//! Guarantees: it counts for places of which that was told, and for one take-over: a ConfigMap that was there before it
//! is deleted first.

use keelson_model::Chain;
use keelson_model::names::CONFIRM_CONFIG_MAP;
use keelson_workload::{NamespacedName, RequestError};

use super::{Held, Ownership};
use crate::maintenance;
use crate::platform::Platform;

fn config_map(platform: &Platform) -> NamespacedName {
    NamespacedName::new(&platform.settings.install_namespace, CONFIRM_CONFIG_MAP)
}

pub(super) async fn forget(platform: &Platform) -> Result<(), RequestError> {
    platform.cluster.delete_config_map(&config_map(platform)).await
}

/// Looks for the ConfigMap while something waits, and lets the next pass come at once if it is there.
pub(super) async fn end_waits(platform: &Platform, ownership: &Ownership) {
    let now = platform.clock.now();
    let is_told = |held: &Held| held.waits_until(now).is_some() && held.foreseen.is_some();
    if !ownership.held.values().any(is_told) {
        return;
    }
    if !matches!(platform.cluster.read_config_map(&config_map(platform)).await, Ok(Some(_))) {
        return;
    }
    let confirmed = super::update(platform, |ownership| {
        ownership.held.values_mut().filter(|held| is_told(held)).for_each(|held| held.confirmed = true);
    });
    if let Err(error) = confirmed.await {
        tracing::warn!(cause = %Chain(&error), "that a take-over was confirmed was not recorded");
        return;
    }
    tracing::info!("a take-over was confirmed: what nothing needs is freed from now on");
    maintenance::pass_soon(platform).await;
    if let Err(error) = forget(platform).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "ConfigMap '{CONFIRM_CONFIG_MAP}' stays");
    }
}
