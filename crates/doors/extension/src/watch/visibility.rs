//! Which objects a watch shows: those that its selector means, and how an object comes into and goes out of view.
//!
//! An object that stops to match was deleted as far as the client can tell, and one that begins to match is new.

use std::collections::HashMap;

use keelson_catalog::{Event, EventKind};

use crate::object::Object;
use crate::options::Selection;

pub(super) struct Visibility {
    selection: Selection,
    /// Whether objects were last in view. Kept only where a selector looks at a field that changes: the journal
    /// tells the labels of before, not the fields.
    seen: Option<HashMap<(String, String), bool>>,
}

impl Visibility {
    pub(super) fn new(selection: Selection) -> Self {
        let changing = selection.fields.terms().iter().any(|term| !term.path.starts_with("metadata."));
        Self { selection, seen: changing.then(HashMap::new) }
    }

    /// Whether one of the objects at the start is in view. Its labels were selected by the catalog.
    pub(super) fn shows_initially(&mut self, object: &Object<'_>) -> bool {
        let shown = object.matches(&self.selection.fields);
        self.remember(object, shown);
        shown
    }

    /// What an event is to the client, if anything.
    pub(super) fn judge(&mut self, event: &Event, object: &Object<'_>) -> Option<EventKind> {
        let Selection { labels, fields } = &self.selection;
        let matches = labels.matches(object.labels()) && object.matches(fields);
        let (before, after) = match event.kind {
            EventKind::Added => (false, matches),
            EventKind::Modified => {
                let labels_before = event.before_labels.as_ref().is_none_or(|before| labels.matches(before));
                (labels_before && self.fields_before(object), matches)
            }
            EventKind::Deleted => (matches, false),
        };
        if event.kind == EventKind::Deleted {
            self.forget(object);
        } else {
            self.remember(object, after);
        }
        match (before, after) {
            (false, false) => None,
            (false, true) => Some(EventKind::Added),
            (true, true) => Some(EventKind::Modified),
            (true, false) => Some(EventKind::Deleted),
        }
    }

    /// Where nothing is known the object may have been in view: a deletion too many harms nobody, one too few does.
    fn fields_before(&self, object: &Object<'_>) -> bool {
        match &self.seen {
            None => object.matches(&self.selection.fields),
            Some(seen) => seen.get(&object.key()).copied().unwrap_or(true),
        }
    }

    fn remember(&mut self, object: &Object<'_>, shown: bool) {
        if let Some(seen) = &mut self.seen {
            seen.insert(object.key(), shown);
        }
    }

    fn forget(&mut self, object: &Object<'_>) {
        if let Some(seen) = &mut self.seen {
            seen.remove(&object.key());
        }
    }
}
