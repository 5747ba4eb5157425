//! Follows the restore point contents of the catalog: all are read once, then only what changed.

use keelson_catalog::{Database, Event, Query, ReadError, Rows, Stored};
use keelson_model::Revision;

use crate::kinds;
use crate::records::Record;
use crate::restore_points::ContentInternal;

/// Events of one read.
const PAGE: usize = 500;

/// Every content, as it lies in the catalog.
pub(crate) fn all(catalog: &Database) -> Rows<'_> {
    catalog.rows(Query::of(kinds::restore_point_contents()))
}

/// What is kept in every content that can be read.
pub(crate) fn all_internal(
    catalog: &Database,
) -> impl Iterator<Item = Result<ContentInternal, ReadError>> + '_ {
    let internal = |stored: Stored| Record::parse(&stored).ok()?.internal().ok();
    all(catalog).filter_map(move |stored| stored.map(internal).transpose())
}

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
        for stored in all(catalog) {
            self.view.note(&stored?);
        }
        self.through = Some(head);
        Ok(())
    }
}
