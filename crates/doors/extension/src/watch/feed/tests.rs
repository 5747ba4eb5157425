//! What watches find of what happened, and how much of it is kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_catalog::{Class, EventKind, Row, Stored};
use keelson_model::{Generation, Sequence};

use super::*;

fn at(sequence: u64) -> Revision {
    Revision::new(Generation(1), Sequence(sequence))
}

/// Events of these entries, `bytes` each, and nothing else up to `through`.
fn changes(entries: &[u64], through: u64, bytes: usize) -> Changes {
    let event = |sequence: &u64| Event {
        kind: EventKind::Modified,
        stored: Stored {
            row: Row {
                kind: RowKind::new("kind"),
                namespace: "shop".to_owned(),
                name: format!("of-{sequence}"),
                uid: "u".to_owned(),
                labels: BTreeMap::new(),
                created: Timestamp::UNIX_EPOCH,
                class: Class::Local,
                body: vec![b' '; bytes],
            },
            revision: at(*sequence),
        },
        before_labels: None,
    };
    Changes { events: entries.iter().map(event).collect(), through: at(through), complete: true }
}

fn entries_after(tail: &Tail, since: u64) -> Option<Vec<u64>> {
    let (happenings, _) = tail.after(at(since))?;
    Some(happenings.iter().map(|happening| happening.event.stored.revision.sequence().0).collect())
}

#[test]
fn each_watch_finds_what_happened_after_where_it_stands() {
    let mut tail = Tail::new(at(10));
    tail.append(changes(&[12, 12, 14], 15, 1));
    assert_eq!(entries_after(&tail, 10), Some(vec![12, 12, 14]));
    assert_eq!(entries_after(&tail, 11), Some(vec![12, 12, 14]), "it was told that nothing happened at 11");
    assert_eq!(entries_after(&tail, 12), Some(vec![14]));
    assert_eq!(entries_after(&tail, 14), Some(vec![]));
    assert_eq!(entries_after(&tail, 15), None, "there is nothing new yet");
    assert_eq!(entries_after(&tail, 9), None, "what happened at 10 is not known");
}

#[test]
fn what_is_known_is_bounded_and_ends_between_two_entries() {
    let mut tail = Tail::new(at(0));
    for first in (1..=3 * FEED_EVENTS as u64).step_by(2) {
        tail.append(changes(&[first, first, first + 1], first + 1, 1));
        assert!(tail.happenings.len() <= FEED_EVENTS, "{}", tail.happenings.len());
    }
    let oldest = tail.after.sequence().0;
    assert!(oldest > 0);
    assert_eq!(entries_after(&tail, oldest - 1), None, "half of it is forgotten");
    let known = entries_after(&tail, oldest).expect("all after that is known");
    assert_eq!(known.len(), tail.happenings.len());

    let sequence = tail.through.sequence().0 + 1;
    tail.append(changes(&[sequence], sequence, FEED_BYTES + 1));
    assert!(tail.happenings.is_empty() && tail.bytes == 0, "what is too large is read by each itself");
    assert_eq!(entries_after(&tail, sequence - 1), None);
}

/// Labels of the row and of the row before, and the object as JSON, are kept as well as bodies.
#[test]
fn what_is_known_is_bounded_whatever_it_consists_of() {
    let labels: BTreeMap<_, _> = (0..100).map(|label| (format!("{label:0>250}"), "v".repeat(60))).collect();
    let mut tail = Tail::new(at(0));
    for sequence in 1..=100 {
        let mut labelled = changes(&[sequence], sequence, 1);
        for event in &mut labelled.events {
            event.stored.row.labels.clone_from(&labels);
            event.before_labels = Some(labels.clone());
        }
        tail.append(labelled);
    }
    assert!((5..15).contains(&tail.happenings.len()), "{} events of 100 KiB", tail.happenings.len());
}

#[test]
fn a_feed_starts_anew_for_who_is_far_ahead_and_not_for_who_is_behind() {
    let feed = Feed::new(RowKind::new("kind"));
    assert_eq!(feed.continue_to(at(10)), Some(at(10)));
    assert_eq!(feed.continue_to(at(12)), Some(at(10)), "what happened between is read as well");
    assert_eq!(feed.continue_to(at(9)), None);
    assert_eq!(feed.continue_to(at(11 + FEED_GAP)), Some(at(11 + FEED_GAP)));
    let recovered = Revision::new(Generation(2), Sequence(3));
    assert_eq!(feed.continue_to(recovered), Some(recovered));
}
