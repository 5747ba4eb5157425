//! What is left to do, a bounded part of it in hand, everybody in turn.
//!
//! Guarantees: every action on the list is taken once there is room for it, however many wait before it; runs and batches,
//! which only wait for their children, never take the room of what they wait for.

use std::collections::HashSet;

use keelson_catalog::{Database, PageKey, Query, ReadError};

use crate::actions::{self, Work};
use crate::kinds;

/// Actions of one lane in hand at once.
const IN_HAND_MAX: usize = 256;
const PAGE: usize = 500;
/// Pages of the list read in one look.
const PAGES_PER_LOOK: usize = 4;

/// Both lanes of the list.
#[derive(Debug)]
pub(crate) struct Backlog {
    lanes: [Lane; 2],
}

/// What a look at the list brought.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub work: Vec<Work>,
    /// There may be room for something that this look did not come to.
    pub more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Policy runs and batches.
    ForOthers,
    ForNobody,
}

#[derive(Debug)]
struct Lane {
    waits: Waits,
    in_hand: HashSet<String>,
    /// The last row that was looked at; a lap begins after it and ends there.
    after: Option<PageKey>,
}

impl Backlog {
    pub(crate) fn new() -> Self {
        let lane = |waits| Lane { waits, in_hand: HashSet::new(), after: None };
        Self { lanes: [lane(Waits::ForOthers), lane(Waits::ForNobody)] }
    }

    /// Takes what there is room for.
    pub(crate) fn take(&mut self, database: &Database) -> Result<Taken, ReadError> {
        let mut taken = Taken::default();
        for lane in &mut self.lanes {
            lane.take(database, &mut taken)?;
        }
        Ok(taken)
    }

    /// An action is no longer in hand, whether it has ended or not.
    pub(crate) fn let_go(&mut self, uid: &str) {
        for lane in &mut self.lanes {
            lane.in_hand.remove(uid);
        }
    }
}

impl Lane {
    fn take(&mut self, database: &Database, taken: &mut Taken) -> Result<(), ReadError> {
        let whole_lap = self.after.is_none();
        for _ in 0..PAGES_PER_LOOK {
            let query = Query { after: self.after.clone(), ..Query::all(actions::work_kind(), PAGE) };
            let page = database.list(&query)?;
            for stored in &page.rows {
                if self.in_hand.len() >= IN_HAND_MAX {
                    return Ok(());
                }
                let row = &stored.row;
                self.after = Some(PageKey { namespace: row.namespace.clone(), name: row.name.clone() });
                let Ok(work) = serde_json::from_slice::<Work>(&row.body) else { continue };
                if waits(&work) == self.waits && self.in_hand.insert(work.uid.clone()) {
                    taken.work.push(work);
                }
            }
            self.after = page.next;
            if self.after.is_none() {
                taken.more |= !whole_lap;
                return Ok(());
            }
        }
        taken.more = true;
        Ok(())
    }
}

/// Whether it only waits for its children. In the slots of what works it could be in the way of these.
pub(super) fn waits_for_others(work: &Work) -> bool {
    [kinds::run_action(), kinds::batch_restore_action()].iter().any(|kind| work.kind == kind.row_kind())
}

fn waits(work: &Work) -> Waits {
    if waits_for_others(work) { Waits::ForOthers } else { Waits::ForNobody }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use jiff::Timestamp;
    use keelson_catalog::{Actor, Class, DataDir};
    use keelson_crypto::CatalogKey;
    use keelson_model::ManualClock;
    use serde_json::Value;

    use super::*;
    use crate::records::Record;
    use crate::requester::Requester;

    fn submit(database: &Database, kind: &'static keelson_resources::KindInfo, uids: &[String]) {
        let changes = |uid: &String| {
            let mut action = Record::new(kind, "shop", uid, Timestamp::UNIX_EPOCH, Class::Local);
            action.uid.clone_from(uid);
            actions::submit(action, &Requester::Platform, Value::Null)
        };
        for some in uids.chunks(PAGE) {
            database.commit(&Actor::new("test"), some.iter().flat_map(changes).collect()).unwrap();
        }
    }

    /// Only the first 500 rows of the list were read, and runs that wait for their children stay among them.
    #[test]
    fn what_waits_behind_many_runs_is_taken_and_every_run_has_its_turn() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let data = DataDir::open(directory.path(), clock).unwrap();
        let database = data.create_first(&CatalogKey::generate(), b"").unwrap();
        let runs: Vec<String> = (0..2 * PAGE * PAGES_PER_LOOK).map(|at| format!("{at:05}")).collect();
        submit(&database, kinds::run_action(), &runs);
        submit(&database, kinds::backup_action(), &["zz".to_owned()]);

        let mut backlog = Backlog::new();
        let mut seen = BTreeSet::new();
        let mut backup_at = None;
        for look in 0..40 {
            let taken = backlog.take(&database).unwrap();
            assert!(taken.work.len() <= 2 * IN_HAND_MAX);
            for work in taken.work {
                if work.uid == "zz" {
                    backup_at = Some(look);
                } else {
                    // It ends for now, but stays on the list: the others must still have their turn.
                    backlog.let_go(&work.uid);
                    seen.insert(work.uid);
                }
            }
        }
        assert!(backup_at.is_some_and(|look| look <= 3), "{backup_at:?}");
        assert!(seen.iter().eq(&runs));
    }

    #[test]
    fn a_look_that_began_in_the_middle_asks_for_another() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let data = DataDir::open(directory.path(), clock).unwrap();
        let database = data.create_first(&CatalogKey::generate(), b"").unwrap();
        let uids: Vec<String> = (0..=IN_HAND_MAX).map(|at| format!("{at:05}")).collect();
        submit(&database, kinds::backup_action(), &uids);
        let mut backlog = Backlog::new();
        assert_eq!(backlog.take(&database).unwrap().work.len(), IN_HAND_MAX);
        assert_eq!(backlog.take(&database).unwrap().work.len(), 0);
        submit(&database, kinds::backup_action(), &["00000a".to_owned()]);
        backlog.let_go("00007");
        backlog.let_go("00008");
        let taken = backlog.take(&database).unwrap();
        let uids: Vec<_> = taken.work.iter().map(|work| work.uid.as_str()).collect();
        assert_eq!((uids, taken.more), (vec!["00256"], true));
        let taken = backlog.take(&database).unwrap();
        let uids: Vec<_> = taken.work.iter().map(|work| work.uid.as_str()).collect();
        assert_eq!(uids, ["00000a"]);
    }
}
