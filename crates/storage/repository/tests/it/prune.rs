//! Pruning and repacking, case by case: what goes, what stays, what is waited for, what is refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use keelson_model::{Classified, ErrorClass, ManualClock};
use keelson_repository::{
    CommitError, Depth, JudgedRetirements, NewSession, PruneStep, RepackError, RepackThresholds,
    SessionPurpose, SessionResult,
};
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{Store, StoreExt};
use keelson_testkit::FaultyStore;

use crate::upkeep::*;
use crate::world::*;

#[tokio::test]
async fn what_was_retired_is_freed_and_the_rest_reads_back() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let shared = noise(1, 20_000);
        let retired = back_up(&repository, &[shared.clone(), noise(2, 20_000)].concat()).await.unwrap();
        let kept = back_up(&repository, &noise(3, 20_000)).await.unwrap();
        assert_eq!(site.keys("packs").await.len(), 2);

        retire(&repository, retired.id).await;
        let plan = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap();
        let bytes = store.list_all(&root().join("packs").unwrap()).await.unwrap();
        let dead = format!("{}", retired.packs()[0]);
        let expected = bytes.iter().find(|object| object.path.name() == dead).unwrap().length;
        assert_eq!(plan.bytes_to_free(), expected);
        assert_eq!(
            plan.to_string().lines().skip(1).collect::<Vec<_>>(),
            [
                "remove 1 retired outcomes",
                "free 1 packs that nothing needs",
                "remove 2 records of what is over",
                &format!("frees up to {expected} bytes"),
            ]
        );
        prune_all(&repository).await;

        assert_eq!(names(&store, "packs").await.len(), 1);
        assert_eq!(names(&store, "index").await.len(), 1);
        assert_eq!(names(&store, "outcomes").await, [kept.id.to_string()].into());
        assert!(site.keys("sessions").await.is_empty());
        assert_eq!(read_back(&store, kept.id).await.unwrap(), noise(3, 20_000));
        assert!(verify(&store, Depth::Full, &[kept.id]).await.is_whole());
        // What was freed is written anew by whoever needs it.
        let again = back_up(&opened(&store).await, &shared).await.unwrap();
        assert_eq!(read_back(&store, again.id).await.unwrap(), shared);
    }
}

#[tokio::test]
async fn a_plan_changes_nothing() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let outcome = back_up(&repository, &noise(1, 5000)).await.unwrap();
        retire(&repository, outcome.id).await;
        let before = site.keys("").await.len();
        let plan = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap();
        assert!(plan.must_wait() && !plan.is_empty());
        assert_eq!(site.keys("").await.len(), before);
    }
}

#[tokio::test]
async fn a_retirement_that_nobody_judged_frees_nothing_and_a_void_one_is_withdrawn() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    let outcome = back_up(&repository, &noise(1, 5000)).await.unwrap();
    prune_all(&repository).await;
    retire(&repository, outcome.id).await;

    let plan = repository.plan_prune(&owner(), &JudgedRetirements::default()).await.unwrap();
    assert!(plan.is_empty(), "{plan}");
    assert!(read_back(&store, outcome.id).await.is_err());

    let void = JudgedRetirements { void: [outcome.id].into(), ..Default::default() };
    let plan = repository.plan_prune(&owner(), &void).await.unwrap();
    assert!(plan.to_string().contains("withdraw 1 retirements by a former owner"), "{plan}");
    let done = repository.begin_prune(plan).advance(&owner(), now(), &|_| {}).await.unwrap();
    assert!(matches!(done, PruneStep::Complete(_)));
    assert_eq!(read_back(&store, outcome.id).await.unwrap(), noise(1, 5000));
}

#[tokio::test]
async fn a_prune_waits_for_the_sessions_it_met_and_not_for_later_ones() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    let retired = back_up(&repository, &noise(1, 5000)).await.unwrap();
    let kept = back_up(&repository, &noise(2, 5000)).await.unwrap();
    let reader = repository.begin_reading(new_session(SessionPurpose::Restore)).await.unwrap();
    retire(&repository, retired.id).await;

    let plan = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap();
    let mut prune = repository.begin_prune(plan);
    let until = match prune.advance(&owner(), now(), &|_| {}).await.unwrap() {
        PruneStep::Waiting { until, sessions: 1, .. } => until,
        other => panic!("{other:?}"),
    };
    assert_eq!(until, now());
    // The reader had found it not retired, and reads on.
    let outcome = reader.outcome(retired.id).await.unwrap();
    assert_eq!(read(&reader, &outcome.streams()[0].reference).await.unwrap(), noise(1, 5000));
    let later = repository.begin_reading(new_session(SessionPurpose::Restore)).await.unwrap();
    assert!(matches!(prune.advance(&owner(), now(), &|_| {}).await.unwrap(), PruneStep::Waiting { .. }));

    reader.finish(now()).await.unwrap();
    assert!(matches!(prune.advance(&owner(), now(), &|_| {}).await.unwrap(), PruneStep::Complete(_)));
    assert!(later.outcome(retired.id).await.is_err());
    assert_eq!(names(&store, "packs").await, [kept.packs()[0].to_string()].into());
}

/// A writer may begin just before it could see the mark, and be seen only a delay after that.
#[tokio::test]
async fn on_a_share_that_shows_late_sessions_are_listed_two_delays_after_the_mark() {
    const DELAY: Duration = Duration::from_secs(150);
    let faulty = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())).showing_late(DELAY));
    let store: Arc<dyn Store> = faulty.clone();
    let repository = create_indexed(&store).await;
    let retired = back_up(&repository, &noise(1, 5000)).await.unwrap();
    retire(&repository, retired.id).await;
    let plan = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap();
    let mut prune = repository.begin_prune(plan);
    let step = prune.advance(&owner(), now(), &|_| {}).await.unwrap();
    assert!(matches!(step, PruneStep::Settling { until } if until == now() + 2 * DELAY), "{step:?}");
    // It has begun after the mark and before everybody sees it.
    let writer = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    let early = now() + 2 * DELAY - Duration::from_secs(1);
    let step = prune.advance(&owner(), early, &|_| {}).await.unwrap();
    assert!(matches!(step, PruneStep::Settling { .. }), "{step:?}");
    let step = prune.advance(&owner(), now() + 2 * DELAY, &|_| {}).await.unwrap();
    let ended = matches!(step, PruneStep::Complete(report) if report.sessions_ended == 1);
    assert!(ended, "the writer was seen, and has outlived its life: {step:?}");
    drop(writer);
}

#[tokio::test]
async fn a_session_past_its_life_is_ended_unless_it_renewed() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    let retired = back_up(&repository, &noise(1, 5000)).await.unwrap();
    let lives = |purpose| NewSession { purpose, lives_until: now(), now: now() };
    let dying = repository.begin(lives(SessionPurpose::Backup)).await.unwrap();
    let renewing = repository.begin(lives(SessionPurpose::Export)).await.unwrap();
    renewing.life().renew(now() + 2 * LONG).await.unwrap();
    let (ended, survivor) = (dying.id(), renewing.id());
    retire(&repository, retired.id).await;

    let plan = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap();
    let mut prune = repository.begin_prune(plan);
    match prune.advance(&owner(), now() + LONG, &|_| {}).await.unwrap() {
        PruneStep::Waiting { session, until, sessions } => {
            assert_eq!((session, until, sessions), (survivor, now() + 2 * LONG, 1));
        }
        PruneStep::Settling { .. } | PruneStep::Complete(_) => panic!("one session lives on"),
    }
    assert_eq!(prune.report().sessions_ended, 1);
    let error = write_and_commit(dying, b"too late").await.unwrap_err();
    assert!(matches!(error, CommitError::Ended { session } if session == ended));
    write_and_commit(renewing, b"in time").await.unwrap();
    prune.advance(&owner(), now() + LONG, &|_| {}).await.unwrap();
    assert_eq!(repository.fetch_outcome(ended).await.unwrap().result(), SessionResult::Aborted);
    assert_eq!(read_back(&store, survivor).await.unwrap(), b"in time");
}

#[tokio::test]
async fn a_session_past_its_life_is_ended_even_if_nothing_else_is_to_be_done() {
    let clock = Arc::new(ManualClock::new(now() + LONG));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().with_clock(clock));
    let repository = create_indexed(&store).await;
    drop(repository.begin(new_session(SessionPurpose::Backup)).await.unwrap());
    let plan = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap();
    assert!(plan.to_string().contains("end 1 sessions that have outlived their stated life"), "{plan}");
    assert!(!plan.must_wait());
    prune_all(&repository).await;
    assert!(names(&store, "sessions").await.is_empty());
}

#[tokio::test]
async fn a_session_whose_record_cannot_be_read_is_waited_for_a_week() {
    let site = Site::Memory(MemoryStore::new());
    let store = site.store().await;
    let repository = create_indexed(&store).await;
    let retired = back_up(&repository, &noise(1, 5000)).await.unwrap();
    prune_all(&repository).await;
    let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    let path = site.keys("sessions").await.remove(0);
    site.overwrite(&path, b"damaged".to_vec());
    retire(&repository, retired.id).await;

    let begun = store.time().await.unwrap();
    let day = Duration::from_hours(24);
    let plan = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap();
    let mut prune = repository.begin_prune(plan);
    let step = prune.advance(&owner(), begun + 6 * day, &|_| {}).await.unwrap();
    assert!(matches!(step, PruneStep::Waiting { .. }));
    let step = prune.advance(&owner(), begun + 8 * day, &|_| {}).await.unwrap();
    assert!(matches!(step, PruneStep::Complete(report) if report.sessions_ended == 1));
    drop(session);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_read_stops_every_prune_until_it_is_given_up() {
    let site = Site::Memory(MemoryStore::new());
    let store = site.store().await;
    let repository = create_indexed(&store).await;
    let harmed = back_up(&repository, &noise(1, 5000)).await.unwrap();
    let other = back_up(&repository, &noise(2, 5000)).await.unwrap();
    let path = root().join(&format!("outcomes/{}", harmed.id)).unwrap();
    let mut bytes = site.bytes(&path).await;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    site.overwrite(&path, bytes);

    let error = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::Corrupt, "repository.prune.outcome"));
    assert!(error.to_string().contains(&harmed.id.to_string()));
    assert_eq!(names(&store, "packs").await.len(), 2);

    retire(&repository, harmed.id).await;
    prune_all(&repository).await;
    assert_eq!(names(&store, "packs").await, [other.packs()[0].to_string()].into());
}

/// Writers read every mark, readers list every retirement: both have to go once nothing can come late any more.
#[tokio::test]
async fn marks_verdicts_and_what_refuses_latecomers_go_after_a_fortnight() {
    let clock = Arc::new(ManualClock::new(now()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().with_clock(clock.clone()));
    let repository = create_indexed(&store).await;
    let retired = back_up(&repository, &noise(1, 5000)).await.unwrap();
    repository.begin(new_session(SessionPurpose::Backup)).await.unwrap().life().give_up(now()).await.unwrap();
    retire(&repository, retired.id).await;
    prune_all(&repository).await;
    for folder in ["marks", "verdicts", "retired", "outcomes"] {
        assert_eq!(names(&store, folder).await.len(), 1, "{folder}");
    }
    clock.advance(LATE_EFFECTS);
    prune_all(&repository).await;
    for folder in ["marks", "verdicts", "retired", "outcomes", "sessions", "packs", "index"] {
        assert!(names(&store, folder).await.is_empty(), "{folder}");
    }
}

/// One session writes one index object. Half of its packs die; the mark must not stay for ever on their account.
#[tokio::test]
async fn an_index_object_with_dead_packs_is_written_anew_and_then_the_mark_can_go() {
    let clock = Arc::new(ManualClock::new(now()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().with_clock(clock.clone()));
    let repository = create_indexed(&store).await;
    // Two packs of one session, one of them shared.
    let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    let shared = noise(1, 9_000_000);
    let both = session.write(pieces(&[shared.clone(), noise(2, 25_000_000)].concat())).await.unwrap();
    let first = session.commit(draft(vec![named("data", both)])).await.unwrap();
    let second = back_up(&repository, &shared).await.unwrap();
    assert!(first.packs().len() > second.packs().len());
    retire(&repository, first.id).await;
    prune_all(&repository).await;

    let packs: std::collections::BTreeSet<_> = second.packs().iter().map(ToString::to_string).collect();
    assert_eq!(names(&store, "packs").await, packs);
    assert!(read_back(&store, second.id).await.unwrap() == shared);
    assert!(verify(&store, Depth::Index, &[second.id]).await.is_whole());
    clock.advance(LATE_EFFECTS);
    prune_all(&repository).await;
    assert!(names(&store, "marks").await.is_empty() && names(&store, "verdicts").await.is_empty());
    assert!(read_back(&store, second.id).await.unwrap() == shared);
}

/// An index that was loaded while both the old and the new description of a pack were there knew the pack by the old one
/// alone, and forgot it when that was removed.
#[tokio::test]
async fn a_pack_is_found_by_whoever_knew_it_from_an_index_object_that_is_gone() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    let shared = noise(1, 9_000_000);
    let both = session.write(pieces(&[shared.clone(), noise(2, 25_000_000)].concat())).await.unwrap();
    let first = session.commit(draft(vec![named("data", both)])).await.unwrap();
    let second = back_up(&repository, &shared).await.unwrap();
    retire(&repository, first.id).await;
    prune_once(&repository).await.unwrap();

    let running = repository.begin_reading(new_session(SessionPurpose::Restore)).await.unwrap();
    let plan = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap();
    let mut prune = repository.begin_prune(plan);
    assert!(matches!(prune.advance(&owner(), now(), &|_| {}).await.unwrap(), PruneStep::Waiting { .. }));
    let witness = opened(&store).await;
    let both = names(&store, "index").await.len();
    running.finish(now()).await.unwrap();
    assert!(matches!(prune.advance(&owner(), now(), &|_| {}).await.unwrap(), PruneStep::Complete(_)));
    assert_eq!(names(&store, "index").await.len(), both - 1);

    let reader = witness.begin_reading_unannounced().await.unwrap();
    let outcome = reader.outcome(second.id).await.unwrap();
    assert!(read(&reader, &outcome.streams()[0].reference).await.unwrap() == shared);
}

#[tokio::test]
async fn locked_objects_go_once_their_lock_has_passed() {
    let clock = Arc::new(ManualClock::new(now()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::versioned().with_clock(clock.clone()));
    let repository = create_indexed(&store).await;
    let session = repository.begin(new_session(SessionPurpose::Export)).await.unwrap();
    let reference = session.write(pieces(&noise(1, 5000))).await.unwrap();
    let mut draft = draft(vec![named("data", reference)]);
    draft.retain_until = Some(now() + LONG);
    let outcome = session.commit(draft).await.unwrap();
    prune_all(&repository).await;
    retire(&repository, outcome.id).await;

    let plan = repository.plan_prune(&owner(), &judge(&repository).await).await.unwrap();
    assert!(plan.is_empty(), "{plan}");
    let line = format!("leave 2 locked objects, the last until {}", now() + LONG);
    assert!(plan.to_string().lines().any(|printed| printed == line), "{plan}");
    prune_all(&repository).await;
    assert_eq!(names(&store, "packs").await.len(), 1);

    clock.advance(2 * LONG);
    prune_all(&repository).await;
    for folder in ["packs", "index", "outcomes"] {
        assert!(names(&store, folder).await.is_empty(), "{folder}");
    }
}

#[tokio::test]
async fn half_dead_packs_are_repacked_and_freed() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let (small, large) = (noise(1, 5000), noise(2, 60_000));
        let first = back_up(&repository, &[small.clone(), large].concat()).await.unwrap();
        let second = back_up(&repository, &small).await.unwrap();
        let bystander = back_up(&repository, &noise(3, 5000)).await.unwrap();
        assert!(second.packs().contains(&first.packs()[0]));
        retire(&repository, first.id).await;
        prune_all(&repository).await;
        let before = names(&store, "packs").await;
        assert!(before.contains(&first.packs()[0].to_string()));

        let report = repack(&repository).await.unwrap();
        assert_eq!((report.packs_emptied, report.packs_written, report.packs_damaged), (1, 1, 0));
        assert!((4000..8000).contains(&report.bytes_copied), "{report:?}");
        prune_all(&repository).await;
        let after = names(&store, "packs").await;
        assert!(!after.contains(&first.packs()[0].to_string()), "the old pack is freed");
        assert_eq!(after.len(), before.len());
        for (outcome, content) in [(&second, &small), (&bystander, &noise(3, 5000))] {
            assert!(&read_back(&store, outcome.id).await.unwrap() == content);
        }
        let report = verify(&store, Depth::Full, &[second.id, bystander.id]).await;
        assert!(report.is_whole(), "{:?}", report.findings);

        // Nothing is repacked twice, and with the last outcome all of it goes.
        assert_eq!(repack(&repository).await.unwrap().packs_emptied, 0);
        retire(&repository, second.id).await;
        retire(&repository, bystander.id).await;
        prune_all(&repository).await;
        assert!(names(&store, "packs").await.is_empty());
        assert!(names(&store, "outcomes").await.is_empty());
    }
}

/// A chunk was copied for the outcomes that the repack knew. One that comes later may need others.
#[tokio::test]
async fn an_outcome_that_a_repack_did_not_know_keeps_the_old_pack() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    let (small, large) = (noise(1, 5000), noise(2, 60_000));
    let first = back_up(&repository, &[small.clone(), large.clone()].concat()).await.unwrap();
    let second = back_up(&repository, &small).await.unwrap();
    retire(&repository, first.id).await;
    prune_all(&repository).await;

    let repacking = begin_repack(&repository, ANY_DEAD).await.unwrap();
    // Names chunks of the old pack that nothing needed when the repack looked.
    let late = back_up(&repository, &large).await.unwrap();
    assert!(late.packs().contains(&first.packs()[0]));
    assert_eq!(repacking.carry_out(now()).await.unwrap().packs_emptied, 1);
    prune_all(&repository).await;
    assert!(read_back(&store, late.id).await.unwrap() == large);
    assert!(read_back(&store, second.id).await.unwrap() == small);
    assert!(verify(&store, Depth::Full, &[second.id, late.id]).await.is_whole());
}

/// Its moves would name packs that a prune has freed since.
#[tokio::test]
async fn a_repack_that_was_paused_for_weeks_moves_nothing() {
    let clock = Arc::new(ManualClock::new(now()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().with_clock(clock.clone()));
    let repository = create_indexed(&store).await;
    let small = noise(1, 5000);
    let first = back_up(&repository, &[small.clone(), noise(2, 60_000)].concat()).await.unwrap();
    back_up(&repository, &small).await.unwrap();
    retire(&repository, first.id).await;
    prune_all(&repository).await;
    let paused = begin_repack(&repository, ANY_DEAD).await.unwrap();
    assert!(!paused.plan().is_empty());
    clock.advance(LATE_EFFECTS);
    let error = paused.carry_out(now()).await.unwrap_err();
    assert!(matches!(error, RepackError::Alive { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Conflict);
    assert_eq!(repack(&repository).await.unwrap().packs_emptied, 1);
}

/// Without its record the outcome would need packs again that were freed, and every later run would fail on them.
#[tokio::test]
async fn what_is_retained_longer_includes_the_repacks_that_moved_what_it_needs() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::versioned());
    let repository = create_indexed(&store).await;
    let small = noise(1, 5000);
    let first = back_up(&repository, &[small.clone(), noise(2, 60_000)].concat()).await.unwrap();
    let second = back_up(&repository, &small).await.unwrap();
    retire(&repository, first.id).await;
    prune_all(&repository).await;
    assert_eq!(repack(&repository).await.unwrap().packs_emptied, 1);
    prune_all(&repository).await;

    let until = store.time().await.unwrap() + LONG;
    repository.lengthen(&HashSet::from([second.id]), until).await.unwrap();
    let mut repacks = 0;
    for id in repository.list_outcomes().await.unwrap() {
        let outcome = repository.fetch_outcome(id).await.unwrap();
        if outcome.purpose() == SessionPurpose::Repack && outcome.result() == SessionResult::Committed {
            let path = root().join(&format!("outcomes/{id}")).unwrap();
            assert_eq!(store.head(&path, None).await.unwrap().retain_until, Some(until));
            repacks += 1;
        }
    }
    assert_eq!(repacks, 1);
}

#[tokio::test]
async fn a_repack_keeps_to_its_limit_and_to_its_threshold() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    for seed in 0..3 {
        let small = noise(10 + seed, 5000);
        let first = back_up(&repository, &[small.clone(), noise(20 + seed, 30_000)].concat()).await.unwrap();
        back_up(&repository, &small).await.unwrap();
        retire(&repository, first.id).await;
    }
    prune_all(&repository).await;
    let begin = async |thresholds| begin_repack(&repository, thresholds).await.unwrap();
    let strict = begin(RepackThresholds { dead_percent_min: 95, copied_bytes_max: 1 << 30 }).await;
    assert!(strict.plan().is_empty());
    strict.give_up(now()).await.unwrap();

    let limited = begin(RepackThresholds { dead_percent_min: 50, copied_bytes_max: 1 }).await;
    assert!(limited.plan().to_string().contains("leave 2 half dead packs to the next run"));
    assert_eq!(limited.carry_out(now()).await.unwrap().packs_emptied, 1);
    let rest = begin(RepackThresholds::DEFAULT).await;
    assert_eq!(rest.carry_out(now()).await.unwrap().packs_emptied, 2);
    prune_all(&repository).await;
    assert!(verify(&store, Depth::Full, &[]).await.is_whole());
}
