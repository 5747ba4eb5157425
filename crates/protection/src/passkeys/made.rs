//! Which forms of the instance Secret this volume has put there, as its instance file says.
//!
//! The Secret outlives a volume, and a copy of one reads it too. A form that is not known here may be all that opens another
//! volume: it is left alone. One is noted before it is written.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{Change, Class, CommitError, Expect, Query, ReadError, RowKey, RowKind};

use super::ACTOR;
use crate::platform::{Platform, commit};
use crate::records::plain_row;

/// No write of a form is under way for longer, whatever became of who asked for it.
const WRITTEN_WITHIN: SignedDuration = SignedDuration::from_hours(1);

fn key(uid: &str) -> RowKey {
    RowKey::new(RowKind::new("passkey-forms"), "", uid)
}

pub(super) async fn note(
    platform: &Platform,
    uids: impl IntoIterator<Item = &String>,
) -> Result<(), CommitError> {
    let now = platform.clock.now();
    let put =
        |uid: &String| Change::Put { row: plain_row(key(uid), Class::Local, &(), now), expect: Expect::Any };
    let changes = uids.into_iter().map(put).collect();
    commit(&platform.instance, ACTOR, changes).await.map(drop)
}

/// By the uids of their Passkeys, when they were noted.
pub(super) fn list(platform: &Platform) -> Result<BTreeMap<String, Timestamp>, ReadError> {
    let rows = platform.instance.rows(Query::of(key("").kind));
    rows.map(|stored| stored.map(|stored| (stored.row.name, stored.row.created))).collect()
}

/// Whether a form that is not in the Secret will not come there any more.
pub(super) fn is_over(noted: Timestamp, now: Timestamp) -> bool {
    now.duration_since(noted) > WRITTEN_WITHIN
}

pub(super) async fn forget(platform: &Platform, uids: &BTreeSet<String>) -> Result<(), CommitError> {
    let changes: Vec<_> = uids.iter().map(|uid| Change::delete(key(uid))).collect();
    if changes.is_empty() { Ok(()) } else { commit(&platform.instance, ACTOR, changes).await.map(drop) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_may_come_for_an_hour_after_it_was_noted() {
        let noted = Timestamp::UNIX_EPOCH;
        for (seconds, over) in [(-7200, false), (0, false), (3600, false), (3601, true)] {
            let now = noted + SignedDuration::from_secs(seconds);
            assert_eq!(is_over(noted, now), over, "{seconds}");
        }
    }
}
