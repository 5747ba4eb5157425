//! Who gets how much of what is scarce: watches, and lists on their way. Nobody takes more than a share, nor more than half
//! of what is left, so that a few who hold on to all they can get leave something to whoever comes after them. A part of
//! the whole is kept for the control plane, whose controllers hold up the cluster where they are refused.
//!
//! The API server's own fairness bounds what of a client waits here at once, but a watch holds no place in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keelson_protection::Requester;
use tokio::sync::Notify;

use crate::control_plane::is_control_plane;

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// How much there is.
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

/// One of what there is, given back when this is dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    holder: String,
}

impl Shares {
    pub(crate) fn new(portions: Portions) -> Arc<Self> {
        Arc::new(Self { portions, taken: Mutex::default(), returned: Notify::new() })
    }

    pub(crate) fn take(self: &Arc<Self>, requester: &Requester) -> Option<Share> {
        let name = requester.name();
        let Portions { all, kept, each } = self.portions;
        let holder = holder(name);
        let mut taken = self.lock();
        let held = taken.of.get(holder).copied().unwrap_or(0);
        let is_free = if is_control_plane(name) {
            taken.all < all
        } else {
            let left = all.saturating_sub(kept).saturating_sub(taken.all);
            held < each && 2 * held < left
        };
        if !is_free {
            return None;
        }
        taken.all += 1;
        *taken.of.entry(holder.to_owned()).or_default() += 1;
        Some(Share { shares: Arc::clone(self), holder: holder.to_owned() })
    }

    /// The same, waiting for one to be given back.
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

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        taken.all -= 1;
        if let Some(held) = taken.of.get_mut(&self.holder) {
            *held -= 1;
            if *held == 0 {
                taken.of.remove(&self.holder);
            }
        }
        drop(taken);
        self.shares.returned.notify_waiters();
    }
}

/// A namespace makes as many accounts as it likes: they count as one.
fn holder(name: &str) -> &str {
    let account = name.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.rsplit_once(':'));
    account.map_or(name, |(_, account)| &name[..name.len() - account.len() - 1])
}

#[cfg(test)]
mod tests {
    use keelson_protection::User;

    use super::*;

    fn requester(name: &str) -> Requester {
        Requester::User(User {
            name: name.to_owned(),
            uid: String::new(),
            groups: Vec::new(),
            extra: std::collections::BTreeMap::new(),
        })
    }

    fn take_all(shares: &Arc<Shares>, name: &str) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(&requester(name))).collect()
    }

    #[test]
    fn nobody_takes_more_than_a_share_and_the_control_plane_always_gets_some() {
        let shares = Shares::new(Portions { all: 10, kept: 3, each: 2 });
        let alice = take_all(&shares, "alice");
        let bob = take_all(&shares, "bob");
        assert_eq!((alice.len(), bob.len()), (2, 2));
        let rest: Vec<_> = ["carol", "dan", "erin", "frank"].map(|name| take_all(&shares, name)).into();
        assert_eq!(rest.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 0]);
        let controllers = take_all(&shares, "system:kube-controller-manager");
        assert_eq!(controllers.len(), 3);
        drop(alice);
        assert_eq!(take_all(&shares, "system:serviceaccount:kube-system:resourcequota-controller").len(), 2);
    }

    /// Three who took their shares and read nothing left nobody else any list.
    #[test]
    fn few_who_take_all_they_get_leave_something_to_others() {
        let shares = Shares::new(Portions { all: 64, kept: 16, each: 16 });
        let greedy: Vec<_> = (0..8).map(|number| take_all(&shares, &format!("greedy-{number}"))).collect();
        assert_eq!(greedy.iter().map(Vec::len).collect::<Vec<_>>(), [16, 11, 7, 5, 3, 2, 2, 1]);
        assert!(shares.take(&requester("honest")).is_some());
    }

    #[test]
    fn the_accounts_of_a_namespace_are_one() {
        let shares = Shares::new(Portions { all: 20, kept: 2, each: 3 });
        let one = take_all(&shares, "system:serviceaccount:shop:one");
        assert_eq!(one.len(), 3);
        assert!(shares.take(&requester("system:serviceaccount:shop:two")).is_none());
        assert_eq!(take_all(&shares, "system:serviceaccount:other:one").len(), 3);
    }

    #[test]
    fn what_is_given_back_leaves_nothing_behind() {
        let shares = Shares::new(Portions { all: 10, kept: 2, each: 3 });
        drop((take_all(&shares, "alice"), take_all(&shares, "bob")));
        let taken = shares.lock();
        assert_eq!((taken.all, taken.of.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_what_is_given_back_and_gives_up_in_the_end() {
        let shares = Shares::new(Portions { all: 2, kept: 1, each: 1 });
        let first = shares.take(&requester("alice")).unwrap();
        let (alice, patience) = (requester("alice"), Duration::from_secs(10));
        let (waited, ()) = tokio::join!(shares.take_within(&alice, patience), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert!(waited.is_some());
        assert!(shares.take_within(&alice, patience).await.is_none());
    }
}
