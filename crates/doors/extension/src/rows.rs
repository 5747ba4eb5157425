//! Reads the rows of a kind page by page, for lists and for the first events of a watch.

use std::mem;

use keelson_catalog::{Database, Page, PageKey, Query, RowKey, RowKind};
use keelson_model::Revision;
use keelson_resources::KindInfo;

use crate::limits::PAGE_ROWS;
use crate::options::Selection;
use crate::refusal::Refusal;
use crate::shared::refuse_read;

/// Which rows: one kind, in one namespace or in all.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    pub(crate) kind: &'static KindInfo,
    pub(crate) namespace: Option<String>,
}

impl Extent {
    pub(crate) fn new(kind: &'static KindInfo, namespace: Option<&str>) -> Self {
        Self { kind, namespace: namespace.map(str::to_owned) }
    }

    pub(crate) fn row_kind(&self) -> RowKind {
        RowKind::new(self.kind.row_kind())
    }

    /// The key of the one row that a selector by name can mean, where that is certain.
    fn only_key(&self, selection: &Selection) -> Option<RowKey> {
        let name = selection.fields.required_value("metadata.name")?;
        let namespace = match self.namespace.as_deref() {
            Some(namespace) => namespace,
            None if self.kind.is_namespaced() => selection.fields.required_value("metadata.namespace")?,
            None => "",
        };
        Some(RowKey::new(self.row_kind(), namespace, name))
    }
}

/// A walk over rows in the order of namespace and name. Field selectors are left to the caller.
pub(crate) struct Rows {
    database: Database,
    query: Query,
    only: Option<RowKey>,
    exhausted: bool,
}

impl Rows {
    pub(crate) fn new(
        database: Database,
        extent: &Extent,
        selection: &Selection,
        after: Option<PageKey>,
        bytes: usize,
    ) -> Self {
        let query = Query {
            kind: extent.row_kind(),
            namespace: extent.namespace.clone(),
            labels: selection.labels.clone(),
            after,
            limit: PAGE_ROWS,
            bytes,
        };
        Self { database, query, only: extent.only_key(selection), exhausted: false }
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Where the next page begins.
    pub(crate) fn position(&self) -> Option<&PageKey> {
        self.query.after.as_ref().filter(|_| !self.exhausted)
    }

    /// The next page of at most `limit` rows, fewer where they are large, read from one state of the catalog.
    pub(crate) fn next_page(&mut self, limit: usize) -> Result<Page, Refusal> {
        if let Some(key) = &self.only {
            self.exhausted = true;
            return self.read_only(key);
        }
        self.query.limit = limit.clamp(1, PAGE_ROWS);
        let mut page = self.database.list(&self.query).map_err(refuse_read)?;
        self.query.after = mem::take(&mut page.next);
        self.exhausted = self.query.after.is_none();
        Ok(page)
    }

    fn read_only(&self, key: &RowKey) -> Result<Page, Refusal> {
        let (stored, revision) = self.database.read_with_revision(key).map_err(refuse_read)?;
        let rows =
            stored.into_iter().filter(|stored| self.query.labels.matches(&stored.row.labels)).collect();
        Ok(Page { rows, next: None, revision, remaining: None })
    }
}

/// Refuses versions that are still to come. Answers with the head.
pub(crate) fn check_reached(database: &Database, revision: Revision) -> Result<Revision, Refusal> {
    let head = database.head_for(revision).map_err(refuse_read)?;
    if revision > head {
        return Err(Refusal::version_too_large(revision, head));
    }
    Ok(head)
}

/// Refuses versions that the database cannot answer for: of another generation, or still to come.
pub(crate) fn check_reachable(database: &Database, revision: Revision) -> Result<(), Refusal> {
    let head = check_reached(database, revision)?;
    if revision.generation() != head.generation() {
        return Err(Refusal::expired(format!(
            "too old resource version: {revision} (before the last recovery)"
        )));
    }
    Ok(())
}
