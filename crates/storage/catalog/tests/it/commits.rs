//! What a commit promises.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use keelson_catalog::limits::{BODY_BYTES_MAX, TEXT_BYTES_MAX};
use keelson_catalog::{Change, Class, CommitError, Expect, RowFault, RowKey};
use keelson_model::{Classified, ErrorClass, Generation, Sequence};

use crate::fixture::{
    ACTIONS, Fixture, POINTS, actor, delete, key, kind, labelled, put, row, row_in, with_body,
};

#[test]
fn a_row_reads_back_as_it_was_put() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let row = labelled(row("a"), &[("k10.kasten.io/appName", "shop"), ("empty", "")]);
    let revision = put(&database, row.clone());
    let stored = database.read(&key("a")).unwrap().unwrap();
    assert_eq!((stored.row, stored.revision), (row, revision));
    assert_eq!(database.head().revision, revision);
    assert_eq!(database.read(&key("b")).unwrap(), None);
}

#[test]
fn bodies_of_every_size_read_back() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    for size in [0, 1, 31, 32, 33, 1000, 70_000, BODY_BYTES_MAX] {
        let mut row = row("a");
        row.body = (0..size).map(|at| (at * 31 % 251) as u8).collect();
        put(&database, row.clone());
        assert_eq!(database.read(&key("a")).unwrap().unwrap().row.body, row.body, "{size}");
    }
}

#[test]
fn each_commit_is_one_entry_with_the_next_sequence_number() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    for expected in 1..=3 {
        let changes =
            vec![Change::put(row(&format!("a{expected}"))), Change::put(row(&format!("b{expected}")))];
        assert_eq!(database.commit(&actor(), changes).unwrap().sequence(), Sequence(expected));
    }
    let entries = database.entries(Sequence(1), usize::MAX).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].actor, actor());
    assert_eq!(entries[0].changes.len(), 2);
    assert_eq!(entries[1].chain, database.head().chain);
}

#[test]
fn a_commit_that_changes_nothing_leaves_no_entry() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let revision = put(&database, row("a"));
    assert_eq!(put(&database, row("a")), revision);
    assert_eq!(delete(&database, key("b")), revision);
    assert_eq!(database.commit(&actor(), Vec::new()).unwrap(), revision);
    assert_eq!(database.entries(Sequence(0), usize::MAX).unwrap().len(), 1);
}

#[test]
fn an_expectation_that_does_not_hold_undoes_the_whole_commit() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let seen = put(&database, row("a"));
    put(&database, with_body(row("a"), "newer"));
    let before = database.head();
    for change in [
        Change::create(row("a")),
        Change::update(with_body(row("a"), "stale"), seen),
        Change::Put { row: row("absent"), expect: Expect::Present },
        Change::Delete { key: key("a"), expect: Expect::At(seen) },
        Change::Delete { key: key("absent"), expect: Expect::Present },
    ] {
        let error = database.commit(&actor(), vec![Change::put(row("other")), change]).unwrap_err();
        assert!(matches!(error, CommitError::Conflict { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Conflict);
    }
    assert_eq!(database.head(), before);
    assert_eq!(database.read(&key("other")).unwrap(), None);
    database.verify_digests().unwrap();
}

#[test]
fn a_conflict_says_what_was_found() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    put(&database, row("a"));
    let error = database.commit(&actor(), vec![Change::create(row("a"))]).unwrap_err();
    let found = database.head().revision;
    assert_eq!(
        error.to_string(),
        format!("restorepoints.apps.kio.kasten.io 'shop/a' is at revision {found}, expected absent")
    );
}

#[test]
fn what_cannot_be_stored_is_refused_by_name() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let mut large = row("a");
    large.body = vec![0; BODY_BYTES_MAX + 1];
    let mut labels = row("a");
    labels.labels = (0..300).map(|number| (number.to_string(), String::new())).collect();
    for (change, why) in [
        (Change::put(row("")), RowFault::Nameless),
        (Change::put(row(&long)), RowFault::TextTooLong),
        (Change::put(labelled(row("a"), &[(&long, "")])), RowFault::TextTooLong),
        (Change::put(large), RowFault::BodyTooLarge),
        (Change::put(labels), RowFault::TooManyLabels),
        (Change::put(row_in("steps", "run", "a", Class::Local)), RowFault::ReservedKind),
        (Change::delete(RowKey::new(kind(""), "", "a")), RowFault::Nameless),
        (Change::RecordStep { run: String::new(), step: "a".into(), result: vec![] }, RowFault::Nameless),
    ] {
        match database.commit(&actor(), vec![change]).unwrap_err() {
            CommitError::Refuse { why: found, .. } => assert_eq!(found, why),
            other => panic!("{other}"),
        }
    }
    let twice = vec![Change::put(row("a")), Change::delete(key("a"))];
    let error = database.commit(&actor(), twice).unwrap_err();
    assert!(matches!(error, CommitError::Refuse { why: RowFault::Twice, .. }), "{error}");
}

#[test]
fn a_commit_larger_than_an_entry_is_refused_whole() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let incompressible = |seed: u64| {
        let mut state = seed | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
    };
    let large = |number: u64| {
        let mut row = row(&format!("a{number}"));
        row.body = incompressible(number + 1).take(BODY_BYTES_MAX).collect();
        Change::put(row)
    };
    let error = database.commit(&actor(), vec![large(0), large(1), large(2)]).unwrap_err();
    assert!(matches!(error, CommitError::TooLarge { .. }), "{error}");
    assert_eq!(database.count(&kind(POINTS)).unwrap(), 0);
    database.commit(&actor(), vec![large(0)]).unwrap();
}

#[test]
fn a_thousand_concurrent_commits_each_get_their_own_entry() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        for thread in 0..50 {
            let (database, sender) = (database.clone(), sender.clone());
            scope.spawn(move || {
                for number in 0..20 {
                    sender.send(put(&database, row(&format!("{thread}-{number}")))).unwrap();
                }
            });
        }
    });
    drop(sender);
    let mut sequences: Vec<_> = receiver.iter().map(|revision| revision.sequence().0).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=1000).collect::<Vec<_>>());
    assert_eq!(database.count(&kind(POINTS)).unwrap(), 1000);
    database.verify_digests().unwrap();
    database.verify_chain().unwrap();
}

#[test]
fn conflicts_in_a_group_leave_the_other_commits_alone() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let (sender, receiver) = channel();
    // All of them wait behind the first, so that they share transactions.
    for number in 0..200 {
        let sender = sender.clone();
        let name = if number % 2 == 0 { "contended".to_owned() } else { number.to_string() };
        let done = Box::new(move |outcome: Result<_, CommitError>| sender.send((number, outcome)).unwrap());
        database.commit_with(&actor(), vec![Change::create(row(&name))], done);
    }
    drop(sender);
    let won: Vec<_> =
        receiver.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(number, _)| number).collect();
    assert_eq!(won.len(), 101);
    assert_eq!(won.iter().filter(|number| *number % 2 == 0).count(), 1);
    assert_eq!(database.head().revision.sequence(), Sequence(101));
    database.verify_digests().unwrap();
    database.verify_chain().unwrap();
}

#[test]
fn subscribers_hear_of_the_head_until_they_leave() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let heard = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let subscription = {
        let heard = Arc::clone(&heard);
        database.subscribe(Box::new(move |head, _| {
            heard.store(head.as_u64(), Ordering::SeqCst);
            sender.lock().unwrap().send(head).unwrap();
        }))
    };
    let revision = put(&database, row("a"));
    assert_eq!(receiver.recv().unwrap(), revision);
    drop(subscription);
    put(&database, row("b"));
    put(&database, row("c"));
    assert_eq!(heard.load(Ordering::SeqCst), revision.as_u64());
}

#[test]
fn subscribers_hear_whom_a_head_concerns() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let _subscription = database.subscribe(Box::new(move |head, touched| {
        let concerned = [POINTS, ACTIONS].map(|of| touched.concerns(&kind(of)));
        sender.lock().unwrap().send((head, concerned)).unwrap();
    }));
    let head = put(&database, row("a"));
    assert_eq!(receiver.recv().unwrap(), (head, [true, false]));
    let head = delete(&database, key("a"));
    assert_eq!(receiver.recv().unwrap(), (head, [true, false]));
    let both = [POINTS, ACTIONS].map(|of| Change::put(row_in(of, "shop", "b", Class::Local)));
    let head = database.commit(&actor(), both.into()).unwrap();
    assert_eq!(receiver.recv().unwrap(), (head, [true, true]));
    let step = Change::RecordStep { run: "run".into(), step: "export".into(), result: Vec::new() };
    let head = database.commit(&actor(), vec![step]).unwrap();
    assert_eq!(receiver.recv().unwrap(), (head, [false, false]));
    let head = database.open_generation(Generation(5), &actor()).unwrap();
    assert_eq!(receiver.recv().unwrap(), (head, [true, true]), "whoever follows any kind has to begin anew");
}

#[test]
fn the_last_handle_may_be_dropped_by_a_callback() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    let (sender, receiver) = channel();
    let last = Mutex::new(Some(database.clone()));
    let done = Box::new(move |outcome| {
        drop(last.lock().unwrap().take());
        sender.send(outcome).unwrap();
    });
    let database_of_caller = database;
    database_of_caller.commit_with(&actor(), vec![Change::put(row("a"))], done);
    drop(database_of_caller);
    receiver.recv().unwrap().unwrap();
    // The thread closes its connection on its own; another handle may be opened meanwhile.
    let again = data_dir.open_current(&fixture.key).unwrap();
    assert!(again.read(&key("a")).unwrap().is_some());
}

#[test]
fn steps_are_kept_in_order_until_they_are_dropped() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let record = |run: &str, step: &str| {
        let change =
            Change::RecordStep { run: run.into(), step: step.into(), result: step.as_bytes().to_vec() };
        database.commit(&actor(), vec![change]).unwrap();
    };
    for step in ["snapshot", "export", "commit"] {
        record("run-1", step);
    }
    record("run-2", "snapshot");
    record("run-1", "export");
    let names = |run| database.steps(run).unwrap().into_iter().map(|step| step.name).collect::<Vec<_>>();
    assert_eq!(names("run-1"), ["snapshot", "export", "commit"]);
    assert_eq!(database.steps("run-1").unwrap()[0].result, b"snapshot");
    database.commit(&actor(), vec![Change::DropSteps { run: "run-1".into() }]).unwrap();
    assert_eq!(names("run-1"), [""; 0]);
    assert_eq!(names("run-2"), ["snapshot"]);
    database.verify_digests().unwrap();
}
