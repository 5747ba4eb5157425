//! Lists over a wire that breaks, is busy, or forgets its tokens.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use keelson_model::{Classified, ErrorClass};
use kube::client::Body as RequestBody;
use serde_json::json;

use super::*;

/// What the server answers to one request.
struct Answer {
    status: u16,
    chunks: Vec<Result<Bytes, std::io::Error>>,
}

fn page(names: &[&str], next: &str) -> Answer {
    let items: Vec<Value> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
    let body = json!({"items": items, "metadata": {"continue": next}}).to_string();
    Answer { status: 200, chunks: vec![Ok(body.into())] }
}

/// A page whose connection breaks after half of its bytes.
fn broken(names: &[&str]) -> Answer {
    let mut answer = page(names, "");
    let whole = answer.chunks.remove(0).expect("bytes");
    answer.chunks = vec![Ok(whole.slice(..whole.len() / 2)), Err(std::io::Error::other("connection reset"))];
    answer
}

fn refusal(status: u16, body: &Value) -> Answer {
    Answer { status, chunks: vec![Ok(body.to_string().into())] }
}

/// A cluster that gives these answers in turn, and the URLs it was asked for.
fn cluster(answers: Vec<Answer>) -> (Cluster, Arc<Mutex<Vec<String>>>) {
    let answers = Mutex::new(VecDeque::from(answers));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.uri().to_string());
        let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        async move {
            let answer = answer.expect("the test has an answer for each request");
            let frames = answer.chunks.into_iter().map(|chunk| chunk.map(Frame::data));
            let body = StreamBody::new(stream::iter(frames));
            Ok::<_, Infallible>(Response::builder().status(answer.status).body(body).expect("a response"))
        }
    });
    (Cluster::from_client(kube::Client::new(service, "default")), asked)
}

async fn names(answers: Vec<Answer>) -> (Result<Vec<String>, RequestError>, Vec<String>) {
    let (cluster, asked) = cluster(answers);
    let kind = Kind::namespaced("v1", "ConfigMap", "configmaps");
    let mut pages = Pages::new(&cluster, &kind, Some("shop"));
    let mut names = Vec::new();
    let listed = loop {
        match pages.next().await {
            Ok(Some(Item::Object(object))) => {
                names.push(object["metadata"]["name"].as_str().unwrap_or_default().to_owned());
            }
            Ok(Some(Item::Skipped(_))) => names.push("(skipped)".to_owned()),
            Ok(None) => break Ok(names),
            Err(error) => break Err(error),
        }
    };
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (listed, asked)
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let (listed, asked) = names(vec![page(&["a", "b"], "t 1"), page(&[], "t2"), page(&["c"], "")]).await;
    assert_eq!(listed.expect("listed"), ["a", "b", "c"]);
    let base = "/api/v1/namespaces/shop/configmaps?limit=500";
    assert_eq!(asked, [base.to_owned(), format!("{base}&continue=t%201"), format!("{base}&continue=t2")]);
}

#[tokio::test]
async fn a_page_broken_in_its_middle_is_read_again_and_nothing_comes_twice() {
    let first = ["a", "b", "c", "d"];
    let (listed, _) = names(vec![broken(&first), broken(&first), page(&first, "t"), page(&["e"], "")]).await;
    assert_eq!(listed.expect("listed"), ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_list_that_always_breaks_is_given_up() {
    let (listed, asked) = names((0..8).map(|_| broken(&["a", "b"])).collect()).await;
    let error = listed.expect_err("it always breaks");
    assert!(matches!(error.class(), ErrorClass::Unavailable { .. }));
    assert_eq!(asked.len(), PAGE_TRIES_MAX as usize);
}

#[tokio::test]
async fn an_expired_token_is_exchanged_for_the_one_the_server_offers() {
    let expired =
        json!({"kind": "Status", "code": 410, "reason": "Expired", "metadata": {"continue": "fresh"}});
    let (listed, asked) = names(vec![page(&["a"], "old"), refusal(410, &expired), page(&["b"], "")]).await;
    assert_eq!(listed.expect("listed"), ["a", "b"]);
    assert!(asked[2].ends_with("continue=fresh"), "{asked:?}");
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let busy = || refusal(429, &json!({"details": {"retryAfterSeconds": 0}}));
    let (listed, _) = names(vec![busy(), busy(), page(&["a"], "")]).await;
    assert_eq!(listed.expect("listed"), ["a"]);
}

#[tokio::test]
async fn an_object_nested_without_end_is_skipped() {
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    let body = format!(r#"{{"items":[{deep},{{"metadata":{{"name":"b"}}}}],"metadata":{{}}}}"#);
    let (listed, _) = names(vec![Answer { status: 200, chunks: vec![Ok(body.into())] }]).await;
    assert_eq!(listed.expect("listed"), ["(skipped)", "b"]);
}
