//! Every rule of the protocol is needed: with one taken out the explorer finds the run that loses data.
//!
//! One has no case here. That a mark stays while an index object names its dead packs matters where that object is locked and
//! outlives them; a writer that relied on it asks for the packs before it commits, and finds them gone (`damage.rs`). That
//! no verdict goes before its mark needs none: without one the mark forbids all its packs, and is judged anew.

use super::cast::{Cast, Part};
use super::liars::Lie;
use super::{holds, replay, search, search_up_to, walk};

/// Pieces of a retired outcome and of a writer that died: both in packs that a prune marks.
const WRITER: Part = Part::Writer(&[1, 8]);
const WALKS: u64 = 3000;
/// Most of the searches below end before.
const HONEST_RUNS_MAX: usize = 100;

#[track_caller]
fn is_found(
    parts: &[(&'static str, Part, Option<Lie>)],
    interruptions: usize,
    disturbances: usize,
    what: &str,
) {
    is_found_with(&Cast::of(parts), interruptions, disturbances, what);
}

/// And not where nobody lies, neither in the same order of steps nor in another.
#[track_caller]
fn is_found_with(cast: &Cast, interruptions: usize, disturbances: usize, what: &str) {
    let found = match search(cast, interruptions, disturbances) {
        Err(violation) => violation,
        Ok(runs) => match walk(std::slice::from_ref(cast), |_| disturbances, 0..WALKS) {
            Err((_, violation)) => violation,
            Ok(walks) => panic!("{runs} runs and {walks} walks without this rule, and nothing was lost"),
        },
    };
    assert!(found.what.contains(what), "{}\n{}", found.what, found.run);
    let honest = cast.honest();
    holds(replay(&honest, disturbances, &found.run));
    holds(search_up_to(HONEST_RUNS_MAX, &honest, interruptions, disturbances));
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

/// Who begins between the look and the mark heeds no mark and is not waited for.
#[test]
fn sessions_must_be_listed_after_the_mark_was_created() {
    let cast = [("writer", WRITER, None), ("owner", Part::OtherOwner, Some(Lie::FreezeSessions))];
    is_found(&cast, 2, 0, "one is lost");
}

#[test]
fn the_end_of_a_session_must_not_replace_its_commit() {
    let cast = [("writer", WRITER, None), ("owner", Part::OtherOwner, Some(Lie::OverwriteOutcomes))];
    is_found(&cast, 1, 1, "which its writer was told is safe, is lost");
}

#[test]
fn a_reader_must_look_at_what_was_retired() {
    let cast = [("reader", Part::Reader, Some(Lie::HideRetired)), ("owner", Part::Owner, None)];
    is_found(&cast, 1, 0, "a reader fails on what was not retired");
}

#[test]
fn a_reader_must_be_announced_before_it_looks_at_what_was_retired() {
    let cast = [("reader", Part::Reader, Some(Lie::AnnounceAfterRetired)), ("owner", Part::Owner, None)];
    is_found(&cast, 1, 0, "a reader fails on what was not retired");
}

#[test]
fn a_verdict_that_is_there_must_be_adopted() {
    is_found_with(&Cast::slow_owner(Some(Lie::HideVerdicts)), 1, 0, "one is lost");
}

/// With one prune the mark and the waiting protect every session. It takes another one, whose verdict keeps a pack for an
/// outcome that is gone since, and a session that relies on it: who deletes first never learns of that verdict.
#[test]
fn a_verdict_must_be_created_before_a_pack_is_deleted() {
    is_found_with(&Cast::slow_owner(Some(Lie::DeleteBeforeVerdict)), 2, 0, "one is lost");
}

/// Whoever ignores moves frees the new packs, while whoever heeds them frees the old ones.
#[test]
fn what_was_moved_must_be_looked_for_where_it_is() {
    let cast = [
        ("repacking owner", Part::RepackingOwner, None),
        ("owner", Part::OtherOwner, Some(Lie::HideRepacks)),
    ];
    is_found(&cast, 1, 0, "one is lost");
}

/// A writer that began before the repack needs chunks that nothing needed when the repack looked.
#[test]
fn moves_must_hold_for_none_but_the_outcomes_that_were_walked() {
    let cast = [
        ("writer", Part::Writer(&[4]), None),
        ("repacking owner", Part::RepackingOwner, Some(Lie::MoveForAll)),
    ];
    is_found(&cast, 1, 0, "one is lost");
}
