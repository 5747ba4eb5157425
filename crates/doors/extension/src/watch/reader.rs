//! The synchronous half of a watch: turns rows and journal entries into the lines that a client reads.

use std::collections::HashMap;

use jiff::Timestamp;
use keelson_catalog::{Database, Event, EventKind, Row, RowKind};
use keelson_model::Revision;
use keelson_resources::KindInfo;

use super::feed::{Feed, Happening, News};
use super::visibility::Visibility;
use crate::accept::Representation;
use crate::limits::{EVENTS_PER_READ, PAGE_ROWS, WATCH_READ_BYTES};
use crate::object::Object;
use crate::options::{InitialEnd, Selection};
use crate::refusal::Refusal;
use crate::rows::{Extent, Rows, check_reachable};
use crate::shared::refuse_read;
use crate::view::{Columns, View};

/// Where one watch stands.
pub(super) struct Reader {
    extent: Extent,
    view: View,
    visibility: Visibility,
    /// The objects that come before what happens; None once they have come.
    initial: Option<Initial>,
    /// Everything up to here has been read.
    since: Revision,
    /// The client knows that it has everything up to here; nothing while it is shown the objects that come first.
    told: Option<Revision>,
    /// Rows that the initial objects showed in a state later than their common version. The journal repeats how
    /// they got there; a client must not see an object go back in time.
    ahead: HashMap<Key, Revision>,
    columns: Columns,
}

type Key = (String, String);

/// The initial objects, page by page, all under the version of the first page.
struct Initial {
    rows: Rows,
    version: Option<Revision>,
    end: InitialEnd,
}

/// What one read brought.
pub(super) struct Progress {
    pub(super) bytes: Vec<u8>,
    /// Whether there was no more to read.
    pub(super) complete: bool,
}

impl Reader {
    pub(super) fn from_start(
        database: &Database,
        extent: Extent,
        view: View,
        selection: Selection,
        end: InitialEnd,
    ) -> Self {
        let rows = Rows::new(database.clone(), &extent, &selection, None, WATCH_READ_BYTES);
        let initial = Initial { rows, version: None, end };
        let visibility = Visibility::from_start(selection);
        let reader = Self::new(database.head().revision, extent, view, visibility);
        Self { initial: Some(initial), told: None, ..reader }
    }

    pub(super) fn after(since: Revision, extent: Extent, view: View, selection: Selection) -> Self {
        Self::new(since, extent, view, Visibility::after(selection))
    }

    fn new(since: Revision, extent: Extent, view: View, visibility: Visibility) -> Self {
        Self {
            extent,
            view,
            visibility,
            initial: None,
            since,
            told: Some(since),
            ahead: HashMap::new(),
            columns: Columns::Untold,
        }
    }

    pub(super) fn kind(&self) -> &'static KindInfo {
        self.extent.kind
    }

    pub(super) fn row_kind(&self) -> RowKind {
        self.extent.row_kind()
    }

    /// Everything up to here has been read.
    pub(super) fn since(&self) -> Revision {
        self.since
    }

    /// How far it has read; nothing, where the client knows that or has not seen all objects that come first.
    pub(super) fn bookmark(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.initial.is_none() && self.told != Some(self.since) {
            self.push_bookmark(&mut out, self.since, false);
        }
        out
    }

    /// Passes over what is known to be nothing to this watch, and says whether that is all there is.
    pub(super) fn pass_quiet(&mut self, database: &Database, feed: &Feed) -> bool {
        if self.initial.is_some() {
            return false;
        }
        let quiet = feed.quiet_after(database, self.since);
        self.advance(quiet.through);
        quiet.complete
    }

    /// All that happened up to there was told.
    fn advance(&mut self, through: Revision) {
        self.since = through;
        self.ahead.retain(|_, shown| *shown > through);
    }

    /// `now` is what ages are counted to: a watch goes on for an hour.
    pub(super) fn read(&mut self, database: &Database, now: Timestamp) -> Result<Progress, Refusal> {
        self.view.now = now;
        // A recovery has another past: nothing of this watch can be continued in it.
        check_reachable(database, self.since)?;
        match self.initial.take() {
            Some(initial) => self.read_initial(initial),
            None => self.read_changes(database),
        }
    }

    fn read_initial(&mut self, mut initial: Initial) -> Result<Progress, Refusal> {
        let page = initial.rows.next_page(PAGE_ROWS)?;
        let version = *initial.version.get_or_insert(page.revision);
        let mut out = Vec::new();
        for stored in &page.rows {
            let object = Object::one_of_many(self.kind(), stored);
            if !self.visibility.shows_initially(&object) {
                continue;
            }
            // Rows of an older generation keep their revision; it is below any version of this one.
            if stored.revision > version {
                self.ahead.insert(key(&stored.row), stored.revision);
            }
            self.push_event(&mut out, "ADDED", &object);
        }
        if initial.rows.is_exhausted() {
            self.since = version;
            if initial.end == InitialEnd::Marked {
                self.push_bookmark(&mut out, version, true);
            }
        } else {
            self.initial = Some(initial);
        }
        Ok(Progress { bytes: out, complete: false })
    }

    fn read_changes(&mut self, database: &Database) -> Result<Progress, Refusal> {
        let (kind, namespace) = (self.extent.row_kind(), self.extent.namespace.as_deref());
        let changes = database.changes(&kind, namespace, self.since, EVENTS_PER_READ).map_err(refuse_read)?;
        Ok(self.tell_of(&News::from(changes)))
    }

    /// What others have read from the journal, of all namespaces.
    pub(super) fn tell(&mut self, news: &News, now: Timestamp) -> Progress {
        self.view.now = now;
        self.tell_of(news)
    }

    fn tell_of(&mut self, news: &News) -> Progress {
        let mut out = Vec::new();
        for happening in &news.happenings {
            let event = &happening.event;
            if !self.is_meant(event) || self.was_shown(event) {
                continue;
            }
            let object = Object::one_of_many(self.kind(), &event.stored);
            if let Some(kind) = self.visibility.judge(event, &object) {
                self.push_happening(&mut out, event_type(kind), happening, &object);
                self.told = Some(event.stored.revision);
            }
        }
        self.advance(news.through);
        Progress { bytes: out, complete: news.complete }
    }

    fn is_meant(&self, event: &Event) -> bool {
        self.extent.namespace.as_ref().is_none_or(|namespace| *namespace == event.stored.row.namespace)
    }

    fn was_shown(&self, event: &Event) -> bool {
        !self.ahead.is_empty()
            && self.ahead.get(&key(&event.stored.row)).is_some_and(|shown| event.stored.revision <= *shown)
    }

    fn push_happening(
        &mut self,
        out: &mut Vec<u8>,
        event_type: &str,
        happening: &Happening,
        object: &Object<'_>,
    ) {
        match self.view.representation {
            Representation::Object => {
                push_line(out, event_type, happening.whole(|| self.view.single(object)))
            }
            Representation::PartialMetadata(_) | Representation::Table(_) => {
                self.push_event(out, event_type, object);
            }
        }
    }

    fn push_event(&mut self, out: &mut Vec<u8>, event_type: &str, object: &Object<'_>) {
        push_line(out, event_type, &self.view.event_object(object, self.columns));
        self.columns = Columns::Told;
    }

    fn push_bookmark(&mut self, out: &mut Vec<u8>, revision: Revision, initial_end: bool) {
        push_line(out, "BOOKMARK", &self.view.bookmark(revision, initial_end, self.columns));
        self.told = Some(revision);
        self.columns = Columns::Told;
    }
}

/// The last line of a watch that cannot go on.
pub(super) fn error_event(refusal: Refusal) -> Vec<u8> {
    let status = serde_json::to_vec(&refusal.into_status()).expect("a status of strings and numbers is JSON");
    let mut out = Vec::new();
    push_line(&mut out, "ERROR", &status);
    out
}

fn push_line(out: &mut Vec<u8>, event_type: &str, object: &[u8]) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event_type.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
}

fn event_type(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Added => "ADDED",
        EventKind::Modified => "MODIFIED",
        EventKind::Deleted => "DELETED",
    }
}

fn key(row: &Row) -> Key {
    (row.namespace.clone(), row.name.clone())
}
