//! Tables over `decide` and `report`, and a played platform: whatever pass is the last of a process, the next goes on.

use jiff::Timestamp;
use keelson_model::ErrorClass;
use keelson_resources::k10restore::{READY, RecoveryReference, event, reason};
use keelson_resources::recovery::RecoveryState;
use keelson_resources::{Time, condition};
use serde_json::{Value, json};

use super::act::Outcome;
use super::decide::{NewRecovery, Step, Verdict, Waiting, decide};
use super::observe::{Asked, Recoveries, Recovery, Requester, Scene, Trouble};
use super::refusals::{Refusal, Refusals};
use super::report::{Report, report};
use super::{LOOK_AFTER_REFUSAL, LOOK_AT_WORK, LOOK_WAITING, pause_after};

const NOW: Timestamp = Timestamp::constant(1_000_000, 0);
const SOURCE: &str = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa";

fn object(name: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "kasten-io", "uid": format!("uid-of-{name}"), "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": { "sourceClusterID": SOURCE, "profileName": "vault" },
    })
}

fn asked(name: &str) -> Asked {
    Asked::of(object(name))
}

fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Asked {
    let mut object = object(name);
    change(&mut object);
    Asked::of(object)
}

fn requester(name: &str) -> Requester {
    Requester { uid: format!("uid-of-{name}"), name: name.to_owned() }
}

fn recovery(name: &str, of: Option<&str>, state: RecoveryState) -> Recovery {
    Recovery {
        name: name.to_owned(),
        uid: format!("recovery-{name}"),
        asked_by: of.map(requester),
        end_to_see: None,
        spec_hash: asked("any").subject.hash,
        state,
        phase: "Rebuilding the catalog".to_owned(),
        error: String::new(),
        notes: 0,
    }
}

fn begun(name: &str, state: RecoveryState) -> Asked {
    let restore = RecoveryReference {
        name: format!("k10restore-{name}"),
        uid: format!("recovery-k10restore-{name}"),
        spec_hash: asked(name).subject.hash,
        state,
        ..RecoveryReference::default()
    };
    changed(name, |object| object["status"] = json!({ "restore": restore }))
}

fn scene(asked: Vec<Asked>, listed: Vec<Recovery>) -> Scene {
    Scene { asked, recoveries: Recoveries::Listed(listed), now: NOW }
}

#[track_caller]
fn check(scene: &Scene, verdicts: &[Verdict], step: Option<Step>) {
    let plan = decide(scene);
    assert_eq!((plan.verdicts.as_slice(), plan.step), (verdicts, step));
}

fn creates(name: &str) -> Step {
    Step::Create(NewRecovery {
        name: format!("k10restore-{name}"),
        asked_by: requester(name),
        spec_hash: asked(name).subject.hash,
        spec: json!({ "sourceClusterInfo": { "profileName": "vault", "sourceClusterID": SOURCE } }),
    })
}

fn begins(name: &str) -> Verdict {
    Verdict::Begins { name: format!("k10restore-{name}"), spec_hash: asked(name).subject.hash }
}

fn removes(name: &str) -> Option<Step> {
    Some(Step::Remove { name: name.to_owned(), uid: format!("recovery-{name}") })
}

#[test]
fn a_recovery_begins_when_nothing_is_in_its_way_and_the_first_that_asked_comes_first() {
    check(&scene(vec![asked("a")], vec![]), &[begins("a")], Some(creates("a")));
    let after = Verdict::Waits(Waiting::Turn("a".to_owned()));
    check(&scene(vec![asked("a"), asked("b")], vec![]), &[begins("a"), after], Some(creates("a")));
    let leaving =
        changed("a", |object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:01Z"));
    check(&scene(vec![leaving, asked("b")], vec![]), &[Verdict::Leaves, begins("b")], Some(creates("b")));
}

#[test]
fn one_that_cannot_be_carried_out_holds_up_no_other() {
    let nameless = changed("a", |object| object["spec"] = json!({ "sourceClusterID": SOURCE }));
    let faults = vec!["spec.profileName: is required".to_owned()];
    let verdicts = [Verdict::Invalid(faults), begins("b")];
    check(&scene(vec![nameless, asked("b")], vec![]), &verdicts, Some(creates("b")));
    let long = "a".repeat(243);
    let plan = decide(&scene(vec![asked(&long)], vec![]));
    assert!(
        matches!(&plan.verdicts[0], Verdict::Invalid(faults) if faults[0].contains("than 242 characters"))
    );
    assert_eq!(plan.step, None);
}

fn before(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW.as_second() - seconds).unwrap()
}

fn trouble(class: ErrorClass) -> Trouble {
    Trouble { class, message: "said so".to_owned(), hint: Some("do so".to_owned()) }
}

fn denied() -> Verdict {
    Verdict::Refused(trouble(ErrorClass::Denied))
}

/// Refused so many seconds ago.
fn refused(name: &str, seconds: i64) -> Asked {
    let asked = asked(name);
    let (spec_hash, trouble) = (asked.subject.hash, trouble(ErrorClass::Denied));
    Asked { refused: Some(Refusal { spec_hash, at: before(seconds), trouble }), ..asked }
}

/// The others waited for ever behind one whose Secret the operator may not read.
#[test]
fn one_that_the_platform_refuses_passes_its_turn_and_gets_it_again_when_no_other_wants_it() {
    let rests = scene(vec![refused("a", 29)], vec![]);
    check(&rests, &[denied()], None);
    assert_eq!(pause_after(&decide(&rests), None), LOOK_WAITING);
    check(&scene(vec![refused("a", 30)], vec![]), &[begins("a")], Some(creates("a")));
    for seconds in [0, 3600] {
        let passed = scene(vec![refused("a", seconds), asked("b"), asked("c")], vec![]);
        let after = Verdict::Waits(Waiting::Turn("b".to_owned()));
        check(&passed, &[denied(), begins("b"), after], Some(creates("b")));
    }
    let longest = scene(vec![refused("a", 31), refused("b", 40), refused("c", 0)], vec![]);
    check(&longest, &[denied(), begins("b"), denied()], Some(creates("b")));
    // What is to be mended is told while another one is in the way, too.
    let at_work = || recovery("k10restore-b", Some("b"), RecoveryState::Running);
    let followed = Verdict::Followed(at_work());
    let busy = scene(vec![refused("a", 60), begun("b", RecoveryState::Running)], vec![at_work()]);
    check(&busy, &[denied(), followed], None);
}

#[test]
fn who_was_refused_is_remembered_until_its_spec_changes_and_learned_again_by_the_next_process() {
    let look = |refusals: &Refusals, mut asked: Vec<Asked>| {
        refusals.mark(&mut asked);
        scene(asked, vec![])
    };
    let both = || vec![asked("a"), asked("b")];
    for class in [ErrorClass::Denied, ErrorClass::Invalid, ErrorClass::NotFound] {
        let mut refusals = Refusals::default();
        let first = look(&refusals, both());
        let (plan, outcome) = (decide(&first), Outcome::Refused(trouble(class)));
        assert_eq!(plan.step, Some(creates("a")));
        assert_eq!(pause_after(&plan, Some(&outcome)), LOOK_AT_WORK, "the next one begins at once");
        refusals.note(&first, plan.step.as_ref(), Some(&outcome));
        let second = look(&refusals, both());
        check(&second, &[Verdict::Refused(trouble(class)), begins("b")], Some(creates("b")));

        let alone = decide(&look(&Refusals::default(), vec![asked("a")]));
        assert_eq!(pause_after(&alone, Some(&outcome)), LOOK_AFTER_REFUSAL);
        let mended = changed("a", |object| object["spec"]["skipResource"] = json!("secrets"));
        let plan = decide(&look(&refusals, vec![mended, asked("b")]));
        assert!(matches!(&plan.step, Some(Step::Create(new)) if new.asked_by == requester("a")), "{plan:?}");
        refusals.note(&scene(vec![asked("b")], vec![]), None, None);
        check(&look(&refusals, both()), &decide(&first).verdicts, Some(creates("a")));
    }
}

/// The others would be refused just the same.
#[test]
fn what_is_not_the_fault_of_one_takes_its_turn_from_nobody() {
    for class in [ErrorClass::Conflict, ErrorClass::Unavailable { retry_after: None }] {
        let (mut refusals, both) = (Refusals::default(), scene(vec![asked("a"), asked("b")], vec![]));
        let (plan, outcome) = (decide(&both), Outcome::Refused(trouble(class)));
        refusals.note(&both, plan.step.as_ref(), Some(&outcome));
        let mut again = both.clone();
        refusals.mark(&mut again.asked);
        assert_eq!((again, pause_after(&plan, Some(&outcome))), (both, LOOK_AFTER_REFUSAL));
    }
    // Nor what stands in the way of a removal.
    let ended = recovery("by-hand", None, RecoveryState::Failed);
    let plan = decide(&scene(vec![asked("a"), asked("b")], vec![ended]));
    let outcome = Outcome::Refused(trouble(ErrorClass::Denied));
    assert_eq!(pause_after(&plan, Some(&outcome)), LOOK_AFTER_REFUSAL);
}

#[test]
fn another_that_is_at_work_is_waited_for_and_one_that_has_ended_makes_room() {
    let others = recovery("by-hand", None, RecoveryState::Running);
    let waits = Verdict::Waits(Waiting::Recovery("by-hand".to_owned()));
    check(&scene(vec![asked("a")], vec![others]), &[waits], None);
    let ended = recovery("by-hand", None, RecoveryState::Failed);
    let room = Verdict::Waits(Waiting::Room("by-hand".to_owned()));
    check(&scene(vec![asked("a")], vec![ended]), &[room], removes("by-hand"));
}

#[test]
fn what_has_ended_makes_room_only_after_its_end_was_told() {
    let own = recovery("k10restore-a", Some("a"), RecoveryState::Success);
    let room = Verdict::Waits(Waiting::Room("k10restore-a".to_owned()));
    let untold = scene(vec![begun("a", RecoveryState::Running), asked("b")], vec![own.clone()]);
    check(&untold, &[Verdict::Followed(own.clone()), room.clone()], None);
    let told = begun("a", RecoveryState::Success);
    let ended = Verdict::Ended(told.status.restore.clone().unwrap());
    check(&scene(vec![told, asked("b")], vec![own]), &[ended, room], removes("k10restore-a"));
}

/// It was told as failed for ever, with everything put back.
#[test]
fn what_the_platform_has_completed_after_its_failure_was_told_is_told_again() {
    let own = |state| recovery("k10restore-a", Some("a"), state);
    let told = begun("a", RecoveryState::Failed);
    let ended = Verdict::Ended(told.status.restore.clone().unwrap());
    check(&scene(vec![told.clone()], vec![own(RecoveryState::Failed)]), &[ended], None);
    let completed = own(RecoveryState::Success);
    let followed = Verdict::Followed(completed.clone());
    check(&scene(vec![told.clone()], vec![completed]), std::slice::from_ref(&followed), None);
    let report = reported(&told, &followed, None);
    assert_eq!((&report.status["phase"], reasons(&report)), (&json!("Succeeded"), vec!["RecoveryCompleted"]));
}

#[test]
fn a_recovery_without_its_k10restore_goes_on_and_is_removed_when_it_has_ended() {
    let at_work = scene(vec![], vec![recovery("k10restore-a", Some("a"), RecoveryState::Running)]);
    let plan = decide(&at_work);
    assert_eq!((plan.step, plan.orphans.len()), (None, 1));
    assert_eq!(plan.orphans[0].asked_by, requester("a"));
    let ended = scene(vec![], vec![recovery("k10restore-a", Some("a"), RecoveryState::Success)]);
    check(&ended, &[], removes("k10restore-a"));
    // Somebody else's is nobody's to sweep.
    check(&scene(vec![], vec![recovery("by-hand", None, RecoveryState::Success)]), &[], None);
    // A new one of the same name is another.
    let again = changed("a", |object| object["metadata"]["uid"] = json!("uid-of-another"));
    let waits = Verdict::Waits(Waiting::Recovery("k10restore-a".to_owned()));
    let at_work = recovery("k10restore-a", Some("a"), RecoveryState::Running);
    check(&scene(vec![again], vec![at_work]), &[waits], None);
}

/// A Job that asks for a recovery marks it by its own uid, under the same annotation.
#[test]
fn only_what_a_k10restore_asked_for_is_swept() {
    let mut object = json!({
        "metadata": { "name": "k10-restore", "uid": "u", "annotations": { "keelson.io/request": "uid-of-a-job" } },
        "status": { "state": "success" },
    });
    let of_a_job = Recovery::of(&object);
    assert_eq!((&of_a_job.asked_by, of_a_job.state), (&None, RecoveryState::Success));
    check(&scene(vec![], vec![of_a_job]), &[], None);
    object["metadata"]["annotations"]["keelson.io/k10restore"] = json!("a");
    let swept = Recovery::of(&object);
    let uid = swept.uid.clone();
    check(&scene(vec![], vec![swept]), &[], Some(Step::Remove { name: "k10-restore".to_owned(), uid }));
}

/// The Job's next pod found a restore of somebody else's, and the Job failed although its own had gone well.
#[test]
fn what_a_job_asked_for_is_left_until_its_next_pod_can_have_seen_its_end() {
    let ended = |annotations: Value, end: Timestamp| {
        let of_a_job = Recovery::of(&json!({
            "metadata": { "name": "k10-restore", "uid": "recovery-k10-restore", "annotations": annotations },
            "status": { "state": "success", "endTime": Time(end) },
        }));
        scene(vec![asked("a")], vec![of_a_job])
    };
    let room = Verdict::Waits(Waiting::Room("k10-restore".to_owned()));
    let of_a_job = || json!({ "keelson.io/request": "uid-of-a-job" });
    // The clock of the platform may be a little ahead, and one that is far ahead holds up nothing.
    for (seconds, is_left) in [(0, true), (59, true), (-59, true), (60, false), (-86_400, false)] {
        let scene = ended(of_a_job(), before(seconds));
        let step = removes("k10-restore").filter(|_| !is_left);
        check(&scene, std::slice::from_ref(&room), step);
        if is_left {
            assert_eq!(pause_after(&decide(&scene), None), LOOK_WAITING, "it is looked at again in time");
        }
    }
    // Nobody comes back for one that was made by hand.
    check(&ended(Value::Null, NOW), std::slice::from_ref(&room), removes("k10-restore"));
    let told = reported(&asked("a"), &room, None);
    assert!(told.status["hint"].as_str().unwrap().contains("60 s after its end"), "{}", told.status);
}

#[test]
fn without_a_platform_nothing_is_begun_and_nothing_is_taken_for_lost() {
    let told = begun("a", RecoveryState::Running);
    let reference = told.status.restore.clone().unwrap();
    let asked = vec![told.clone(), asked("b")];
    let absent = Scene { asked, recoveries: Recoveries::NotServed, now: NOW };
    let plan = decide(&absent);
    assert!(matches!(&plan.verdicts[0], Verdict::OutOfSight(found, _) if *found == reference));
    assert_eq!((&plan.verdicts[1], plan.step), (&Verdict::Waits(Waiting::NotServed), None));
    check(&scene(vec![told], vec![]), &[Verdict::Lost(reference)], None);
}

fn reported(asked: &Asked, verdict: &Verdict, outcome: Option<&Outcome>) -> Report {
    report(asked, verdict, outcome, NOW)
}

fn condition<'a>(report: &'a Report, kind: &str) -> &'a Value {
    let conditions = report.status["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

fn reasons(report: &Report) -> Vec<&'static str> {
    report.events.iter().map(|note| note.reason).collect()
}

#[test]
fn the_status_follows_the_recovery_to_its_end() {
    let created = Outcome::Created { uid: "recovery-k10restore-a".to_owned() };
    let first = reported(&asked("a"), &begins("a"), Some(&created));
    assert_eq!(
        (&first.status["phase"], &first.status["restore"]["uid"]),
        (&json!("Running"), &json!("recovery-k10restore-a"))
    );
    assert_eq!(condition(&first, READY)["reason"], reason::RUNNING);
    assert_eq!(reasons(&first), [event::STARTED]);

    let next = changed("a", |object| object["status"] = first.status.clone());
    let mut own = recovery("k10restore-a", Some("a"), RecoveryState::Running);
    let second = reported(&next, &Verdict::Followed(own.clone()), None);
    assert_eq!(second.status["restore"]["phase"], "Rebuilding the catalog");
    assert_eq!(second.status["restore"]["percent"], 25);
    assert_eq!(reasons(&second), [""; 0]);

    // A phase that is not known takes nothing back.
    own.phase = "Counting sheep".to_owned();
    let next = changed("a", |object| object["status"] = second.status.clone());
    assert_eq!(reported(&next, &Verdict::Followed(own.clone()), None).status["restore"]["percent"], 25);

    (own.state, own.notes) = (RecoveryState::Success, 2);
    let last = reported(&next, &Verdict::Followed(own), None);
    assert_eq!(
        (&last.status["phase"], &last.status["restore"]["percent"]),
        (&json!("Succeeded"), &json!(100))
    );
    assert_eq!(condition(&last, READY)["status"], "True");
    assert_eq!(condition(&last, READY)["lastTransitionTime"], json!(Time(NOW)));
    assert!(last.status["message"].as_str().unwrap().contains("2 objects"), "{}", last.status);
    assert!(last.status["hint"].as_str().unwrap().contains("k10-dr-remove-to-get-ownership"));
    assert_eq!(reasons(&last), [condition::event::RECOVERY_COMPLETED]);

    // And stays, without another write.
    let next = changed("a", |object| object["status"] = last.status.clone());
    let ended = Verdict::Ended(next.status.restore.clone().unwrap());
    let same = reported(&next, &ended, None);
    assert_eq!((&same.status, reasons(&same)), (&last.status, vec![]));
}

#[test]
fn a_failure_is_told_with_its_hint() {
    let mut own = recovery("k10restore-a", Some("a"), RecoveryState::Failed);
    own.error = "no slot opens with this passphrase; hint: put the right one".to_owned();
    let failed = reported(&asked("a"), &Verdict::Followed(own), None);
    let told = (&failed.status["phase"], &failed.status["message"], &failed.status["hint"]);
    let (message, hint) = (json!("no slot opens with this passphrase"), json!("put the right one"));
    assert_eq!(told, (&json!("Failed"), &message, &hint));
    assert_eq!(condition(&failed, READY)["reason"], reason::FAILED);
    assert_eq!(reasons(&failed), [condition::event::RECOVERY_FAILED]);
}

#[test]
fn a_spec_that_was_changed_after_the_beginning_is_refused_and_changes_nothing() {
    let other = |object: &mut Value| {
        object["status"] = begun("a", RecoveryState::Success).subject.object["status"].clone();
        object["spec"]["skipResource"] = json!("secrets");
    };
    let asked = changed("a", other);
    let reference = asked.status.restore.clone().unwrap();
    check(&scene(vec![asked.clone()], vec![]), &[Verdict::Ended(reference.clone())], None);
    let told = reported(&asked, &Verdict::Ended(reference), None);
    let valid = condition(&told, condition::kind::VALID);
    assert_eq!((&valid["status"], &valid["reason"]), (&json!("False"), &json!(reason::SPEC_CHANGED)));
    assert!(valid["message"].as_str().unwrap().contains("make another K10restore"), "{valid}");
    assert_eq!(told.status["phase"], "Succeeded");
    assert!(reasons(&told).contains(&event::SPEC_CHANGED));
}

#[test]
fn what_is_in_the_way_is_said() {
    let check = |verdict: Verdict, outcome: Option<Outcome>, phase: &str, why: &str, words: &str| {
        let told = reported(&asked("a"), &verdict, outcome.as_ref());
        assert_eq!((&told.status["phase"], &condition(&told, READY)["reason"]), (&json!(phase), &json!(why)));
        let message = condition(&told, READY)["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    };
    let away = ErrorClass::Unavailable { retry_after: None };
    let waits = Verdict::Waits;
    check(waits(Waiting::NotServed), None, "Pending", reason::NOT_INSTALLED, "is not installed here");
    check(waits(Waiting::Unreachable(trouble(away))), None, "Pending", "Unavailable", "said so");
    check(waits(Waiting::Recovery("x".to_owned())), None, "Pending", reason::WAITING, "'x' is at work");
    check(waits(Waiting::Turn("x".to_owned())), None, "Pending", reason::WAITING, "'x' was asked for before");
    let denied = Outcome::Refused(trouble(ErrorClass::Denied));
    check(waits(Waiting::Room("x".to_owned())), Some(denied.clone()), "Pending", "Denied", "said so");
    check(begins("a"), Some(denied), "Pending", "Denied", "said so");
    let invalid = Outcome::Refused(trouble(ErrorClass::Invalid));
    check(begins("a"), Some(invalid), "Failed", condition::reason::SPEC_INVALID, "said so");
    let taken = Outcome::Refused(trouble(ErrorClass::Conflict));
    check(begins("a"), Some(taken), "Pending", reason::WAITING, "said so");
    let faults = vec!["one".to_owned(), "two".to_owned()];
    check(Verdict::Invalid(faults), None, "Failed", condition::reason::SPEC_INVALID, "one; two");
}

#[test]
fn what_a_refused_one_is_told_stays_while_it_waits_to_be_asked_for_again() {
    for class in [ErrorClass::Denied, ErrorClass::Invalid, ErrorClass::NotFound] {
        let at_once = reported(&asked("a"), &begins("a"), Some(&Outcome::Refused(trouble(class))));
        let later = changed("a", |object| object["status"] = at_once.status.clone());
        for outcome in [None, Some(Outcome::Created { uid: "of-another".to_owned() }), Some(Outcome::Removed)]
        {
            let told = reported(&later, &Verdict::Refused(trouble(class)), outcome.as_ref());
            assert_eq!((&told.status, reasons(&told)), (&at_once.status, vec![]), "{class:?} {outcome:?}");
        }
    }
}

#[test]
fn fields_that_mean_nothing_are_a_condition_and_no_fault() {
    let asked = changed("a", |object| object["spec"]["airgapped"] = json!({ "repository": "repo" }));
    let told = reported(&asked, &Verdict::Waits(Waiting::NotServed), None);
    let ignored = condition(&told, condition::kind::IGNORED);
    assert!(ignored["message"].as_str().unwrap().ends_with("airgapped"), "{ignored}");
    assert_eq!(condition(&told, condition::kind::VALID)["status"], "True");
}

/// A cluster in which a pass may be cut off after any of its effects.
#[derive(Debug, Clone)]
struct Played {
    asked: Value,
    recovery: Option<Recovery>,
    made: usize,
}

impl Played {
    /// A pass that ends after so many effects. How many there were.
    fn pass(&mut self, effects_max: usize) -> usize {
        let asked = Asked::of(self.asked.clone());
        let plan = decide(&scene(vec![asked.clone()], self.recovery.iter().cloned().collect()));
        let mut effects = 0;
        let outcome = match plan.step {
            Some(Step::Create(new)) if effects < effects_max => {
                effects += 1;
                self.made += 1;
                let mut made = recovery(&new.name, Some("a"), RecoveryState::Running);
                (made.asked_by, made.spec_hash) = (Some(new.asked_by), new.spec_hash);
                let uid = made.uid.clone();
                self.recovery = Some(made);
                Some(Outcome::Created { uid })
            }
            None => None,
            step => panic!("{step:?}"),
        };
        let told = reported(&asked, &plan.verdicts[0], outcome.as_ref());
        if effects < effects_max && told.status != self.asked["status"] {
            self.asked["status"] = told.status;
            effects += 1;
        }
        effects
    }
}

#[test]
fn it_runs_once_wherever_a_process_ends() {
    for first in 1..=2 {
        for second in 1..=2 {
            let mut played = Played { asked: object("a"), recovery: None, made: 0 };
            assert_eq!(played.pass(first), first);
            played.pass(second);
            played.recovery.as_mut().unwrap().state = RecoveryState::Success;
            played.pass(1);
            assert_eq!(played.asked["status"]["phase"], "Succeeded", "{first} {second}");
            // Whoever removes what has ended makes nothing begin again.
            played.recovery = None;
            assert_eq!((played.pass(9), played.made), (0, 1), "{first} {second}");
        }
    }
}
