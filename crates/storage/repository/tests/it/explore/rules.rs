//! Every rule of the protocol is needed: with one taken out the explorer finds the run that loses data.

use super::cast::{Cast, Part};
use super::liars::Lie;
use super::{search, walk};

/// Pieces of a retired outcome and of a writer that died: both in packs that a prune marks.
const WRITER: Part = Part::Writer(&[1, 8]);
const WALKS: u64 = 3000;

#[track_caller]
fn is_found(
    parts: &[(&'static str, Part, Option<Lie>)],
    interruptions: usize,
    disturbances: usize,
    what: &str,
) {
    is_found_with(&Cast::of(parts), interruptions, disturbances, what);
}

#[track_caller]
fn is_found_with(cast: &Cast, interruptions: usize, disturbances: usize, what: &str) {
    let found = match search(cast, interruptions, disturbances) {
        Err(violation) => violation,
        Ok(runs) => match walk(cast, disturbances, 0..WALKS) {
            Err((_, violation)) => violation,
            Ok(walks) => panic!("{runs} runs and {walks} walks without this rule, and nothing was lost"),
        },
    };
    assert!(found.what.contains(what), "{}\n{}", found.what, found.run);
}

#[test]
fn a_session_must_be_announced_before_marks_are_listed() {
    let cast = [("writer", WRITER, Some(Lie::AnnounceLate)), ("owner", Part::OtherOwner, None)];
    is_found(&cast, 2, 0, "one is lost");
}

#[test]
fn a_writer_must_heed_marks() {
    let cast = [("writer", WRITER, Some(Lie::HideMarks)), ("owner", Part::OtherOwner, None)];
    is_found(&cast, 2, 0, "one is lost");
}

#[test]
fn a_verdict_must_read_the_outcomes_that_the_mark_did_not_know() {
    let cast = [("writer", WRITER, None), ("owner", Part::OtherOwner, Some(Lie::FreezeOutcomes))];
    is_found(&cast, 2, 0, "one is lost");
}

#[test]
fn a_prune_must_wait_for_sessions() {
    let cast = [("writer", WRITER, None), ("owner", Part::OtherOwner, Some(Lie::HideSessions))];
    is_found(&cast, 2, 0, "one is lost");
}

#[test]
fn the_end_of_a_session_must_not_replace_its_commit() {
    let cast = [("writer", WRITER, None), ("owner", Part::OtherOwner, Some(Lie::OverwriteOutcomes))];
    is_found(&cast, 2, 1, "which its writer was told is safe, is lost");
}

#[test]
fn a_reader_must_look_at_what_was_retired() {
    let cast = [("reader", Part::Reader, Some(Lie::HideRetired)), ("owner", Part::Owner, None)];
    is_found(&cast, 1, 0, "a reader fails on what was not retired");
}

#[test]
fn a_verdict_that_is_there_must_be_adopted() {
    is_found_with(&Cast::slow_owner(Some(Lie::HideVerdicts)), 1, 0, "one is lost");
}
