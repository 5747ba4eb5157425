//! Every rule of the protocol is needed: with one taken out the explorer finds the run that loses data, or the run is told
//! ([`Story`]) where no search within bounds comes as far. Without these nothing is lost:
//!
//! - A repack that heeds no marks, or lists outcomes before it is announced, copies what is about to go. It names no packs but
//!   those that it has written, and what an outcome needs of an old one never changes: of two moves of it both count.
//! - A mark that goes before a fortnight, or while an index object names its dead packs, is missed where that object comes
//!   late or is locked. A writer that relied on it asks for the packs before it commits, and finds them gone (`damage.rs`).
//! - A mark whose verdict goes first forbids all its packs, and is judged anew; a verdict without its mark frees nothing.

use keelson_store::Operation;

use super::cast::{Cast, Part};
use super::liars::Lie;
use super::story::{Story, Turn};
use super::{Searched, holds, play_once, replay, search, search_up_to, walk};

/// Pieces of a retired outcome and of a writer that died: both in packs that a prune marks.
const WRITER: Part = Part::Writer(&[1, 8]);
const WALKS: u64 = 3000;
const HARMLESS_WALKS: u64 = 40;
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
        Ok(Searched { runs, .. }) => match walk(std::slice::from_ref(cast), |_| disturbances, 0..WALKS) {
            Err((_, violation)) => violation,
            Ok(walks) => panic!("{runs} runs and {walks} walks without this rule, and nothing was lost"),
        },
    };
    assert!(found.what.contains(what), "{}\n{}", found.what, found.run);
    let honest = cast.honest();
    holds(replay(&honest, disturbances, &found.run));
    holds(search_up_to(HONEST_RUNS_MAX, &honest, interruptions, disturbances));
}

/// In this one order of steps, and not where nobody lies.
#[track_caller]
fn is_found_in(story: &[Turn], parts: &[(&'static str, Part, Option<Lie>)], disturbances: usize, what: &str) {
    let cast = Cast::of(parts);
    let Err(found) = play_once(&cast, disturbances, &mut Story::of(story)) else {
        panic!("without this rule nothing was lost")
    };
    assert!(found.what.contains(what), "{}\n{}", found.what, found.run);
    holds(play_once(&cast.honest(), disturbances, &mut Story::of(story)));
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

/// A mark that kept a pack stays for a while; by then its outcome may be retired and another prune free the pack.
#[test]
fn every_mark_of_a_pack_must_have_a_verdict_that_keeps_it() {
    let cast = [
        ("slow owner", Part::SlowOwner, None),
        ("owner", Part::Owner, None),
        ("writer", Part::Writer(&[8]), Some(Lie::HeedAnyVerdict)),
    ];
    is_found(&cast, 1, 0, "one is lost");
}

#[test]
fn a_verdict_must_read_the_outcomes_that_the_mark_did_not_know() {
    let cast = [("writer", WRITER, None), ("owner", Part::OtherOwner, Some(Lie::FreezeOutcomes))];
    is_found(&cast, 2, 0, "one is lost");
}

/// A reader that began after the mark and before the retirement is waited for by none but the prune that removes the outcome.
#[test]
fn a_verdict_must_read_what_was_retired_since() {
    let cast = [
        ("slow owner", Part::SlowOwner, Some(Lie::HideRetiredSince)),
        ("owner", Part::Owner, None),
        ("reader", Part::Reader, None),
    ];
    is_found(&cast, 1, 0, "a reader fails on what was not retired");
}

#[test]
fn a_prune_must_wait_for_sessions() {
    let cast = [("writer", WRITER, None), ("owner", Part::OtherOwner, Some(Lie::HideSessions))];
    is_found(&cast, 2, 0, "one is lost");
}

#[test]
fn a_prune_must_wait_for_readers_before_it_removes_an_outcome() {
    let cast = [("reader", Part::Reader, None), ("owner", Part::Owner, Some(Lie::HideSessions))];
    is_found(&cast, 1, 0, "a reader fails on what was not retired");
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

/// What it writes is named by nothing until it commits.
#[test]
fn a_repack_must_be_announced_before_it_writes() {
    let cast = [
        ("repacking owner", Part::RepackingOwner, Some(Lie::AnnounceWithOutcome)),
        ("owner", Part::OtherOwner, None),
    ];
    is_found(&cast, 1, 0, "one is lost");
}

/// Neither marks nor this order are what makes it safe.
#[test]
fn a_repack_that_heeds_no_marks_or_lists_outcomes_before_it_is_announced_loses_nothing() {
    for lie in [Lie::HideMarks, Lie::AnnounceLate, Lie::ListOutcomesFirst] {
        let cast = Cast::of(&[
            ("writer", Part::Writer(&[1, 8, 4]), None),
            ("repacking owner", Part::RepackingOwner, Some(lie)),
            ("owner", Part::Owner, None),
            ("other repacking owner", Part::RepackingOwner, None),
        ]);
        holds(search(&cast, 0, 0));
        if let Err((seed, violation)) = walk(std::slice::from_ref(&cast), |_| 2, 0..HARMLESS_WALKS) {
            panic!("{lie:?}, walk {seed}: {}\n{}", violation.what, violation.run);
        }
    }
}

#[test]
fn a_repack_must_stay_while_it_holds_for_an_outcome() {
    let cast = [
        ("repacking owner", Part::RepackingOwner, None),
        ("owner", Part::OtherOwner, Some(Lie::RemoveRepacks)),
    ];
    is_found(&cast, 1, 0, "is in no index");
}

#[test]
fn a_session_that_was_renewed_in_time_must_not_be_ended() {
    let writer = Part::RenewingWriter(&[1, 8]);
    let what = "which was renewed in time, was ended";
    let cast = [("writer", writer, None), ("owner", Part::OtherOwner, Some(Lie::HideRenewals))];
    is_found(&cast, 1, 1, what);
    let cast = [("writer", writer, Some(Lie::DropRenewals)), ("owner", Part::OtherOwner, None)];
    is_found(&cast, 1, 1, what);
}

/// The commit of which its writer was told that it failed.
#[test]
fn an_aborted_outcome_must_stay_for_what_comes_late() {
    let tidy = Some(Lie::Aged("outcomes"));
    let cast = [("writer", Part::BriefWriter(&[20]), None), ("owner", Part::TidyOwner, tidy)];
    is_found(&cast, 0, 1, "after what came late");
}

/// The commit once more.
#[test]
fn a_retirement_must_stay_for_what_comes_late() {
    let tidy = Some(Lie::Aged("retired"));
    let cast = [("writer", Part::BriefWriter(&[20]), None), ("owner", Part::RetractingOwner, tidy)];
    is_found(&cast, 0, 1, "after what came late");
}

/// An owner is paused for weeks, after he has read the outcomes while the pack was in nobody's. Another has judged his mark,
/// and kept the pack; both records are gone.
#[test]
fn a_verdict_must_not_be_acted_on_once_its_mark_is_gone() {
    let cast = [
        ("slow owner", Part::SlowOwner, Some(Lie::ShowMarks)),
        ("owner", Part::Owner, None),
        ("writer", Part::Writer(&[8]), None),
        ("patient owner", Part::PatientOwner, None),
    ];
    let story = [
        Turn::until(0, Operation::List, "outcomes"),
        Turn::to_the_end(1),
        Turn::until(0, Operation::Put, "verdicts"),
        Turn::to_the_end(2),
        Turn::to_the_end(3),
        Turn::to_the_end(0),
    ];
    is_found_in(&story, &cast, 0, "one is lost");
}

/// A writer is paused for weeks. It was ended, and what tells of it is gone.
#[test]
fn a_session_must_not_commit_long_after_its_stated_life() {
    let cast =
        [("writer", Part::BriefWriter(&[20]), Some(Lie::StopClock)), ("owner", Part::PatientOwner, None)];
    let story = [Turn::until(0, Operation::Put, "index"), Turn::to_the_end(1), Turn::to_the_end(0)];
    is_found_in(&story, &cast, 1, "at the end");
}
