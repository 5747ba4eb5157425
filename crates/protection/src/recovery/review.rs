//! A review: what a location holds of a source cluster, newest first. Reads only.

use std::sync::Arc;

use jiff::Timestamp;
use keelson_model::recovery::{DrMode, DrPointId};
use keelson_model::{ClusterId, Generation, RepositoryId, Sequence};
use serde::{Deserialize, Serialize};

use crate::layout::Position;
use crate::passphrases;
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::chain::latest_chain;
use crate::recovery::open::{OpenChain, open_chains};

/// Where to look and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    pub profile_name: String,
    #[serde(rename = "sourceClusterID")]
    pub source_cluster_id: ClusterId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<Timestamp>,
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
    pub chains: Vec<OpenChain>,
    pub points: Vec<ReviewedPoint>,
}

/// Looks through a location: the end of what was shipped first, then the runs, newest first.
pub(crate) async fn review(platform: &Platform, source: &Source) -> Result<Reviewed, RecoveryError> {
    let location = platform
        .open_location(&source.profile_name)
        .await
        .map_err(|source| RecoveryError::Location { source })?;
    let passphrase =
        passphrases::read(platform).await.map_err(|source| RecoveryError::Passphrase { source })?;
    let chains = open_chains(&location, &source.source_cluster_id, &Arc::new(passphrase)).await?;
    let points = list_points(&chains, source.point_in_time);
    if points.is_empty() {
        return Err(RecoveryError::NoPoint {
            id: source.point_in_time.map_or_else(|| "latest".to_owned(), |at| format!("as of {at}")),
            newest: list_points(&chains, None).first().map_or_else(String::new, |point| point.id.clone()),
        });
    }
    Ok(Reviewed { chains, points })
}

/// Pure: the points of what was read.
fn list_points(chains: &[OpenChain], as_of: Option<Timestamp>) -> Vec<ReviewedPoint> {
    let shipped: Vec<_> = chains.iter().map(|open| open.chain.clone()).collect();
    let latest = latest_chain(&shipped);
    let mut points = Vec::new();
    if let (Some(chain), None) = (latest, as_of) {
        let open = chains.iter().find(|open| open.chain.repository == chain.repository);
        if let (Some(open), Some(at)) = (open, chain.latest()) {
            let newest_run = open.manifests.first().map_or(open.base.created, |run| run.created);
            points.push(point(chain.repository, at, open.mode(), newest_run.max(open.base.created)));
        }
    }
    let mut runs: Vec<_> = chains
        .iter()
        .flat_map(|open| open.manifests.iter().map(|run| (open.chain.repository, run)))
        .filter(|(_, run)| as_of.is_none_or(|as_of| run.created <= as_of))
        .collect();
    runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.at));
    points.extend(runs.into_iter().map(|(repository, run)| point(repository, run.at, run.mode, run.created)));
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

impl Reviewed {
    /// The chain that a point lies on.
    pub(crate) fn find(&self, id: &str) -> Result<(&OpenChain, Generation, Sequence), RecoveryError> {
        let wanted: DrPointId = id.parse().map_err(|_| RecoveryError::PointId { id: id.to_owned() })?;
        let newest = || self.points.first().map_or_else(String::new, |point| point.id.clone());
        let open = self.chains.iter().find(|open| open.chain.repository == wanted.repository);
        let open = open.ok_or_else(|| RecoveryError::NoPoint { id: id.to_owned(), newest: newest() })?;
        Ok((open, wanted.generation, wanted.sequence))
    }
}
