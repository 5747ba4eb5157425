//! Segments and bases: what leaves, and that it says the same again.

use std::time::Duration;

use keelson_catalog::{Change, Class, Database, Scope, Segment, ShipError, Stretch};
use keelson_model::{Clock, Sequence};

use crate::fixture::{Fixture, POINTS, actor, key, put, row, row_in, with_body};

pub(crate) fn base(database: &Database, scope: Scope) -> Vec<u8> {
    let mut bytes = Vec::new();
    let summary = database
        .base(scope, b"sealed for whoever recovers", &mut |frame| {
            bytes.extend_from_slice(frame);
            Ok(())
        })
        .unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    bytes
}

pub(crate) fn segments(database: &Database, after: Sequence, scope: Scope, bytes_max: usize) -> Vec<Vec<u8>> {
    let (mut after, mut segments) = (after, Vec::new());
    while let Some(segment) = database.segment_after(after, scope, bytes_max).unwrap() {
        assert_eq!(segment.first.sequence().0, after.0 + 1);
        after = segment.last.sequence();
        segments.push(segment.bytes);
    }
    segments
}

#[test]
fn segments_are_contiguous_and_end_at_the_head() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    for number in 0..50 {
        put(&database, with_body(row(&number.to_string()), &"x".repeat(number * 10)));
    }
    let one = segments(&database, Sequence(0), Scope::ConfigurationAndLocal, 1 << 20);
    assert_eq!(one.len(), 1);
    let many = segments(&database, Sequence(0), Scope::ConfigurationAndLocal, 2_000);
    assert!(many.len() > 5, "{}", many.len());
    let each = segments(&database, Sequence(20), Scope::ConfigurationAndLocal, 1);
    assert_eq!(each.len(), 30, "an entry above the limit still travels, alone");
    assert_eq!(database.segment_after(Sequence(50), Scope::ConfigurationOnly, 1 << 20).unwrap(), None);
}

#[test]
fn a_segment_says_when_it_begins_and_ends_and_what_the_chain_reached() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let mut heads = Vec::new();
    for number in 0..10 {
        put(&database, row(&number.to_string()));
        heads.push((fixture.clock.now(), database.head()));
        fixture.clock.advance(Duration::from_secs(1));
    }
    let stretch = Stretch { after: Sequence(2), through: Sequence(7) };
    let segment = database.segment_within(stretch, Scope::ConfigurationOnly, 1 << 20).unwrap().unwrap();
    assert_eq!((segment.first.sequence(), segment.last.sequence()), (Sequence(3), Sequence(7)));
    assert_eq!((segment.first_at, segment.last_at), (heads[2].0, heads[6].0));
    assert_eq!(segment.chain, heads[6].1.chain);

    let until = |time| Segment::last_until(&segment.bytes, time).unwrap();
    let between = heads[4].0 + Duration::from_millis(500);
    let found = until(between).unwrap();
    assert_eq!((found.revision.sequence(), found.at), (Sequence(5), heads[4].0));
    assert_eq!(until(heads[1].0), None, "no entry of this segment is that old");
    assert_eq!(until(heads[9].0).unwrap().revision.sequence(), Sequence(7));
}

#[test]
fn the_digest_of_an_entry_is_told_as_far_as_the_journal_reaches() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let mut chains = vec![database.head().chain];
    for number in 0..5_000 {
        put(&database, row(&number.to_string()));
        chains.push(database.head().chain);
    }
    let at = |sequence: usize| database.chain_at(Sequence(sequence as u64)).unwrap();
    for sequence in [0, 1, 77, 4_999, 5_000] {
        assert_eq!(at(sequence), Some(chains[sequence]), "{sequence}");
    }
    assert_eq!(at(5_001), None);
    let cut = database.cut_prefix(Sequence(800)).unwrap().0 as usize;
    assert!(cut > 0);
    assert_eq!((at(cut - 1), at(cut)), (None, Some(chains[cut])));
}

#[test]
fn what_the_mode_leaves_out_is_not_in_the_bytes() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let changes = [("c", Class::Configuration), ("l", Class::Local), ("d", Class::Derived)]
        .map(|(name, class)| Change::put(row_in(POINTS, "shop", &format!("marker-of-{name}"), class)));
    database.commit(&actor(), changes.into()).unwrap();
    let holds = |bytes: &[u8], name: &str| {
        let needle = format!("marker-of-{name}").into_bytes();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    for (scope, local) in [(Scope::ConfigurationOnly, false), (Scope::ConfigurationAndLocal, true)] {
        let base = base(&database, scope);
        assert_eq!((holds(&base, "c"), holds(&base, "l"), holds(&base, "d")), (true, local, false));
        let segment = segments(&database, Sequence(0), scope, 1 << 20).remove(0);
        // The header has 36 bytes; the entries behind it are compressed as one.
        let entries = zstd::bulk::decompress(&segment[36..], 1 << 20).unwrap();
        assert_eq!((holds(&entries, "c"), holds(&entries, "l"), holds(&entries, "d")), (true, local, false));
    }
}

#[test]
fn a_prefix_that_was_cut_needs_a_base() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    // Large entries, so that the window of watches is full after a few.
    for number in 0..30_u32 {
        let mut state = number + 1;
        let mut large = row("a");
        large.body = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(4 << 20)
        .collect();
        put(&database, large);
    }
    let cut = database.cut_prefix(database.head().revision.sequence()).unwrap();
    assert!(cut > Sequence(5), "{cut:?}");
    let error = database.segment_after(Sequence(cut.0 - 1), Scope::ConfigurationOnly, 1).unwrap_err();
    assert!(matches!(error, ShipError::BaseNeeded { .. }), "{error}");
    assert!(database.backlog(Sequence(0)).unwrap().base_needed);
    assert!(!database.backlog(cut).unwrap().base_needed);
    assert!(database.segment_after(cut, Scope::ConfigurationOnly, 1).unwrap().is_some());
    let error = database.segment_after(Sequence(31), Scope::ConfigurationOnly, 1).unwrap_err();
    assert!(matches!(error, ShipError::AheadOfUs { .. }), "{error}");
}

#[test]
fn the_backlog_has_count_size_and_age() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    put(&database, row("a"));
    fixture.clock.advance(Duration::from_secs(10));
    let second = fixture.clock.now();
    put(&database, row("b"));
    fixture.clock.advance(Duration::from_secs(10));
    put(&database, row("c"));
    let backlog = database.backlog(Sequence(1)).unwrap();
    assert_eq!((backlog.entries, backlog.oldest, backlog.head), (2, Some(second), Sequence(3)));
    assert!(backlog.bytes > 100);
    let nothing = database.backlog(Sequence(3)).unwrap();
    assert_eq!((nothing.entries, nothing.bytes, nothing.oldest), (0, 0, None));
}

#[test]
fn a_base_is_one_snapshot_even_while_others_commit() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    for number in 0..2_000 {
        put(&database, with_body(row(&format!("{number:04}")), &format!("{number}").repeat(300)));
    }
    let head = database.head();
    let mut frames = 0;
    let summary = database
        .base(Scope::ConfigurationOnly, b"", &mut |frame| {
            frames += 1;
            assert!(frame.len() < 300 << 10);
            put(&database, with_body(row("9999"), &frames.to_string()));
            Ok(())
        })
        .unwrap();
    assert_eq!((summary.head, summary.counts.total(), summary.origin), (head, 2_000, None));
    assert!(frames > 2);
    assert!(database.read(&key("9999")).unwrap().is_some());
}

#[test]
fn a_sink_that_fails_ends_the_base_with_its_error() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let error = database
        .base(Scope::ConfigurationOnly, b"", &mut |_| Err(std::io::Error::other("share is gone").into()))
        .unwrap_err();
    assert_eq!(keelson_model::Chain(&error).to_string(), "hand over a frame of a base: share is gone");
    let error = database.base(Scope::ConfigurationOnly, &[0; 5000], &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, ShipError::WrappedKeyTooLong { bytes: 5000 }), "{error}");
}
