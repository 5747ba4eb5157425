//! Lists: whole ones, streamed page by page in flat memory, and limited ones that a client continues.
//!
//! All pages bear the version of the first. The later ones are read when their turn comes; a client that goes on to
//! watch from the version sees every change since, so nothing is lost.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use keelson_catalog::{Database, PageKey};
use keelson_model::Revision;
use keelson_model::selector::FieldSelector;

use crate::continuation::{Continuation, Promise};
use crate::limits::PAGE_ROWS;
use crate::object::Object;
use crate::options::{Freshness, ListOptions};
use crate::refusal::Refusal;
use crate::response::{json_bytes, json_stream};
use crate::rows::{Extent, Rows, check_reachable};
use crate::shared::{Shared, blocking, refuse_failure, refuse_read};
use crate::view::{ListHead, View};

pub(crate) async fn list(
    shared: &Arc<Shared>,
    extent: Extent,
    options: ListOptions,
    view: View,
) -> Result<Response, Refusal> {
    let database = shared.database(extent.kind)?;
    let (walk, bytes) = blocking(move || begin(database, &extent, options, view)).await?;
    Ok(match walk {
        None => json_bytes(bytes),
        Some(walk) => json_stream(stream_rest(walk, bytes)),
    })
}

/// A list of nothing.
pub(crate) fn empty(view: &View) -> Response {
    let head = ListHead { resource_version: "1".to_owned(), r#continue: None, remaining_item_count: None };
    let mut out = view.open_list(&head);
    out.extend_from_slice(view.close_list());
    json_bytes(out)
}

/// Reads the first page and writes the list up to there. What is left of a whole list comes as a walk.
///
/// An error up to here is still an answer; one in a later page can only break the connection.
fn begin(
    database: Database,
    extent: &Extent,
    options: ListOptions,
    view: View,
) -> Result<(Option<Walk>, Vec<u8>), Refusal> {
    check_version(&database, extent, &options)?;
    let pinned = pinned(&options);
    let resumed = options.resume.as_ref().map(|resume| resume.revision);
    let selective = !options.selection.labels.is_everything() || !options.selection.fields.is_everything();
    let after = options.resume.map(|resume| resume.after);
    let rows = Rows::new(database.clone(), extent, &options.selection, after);
    let pin = pinned.map(|revision| Pin { database, extent: extent.clone(), revision });
    let mut walk = Walk { rows, fields: options.selection.fields, view, empty: true, pin };

    let wanted = options.limit.unwrap_or(PAGE_ROWS).min(PAGE_ROWS);
    let mut items = Vec::new();
    let mut appended = walk.append_page(&mut items, wanted)?;
    let (read_at, mut matched) = (appended.revision, appended.matched);
    // A field selector is no index: pages are read until enough rows match.
    while options.limit.is_some() && matched < wanted && !walk.rows.is_exhausted() {
        appended = walk.append_page(&mut items, wanted - matched)?;
        matched += appended.matched;
    }
    let revision = pinned.or(resumed).unwrap_or(read_at);
    let promise = if pinned.is_some() { Promise::Exact } else { Promise::Watchable };
    let next = options.limit.and(walk.rows.position());
    let token = |after: &PageKey| Continuation { revision, after: after.clone(), promise }.to_token();
    let head = ListHead {
        resource_version: revision.to_string(),
        r#continue: next.map(token),
        remaining_item_count: appended.remaining.filter(|_| next.is_some() && !selective),
    };
    let mut out = view.open_list(&head);
    out.append(&mut items);
    if options.limit.is_some() || walk.rows.is_exhausted() {
        out.extend_from_slice(view.close_list());
        return Ok((None, out));
    }
    Ok((Some(walk), out))
}

/// The version whose state alone will do, on this page as on the first.
fn pinned(options: &ListOptions) -> Option<Revision> {
    match (&options.resume, options.freshness) {
        (Some(resume), _) => (resume.promise == Promise::Exact).then_some(resume.revision),
        (None, Freshness::Exactly(revision)) => Some(revision),
        (None, Freshness::Latest | Freshness::NotOlderThan(_)) => None,
    }
}

fn check_version(database: &Database, extent: &Extent, options: &ListOptions) -> Result<(), Refusal> {
    match (&options.resume, options.freshness) {
        (Some(_), Freshness::NotOlderThan(_) | Freshness::Exactly(_)) => {
            Err(Refusal::bad_request("specifying resource version is not allowed when using continue"))
        }
        (Some(resume), Freshness::Latest) => {
            check_reachable(database, resume.revision)?;
            // The version is promised to a watch: it must not be cut off already.
            read_changed(database, extent, resume.revision).map(|_| ())
        }
        (None, Freshness::NotOlderThan(revision) | Freshness::Exactly(revision)) => {
            check_reachable(database, revision)
        }
        (None, Freshness::Latest) => Ok(()),
    }
}

/// We keep no past states: an exact version can be had while nothing has changed since.
struct Pin {
    database: Database,
    extent: Extent,
    revision: Revision,
}

impl Pin {
    fn check_unchanged(&self) -> Result<(), Refusal> {
        let Self { database, extent, revision } = self;
        if read_changed(database, extent, *revision)? {
            return Err(Refusal::expired(format!(
                "the state of resource version {revision} is no longer available"
            )));
        }
        Ok(())
    }
}

fn read_changed(database: &Database, extent: &Extent, mut since: Revision) -> Result<bool, Refusal> {
    let kind = extent.row_kind();
    loop {
        let changes = database.changes(&kind, extent.namespace.as_deref(), since, 1).map_err(refuse_read)?;
        if !changes.events.is_empty() || changes.complete {
            return Ok(!changes.events.is_empty());
        }
        since = changes.through;
    }
}

/// Rows on their way to a client.
struct Walk {
    rows: Rows,
    fields: FieldSelector,
    view: View,
    empty: bool,
    /// Set where each page must be of one version.
    pin: Option<Pin>,
}

struct Appended {
    revision: Revision,
    remaining: Option<u64>,
    matched: usize,
}

impl Walk {
    fn append_page(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<Appended, Refusal> {
        let page = self.rows.next_page(limit)?;
        // After the rows were read: what changes from here on is not in them.
        self.pin.as_ref().map_or(Ok(()), Pin::check_unchanged)?;
        let mut matched = 0;
        for stored in &page.rows {
            let object = Object::parse(self.view.kind, stored).map_err(|error| refuse_failure(&error))?;
            if !object.matches(&self.fields) {
                continue;
            }
            if !std::mem::replace(&mut self.empty, false) {
                out.push(b',');
            }
            out.extend_from_slice(&self.view.item(&object));
            matched += 1;
        }
        Ok(Appended { revision: page.revision, remaining: page.remaining, matched })
    }
}

fn stream_rest(walk: Walk, begun: Vec<u8>) -> Body {
    let rest = stream::try_unfold(Some(walk), |walk| async move {
        let Some(mut walk) = walk else { return Ok(None) };
        blocking(move || {
            let mut out = Vec::new();
            walk.append_page(&mut out, PAGE_ROWS)?;
            if walk.rows.is_exhausted() {
                out.extend_from_slice(walk.view.close_list());
                return Ok(Some((Bytes::from(out), None)));
            }
            Ok(Some((Bytes::from(out), Some(walk))))
        })
        .await
    });
    let begun = stream::once(async { Ok(Bytes::from(begun)) });
    Body::from_stream(begun.chain(rest.map_err(BreakList)))
}

/// Ends the connection in the middle of a list. The cause was logged where it arose.
#[derive(Debug)]
struct BreakList(Refusal);

impl fmt::Display for BreakList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the list broke off: {}", self.0.message())
    }
}

impl Error for BreakList {}
