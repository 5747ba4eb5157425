//! Changes since a revision.

use std::sync::atomic::{AtomicBool, Ordering};

use keelson_catalog::limits::{WATCH_WINDOW_AGE, WATCH_WINDOW_ENTRIES};
use keelson_catalog::{Change, Class, Database, Event, EventKind, Quiet, ReadError};
use keelson_model::{Classified, Generation, Revision, Sequence};

use crate::fixture::{
    ACTIONS, Fixture, POINTS, actor, delete, key, kind, labelled, put, row, row_in, with_body,
};

fn start() -> Revision {
    Revision::new(Generation(1), Sequence(0))
}

fn at(sequence: u64) -> Revision {
    Revision::new(Generation(1), Sequence(sequence))
}

fn unknown(since: Revision) -> Quiet {
    Quiet { through: since, complete: false }
}

fn through_head(through: Revision) -> Quiet {
    Quiet { through, complete: true }
}

fn events(database: &Database, since: Revision) -> Vec<Event> {
    database.changes(&kind(POINTS), None, since, usize::MAX).unwrap().events
}

#[test]
fn events_tell_what_was_and_what_is() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    put(&database, labelled(row("a"), &[("x", "1")]));
    put(&database, with_body(labelled(row("a"), &[("x", "1")]), "second"));
    put(&database, with_body(labelled(row("a"), &[("x", "2")]), "third"));
    delete(&database, key("a"));
    let events = events(&database, start());
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Added, EventKind::Modified, EventKind::Modified, EventKind::Deleted]);
    let before: Vec<_> =
        events.iter().map(|event| event.before_labels.as_ref().map(|labels| labels["x"].clone())).collect();
    assert_eq!(before, [None, Some("1".into()), Some("1".into()), Some("2".into())]);
    assert_eq!(events[3].stored.row.body, b"third");
    let revisions: Vec<_> = events.iter().map(|event| event.stored.revision).collect();
    assert_eq!(revisions, [at(1), at(2), at(3), at(4)]);
}

#[test]
fn a_row_that_changes_its_class_is_modified_once() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    put(&database, row_in(POINTS, "shop", "a", Class::Local));
    let revision = put(&database, row_in(POINTS, "shop", "a", Class::Configuration));
    let events = events(&database, at(1));
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].kind, events[0].stored.revision), (EventKind::Modified, revision));
    database.verify_digests().unwrap();
}

#[test]
fn changes_keep_to_kind_and_namespace() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let changes = vec![
        Change::put(row_in(POINTS, "shop", "a", Class::Local)),
        Change::put(row_in(POINTS, "bank", "a", Class::Derived)),
        Change::put(row_in(ACTIONS, "shop", "a", Class::Configuration)),
    ];
    database.commit(&actor(), changes).unwrap();
    let count = |of: &str, namespace| {
        database.changes(&kind(of), namespace, start(), usize::MAX).unwrap().events.len()
    };
    assert_eq!((count(POINTS, None), count(POINTS, Some("shop")), count(POINTS, Some("none"))), (2, 1, 0));
    assert_eq!(count(ACTIONS, None), 1);
}

#[test]
fn a_limit_ends_between_entries_and_the_rest_follows() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    for number in 0..10 {
        let rows = ["a", "b", "c"].map(|name| Change::put(row(&format!("{name}{number}"))));
        database.commit(&actor(), rows.into()).unwrap();
    }
    let (mut since, mut seen) = (start(), Vec::new());
    loop {
        let changes = database.changes(&kind(POINTS), None, since, 4).unwrap();
        assert_eq!(changes.events.len() % 3, 0);
        seen.extend(changes.events.iter().map(|event| event.stored.row.name.clone()));
        since = changes.through;
        if changes.complete {
            break;
        }
    }
    assert_eq!(seen.len(), 30);
    assert_eq!(since, database.head().revision);
}

#[test]
fn a_watcher_sees_each_change_once_in_order_while_others_commit() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let finished = AtomicBool::new(false);
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let database = database.clone();
                scope.spawn(move || {
                    for number in 0..50 {
                        put(&database, with_body(row(&format!("w{writer}")), &number.to_string()));
                    }
                })
            })
            .collect();
        let watcher = scope.spawn(|| {
            let (mut since, mut seen) = (start(), Vec::new());
            loop {
                let last = finished.load(Ordering::SeqCst);
                let changes = database.changes(&kind(POINTS), None, since, 3).unwrap();
                since = changes.through;
                seen.extend(changes.events);
                if last && changes.complete {
                    return seen;
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        finished.store(true, Ordering::SeqCst);
        seen = watcher.join().unwrap();
    });
    let revisions: Vec<_> = seen.iter().map(|event| event.stored.revision.sequence().0).collect();
    assert_eq!(revisions, (1..=200).collect::<Vec<_>>());
    for writer in 0..4 {
        let bodies: Vec<_> = seen
            .iter()
            .filter(|event| event.stored.row.name == format!("w{writer}"))
            .map(|event| String::from_utf8(event.stored.row.body.clone()).unwrap())
            .collect();
        assert_eq!(bodies, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

/// What it says is never more than what a read finds.
#[test]
fn a_kind_is_quiet_until_it_changes() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let of = |kind: &str| row_in(kind, "", "one", Class::Local);
    let quiet = |of: &str, since| database.quiet_after(&kind(of), since);
    let before = database.head().revision;
    let after_points = put(&database, of(POINTS));
    assert_eq!(quiet(POINTS, before), unknown(before), "it has changed since");
    assert_eq!(quiet(ACTIONS, before), through_head(after_points));
    let after_actions = put(&database, of(ACTIONS));
    assert_eq!(quiet(POINTS, after_points), through_head(after_actions));
    let changes = database.changes(&kind(POINTS), None, after_points, 10).unwrap();
    assert_eq!((changes.events.len(), changes.through), (0, after_actions), "as it says");
    let deleted = delete(&database, of(POINTS).key());
    assert_eq!(quiet(POINTS, after_actions), unknown(after_actions));
    assert_eq!(quiet(POINTS, deleted), through_head(deleted));
    let ahead = at(deleted.sequence().0 + 1);
    assert_eq!(quiet(POINTS, ahead), unknown(ahead), "nothing is known of what is to come");
}

/// A watch that is woken by the first change after many of other kinds need not look for it through all of those.
#[test]
fn a_kind_that_has_changed_is_known_to_have_been_quiet_before() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let changed = |of: &str, body: &str| put(&database, with_body(row_in(of, "", "one", Class::Local), body));
    let until_changed = |through| Quiet { through, complete: false };
    let opened = database.head().revision;
    let first_action = changed(ACTIONS, "first");
    let first = changed(POINTS, "first");
    let [.., quiet_through] = ["second", "third", "fourth"].map(|body| changed(ACTIONS, body));
    let second = changed(POINTS, "second");
    let quiet = |since| database.quiet_after(&kind(POINTS), since);
    for since in [first, at(first.sequence().0 + 1), quiet_through] {
        assert_eq!(quiet(since), until_changed(quiet_through), "after {since}");
        let changes = database.changes(&kind(POINTS), None, quiet(since).through, 10).unwrap();
        assert_eq!(changes.events.len(), 1, "after {since}");
    }
    for since in [opened, first_action] {
        assert_eq!(quiet(since), unknown(since), "it has changed twice since {since}");
    }
    assert_eq!(quiet(second), through_head(second));
}

/// What happened before a process began is not known to it.
#[test]
fn no_kind_is_quiet_from_before_the_catalog_was_opened() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    let before = database.head().revision;
    let head = put(&database, row_in(ACTIONS, "", "one", Class::Local));
    drop((database, data_dir));
    let data_dir = fixture.data_dir();
    let database = data_dir.open_current(&fixture.key).unwrap();
    let quiet = |since| database.quiet_after(&kind(POINTS), since);
    assert_eq!((quiet(before), quiet(head)), (unknown(before), through_head(head)));
    put(&database, row_in(POINTS, "", "one", Class::Local));
    assert_eq!(quiet(before), unknown(before));
}

#[test]
fn a_revision_ahead_of_the_catalog_is_said_to_be() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    put(&database, row("a"));
    for since in [at(2), Revision::new(Generation(2), Sequence(0))] {
        let error = database.changes(&kind(POINTS), None, since, 10).unwrap_err();
        assert!(matches!(error, ReadError::AheadOfUs { .. }), "{error}");
        assert_eq!(error.code(), "catalog.read.ahead");
    }
}

#[test]
fn a_watch_behind_the_cut_or_of_an_older_generation_has_expired() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let total = WATCH_WINDOW_ENTRIES + 100;
    let (sender, receiver) = std::sync::mpsc::channel();
    for number in 0..total {
        let sender = sender.clone();
        let change = Change::put(with_body(row("a"), &number.to_string()));
        let done = Box::new(move |outcome: Result<_, _>| sender.send(outcome.unwrap()).unwrap());
        database.commit_with(&actor(), vec![change], done);
        if number % 500 == 0 {
            // Lets the queue run empty.
            put(&database, row("b"));
        }
    }
    drop(sender);
    assert_eq!(receiver.iter().count() as u64, total);
    let head = database.head().revision.sequence();
    let written = database.entries(Sequence(head.0 - 1), 1).unwrap()[0].at;
    assert_eq!(database.watch_window_start(written).unwrap(), Sequence(0), "all of it is young");
    let window = database.watch_window_start(written + WATCH_WINDOW_AGE).unwrap();
    assert_eq!(window.0, head.0 - WATCH_WINDOW_ENTRIES, "what is old goes, but for so many entries");
    let cut = database.cut_prefix(window).unwrap();
    assert_eq!(cut, window);
    assert_eq!(database.cut_prefix(Sequence(1)).unwrap(), cut, "a cut never goes back");
    for since in [at(cut.0 - 1), start(), Revision::new(Generation(0), Sequence::MAX)] {
        let error = database.changes(&kind(POINTS), None, since, 10).unwrap_err();
        assert!(matches!(error, ReadError::Expired { .. }), "{error}");
    }
    assert!(database.changes(&kind(POINTS), None, at(cut.0), 10).is_ok());
    assert!(matches!(database.check_since(at(cut.0 - 1)).unwrap_err(), ReadError::Expired { .. }));
    database.check_since(at(cut.0)).unwrap();
    assert!(database.has_changed(&kind(POINTS), None, at(cut.0)).unwrap());
    assert!(!database.has_changed(&kind(ACTIONS), None, at(cut.0)).unwrap());
    database.verify_chain().unwrap();
    database.verify_digests().unwrap();
}

#[test]
fn the_newest_entry_is_never_cut() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    for name in ["a", "b", "c"] {
        put(&database, row(name));
    }
    let head = database.head().revision.sequence();
    assert_eq!(database.cut_prefix(Sequence::MAX).unwrap().0, head.0 - 1);
    assert_eq!(events(&database, at(head.0 - 1)).len(), 1);
    drop(database);
    assert_eq!(data_dir.open_current(&fixture.key).unwrap().head().revision.sequence(), head);
}
