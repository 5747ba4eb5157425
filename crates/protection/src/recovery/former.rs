//! The repositories of disaster recovery that were in force before, as rows of the catalog: they hold copies of restore
//! points that are still named, and whoever recovers must find, own and prune them as well.
//!
//! Guarantees: a repository is noted here before another one takes its place. In between it may be both.

use jiff::Timestamp;
use keelson_catalog::{Change, Class, Database, Expect, Query, RowKey, RowKind, Stored};

use crate::platform::{Platform, commit};
use crate::records::plain_row;
use crate::recovery::RecoveryError;
use crate::recovery::state::{DrRepository, Enabled};

const ACTOR: &str = "disaster recovery";

pub(crate) fn row_kind() -> RowKind {
    RowKind::new("former-dr-repositories")
}

/// All of them: one for each passphrase, place and recovery.
pub(crate) fn list(platform: &Platform) -> Result<Vec<DrRepository>, RecoveryError> {
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    read(&catalog)
}

fn read(catalog: &Database) -> Result<Vec<DrRepository>, RecoveryError> {
    let known = |stored: Stored| serde_json::from_slice(&stored.row.body).ok();
    let rows = catalog.rows(Query::of(row_kind())).filter_map(|stored| stored.map(known).transpose());
    rows.collect::<Result<_, _>>().map_err(|source| RecoveryError::ReadState { source })
}

fn put(known: &DrRepository, now: Timestamp) -> Change {
    let key = RowKey::new(row_kind(), "", known.repository.to_string());
    // In every mode: what lies in a location is there, whatever else of the catalog was shipped.
    Change::Put { row: plain_row(key, Class::Configuration, known, now), expect: Expect::Any }
}

/// Notes one, or what is known of it now.
pub(crate) async fn keep(platform: &Platform, known: &DrRepository) -> Result<(), RecoveryError> {
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    let kept = commit(&catalog, ACTOR, vec![put(known, platform.clock.now())]).await;
    kept.map(drop).map_err(|source| RecoveryError::WriteState { source })
}

/// Notes the one in force, which is about to be left.
pub(crate) async fn keep_enabled(platform: &Platform, enabled: Enabled) -> Result<(), RecoveryError> {
    let Enabled { profile, place, repository, slots, .. } = enabled;
    keep(platform, &DrRepository { profile, place, cluster: platform.cluster_id.clone(), repository, slots })
        .await
}
