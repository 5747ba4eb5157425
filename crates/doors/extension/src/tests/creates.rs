//! Creating: every rule that Kubernetes would have checked for us, and those that are ours.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use keelson_protection::requests::{self, Effect, NewObject};
use keelson_resources::{LABELS_MAX, find_kind};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::harness::{Answer, Answering, BACKUPS, POINTS, World, alice, request, user};
use crate::limits::{BODIES, BODY_BYTES_MAX, EVENT_TIMEOUT};
use crate::server::Bounds;

fn backup(name: &str) -> Value {
    json!({
        "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "BackupAction", "metadata": {"name": name},
        "spec": {"subject": {"name": "shop", "namespace": "shop"}},
    })
}

async fn expect(world: &World, query: &str, object: &Value, code: StatusCode, message: &str) -> Answer {
    let answer = world.post(&format!("{BACKUPS}{query}"), object).await;
    assert_eq!(answer.code, code, "{}", answer.json);
    assert!(answer.message().contains(message), "'{}' does not say '{message}'", answer.message());
    answer
}

async fn created(world: &World) -> Vec<String> {
    world.get(BACKUPS).await.names().into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn an_object_is_created_and_returned() {
    let world = World::start().await;
    let mut object = backup("b");
    object["metadata"]["labels"] = json!({"team": "blue"});
    object["status"] = json!({"state": "Complete", "requester": {"name": "root"}});
    let answer = world.post(BACKUPS, &object).await;
    assert_eq!(answer.code, StatusCode::CREATED, "{}", answer.json);
    assert_eq!(answer.json["kind"], "BackupAction");
    assert_eq!(answer.json["metadata"]["namespace"], "shop");
    assert_eq!(answer.json["metadata"]["labels"]["team"], "blue");
    assert_ne!(answer.json["status"]["state"], "Complete");
    assert_eq!(
        answer.json["status"]["requester"],
        json!({"name": "alice", "uid": "u-1", "groups": ["system:authenticated"]})
    );
    assert_eq!(
        world.get(&format!("{BACKUPS}/b")).await.json["metadata"]["uid"],
        answer.json["metadata"]["uid"]
    );
    let again = world.post(BACKUPS, &backup("b")).await;
    assert_eq!((again.code, &again.json["reason"]), (StatusCode::CONFLICT, &json!("AlreadyExists")));
    assert_eq!(again.message(), "backupactions.actions.kio.kasten.io \"b\" already exists");
}

#[tokio::test]
async fn a_name_is_completed_where_only_its_beginning_is_given() {
    let world = World::start().await;
    let mut object = backup("");
    object["metadata"] = json!({"generateName": "manual-", "creationTimestamp": null});
    for _ in 0..3 {
        let answer = world.post(BACKUPS, &object).await;
        let name = answer.json["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("manual-") && name.len() == 12, "{name}");
    }
    assert_eq!(created(&world).await.len(), 3);
}

#[tokio::test]
async fn a_dry_run_creates_nothing() {
    let world = World::start().await;
    let answer = world.post(&format!("{BACKUPS}?dryRun=All"), &backup("b")).await;
    assert_eq!((answer.code, &answer.json["metadata"]["name"]), (StatusCode::CREATED, &json!("b")));
    assert_eq!(created(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_dry_run_binds_no_content_and_is_refused_as_the_run_would_be() {
    let world = World::start().await;
    let contents = find_kind("apps.kio.kasten.io", "restorepointcontents").unwrap();
    let labels = [("k10.kasten.io/appName", "shop")];
    world.put_row(world.row(contents, "", "kept", &labels, json!({"state": "Unbound"})));
    let before = world.database().head();
    let point =
        |content| json!({"metadata": {"name": "p"}, "spec": {"restorePointContentRef": {"name": content}}});
    let dry = format!("{POINTS}?dryRun=All");
    let tried = world.post(&dry, &point("kept")).await;
    assert_eq!((tried.code, &tried.json["metadata"]["name"]), (StatusCode::CREATED, &json!("p")));
    assert_eq!(world.database().head(), before);
    let refused = world.post(&dry, &point("absent")).await;
    assert_eq!(
        (refused.code, refused.message().contains("'absent'")),
        (StatusCode::UNPROCESSABLE_ENTITY, true)
    );
    assert_eq!(world.post(POINTS, &point("kept")).await.code, StatusCode::CREATED);
    assert!(world.database().head() != before, "what was tried works");
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_its_name() {
    let world = World::start().await;
    let mut object = backup("b");
    object["spec"]["subjct"] = json!(1);
    let message = "strict decoding error: unknown field \"spec.subjct\"";
    expect(&world, "?fieldValidation=Strict", &object, StatusCode::BAD_REQUEST, message).await;
    let warned = expect(&world, "", &object, StatusCode::CREATED, "").await;
    assert_eq!(warned.headers[WARNING], "299 - \"unknown field 'spec.subjct'\"");
    object["metadata"]["name"] = json!("c");
    let ignored = expect(&world, "?fieldValidation=Ignore", &object, StatusCode::CREATED, "").await;
    assert!(!ignored.headers.contains_key(WARNING));
}

#[tokio::test]
async fn an_unknown_field_that_is_let_through_is_not_kept() {
    let world = World::start().await;
    for (name, query) in [("warned", ""), ("ignored", "?fieldValidation=Ignore")] {
        let mut object = backup(name);
        object["extra"] = json!({"a": 1});
        object["spec"]["subjct"] = json!(1);
        object["spec"]["subject"]["uid"] = json!("u");
        object["spec"]["filters"] = json!({"includeResources": [
            {"resource": "secrets", "matchLabels": {"any": "key"}, "sort": true}]});
        let kept = json!({
            "subject": {"name": "shop", "namespace": "shop"},
            "filters": {"includeResources": [{"resource": "secrets", "matchLabels": {"any": "key"}}]},
        });
        let answer = expect(&world, query, &object, StatusCode::CREATED, "").await;
        assert_eq!((&answer.json["spec"], answer.json.get("extra")), (&kept, None));
        let warnings: Vec<_> = answer.headers.get_all(WARNING).iter().collect();
        assert_eq!(warnings.len(), if query.is_empty() { 4 } else { 0 }, "{warnings:?}");
        assert_eq!(world.get(&format!("{BACKUPS}/{name}")).await.json["spec"], kept);
    }
}

#[tokio::test]
async fn a_field_given_twice_is_refused_by_its_name() {
    let world = World::start().await;
    let text =
        r#"{"metadata":{"name":"b"},"spec":{"subject":{"name":"x","name":"shop","namespace":"shop"}}}"#;
    let headers = [(CONTENT_TYPE.as_str(), "application/json")];
    let path = format!("{BACKUPS}?fieldValidation=Strict");
    let answer = world.send(Method::POST, &path, &headers, text).await;
    assert_eq!(answer.message(), "strict decoding error: duplicate field \"spec.subject.name\"");
}

#[tokio::test]
async fn yaml_is_taken_too() {
    let world = World::start().await;
    let text = "metadata:\n  name: b\nspec:\n  subject:\n    name: shop\n    namespace: shop\n";
    let headers = [(CONTENT_TYPE.as_str(), "application/yaml")];
    assert_eq!(world.send(Method::POST, BACKUPS, &headers, text).await.code, StatusCode::CREATED);
}

#[tokio::test]
async fn wrong_fields_are_named_with_their_cause() {
    let world = World::start().await;
    let mut object = backup("b");
    object["spec"]["subject"] = json!({"namespace": "shop"});
    let answer = expect(&world, "", &object, StatusCode::UNPROCESSABLE_ENTITY, "spec.subject.name").await;
    assert_eq!(answer.json["reason"], "Invalid");
    assert_eq!(answer.json["details"]["kind"], "BackupAction");
    assert_eq!(answer.json["details"]["causes"][0]["field"], "spec.subject.name");
    assert_eq!(answer.json["details"]["causes"][0]["reason"], "FieldValueRequired");
}

#[tokio::test]
async fn metadata_that_only_we_decide_is_refused() {
    let world = World::start().await;
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]);
    for (field, value) in [
        ("finalizers", json!(["example.com/hold"])),
        ("ownerReferences", owner),
        ("resourceVersion", json!("5")),
        ("name", json!("Not_A_Name")),
        ("labels", json!({"bad key": "x"})),
        ("labels", json!({"key": "bad value"})),
    ] {
        let mut object = backup("b");
        object["metadata"][field] = value;
        expect(&world, "", &object, StatusCode::UNPROCESSABLE_ENTITY, &format!("metadata.{field}")).await;
    }
    expect(&world, "", &json!({"metadata": {}}), StatusCode::UNPROCESSABLE_ENTITY, "metadata.name").await;
    assert_eq!(created(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_object_of_another_kind_version_or_namespace_is_refused() {
    let world = World::start().await;
    for (pointer, value, message) in [
        ("/kind", "RestorePoint", "RestorePoint in version \"v1alpha1\" cannot be handled as a BackupAction"),
        ("/apiVersion", "v1", "the API version in the data (v1) does not match"),
        ("/metadata/namespace", "other", "the namespace of the provided object does not match"),
    ] {
        let mut object = backup("b");
        object["metadata"]["namespace"] = json!("shop");
        *object.pointer_mut(pointer).unwrap() = json!(value);
        expect(&world, "", &object, StatusCode::BAD_REQUEST, message).await;
    }
}

#[tokio::test]
async fn the_namespace_must_exist_and_stay() {
    let world = World::start().await;
    let object =
        json!({"metadata": {"name": "b"}, "spec": {"subject": {"name": "dying", "namespace": "dying"}}});
    let dying = world.post(&BACKUPS.replace("shop", "dying"), &object).await;
    assert_eq!(dying.code, StatusCode::FORBIDDEN);
    assert_eq!(dying.json["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let object =
        json!({"metadata": {"name": "b"}, "spec": {"subject": {"name": "none", "namespace": "none"}}});
    let absent = world.post(&BACKUPS.replace("shop", "none"), &object).await;
    assert_eq!((absent.code, absent.message()), (StatusCode::NOT_FOUND, "namespaces \"none\" not found"));
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_objects() {
    let world = World::start().await;
    let headers = [(CONTENT_TYPE.as_str(), "application/json")];
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX));
    for (body, code) in [
        (large.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
        ("", StatusCode::BAD_REQUEST),
        ("[]", StatusCode::BAD_REQUEST),
        ("{\"metadata\":5}", StatusCode::BAD_REQUEST),
        ("{", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(world.send(Method::POST, BACKUPS, &headers, body).await.code, code, "{body:.20}");
    }
    let protobuf = [(CONTENT_TYPE.as_str(), "application/vnd.kubernetes.protobuf")];
    let answer = world.send(Method::POST, BACKUPS, &protobuf, "k8s").await;
    assert_eq!(answer.code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let unknown = world.post(&format!("{BACKUPS}?force=true"), &backup("b")).await;
    assert_eq!(unknown.code, StatusCode::UNPROCESSABLE_ENTITY);
}

/// More than a row of the catalog holds were answered with 500, and a dry run said that all was well.
#[tokio::test]
async fn labels_are_bounded_before_anything_is_written() {
    let world = World::start().await;
    let mut object = backup("b");
    let labels = |count: usize| -> Value {
        (0..count).map(|number| (format!("label-{number}"), json!("mine"))).collect()
    };
    for count in [LABELS_MAX + 1, 257] {
        object["metadata"]["labels"] = labels(count);
        for query in ["", "?dryRun=All"] {
            let message = "metadata.labels: Too many: must have at most 80 items";
            let answer = expect(&world, query, &object, StatusCode::UNPROCESSABLE_ENTITY, message).await;
            assert_eq!(answer.json["details"]["causes"][0]["reason"], "FieldValueTooMany");
        }
    }
    object["metadata"]["labels"] = labels(LABELS_MAX);
    expect(&world, "", &object, StatusCode::CREATED, "").await;
}

/// A tenant could put what he made among the restore points of a policy, where its retention would count them.
#[tokio::test]
async fn labels_of_the_platform_are_not_set_by_clients() {
    let world = World::start().await;
    for key in ["policyName", "runActionName", "exportProfile"] {
        let mut object = backup("b");
        object["metadata"]["labels"] = json!({format!("k10.kasten.io/{key}"): "nightly"});
        let message = format!("metadata.labels: Invalid value: 'k10.kasten.io/{key}' is set by the platform");
        expect(&world, "", &object, StatusCode::UNPROCESSABLE_ENTITY, &message).await;
    }
    let mut copied = backup("b");
    copied["metadata"]["labels"] =
        json!({"k10.kasten.io/appName": "shop", "k10.kasten.io/doNotRetire": "true"});
    expect(&world, "", &copied, StatusCode::CREATED, "").await;
}

#[tokio::test]
async fn a_content_that_is_being_retired_is_not_bound() {
    let world = World::start().await;
    let contents = find_kind("apps.kio.kasten.io", "restorepointcontents").unwrap();
    let mut row = world.row(contents, "", "old", &[("k10.kasten.io/appName", "shop")], json!({}));
    let mut body: Value = serde_json::from_slice(&row.body).unwrap();
    body["internal"] = json!({"retiring": "retire-old-x"});
    row.body = serde_json::to_vec(&body).unwrap();
    world.put_row(row);
    let actions = find_kind("actions.kio.kasten.io", "retireactions").unwrap();
    world.put_row(world.row(actions, "", "retire-old-x", &[], json!({"state": "Running"})));
    let object = json!({"metadata": {"name": "p"}, "spec": {"restorePointContentRef": {"name": "old"}}});
    let answer = world.post(POINTS, &object).await;
    assert_eq!(answer.code, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.json);
    assert!(answer.message().contains("'old' is being retired"), "{}", answer.message());
}

/// Each looked for others before any was written.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_reviews_asked_for_at_once_one_is_made() {
    let world = World::start().await;
    let kind = find_kind("dr.kio.kasten.io", "kastendrreviews").unwrap();
    let mut creates = tokio::task::JoinSet::new();
    for number in 0..16 {
        let object = NewObject {
            namespace: "kasten-io".to_owned(),
            name: format!("review-{number}"),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            spec: json!({}),
        };
        let platform = world.platform.clone();
        creates.spawn(async move {
            requests::create(&platform, &alice(), kind, object, Effect::Apply).await.is_ok()
        });
    }
    assert_eq!(creates.join_all().await.into_iter().filter(|made| *made).count(), 1);
}

const CANCELS: &str = "/apis/actions.kio.kasten.io/v1alpha1/namespaces/shop/cancelactions";

fn cancel(name: &str) -> Value {
    json!({
        "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "CancelAction",
        "metadata": {"generateName": "cancel-"},
        "spec": {"subject": {"kind": "BackupAction", "name": name, "namespace": "shop"}},
    })
}

#[tokio::test]
async fn a_cancel_action_is_carried_out_answered_and_kept_nowhere() {
    let world = World::start().await;
    expect(&world, "", &backup("b"), StatusCode::CREATED, "").await;
    let state = async || {
        let mut status = world.get(&format!("{BACKUPS}/b")).await.json["status"].take();
        (status["state"].as_str().unwrap().to_owned(), status["error"]["message"].take())
    };
    let tried = world.post(&format!("{CANCELS}?dryRun=All"), &cancel("b")).await;
    assert_eq!((tried.code, state().await.0.as_str()), (StatusCode::CREATED, "Pending"));

    let answer = world.post(CANCELS, &cancel("b")).await;
    assert_eq!(answer.code, StatusCode::CREATED, "{}", answer.json);
    let metadata = &answer.json["metadata"];
    assert!(metadata["name"].as_str().unwrap().starts_with("cancel-"), "{metadata}");
    assert_eq!(metadata.get("resourceVersion"), None, "what is kept nowhere has no version");
    assert_eq!(answer.json["status"]["state"], "Complete");
    assert_eq!(state().await, ("Cancelled".to_owned(), json!("cancelled by user 'alice'")));

    let again = world.post(CANCELS, &cancel("b")).await;
    assert_eq!(again.code, StatusCode::CONFLICT);
    assert!(again.message().contains("BackupAction 'b' has ended already, Cancelled"), "{}", again.message());
    let absent = world.post(CANCELS, &cancel("c")).await;
    assert_eq!(absent.code, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        absent.message().contains("there is no BackupAction 'c' in namespace 'shop'"),
        "{}",
        absent.message()
    );
    for path in [CANCELS.to_owned(), format!("{CANCELS}?watch=1"), format!("{CANCELS}/cancel-1")] {
        assert_eq!(world.get(&path).await.code, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test]
async fn whoever_may_not_read_an_action_does_not_cancel_it() {
    let world = World::start().await;
    expect(&world, "", &backup("b"), StatusCode::CREATED, "").await;
    world.believe().denied.push("backupactions");
    let answer = world.post(CANCELS, &cancel("b")).await;
    assert_eq!(answer.code, StatusCode::FORBIDDEN, "{}", answer.json);
    assert_eq!(world.get(&format!("{BACKUPS}/b")).await.json["status"]["state"], "Pending");
}

/// Each create read its namespace, and reviewed again what had been granted a moment ago.
#[tokio::test]
async fn a_create_asks_the_cluster_for_nothing_that_it_has_told_already() {
    let world = World::start().await;
    let create = async |namespace: &str, kind: &str, object: Value| {
        world.believe().asked.clear();
        let path = format!("/apis/actions.kio.kasten.io/v1alpha1/namespaces/{namespace}/{kind}");
        let code = world.post(&path, &object).await.code;
        (code, std::mem::take(&mut world.believe().asked))
    };
    let shop = "GET api/v1/namespaces/shop".to_owned();
    let review = "POST apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned();
    let (_, asked) = create("shop", "backupactions", backup("early")).await;
    assert!(asked.contains(&shop), "nobody has told: {asked:?}");

    let stop = CancellationToken::new();
    let following = keelson_protection::follow_namespaces(world.platform.clone(), stop.clone());
    let creating = async {
        let told = keelson_testkit::eventually("a create that asks for no namespace", async || {
            let name = keelson_protection::random_suffix();
            let (_, asked) = create("shop", "backupactions", backup(&name)).await;
            Ok((!asked.contains(&shop)).then_some(()))
        });
        told.await.unwrap();
        world.put("shop", "point", &[], json!({"state": "Bound"}));
        let restore = |name: &str| {
            let subject = json!({"kind": "RestorePoint", "name": "point", "namespace": "shop"});
            json!({"metadata": {"name": name}, "spec": {"subject": subject, "targetNamespace": "shop"}})
        };
        let (code, asked) = create("shop", "restoreactions", restore("one")).await;
        assert_eq!(code, StatusCode::CREATED);
        assert!(!asked.is_empty() && asked.iter().all(|asked| *asked == review), "{asked:?}");
        let nothing = Vec::<String>::new();
        assert_eq!(create("shop", "restoreactions", restore("two")).await, (StatusCode::CREATED, nothing));
        for (namespace, code) in [("dying", StatusCode::FORBIDDEN), ("absent", StatusCode::NOT_FOUND)] {
            let mut object = backup("b");
            object["spec"]["subject"] = json!({"name": namespace, "namespace": namespace});
            let asked = vec![format!("GET api/v1/namespaces/{namespace}")];
            assert_eq!(create(namespace, "backupactions", object).await, (code, asked));
        }
        stop.cancel();
    };
    tokio::join!(following, creating);
}

/// The largest body that there is, of which nothing comes.
struct Announced;

impl HttpBody for Announced {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(BODY_BYTES_MAX as u64)
    }
}

/// The next answer; none where nothing is left to be done but to wait: a clock that stands goes on only then.
async fn next_before_all_wait(answers: &mut (impl Stream<Item = Response> + Unpin)) -> Option<Response> {
    tokio::time::pause();
    let next = tokio::time::timeout(Duration::from_secs(1), answers.next()).await;
    tokio::time::resume();
    next.ok().flatten()
}

/// Any number of bodies was read at once, of whatever size.
#[tokio::test]
async fn who_sends_large_bodies_slowly_is_refused_in_time_and_keeps_nobody_from_writing() {
    let world = World::start().await;
    let headers = [(CONTENT_TYPE.as_str(), "application/json")];
    let slow = || {
        let never = Body::new(Announced);
        let mallory = user("mallory");
        world.respond_to(Method::POST, BACKUPS, &headers, never, Some(mallory))
    };
    let mut sent: FuturesUnordered<_> = (0..32).map(|_| slow()).collect();
    let mut refused = 0;
    while let Some(answer) = next_before_all_wait(&mut sent).await {
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(answer.headers().contains_key(RETRY_AFTER));
        refused += 1;
    }
    let largest = BODIES.each / BODY_BYTES_MAX;
    assert!((32 - largest..32).contains(&refused), "{refused} were refused at once");
    for number in 0..20 {
        let answer = world.post(BACKUPS, &backup(&format!("b{number}"))).await;
        assert_eq!(answer.code, StatusCode::CREATED, "{}", answer.json);
    }
    sent.clear();
    sent.push(slow());
    let again = next_before_all_wait(&mut sent).await;
    assert!(again.is_none(), "what they held is given back: the next one is read");
}

#[tokio::test]
async fn who_takes_no_answers_is_refused_in_the_end_and_keeps_nobody_from_writing() {
    let world = World::start().await;
    let mut object = backup("b");
    object["metadata"]["annotations"] = json!({"note": "x".repeat(200 << 10)});
    let headers = [(CONTENT_TYPE.as_str(), "application/json")];
    let (path, object) = (format!("{BACKUPS}?dryRun=All"), object.to_string());
    let mut untaken = Vec::new();
    let refused = loop {
        let mallory = user("mallory");
        let answer = world.respond(Method::POST, &path, &headers, &object, Some(mallory)).await;
        match answer.status() {
            StatusCode::CREATED => untaken.push(answer),
            refused => break refused,
        }
    };
    assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
    let most = BODIES.each / object.len();
    assert!((10..most).contains(&untaken.len()), "{} of at most {most}", untaken.len());
    assert_eq!(world.post(BACKUPS, &backup("c")).await.code, StatusCode::CREATED);
}

/// The API server itself ends a request after a minute, and would not say whose fault it was.
#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_that_it_did_and_does_nothing() {
    let longest = Bounds::default().request + EVENT_TIMEOUT;
    assert!(longest < Duration::from_secs(60), "the API server does not wait for {longest:?}");
    let world = World::start().await;
    world.believe().answering = Answering::NotAtAll;
    let bounds = Bounds { request: Duration::from_millis(200), ..Bounds::default() };
    let headers = [(CONTENT_TYPE.as_str(), "application/json")];
    let body = Body::from(backup("slow").to_string());
    let create = request(Method::POST, BACKUPS, &headers, body, Some(alice()));
    let response = world.extension.router_within(bounds).oneshot(create).await.unwrap();
    let (parts, body) = response.into_parts();
    assert_eq!(parts.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(parts.headers.contains_key(RETRY_AFTER));
    let status: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!((&status["reason"], &status["code"]), (&json!("Timeout"), &json!(504)));
    world.believe().answering = Answering::InFull;
    assert_eq!(created(&world).await, Vec::<String>::new());
    assert_eq!(world.post(BACKUPS, &backup("slow")).await.code, StatusCode::CREATED);
}
