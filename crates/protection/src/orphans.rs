//! Outcomes in a location that no content names any more: copies of local backups whose content went, or that came too
//! late for it.
//!
//! Guarantees: the commit that lets go of an outcome notes it here, and the note goes only once the outcome is retired or
//! is not there. What lies in a place that cannot be reached, or is not this instance's, stays noted, also across a
//! recovery. Who may retire is proven by maintenance, which does it.

use keelson_catalog::{Change, Class, CommitError, Expect, Query, ReadError, RowKey, RowKind};
use keelson_model::{Chain, Classified, ErrorClass, SessionId};
use keelson_repository::{Open, Ownership, Repository, RetireError};

use crate::platform::{CatalogAway, Platform, commit};
use crate::records::plain_row;
use crate::restore_points::Artifact;

const ACTOR: &str = "orphans";

fn row_kind() -> RowKind {
    RowKind::new("orphans")
}

/// The change that notes an outcome, and where it lies.
pub(crate) fn note(artifact: &Artifact, now: jiff::Timestamp) -> Change {
    let key = RowKey::new(row_kind(), artifact.repository.to_string(), artifact.outcome.to_string());
    // In every mode: what lies in a location is there, whatever else of the catalog was shipped.
    let row = plain_row(key, Class::Configuration, &artifact.exported, now);
    Change::Put { row, expect: Expect::Any }
}

/// The change that takes a note back: a content names the outcome after all.
pub(crate) fn forget(artifact: &Artifact) -> Change {
    let key = RowKey::new(row_kind(), artifact.repository.to_string(), artifact.outcome.to_string());
    Change::Delete { key, expect: Expect::Any }
}

/// Notes all copies of what a content holds that goes.
pub(crate) fn note_copies(artifact: &Artifact, now: jiff::Timestamp) -> Vec<Change> {
    let copies = std::iter::successors(artifact.copy.as_deref(), |copy| copy.copy.as_deref());
    copies.map(|copy| note(copy, now)).collect()
}

/// What is noted was not retired.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrphanError {
    #[error("use the catalog")]
    Away { source: CatalogAway },
    #[error("list the outcomes that no content names any more")]
    List { source: ReadError },
    #[error("retire outcome '{outcome}', which no content names any more")]
    Retire { outcome: SessionId, source: RetireError },
    #[error("forget outcome '{outcome}', which is retired")]
    Forget { outcome: SessionId, source: CommitError },
}

impl Classified for OrphanError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Away { source } => source.class(),
            Self::List { source } => source.class(),
            Self::Retire { source, .. } => source.class(),
            Self::Forget { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Away { .. } => "orphans.catalog_away",
            Self::List { .. } => "orphans.list",
            Self::Retire { .. } => "orphans.retire",
            Self::Forget { .. } => "orphans.forget",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Retire { source, .. } => source.hint(),
            Self::Away { .. } | Self::List { .. } | Self::Forget { .. } => None,
        }
    }
}

/// Retires what is noted of one repository.
pub(crate) async fn retire(
    platform: &Platform,
    repository: &Repository<Open>,
    proof: &Ownership,
) -> Result<(), OrphanError> {
    let catalog = platform.catalog().map_err(|source| OrphanError::Away { source })?;
    let query = Query { namespace: Some(repository.id().to_string()), ..Query::of(row_kind()) };
    for stored in catalog.rows(query) {
        let key = stored.map_err(|source| OrphanError::List { source })?.row.key();
        let Ok(outcome) = key.name.parse::<SessionId>() else { continue };
        match repository.retire(outcome, proof, platform.clock.now()).await {
            Ok(_) | Err(RetireError::Absent { .. }) => {}
            // What a stranger put in the place of the retirement keeps the outcome, and nothing else.
            Err(RetireError::Read { source }) if source.is_damage() => {
                tracing::warn!(%outcome, cause = %Chain(&source), "tampering: a copy cannot be retired; it stays");
                continue;
            }
            Err(source) => return Err(OrphanError::Retire { outcome, source }),
        }
        let forgotten = commit(&catalog, ACTOR, vec![Change::delete(key)]).await;
        forgotten.map_err(|source| OrphanError::Forget { outcome, source })?;
    }
    Ok(())
}
