//! Taking ownership: the ConfigMap is gone for good, so the next epoch is claimed wherever the catalog knows data.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keelson_catalog::Query;
use keelson_model::names::OWNERSHIP_CONFIG_MAP;
use keelson_model::{Chain, ClusterId};
use keelson_workload::{NamespaceName, NamespacePhase, NamespacedName};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::ownership::{self, Pending};
use crate::platform::Platform;
use crate::recovery;
use crate::repositories::{self, RepositoryRow};

/// How often the ConfigMap is looked for while ownership is pending.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const PAGE: usize = 500;

/// Watches for the ConfigMap's removal as long as ownership is pending.
pub(crate) async fn run_ownership(platform: Arc<Platform>, stop: CancellationToken) {
    let mut absent_since: Option<tokio::time::Instant> = None;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        let pending = ownership::read(&platform.instance).ok().and_then(|ownership| ownership.pending);
        let Some(pending) = pending.filter(|_| !recovery::is_unfinished(&platform)) else {
            absent_since = None;
            continue;
        };
        if !is_released(&platform).await {
            absent_since = None;
            continue;
        }
        let since = *absent_since.get_or_insert_with(tokio::time::Instant::now);
        if since.elapsed() >= platform.settings.ownership_grace {
            take(&platform, &pending).await;
            absent_since = None;
        }
    }
}

/// Live reads only: the ConfigMap is absent, and not because its whole namespace is being torn down.
async fn is_released(platform: &Platform) -> bool {
    let namespace = &platform.settings.install_namespace;
    let at = NamespacedName::new(namespace, OWNERSHIP_CONFIG_MAP);
    if !matches!(platform.cluster.read_config_map(&at).await, Ok(None)) {
        return false;
    }
    let Ok(name) = namespace.parse::<NamespaceName>() else { return false };
    let state = platform.cluster.namespace_state(&name).await;
    matches!(state, Ok(Some(state)) if state.phase == NamespacePhase::Active)
}

/// Claims place by place. A place that cannot be reached stays unowned and is tried again at the next look.
async fn take(platform: &Platform, pending: &Pending) {
    let mut failed = 0;
    for (profile, cluster) in places(platform, pending) {
        let claimed = async {
            let location =
                platform.open_location(&profile).await.map_err(|error| Chain(&error).to_string())?;
            ownership::claim(platform, &location, &cluster).await.map_err(|error| Chain(&error).to_string())
        };
        match claimed.await {
            Ok(epoch) => info!(profile, %cluster, %epoch, "ownership taken"),
            Err(cause) => {
                failed += 1;
                warn!(profile, %cluster, cause, "ownership could not be taken here");
            }
        }
    }
    if failed > 0 {
        return;
    }
    match ownership::update(platform, |ownership| ownership.pending = None).await {
        Ok(_) => {
            info!("this instance owns its backups");
            ship_as_owner(platform).await;
        }
        Err(error) => warn!(error = &error as &dyn std::error::Error, "ownership could not be recorded"),
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

/// Where data of the source lies: every export repository of the catalog, and where disaster recovery was read from.
fn places(platform: &Platform, pending: &Pending) -> BTreeSet<(String, ClusterId)> {
    let mut found = BTreeSet::new();
    if let Some(profile) = recovery::recovered_through(platform) {
        found.insert((profile, pending.source.clone()));
    }
    let Ok(catalog) = platform.catalog() else { return found };
    let mut query = Query::all(repositories::row_kind(), PAGE);
    while let Ok(page) = catalog.list(&query) {
        let rows = page.rows.iter().filter_map(|stored| RepositoryRow::parse(&stored.row.body));
        found.extend(rows.map(|row| (row.profile, row.cluster)));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    found
}
