//! Reads of the tables, on whatever connection and in whatever transaction the caller holds.

use std::cmp::Ordering;

use keelson_model::Revision;
use keelson_model::selector::{LabelOperator, LabelRequirement};
use rusqlite::{Connection, Params, params};

use super::tables::{Found, count_label, count_rows, decode_fault, find_row, hash_label, read_row};
use crate::change::Step;
use crate::error::{ReadError, sqlite};
use crate::format::Malformed;
use crate::format::body::BodyDecoder;
use crate::format::record::Record;
use crate::limits::{LABEL_ROWS_COUNTED, PAGE_BYTES_MAX, PAGE_ROWS_MAX};
use crate::query::{Page, PageKey, Query};
use crate::row::{RowKey, RowKind, Stored};

pub(crate) fn query_error(error: rusqlite::Error) -> ReadError {
    match decode_fault(&error) {
        Some(source) => ReadError::Decode { source },
        None => ReadError::Query { source: sqlite(error) },
    }
}

pub(crate) fn decode_error(source: Malformed) -> ReadError {
    ReadError::Decode { source }
}

pub(crate) fn read(
    connection: &Connection,
    bodies: &mut BodyDecoder,
    key: &RowKey,
) -> Result<Option<Stored>, ReadError> {
    let found = find_row(connection, key).map_err(query_error)?;
    found.map(|found| found.record.into_stored(bodies).map_err(decode_error)).transpose()
}

/// One page: as many rows as asked for, or fewer large ones.
pub(crate) fn list(
    connection: &Connection,
    bodies: &mut BodyDecoder,
    query: &Query,
    revision: Revision,
) -> Result<Page, ReadError> {
    let limit = query.limit.clamp(1, PAGE_ROWS_MAX);
    let bytes_max = query.bytes.min(PAGE_BYTES_MAX);
    let found = select(connection, query, (limit, bytes_max)).map_err(query_error)?;
    let (mut records, more) = (found.records.into_iter(), found.more);
    let (mut rows, mut bytes) = (Vec::<Stored>::new(), 0);
    while (rows.is_empty() || bytes < bytes_max)
        && let Some(record) = records.next()
    {
        let stored = record.into_stored(bodies).map_err(decode_error)?;
        bytes += stored.row.weight();
        rows.push(stored);
    }
    let more = more || records.len() > 0;
    let next = rows.last().filter(|_| more).map(|Stored { row, revision: _ }| PageKey {
        namespace: row.namespace.clone(),
        name: row.name.clone(),
    });
    let remaining = match &next {
        None => Some(0),
        Some(_) if query.after.is_none() && query.labels.is_everything() => {
            let all = count_rows(connection, &query.kind, query.namespace.as_deref()).map_err(query_error)?;
            Some(all.saturating_sub(rows.len() as u64))
        }
        Some(_) => None,
    };
    Ok(Page { rows, next, revision, remaining })
}

/// Rows in key order, and whether there are more of them.
#[derive(Default)]
struct Selected {
    records: Vec<Record>,
    more: bool,
}

/// Rows, and their weight as stored.
type Limits = (usize, usize);

/// The rows after `query.after` that match, until there are so many or they weigh so much.
fn select(connection: &Connection, query: &Query, limits: Limits) -> rusqlite::Result<Selected> {
    let kind = query.kind.as_str();
    let (namespace, name) =
        query.after.as_ref().map_or(("", ""), |after| (after.namespace.as_str(), after.name.as_str()));
    // A page that ended in another namespace has passed all of the only one asked for, or none of it.
    let name = match query.namespace.as_deref().map(|only| only.cmp(namespace)) {
        Some(Ordering::Less) => return Ok(Selected::default()),
        Some(Ordering::Greater) => "",
        Some(Ordering::Equal) | None => name,
    };
    let is_wanted = |record: &Record| query.labels.matches(&record.labels);
    match (choose_label(connection, query)?, query.namespace.as_deref()) {
        (Some(label), Some(only)) => {
            let statement = include_str!("../sql/objects/list_label_namespace.sql");
            collect(connection, statement, params![label, kind, only, name], is_wanted, limits)
        }
        (Some(label), None) => {
            let statement = include_str!("../sql/objects/list_label.sql");
            collect(connection, statement, params![label, kind, namespace, name], is_wanted, limits)
        }
        (None, Some(only)) => {
            let statement = include_str!("../sql/objects/list_namespace.sql");
            collect(connection, statement, params![kind, only, name], is_wanted, limits)
        }
        (None, None) => {
            let statement = include_str!("../sql/objects/list_kind.sql");
            collect(connection, statement, params![kind, namespace, name], is_wanted, limits)
        }
    }
}

fn collect(
    connection: &Connection,
    statement: &str,
    parameters: impl Params,
    is_wanted: impl Fn(&Record) -> bool,
    (limit, bytes_max): Limits,
) -> rusqlite::Result<Selected> {
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = statement.query(parameters)?;
    let (mut selected, mut bytes) = (Selected::default(), 0);
    while let Some(row) = rows.next()? {
        let Found { id: _, record } = read_row(row)?;
        if !is_wanted(&record) {
            continue;
        }
        // One at least, whatever its size.
        if !selected.records.is_empty() && (selected.records.len() >= limit || bytes >= bytes_max) {
            selected.more = true;
            break;
        }
        bytes += record.weight();
        selected.records.push(record);
    }
    Ok(selected)
}

/// The label of an equality that the fewest rows bear. Labels beyond the bound are all the same to us.
fn choose_label(connection: &Connection, query: &Query) -> rusqlite::Result<Option<i64>> {
    let mut best = None;
    for LabelRequirement { key, operator } in query.labels.requirements() {
        let LabelOperator::In(values) = operator else { continue };
        let (1, Some(value)) = (values.len(), values.first()) else { continue };
        let label = hash_label(&query.kind, key, value);
        let rows = count_label(connection, label, LABEL_ROWS_COUNTED)?;
        if best.is_none_or(|(fewest, _)| rows < fewest) {
            best = Some((rows, label));
        }
    }
    Ok(best.map(|(_, label)| label))
}

/// The steps of a run, in the order in which they were recorded.
pub(crate) fn steps(
    connection: &Connection,
    bodies: &mut BodyDecoder,
    run: &str,
) -> Result<Vec<Step>, ReadError> {
    let statement = include_str!("../sql/objects/list_namespace.sql");
    let parameters = [RowKind::STEPS, run, ""];
    let no_limits = (usize::MAX, usize::MAX);
    let mut records =
        collect(connection, statement, parameters, |_| true, no_limits).map_err(query_error)?.records;
    records.sort_by_key(|record| record.revision);
    let step = |record: Record| {
        let Stored { row, revision } = record.into_stored(bodies).map_err(decode_error)?;
        Ok(Step { name: row.name, result: row.body, revision })
    };
    records.into_iter().map(step).collect()
}
