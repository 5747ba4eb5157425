//! Tables over `decide` and `report`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keelson_model::ErrorClass;
use keelson_protection::validation::{Dialect, LockMode, ProfileVerdict};
use keelson_resources::Time;
use keelson_resources::condition::{event, kind};
use keelson_resources::profile::ProfileStatus;
use keelson_workload::EventSeverity;
use serde_json::{Value, json};

use super::decide::{Decision, Step, decide};
use super::observe::{Basis, Observed, Placement};
use super::report::report;
use crate::looks::{Found, Look};
use crate::status::{FAILED, SUCCESS};
use crate::subject::{Lifetime, Subject};

const NOW: Timestamp = Timestamp::constant(1_000_000, 0);

/// A profile that was found writable a minute ago.
fn observed() -> Observed {
    let subject = Subject::of(json!({
        "metadata": {"namespace": "kasten-io", "name": "vaulted", "uid": "u-1", "generation": 3},
        "spec": {"type": "Location"},
    }));
    let (uid, hash) = (subject.uid.clone(), subject.hash);
    let basis = Basis { uid, hash, credentials: Some("7".to_owned()), passphrase: None };
    let status = ProfileStatus {
        validation: Some(SUCCESS.to_owned()),
        hash: Some(i64::from(subject.hash)),
        observed_generation: Some(3),
        ..ProfileStatus::default()
    };
    let last = Some(Look { basis: basis.clone(), at: NOW - SignedDuration::from_secs(60), failures: 0 });
    Observed { subject, placement: Placement::Installed, status, basis, last }
}

fn fail(observed: &mut Observed, times: u32) {
    observed.last.as_mut().unwrap().failures = times;
    observed.status.validation = Some(FAILED.to_owned());
}

#[test]
fn a_profile_is_tried_when_something_changed_or_the_last_look_is_old() {
    let check = |what: &str, change: fn(&mut Observed), expected: Decision| {
        let mut observed = observed();
        change(&mut observed);
        assert_eq!(decide(&observed, NOW), expected, "{what}");
    };
    let wait = |seconds| Decision::Wait(Some(Duration::from_secs(seconds)));
    let tries = || Decision::Look(Step::TryLocation);
    check("nothing changed", |_| (), wait(540));
    check("the process is new", |observed| observed.last = None, tries());
    check("another spec", |observed| observed.basis.hash += 1, tries());
    check("made anew under its name", |observed| observed.basis.uid = "u-2".to_owned(), tries());
    check("another Secret", |observed| observed.basis.credentials = Some("8".to_owned()), tries());
    check("the Secret is gone", |observed| observed.basis.credentials = None, tries());
    check("another region", |observed| observed.basis.passphrase = Some("9".to_owned()), tries());
    check("no status", |observed| observed.status = ProfileStatus::default(), tries());
    check("the status is of another spec", |observed| observed.status.hash = Some(1), tries());
    check("the opposite", |observed| observed.status.validation = Some(FAILED.to_owned()), tries());
    check("a word of somebody else", |observed| observed.status.validation = Some("Fine".into()), tries());
    check(
        "on its way out",
        |observed| observed.subject.lifetime = Lifetime::BeingDeleted,
        Decision::Wait(None),
    );
    check("failed twice, a minute ago", |observed| fail(observed, 2), Decision::Look(Step::TryLocation));
    check("failed four times", |observed| fail(observed, 4), wait(60));
    check(
        "on generation alone nothing is tried",
        |observed| observed.subject.generation = Some(4),
        wait(540),
    );
}

#[test]
fn a_profile_outside_the_install_namespace_is_refused_without_trying_it() {
    let mut misplaced = observed();
    misplaced.last = None;
    misplaced.placement = Placement::Misplaced { install_namespace: "kasten-io".to_owned() };
    let Decision::Look(Step::Refuse { errors }) = decide(&misplaced, NOW) else {
        panic!("it is refused");
    };
    assert_eq!(errors, ["a profile counts only in namespace 'kasten-io': create it there"]);
}

/// The conditions as `type=status/reason`.
fn conditions(status: &Value) -> Vec<String> {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
    let list = status["conditions"].as_array().unwrap().iter();
    list.map(|one| format!("{}={}/{}", text(one, "type"), text(one, "status"), text(one, "reason"))).collect()
}

fn failed(class: ErrorClass) -> ProfileVerdict {
    ProfileVerdict::Failed { errors: vec!["no such bucket".to_owned(), "hint: make it".to_owned()], class }
}

#[test]
fn each_verdict_has_its_status() {
    let check = |verdict: &ProfileVerdict, validation: &str, read_only: Value, expected: &[&str]| {
        let report = report(&observed(), verdict, NOW);
        assert_eq!(report.status["validation"], validation, "{verdict:?}");
        assert_eq!(report.status.get("readOnly").cloned().unwrap_or_default(), read_only, "{verdict:?}");
        assert_eq!(report.status["hash"], observed().subject.hash);
        assert_eq!(report.status["observedGeneration"], 3);
        assert_eq!(conditions(&report.status), expected, "{verdict:?}");
        assert_eq!(report.found == Found::Failed, validation == FAILED);
    };
    check(&ProfileVerdict::Writable(None), SUCCESS, Value::Null, &["Valid=True/Validated"]);
    check(
        &ProfileVerdict::ReadOnly { reason: "no right to write".to_owned() },
        SUCCESS,
        Value::Bool(true),
        &["Valid=True/Validated", "Reachable=True/Validated", "Writable=False/ReadOnly"],
    );
    check(
        &failed(ErrorClass::Invalid),
        FAILED,
        Value::Null,
        &["Valid=False/SpecInvalid", "Reachable=Unknown/SpecInvalid", "Writable=Unknown/SpecInvalid"],
    );
    check(
        &failed(ErrorClass::NotFound),
        FAILED,
        Value::Null,
        &["Valid=True/Validated", "Reachable=False/NotFound", "Writable=Unknown/ProbeFailed"],
    );
    let status = report(&observed(), &failed(ErrorClass::Denied), NOW).status;
    assert_eq!(status["error"], json!(["no such bucket", "hint: make it"]));
}

#[test]
fn an_event_tells_of_a_verdict_that_changed_and_of_no_other() {
    let check = |before: (&str, Option<bool>), verdict: &ProfileVerdict, expected: &[&str]| {
        let mut observed = observed();
        (observed.status.validation, observed.status.read_only) = (Some(before.0.to_owned()), before.1);
        let events = report(&observed, verdict, NOW).events;
        let reasons: Vec<_> = events.iter().map(|note| note.reason).collect();
        assert_eq!(reasons, expected, "{before:?} {verdict:?}");
        assert!(events.iter().all(|note| {
            (note.severity == EventSeverity::Warning) == (note.reason == event::PROFILE_FAILED)
        }));
    };
    let writable = ProfileVerdict::Writable(None);
    let read_only = ProfileVerdict::ReadOnly { reason: "locked".to_owned() };
    let failed = failed(ErrorClass::NotFound);
    check((SUCCESS, None), &writable, &[]);
    check((FAILED, None), &failed, &[]);
    check((SUCCESS, Some(true)), &read_only, &[]);
    check(("", None), &writable, &[event::PROFILE_VALIDATED]);
    check((FAILED, None), &writable, &[event::PROFILE_VALIDATED]);
    check((SUCCESS, None), &read_only, &[event::PROFILE_VALIDATED]);
    check((SUCCESS, None), &failed, &[event::PROFILE_FAILED]);
}

#[test]
fn a_verdict_that_stays_changes_nothing_in_the_status() {
    let mut observed = observed();
    let first = report(&observed, &failed(ErrorClass::NotFound), NOW);
    observed.status = serde_json::from_value(first.status.clone()).unwrap();
    let later = report(&observed, &failed(ErrorClass::NotFound), NOW + SignedDuration::from_secs(900));
    assert_eq!(later.status, first.status);
    let mended = report(&observed, &ProfileVerdict::Writable(None), NOW + SignedDuration::from_secs(900));
    assert_eq!(mended.status.get("error"), None);
    let status: ProfileStatus = serde_json::from_value(mended.status).unwrap();
    let valid = status.conditions.iter().find(|condition| condition.r#type == kind::VALID).unwrap();
    assert_eq!(valid.last_transition_time, Time(NOW));
}

/// What a look found of a location that locks so.
fn locking(lock_mode: Option<LockMode>) -> ProfileVerdict {
    ProfileVerdict::Writable(Some(Dialect {
        writable: true,
        reason: None,
        conditional_create: true,
        versions: true,
        object_lock: true,
        lock_mode,
        expires_versions: false,
        clock_difference: SignedDuration::ZERO,
        listing_delay: SignedDuration::ZERO,
        warnings: Vec::new(),
    }))
}

/// Somebody took the default retention from the bucket, and what was written from then on was locked less firmly without
/// a word.
#[test]
fn a_bucket_that_asks_for_compliance_no_more_is_told_of_once_and_until_it_does_again() {
    let mut observed = observed();
    let mut look = |spec_changes: u32, verdict: ProfileVerdict, locked: Option<&str>, events: &[&str]| {
        observed.subject.hash += spec_changes;
        let report = report(&observed, &verdict, NOW);
        let told = conditions(&report.status).into_iter().find(|told| told.starts_with(kind::LOCKED));
        assert_eq!(told.as_deref(), locked, "{verdict:?} after {:?}", observed.status);
        let reasons: Vec<_> = report.events.iter().map(|note| note.reason).collect();
        assert_eq!(reasons, events, "{verdict:?} after {:?}", observed.status);
        observed.status = serde_json::from_value(report.status).unwrap();
    };
    let governance = || locking(Some(LockMode::Governance));
    let compliance = || locking(Some(LockMode::Compliance));
    let away = || failed(ErrorClass::NotFound);
    let (lost, failed, validated) = (event::COMPLIANCE_LOST, event::PROFILE_FAILED, event::PROFILE_VALIDATED);

    look(0, governance(), Some("Locked=True/Governance"), &[]);
    look(0, compliance(), Some("Locked=True/Compliance"), &[]);
    look(0, governance(), Some("Locked=False/ComplianceLost"), &[lost]);
    look(0, governance(), Some("Locked=False/ComplianceLost"), &[]);
    look(0, away(), Some("Locked=Unknown/ComplianceLost"), &[failed]);
    look(0, governance(), Some("Locked=False/ComplianceLost"), &[validated]);
    look(0, compliance(), Some("Locked=True/Compliance"), &[]);
    look(0, away(), Some("Locked=Unknown/Compliance"), &[failed]);
    look(0, governance(), Some("Locked=False/ComplianceLost"), &[validated, lost]);
    // Perhaps it names another bucket.
    look(1, governance(), Some("Locked=True/Governance"), &[]);
    look(1, locking(None), None, &[]);
    look(0, away(), None, &[failed]);
}
