//! What the writer tells readers and watches without a read: the head, and which kinds are as they were.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use keelson_model::Revision;

use super::subscribers::Subscribers;
use crate::digest::Head;
use crate::row::RowKind;

/// What the writer shares with readers.
#[derive(Debug)]
pub(super) struct Published {
    head: RwLock<Head>,
    /// Where this process began.
    opened: Revision,
    /// By kind, the last entry since then that may have changed rows of it.
    touched: RwLock<HashMap<RowKind, Revision>>,
    pub(super) subscribers: Arc<Subscribers>,
}

impl Published {
    pub(super) fn new(head: Head) -> Self {
        let (opened, touched) = (head.revision, RwLock::default());
        Self { head: RwLock::new(head), opened, touched, subscribers: Arc::default() }
    }

    pub(super) fn head(&self) -> Head {
        *self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head, if no row of the kind was changed from `since` up to there.
    pub(super) fn quiet_through(&self, kind: &RowKind, since: Revision) -> Option<Revision> {
        // First the head: what is touched is known before.
        let head = self.head().revision;
        let touched = self.touched.read().unwrap_or_else(PoisonError::into_inner);
        let last = touched.get(kind).copied().unwrap_or(self.opened);
        let is_of_now = since.generation() == head.generation() && since <= head;
        (last <= since && is_of_now).then_some(head)
    }

    /// Before the head is set.
    pub(super) fn touch(&self, kinds: &HashSet<RowKind>, at: Revision) {
        let mut touched = self.touched.write().unwrap_or_else(PoisonError::into_inner);
        touched.extend(kinds.iter().map(|kind| (kind.clone(), at)));
    }

    pub(super) fn set_head(&self, head: Head) {
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = head;
    }
}
