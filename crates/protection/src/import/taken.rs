//! What imports have looked at: a row for each export, by grant and outcome, so that each is taken in once.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use keelson_catalog::{Change, Class, Database, Expect, Query, ReadError, RowKey, RowKind};
use keelson_model::{RepositoryId, Revision, SessionId};
use serde::{Deserialize, Serialize};

use crate::grants::GrantName;
use crate::locations::Place;
use crate::records::plain_row;

/// An export that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    pub repository: RepositoryId,
    /// Where it was seen. Absent from rows of before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The content that was made; none of an export that is not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Of the action that did.
    pub by: String,
    /// The policies of which an import that succeeded has named the content, or a newer one of its application, as what may be
    /// restored.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub offered_to: BTreeSet<String>,
}

impl Taken {
    /// Whether what becomes of this place says what becomes of the export.
    pub(super) fn is_of(&self, place: &Place) -> bool {
        self.place.as_ref().is_none_or(|own| own == place)
    }

    pub(super) fn put(&self, key: RowKey, now: Timestamp, expect: Expect) -> Change {
        Change::Put { row: plain_row(key, Class::Configuration, self, now), expect }
    }
}

/// A row as it is.
pub(super) struct Known {
    pub taken: Taken,
    pub revision: Revision,
}

fn rows() -> RowKind {
    RowKind::new("exports-taken")
}

pub(super) fn key(grant: &GrantName, outcome: SessionId) -> RowKey {
    RowKey::new(rows(), grant.grant.to_string(), outcome.to_string())
}

/// All that was looked at of a grant's exports.
pub(super) fn read_all(
    catalog: &Database,
    grant: &GrantName,
) -> Result<HashMap<SessionId, Known>, ReadError> {
    let query = Query { namespace: Some(grant.grant.to_string()), ..Query::of(rows()) };
    let mut found = HashMap::new();
    for stored in catalog.rows(query) {
        let stored = stored?;
        let known = |taken| Known { taken, revision: stored.revision };
        let outcome = stored.row.name.parse().ok();
        found.extend(outcome.zip(serde_json::from_slice(&stored.row.body).ok().map(known)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_place_says_counts_for_what_was_seen_there_and_for_rows_that_name_none() {
        let place = |path: &str| Place::FileStore { claim: "share".to_owned(), path: path.to_owned() };
        let old = serde_json::json!({ "repository": RepositoryId::from_bytes([7; 16]), "by": "a" });
        let mut taken: Taken = serde_json::from_value(old).unwrap();
        assert!(taken.is_of(&place("a")) && taken.offered_to.is_empty());
        taken.place = Some(place("a"));
        assert!(taken.is_of(&place("a")) && !taken.is_of(&place("b")));
    }
}
