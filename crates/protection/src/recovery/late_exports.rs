//! Exports that the catalog does not know, though their outcomes lie in a location: those that ended after the last entry
//! that was shipped before a recovery, or after the snapshot that the platform's volume was put back to. They are found
//! once, wherever a profile leads, and become restore points again.
//!
//! Guarantees: what the catalog knows, or was retired, or was made afterwards, is left alone; whatever was found before a
//! stop is known the next time. What is damaged is passed over; while anything is out of reach it is looked again, ever
//! more rarely. A recovery of an earlier point brings back nothing newer.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use keelson_catalog::{Database, Query};
use keelson_crypto::VaultKeyring;
use keelson_model::{Chain, Classified, ClusterId, ErrorClass, SessionId};
use keelson_repository::{Locked, OpenRepositoryError, Repository, Unlock};
use keelson_store::StorePath;
use tokio_util::sync::CancellationToken;

use crate::actions;
use crate::contents;
use crate::kinds;
use crate::layout::ClusterFolder;
use crate::locations::{Location, LocationError};
use crate::namespaces::{self, NamespaceId};
use crate::platform::{Platform, commit};
use crate::records::Record;
use crate::recovery::exports::{
    ExportRepository, fetch_outcomes, list_roots, point_of, unless_out_of_reach, unless_unread,
};
use crate::recovery::state::{self, LateExports};
use crate::recovery::{RecoveryError, is_unfinished};
use crate::repositories;
use crate::restore_points::{self, ContentInternal};

const LOOK_EVERY: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(60);
const AGAIN_MAX: Duration = Duration::from_secs(3600);
const ACTOR: &str = "late exports";

pub(crate) async fn run_late_exports(platform: Arc<Platform>, stop: CancellationToken) {
    let mut wait = LOOK_EVERY;
    let mut again = AGAIN;
    loop {
        tokio::select! { () = tokio::time::sleep(wait) => (), () = stop.cancelled() => return }
        wait = LOOK_EVERY;
        let Ok(Some(wanted)) = state::late_exports(&platform) else { continue };
        if is_unfinished(&platform) {
            continue;
        }
        let found = tokio::select! {
            found = find_all(&platform, &wanted) => found,
            () = stop.cancelled() => return,
        };
        match found {
            Ok(Found::NotYet) => continue,
            Ok(Found::All(0)) => {}
            Ok(Found::All(count)) => {
                tracing::info!(count, "exports that the catalog did not know are restore points again");
            }
            Err(error) => {
                tracing::warn!(cause = %Chain(&error), "exports unknown to the catalog are looked for again");
                wait = again;
                again = (again * 2).min(AGAIN_MAX);
                continue;
            }
        }
        again = AGAIN;
        let done = state::end_late_exports(&platform).await;
        if let Err(error) = done {
            tracing::warn!(cause = %Chain(&error), "that unknown exports were looked for was not recorded");
        }
    }
}

/// What came of a look.
enum Found {
    /// An export of before is still under way: what it finds of an earlier try it names itself.
    NotYet,
    All(u64),
}

async fn find_all(platform: &Platform, wanted: &LateExports) -> Result<Found, RecoveryError> {
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    if is_exporting(&catalog, wanted.before)? {
        return Ok(Found::NotYet);
    }
    let known = known_outcomes(&catalog)?;
    let rows = repositories::export_rows(&catalog).map_err(|source| RecoveryError::ReadState { source })?;
    let mut clusters: BTreeSet<ClusterId> = rows.into_iter().map(|(_, row)| row.cluster).collect();
    clusters.insert(wanted.cluster.clone());
    let (locations, out_of_reach) = locations(platform).await?;
    let mut found = 0;
    for location in &locations {
        for cluster in &clusters {
            for (application, root) in list_roots(location, &ClusterFolder::new(cluster)).await? {
                let vault = platform.vault();
                if let Some(export) = open(&vault, location, cluster, &application, &root).await? {
                    found += find(platform, &catalog, location, &export, &known, wanted.before).await?;
                }
            }
        }
    }
    match out_of_reach {
        Some(source) => Err(RecoveryError::Location { source }),
        None => Ok(Found::All(found)),
    }
}

fn is_exporting(catalog: &Database, before: Timestamp) -> Result<bool, RecoveryError> {
    for stored in catalog.rows(Query::of(kinds::export_actions())) {
        let stored = stored.map_err(|source| RecoveryError::ReadState { source })?;
        let Ok(action) = Record::parse(&stored) else { continue };
        let under_way = actions::state(&action).is_some_and(|state| !state.is_finished());
        if under_way && action.created <= before {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every place that a profile leads to, once; and why one of them is out of reach for now.
async fn locations(platform: &Platform) -> Result<(Vec<Location>, Option<LocationError>), RecoveryError> {
    let mut locations: Vec<Location> = Vec::new();
    let mut out_of_reach = None;
    for profile in platform.list_profiles().await.map_err(|source| RecoveryError::Location { source })? {
        match platform.open_location(&profile).await {
            Ok(location) if locations.iter().any(|known| known.place == location.place) => {}
            Ok(location) => locations.push(location),
            Err(LocationError::NoLocation { .. }) => {}
            // Nobody could export there either.
            Err(error) if error.class() == ErrorClass::Invalid => {
                tracing::warn!(profile, cause = %Chain(&error), "not looked into for exports");
            }
            Err(error) => out_of_reach = Some(error),
        }
    }
    Ok((locations, out_of_reach))
}

/// The exported outcomes of the catalog, by the root of their repository.
fn known_outcomes(catalog: &Database) -> Result<HashMap<String, HashSet<SessionId>>, RecoveryError> {
    let mut known: HashMap<String, HashSet<SessionId>> = HashMap::new();
    for content in contents::all_internal(catalog) {
        let ContentInternal { artifact, .. } =
            content.map_err(|source| RecoveryError::ReadState { source })?;
        if let Some(exported) = artifact.exported {
            known.entry(exported.root).or_default().insert(artifact.outcome);
        }
    }
    Ok(known)
}

/// None where it is a stranger's, or one that this instance has no key to.
async fn open(
    vault: &VaultKeyring,
    location: &Location,
    cluster: &ClusterId,
    application: &str,
    root: &StorePath,
) -> Result<Option<ExportRepository>, RecoveryError> {
    let locked = Repository::<Locked>::at(location.store.clone(), root.clone());
    let locked = locked.map_err(|source| RecoveryError::Root { source })?;
    let opened = locked.open(Unlock::Vault(vault)).await;
    let repository = match unless_out_of_reach(opened, cluster, root)? {
        Ok(repository) => repository,
        Err(OpenRepositoryError::Absent { .. }) => return Ok(None),
        Err(error) => {
            tracing::warn!(%root, cause = %Chain(&error), "not looked into for exports");
            return Ok(None);
        }
    };
    let outcomes = fetch_outcomes(&repository).await?.live;
    Ok(Some(ExportRepository {
        application: application.to_owned(),
        root: root.clone(),
        repository,
        outcomes,
    }))
}

async fn find(
    platform: &Platform,
    catalog: &Database,
    location: &Location,
    export: &ExportRepository,
    known: &HashMap<String, HashSet<SessionId>>,
    before: Timestamp,
) -> Result<u64, RecoveryError> {
    let known = known.get(export.root.as_str());
    let is_unknown = |outcome: &SessionId| known.is_none_or(|known| !known.contains(outcome));
    let unknown: Vec<_> = export.outcomes.iter().copied().filter(is_unknown).collect();
    if unknown.is_empty() {
        return Ok(0);
    }
    let namespace = namespaces::find_staying(platform, &export.application).await;
    let namespace = namespace.map_err(|source| RecoveryError::Namespace { source })?;
    take_in((catalog, platform.clock.now()), location, export, unknown, namespace, before).await
}

/// Makes restore points of those of the outcomes that lay there before the recovery.
async fn take_in(
    (catalog, now): (&Database, Timestamp),
    location: &Location,
    export: &ExportRepository,
    unknown: Vec<SessionId>,
    namespace: Option<NamespaceId>,
    before: Timestamp,
) -> Result<u64, RecoveryError> {
    let mut outcomes = std::pin::pin!(export.repository.committed_outcomes(unknown));
    let mut found = 0;
    while let Some(outcome) = outcomes.next().await {
        let Ok(outcome) = unless_unread(outcome)?.inspect_err(|error| {
            tracing::warn!(cause = %Chain(error), "an export is damaged and was passed over");
        }) else {
            continue;
        };
        if outcome.created() > before {
            continue;
        }
        let Ok(mut point) = point_of(export, &outcome, location) else { continue };
        let taken = catalog.read(&restore_points::content_key(&point));
        if taken.map_err(|source| RecoveryError::ReadState { source })?.is_some() {
            point.tell_apart(outcome.id);
        }
        let changes = restore_points::create(&point, namespace.clone(), now);
        commit(catalog, ACTOR, changes).await.map_err(|source| RecoveryError::WriteState { source })?;
        found += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
