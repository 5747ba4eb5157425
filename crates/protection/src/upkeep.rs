//! Keeps the journals short: what a base covers, or nobody will ship, is cut. Watches keep the window that they need.

use std::sync::Arc;
use std::time::Duration;

use keelson_catalog::{Backlog, CommitError, Database};
use keelson_model::Sequence;
use tokio_util::sync::CancellationToken;

use crate::platform::Platform;
use crate::recovery::ship::Covered;
use crate::recovery::state::{self, Dropped};

const EVERY: Duration = Duration::from_secs(60);
/// While the location is away, this much is kept for it; beyond, a new base is needed when it is back.
const UNSHIPPED_BYTES_MAX: u64 = 256 << 20;

pub(crate) async fn run_upkeep(platform: Arc<Platform>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        let instance = platform.instance.clone();
        let head = instance.head().revision.sequence();
        cut(instance, head).await;
        if let Ok(catalog) = platform.catalog() {
            let through = coverable(&platform, &catalog).await;
            cut(catalog, through).await;
        }
    }
}

/// Up to where nobody needs the catalog's entries any more.
async fn coverable(platform: &Platform, catalog: &Database) -> Sequence {
    let head = catalog.head().revision.sequence();
    if matches!(state::enabled(platform), Ok(None)) {
        return head;
    }
    let known = platform.shipper.lock().await.as_ref().and_then(|shipper| shipper.covered());
    let unknown = Covered { by_base: Sequence(0), shipped: Sequence(0) };
    let Covered { by_base, shipped } = known.unwrap_or(unknown);
    match catalog.backlog(shipped) {
        Ok(backlog) => {
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
        Err(_) => by_base,
    }
}

/// Pure. What a base covers goes; all of it goes once more waits for the location than is kept.
fn decide_cut(by_base: Sequence, unshipped: &Backlog, bytes_max: u64) -> Sequence {
    if unshipped.bytes > bytes_max { unshipped.head } else { by_base }
}

async fn cut(database: Database, through: Sequence) {
    let cutting = tokio::task::spawn_blocking(move || database.cut_prefix(through));
    match cutting.await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => note(&error),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cutting a journal ended abnormally")
        }
    }
}

fn note(error: &CommitError) {
    tracing::warn!(error = error as &dyn std::error::Error, "a journal was not cut");
}

#[cfg(test)]
mod tests {
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
}
