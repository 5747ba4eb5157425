//! A review: what a location holds of a source cluster, newest first. Reads only.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keelson_crypto::Passphrase;
use keelson_model::passphrase::VaultAccess;
use keelson_model::recovery::{DrMode, DrPointId};
use keelson_model::{Classified, ClusterId, Generation, RepositoryId, Sequence};
use keelson_store::Store;
use keelson_store::decorators::AsOf;
use serde::{Deserialize, Serialize};

use crate::layout::Position;
use crate::locations::{Location, Place};
use crate::passphrases;
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::adopt::warn_of_replaced;
use crate::recovery::chain::latest_chain;
use crate::recovery::documents::ManifestDocument;
use crate::recovery::known_head::{self, KnownHead, Rollback};
use crate::recovery::moment::{Moment, end_of_second, find_moment};
use crate::recovery::open::{OpenChain, open_chains};
use crate::recovery::relatives::{find_cut, open_ancestors, warn_of_continuations};

/// What was committed by a moment lies in the store this much later, unless the store was away.
const SHIPPED_WITHIN: SignedDuration = SignedDuration::from_secs(10);
/// How long a review looks for what goes on below other ids: whoever can write can make that last, and it is a hint.
const CONTINUATIONS_WITHIN: Duration = Duration::from_secs(20);

/// Where to look and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    pub profile_name: String,
    #[serde(rename = "sourceClusterID")]
    pub source_cluster_id: ClusterId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<Timestamp>,
    /// What the chain is known to have reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_head: Option<KnownHead>,
}

/// One point that can be recovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewedPoint {
    pub id: String,
    pub version: DrMode,
    pub creation_time: Timestamp,
    /// Documented under both names.
    pub created_time: Timestamp,
    pub local_snapshot_taken: bool,
    pub valid_snapshot_available: bool,
    pub exported_catalog_available: bool,
}

/// A location, opened and looked through.
pub(crate) struct Reviewed {
    pub place: Place,
    /// Below the id that was asked for.
    pub chains: Vec<OpenChain>,
    /// Below other ids: what these came from, where a moment or a point was asked for that these do not hold.
    pub ancestors: Vec<OpenChain>,
    pub points: Vec<ReviewedPoint>,
    /// What was passed over, and what is lost.
    pub warnings: Vec<String>,
    /// The location as it is now, whichever moment was asked for.
    pub store: Arc<dyn Store>,
    /// Where an earlier moment was asked for: what belongs to it lay in the store by then.
    pub seen_until: Option<Timestamp>,
    /// The location does not hold what it is known to have held.
    pub rollback: Option<Rollback>,
}

/// What was found of one cluster, the wanted point first.
pub(super) struct Found {
    chains: Vec<OpenChain>,
    ancestors: Vec<OpenChain>,
    points: Vec<ReviewedPoint>,
    warnings: Vec<String>,
}

/// Looks through a location: the end of what was shipped first, then the runs, newest first. Where a repository is named,
/// also for that one among those that the chains came from.
pub(crate) async fn review(
    platform: &Platform,
    source: &Source,
    vault: Option<&VaultAccess>,
    named: Option<RepositoryId>,
) -> Result<Reviewed, RecoveryError> {
    let location = platform
        .open_location(&source.profile_name)
        .await
        .map_err(|source| RecoveryError::Location { source })?;
    let passphrases = read_passphrases(platform, vault).await?;
    let (store, cluster, now) = (&location.store, &source.source_cluster_id, platform.clock.now());
    let (found, seen) = match source.point_in_time {
        None => (find_latest(store, cluster, &passphrases).await?, store.clone()),
        Some(wanted) => {
            (find_earlier(store, cluster, &passphrases, wanted, now).await?, as_of(store, wanted, now)?)
        }
    };
    let found = open_named(found, &seen, cluster, named).await?;
    let Found { chains, ancestors, points, mut warnings } = found;
    let opened = || chains.iter().chain(&ancestors);
    warnings.extend(opened().filter_map(|open| warn_of_replaced(&open.repository)));
    warnings.extend(opened().flat_map(|open| open.warnings.iter().cloned()));
    if points.is_empty() {
        return Err(RecoveryError::NoPoint { id: "latest".to_owned(), newest: String::new() });
    }
    // As it is now, whichever moment is asked for: somebody may come with an old id.
    let continued = warn_of_continuations(store, cluster, &chains, CONTINUATIONS_WITHIN).await;
    warnings.splice(..0, continued);
    let rollback = find_rollback(source, &chains, &points[0].id).await?;
    warnings.splice(..0, rollback.as_ref().map(|rollback| format!("rolled back: {rollback}")));
    let seen_until = source.point_in_time.map(seen_until);
    let Location { profile: _, store, place, opened_with: _ } = location;
    Ok(Reviewed { place, store, chains, ancestors, points, warnings, seen_until, rollback })
}

/// The passphrases of `k10-dr-secret`, from Vault as the request says it is reached, if it does.
pub(crate) async fn read_passphrases(
    platform: &Platform,
    vault: Option<&VaultAccess>,
) -> Result<Vec<Arc<Passphrase>>, RecoveryError> {
    passphrases::read(platform, vault).await.map_err(|source| RecoveryError::Passphrase { source })
}

async fn find_latest(
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    passphrases: &[Arc<Passphrase>],
) -> Result<Found, RecoveryError> {
    let (chains, warnings) = open_chains(store, cluster, passphrases).await?;
    let points = list_points(&chains, latest(&chains), None);
    Ok(Found { chains, ancestors: Vec::new(), points, warnings })
}

/// The chains of a cluster begin where it left others, which lie below the ids of the clusters that it came from. Those are
/// opened only for what its own do not hold.
pub(super) async fn find_earlier(
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    passphrases: &[Arc<Passphrase>],
    wanted: Timestamp,
    now: Timestamp,
) -> Result<Found, RecoveryError> {
    let past = as_of(store, wanted, now)?;
    let (chains, mut warnings, absent) = match open_chains(&past, cluster, passphrases).await {
        Ok((chains, warnings)) => (chains, warnings, None),
        // Nothing of it was there yet. What is there now tells where it came from, and what is possible.
        Err(error) if error.class().is_lasting() => {
            let (chains, warnings) = open_chains(store, cluster, passphrases).await?;
            (chains, warnings, Some(error))
        }
        Err(error) => return Err(error),
    };
    let mut ancestors = Vec::new();
    // Whoever may read below this id alone gets what lies here.
    let moment = match find_moment(&chains, &[], wanted, now).await {
        Err(RecoveryError::PointInTime { .. }) => {
            let (opened, told) = open_ancestors(&past, cluster, &chains).await?;
            ancestors = opened;
            let found = find_moment(&chains, &ancestors, wanted, now).await;
            let found = found.map_err(|error| error.with_unseen(&told));
            warnings.extend(told);
            if !store.capabilities().versions {
                warnings.extend(find_cut(&chains, &ancestors));
            }
            found
        }
        found => found,
    };
    let Moment { open, at, committed_at, mode, whole } = moment?;
    if let Some(error) = absent.filter(|_| open.cluster == *cluster) {
        return Err(error);
    }
    if open.cluster != *cluster {
        warnings.push(format!(
            "at {wanted} cluster {cluster} did not ship yet: this is the state of cluster {}, which it came from, as of \
             {committed_at}",
            open.cluster
        ));
    }
    if !whole {
        warnings.push(format!(
            "what was committed between {committed_at} and {wanted} is not in: it was not shipped there, or what follows in the \
             chain is lost or damaged"
        ));
    }
    let first = point(open.chain.repository, at, mode, committed_at);
    let points = list_points(&chains, Some(first), Some(end_of_second(wanted)));
    Ok(Found { chains, ancestors, points, warnings })
}

/// A review as of an earlier moment prints points of the clusters that this one came from, and each can be asked for.
async fn open_named(
    found: Found,
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    named: Option<RepositoryId>,
) -> Result<Found, RecoveryError> {
    let Found { chains, mut ancestors, points, mut warnings } = found;
    let is_open = |named: RepositoryId| chains.iter().any(|open| open.chain.repository == named);
    if ancestors.is_empty() && named.is_some_and(|named| !is_open(named)) {
        let (opened, told) = open_ancestors(store, cluster, &chains).await?;
        ancestors = opened;
        warnings.extend(told);
    }
    Ok(Found { chains, ancestors, points, warnings })
}

/// A moment before somebody saw the head cannot hold it.
async fn find_rollback(
    source: &Source,
    chains: &[OpenChain],
    offered: &str,
) -> Result<Option<Rollback>, RecoveryError> {
    let later = |known: &&KnownHead| source.point_in_time.is_none_or(|wanted| wanted >= known.seen_at);
    match source.known_head.as_ref().filter(later) {
        Some(known) => known_head::check(known, chains, offered).await,
        None => Ok(None),
    }
}

/// The store to look through for a moment. Where versions are kept it is the store as it was soon after: whoever has
/// forged anything since, with whichever keys, has done nothing.
fn as_of(store: &Arc<dyn Store>, wanted: Timestamp, now: Timestamp) -> Result<Arc<dyn Store>, RecoveryError> {
    if wanted > now || !store.capabilities().versions {
        return Ok(store.clone());
    }
    let past = AsOf::new(store.clone(), seen_until(wanted));
    let past = past.map_err(|source| RecoveryError::Past { source })?;
    Ok(Arc::new(past))
}

fn seen_until(wanted: Timestamp) -> Timestamp {
    end_of_second(wanted).saturating_add(SHIPPED_WITHIN).unwrap_or(Timestamp::MAX)
}

/// Pure: the end of the chain that is followed now.
fn latest(chains: &[OpenChain]) -> Option<ReviewedPoint> {
    let shipped: Vec<_> = chains.iter().map(|open| open.chain.clone()).collect();
    let chain = latest_chain(&shipped)?;
    let open = chains.iter().find(|open| open.chain.repository == chain.repository)?;
    Some(point(chain.repository, chain.latest()?, open.mode(), open.end_at))
}

/// Pure: a first point, then the runs that can be reached and are not newer than a moment, newest first.
fn list_points(
    chains: &[OpenChain],
    first: Option<ReviewedPoint>,
    until: Option<Timestamp>,
) -> Vec<ReviewedPoint> {
    let reachable = |open: &OpenChain, run: &ManifestDocument| {
        open.chain.base_for(run.at.generation, run.at.sequence).is_ok()
    };
    let mut runs: Vec<_> = chains
        .iter()
        .flat_map(|open| open.manifests.iter().filter(|run| reachable(open, run)).map(move |run| (open, run)))
        .filter(|(_, run)| until.is_none_or(|until| run.created <= until))
        .collect();
    runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.at));
    let runs =
        runs.into_iter().map(|(open, run)| point(open.chain.repository, run.at, run.mode, run.created));
    let mut points: Vec<_> = first.into_iter().chain(runs).collect();
    points.dedup_by(|later, earlier| later.id == earlier.id);
    points
}

fn point(repository: RepositoryId, at: Position, mode: DrMode, created: Timestamp) -> ReviewedPoint {
    let id = DrPointId { repository, generation: at.generation, sequence: at.sequence };
    ReviewedPoint {
        id: id.to_string(),
        version: mode,
        creation_time: created,
        created_time: created,
        local_snapshot_taken: false,
        valid_snapshot_available: false,
        exported_catalog_available: false,
    }
}

pub(crate) fn parse_point(id: &str) -> Result<DrPointId, RecoveryError> {
    id.parse().map_err(|_| RecoveryError::PointId { id: id.to_owned() })
}

impl Reviewed {
    /// The chain that a point lies on.
    pub(crate) fn find(&self, id: &str) -> Result<(&OpenChain, Generation, Sequence), RecoveryError> {
        let wanted = parse_point(id)?;
        let newest = || self.points.first().map_or_else(String::new, |point| point.id.clone());
        let mut opened = self.chains.iter().chain(&self.ancestors);
        let open = opened.find(|open| open.chain.repository == wanted.repository);
        let open = open.ok_or_else(|| RecoveryError::NoPoint { id: id.to_owned(), newest: newest() })?;
        Ok((open, wanted.generation, wanted.sequence))
    }
}
