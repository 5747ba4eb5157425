//! A walk over many rows, for whoever does not care where pages end.

use std::vec;

use super::Database;
use crate::error::ReadError;
use crate::limits::ROWS_PER_READ;
use crate::query::Query;
use crate::row::Stored;

/// Rows in key order. Read a page at a time: a row that is written behind the walk's back is seen where its key is still
/// ahead.
pub struct Rows<'a> {
    database: &'a Database,
    /// The next page; nothing behind the last one.
    query: Option<Query>,
    read: vec::IntoIter<Stored>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(database: &'a Database, query: Query) -> Self {
        let query = Query { limit: query.limit.min(ROWS_PER_READ), ..query };
        Self { database, query: Some(query), read: Vec::new().into_iter() }
    }

    fn read_page(&mut self, mut query: Query) -> Result<(), ReadError> {
        let page = self.database.list(&query)?;
        self.read = page.rows.into_iter();
        query.after = page.next;
        self.query = query.after.is_some().then_some(query);
        Ok(())
    }
}

/// Ends after an error.
impl Iterator for Rows<'_> {
    type Item = Result<Stored, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(stored) = self.read.next() {
                return Some(Ok(stored));
            }
            let query = self.query.take()?;
            if let Err(error) = self.read_page(query) {
                return Some(Err(error));
            }
        }
    }
}
