//! Who gets how much of what is scarce: watches, lists on their way, and memory for bodies. Nobody takes more than a share,
//! nor more than half of what is left, so that a few who hold on to all they can get leave something to whoever comes after
//! them. A part of the whole is kept for the control plane, whose controllers hold up the cluster where they are refused.
//!
//! The API server's own fairness bounds what of a client waits here at once, but a watch holds no place in it.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keelson_protection::Requester;
use tokio::sync::Notify;

use crate::control_plane::is_control_plane;

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// How much there is, in pieces or in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portions {
    pub(crate) all: usize,
    /// Of these, what only the control plane may take.
    pub(crate) kept: usize,
    /// What anybody else may hold at once; the accounts of one namespace are one.
    pub(crate) each: usize,
}

pub(crate) struct Shares {
    portions: Portions,
    taken: Mutex<Taken>,
    returned: Notify,
}

#[derive(Default)]
struct Taken {
    all: usize,
    of: HashMap<String, usize>,
}

/// Some of what there is, given back when this is dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    holder: Holder,
    amount: usize,
}

/// Who counts as one.
struct Holder {
    name: String,
    is_control_plane: bool,
}

impl Shares {
    pub(crate) fn new(portions: Portions) -> Arc<Self> {
        Arc::new(Self { portions, taken: Mutex::default(), returned: Notify::new() })
    }

    /// One of them.
    pub(crate) fn take(self: &Arc<Self>, requester: &Requester) -> Option<Share> {
        self.take_many(requester, 1)
    }

    /// So many of them, or none.
    pub(crate) fn take_many(self: &Arc<Self>, requester: &Requester, amount: usize) -> Option<Share> {
        let holder = Holder::of(requester.name());
        self.book(&holder, amount).then(|| Share { shares: Arc::clone(self), holder, amount })
    }

    /// One of them, waiting for one to be given back.
    pub(crate) async fn take_within(
        self: &Arc<Self>,
        requester: &Requester,
        patience: Duration,
    ) -> Option<Share> {
        let waiting = async {
            loop {
                let returned = self.returned.notified();
                tokio::pin!(returned);
                // From here on no return is missed.
                returned.as_mut().enable();
                match self.take(requester) {
                    Some(share) => return share,
                    None => returned.await,
                }
            }
        };
        tokio::time::timeout(patience, waiting).await.ok()
    }

    /// Writes an amount down for its holder, if he may have it.
    fn book(&self, holder: &Holder, amount: usize) -> bool {
        let Portions { all, kept, each } = self.portions;
        let mut taken = self.lock();
        let of_all = taken.all.saturating_add(amount);
        let of_holder = taken.of.get(&holder.name).copied().unwrap_or(0).saturating_add(amount);
        let is_free = if holder.is_control_plane {
            of_all <= all
        } else {
            let left = all.saturating_sub(kept).saturating_sub(taken.all);
            // The last piece is nobody's to be halved.
            of_holder <= each && 2 * of_holder <= left + 1
        };
        if is_free {
            taken.all = of_all;
            taken.of.insert(holder.name.clone(), of_holder);
        }
        is_free
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes more of the same, by the same rules, or no more.
    pub(crate) fn grow(&mut self, amount: usize) -> bool {
        let is_free = self.shares.book(&self.holder, amount);
        if is_free {
            self.amount += amount;
        }
        is_free
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        taken.all -= self.amount;
        if let Some(held) = taken.of.get_mut(&self.holder.name) {
            *held -= self.amount;
            if *held == 0 {
                taken.of.remove(&self.holder.name);
            }
        }
        drop(taken);
        self.shares.returned.notify_waiters();
    }
}

impl Holder {
    /// A namespace makes as many accounts as it likes: they count as one.
    fn of(name: &str) -> Self {
        let account = name.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.rsplit_once(':'));
        let one = account.map_or(name, |(_, account)| &name[..name.len() - account.len() - 1]);
        Self { name: one.to_owned(), is_control_plane: is_control_plane(name) }
    }
}
