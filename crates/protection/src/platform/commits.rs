//! Who waits for commits, and is woken by them: of any kind, or of one kind alone.
//!
//! A receiver misses nothing that is committed after it was made, however late it looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keelson_catalog::{RowKind, Subscriber, Touched};
use keelson_model::Revision;
use tokio::sync::watch;

pub(super) struct Commits {
    any: watch::Sender<Revision>,
    /// Of the kinds that somebody has waited for: those that are served, at most.
    kinds: Mutex<HashMap<RowKind, watch::Sender<()>>>,
}

impl Commits {
    pub(super) fn new(head: Revision) -> Arc<Self> {
        Arc::new(Self { any: watch::Sender::new(head), kinds: Mutex::default() })
    }

    pub(super) fn follow_any(&self) -> watch::Receiver<Revision> {
        self.any.subscribe()
    }

    pub(super) fn follow_kind(&self, kind: RowKind) -> watch::Receiver<()> {
        self.kinds().entry(kind).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// What a database tells of its commits.
    pub(super) fn subscriber(self: &Arc<Self>) -> Subscriber {
        let commits = Arc::clone(self);
        Box::new(move |head, touched| {
            commits.wake_kinds(touched);
            commits.any.send_replace(head);
        })
    }

    /// Another catalog is in use: everybody has to look.
    pub(super) fn wake_all(&self) {
        self.wake_kinds(&Touched::All);
        self.any.send_modify(|_| ());
    }

    fn wake_kinds(&self, touched: &Touched) {
        for (kind, waiting) in &*self.kinds() {
            if touched.concerns(kind) {
                waiting.send_replace(());
            }
        }
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<RowKind, watch::Sender<()>>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use keelson_model::{Generation, Sequence};

    use super::*;

    fn at(sequence: u64) -> Revision {
        Revision::new(Generation(1), Sequence(sequence))
    }

    fn kind(name: &str) -> RowKind {
        RowKind::new(name)
    }

    /// Whether it was woken since it was asked last.
    fn is_woken(receiver: &mut watch::Receiver<()>) -> bool {
        let woken = receiver.has_changed().expect("somebody may still commit");
        receiver.mark_unchanged();
        woken
    }

    #[test]
    fn a_commit_wakes_who_waits_for_its_kinds_and_nobody_else() {
        let commits = Commits::new(at(0));
        let committed = commits.subscriber();
        let (mut any, mut points, mut actions) =
            (commits.follow_any(), commits.follow_kind(kind("points")), commits.follow_kind(kind("actions")));
        let cases: [(&[&str], [bool; 2]); 4] = [
            (&["points"], [true, false]),
            (&["actions"], [false, true]),
            (&["points", "actions"], [true, true]),
            (&["others"], [false, false]),
        ];
        for ((kinds, woken), sequence) in cases.into_iter().zip(1..) {
            committed(at(sequence), &Touched::Kinds(kinds.iter().map(|name| kind(name)).collect()));
            assert_eq!([is_woken(&mut points), is_woken(&mut actions)], woken, "{kinds:?}");
            assert_eq!(*any.borrow_and_update(), at(sequence));
        }
    }

    #[test]
    fn whoever_came_before_a_commit_is_woken_by_it_though_he_waits_only_later() {
        let commits = Commits::new(at(0));
        let committed = commits.subscriber();
        let of_points = Touched::Kinds([kind("points")].into());
        committed(at(1), &of_points);
        let mut early = commits.follow_kind(kind("points"));
        assert!(!is_woken(&mut early), "what was committed before can be read");
        committed(at(2), &of_points);
        committed(at(3), &Touched::Kinds([kind("actions")].into()));
        let mut late = commits.follow_kind(kind("points"));
        assert_eq!((is_woken(&mut early), is_woken(&mut late)), (true, false));
    }

    #[test]
    fn a_generation_and_another_catalog_wake_everybody() {
        let commits = Commits::new(at(0));
        let (mut any, mut points, mut actions) =
            (commits.follow_any(), commits.follow_kind(kind("points")), commits.follow_kind(kind("actions")));
        let committed = commits.subscriber();
        let wakes: [&dyn Fn(); 2] = [&|| committed(at(1), &Touched::All), &|| commits.wake_all()];
        for wake in wakes {
            wake();
            assert!(any.has_changed().expect("somebody may still commit"));
            any.mark_unchanged();
            assert!(is_woken(&mut points) && is_woken(&mut actions));
        }
    }
}
