//! What is kept for longer than its lock lasts is locked anew before the lock ends.
//!
//! Writers lock anew what they reuse, and runs of disaster recovery what leads to them; this is for what nobody writes
//! again. Guarantees: only ever lengthens, by the store's own clock. An outcome is left alone while it is locked for the
//! period and half of the margin: of twenty days, ten passes may fail before the period is not held.

use std::collections::{HashMap, HashSet};

use keelson_model::{Chain, RepositoryId, SessionId};
use keelson_repository::{Open, Repository};
use keelson_store::{RETENTION_MARGIN, StoreExt};

use super::Trouble;
use super::places::Place;
use crate::contents;
use crate::platform::Platform;

/// The outcomes that restore points need, their own and the copies of disaster recovery, by repository.
#[derive(Debug, Default)]
pub(super) struct Needed(HashMap<RepositoryId, HashSet<SessionId>>);

/// Reads the catalog, if one of the places locks. Nothing is needed where none does.
pub(super) fn read_needed(platform: &Platform, places: &[Place]) -> Result<Needed, String> {
    let mut needed = Needed::default();
    if !places.iter().any(Place::retains) {
        return Ok(needed);
    }
    let catalog = platform.catalog().map_err(|error| Chain(&error).to_string())?;
    for content in contents::all_internal(&catalog) {
        let artifact = content.map_err(|error| Chain(&error).to_string())?.artifact;
        for artifact in std::iter::successors(Some(&artifact), |artifact| artifact.copy.as_deref()) {
            needed.0.entry(artifact.repository).or_default().insert(artifact.outcome);
        }
    }
    Ok(needed)
}

/// Says for how many outcomes of a repository the locks were about to end.
pub(super) async fn lengthen(repository: &Repository<Open>, needed: &Needed) -> Result<u64, Trouble> {
    let Some(outcomes) = needed.0.get(&repository.id()) else { return Ok(0) };
    let Some(until) = repository.store().retention_end().await? else { return Ok(0) };
    let least = until.saturating_sub(RETENTION_MARGIN / 2).unwrap_or(until);
    Ok(repository.lengthen_ending_before(least, outcomes, until).await?)
}
