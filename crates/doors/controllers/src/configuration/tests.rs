//! Tables over `decide` and `report`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keelson_resources::condition::event;
use keelson_resources::configuration::{CONFIGURATION, ConfigurationStatus, Validation};
use serde_json::{Value, json};

use super::decide::{Decision, decide};
use super::observe::{Basis, Observed};
use super::report::report;
use crate::looks::Look;
use crate::status::{FAILED, SUCCESS};
use crate::subject::{Lifetime, Subject};

const NOW: Timestamp = Timestamp::constant(1_000_000, 0);

fn validation(kind: &str) -> &'static Validation {
    CONFIGURATION.iter().find(|of| of.kind == kind).unwrap().validation.unwrap()
}

/// A preset that was found sound a minute ago.
fn observed() -> Observed {
    let subject = Subject::of(json!({
        "metadata": { "namespace": "kasten-io", "name": "gold", "uid": "u-1", "generation": 3 },
        "spec": { "backup": {} },
    }));
    let basis = Basis { uid: subject.uid.clone(), hash: subject.hash, faults: Vec::new() };
    let status = ConfigurationStatus {
        validation: Some(SUCCESS.to_owned()),
        hash: Some(i64::from(subject.hash)),
        observed_generation: Some(3),
        ..ConfigurationStatus::default()
    };
    let last = Some(Look { basis: basis.clone(), at: NOW - SignedDuration::from_secs(60), failures: 0 });
    Observed { subject, status, basis, last }
}

fn fail(observed: &mut Observed) {
    observed.basis.faults = vec!["no such profile".to_owned(), "no such tier".to_owned()];
}

#[test]
fn a_verdict_is_told_when_it_changed_or_the_status_says_something_else() {
    let check = |what: &str, change: fn(&mut Observed), expected: Decision| {
        let mut observed = observed();
        change(&mut observed);
        assert_eq!(decide(&observed, validation("PolicyPreset"), NOW), expected, "{what}");
    };
    let wait = |seconds| Decision::Wait(Some(Duration::from_secs(seconds)));
    check("nothing changed", |_| (), wait(540));
    check("the process is new", |observed| observed.last = None, Decision::Tell);
    check("what it names is gone", fail, Decision::Tell);
    check("another spec", |observed| observed.basis.hash += 1, Decision::Tell);
    check("made anew under its name", |observed| observed.basis.uid = "u-2".to_owned(), Decision::Tell);
    check("another generation", |observed| observed.subject.generation = Some(4), Decision::Tell);
    check("no status", |observed| observed.status = ConfigurationStatus::default(), Decision::Tell);
    check("the opposite", |observed| observed.status.validation = Some(FAILED.to_owned()), Decision::Tell);
    let going = |observed: &mut Observed| observed.subject.lifetime = Lifetime::BeingDeleted;
    check("on its way out", going, Decision::Wait(None));
}

/// The conditions as `type=status/reason`.
fn conditions(status: &Value) -> Vec<String> {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
    let list = status["conditions"].as_array().unwrap().iter();
    list.map(|one| format!("{}={}/{}", text(one, "type"), text(one, "status"), text(one, "reason"))).collect()
}

#[test]
fn each_verdict_has_its_status_and_says_what_is_not_done_yet() {
    let sound = report(&observed(), validation("PolicyPreset"), NOW);
    assert_eq!(sound.status["validation"], SUCCESS);
    assert_eq!(sound.status["type"], "backup");
    assert_eq!(sound.status.get("error"), None);
    assert_eq!(conditions(&sound.status), ["Valid=True/Validated"]);
    assert_eq!(sound.events, []);
    let mut failing = observed();
    fail(&mut failing);
    let failed = report(&failing, validation("PolicyPreset"), NOW);
    assert_eq!(failed.status["validation"], FAILED);
    assert_eq!(failed.status["type"], "unknown");
    assert_eq!(failed.status["error"], json!(["no such profile", "no such tier"]));
    assert_eq!(
        (&failed.status["observedGeneration"], &failed.status["hash"]),
        (&json!(3), &json!(failing.subject.hash))
    );
    assert_eq!(conditions(&failed.status), ["Valid=False/SpecInvalid"]);
    let unused = report(&observed(), validation("TransformSet"), NOW);
    assert_eq!(conditions(&unused.status), ["Valid=True/Validated", "Ignored=True/NotSupported"]);
    assert_eq!(failed.events.len(), 1);
    assert_eq!(failed.events[0].reason, event::CONFIGURATION_FAILED);
}

/// "Success" of an audit configuration is documented as: events are being sent.
#[test]
fn an_audit_configuration_that_nothing_is_sent_for_is_pending() {
    let mut audit = observed();
    audit.status.validation = None;
    let report = report(&audit, validation("AuditConfig"), NOW);
    assert_eq!(report.status["validation"], "Pending");
    assert!(report.status["conditions"][1]["message"].as_str().unwrap().contains("sends no audit events"));
    assert_eq!(report.status.get("type"), None);
}
