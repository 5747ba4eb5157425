//! A platform in a temporary directory, an API server of a few paths, and requests as the front proxy sends them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use keelson_catalog::{Actor, Change, Class, Database, Row, RowKey, RowKind};
use keelson_model::{Clock, ManualClock};
use keelson_protection::{Platform, RecoveryBounds, Requester, Settings, User};
use keelson_resources::{KindInfo, find_kind};
use keelson_workload::Cluster;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::Extension;

pub(super) const POINTS: &str = "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop/restorepoints";
pub(super) const ALL_POINTS: &str = "/apis/apps.kio.kasten.io/v1alpha1/restorepoints";
pub(super) const BACKUPS: &str = "/apis/actions.kio.kasten.io/v1alpha1/namespaces/shop/backupactions";

/// What the fake API server believes.
#[derive(Default)]
pub(super) struct Beliefs {
    /// Namespaces, and whether they are terminating.
    pub(super) namespaces: BTreeMap<String, bool>,
    /// Resources that nobody may use.
    pub(super) denied: Vec<&'static str>,
    pub(super) answering: Answering,
    /// Every access review that was asked for.
    pub(super) reviews: Vec<Value>,
    /// Every request, as `GET api/v1/namespaces/shop`.
    pub(super) asked: Vec<String>,
    objects: BTreeMap<String, Value>,
}

/// How the fake API server answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answering {
    #[default]
    InFull,
    /// Nothing comes, whatever is asked.
    NotAtAll,
    /// What is read at this path begins to come, and never ends.
    WithoutEnd(&'static str),
}

pub(super) struct World {
    pub(super) extension: Extension,
    pub(super) platform: Arc<Platform>,
    pub(super) beliefs: Arc<Mutex<Beliefs>>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) shutdown: CancellationToken,
    data: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) json: Value,
    pub(super) bytes: Bytes,
}

impl Answer {
    pub(super) fn message(&self) -> &str {
        self.json["message"].as_str().unwrap_or_default()
    }

    /// The names of a list's items, in order.
    pub(super) fn names(&self) -> Vec<&str> {
        let items = self.json["items"].as_array().expect("a list");
        items.iter().map(|item| item["metadata"]["name"].as_str().expect("a name")).collect()
    }

    pub(super) fn version(&self) -> &str {
        self.json["metadata"]["resourceVersion"].as_str().expect("a version")
    }
}

impl World {
    pub(super) async fn start() -> Self {
        let mut beliefs = Beliefs::default();
        beliefs.namespaces.extend([("shop".to_owned(), false), ("kasten-io".to_owned(), false)]);
        beliefs.namespaces.insert("dying".to_owned(), true);
        Self::open(Arc::new(Mutex::new(beliefs)), tempfile::tempdir().expect("a directory")).await
    }

    /// Ends the platform, lets its data be tampered with, and starts another one on it.
    pub(super) async fn restart(self, tamper: impl FnOnce(&Path)) -> Self {
        let Self { extension, platform, beliefs, data, .. } = self;
        drop((extension, platform));
        tamper(data.path());
        Self::open(beliefs, data).await
    }

    async fn open(beliefs: Arc<Mutex<Beliefs>>, data: TempDir) -> Self {
        let client = fake_client(Arc::clone(&beliefs));
        let settings = Settings {
            install_namespace: "kasten-io".to_owned(),
            data: data.path().to_owned(),
            mounts: data.path().to_owned(),
            claims: BTreeMap::new(),
            ownership_grace: std::time::Duration::from_secs(60),
            clock_difference_max: jiff::SignedDuration::MAX,
            quick_mode: false,
            recovery_bounds: RecoveryBounds::USUAL,
            passphrase_cost: keelson_protection::KdfCost::LOWEST,
            aws: keelson_protection::AwsEnvironment::default(),
        };
        let start: Timestamp = "2026-11-01T00:00:00Z".parse().expect("a time");
        let clock = Arc::new(ManualClock::new(start));
        let as_clock: Arc<dyn Clock> = clock.clone();
        let platform = Platform::open(settings, Cluster::from_client(client.clone()), as_clock)
            .await
            .expect("a platform");
        let shutdown = CancellationToken::new();
        let extension = Extension::new(Arc::clone(&platform), client, shutdown.clone());
        extension.readiness().stand();
        Self { extension, platform, beliefs, clock, shutdown, data }
    }

    pub(super) fn believe(&self) -> std::sync::MutexGuard<'_, Beliefs> {
        self.beliefs.lock().unwrap()
    }

    /// The API server answers a path, without the slashes at its ends, with this from now on.
    pub(super) fn answer_with(&self, path: &str, object: Value) {
        self.believe().objects.insert(path.to_owned(), object);
    }

    pub(super) fn database(&self) -> Database {
        self.platform.database(points()).expect("a catalog")
    }

    /// The platform's own volume.
    pub(super) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Writes a restore point as the platform would.
    pub(super) fn put(&self, namespace: &str, name: &str, labels: &[(&str, &str)], status: Value) {
        self.put_row(self.row(points(), namespace, name, labels, status));
    }

    /// The same for many, which wait for the disk together.
    pub(super) fn put_many(&self, namespace: &str, names: &[String], status: &Value) {
        let (answer, answers) = std::sync::mpsc::channel();
        for names in names.chunks(500) {
            for name in names {
                let answer = answer.clone();
                let done = Box::new(move |outcome| answer.send(outcome).expect("somebody waits"));
                let row = self.row(points(), namespace, name, &[], status.clone());
                self.database().commit_with(&Actor::new("test"), vec![Change::put(row)], done);
            }
            for _ in names {
                answers.recv().expect("an answer").expect("a commit");
            }
        }
    }

    pub(super) fn put_row(&self, row: Row) {
        self.database().commit(&Actor::new("test"), vec![Change::put(row)]).expect("a commit");
    }

    pub(super) fn row(
        &self,
        kind: &KindInfo,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        status: Value,
    ) -> Row {
        let body = json!({
            "annotations": {"note": "kept"},
            "spec": {"restorePointContentRef": {"name": format!("{name}-content")}},
            "status": status,
            "internal": {"secret": "never served"},
        });
        Row {
            kind: RowKind::new(kind.row_kind()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            created: self.clock.now(),
            class: Class::Local,
            body: serde_json::to_vec(&body).expect("JSON"),
        }
    }

    /// Waits until watches have been woken for everything that was written. A paused clock does not wait for that.
    pub(super) async fn settled(&self) {
        let head = self.database().head().revision;
        self.platform.commits().wait_for(|told| *told >= head).await.expect("commits are told");
    }

    pub(super) fn remove(&self, namespace: &str, name: &str) {
        let key = RowKey::new(RowKind::new(points().row_kind()), namespace, name);
        self.database().commit(&Actor::new("test"), vec![Change::delete(key)]).expect("a commit");
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(super) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.send(Method::GET, path, &[(ACCEPT.as_str(), accept)], "").await
    }

    pub(super) async fn post(&self, path: &str, object: &Value) -> Answer {
        self.send(Method::POST, path, &[(CONTENT_TYPE.as_str(), "application/json")], &object.to_string())
            .await
    }

    pub(super) async fn delete(&self, path: &str, body: &str) -> Answer {
        self.send(Method::DELETE, path, &[], body).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let response = self.respond(method, path, headers, body, Some(alice())).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { code: parts.status, headers: parts.headers, json, bytes }
    }

    pub(super) async fn respond(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        requester: Option<Requester>,
    ) -> Response {
        self.respond_to(method, path, headers, Body::from(body.to_owned()), requester).await
    }

    pub(super) async fn respond_to(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
        requester: Option<Requester>,
    ) -> Response {
        let request = request(method, path, headers, body, requester);
        self.extension.router().oneshot(request).await.expect("an answer")
    }

    pub(super) async fn watch(&self, path_and_query: &str) -> Events {
        self.watch_as(path_and_query, "application/json").await
    }

    pub(super) async fn watch_as(&self, path_and_query: &str, accept: &str) -> Events {
        let headers = [(ACCEPT.as_str(), accept)];
        let response = self.respond(Method::GET, path_and_query, &headers, "", Some(alice())).await;
        assert_eq!(response.status(), StatusCode::OK, "{path_and_query}");
        Events::of(response.into_body())
    }
}

/// A request as the connection hands it on.
pub(super) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
    requester: Option<Requester>,
) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body).expect("a request");
    if let Some(requester) = requester {
        request.extensions_mut().insert(requester);
    }
    request
}

/// The lines of a watch.
pub(super) struct Events {
    stream: axum::body::BodyDataStream,
    buffer: Vec<u8>,
    /// Bytes of the largest piece so far.
    pub(super) largest: usize,
}

impl Events {
    pub(super) fn of(body: Body) -> Self {
        Self { stream: body.into_data_stream(), buffer: Vec::new(), largest: 0 }
    }

    /// The next event, or None at the end of the watch.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event is JSON"));
            }
            let chunk: Bytes = self.stream.next().await?.expect("a whole chunk");
            self.largest = self.largest.max(chunk.len());
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// The next event as `ADDED shop/a`.
    pub(super) async fn line(&mut self) -> String {
        let event = self.next().await.expect("an event");
        let metadata = &event["object"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}/{}", text(&event["type"]), text(&metadata["namespace"]), text(&metadata["name"]))
    }
}

pub(super) fn points() -> &'static KindInfo {
    find_kind("apps.kio.kasten.io", "restorepoints").expect("a kind of ours")
}

pub(crate) fn alice() -> Requester {
    user("alice")
}

pub(crate) fn user(name: &str) -> Requester {
    Requester::User(User {
        name: name.to_owned(),
        uid: "u-1".to_owned(),
        groups: vec!["system:authenticated".to_owned()],
        extra: BTreeMap::new(),
    })
}

fn fake_client(beliefs: Arc<Mutex<Beliefs>>) -> kube::Client {
    let router: Router = Router::new().fallback(answer).with_state(beliefs);
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        router.clone().oneshot(request.map(Body::new))
    });
    kube::Client::new(service, "default")
}

async fn answer(State(beliefs): State<Arc<Mutex<Beliefs>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.expect("a whole body").to_bytes();
    let sent: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    if beliefs.lock().unwrap().answering == Answering::NotAtAll {
        return std::future::pending().await;
    }
    let mut beliefs = beliefs.lock().unwrap();
    let path = parts.uri.path().trim_matches('/').to_owned();
    let segments: Vec<&str> = path.split('/').collect();
    beliefs.asked.push(format!("{} {path}", parts.method));
    let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
    let is_without_end = matches!(beliefs.answering, Answering::WithoutEnd(at) if at == path);
    match (&parts.method, segments.as_slice()) {
        (&Method::GET, _) if is_without_end => {
            Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()).into_response()
        }
        (&Method::GET, ["api", "v1", "namespaces"]) if is_watch => {
            Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()).into_response()
        }
        (&Method::GET, ["api", "v1", "namespaces"]) => {
            let items = beliefs.namespaces.iter().map(|(name, terminating)| namespace(name, *terminating));
            let metadata = json!({"resourceVersion": "1"});
            axum::Json(json!({"metadata": metadata, "items": items.collect::<Vec<_>>()})).into_response()
        }
        (&Method::GET, ["api", "v1", "namespaces", "default"]) => {
            let uid = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa";
            axum::Json(json!({"metadata": {"name": "default", "uid": uid}})).into_response()
        }
        (&Method::GET, ["api", "v1", "namespaces", name]) => match beliefs.namespaces.get(*name) {
            None => absent(),
            Some(terminating) => axum::Json(namespace(name, *terminating)).into_response(),
        },
        (&Method::POST, ["apis", "authorization.k8s.io", "v1", "subjectaccessreviews"]) => {
            let resource = sent["spec"]["resourceAttributes"]["resource"].as_str().unwrap_or_default();
            let allowed = !beliefs.denied.contains(&resource);
            beliefs.reviews.push(sent["spec"].clone());
            axum::Json(json!({"spec": sent["spec"], "status": {"allowed": allowed}})).into_response()
        }
        (&Method::GET, _) => match beliefs.objects.get(&path) {
            Some(object) => axum::Json(object.clone()).into_response(),
            None => absent(),
        },
        (&Method::POST, _) => {
            let name = sent["metadata"]["name"].as_str().unwrap_or_default();
            beliefs.objects.insert(format!("{path}/{name}"), sent.clone());
            (StatusCode::CREATED, axum::Json(sent)).into_response()
        }
        _ => {
            beliefs.objects.insert(path, sent.clone());
            axum::Json(sent).into_response()
        }
    }
}

fn namespace(name: &str, terminating: bool) -> Value {
    let since = terminating.then_some("2026-11-01T00:00:00Z");
    json!({"metadata": {"name": name, "uid": name, "deletionTimestamp": since}})
}

fn absent() -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "not found",
        "code": 404, "metadata": {},
    });
    (StatusCode::NOT_FOUND, axum::Json(status)).into_response()
}
