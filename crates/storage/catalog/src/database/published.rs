//! What the writer tells readers and watches without a read: the head, and which kinds are as they were.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use keelson_model::Revision;

use super::subscribers::Subscribers;
use crate::digest::Head;
use crate::query::Quiet;
use crate::row::RowKind;

/// What the writer shares with readers.
#[derive(Debug)]
pub(super) struct Published {
    head: RwLock<Head>,
    /// Where this process began.
    opened: Revision,
    /// By kind, of those that may have changed since then.
    touched: RwLock<HashMap<RowKind, Touch>>,
    pub(super) subscribers: Arc<Subscribers>,
}

/// When a kind was last changed.
#[derive(Debug, Clone, Copy)]
struct Touch {
    /// Nothing happened to it after this entry,
    quiet_after: Revision,
    /// up to this one. It may have changed between here
    quiet_through: Revision,
    /// and here, and not after that.
    last: Revision,
}

impl Published {
    pub(super) fn new(head: Head) -> Self {
        let (opened, touched) = (head.revision, RwLock::default());
        Self { head: RwLock::new(head), opened, touched, subscribers: Arc::default() }
    }

    pub(super) fn head(&self) -> Head {
        *self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn quiet_after(&self, kind: &RowKind, since: Revision) -> Quiet {
        // First the head: what is touched is known before.
        let head = self.head().revision;
        let unknown = Quiet { through: since, complete: false };
        if since.generation() != head.generation() || since > head {
            return unknown;
        }
        let touch = self.touched.read().unwrap_or_else(PoisonError::into_inner).get(kind).copied();
        let last = touch.map_or(self.opened, |touch| touch.last);
        if last <= since {
            return Quiet { through: head, complete: true };
        }
        let before = touch.filter(|touch| touch.quiet_after <= since);
        before.map_or(unknown, |touch| Quiet { through: since.max(touch.quiet_through), complete: false })
    }

    /// Kinds that may have been changed after the head, up to an entry that is about to be the head.
    pub(super) fn touch(&self, kinds: &HashSet<RowKind>, at: Revision) {
        let head = self.head().revision;
        let mut touched = self.touched.write().unwrap_or_else(PoisonError::into_inner);
        for kind in kinds {
            let quiet_after = touched.get(kind).map_or(self.opened, |touch| touch.last);
            touched.insert(kind.clone(), Touch { quiet_after, quiet_through: head, last: at });
        }
    }

    pub(super) fn set_head(&self, head: Head) {
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = head;
    }
}
