//! Who wants to hear of every new head.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use keelson_model::Revision;

use crate::row::RowKind;

/// Called with the new head after each group of commits, from the writer's thread. It must neither block nor panic.
pub type Subscriber = Box<dyn Fn(Revision, &Touched) + Send + Sync>;

/// Whom a new head concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Rows of these kinds may have changed, and no others.
    Kinds(HashSet<RowKind>),
    /// Whoever follows any kind: a generation has begun.
    All,
}

impl Touched {
    /// Whether it concerns who follows this kind.
    pub fn concerns(&self, kind: &RowKind) -> bool {
        match self {
            Self::Kinds(kinds) => kinds.contains(kind),
            Self::All => true,
        }
    }
}

#[derive(Default)]
struct List {
    next: u64,
    subscribers: Vec<(u64, Arc<Subscriber>)>,
}

#[derive(Default)]
pub(super) struct Subscribers(Mutex<List>);

impl Subscribers {
    pub(super) fn add(self: &Arc<Self>, subscriber: Subscriber) -> Subscription {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = list.next;
        list.next += 1;
        list.subscribers.push((number, Arc::new(subscriber)));
        Subscription { number, of: Arc::downgrade(self) }
    }

    /// Calls without the lock, so that a subscriber may end its own subscription.
    pub(super) fn notify(&self, head: Revision, touched: &Touched) {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let subscribers: Vec<_> =
            list.subscribers.iter().map(|(_, subscriber)| Arc::clone(subscriber)).collect();
        drop(list);
        for subscriber in subscribers {
            subscriber(head, touched);
        }
    }

    fn remove(&self, number: u64) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.subscribers.retain(|(of, _)| *of != number);
    }
}

impl fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscribers")
    }
}

/// Ends the subscription when it is dropped. A call that is under way may still arrive.
#[derive(Debug)]
#[must_use = "dropping it ends the subscription"]
pub struct Subscription {
    number: u64,
    of: Weak<Subscribers>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(subscribers) = self.of.upgrade() {
            subscribers.remove(self.number);
        }
    }
}
