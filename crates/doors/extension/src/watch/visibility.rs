//! Which objects a watch shows: those that its selector means, and how an object comes into and goes out of view.
//!
//! An object that stops to match was deleted as far as the client can tell, and one that begins to match is new.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use keelson_catalog::{Event, EventKind};

use crate::limits::OBJECTS_REMEMBERED_MAX;
use crate::object::Object;
use crate::options::Selection;

pub(super) struct Visibility {
    selection: Selection,
    /// Kept only where a selector looks at a field that changes: the journal tells the labels of before, not the
    /// fields.
    seen: Option<Seen>,
}

impl Visibility {
    /// For a watch to which all objects are shown first.
    pub(super) fn from_start(selection: Selection) -> Self {
        Self::new(selection, Unknown::Hidden)
    }

    /// For a watch that begins at a version: what was in view then is not known.
    pub(super) fn after(selection: Selection) -> Self {
        Self::new(selection, Unknown::Shown)
    }

    fn new(selection: Selection, unknown: Unknown) -> Self {
        let changing = selection.fields.terms().iter().any(|term| !term.path.starts_with("metadata."));
        Self { selection, seen: changing.then(|| Seen::new(unknown, OBJECTS_REMEMBERED_MAX)) }
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
        match (event.kind, &mut self.seen) {
            (EventKind::Deleted, Some(seen)) => seen.forget(&object.key()),
            (EventKind::Added | EventKind::Modified | EventKind::Deleted, _) => self.remember(object, after),
        }
        match (before, after) {
            (false, false) => None,
            (false, true) => Some(EventKind::Added),
            (true, true) => Some(EventKind::Modified),
            (true, false) => Some(EventKind::Deleted),
        }
    }

    fn fields_before(&self, object: &Object<'_>) -> bool {
        match &self.seen {
            None => object.matches(&self.selection.fields),
            Some(seen) => seen.was_shown(&object.key()),
        }
    }

    fn remember(&mut self, object: &Object<'_>, shown: bool) {
        match &mut self.seen {
            Some(seen) if shown => seen.show(&object.key()),
            Some(seen) => seen.hide(&object.key()),
            None => {}
        }
    }
}

type Key = (String, String);

/// How an object counts of which nothing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Hidden,
    /// It may have been in view: a deletion too many harms nobody, one too few does.
    Shown,
}

/// Whether objects were last in view. Only those are kept that are not as an unknown one counts, as hashes under a
/// secret of this watch. Where they are too many, all are forgotten, and the unknown may have been in view.
struct Seen {
    unknown: Unknown,
    others: HashSet<u64>,
    others_max: usize,
    hasher: RandomState,
}

impl Seen {
    fn new(unknown: Unknown, others_max: usize) -> Self {
        Self { unknown, others: HashSet::new(), others_max, hasher: RandomState::new() }
    }

    fn was_shown(&self, key: &Key) -> bool {
        let is_other = self.others.contains(&self.hasher.hash_one(key));
        match self.unknown {
            Unknown::Hidden => is_other,
            Unknown::Shown => !is_other,
        }
    }

    fn show(&mut self, key: &Key) {
        match self.unknown {
            Unknown::Hidden => self.keep(key),
            Unknown::Shown => self.forget(key),
        }
    }

    fn hide(&mut self, key: &Key) {
        match self.unknown {
            Unknown::Hidden => self.forget(key),
            Unknown::Shown => self.keep(key),
        }
    }

    fn keep(&mut self, key: &Key) {
        if self.others.len() < self.others_max {
            self.others.insert(self.hasher.hash_one(key));
            return;
        }
        self.others = HashSet::new();
        match std::mem::replace(&mut self.unknown, Unknown::Shown) {
            Unknown::Hidden => {}
            Unknown::Shown => self.keep(key),
        }
    }

    fn forget(&mut self, key: &Key) {
        self.others.remove(&self.hasher.hash_one(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: usize) -> Key {
        ("shop".to_owned(), format!("p{name}"))
    }

    #[test]
    fn what_was_in_view_is_known_and_the_rest_counts_as_the_watch_began() {
        for (unknown, expected) in [(Unknown::Hidden, false), (Unknown::Shown, true)] {
            let mut seen = Seen::new(unknown, 10);
            assert_eq!(seen.was_shown(&key(0)), expected);
            for _ in 0..2 {
                seen.show(&key(1));
                seen.hide(&key(2));
                assert_eq!((seen.was_shown(&key(1)), seen.was_shown(&key(2))), (true, false));
                seen.hide(&key(1));
                seen.show(&key(2));
                assert_eq!((seen.was_shown(&key(1)), seen.was_shown(&key(2))), (false, true));
            }
            assert_eq!(seen.others.len(), 1, "one of the two is as an unknown one");
            seen.forget(&key(1));
            seen.forget(&key(2));
            assert!(seen.others.is_empty());
        }
    }

    #[test]
    fn a_watch_of_many_objects_keeps_a_bounded_number_and_loses_no_deletion() {
        for unknown in [Unknown::Hidden, Unknown::Shown] {
            let mut seen = Seen::new(unknown, 10);
            for number in 0..1_000 {
                seen.show(&key(number));
                seen.hide(&key(number + 1_000));
                assert!(seen.others.len() <= 10);
                assert!(seen.was_shown(&key(number)) && !seen.was_shown(&key(number + 1_000)));
            }
            assert!((0..1_000).all(|number| seen.was_shown(&key(number))));
        }
    }
}
