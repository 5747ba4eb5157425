//! Follows the restore point contents of the catalog: all are read once, then only what changed.

use keelson_catalog::{Database, Event, Query, ReadError, Stored};
use keelson_model::Revision;

use crate::kinds;

const PAGE: usize = 500;

/// What somebody wants to know of all contents.
pub(crate) trait View {
    /// Everything is about to be read anew.
    fn clear(&mut self);

    /// A content as it is.
    fn note(&mut self, stored: &Stored);

    /// What happened to a content, perhaps one that was noted so already.
    fn apply(&mut self, catalog: &Database, event: &Event) -> Result<(), ReadError>;
}

/// A view, and the revision up to which it is known.
#[derive(Debug, Default)]
pub(crate) struct Followed<V> {
    pub view: V,
    pub through: Option<Revision>,
}

impl<V: View> Followed<V> {
    /// Brings the view up to the catalog's head.
    pub(crate) fn follow(&mut self, catalog: &Database) -> Result<(), ReadError> {
        let since = self.through.filter(|since| since.generation() == catalog.generation());
        let Some(mut since) = since else { return self.read_all(catalog) };
        loop {
            let changes = match catalog.changes(&kinds::restore_point_contents(), None, since, PAGE) {
                Ok(changes) => changes,
                Err(ReadError::Expired { .. }) => return self.read_all(catalog),
                Err(error) => return Err(error),
            };
            changes.events.iter().try_for_each(|event| self.view.apply(catalog, event))?;
            since = changes.through;
            self.through = Some(since);
            if changes.complete {
                return Ok(());
            }
        }
    }

    fn read_all(&mut self, catalog: &Database) -> Result<(), ReadError> {
        self.view.clear();
        self.through = None;
        // What changes while the pages are read is read again from here.
        let head = catalog.head().revision;
        let mut query = Query::all(kinds::restore_point_contents(), PAGE);
        loop {
            let page = catalog.list(&query)?;
            page.rows.iter().for_each(|stored| self.view.note(stored));
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        self.through = Some(head);
        Ok(())
    }
}
