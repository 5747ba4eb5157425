//! What imports have looked at: a row for each export, by grant and outcome, so that each is taken in once.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use keelson_catalog::{Change, Class, Database, Expect, Query, ReadError, RowKey, RowKind};
use keelson_model::{RepositoryId, Revision, SessionId};
use serde::{Deserialize, Serialize};

use crate::grants::GrantName;
use crate::locations::Place;
use crate::records::plain_row;
use crate::recovery::exports::Outcomes;

/// An export that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub repository: RepositoryId,
    /// Where it was seen. Absent from rows of before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The content that was made; none of an export that is not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Another place, which took its content by a retirement that it stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_in: Option<Place>,
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

    /// What an import from a place makes of it.
    ///
    /// An absence counts where the export was seen and nowhere else: a copy of a location lags behind. A retirement counts
    /// wherever it is read: it opens under the repository's keys only. That a former owner has stated it, and the owner of
    /// today takes it back, no grant tells: see [`Self::is_taken_anew`].
    pub(super) fn decide_fate(&self, outcome: SessionId, place: &Place, seen: &Seen<'_>) -> Fate {
        if seen.live.contains(&outcome) {
            Fate::Stays
        } else if self.is_of(place) {
            Fate::Gone
        } else if seen.retired.contains(&outcome) {
            Fate::Retired
        } else {
            Fate::Stays
        }
    }

    /// Whether an import that finds the export live in a place makes a content of it once more. The place that stated the
    /// retirement states it no more: it was void, and was withdrawn. That another has it live says only that it lags behind.
    pub(super) fn is_taken_anew(&self, place: &Place) -> bool {
        self.retired_in.as_ref() == Some(place)
    }

    pub(super) fn put(&self, key: RowKey, now: Timestamp, expect: Expect) -> Change {
        Change::Put { row: plain_row(key, Class::Configuration, self, now), expect }
    }
}

/// The outcomes of one repository, as an import finds them.
pub(super) struct Seen<'a> {
    live: HashSet<SessionId>,
    retired: &'a HashSet<SessionId>,
}

impl<'a> Seen<'a> {
    pub(super) fn of(outcomes: &'a Outcomes) -> Self {
        let Outcomes { live, retired } = outcomes;
        Self { live: live.iter().copied().collect(), retired }
    }
}

/// What becomes of an export that was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// Its content goes. The row stays, and names the place: where it was seen the export may be live for ever, and would be
    /// taken in, offered to be restored, and removed again and again.
    Retired,
    /// Its content goes, and the row: it is gone where it was seen.
    Gone,
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

    /// What was retired while the profile led to a copy never went.
    #[test]
    fn an_absence_counts_in_its_own_place_and_a_retirement_in_every_place() {
        let place = |path: &str| Place::FileStore { claim: "share".to_owned(), path: path.to_owned() };
        let taken = Taken {
            repository: RepositoryId::from_bytes([7; 16]),
            place: Some(place("own")),
            content: None,
            retired_in: None,
            by: "a".to_owned(),
            offered_to: BTreeSet::new(),
        };
        let [live, retired, absent] = [1, 2, 3].map(|id| SessionId::from_bytes([id; 16]));
        let outcomes = Outcomes { live: vec![live], retired: HashSet::from([retired]) };
        let check = |outcome, path, expected| {
            assert_eq!(
                taken.decide_fate(outcome, &place(path), &Seen::of(&outcomes)),
                expected,
                "{outcome} {path}"
            );
        };
        check(live, "own", Fate::Stays);
        check(live, "copy", Fate::Stays);
        check(retired, "own", Fate::Gone);
        check(retired, "copy", Fate::Retired);
        check(absent, "own", Fate::Gone);
        check(absent, "copy", Fate::Stays);
    }

    /// What a former owner had retired, and the owner of today took back, never came back from a copy.
    #[test]
    fn what_a_place_took_by_a_retirement_is_taken_anew_where_it_is_live_in_that_place_only() {
        let place = |path: &str| Place::FileStore { claim: "share".to_owned(), path: path.to_owned() };
        let own = serde_json::to_value(place("own")).unwrap();
        let row =
            serde_json::json!({ "repository": RepositoryId::from_bytes([7; 16]), "place": own, "by": "a" });
        let mut taken: Taken = serde_json::from_value(row).unwrap();
        for path in ["own", "copy"] {
            assert!(!taken.is_taken_anew(&place(path)), "somebody may have deleted its content: {path}");
        }
        taken.retired_in = Some(place("copy"));
        let stored = serde_json::to_value(&taken).unwrap();
        let taken: Taken = serde_json::from_value(stored).unwrap();
        assert!(taken.is_taken_anew(&place("copy")));
        for path in ["own", "other"] {
            assert!(!taken.is_taken_anew(&place(path)), "it lags behind: {path}");
        }
    }

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
