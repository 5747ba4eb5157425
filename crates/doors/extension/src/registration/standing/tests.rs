//! Of which groups the cluster is told what, over an API server that is a fake.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::response::{IntoResponse, Response};
use http::{Method, Request, StatusCode};
use keelson_model::ManualClock;
use keelson_model::names::{API_SERVICE, group};
use serde_json::{Value, json};

use super::*;
use crate::certificates::Renewed;
use crate::registration::{Holder, LeaseTimes, Reach};

const HOME: &str = "kasten-io";
const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a_group_is_away_for_long_only_after_its_resources_were_withheld_for_long() {
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let answers: Answers =
        Arc::new(move |version| version.group == group::DR || !away.load(Ordering::Relaxed));
    let (mut absences, start) = (Absences::default(), Instant::now());
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let check = |absences: &mut Absences, seconds: u64, is_away_now: bool, expected: Presence| {
        is_away.store(is_away_now, Ordering::Relaxed);
        for (version, found) in absences.look(at(seconds), &answers, &StandingTimes::USUAL) {
            let expected = if version.group == group::DR { Presence::There } else { expected };
            assert_eq!(found, expected, "{version} after {seconds} s");
        }
    };
    let note = |absences: &mut Absences, seconds: u64| {
        let mut versions = group_versions().into_iter().filter(|version| version.group != group::DR);
        versions.all(|version| absences.note_withheld(version, at(seconds)))
    };
    check(&mut absences, 0, true, Presence::AwayForAMoment);
    check(&mut absences, 59, true, Presence::AwayForAMoment);
    check(&mut absences, 60, true, Presence::Withheld);
    check(&mut absences, 61, false, Presence::There);
    check(&mut absences, 100, true, Presence::AwayForAMoment);
    check(&mut absences, 160, true, Presence::Withheld);
    // The cluster could not be told of it at once.
    check(&mut absences, 300, true, Presence::Withheld);
    assert!(note(&mut absences, 310));
    assert!(!note(&mut absences, 320));
    check(&mut absences, 369, true, Presence::Withheld);
    check(&mut absences, 370, true, Presence::AwayForLong);
    check(&mut absences, 900, true, Presence::AwayForLong);
    check(&mut absences, 901, false, Presence::There);
    check(&mut absences, 1000, true, Presence::AwayForAMoment);
    check(&mut absences, 1060, true, Presence::Withheld);
}

/// An API server with these APIServices and every Service, which refuses to write what is named so.
fn fake_client(found: Vec<Value>, refused: Option<&'static str>) -> Client {
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let answer = answer(request.method(), request.uri().path(), &found, refused);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    Client::new(service, HOME)
}

fn answer(method: &Method, path: &str, found: &[Value], refused: Option<&str>) -> Response {
    if method != Method::GET && refused.is_some_and(|name| path.ends_with(name)) {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "code": 409,
            "message": "it has changed", "metadata": {},
        });
        return (StatusCode::CONFLICT, axum::Json(status)).into_response();
    }
    if path.ends_with("/apiservices") {
        return axum::Json(json!({ "metadata": {}, "items": found })).into_response();
    }
    axum::Json(json!({ "metadata": { "name": "found" } })).into_response()
}

/// One of which the cluster has not said yet whether it is answered.
fn leading_to(group: &str, namespace: &str, service: &str) -> Value {
    json!({
        "metadata": { "name": format!("v1alpha1.{group}") },
        "spec": {
            "groupPriorityMinimum": 1, "versionPriority": 1,
            "service": { "namespace": namespace, "name": service, "port": 443 },
        },
    })
}

fn unanswered(mut api_service: Value) -> Value {
    api_service["status"] = json!({ "conditions": [{ "type": "Available", "status": "False" }] });
    api_service
}

/// Whether a second authority signs a day after a pass over such a cluster.
async fn signs_after(found: Vec<Value>, refused: Option<&'static str>, presence: Presence) -> bool {
    let clock = Arc::new(ManualClock::new("2026-11-01T00:00:00Z".parse().unwrap()));
    let certificates = Arc::new(ServingCertificates::generate(&[], clock.now()).unwrap());
    clock.advance(240 * DAY);
    assert_eq!(certificates.keep_current(clock.now()).unwrap(), [Renewed::Serving, Renewed::Successor]);
    let client = fake_client(found, refused);
    let registration = Registration {
        namespace: HOME.to_owned(),
        service: API_SERVICE.to_owned(),
        port: 7443,
        reach: Reach::Host { name: "localhost".to_owned() },
    };
    let me = Holder { instance: "a".to_owned(), process: "1".to_owned() };
    let lease = ServeLease::new(client.clone(), HOME, me, LeaseTimes::USUAL, clock.clone());
    let (shown, times) = (Arc::clone(&certificates), StandingTimes::USUAL);
    let answers: Answers = Arc::new(|_| true);
    let standing = Standing::new(client, registration, shown, lease, answers, times, clock.clone());
    let mut registrar = standing.registrar;
    let presence = group_versions().into_iter().map(|version| (version, presence)).collect();
    registrar.pass(&presence, true).await.unwrap();
    clock.advance(DAY);
    let renewed = certificates.keep_current(clock.now()).unwrap();
    assert!(renewed.is_empty() || renewed == [Renewed::Authority], "{renewed:?}");
    !renewed.is_empty()
}

/// It signed although an APIService told of the old one alone, and who came by that was shut out.
#[tokio::test]
async fn an_authority_signs_only_when_no_group_leads_to_us_without_it() {
    assert!(signs_after(Vec::new(), None, Presence::There).await, "all were registered");
    let ours = || vec![leading_to(group::VAULT, HOME, API_SERVICE)];
    assert!(signs_after(ours(), None, Presence::There).await, "it was told to one that was there");
    assert!(signs_after(ours(), None, Presence::Withheld).await, "it was told, with no resources listed");
    assert!(!signs_after(ours(), Some(group::VAULT), Presence::There).await, "one could not be told");
    assert!(signs_after(ours(), None, Presence::AwayForLong).await, "all are off the cluster");
    assert!(
        !signs_after(ours(), Some(group::VAULT), Presence::AwayForLong).await,
        "one could not be deleted"
    );
    let foreign = vec![leading_to(group::VAULT, "other", "starts")];
    assert!(signs_after(foreign, None, Presence::There).await, "one is somebody else's");
    let undecided = vec![leading_to(group::VAULT, HOME, "aggregatedapis-svc")];
    assert!(signs_after(undecided, None, Presence::There).await, "one may become ours, and is told then");
    let leftover = || vec![unanswered(leading_to(group::VAULT, HOME, "aggregatedapis-svc"))];
    assert!(signs_after(leftover(), None, Presence::There).await, "it was told to one that is taken over");
    assert!(!signs_after(leftover(), Some(group::VAULT), Presence::There).await, "it may be ours by now");
    assert!(signs_after(leftover(), None, Presence::AwayForAMoment).await, "one is taken over later");
    assert!(
        signs_after(leftover(), Some(group::VAULT), Presence::AwayForLong).await,
        "one that could not be deleted is not ours"
    );
}
