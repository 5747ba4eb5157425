//! Taking ownership: the ConfigMap is gone for good, so the next epoch is claimed wherever the catalog knows data.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelson_model::names::OWNERSHIP_CONFIG_MAP;
use keelson_model::{Chain, ClusterId};
use keelson_workload::{NamespaceName, NamespacePhase, NamespacedName};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::locations::Place;
use crate::maintenance::foresee;
use crate::ownership::{self, Pending, Unowned, confirm};
use crate::platform::Platform;
use crate::recovery;
use crate::repositories;

/// How often the ConfigMap is looked for while ownership is pending.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often a place that could not be claimed, or looked at, is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(60);

/// Watches for the ConfigMap's removal as long as ownership is pending, then claims place by place until all are owned.
pub(crate) async fn run_ownership(platform: Arc<Platform>, stop: CancellationToken) {
    let mut absent_since: Option<tokio::time::Instant> = None;
    let mut tried: Option<tokio::time::Instant> = None;
    let mut untold: Option<tokio::time::Instant> = None;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        let Ok(ownership) = ownership::read(&platform.instance) else { continue };
        if recovery::is_unfinished(&platform) {
            absent_since = None;
            continue;
        }
        if untold.is_none_or(|at| at.elapsed() >= RETRY_EVERY) {
            let told = tokio::select! {
                told = foresee::tell(&platform, &ownership) => told,
                () = stop.cancelled() => return,
            };
            untold = (!told).then(tokio::time::Instant::now);
        }
        confirm::end_waits(&platform, &ownership).await;
        if let Some(pending) = ownership.pending {
            let found = find_release(&platform).await;
            platform.torn_down.store(found == Release::TornDown, Ordering::Relaxed);
            if found != Release::Released {
                absent_since = None;
                continue;
            }
            let since = *absent_since.get_or_insert_with(tokio::time::Instant::now);
            if since.elapsed() >= platform.settings.ownership_grace {
                absent_since = None;
                tried = None;
                if let Err(cause) = release(&platform, &pending).await {
                    warn!(cause, "ownership could not be taken");
                }
            }
        } else if !ownership.unowned.is_empty() && tried.is_none_or(|at| at.elapsed() >= RETRY_EVERY) {
            let mut taken = false;
            for (place, unowned) in by_place(ownership.unowned) {
                taken |= take(&platform, &place, &unowned).await;
            }
            if taken {
                ship_as_owner(&platform).await;
            }
            tried = Some(tokio::time::Instant::now());
        }
    }
}

/// What has become of the ConfigMap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    /// It is there, or whether it is cannot be told now.
    Held,
    /// It is absent, as everything in its namespace will be: whoever tears a rehearsal down does not take over.
    TornDown,
    Released,
}

/// Live reads only.
async fn find_release(platform: &Platform) -> Release {
    let namespace = &platform.settings.install_namespace;
    let at = NamespacedName::new(namespace, OWNERSHIP_CONFIG_MAP);
    if !matches!(platform.cluster.read_config_map(&at).await, Ok(None)) {
        return Release::Held;
    }
    let Ok(name) = namespace.parse::<NamespaceName>() else { return Release::Held };
    match platform.cluster.namespace_state(&name).await {
        Ok(Some(state)) if state.phase == NamespacePhase::Active => Release::Released,
        Ok(_) => Release::TornDown,
        Err(_) => Release::Held,
    }
}

/// From here on ownership is a matter of each place: what is still to be claimed is written down first.
async fn release(platform: &Platform, pending: &Pending) -> Result<(), String> {
    // What was confirmed of an earlier take-over says nothing of this one.
    confirm::forget(platform).await.map_err(|error| Chain(&error).to_string())?;
    let places = places(platform, pending)?;
    let released = ownership::update(platform, |ownership| {
        // Another recovery may have begun meanwhile: what is pending is its own then.
        if ownership.pending.as_ref() != Some(pending) {
            return;
        }
        ownership.pending = None;
        let held = ownership.held.keys().cloned().collect::<BTreeSet<_>>();
        ownership.unowned = places.clone();
        ownership.unowned.retain(|key, _| !held.contains(key));
    });
    if released.await.map_err(|error| Chain(&error).to_string())?.pending.is_some() {
        return Ok(());
    }
    info!("this instance takes its backups over");
    ship_as_owner(platform).await;
    Ok(())
}

/// What is to be claimed, so that each place is opened once.
fn by_place(unowned: BTreeMap<String, Unowned>) -> BTreeMap<Place, Vec<(String, Unowned)>> {
    let mut places: BTreeMap<Place, Vec<_>> = BTreeMap::new();
    for (key, unowned) in unowned {
        places.entry(unowned.place.clone()).or_default().push((key, unowned));
    }
    places
}

/// Claims what lies in one place, and says whether it claimed any. What cannot be reached stays unowned, says why, and is
/// tried again: through the profile that it was known by, or any other that leads there by now.
async fn take(platform: &Platform, place: &Place, unowned: &[(String, Unowned)]) -> bool {
    let profiles: Vec<_> = unowned.iter().map(|(_, unowned)| unowned.profile.clone()).collect();
    let location = match platform.open_place(place, &profiles).await {
        Ok(location) => location,
        Err(error) => {
            let cause = Chain(&error).to_string();
            for (key, unowned) in unowned {
                note_untaken(platform, key, unowned, &cause).await;
            }
            return false;
        }
    };
    let mut taken = false;
    for (key, unowned) in unowned {
        match ownership::take_over(platform, &location, &unowned.cluster).await {
            Ok(epoch) => {
                info!(profile = location.profile, cluster = %unowned.cluster, %epoch, "ownership taken");
                taken = true;
            }
            Err(error) => {
                let cause = Chain(&error).to_string();
                note_untaken(platform, key, unowned, &cause).await;
            }
        }
    }
    taken
}

async fn note_untaken(platform: &Platform, key: &str, unowned: &Unowned, cause: &str) {
    let Unowned { profile, cluster, .. } = unowned;
    warn!(profile, %cluster, cause, "ownership could not be taken here");
    let noted = ownership::update(platform, |ownership| {
        if let Some(unowned) = ownership.unowned.get_mut(key) {
            cause.clone_into(&mut unowned.why);
        }
    });
    if let Err(error) = noted.await {
        warn!(error = &error as &dyn std::error::Error, "what is not owned was not recorded");
    }
}

/// The chain goes on at the new epoch at once: an entry of it says that it is the latest, whatever else is shipped.
async fn ship_as_owner(platform: &Platform) {
    recovery::ship::stop(platform).await;
    let Ok(catalog) = platform.catalog() else { return };
    let now = platform.clock().now();
    if let Err(error) = recovery::ship::base::leave_mark(&catalog, now, "ownership was taken").await {
        warn!(error = &error as &dyn std::error::Error, "taking ownership left no mark in the journal");
    }
}

/// Where data of the source lies: every export repository of the catalog, and every former repository of disaster recovery.
fn places(platform: &Platform, pending: &Pending) -> Result<BTreeMap<String, Unowned>, String> {
    let mut found = BTreeMap::new();
    let mut add = |profile: String, place: Place, cluster: ClusterId| {
        let key = ownership::held_key(&place, &cluster);
        // The profile that a recovery came through has led there a short while ago.
        found.entry(key).or_insert(Unowned { profile, place, cluster, why: String::new() });
    };
    let former = recovery::former::list(platform).map_err(|error| Chain(&error).to_string())?;
    for known in former.into_iter().filter(|known| known.cluster == pending.source) {
        add(known.profile, known.place, known.cluster);
    }
    let catalog = platform.catalog().map_err(|error| Chain(&error).to_string())?;
    for (_, row) in repositories::export_rows(&catalog).map_err(|error| Chain(&error).to_string())? {
        // What this instance made beside the source's is its own already.
        if row.cluster == pending.source || row.cluster != platform.cluster_id {
            add(row.profile, row.place, row.cluster);
        }
    }
    Ok(found)
}
