//! Which forms of the instance Secret this volume has put there, as its instance file says.
//!
//! The Secret outlives a volume, and a copy of one reads it too. A form that is not known here may be all that opens another
//! volume: it is left alone. One is noted before it is written.

use std::collections::BTreeSet;

use keelson_catalog::{Change, Class, CommitError, Expect, Query, ReadError, RowKey, RowKind};

use super::ACTOR;
use crate::platform::{Platform, commit};
use crate::records::plain_row;

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

/// The uids of their Passkeys.
pub(super) fn list(platform: &Platform) -> Result<BTreeSet<String>, ReadError> {
    let rows = platform.instance.rows(Query::of(key("").kind));
    rows.map(|stored| stored.map(|stored| stored.row.name)).collect()
}

pub(super) async fn forget(platform: &Platform, uids: &BTreeSet<String>) -> Result<(), CommitError> {
    let changes: Vec<_> = uids.iter().map(|uid| Change::delete(key(uid))).collect();
    if changes.is_empty() { Ok(()) } else { commit(&platform.instance, ACTOR, changes).await.map(drop) }
}
