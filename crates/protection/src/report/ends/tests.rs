//! Which actions are counted, how often, and whose last ends are kept.

use std::sync::Arc;

use keelson_catalog::{Actor, Class, DataDir, Expect};
use keelson_crypto::CatalogKey;
use keelson_model::ManualClock;
use keelson_resources::KindInfo;
use serde_json::{Value, json};

use super::*;
use crate::history;
use crate::records::Record;

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(hour * 3600).unwrap()
}

fn protected(application: &str) -> Protected {
    let policy = ("kasten-io".to_owned(), "nightly".to_owned());
    Protected { policy, application: application.to_owned() }
}

fn action(kind: &KindInfo, name: &str, state: &str, end: Option<i64>) -> Record {
    let mut action = Record::new(kind, "shop", name, at(0), Class::Local);
    action.body.status = json!({ "state": state });
    if let Some(end) = end {
        action.body.status["startTime"] = json!(at(end - 1));
        action.body.status["endTime"] = json!(at(end));
    }
    for (label, value) in [
        (label::APP_NAMESPACE, "shop"),
        (label::POLICY_NAME, "nightly"),
        (label::POLICY_NAMESPACE, "kasten-io"),
    ] {
        action.labels.insert(label.to_owned(), value.to_owned());
    }
    action
}

/// Those that went to the history too, which nobody is served any more.
#[test]
fn actions_are_counted_by_how_they_ended_in_the_span() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(at(0)));
    let data = DataDir::open(directory.path(), clock).unwrap();
    let catalog = data.create_first(&CatalogKey::generate(), b"").unwrap();
    let commit = |changes| catalog.commit(&Actor::new("test"), changes).unwrap();
    let put = |record: &Record| commit(vec![record.put(Expect::Absent)]);
    let (backup, batch) = (kinds::backup_action(), kinds::batch_restore_action());
    for record in [
        action(backup, "before", "Complete", Some(10)),
        action(backup, "first", "Complete", Some(11)),
        action(backup, "failed", "Failed", Some(20)),
        action(backup, "cancelled", "Cancelled", Some(19)),
        action(backup, "skipped", "Skipped", Some(33)),
        action(backup, "after", "Complete", Some(35)),
        action(backup, "running", "Running", None),
        action(kinds::export_action(), "export", "Complete", Some(12)),
        action(batch, "batch", "Complete", Some(34)),
    ] {
        put(&record);
    }
    let mut elsewhere = action(backup, "elsewhere", "Complete", Some(9));
    elsewhere.labels.insert(label::APP_NAMESPACE.to_owned(), "gone".to_owned());
    put(&elsewhere);
    let mut old = action(backup, "old", "Complete", Some(13));
    old.revision = Some(put(&old));
    commit(history::moving(&old));

    let span = Span::before(at(34), 1, 0);
    let wanted = [protected("shop"), protected("new")];
    let ends = read(&catalog, span, HashSet::from(wanted)).unwrap();
    let counts = json!(ends.counts);
    let of = |completed: u64, failed: u64, cancelled: u64, skipped: u64| -> Value {
        json!({ "completed": completed, "failed": failed, "cancelled": cancelled, "skipped": skipped })
    };
    let expected =
        json!({ "backup": of(2, 1, 1, 1), "batchRestore": of(1, 0, 0, 0), "export": of(1, 0, 0, 0) });
    assert_eq!(counts, expected);

    let last = ends.last(("kasten-io", "nightly"), "shop");
    let end = |hour: i64, state| Some(End { began: at(hour - 1), at: at(hour), state });
    assert_eq!(last.backup, end(20, ActionState::Failed));
    assert_eq!(last.export, end(12, ActionState::Complete));
    for (policy, application) in [(("shop", "nightly"), "shop"), (("kasten-io", "nightly"), "new")] {
        assert_eq!(ends.last(policy, application), Last::default(), "{application}");
    }
    assert_eq!(ends.last.len(), 2, "nothing is kept of what is protected no longer");
}

/// It was read where it was served, and again in the history, to which it had gone before that was read.
#[test]
fn an_action_that_goes_to_the_history_meanwhile_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = DataDir::open(directory.path(), Arc::new(ManualClock::new(at(0)))).unwrap();
    let catalog = data.create_first(&CatalogKey::generate(), b"").unwrap();
    let moved = action(kinds::backup_action(), "moved", "Complete", Some(11));
    let arrived = history::moving(&moved).pop().expect("the row of the history");
    catalog.commit(&Actor::new("test"), vec![moved.put(Expect::Absent), arrived]).unwrap();
    let ends = read(&catalog, Span::before(at(34), 1, 0), HashSet::from([protected("shop")])).unwrap();
    assert_eq!(ends.counts["backup"].completed, 1);
}
