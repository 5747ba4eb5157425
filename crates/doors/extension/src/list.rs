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
use keelson_protection::Requester;

use crate::continuation::{Continuation, Promise};
use crate::limits::{LIMITED_LIST_BYTES, PAGE_BYTES, PAGE_ROWS};
use crate::object::Object;
use crate::options::{Freshness, ListOptions, Selection};
use crate::refusal::Refusal;
use crate::response::{hold, json_bytes, json_stream};
use crate::rows::{Extent, Rows, check_reachable};
use crate::shared::{Shared, blocking, refuse_read};
use crate::view::{ListHead, View};

pub(crate) async fn list(
    shared: &Arc<Shared>,
    requester: &Requester,
    extent: Extent,
    options: ListOptions,
    view: View,
) -> Result<Response, Refusal> {
    let share = shared.take_turn(requester, "lists").await?;
    let database = shared.database(extent.kind)?;
    let mut begun = blocking(move || Begun::new(database, &extent, options, view)).await?;
    // A field selector is no index, and a page of large rows is short: pages are read until enough rows match or the list
    // is large. Each is a task of its own, so that nothing goes on for a client that is gone.
    while begun.wants_more() {
        begun = blocking(move || begun.append_page()).await?;
    }
    let (walk, bytes) = begun.open();
    let response = match walk {
        None => json_bytes(bytes),
        Some(walk) => json_stream(stream_rest(walk, bytes)),
    };
    Ok(hold(response, share))
}

/// A list of nothing.
pub(crate) fn empty(view: &View) -> Response {
    let head = ListHead { resource_version: "1".to_owned(), r#continue: None, remaining_item_count: None };
    let mut out = view.open_list(&head);
    out.extend_from_slice(view.close_list());
    json_bytes(out)
}

/// A list of which the first page is read.
///
/// An error up to here is still an answer; one in a later page can only break the connection.
struct Begun {
    walk: Walk,
    items: Vec<u8>,
    /// What the client asked for, on this page.
    limit: Option<usize>,
    matched: usize,
    /// That all pages bear.
    revision: Revision,
    promise: Promise,
    /// Rows after this page, where that is known.
    remaining: Option<u64>,
    /// Whether a selector hides rows.
    selective: bool,
}

impl Begun {
    fn new(database: Database, extent: &Extent, options: ListOptions, view: View) -> Result<Self, Refusal> {
        check_version(&database, &options)?;
        let pinned = pinned(&options);
        let resumed = options.resume.as_ref().map(|resume| resume.revision);
        let Selection { labels, fields } = &options.selection;
        let selective = !labels.is_everything() || !fields.is_everything();
        let after = options.resume.map(|resume| resume.after);
        let rows = Rows::new(database.clone(), extent, &options.selection, after, PAGE_BYTES);
        let pin = pinned.map(|revision| Pin { database, extent: extent.clone(), revision });
        let mut walk = Walk { rows, fields: options.selection.fields, view, empty: true, pin };
        let limit = options.limit.map(|limit| limit.min(PAGE_ROWS));
        let mut items = Vec::new();
        let Appended { revision, remaining, matched } =
            walk.append_page(&mut items, limit.unwrap_or(PAGE_ROWS))?;
        Ok(Self {
            walk,
            items,
            limit,
            matched,
            revision: pinned.or(resumed).unwrap_or(revision),
            promise: if pinned.is_some() { Promise::Exact } else { Promise::Watchable },
            remaining,
            selective,
        })
    }

    fn wants_more(&self) -> bool {
        self.limit.is_some_and(|limit| self.matched < limit)
            && self.items.len() < LIMITED_LIST_BYTES
            && !self.walk.rows.is_exhausted()
    }

    fn append_page(mut self) -> Result<Self, Refusal> {
        let wanted = self.limit.unwrap_or(PAGE_ROWS) - self.matched;
        let appended = self.walk.append_page(&mut self.items, wanted)?;
        self.matched += appended.matched;
        self.remaining = appended.remaining;
        Ok(self)
    }

    /// The list up to here. What is left of a whole one comes as a walk.
    fn open(mut self) -> (Option<Walk>, Vec<u8>) {
        let next = self.limit.and(self.walk.rows.position());
        let token = |after: &PageKey| {
            Continuation { revision: self.revision, after: after.clone(), promise: self.promise }.to_token()
        };
        let head = ListHead {
            resource_version: self.revision.to_string(),
            r#continue: next.map(token),
            remaining_item_count: self.remaining.filter(|_| next.is_some() && !self.selective),
        };
        let mut out = self.walk.view.open_list(&head);
        out.append(&mut self.items);
        if self.limit.is_some() || self.walk.rows.is_exhausted() {
            out.extend_from_slice(self.walk.view.close_list());
            return (None, out);
        }
        (Some(self.walk), out)
    }
}

/// The version whose state alone will do, on this page as on the first.
fn pinned(options: &ListOptions) -> Option<Revision> {
    match (&options.resume, options.freshness) {
        (Some(resume), _) => (resume.promise == Promise::Exact).then_some(resume.revision),
        (None, Freshness::Exactly(revision)) => Some(revision),
        (None, Freshness::Latest | Freshness::NotOlderThan(_)) => None,
    }
}

fn check_version(database: &Database, options: &ListOptions) -> Result<(), Refusal> {
    match (&options.resume, options.freshness) {
        (Some(_), Freshness::NotOlderThan(_) | Freshness::Exactly(_)) => {
            Err(Refusal::bad_request("specifying resource version is not allowed when using continue"))
        }
        (Some(resume), Freshness::Latest) => {
            check_reachable(database, resume.revision)?;
            // The version is promised to a watch: it must not be cut off already.
            database.check_since(resume.revision).map_err(refuse_read)
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
        let namespace = extent.namespace.as_deref();
        if database.has_changed(&extent.row_kind(), namespace, *revision).map_err(refuse_read)? {
            return Err(Refusal::expired(format!(
                "the state of resource version {revision} is no longer available"
            )));
        }
        Ok(())
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
            let object = Object::one_of_many(self.view.kind, stored);
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
