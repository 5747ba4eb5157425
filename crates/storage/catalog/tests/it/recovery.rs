//! From a base and segments to a new generation.

use std::time::Duration;

use keelson_catalog::{
    BaseHeader, Change, Class, CommitError, DataDir, Database, Head, Prepared, Query, ReadError, Rebuild,
    RebuildError, Scope, Until,
};
use keelson_model::{Classified, Clock, ErrorClass, Generation, Revision, Sequence};

use crate::fixture::{
    ACTIONS, Fixture, POINTS, actor, delete, key, kind, labelled, put, row, row_in, with_body,
};
use crate::shipping::{base, segments};

const SCOPES: [Scope; 2] = [Scope::ConfigurationOnly, Scope::ConfigurationAndLocal];

fn begin(fixture: &Fixture, target: &Fixture, generation: u32) -> (DataDir, Rebuild) {
    let data_dir = target.data_dir();
    let rebuild = data_dir.begin_recovery(Generation(generation), &fixture.key, b"rewrapped").unwrap();
    (data_dir, rebuild)
}

fn finish(rebuild: Rebuild) -> Prepared {
    rebuild.finish::<RebuildError>(&actor(), |_| Ok(())).unwrap()
}

fn dump(database: &Database, of: &str) -> Vec<keelson_catalog::Stored> {
    database.rows(Query::of(kind(of))).collect::<Result<_, _>>().unwrap()
}

/// Rows of every class, some of them changed, moved between classes and deleted after `base_at`.
fn live(database: &Database, from: usize, to: usize) {
    let classes = [Class::Configuration, Class::Local, Class::Derived];
    for number in from..to {
        let of = if number % 2 == 0 { POINTS } else { ACTIONS };
        let name = (number % 37).to_string();
        let class = classes[number / 7 % 3];
        let row = labelled(row_in(of, "shop", &name, class), &[("number", &number.to_string())]);
        if number % 11 == 10 {
            delete(database, row.key());
        } else {
            put(database, with_body(row, &"body ".repeat(number % 50)));
        }
    }
}

fn assert_same(source: &Head, restored: &Head, scope: Scope) {
    assert_eq!(source.digests.first_difference(&restored.digests, scope), None);
    assert_eq!((source.revision, source.chain), (restored.revision, restored.chain));
}

#[test]
fn base_and_segments_give_the_same_digests_in_both_modes() {
    for scope in SCOPES {
        let (source, target) = (Fixture::new(), Fixture::new());
        let (_data_dir, database) = source.create();
        live(&database, 0, 200);
        let base = base(&database, scope);
        let at = database.head().revision.sequence();
        live(&database, 200, 500);
        let segments = segments(&database, at, scope, 3_000);

        let (data_dir, mut rebuild) = begin(&source, &target, 2);
        rebuild.put_base(&mut base.as_slice()).unwrap();
        for segment in &segments {
            rebuild.apply_segment(segment).unwrap();
        }
        assert_same(&database.head(), &rebuild.head().unwrap(), scope);
        let restored = data_dir.switch(finish(rebuild)).unwrap();
        restored.verify_digests().unwrap();
        restored.verify_chain().unwrap();
        restored.check_file().unwrap();
        for of in [POINTS, ACTIONS] {
            let expected: Vec<_> =
                dump(&database, of).into_iter().filter(|stored| scope.covers(stored.row.class)).collect();
            assert_eq!(dump(&restored, of), expected);
        }
        let origin = restored.origin().unwrap().unwrap();
        assert_eq!((origin.revision, origin.chain), (database.head().revision, database.head().chain));
    }
}

#[test]
fn the_whole_chain_from_the_first_entry_restores_as_well() {
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    let empty = base(&database, Scope::ConfigurationAndLocal);
    live(&database, 0, 300);
    let (_target_dir, mut rebuild) = begin(&source, &target, 5);
    rebuild.put_base(&mut empty.as_slice()).unwrap();
    for segment in segments(&database, Sequence(0), Scope::ConfigurationAndLocal, 1 << 20) {
        rebuild.apply_segment(&segment).unwrap();
    }
    assert_same(&database.head(), &rebuild.head().unwrap(), Scope::ConfigurationAndLocal);
}

#[test]
fn a_quick_base_takes_the_segments_of_a_legacy_chain() {
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    live(&database, 0, 100);
    let base = base(&database, Scope::ConfigurationOnly);
    let at = database.head().revision.sequence();
    live(&database, 100, 200);
    let (_target_dir, mut rebuild) = begin(&source, &target, 2);
    rebuild.put_base(&mut base.as_slice()).unwrap();
    for segment in segments(&database, at, Scope::ConfigurationAndLocal, 1 << 20) {
        rebuild.apply_segment(&segment).unwrap();
    }
    assert_same(&database.head(), &rebuild.head().unwrap(), Scope::ConfigurationOnly);
}

#[test]
fn a_legacy_base_refuses_quick_segments() {
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    let base = base(&database, Scope::ConfigurationAndLocal);
    live(&database, 0, 20);
    let segment = segments(&database, Sequence(0), Scope::ConfigurationOnly, 1 << 20).remove(0);
    let (_target_dir, mut rebuild) = begin(&source, &target, 2);
    rebuild.put_base(&mut base.as_slice()).unwrap();
    let error = rebuild.apply_segment(&segment).unwrap_err();
    assert!(matches!(error, RebuildError::ScopeDiffers), "{error}");
}

#[test]
fn a_point_in_time_ends_within_a_segment() {
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    let base = base(&database, Scope::ConfigurationOnly);
    let mut heads = vec![];
    for number in 0..10 {
        put(&database, row(&number.to_string()));
        heads.push((source.clock.now(), database.head()));
        source.clock.advance(Duration::from_secs(1));
    }
    let segment = segments(&database, Sequence(0), Scope::ConfigurationOnly, 1 << 20).remove(0);
    let (_target_dir, mut rebuild) = begin(&source, &target, 2);
    rebuild.put_base(&mut base.as_slice()).unwrap();
    let (time, head) = heads[3];
    let reached = rebuild.apply_segment_until(&segment, Until::Time(time)).unwrap();
    assert_same(&head, &reached.head, Scope::ConfigurationOnly);
    assert!(reached.reached);
    let reached = rebuild.apply_segment_until(&segment, Until::Sequence(Sequence(7))).unwrap();
    assert_same(&heads[6].1, &reached.head, Scope::ConfigurationOnly);
    let reached = rebuild.apply_segment_until(&segment, Until::Sequence(Sequence(10))).unwrap();
    assert!(!reached.reached, "later segments may go on");
    let reached = rebuild.apply_segment(&segment).unwrap();
    assert_same(&database.head(), &reached, Scope::ConfigurationOnly);
}

#[test]
fn a_gap_between_segments_is_found() {
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    let base = base(&database, Scope::ConfigurationOnly);
    live(&database, 0, 30);
    let segments = segments(&database, Sequence(0), Scope::ConfigurationOnly, 1);
    let (_target_dir, mut rebuild) = begin(&source, &target, 2);
    let early = rebuild.apply_segment(&segments[0]).unwrap_err();
    assert!(matches!(early, RebuildError::Order), "{early}");
    rebuild.put_base(&mut base.as_slice()).unwrap();
    rebuild.apply_segment(&segments[0]).unwrap();
    let error = rebuild.apply_segment(&segments[2]).unwrap_err();
    assert_eq!(error.to_string(), "the segment begins at 1·3, expected 1·2");
    assert_eq!(error.class(), ErrorClass::Corrupt);
}

#[test]
fn a_segment_of_another_history_breaks_the_chain() {
    let (source, other, target) = (Fixture::new(), Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    let (_other_dir, _) = {
        let data_dir = other.data_dir();
        let stranger = data_dir.create_first(&source.key, b"").unwrap();
        put(&stranger, row("stranger"));
        let segment = segments(&stranger, Sequence(0), Scope::ConfigurationOnly, 1 << 20).remove(0);
        let base = base(&database, Scope::ConfigurationOnly);
        put(&database, row("a"));
        let ours = segments(&database, Sequence(0), Scope::ConfigurationOnly, 1 << 20).remove(0);
        put(&stranger, row("second"));
        let second = segments(&stranger, Sequence(1), Scope::ConfigurationOnly, 1 << 20).remove(0);

        let (_target_dir, mut rebuild) = begin(&source, &target, 2);
        rebuild.put_base(&mut base.as_slice()).unwrap();
        rebuild.apply_segment(&ours).unwrap();
        for foreign in [&segment, &second] {
            let error = rebuild.apply_segment(foreign).unwrap_err();
            assert!(matches!(error, RebuildError::Chain { .. }), "{error}");
        }
        (data_dir, stranger)
    };
}

#[test]
fn any_flipped_byte_of_a_base_or_segment_is_found() {
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    for number in 0..5 {
        put(&database, labelled(row(&number.to_string()), &[("a", "b")]));
    }
    let base = base(&database, Scope::ConfigurationOnly);
    let at = database.head().revision.sequence();
    put(&database, with_body(row("1"), "changed"));
    delete(&database, key("2"));
    let segment = segments(&database, at, Scope::ConfigurationOnly, 1 << 20).remove(0);
    let data_dir = target.data_dir();
    let restore = |base: &[u8], segment: &[u8]| {
        let mut rebuild = data_dir.begin_recovery(Generation(2), &source.key, b"").unwrap();
        rebuild.put_base(&mut &*base)?;
        rebuild.apply_segment(segment)
    };
    restore(&base, &segment).unwrap();
    for at in 0..base.len() {
        let mut base = base.clone();
        base[at] ^= 0x20;
        let error = restore(&base, &segment).unwrap_err();
        assert!(!matches!(error, RebuildError::Write { .. } | RebuildError::Order), "byte {at}: {error}");
    }
    for at in 0..segment.len() {
        let mut segment = segment.clone();
        segment[at] ^= 0x20;
        let outcome = restore(&base, &segment);
        // Claiming a narrower scope than it has only makes a segment useless to a wider base.
        let error = match outcome {
            Err(error) => error,
            Ok(head) if head.chain == database.head().chain => continue,
            Ok(_) => panic!("byte {at} went unnoticed"),
        };
        assert!(!matches!(error, RebuildError::Write { .. } | RebuildError::Order), "byte {at}: {error}");
    }
    for length in 0..base.len() {
        restore(&base[..length], &segment).unwrap_err();
    }
    for length in 0..segment.len() {
        restore(&base, &segment[..length]).unwrap_err();
    }
}

#[test]
fn a_base_of_a_newer_format_says_so() {
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    let mut base = base(&database, Scope::ConfigurationOnly);
    base[12] = 9;
    let (_target_dir, mut rebuild) = begin(&source, &target, 2);
    let error = rebuild.put_base(&mut base.as_slice()).unwrap_err();
    assert_eq!(
        keelson_model::Chain(&error).to_string(),
        "decode the base: base has format 9, this version knows formats up to 0"
    );
    assert_eq!(error.class(), ErrorClass::Invalid);
}

#[test]
fn the_header_of_a_base_gives_the_key_before_the_key_is_known() {
    let source = Fixture::new();
    let (_data_dir, database) = source.create();
    put(&database, row("a"));
    let bytes = base(&database, Scope::ConfigurationAndLocal);
    let header = BaseHeader::read(&mut bytes.as_slice()).unwrap();
    assert_eq!(header.wrapped_key, b"sealed for whoever recovers");
    assert_eq!((header.head, header.scope), (database.head(), Scope::ConfigurationAndLocal));
}

/// Where the rows of a base begin: behind the header, with its length before it and its tag behind it.
fn rows_of(base: &[u8]) -> usize {
    let (length, _) = base.split_first_chunk::<4>().unwrap();
    4 + u32::from_le_bytes(*length) as usize + 32
}

/// Header, rows and counts are each as they were written; only the digest of the rows tells.
#[test]
fn a_base_with_rows_of_another_state_is_told_by_its_digest_and_not_used() {
    for (class, scope) in [
        (Class::Configuration, Scope::ConfigurationOnly),
        (Class::Configuration, Scope::ConfigurationAndLocal),
        (Class::Local, Scope::ConfigurationAndLocal),
    ] {
        let source = Fixture::new();
        let (data_dir, database) = source.create();
        let row = row_in(POINTS, "shop", "a", class);
        put(&database, row.clone());
        let earlier = base(&database, scope);
        put(&database, with_body(row, "changed"));
        let later = base(&database, scope);
        let mixed = [&later[..rows_of(&later)], &earlier[rows_of(&earlier)..]].concat();

        let mut rebuild = data_dir.begin_recovery(Generation(2), &source.key, b"").unwrap();
        let error = rebuild.put_base(&mut mixed.as_slice()).unwrap_err();
        let at = database.head().revision;
        assert!(
            matches!(error, RebuildError::Digest { class: c, at: a } if (c, a) == (class, at)),
            "{error}"
        );
        assert_eq!(error.class(), ErrorClass::Corrupt);
        assert_eq!(rebuild.head(), None, "nothing of it is taken over");
        let error = rebuild.finish::<RebuildError>(&actor(), |_| Ok(())).unwrap_err();
        assert!(matches!(error, RebuildError::Order), "{error}");
        assert_eq!(data_dir.current_generation().unwrap(), Some(Generation(1)));
    }
}

#[test]
fn a_base_under_another_key_is_refused() {
    let (source, other, target) = (Fixture::new(), Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    let base = base(&database, Scope::ConfigurationOnly);
    let (_target_dir, mut rebuild) = begin(&other, &target, 2);
    let error = rebuild.put_base(&mut base.as_slice()).unwrap_err();
    assert!(matches!(error, RebuildError::BaseKey), "{error}");
}

#[test]
fn a_recovery_opens_a_generation_above_the_base_and_the_current_one() {
    let source = Fixture::new();
    let (data_dir, database) = source.create();
    let base = base(&database, Scope::ConfigurationOnly);
    let error = data_dir.begin_recovery(Generation(1), &source.key, b"").err().unwrap();
    assert_eq!(
        keelson_model::Chain(&error).to_string(),
        "use the data directory: generation 1 does not follow generation 1, which is in use"
    );
    let target = Fixture::new();
    let (_target_dir, mut rebuild) = begin(&source, &target, 1);
    let error = rebuild.put_base(&mut base.as_slice()).unwrap_err();
    assert!(matches!(error, RebuildError::NotAbove { .. }), "{error}");
}

#[test]
fn the_first_transaction_settles_what_was_left_open() {
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    for number in 0..3_000 {
        let state = if number % 2 == 0 { "Running" } else { "Complete" };
        let row = row_in(ACTIONS, "shop", &format!("{number:05}"), Class::Local);
        database
            .commit(
                &actor(),
                vec![Change::put(with_body(labelled(row, &[("state", state)]), &state.repeat(200)))],
            )
            .unwrap();
    }
    let base = base(&database, Scope::ConfigurationAndLocal);
    let (data_dir, mut rebuild) = begin(&source, &target, 2);
    rebuild.put_base(&mut base.as_slice()).unwrap();
    let prepared = rebuild
        .finish::<RebuildError>(&actor(), |transaction| {
            assert_eq!(transaction.source(), database.head());
            let mut query = Query::all(kind(ACTIONS), 100);
            loop {
                let page = transaction.list(&query)?;
                for stored in page.rows.into_iter().filter(|stored| stored.row.labels["state"] == "Running") {
                    let failed = with_body(labelled(stored.row, &[("state", "Failed")]), "interrupted");
                    transaction.change(Change::put(failed))?;
                }
                match page.next {
                    Some(next) => query.after = Some(next),
                    None => break,
                }
            }
            let again = transaction.read(&dump(&database, ACTIONS)[0].row.key())?.unwrap();
            assert_eq!(again.row.body, b"interrupted");
            transaction.change(Change::delete(again.row.key()))
        })
        .unwrap();
    let restored = data_dir.switch(prepared).unwrap();
    let rows = dump(&restored, ACTIONS);
    assert_eq!(rows.len(), 2_999);
    assert!(rows.iter().all(|stored| stored.row.labels["state"] != "Running"));
    let first = Revision::new(Generation(2), Sequence(1));
    assert!(
        rows.iter().filter(|stored| stored.row.labels["state"] == "Failed").all(|row| row.revision == first)
    );
    let kept = rows.iter().find(|stored| stored.row.labels["state"] == "Complete").unwrap();
    assert_eq!(kept.revision.generation(), Generation(1), "what was not touched keeps its revision");
    restored.verify_digests().unwrap();
    restored.verify_chain().unwrap();
}

#[test]
fn a_first_transaction_that_fails_leaves_everything_as_it_was() {
    let source = Fixture::new();
    let (data_dir, database) = source.create();
    put(&database, row("a"));
    let base = base(&database, Scope::ConfigurationOnly);
    let mut rebuild = data_dir.begin_recovery(Generation(2), &source.key, b"").unwrap();
    rebuild.put_base(&mut base.as_slice()).unwrap();
    let error =
        rebuild.finish::<RebuildError>(&actor(), |first| first.change(Change::create(row("a")))).unwrap_err();
    match &error {
        RebuildError::First { source } => assert!(matches!(**source, CommitError::Conflict { .. })),
        other => panic!("{other}"),
    }
    assert_eq!(data_dir.current_generation().unwrap(), Some(Generation(1)));
    put(&database, row("b"));
    drop((data_dir, database));
    let data_dir = source.data_dir();
    assert_eq!(data_dir.generations().unwrap(), [Generation(1)], "the rest of the attempt is gone");
    assert!(data_dir.open_current(&source.key).unwrap().read(&key("b")).unwrap().is_some());
}

#[test]
fn after_a_switch_old_watches_have_expired_and_new_ones_follow() {
    let source = Fixture::new();
    let (data_dir, database) = source.create();
    put(&database, row("a"));
    let old_head = database.head();
    let base = base(&database, Scope::ConfigurationOnly);
    put(&database, row("lost"));
    let mut rebuild = data_dir.begin_recovery(Generation(7), &source.key, b"").unwrap();
    rebuild.put_base(&mut base.as_slice()).unwrap();
    let restored = data_dir.switch(finish(rebuild)).unwrap();
    assert_eq!(restored.head().revision, Revision::new(Generation(7), Sequence(1)));
    let error = restored.changes(&kind(POINTS), None, old_head.revision, 10).unwrap_err();
    assert!(matches!(error, ReadError::Expired { .. }), "{error}");
    let page = restored.list(&Query::all(kind(POINTS), 10)).unwrap();
    assert_eq!(page.rows.len(), 1);
    let revision = put(&restored, row("b"));
    let changes = restored.changes(&kind(POINTS), None, page.revision, 10).unwrap();
    assert_eq!((changes.events.len(), changes.through), (1, revision));

    assert_eq!(data_dir.generations().unwrap(), [Generation(1), Generation(7)]);
    assert!(data_dir.drop_generation(Generation(7)).is_err());
    drop(database);
    data_dir.drop_generation(Generation(1)).unwrap();
    assert_eq!(data_dir.generations().unwrap(), [Generation(7)]);
    drop((data_dir, restored));
    let data_dir = source.data_dir();
    let reopened = data_dir.open_current(&source.key).unwrap();
    assert_eq!(reopened.head().revision, revision);
    assert_eq!(data_dir.current_wrapped_key().unwrap(), b"");
}

#[test]
fn a_recovered_catalog_ships_a_base_that_names_its_origin() {
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    put(&database, row("a"));
    let bytes = base(&database, Scope::ConfigurationOnly);
    let (data_dir, mut rebuild) = begin(&source, &target, 2);
    rebuild.put_base(&mut bytes.as_slice()).unwrap();
    let restored = data_dir.switch(finish(rebuild)).unwrap();
    let header = BaseHeader::read(&mut base(&restored, Scope::ConfigurationOnly).as_slice()).unwrap();
    assert_eq!(header.origin.map(|origin| origin.chain), Some(database.head().chain));
    let entries = restored.entries(Sequence(0), usize::MAX).unwrap();
    assert_eq!(entries.len(), 1);
}

#[test]
fn a_recovery_of_a_recovery_restores_the_same() {
    let (source, second, third) = (Fixture::new(), Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    live(&database, 0, 100);
    let (second_dir, mut rebuild) = begin(&source, &second, 2);
    rebuild.put_base(&mut base(&database, Scope::ConfigurationAndLocal).as_slice()).unwrap();
    let restored = second_dir.switch(finish(rebuild)).unwrap();
    let next = base(&restored, Scope::ConfigurationAndLocal);
    let at = restored.head().revision.sequence();
    live(&restored, 100, 200);
    let (_third_dir, mut rebuild) = begin(&source, &third, 3);
    rebuild.put_base(&mut next.as_slice()).unwrap();
    for segment in segments(&restored, at, Scope::ConfigurationAndLocal, 1 << 20) {
        rebuild.apply_segment(&segment).unwrap();
    }
    assert_same(&restored.head(), &rebuild.head().unwrap(), Scope::ConfigurationAndLocal);
}

/// A job that had begun before the switch went on committing, acknowledged, into a file that was removed.
#[test]
fn the_catalog_before_takes_no_commit_after_the_switch() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    put(&database, row("a"));
    let base = base(&database, Scope::ConfigurationAndLocal);
    let mut rebuild = data_dir.begin_recovery(Generation(2), &fixture.key, b"").unwrap();
    rebuild.put_base(&mut base.as_slice()).unwrap();
    let held = database.clone();
    let after = data_dir.switch(finish(rebuild)).unwrap();
    let error = held.commit(&actor(), vec![Change::put(row("b"))]).unwrap_err();
    assert!(matches!(error, CommitError::Superseded), "{error}");
    assert!(matches!(error.class(), ErrorClass::Unavailable { .. }));
    let (sender, answer) = std::sync::mpsc::channel();
    let done = Box::new(move |outcome| sender.send(outcome).unwrap());
    held.commit_with(&actor(), vec![Change::put(row("b"))], done);
    assert!(matches!(answer.recv().unwrap(), Err(CommitError::Superseded)));
    assert!(held.read(&key("a")).unwrap().is_some(), "reads of it still end");
    after.commit(&actor(), vec![Change::put(row("b"))]).unwrap();
}
