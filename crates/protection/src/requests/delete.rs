//! Deleting: what goes with an object, and what has to be cleaned up behind it.

use keelson_catalog::{Change, CommitError, Database, Expect, RowKey, RowKind, Stored};
use keelson_resources::KindInfo;

use crate::actions;
use crate::audit::Outcome;
use crate::ownership;
use crate::platform::{Platform, commit};
use crate::records::Record;
use crate::requester::Requester;
use crate::requests::{Asked, Effect, Preconditions, RequestError, passkey};
use crate::restore_points::{self, ContentInternal, ExportedTo, Retiring};
use crate::storage_repositories;

/// Tries when rows that go with the object change in between.
const TRIES_MAX: usize = 5;

/// Deletes one object and returns it as it last was.
pub async fn delete(
    platform: &Platform,
    asked: impl Into<Asked<'_>>,
    kind: &'static KindInfo,
    (namespace, name): (&str, &str),
    preconditions: &Preconditions,
    effect: Effect,
) -> Result<Stored, RequestError> {
    let asked = asked.into();
    let requester = asked.requester;
    let database = platform.database(kind).map_err(RequestError::Away)?;
    if kind.kind == "Passkey" {
        return passkey::delete(platform, asked, name, preconditions, effect).await;
    }
    let key = RowKey::new(RowKind::new(kind.row_kind()), namespace, name);
    let mut tries = 0;
    loop {
        let found = database.read(&key).map_err(|source| RequestError::Read { source })?;
        let found = found.ok_or_else(|| RequestError::NotFound { kind: kind.kind, name: name.to_owned() })?;
        check(preconditions, kind, &found)?;
        let record = Record::parse(&found).map_err(|source| RequestError::Decode { source })?;
        let changes = changes_for(platform, &database, requester, kind, &record)?;
        if effect == Effect::DryRun {
            return Ok(found);
        }
        let deed = asked.deed("delete", key.clone());
        if changes.is_empty() {
            let outcome = Outcome { code: 200, reason: "" };
            platform.trail.note(kind, deed, (outcome, platform.clock.now())).await;
            return Ok(found);
        }
        if kind.kind == "StorageRepository" {
            storage_repositories::hide(platform, &record);
        }
        match commit(&database, &deed, changes).await {
            Ok(_) => return Ok(found),
            Err(CommitError::Conflict { .. }) if tries < TRIES_MAX => tries += 1,
            Err(source) => return Err(RequestError::Commit { source }),
        }
    }
}

pub(super) fn check(
    preconditions: &Preconditions,
    kind: &KindInfo,
    found: &Stored,
) -> Result<(), RequestError> {
    let Preconditions { uid, revision } = preconditions;
    let row = &found.row;
    if uid.as_ref().is_some_and(|uid| *uid != row.uid) {
        let message =
            format!("the uid of {} '{}' is {}, not the one asked for", kind.kind, row.name, row.uid);
        return Err(RequestError::Conflict { message });
    }
    if revision.is_some_and(|revision| revision != found.revision) {
        let message = format!("{} '{}' has changed; it is at {} now", kind.kind, row.name, found.revision);
        return Err(RequestError::Conflict { message });
    }
    Ok(())
}

fn changes_for(
    platform: &Platform,
    database: &Database,
    requester: &Requester,
    kind: &'static KindInfo,
    record: &Record,
) -> Result<Vec<Change>, RequestError> {
    let own = |record: &Record| {
        let expect = record.revision.map_or(Expect::Present, Expect::At);
        Change::Delete { key: record.key(), expect }
    };
    match kind.kind {
        "Application" => Err(RequestError::NotByClients { kind: kind.kind, name: record.name.clone() }),
        "RestorePoint" => {
            let mut changes = vec![own(record)];
            changes.extend(restore_points::unbind_content_of(database, record)?);
            Ok(changes)
        }
        "RestorePointContent" => retire_content(platform, database, requester, record),
        // Nobody could bind its content again.
        "ClusterRestorePoint" => match restore_points::content_of(database, &record.key())? {
            Some(content) => retire_content(platform, database, requester, &content),
            None => Ok(vec![own(record)]),
        },
        "KastenDRReview" | "KastenDRRestore" => Ok(vec![own(record)]),
        "StorageRepository" => {
            let mut changes = vec![own(record)];
            changes.extend(
                storage_repositories::forget(record).map_err(|source| RequestError::Decode { source })?,
            );
            Ok(changes)
        }
        _ => {
            // An action's result stays; a running action notices that it is gone and stops.
            let mut changes = vec![own(record)];
            changes.extend(actions::done_with(record));
            Ok(changes)
        }
    }
}

/// Deleting a content frees what it holds, by a RetireAction; the rows go when that has succeeded.
fn retire_content(
    platform: &Platform,
    database: &Database,
    requester: &Requester,
    content: &Record,
) -> Result<Vec<Change>, RequestError> {
    let exported = content.internal::<ContentInternal>().ok().and_then(|internal| internal.artifact.exported);
    // What was imported is its source's: it is forgotten here, whoever owns what.
    let is_imported = exported.as_ref().is_some_and(ExportedTo::is_imported);
    let here = || exported.and_then(|exported| ownership::forbids_removal(platform, &exported));
    let forbidden = || ownership::forbids_maintenance(platform).or_else(here);
    if let Some(reason) = (!is_imported).then(forbidden).flatten() {
        return Err(RequestError::Conflict {
            message: format!("'{}' cannot be deleted now: {reason}", content.name),
        });
    }
    let retiring = restore_points::retiring(database, content);
    if retiring? == Retiring::Underway {
        // Asked for already: it goes when the action has ended.
        return Ok(Vec::new());
    }
    let mut content = content.clone();
    Ok(restore_points::retirement(&mut content, requester, platform.clock.now()))
}
