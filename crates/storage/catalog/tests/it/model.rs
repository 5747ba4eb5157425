//! A catalog against a map: whatever is done, both say the same, and so does what was shipped.

use std::collections::BTreeMap;

use keelson_catalog::{
    Change, Class, CommitError, DataDir, Database, EventKind, Expect, Labels, Query, RebuildError, Row,
    RowKey, Scope,
};
use keelson_model::{Generation, Revision, Sequence};
use proptest::prelude::*;

use crate::fixture::{ACTIONS, Fixture, POINTS, actor, created, kind};
use crate::shipping::{base, segments};

#[derive(Debug, Clone)]
enum Expectation {
    Any,
    Absent,
    Present,
    Current,
    Stale,
}

#[derive(Debug, Clone)]
struct Edit {
    key: (usize, usize, usize),
    /// Deletes where there is none.
    content: Option<(usize, u8, Vec<u8>)>,
    expectation: Expectation,
}

#[derive(Debug, Clone)]
enum Act {
    Commit(Vec<Edit>),
    Reopen,
    Base,
}

fn edits() -> impl Strategy<Value = Edit> {
    let expectation = prop_oneof![
        6 => Just(Expectation::Any),
        1 => Just(Expectation::Absent),
        1 => Just(Expectation::Present),
        2 => Just(Expectation::Current),
        1 => Just(Expectation::Stale),
    ];
    let content = (0..3_usize, 0..3_u8, prop::collection::vec(any::<u8>(), 0..80));
    ((0..2_usize, 0..2_usize, 0..4_usize), prop::option::weighted(0.75, content), expectation)
        .prop_map(|(key, content, expectation)| Edit { key, content, expectation })
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => prop::collection::vec(edits(), 1..5).prop_map(Act::Commit),
        1 => Just(Act::Reopen),
        1 => Just(Act::Base),
    ];
    prop::collection::vec(act, 1..40)
}

type Rows = BTreeMap<RowKey, (Row, Revision)>;

fn row_key((of, namespace, name): (usize, usize, usize)) -> RowKey {
    RowKey::new(kind([POINTS, ACTIONS][of]), ["", "shop"][namespace], format!("row-{name}"))
}

fn change(edit: &Edit, rows: &Rows) -> Change {
    let key = row_key(edit.key);
    let found = rows.get(&key).map(|(_, revision)| *revision);
    let expect = match (&edit.expectation, found) {
        (Expectation::Any, _) => Expect::Any,
        (Expectation::Absent, _) => Expect::Absent,
        (Expectation::Present, _) => Expect::Present,
        (Expectation::Current, Some(revision)) => Expect::At(revision),
        (Expectation::Current, None) => Expect::Absent,
        (Expectation::Stale, _) => Expect::At(Revision::new(Generation(0), Sequence(1))),
    };
    let Some((class, label, body)) = edit.content.clone() else { return Change::Delete { key, expect } };
    let labels = Labels::from_iter((0..label).map(|number| (format!("label-{number}"), label.to_string())));
    let RowKey { kind, namespace, name } = key;
    let uid = format!("uid-{name}");
    let class = [Class::Configuration, Class::Local, Class::Derived][class];
    Change::Put { row: Row { kind, namespace, name, uid, labels, created: created(), class, body }, expect }
}

/// What the map makes of a commit: the new rows, or that it must not happen.
fn predict(rows: &Rows, changes: &[Change], next: Revision) -> Option<Rows> {
    let mut after = rows.clone();
    let mut named = Vec::new();
    for change in changes {
        let (key, expect) = match change {
            Change::Put { row, expect } => (row.key(), *expect),
            Change::Delete { key, expect } => (key.clone(), *expect),
            _ => unreachable!(),
        };
        let found = after.get(&key).map(|(_, revision)| *revision);
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::At(revision) => found == Some(revision),
        };
        if !holds || named.contains(&key) {
            return None;
        }
        named.push(key.clone());
        match change {
            Change::Put { row, .. } if after.get(&key).map(|(row, _)| row) == Some(row) => {}
            Change::Put { row, .. } => drop(after.insert(key, (row.clone(), next))),
            _ => drop(after.remove(&key)),
        }
    }
    Some(after)
}

fn stored(database: &Database) -> Rows {
    let mut rows = Rows::new();
    for of in [POINTS, ACTIONS] {
        let mut query = Query::all(kind(of), 3);
        let before = rows.len();
        let mut announced = None;
        loop {
            let page = database.list(&query).unwrap();
            announced = announced.or(page.remaining.map(|remaining| page.rows.len() as u64 + remaining));
            rows.extend(page.rows.into_iter().map(|found| (found.row.key(), (found.row, found.revision))));
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        let listed = (rows.len() - before) as u64;
        assert_eq!((announced, database.count(&kind(of)).unwrap()), (Some(listed), listed));
    }
    rows
}

/// Follows a kind from the beginning and builds the rows from events alone.
fn watched(database: &Database) -> Rows {
    let mut rows = Rows::new();
    for of in [POINTS, ACTIONS] {
        let mut since = Revision::new(Generation(1), Sequence(0));
        loop {
            let changes = database.changes(&kind(of), None, since, 2).unwrap();
            for event in changes.events {
                let key = event.stored.row.key();
                let before = match event.kind {
                    EventKind::Deleted => rows.remove(&key),
                    EventKind::Added | EventKind::Modified => {
                        rows.insert(key, (event.stored.row, event.stored.revision))
                    }
                };
                assert_eq!(before.is_none(), event.kind == EventKind::Added);
                assert_eq!(before.map(|(row, _)| row.labels), event.before_labels);
            }
            since = changes.through;
            if changes.complete {
                break;
            }
        }
    }
    rows
}

fn assert_restores(fixture: &Fixture, database: &Database, base: &[u8], at: Sequence, scope: Scope) {
    let target = Fixture::new();
    let data_dir = target.data_dir();
    let mut rebuild = data_dir.begin_recovery(Generation(2), &fixture.key, b"").unwrap();
    rebuild.put_base(&mut &*base).unwrap();
    for segment in segments(database, at, scope, 600) {
        rebuild.apply_segment(&segment).unwrap();
    }
    let head = rebuild.head().unwrap();
    assert_eq!(head.digests.first_difference(&database.digests(), scope), None);
    assert_eq!(head.chain, database.head().chain);
    let prepared = rebuild.finish::<RebuildError>(&actor(), |_| Ok(())).unwrap();
    let expected: Rows =
        stored(database).into_iter().filter(|(_, (row, _))| scope.covers(row.class)).collect();
    assert_eq!(stored(prepared.database()), expected);
    prepared.database().verify_digests().unwrap();
}

fn reopen(fixture: &Fixture, open: (DataDir, Database)) -> (DataDir, Database) {
    drop(open);
    let data_dir = fixture.data_dir();
    let database = data_dir.open_current(&fixture.key).unwrap();
    (data_dir, database)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_catalog_says_what_a_map_says(acts in acts()) {
        let fixture = Fixture::new();
        let mut open = fixture.create();
        let mut rows = Rows::new();
        let scopes = [Scope::ConfigurationOnly, Scope::ConfigurationAndLocal];
        let mut bases = scopes.map(|scope| (base(&open.1, scope), Sequence(0)));
        for act in acts {
            match act {
                Act::Reopen => open = reopen(&fixture, open),
                Act::Base => {
                    let at = open.1.head().revision.sequence();
                    bases = scopes.map(|scope| (base(&open.1, scope), at));
                }
                Act::Commit(edits) => {
                    let changes: Vec<_> = edits.iter().map(|edit| change(edit, &rows)).collect();
                    let head = open.1.head().revision;
                    let next = Revision::new(head.generation(), Sequence(head.sequence().0 + 1));
                    match (predict(&rows, &changes, next), open.1.commit(&actor(), changes)) {
                        (Some(after), Ok(revision)) => {
                            prop_assert_eq!(revision, if after == rows { head } else { next });
                            rows = after;
                        }
                        (None, Err(CommitError::Conflict { .. } | CommitError::Refuse { .. })) => {
                            prop_assert_eq!(open.1.head().revision, head);
                        }
                        (expected, got) => prop_assert!(false, "expected {expected:?}, got {got:?}"),
                    }
                }
            }
            prop_assert_eq!(&stored(&open.1), &rows);
        }
        prop_assert_eq!(&watched(&open.1), &rows);
        open.1.verify_digests().unwrap();
        open.1.verify_chain().unwrap();
        for (scope, (base, at)) in scopes.into_iter().zip(&bases) {
            assert_restores(&fixture, &open.1, base, *at, scope);
        }
    }
}
