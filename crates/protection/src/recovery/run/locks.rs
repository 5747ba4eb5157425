//! Before a run names a point, all that leads to it is retained as long as the run itself: on a store that protects, what
//! is locked less long could be deleted under it.
//!
//! What is younger than half of the margin was retained long enough when it was created.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use keelson_model::ClusterId;
use keelson_store::{RETENTION_MARGIN, StoreExt, StorePath};

use crate::layout::ClusterFolder;
use crate::recovery::RecoveryError;
use crate::recovery::ship::Reached;

/// Small requests that wait for the store.
const EXTENSIONS_IN_FLIGHT: usize = 16;

/// Proof that what leads to a point is retained as long as the run that is to name it. Only [`lengthen`] makes it.
#[derive(Debug)]
pub(in crate::recovery) struct Lengthened(());

/// Retains the base, the segments behind it, and whose they are. Nothing on a store that does not protect.
pub(in crate::recovery) async fn lengthen(
    cluster: &ClusterId,
    reached: &Reached,
) -> Result<Lengthened, RecoveryError> {
    let store = &*reached.store;
    let clock = |source| RecoveryError::Retain { path: reached.folder.repository().clone(), source };
    let Some(until) = store.retention_end().await.map_err(clock)? else { return Ok(Lengthened(())) };
    let now = store.time().await.map_err(clock)?;
    let young = now.saturating_sub(RETENTION_MARGIN / 2).unwrap_or(now);
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
    let extend = |path: StorePath| async move {
        let extended = store.extend_retention(&path, None, until).await;
        extended.map_err(|source| RecoveryError::Retain { path, source })
    };
    stream::iter(old).map(extend).buffer_unordered(EXTENSIONS_IN_FLIGHT).try_collect::<()>().await?;
    let cluster = ClusterFolder::new(cluster);
    // However many a stranger has put there, a page of them is in memory.
    for folder in [cluster.lineages(), cluster.cards(), reached.folder.starts()] {
        let failed = |source| RecoveryError::List { folder: folder.clone(), source };
        let listed = store.stream(&folder).map_err(failed);
        let old = listed.try_filter(|object| std::future::ready(object.modified < young));
        old.try_for_each_concurrent(EXTENSIONS_IN_FLIGHT, |object| extend(object.path)).await?;
    }
    Ok(Lengthened(()))
}
