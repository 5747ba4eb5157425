//! Which runs of the DR policy go, and with them what of the chain nobody needs any more. Only the owner removes.
//!
//! What retention has to know of a run is a row of the instance file; the store is listed by names, and read only
//! where a name has no row: after a kill, or on a volume that was restored.
//!
//! The order: 1 runs that retention lets go are stated as retired; 2 bases that no point in time and no standing run
//! needs: their outcome is retired, their document goes, then their segments; 3 documents of runs that were retired
//! before the window of points in time. A kill leaves garbage that the next run finds, never a base without its rows.
//! A name proves nothing: only a base that opens and whose rows stand makes those before it needless.
//! Limits: [`REMOVED_MAX`] objects are removed in a run.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{Change, Class, Expect, Query, RowKey, RowKind};
use keelson_model::retention::{Origin, Point, Retention, RunResult, decide_retired};
use keelson_model::{Chain, RepositoryId, SessionId};
use keelson_repository::{Open, Ownership, Repository, RetireError};
use keelson_store::{StoreError, StorePath};
use serde::{Deserialize, Serialize};

use super::RunDescription;
use crate::layout::Position;
use crate::locations::Location;
use crate::ownership;
use crate::platform::{Platform, commit};
use crate::records::plain_row;
use crate::recovery::chain::keep::{Spent, StoredBase, decide_spent};
use crate::recovery::documents::{BaseDocument, ManifestDocument};
use crate::recovery::read::{StoredName, is_damage};
use crate::recovery::ship::Reached;
use crate::recovery::{RecoveryError, read};

/// Every point of this long can be reached; of what is older, the runs that retention keeps.
const POINTS_IN_TIME: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A run of the policy is to end. What is left goes with the next one.
const REMOVED_MAX: usize = 20_000;
const REMOVALS_IN_FLIGHT: usize = 16;
/// Small objects that are read side by side.
const READS_IN_FLIGHT: usize = 8;

/// What retention knows of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    repository: RepositoryId,
    pub(crate) at: Position,
    outcome: SessionId,
    run: RunDescription,
    /// Since then its outcome is retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_at: Option<Timestamp>,
}

fn row_kind() -> RowKind {
    RowKind::new("dr-runs")
}

impl Facts {
    fn key(&self) -> RowKey {
        RowKey::new(row_kind(), self.repository.to_string(), self.at.to_string())
    }

    fn put(&self, now: Timestamp) -> Change {
        let row = plain_row(self.key(), Class::Local, self, now);
        Change::Put { row, expect: Expect::Any }
    }
}

async fn write(platform: &Platform, change: Change) -> Result<(), RecoveryError> {
    let written = commit(&platform.instance, "disaster recovery", vec![change]).await;
    written.map(drop).map_err(|source| RecoveryError::WriteState { source })
}

/// After a manifest was written.
pub(super) async fn keep_facts(
    platform: &Platform,
    reached: &Reached,
    manifest: &ManifestDocument,
    run: &RunDescription,
) -> Result<(), RecoveryError> {
    let facts = Facts {
        repository: reached.repository.id(),
        at: manifest.at,
        outcome: manifest.outcome,
        run: run.clone(),
        retired_at: None,
    };
    write(platform, facts.put(platform.clock.now())).await
}

/// Lets go of runs, and of what was shipped for them alone.
pub(super) async fn apply(
    platform: &Platform,
    reached: &Reached,
    location: &Location,
    retention: &Retention,
) -> Result<(), RecoveryError> {
    let proof = match ownership::prove_removal(platform, location, &platform.cluster_id).await {
        Ok(proof) => proof,
        Err(refusal) => {
            tracing::info!(reason = %refusal, "retention of DR runs waits");
            return Ok(());
        }
    };
    let mut runs = known_runs(platform, reached).await?;
    retire_runs(platform, reached, &mut runs, retention, &proof).await?;
    let standing: Vec<Position> =
        runs.iter().filter(|facts| facts.retired_at.is_none()).map(|facts| facts.at).collect();
    let now = platform.clock.now();
    // Objects are as old as the store says.
    let stored = reached.store.time().await;
    let stored = stored.map_err(|source| RecoveryError::List { folder: reached.folder.bases(), source })?;
    let removed = drop_spent(reached, &standing, before_points_in_time(stored), &proof, now).await?;
    drop_retired_runs(platform, reached, &runs, before_points_in_time(now)).await?;
    if removed > 0 {
        tracing::info!(objects = removed, "bases and segments that nobody needs are removed");
    }
    Ok(())
}

/// What was stored until then may go.
pub(in crate::recovery) fn before_points_in_time(now: Timestamp) -> Timestamp {
    now.saturating_sub(POINTS_IN_TIME).unwrap_or(now)
}

/// The runs whose documents lie in the store, ascending. One that has no row gets one.
async fn known_runs(platform: &Platform, reached: &Reached) -> Result<Vec<Facts>, RecoveryError> {
    let mut rows = read_rows(platform, reached.repository.id())?;
    let mut runs = Vec::new();
    for name in reached.shelf().manifests().await? {
        let facts = match rows.remove(&name.at) {
            Some(facts) => facts,
            None => match adopt(platform, reached, name.at).await {
                Ok(Some(facts)) => facts,
                Ok(None) => continue,
                Err(error) if is_damage(&error) => {
                    tracing::warn!(warning = read::warning(&error), "a run is not counted");
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        runs.push(facts);
    }
    // Their documents are gone.
    for facts in rows.into_values() {
        write(platform, Change::delete(facts.key())).await?;
    }
    Ok(runs)
}

/// The outcomes of all runs whose documents lie in the store; nothing where one of them has no row yet.
pub(in crate::recovery) async fn known_outcomes(
    platform: &Platform,
    shelf: &read::Shelf<'_>,
) -> Result<Option<HashSet<SessionId>>, RecoveryError> {
    let names = shelf.manifests().await?;
    let rows = read_rows(platform, shelf.repository.id())?;
    let all_known = names.iter().all(|name| rows.contains_key(&name.at));
    Ok(all_known.then(|| rows.into_values().map(|facts| facts.outcome).collect()))
}

fn read_rows(
    platform: &Platform,
    repository: RepositoryId,
) -> Result<BTreeMap<Position, Facts>, RecoveryError> {
    let mut rows = BTreeMap::new();
    let query = Query { namespace: Some(repository.to_string()), ..Query::of(row_kind()) };
    for stored in platform.instance.rows(query) {
        let stored = stored.map_err(|source| RecoveryError::ReadState { source })?;
        if let Ok(facts) = serde_json::from_slice::<Facts>(&stored.row.body) {
            rows.insert(facts.at, facts);
        }
    }
    Ok(rows)
}

/// A run that this volume knows nothing of: its manifest, outcome and retirement tell.
async fn adopt(platform: &Platform, reached: &Reached, at: Position) -> Result<Option<Facts>, RecoveryError> {
    let manifest = reached.shelf().manifest(at).await?;
    let outcome = match reached.repository.fetch_outcome(manifest.outcome).await {
        Ok(outcome) => outcome,
        Err(source) if source.is_damage() => return Ok(None),
        Err(source) => return Err(RecoveryError::FetchObject { source }),
    };
    let Ok(run) = serde_json::from_slice(outcome.description()) else { return Ok(None) };
    let retirement = match reached.repository.fetch_retirement(manifest.outcome).await {
        Ok(retirement) => retirement,
        Err(RetireError::Read { source }) if source.is_damage() => None,
        Err(source) => return Err(RecoveryError::ListRetired { source }),
    };
    let facts = Facts {
        repository: reached.repository.id(),
        at,
        outcome: manifest.outcome,
        run,
        retired_at: retirement.map(|retirement| retirement.at),
    };
    write(platform, facts.put(platform.clock.now())).await?;
    Ok(Some(facts))
}

async fn retire_runs(
    platform: &Platform,
    reached: &Reached,
    runs: &mut [Facts],
    retention: &Retention,
    proof: &Ownership,
) -> Result<(), RecoveryError> {
    let points: Vec<Point<Position>> = runs
        .iter()
        .filter(|facts| facts.retired_at.is_none())
        .map(|Facts { at, run, .. }| Point {
            id: *at,
            time: run.action_time,
            origin: if run.manual { Origin::Manual } else { Origin::Schedule },
            result: RunResult::Succeeded,
            tiers: run.tiers,
        })
        .collect();
    let retired = decide_retired(&points, retention);
    for facts in runs.iter_mut().filter(|facts| retired.contains(&facts.at)) {
        let now = platform.clock.now();
        retire(&reached.repository, facts.outcome, proof, now).await?;
        facts.retired_at = Some(now);
        write(platform, facts.put(now)).await?;
    }
    Ok(())
}

pub(in crate::recovery) async fn retire(
    repository: &Repository<Open>,
    outcome: SessionId,
    proof: &Ownership,
    now: Timestamp,
) -> Result<(), RecoveryError> {
    match repository.retire(outcome, proof, now).await {
        Ok(_) | Err(RetireError::Absent { .. }) => Ok(()),
        // What a stranger put in the place of the retirement keeps the outcome, and nothing else.
        Err(RetireError::Read { source }) if source.is_damage() => {
            tracing::warn!(cause = %Chain(&source), "tampering: an outcome cannot be retired; it stays");
            Ok(())
        }
        Err(source) => Err(RecoveryError::ListRetired { source }),
    }
}

/// Removes bases and segments that neither a point in time nor a standing run needs. Says how many objects went.
pub(in crate::recovery) async fn drop_spent(
    reached: &Reached,
    standing: &[Position],
    since: Timestamp,
    proof: &Ownership,
    now: Timestamp,
) -> Result<usize, RecoveryError> {
    let shelf = reached.shelf();
    let bases = find_usable(reached, shelf.bases().await?, since).await?;
    let spent = decide_spent(&bases, standing, since);
    // What lies before the first base is left of a removal that was interrupted; without a usable one nothing was.
    let first = bases.first().map(|base| base.at);
    let Some(first) = first.filter(|_| bases.iter().any(|base| base.usable_since.is_some())) else {
        return Ok(0);
    };
    let end = spent.last().map_or(first, |spent| spent.next);
    for Spent { base, .. } in spent.iter().filter(|spent| spent.last.is_none()) {
        match shelf.base(*base).await {
            Ok(document) => retire(&reached.repository, document.outcome, proof, now).await?,
            // Nobody can use it; its outcome is found by maintenance.
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        remove(reached, &reached.folder.base(*base)).await?;
    }
    let segments = shelf.segments_through(end).await?;
    let gone = segments
        .into_iter()
        .filter(|at| *at <= first || spent.iter().any(|spent| spent.covers(*at)))
        .take(REMOVED_MAX);
    let removals = futures::stream::iter(gone)
        .map(|at| async move { remove(reached, &reached.folder.segment(at)).await });
    let mut removals = removals.buffer_unordered(REMOVALS_IN_FLIGHT);
    let mut removed = 0;
    while let Some(result) = removals.next().await {
        removed += usize::from(result?);
    }
    Ok(removed)
}

/// Which of the names are bases that can be used. Only those that are old enough to make others needless are opened.
async fn find_usable(
    reached: &Reached,
    names: Vec<StoredName>,
    since: Timestamp,
) -> Result<Vec<StoredBase>, RecoveryError> {
    let look = |name: StoredName| async move {
        let usable_since = match name.stored_at <= since {
            true => usable_since(reached, name).await?,
            false => None,
        };
        Ok::<_, RecoveryError>(StoredBase { at: name.at, usable_since })
    };
    futures::stream::iter(names).map(look).buffered(READS_IN_FLIGHT).try_collect().await
}

/// By the later of two clocks: on a share anybody who can write sets the time of a file.
async fn usable_since(reached: &Reached, name: StoredName) -> Result<Option<Timestamp>, RecoveryError> {
    let base = match reached.shelf().base(name.at).await {
        Ok(base) => base,
        Err(error) if is_damage(&error) => {
            tracing::warn!(warning = read::warning(&error), "a base is not counted");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let stands = has_rows(&reached.repository, &base).await?;
    Ok(stands.then(|| name.stored_at.max(base.created)))
}

/// Whether the outcome that holds a base's rows is there and not retired.
async fn has_rows(repository: &Repository<Open>, base: &BaseDocument) -> Result<bool, RecoveryError> {
    match repository.fetch_outcome(base.outcome).await {
        Ok(_) => {}
        Err(source) if source.is_damage() => return Ok(false),
        Err(source) => return Err(RecoveryError::FetchObject { source }),
    }
    match repository.fetch_retirement(base.outcome).await {
        Ok(retirement) => Ok(retirement.is_none()),
        // No owner has stated it.
        Err(RetireError::Read { source }) if source.is_damage() => Ok(true),
        Err(source) => Err(RecoveryError::ListRetired { source }),
    }
}

/// What is locked stays until its lock ends. Says whether the object is gone.
async fn remove(reached: &Reached, path: &StorePath) -> Result<bool, RecoveryError> {
    match reached.store.delete(path, None).await {
        Ok(()) => Ok(true),
        Err(StoreError::Locked { .. }) => Ok(false),
        Err(source) => Err(RecoveryError::Put { path: path.clone(), source }),
    }
}

/// Documents of runs whose retirement was stated before the window of points in time.
async fn drop_retired_runs(
    platform: &Platform,
    reached: &Reached,
    runs: &[Facts],
    since: Timestamp,
) -> Result<(), RecoveryError> {
    for facts in runs.iter().filter(|facts| facts.retired_at.is_some_and(|at| at < since)) {
        if remove(reached, &reached.folder.manifest(facts.at)).await? {
            write(platform, Change::delete(facts.key())).await?;
        }
    }
    Ok(())
}
