//! Before a run names a point, all that leads to it is retained as long as the run itself: on a store that protects, what
//! is locked less long could be deleted under it.
//!
//! What is younger than half of the margin was retained long enough when it was created, if it was created through the
//! protection that is asked for now. That is a row of the instance file: who opens the store otherwise than the last one
//! who looked drops it before he ships, and the next run looks at each object of the chain, whatever its age, and has
//! the row written. A kill, or another opening, in between leaves the row dropped.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use keelson_catalog::{Change, Class, CommitError, Expect, RowKey, RowKind};
use keelson_model::{Chain, Classified, ClusterId, ErrorClass, RepositoryId, SessionId};
use keelson_store::{ObjectMeta, RETENTION_MARGIN, Store, StoreExt, StorePath};
use serde::{Deserialize, Serialize};

use crate::layout::ClusterFolder;
use crate::platform::{Platform, commit};
use crate::records::plain_row;
use crate::recovery::RecoveryError;
use crate::recovery::read::{Shelf, is_damage, warning};
use crate::recovery::ship::Reached;

/// Small requests that wait for the store.
const EXTENSIONS_IN_FLIGHT: usize = 16;

/// Proof that what leads to a point is retained as long as the run that is to name it. Only this file makes it.
#[derive(Debug)]
pub(in crate::recovery) struct Lengthened(());

/// How what lies in a chain was retained when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::recovery) enum Locks {
    /// For as long as what is written now, or it was since.
    Even,
    /// Some of it less long, perhaps, or not at all.
    Unknown,
}

/// Of which chain everything is known to be retained for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LockedFor {
    repository: RepositoryId,
    /// Nothing where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
}

impl LockedFor {
    fn new(repository: RepositoryId, retention: Option<Duration>) -> Self {
        Self { repository, seconds: retention.map(|retention| retention.as_secs()) }
    }
}

fn key() -> RowKey {
    RowKey::new(RowKind::new("disaster-recovery"), "", "locked for")
}

/// What cannot be read says nothing, and is written anew.
fn read(platform: &Platform) -> Result<(Option<LockedFor>, Expect), RecoveryError> {
    let stored = platform.instance.read(&key()).map_err(|source| RecoveryError::ReadState { source })?;
    let expect = stored.as_ref().map_or(Expect::Absent, |stored| Expect::At(stored.revision));
    Ok((stored.and_then(|stored| serde_json::from_slice(&stored.row.body).ok()), expect))
}

async fn write(platform: &Platform, state: &LockedFor, expect: Expect) -> Result<(), RecoveryError> {
    let row = plain_row(key(), Class::Local, state, platform.clock.now());
    match commit(&platform.instance, "disaster recovery", vec![Change::Put { row, expect }]).await {
        // The store was opened anew meanwhile: the next run looks again.
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(source) => Err(RecoveryError::WriteState { source }),
    }
}

/// Before anything is shipped through a store that was opened. Unless all that lies there is known to be retained for that
/// long, the row is written even where it says nothing already: a run that is under way must not say otherwise at its end.
pub(in crate::recovery) async fn note_opened(
    platform: &Platform,
    repository: RepositoryId,
    retention: Option<Duration>,
) -> Result<(), RecoveryError> {
    let stands = match read(platform)? {
        (Some(known), _) => retention.is_some() && known == LockedFor::new(repository, retention),
        // Nothing was ever shipped through a store that protects.
        (None, _) => retention.is_none(),
    };
    if stands {
        return Ok(());
    }
    write(platform, &LockedFor::new(repository, None), Expect::Any).await
}

/// Retains what leads to a point; after the protection has changed all that the chain has.
pub(in crate::recovery) async fn lengthen(
    platform: &Platform,
    reached: &Reached,
) -> Result<Lengthened, RecoveryError> {
    let retention = reached.store.capabilities().retention;
    let wanted = LockedFor::new(reached.repository.id(), retention);
    let (known, expect) = read(platform)?;
    let locks = if known.as_ref() == Some(&wanted) { Locks::Even } else { Locks::Unknown };
    let lengthened = lengthen_chain(&platform.cluster_id, reached, locks).await?;
    if retention.is_some() && locks == Locks::Unknown {
        write(platform, &wanted, expect).await?;
    }
    Ok(lengthened)
}

/// Retains the base, the segments behind it, and whose they are. Nothing on a store that does not protect.
pub(in crate::recovery) async fn lengthen_chain(
    cluster: &ClusterId,
    reached: &Reached,
    locks: Locks,
) -> Result<Lengthened, RecoveryError> {
    let store = &*reached.store;
    let clock = |source| RecoveryError::Retain { path: reached.folder.repository().clone(), source };
    let Some(until) = store.retention_end().await.map_err(clock)? else { return Ok(Lengthened(())) };
    let young = match locks {
        Locks::Even => {
            let now = store.time().await.map_err(clock)?;
            now.saturating_sub(RETENTION_MARGIN / 2).unwrap_or(now)
        }
        Locks::Unknown => Timestamp::MAX,
    };
    let base = reached.base.at;
    let path = reached.folder.base(base);
    let written = store.head(&path, None).await;
    let written = written.map_err(|source| RecoveryError::Retain { path: path.clone(), source })?.modified;
    let mut old = Vec::new();
    if written < young {
        let outcomes = HashSet::from([reached.base.outcome]);
        let lengthened = reached.repository.lengthen(&outcomes, until).await;
        lengthened.map_err(|source| RecoveryError::Lengthen { source })?;
        old.push(path);
    }
    let segments = reached.shelf().segments(Some(base)).await?;
    let segments = segments.into_iter().filter(|segment| segment.stored_at < young);
    old.extend(segments.map(|segment| reached.folder.segment(segment.at)));
    let extend = |path: StorePath| extend(store, path, until);
    stream::iter(old).map(extend).buffer_unordered(EXTENSIONS_IN_FLIGHT).try_collect::<()>().await?;
    let cluster = ClusterFolder::new(cluster);
    // However many a stranger has put there, a page of them is in memory.
    for folder in [cluster.lineages(), cluster.cards(), reached.folder.starts()] {
        let failed = |source| RecoveryError::List { folder: folder.clone(), source };
        let listed = store.stream(&folder).map_err(failed);
        let old = listed.try_filter(|object| std::future::ready(object.modified < young));
        old.try_for_each_concurrent(EXTENSIONS_IN_FLIGHT, |object| extend(object.path)).await?;
    }
    if locks == Locks::Unknown {
        lengthen_earlier(reached, until).await?;
    }
    Ok(Lengthened(()))
}

/// What leads to the points before, too. What of it is gone or damaged keeps no run from being made.
async fn lengthen_earlier(reached: &Reached, until: Timestamp) -> Result<(), RecoveryError> {
    let store = &*reached.store;
    let named = named_outcomes(&reached.shelf()).await?;
    match reached.repository.lengthen(&named, until).await {
        Ok(()) => {}
        Err(error) if matches!(error.class(), ErrorClass::NotFound | ErrorClass::Corrupt) => {
            tracing::warn!(cause = %Chain(&error), "what an earlier point needs was not retained longer");
        }
        Err(source) => return Err(RecoveryError::Lengthen { source }),
    }
    for folder in [reached.folder.bases(), reached.folder.segments(), reached.folder.manifests()] {
        let failed = |source| RecoveryError::List { folder: folder.clone(), source };
        let listed = store.stream(&folder).map_err(failed);
        let extend = |object: ObjectMeta| extend_if_there(store, object.path, until);
        listed.try_for_each_concurrent(EXTENSIONS_IN_FLIGHT, extend).await?;
    }
    Ok(())
}

/// The outcomes of all bases and runs.
async fn named_outcomes(shelf: &Shelf<'_>) -> Result<HashSet<SessionId>, RecoveryError> {
    let mut named = HashSet::new();
    for name in shelf.bases().await? {
        named.extend(unless_lost(shelf.base(name.at).await.map(|base| base.outcome))?);
    }
    for name in shelf.manifests().await? {
        named.extend(unless_lost(shelf.manifest(name.at).await.map(|manifest| manifest.outcome))?);
    }
    Ok(named)
}

fn unless_lost(outcome: Result<SessionId, RecoveryError>) -> Result<Option<SessionId>, RecoveryError> {
    match outcome {
        Ok(outcome) => Ok(Some(outcome)),
        Err(error) if is_damage(&error) => {
            tracing::warn!(warning = warning(&error), "what it names is not retained longer");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn extend(store: &dyn Store, path: StorePath, until: Timestamp) -> Result<(), RecoveryError> {
    let extended = store.extend_retention(&path, None, until).await;
    extended.map_err(|source| RecoveryError::Retain { path, source })
}

/// Nothing needs what retention has removed since it was listed.
async fn extend_if_there(store: &dyn Store, path: StorePath, until: Timestamp) -> Result<(), RecoveryError> {
    match extend(store, path, until).await {
        Err(error) if error.class() == ErrorClass::NotFound => Ok(()),
        extended => extended,
    }
}
