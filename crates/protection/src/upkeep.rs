//! Keeps the journals short: what a base covers, or nobody will ship, is cut. Watches keep the window that they need.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keelson_catalog::{Backlog, Database};
use keelson_model::{RepositoryId, Sequence};
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::state::{self, Covered, Dropped};

const EVERY: Duration = Duration::from_secs(60);
/// While the location is away, this much is kept for it; beyond, a new base is needed when it is back.
const UNSHIPPED_BYTES_MAX: u64 = 256 << 20;

pub(crate) async fn run_upkeep(platform: Arc<Platform>, stop: CancellationToken) {
    // Not at once: what waited while nothing ran is shipped first, and is not too much before that was tried.
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        let (instance, now) = (platform.instance.clone(), platform.clock.now());
        let told = platform.trail.keep_told().await;
        let head = instance.head().revision.sequence();
        let head = head.min(audit::cuttable(&instance, told.as_ref().map(|told| told.instance)));
        cut(instance, head, now).await;
        if let Ok(catalog) = platform.catalog() {
            let through = coverable(&platform, &catalog).await;
            let through = through.min(audit::cuttable(&catalog, told.map(|told| told.catalog)));
            cut(catalog, through, now).await;
        }
    }
}

/// Up to where nobody needs the catalog's entries any more.
async fn coverable(platform: &Platform, catalog: &Database) -> Sequence {
    let enabled = match state::enabled(platform) {
        Ok(Some(enabled)) => enabled,
        Ok(None) => return catalog.head().revision.sequence(),
        Err(_) => return Sequence(0),
    };
    let standing = platform.shipper.lock().await.as_ref().and_then(|shipper| shipper.covered());
    if let Some(standing) = &standing {
        let written = state::write_covered(&platform.instance, standing, platform.clock.now()).await;
        if let Err(error) = written {
            tracing::warn!(error = &error as &dyn std::error::Error, "what was shipped was not recorded");
        }
    }
    let Ok((by_base, backlog)) = find_waiting(&platform.instance, catalog, enabled.repository, standing)
    else {
        return Sequence(0);
    };
    let through = decide_cut(by_base, &backlog, UNSHIPPED_BYTES_MAX);
    if through > by_base {
        tracing::error!(
            entries = backlog.entries,
            bytes = backlog.bytes,
            "too much was not shipped; it is dropped and a base will be needed"
        );
        let dropped = Dropped { at: platform.clock.now(), through: through.0 };
        if let Err(error) = state::write_dropped(platform, &dropped).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the alarm was not recorded");
        }
    }
    through
}

/// What waits to be shipped, and what a base covers. While no shipper stands, after a start or while the location is
/// away, the last one's record tells; where there is none nothing was ever shipped.
fn find_waiting(
    instance: &Database,
    catalog: &Database,
    repository: RepositoryId,
    standing: Option<Covered>,
) -> Result<(Sequence, Backlog), RecoveryError> {
    let generation = catalog.generation();
    let known = match standing {
        Some(standing) => Some(standing),
        None => state::read_covered(instance)?,
    };
    let known = known.filter(|known| known.repository == repository && known.generation == generation);
    let (by_base, shipped) = known.map_or((Sequence(0), Sequence(0)), |known| (known.by_base, known.shipped));
    let backlog = catalog.backlog(shipped).map_err(|source| RecoveryError::ReadState { source })?;
    Ok((by_base, backlog))
}

/// Pure. What a base covers goes; all of it goes once more waits for the location than is kept.
fn decide_cut(by_base: Sequence, unshipped: &Backlog, bytes_max: u64) -> Sequence {
    if unshipped.bytes > bytes_max { unshipped.head } else { by_base }
}

async fn cut(database: Database, through: Sequence, now: Timestamp) {
    let cutting = tokio::task::spawn_blocking(move || {
        let window = database.watch_window_start(now).inspect_err(|error| note(error)).unwrap_or(Sequence(0));
        database.cut_prefix(through.min(window)).inspect_err(|error| note(error))
    });
    match cutting.await {
        Ok(Ok(_) | Err(_)) => {}
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cutting a journal ended abnormally")
        }
    }
}

fn note(error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(error, "a journal was not cut");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keelson_catalog::{Actor, Change, Class, DataDir, Row, RowKind};
    use keelson_crypto::CatalogKey;
    use keelson_model::{Clock, Generation, ManualClock};

    use super::*;

    #[test]
    fn what_a_base_covers_goes_and_all_of_it_once_too_much_waits() {
        let check = |bytes: u64, through: u64| {
            let backlog =
                Backlog { entries: 7, bytes, oldest: None, base_needed: false, head: Sequence(100) };
            assert_eq!(decide_cut(Sequence(40), &backlog, UNSHIPPED_BYTES_MAX), Sequence(through));
        };
        check(0, 40);
        check(256 << 20, 40);
        check((256 << 20) + 1, 100);
    }

    /// While no shipper stood all of the journal counted as waiting: what had been shipped set the alarm off, and what
    /// had not was dropped.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_shipped_before_a_restart_does_not_wait() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-03-04T05:06:07Z".parse().unwrap()));
        let data = DataDir::open(directory.path(), clock.clone()).unwrap();
        let key = CatalogKey::generate();
        let catalog = data.create_first(&key, b"wrapped").unwrap();
        let instance = data.create_instance(&key, b"wrapped").unwrap();
        let commit = || {
            let row = Row {
                kind: RowKind::new("rows"),
                namespace: String::new(),
                name: "row".to_owned(),
                uid: String::new(),
                labels: std::collections::BTreeMap::new(),
                created: clock.now(),
                class: Class::Local,
                body: keelson_crypto::random_bytes::<4096>().to_vec(),
            };
            catalog.commit(&Actor::new("test"), vec![Change::put(row)]).unwrap();
            catalog.head().revision.sequence()
        };
        let base = commit();
        let shipped = (0..20).map(|_| commit()).max().unwrap();
        let repository = RepositoryId::from_bytes([1; 16]);
        let covered = Covered { repository, generation: Generation(1), by_base: base, shipped };
        state::write_covered(&instance, &covered, clock.now()).await.unwrap();
        let last = commit();

        let max = 10 * 4096;
        let cut = |repository: RepositoryId, standing: Option<Covered>| {
            let (by_base, backlog) = find_waiting(&instance, &catalog, repository, standing).unwrap();
            (backlog.entries, decide_cut(by_base, &backlog, max))
        };
        assert_eq!(cut(repository, None), (1, base), "only the last one waits");
        assert_eq!(cut(repository, Some(covered)), (1, base));
        let another = RepositoryId::from_bytes([2; 16]);
        assert_eq!(cut(another, None), (last.0, last), "nothing was ever shipped there");
    }
}
