//! Reads of the journal: what happened since, and the audit trail.

use jiff::Timestamp;
use keelson_model::{Revision, Sequence};
use rusqlite::Connection;

use super::lookup::{decode_error, query_error};
use super::tables::{entries_after, find_cut, find_head, read_entry};
use crate::change::Actor;
use crate::digest::Head;
use crate::error::ReadError;
use crate::format::body::BodyDecoder;
use crate::format::entry::{Effect, Entry};
use crate::format::record::{Record, decode_time};
use crate::limits::{
    CHANGES_BYTES, CHANGES_SCAN_BYTES, WATCH_WINDOW_AGE, WATCH_WINDOW_BYTES, WATCH_WINDOW_ENTRIES,
};
use crate::query::{Changes, Event, EventKind, JournalEntry};
use crate::row::{Class, Labels, RowKey, RowKind, Stored};

/// The events of a kind after a revision, entry by entry, until `limit` is reached or enough was read or looked at.
pub(super) fn changes(
    connection: &Connection,
    bodies: &mut BodyDecoder,
    kind: &RowKind,
    namespace: Option<&str>,
    since: Revision,
    limit: usize,
) -> Result<Changes, ReadError> {
    let head = find_head(connection).map_err(query_error)?.revision;
    check_since(connection, since, head)?;
    let mut changes = Changes { events: Vec::new(), through: since, complete: false };
    let mut bytes = 0;
    let is_wanted =
        |key: &RowKey| key.kind == *kind && namespace.is_none_or(|namespace| namespace == key.namespace);
    scan(connection, since.sequence(), head, CHANGES_SCAN_BYTES, |entry| {
        for class in Class::ALL {
            for effect in entry.effects(class).map_err(decode_error)? {
                if effect_key(&effect).is_some_and(is_wanted) {
                    let event = read_event(effect, entry.revision, bodies)?;
                    bytes += event.as_ref().map_or(0, Event::weight);
                    changes.events.extend(event);
                }
            }
        }
        changes.through = entry.revision;
        Ok(changes.events.len() < limit && bytes < CHANGES_BYTES)
    })?;
    changes.complete = changes.through == head;
    Ok(changes)
}

/// The newest entry outside of the window that watches need.
pub(super) fn window_start(connection: &Connection, now: Timestamp) -> Result<Sequence, ReadError> {
    let young = now.saturating_sub(WATCH_WINDOW_AGE).unwrap_or(now).as_microsecond();
    let statement = include_str!("../sql/journal/list_sizes.sql");
    let mut statement = connection.prepare_cached(statement).map_err(query_error)?;
    let mut rows = statement.query([]).map_err(query_error)?;
    let (mut entries, mut bytes) = (0, 0);
    while let Some(row) = rows.next().map_err(query_error)? {
        let (sequence, length, at): (i64, i64, i64) = row.try_into().map_err(query_error)?;
        let is_needed = entries < WATCH_WINDOW_ENTRIES || at > young;
        if !is_needed || bytes >= WATCH_WINDOW_BYTES {
            return Ok(Sequence(sequence.unsigned_abs()));
        }
        entries += 1;
        bytes += length.unsigned_abs();
    }
    Ok(Sequence(0))
}

/// A watch can go on only within the generation, behind the head and before the cut.
pub(super) fn check_since(connection: &Connection, since: Revision, head: Revision) -> Result<(), ReadError> {
    if since > head {
        return Err(ReadError::AheadOfUs { since, head });
    }
    let cut = Sequence(find_cut(connection).map_err(query_error)?);
    let oldest = Revision::new(head.generation(), cut);
    if since < oldest {
        return Err(ReadError::Expired { since, oldest });
    }
    Ok(())
}

/// Visits the entries after a sequence number until the visitor has enough or `bytes_max` were read; at least one.
pub(super) fn scan(
    connection: &Connection,
    after: Sequence,
    head: Revision,
    bytes_max: usize,
    mut visit: impl FnMut(Entry) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    let mut statement = entries_after(connection).map_err(query_error)?;
    let mut rows = statement.query([after.0 as i64]).map_err(query_error)?;
    let mut bytes = 0;
    while bytes < bytes_max
        && let Some(row) = rows.next().map_err(query_error)?
    {
        let (entry, length) = read_entry(row, head.generation()).map_err(query_error)?;
        bytes += length;
        if !visit(entry)? {
            break;
        }
    }
    Ok(())
}

/// The row that an effect tells watches of; a row that went on to another class is told of there.
fn effect_key(effect: &Effect) -> Option<&RowKey> {
    match effect {
        Effect::Created(record) | Effect::Updated { record, before: _ } | Effect::Deleted(record) => {
            Some(&record.key)
        }
        Effect::Left(_) => None,
    }
}

fn read_event(
    effect: Effect,
    revision: Revision,
    bodies: &mut BodyDecoder,
) -> Result<Option<Event>, ReadError> {
    let mut event = |kind, record: Record, before_labels: Option<Labels>| {
        let stored = Stored { revision, ..record.into_stored(bodies).map_err(decode_error)? };
        Ok(Some(Event { kind, stored, before_labels }))
    };
    match effect {
        Effect::Created(record) => event(EventKind::Added, record, None),
        Effect::Updated { record, before } => {
            let before = before.unwrap_or_else(|| record.labels.clone());
            event(EventKind::Modified, record, Some(before))
        }
        Effect::Deleted(record) => {
            let before = record.labels.clone();
            event(EventKind::Deleted, record, Some(before))
        }
        Effect::Left(_) => Ok(None),
    }
}

/// The audit trail after a sequence number, as much as `bytes_max` of the journal holds, at least one entry.
pub(super) fn entries(
    connection: &Connection,
    after: Sequence,
    bytes_max: usize,
) -> Result<Vec<JournalEntry>, ReadError> {
    let head = find_head(connection).map_err(query_error)?;
    check_after(connection, after, &head)?;
    let mut entries = Vec::new();
    scan(connection, after, head.revision, bytes_max, |entry| {
        entries.push(summarise(&entry)?);
        Ok(true)
    })?;
    Ok(entries)
}

fn check_after(connection: &Connection, after: Sequence, head: &Head) -> Result<(), ReadError> {
    let generation = head.revision.generation();
    if after > Sequence::MAX {
        return Err(ReadError::AheadOfUs {
            since: Revision::new(generation, Sequence::MAX),
            head: head.revision,
        });
    }
    check_since(connection, Revision::new(generation, after), head.revision)
}

fn summarise(entry: &Entry) -> Result<JournalEntry, ReadError> {
    let mut changes = Vec::new();
    for class in Class::ALL {
        for effect in entry.effects(class).map_err(decode_error)? {
            let kind = match &effect {
                Effect::Created(_) => EventKind::Added,
                Effect::Updated { .. } => EventKind::Modified,
                Effect::Deleted(_) => EventKind::Deleted,
                Effect::Left(_) => continue,
            };
            changes.extend(effect_key(&effect).map(|key| (kind, key.clone())));
        }
    }
    Ok(JournalEntry {
        revision: entry.revision,
        at: decode_time(entry.at).map_err(decode_error)?,
        actor: Actor::new(entry.actor.clone()),
        changes,
        chain: entry.digest,
    })
}
