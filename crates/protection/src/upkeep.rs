//! Keeps the journals short: what a base covers, or nobody will ship, is cut. Watches keep the window that they need.

use std::sync::Arc;
use std::time::Duration;

use keelson_catalog::{CommitError, Database};
use keelson_model::Sequence;
use tokio_util::sync::CancellationToken;

use crate::platform::Platform;
use crate::recovery::state;

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
    let slot = platform.shipper.lock().await;
    let base = slot.as_ref().and_then(|shipper| shipper.base.as_ref()).map(|base| base.document.at);
    let covered =
        base.filter(|at| at.generation == catalog.generation()).map_or(Sequence(0), |at| at.sequence);
    let shipped = slot.as_ref().map_or(covered, |shipper| shipper.shipped()).max(covered);
    match catalog.backlog(shipped) {
        Ok(backlog) if backlog.bytes > UNSHIPPED_BYTES_MAX => {
            tracing::error!(
                entries = backlog.entries,
                "too much was not shipped; it is dropped and a base will be needed"
            );
            head
        }
        _ => covered,
    }
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
