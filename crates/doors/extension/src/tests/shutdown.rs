//! Whether a server wants to be asked, and how it ends in the middle of much: over real sockets, as the aggregator asks.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{StreamExt, stream};
use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::connections::{Served, ask, request, trust_in};
use super::harness::{BACKUPS, POINTS};
use crate::Extension;
use crate::server::{Bounds, Farewell};

const WATCHERS: usize = 8;
const WATCHES_EACH: usize = 120;
const WRITES: usize = 50;
/// Longer than a busy machine takes to let a newcomer ask while all watches end, and for all that to be answered.
const FAREWELL: Farewell =
    Farewell { answered_for: Duration::from_secs(20), dropped_after: Duration::from_secs(120) };
const ENDED_WITHIN: Duration = Duration::from_secs(125);

async fn text(response: Response<impl hyper::body::Body<Error: std::fmt::Debug>>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A create of which half is sent at once, and the rest when it is told to.
fn write_in_two(number: usize) -> (Request<Body>, oneshot::Sender<()>) {
    let (rest, go_on) = oneshot::channel();
    let metadata = json!({ "name": format!("late-{number}") });
    let spec = json!({ "subject": { "name": "shop", "namespace": "shop" } });
    let object = json!({ "metadata": metadata, "spec": spec }).to_string();
    let (first, second) = object.split_at(object.len() / 2);
    let (first, second) = (Bytes::from(first.to_owned()), Bytes::from(second.to_owned()));
    let second = stream::once(async move {
        go_on.await.unwrap();
        second
    });
    let body = stream::iter([first]).chain(second).map(Ok::<_, std::convert::Infallible>);
    (request("POST", BACKUPS, "alice", Body::from_stream(body)), rest)
}

/// One that only waited for the Lease of another was sent requests.
#[tokio::test]
async fn a_server_is_ready_from_when_it_stands_to_when_it_leaves() {
    let served = Served::start(Bounds::default()).await;
    let client = served.world.platform.cluster().client();
    let waiting = Extension::new(served.world.platform.clone(), client, CancellationToken::new());
    waiting.trust(trust_in(&served.proxies.pem()));
    let told = async || {
        let request = Request::builder().uri("/readyz").body(Body::empty()).unwrap();
        let response = waiting.router().oneshot(request).await.unwrap();
        (response.status(), text(response).await)
    };
    let refused = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, why.to_owned());
    assert_eq!(told().await, refused("another serve holds the Lease"));
    waiting.readiness().stand();
    assert_eq!(told().await, (StatusCode::OK, "ok".to_owned()));
    waiting.readiness().leave();
    assert_eq!(told().await, refused("shutting down"));
}

/// Within what a container is given to end, of which its Lease and its registration take the rest.
#[test]
fn what_a_platform_leaves_unanswered_is_dropped_after_ten_seconds() {
    let Farewell { answered_for, dropped_after } = Bounds::default().farewell;
    assert_eq!(Bounds::default().farewell, Farewell::USUAL);
    assert_eq!((answered_for, dropped_after), (Duration::from_secs(2), Duration::from_secs(10)));
}

/// Connections were refused from the first moment on, and informers listed everything anew.
#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_each_write_is_answered_and_each_watch_tells_how_far_it_has_come() {
    let mut served = Served::start(Bounds { farewell: FAREWELL, ..Bounds::default() }).await;
    let world = served.world.clone();
    world.put("shop", "a", &[], json!({}));
    let version = world.get(POINTS).await.version().to_owned();
    let watch = format!("{POINTS}?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
    let mut watches = JoinSet::new();
    for watcher in 0..WATCHERS {
        let mut aggregator = served.aggregator().await;
        for _ in 0..WATCHES_EACH {
            let user = format!("watcher-{watcher}");
            let response =
                aggregator.send_request(request("GET", &watch, &user, Body::empty())).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            watches.spawn(text(response));
        }
    }
    let mut aggregator = served.aggregator().await;
    let mut writes = JoinSet::new();
    let mut rests = Vec::new();
    for number in 0..WRITES {
        let (request, rest) = write_in_two(number);
        rests.push(rest);
        writes.spawn(aggregator.send_request(request));
    }
    // It came in behind the writes on the same connection.
    assert_eq!(ask(&mut aggregator, "/readyz").await.status(), StatusCode::OK);
    world.put("other", "b", &[], json!({}));
    let last = world.get(POINTS).await.version().to_owned();

    let began = Instant::now();
    world.extension.readiness().leave();
    world.shutdown.cancel();
    let mut newcomer = served.aggregator().await;
    let ready = ask(&mut newcomer, "/readyz").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let again = newcomer.send_request(request("GET", &watch, "watcher-0", Body::empty())).await.unwrap();
    assert_eq!(again.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(again.headers().contains_key(RETRY_AFTER), "client-go comes back, and lists nothing");

    let ended = watches.join_all().await;
    assert_eq!(ended.len(), WATCHERS * WATCHES_EACH);
    for told in ended {
        let bookmark: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        assert_eq!(bookmark["type"], "BOOKMARK");
        assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], *last);
    }
    for rest in rests {
        rest.send(()).unwrap();
    }
    for written in writes.join_all().await {
        assert_eq!(written.unwrap().status(), StatusCode::CREATED);
    }
    served.tasks.join_next().await.unwrap().unwrap();
    assert!(began.elapsed() < ENDED_WITHIN, "it took {:?}", began.elapsed());
    assert_eq!(world.get(BACKUPS).await.names().len(), WRITES);
    assert!(tokio::net::TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
}
