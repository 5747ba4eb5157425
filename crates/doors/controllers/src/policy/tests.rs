//! Tables over `decide` and `report`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keelson_model::ErrorClass;
use keelson_model::location::ProfileHealth;
use keelson_model::names::DR_POLICY;
use keelson_protection::validation::PolicyVerdict;
use keelson_resources::Time;
use keelson_resources::condition::event;
use keelson_resources::policy::{self, PolicyStatus};
use serde_json::{Value, json};

use super::decide::{Decision, Step, decide};
use super::observe::{Basis, NamedProfile, Observed};
use super::report::{report, report_pending};
use crate::looks::Look;
use crate::status::{FAILED, SUCCESS};
use crate::subject::{Lifetime, Subject};

const NOW: Timestamp = Timestamp::constant(1_000_000, 0);

fn named(health: ProfileHealth) -> NamedProfile {
    NamedProfile { name: "vaulted".to_owned(), found: Some((Some(1), health)) }
}

/// A policy of this name that was found sound a minute ago.
fn observed(name: &str) -> Observed {
    let reference = json!({"name": "vaulted", "namespace": "kasten-io"});
    let namespace = if name == DR_POLICY { "kasten-io" } else { "shop" };
    let expression = json!({"key": "k10.kasten.io/appNamespace", "operator": "In", "values": [namespace]});
    let subject = Subject::of(json!({
        "metadata": {"namespace": "kasten-io", "name": name, "uid": "u-1", "generation": 2},
        "spec": {
            "frequency": "@hourly",
            "retention": {"hourly": 4},
            "selector": {"matchExpressions": [expression]},
            "actions": [{"action": "backup", "backupParameters": {"profile": reference}}],
        },
    }));
    let parsed = policy::parse(&subject.object);
    assert_eq!(parsed.as_ref().err(), None);
    let profiles = vec![named(ProfileHealth::Writable)];
    let basis = Basis {
        uid: subject.uid.clone(),
        hash: subject.hash,
        preset: None,
        profiles,
        passphrase: Some("7".to_owned()),
    };
    let status = PolicyStatus {
        validation: Some(SUCCESS.to_owned()),
        hash: Some(i64::from(subject.hash)),
        spec_modified_time: Some(Time(Timestamp::UNIX_EPOCH)),
        observed_generation: Some(2),
        observed_passphrase: Some("7".to_owned()),
        ..PolicyStatus::default()
    };
    let last = Some(Look { basis: basis.clone(), at: NOW - SignedDuration::from_secs(60), failures: 0 });
    Observed { subject, awaits_preset: false, parsed, status, basis, last }
}

#[test]
fn a_policy_is_checked_when_it_or_a_profile_it_names_changed() {
    let check = |what: &str, change: fn(&mut Observed), is_checked: bool| {
        let mut observed = observed("nightly");
        change(&mut observed);
        let decision = decide(&observed, NOW);
        assert_eq!(matches!(decision, Decision::Look(Step::Validate(_))), is_checked, "{what}: {decision:?}");
    };
    check("nothing changed", |_| (), false);
    check("the process is new", |observed| observed.last = None, true);
    check("the passphrase changed", |observed| observed.basis.passphrase = Some("8".to_owned()), true);
    check("the passphrase is gone", |observed| observed.basis.passphrase = None, true);
    check("another spec", |observed| observed.basis.hash += 1, true);
    check(
        "its preset is being looked at",
        |observed| (observed.awaits_preset, observed.last) = (true, None),
        false,
    );
    check("another preset", |observed| observed.basis.preset = Some((1, Value::Null)), true);
    check(
        "its profile failed",
        |observed| observed.basis.profiles = vec![named(ProfileHealth::Failed)],
        true,
    );
    check("its profile is gone", |observed| observed.basis.profiles[0].found = None, true);
    check(
        "its profile changed",
        |observed| observed.basis.profiles[0].found.as_mut().unwrap().0 = None,
        true,
    );
    // The write of what was found is spared where the status is known to say so: that may be what it said before.
    check("the status tells of no passphrase", |observed| observed.status.observed_passphrase = None, true);
    check(
        "the status tells the opposite",
        |observed| observed.status.validation = Some(FAILED.to_owned()),
        true,
    );
    check("no status", |observed| observed.status = PolicyStatus::default(), true);
    check("on its way out", |observed| observed.subject.lifetime = Lifetime::BeingDeleted, false);
    let pause = decide(&observed("nightly"), NOW);
    assert_eq!(pause, Decision::Wait(Some(Duration::from_secs(540))));
}

#[test]
fn a_policy_that_does_not_parse_is_refused_with_its_faults() {
    let mut observed = observed("nightly");
    observed.parsed = Err(vec!["spec.frequency is required".to_owned()]);
    observed.last = None;
    let errors = vec!["spec.frequency is required".to_owned()];
    assert_eq!(decide(&observed, NOW), Decision::Look(Step::Refuse { errors }));
}

fn conditions(status: &Value) -> Vec<String> {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
    let list = status["conditions"].as_array().unwrap().iter();
    list.map(|one| format!("{}={}/{}", text(one, "type"), text(one, "status"), text(one, "reason"))).collect()
}

fn sound() -> PolicyVerdict {
    PolicyVerdict::Sound { warnings: Vec::new(), source_trouble: None }
}

fn failed(class: ErrorClass) -> PolicyVerdict {
    PolicyVerdict::Failed { errors: vec!["not like this".to_owned()], class }
}

#[test]
fn a_failure_is_named_after_its_cause() {
    let check = |change: fn(&mut Observed), class: ErrorClass, expected: &[&str]| {
        let mut observed = observed(DR_POLICY);
        change(&mut observed);
        let status = report(&observed, &failed(class), NOW).status;
        assert_eq!(status["validation"], FAILED);
        assert_eq!(status["error"], json!(["not like this"]));
        assert_eq!(conditions(&status), expected);
    };
    check(
        |observed| observed.parsed = Err(Vec::new()),
        ErrorClass::Invalid,
        &["Valid=False/SpecInvalid", "Protected=False/SpecInvalid"],
    );
    check(
        |observed| observed.basis.profiles[0].found = None,
        ErrorClass::NotFound,
        &["Valid=False/ProfileUnfit", "Protected=False/ProfileUnfit"],
    );
    check(|_| (), ErrorClass::Denied, &["Valid=False/Denied", "Protected=False/Denied"]);
}

#[test]
fn an_event_tells_of_a_verdict_that_changed_and_of_no_other() {
    let check = |name: &str, before: &str, verdict: &PolicyVerdict, expected: &[&str]| {
        let mut observed = observed(name);
        observed.status.validation = Some(before.to_owned());
        let events = report(&observed, verdict, NOW).events;
        let reasons: Vec<_> = events.iter().map(|note| note.reason).collect();
        assert_eq!(reasons, expected, "{name} {before} {verdict:?}");
    };
    let sound = sound();
    let failed = failed(ErrorClass::NotFound);
    check("nightly", SUCCESS, &sound, &[]);
    check("nightly", FAILED, &failed, &[]);
    check("nightly", FAILED, &sound, &[event::POLICY_VALIDATED]);
    check("nightly", "", &failed, &[event::POLICY_FAILED]);
    check(DR_POLICY, "", &sound, &[event::POLICY_VALIDATED, event::PROTECTION_ENABLED]);
}

#[test]
fn the_time_of_a_change_stays_until_the_next_change() {
    let mut observed = observed("nightly");
    let status = report(&observed, &sound(), NOW).status;
    assert_eq!(status["specModifiedTime"], "1970-01-01T00:00:00Z");
    assert_eq!(conditions(&status), ["Valid=True/Validated"]);
    observed.status.hash = Some(1);
    let status = report(&observed, &sound(), NOW).status;
    assert_eq!(status["specModifiedTime"], Time(NOW).to_string());
}

#[test]
fn a_verdict_about_another_specification_is_pending_until_it_is_made_again() {
    let mut observed = observed("nightly");
    assert_eq!(report_pending(&observed), None);
    observed.status.hash = Some(1);
    let report = report_pending(&observed).expect("a stale verdict");
    assert_eq!((&report.status["validation"], &report.status["hash"]), (&json!("Pending"), &json!(1)));
    observed.status.validation = None;
    assert_eq!(report_pending(&observed), None);
}

#[test]
fn what_is_not_done_for_a_policy_is_a_condition_of_it() {
    let mut observed = observed("nightly");
    observed.parsed.as_mut().unwrap().ignored = vec!["spec.enableStaggering: no".to_owned()];
    let status = report(&observed, &sound(), NOW).status;
    assert_eq!(conditions(&status), ["Valid=True/Validated", "Ignored=True/NotSupported"]);
    assert_eq!(status["conditions"][1]["message"], "spec.enableStaggering: no");
}

#[test]
fn what_is_weak_about_the_platforms_own_backup_is_told_and_does_not_stop_it() {
    let mut observed = observed(DR_POLICY);
    observed.status.validation = None;
    let warnings = vec!["it is locked too briefly".to_owned()];
    let verdict = PolicyVerdict::Sound { warnings, source_trouble: None };
    let report = report(&observed, &verdict, NOW);
    assert_eq!(report.status["validation"], SUCCESS);
    assert_eq!(conditions(&report.status), ["Valid=True/Validated", "Protected=True/Validated"]);
    assert_eq!(report.status["conditions"][1]["message"], "it is locked too briefly");
    let told = report.events.iter().find(|note| note.reason == event::PROTECTION_ENABLED).unwrap();
    assert_eq!(told.text, "the platform protects itself; it is locked too briefly");
}

#[test]
fn a_source_of_the_passphrase_that_is_away_is_a_condition_and_stops_nothing() {
    let observed = observed(DR_POLICY);
    let verdict = PolicyVerdict::Sound { warnings: Vec::new(), source_trouble: Some("sealed".to_owned()) };
    let report = report(&observed, &verdict, NOW);
    assert_eq!(report.status["validation"], SUCCESS);
    let expected = [
        "Valid=True/Validated",
        "Protected=True/Validated",
        "PassphraseReadable=False/PassphraseSourceFailed",
    ];
    assert_eq!(conditions(&report.status), expected);
    assert_eq!(report.status["conditions"][2]["message"], "sealed");
}
