//! Captures from a server whose answers are given: what a real one shows only in clusters that are hard to come by.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::Full;
use kube::client::Body as RequestBody;
use serde_json::json;

use super::*;

/// What is answered to each path; what is not listed is not found.
fn cluster(answers: Vec<(&'static str, Value)>) -> Cluster {
    let answers: BTreeMap<_, _> = answers.into_iter().collect();
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let (status, body) = match answers.get(request.uri().path()) {
            Some(answer) => (200, answer.clone()),
            None => (404, json!({"kind": "Status", "code": 404, "reason": "NotFound"})),
        };
        let body = Full::new(bytes::Bytes::from(body.to_string()));
        async move { Ok::<_, Infallible>(Response::builder().status(status).body(body).expect("a response")) }
    });
    Cluster::from_client(kube::Client::new(service, "default"))
}

fn resource(group: &str, resource: &str, kind: &str, verbs: &[&str]) -> Value {
    json!({"resource": resource, "scope": "Namespaced", "verbs": verbs,
        "responseKind": {"group": group, "version": "v1", "kind": kind}})
}

fn group(name: &str, freshness: &str, resources: &[Value]) -> Value {
    let version = json!({"version": "v1", "freshness": freshness, "resources": resources});
    json!({"metadata": {"name": name}, "versions": [version]})
}

fn groups(groups: &[Value]) -> Value {
    json!({ "items": groups })
}

fn items(items: &[Value]) -> Value {
    json!({"metadata": {}, "items": items})
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name}})
}

fn shop() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "u"}})
}

const ALL: &[&str] = &["create", "get", "list"];

async fn capture(answers: Vec<(&'static str, Value)>) -> (CaptureReport, Vec<String>) {
    let request = CaptureRequest {
        scope: CaptureScope::Application("shop".parse().expect("a name")),
        filters: Filters::default(),
        status: StatusRule::Drop,
    };
    let (sink, mut source) = mpsc::channel(64);
    let report = cluster(answers).capture(&request, sink).await.expect("captured");
    let mut objects = Vec::new();
    while let Some(object) = source.recv().await {
        objects.push(format!("{} {}", object.kind, object.name));
    }
    objects.sort();
    (report, objects)
}

fn told(report: &CaptureReport) -> Vec<String> {
    report.omitted.iter().map(|omission| format!("{omission} {:?}", omission.names)).collect()
}

#[tokio::test]
async fn two_resources_of_one_kind_are_both_captured() {
    let openshift = "template.openshift.io";
    let template = |plural| resource(openshift, plural, "Template", ALL);
    let (report, objects) = capture(vec![
        ("/api", groups(&[])),
        (
            "/apis",
            groups(&[group(openshift, "Current", &[template("processedtemplates"), template("templates")])]),
        ),
        ("/api/v1/namespaces/shop", shop()),
        ("/apis/template.openshift.io/v1/namespaces/shop/processedtemplates", items(&[named("done")])),
        ("/apis/template.openshift.io/v1/namespaces/shop/templates", items(&[named("raw")])),
    ])
    .await;
    assert_eq!(
        objects,
        [
            "namespaces shop",
            "processedtemplates.template.openshift.io done",
            "templates.template.openshift.io raw"
        ]
    );
    assert_eq!((report.objects, report.failed), (3, Vec::new()));
}

#[tokio::test]
async fn a_group_that_does_not_answer_is_named_and_the_rest_is_captured() {
    let (mut report, objects) = capture(vec![
        ("/api", groups(&[group("", "Current", &[resource("", "configmaps", "ConfigMap", ALL)])])),
        (
            "/apis",
            groups(&[
                group("away.example.com", "Stale", &[]),
                group("ill.example.com", "Stale", &[resource("ill.example.com", "widgets", "Widget", ALL)]),
                group("metrics.k8s.io", "Stale", &[]),
            ]),
        ),
        ("/api/v1/namespaces/shop", shop()),
        ("/api/v1/namespaces/shop/configmaps", items(&[named("settings")])),
        ("/apis/ill.example.com/v1/namespaces/shop/widgets", items(&[named("from-a-cache")])),
    ])
    .await;
    assert_eq!(objects, ["configmaps settings", "namespaces shop"]);
    let failed: Vec<_> = report.failed.iter().map(|failed| (&*failed.resource, &*failed.why)).collect();
    assert_eq!(
        failed,
        [
            ("away.example.com/v1", "the server behind APIService 'v1.away.example.com' does not answer"),
            ("ill.example.com/v1", "the server behind APIService 'v1.ill.example.com' does not answer"),
        ]
    );
    report.accept_failures();
    assert_eq!(report.failed, []);
    assert_eq!(
        report.omitted[0].to_string(),
        "away.example.com/v1: could not be read: the server behind APIService 'v1.away.example.com' does not answer"
    );
    assert_eq!(report.omitted.len(), 2);
}

#[tokio::test]
async fn a_namespace_and_a_definition_too_large_to_be_kept_are_told() {
    let long = "x".repeat(OBJECT_BYTES_MAX);
    let widgets = resource("example.com", "widgets", "Widget", ALL);
    let (report, objects) = capture(vec![
        ("/api", groups(&[])),
        ("/apis", groups(&[group("example.com", "Current", &[widgets])])),
        (
            "/api/v1/namespaces/shop",
            json!({"metadata": {"name": "shop", "uid": "u", "annotations": {"long": long}}}),
        ),
        ("/apis/example.com/v1/namespaces/shop/widgets", items(&[named("small")])),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com",
            json!({"metadata": {"name": "widgets.example.com", "uid": "d"}, "spec": {"description": long}}),
        ),
    ])
    .await;
    assert_eq!(objects, ["widgets.example.com small"]);
    assert_eq!(
        told(&report),
        [
            r#"1 customresourcedefinitions.apiextensions.k8s.io: larger than 3145728 bytes ["widgets.example.com"]"#,
            r#"1 namespaces: larger than 3145728 bytes ["shop"]"#,
        ]
    );
}

/// A custom resource may hold any; what is backed up has been read and written once more.
#[test]
fn a_number_comes_back_to_its_last_bit() {
    for text in ["1.8446744073709183e33", "0.1", "2.2250738585072011e-308", "123456789.12345679", "-7.1e-45"]
    {
        let read: Value = serde_json::from_str(text).expect("a number");
        let exact: f64 = text.parse().expect("a number");
        assert_eq!(read.as_f64().map(f64::to_bits), Some(exact.to_bits()), "{text}");
        let again: Value = serde_json::from_str(&read.to_string()).expect("a number");
        assert_eq!(again.as_f64().map(f64::to_bits), Some(exact.to_bits()), "{text}");
    }
}
