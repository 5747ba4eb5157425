//! The trail of audit events, from a request to a line: whatever was asked for is told once, whenever the process dies.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::pin::pin;
use std::sync::mpsc;
use std::time::Duration;

use axum::body::Body;
use futures::FutureExt as _;
use http::Method;
use http::header::CONTENT_TYPE;
use keelson_protection::audit;
use keelson_protection::random_suffix;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::harness::{self, Answering, BACKUPS, World};
use super::patches::{self, ONE};
use crate::limits::EVENT_TIMEOUT;
use crate::server::Bounds;

const REQUESTS: usize = 1_000;
const ACTIONS: &str = "/apis/actions.kio.kasten.io/v1alpha1/namespaces";
/// In bodies, and nowhere else.
const SECRET: &str = "hunter2";

/// Tells what there is to tell, as a process does before it ends.
async fn tell(world: &World) {
    let stop = CancellationToken::new();
    stop.cancel();
    audit::run(world.platform.clone(), None, stop).await;
}

/// All lines of the trail.
fn told(world: &World) -> Vec<Value> {
    let told = audit::read(world.data()).unwrap().map(|told| told.unwrap().line);
    told.map(|line| serde_json::from_str(&line).unwrap()).collect()
}

/// Who, what, which object, and what came of it.
type Key = (String, String, String, String, u64);

fn key(event: &Value) -> Key {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let place = format!("{}/{}", text(&object["namespace"]), text(&object["resource"]));
    let code = event["responseStatus"]["code"].as_u64().unwrap();
    (text(&event["user"]["username"]), text(&event["verb"]), place, text(&object["name"]), code)
}

fn count(keys: impl Iterator<Item = Key>) -> BTreeMap<Key, usize> {
    let mut counted = BTreeMap::new();
    keys.for_each(|key| *counted.entry(key).or_default() += 1);
    counted
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// People who ask, and what the trail must say of it.
struct People {
    random: Random,
    /// Actions that are there, each with its batch.
    made: BTreeMap<String, usize>,
    expected: Vec<Key>,
}

impl People {
    fn backup(name: &str, batch: usize) -> Value {
        json!({
            "metadata": { "name": name, "labels": { "batch": format!("b{batch}") },
                "annotations": { "note": SECRET } },
            "spec": { "subject": { "name": "shop", "namespace": "shop" } },
        })
    }

    fn expect(&mut self, user: &str, verb: &str, (namespace, name): (&str, &str), code: u16) {
        let place = format!("{namespace}/backupactions");
        self.expected.push((user.to_owned(), verb.to_owned(), place, name.to_owned(), code.into()));
    }

    fn any(&mut self) -> Option<String> {
        if self.made.is_empty() {
            return None;
        }
        let index = self.random.below(self.made.len());
        self.made.keys().nth(index).cloned()
    }

    async fn ask(&mut self, world: &World) {
        let user = ["alice", "bob", "system:serviceaccount:shop:robot"][self.random.below(3)];
        let send = async |method: Method, path: &str, body: &str| {
            let headers = [(CONTENT_TYPE.as_str(), "application/json")];
            let requester = harness::user(user);
            world.respond(method, path, &headers, body, Some(requester)).await.status().as_u16()
        };
        let (name, batch) = (random_suffix() + &random_suffix(), self.random.below(5));
        let object = Self::backup(&name, batch).to_string();
        let (known, kind) = (self.any(), self.random.below(14));
        let mut told =
            async |method: Method, path: &str, body: &str, verb: &str, at: (&str, &str), code: u16| {
                assert_eq!(send(method, path, body).await, code, "{verb} {path}");
                self.expect(user, verb, at, code);
            };
        match (kind, known) {
            (0..=4, _) => {
                told(Method::POST, BACKUPS, &object, "create", ("shop", &name), 201).await;
                self.made.insert(name, batch);
            }
            (5, Some(known)) => {
                let again = Self::backup(&known, batch).to_string();
                told(Method::POST, BACKUPS, &again, "create", ("shop", ""), 409).await;
            }
            (6, _) => {
                let wrong =
                    json!({ "metadata": { "name": name }, "spec": { "subject": SECRET } }).to_string();
                told(Method::POST, BACKUPS, &wrong, "create", ("shop", ""), 422).await;
            }
            (7, _) => {
                for (namespace, code) in [("dying", 403), ("absent", 404)] {
                    let path = format!("{ACTIONS}/{namespace}/backupactions");
                    let mut object = Self::backup(&name, batch);
                    object["spec"]["subject"] = json!({ "name": namespace, "namespace": namespace });
                    told(Method::POST, &path, &object.to_string(), "create", (namespace, ""), code).await;
                }
            }
            (8 | 9, Some(known)) => {
                let path = format!("{BACKUPS}/{known}");
                told(Method::DELETE, &path, "", "delete", ("shop", &known), 200).await;
                self.made.remove(&known);
            }
            (10, _) => {
                told(Method::DELETE, &format!("{BACKUPS}/{name}"), "", "delete", ("shop", &name), 404).await;
            }
            (11, _) => {
                let path = format!("{BACKUPS}?labelSelector=batch%3Db{batch}");
                assert_eq!(send(Method::DELETE, &path, "").await, 200);
                let gone: Vec<String> =
                    self.made.iter().filter(|(_, of)| **of == batch).map(|(name, _)| name.clone()).collect();
                for name in gone {
                    self.expect(user, "deletecollection", ("shop", &name), 200);
                    self.made.remove(&name);
                }
            }
            (12, _) => {
                for (method, verb) in [(Method::PUT, "update"), (Method::PATCH, "patch")] {
                    let path = format!("{BACKUPS}/{name}");
                    told(method, &path, &object, verb, ("shop", &name), 405).await;
                }
            }
            // Tried, and looked at: nothing is changed.
            _ => {
                assert_eq!(send(Method::POST, &format!("{BACKUPS}?dryRun=All"), &object).await, 201);
                assert_eq!(send(Method::GET, BACKUPS, "").await, 200);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_thousand_requests_is_told_once_whenever_the_process_dies() {
    let mut world = World::start().await;
    let seed = 11;
    let mut people = People { random: Random(seed), made: BTreeMap::new(), expected: Vec::new() };
    let mut deaths = 0;
    for _ in 0..REQUESTS {
        people.ask(&world).await;
        match people.random.below(40) {
            0 => tell(&world).await,
            1 => {
                deaths += 1;
                let ended = world.restart(|data| {
                    // It died in the middle of a line.
                    for series in ["requests", "catalog"] {
                        let path = data.join("audit").join(format!("{series}-0000000001.jsonl"));
                        if let Ok(mut file) = File::options().append(true).open(path) {
                            file.write_all(br#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","lev"#)
                                .unwrap();
                        }
                    }
                });
                world = ended.await;
            }
            _ => {}
        }
    }
    assert!(deaths > 10, "{deaths}");
    tell(&world).await;
    tell(&world).await;
    let events = told(&world);
    assert_eq!(count(events.iter().map(key)), count(people.expected.into_iter()));
    let mut ids: Vec<_> = events.iter().map(|event| event["auditID"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events.len());
    for event in &events {
        assert_eq!(event["user"]["groups"], json!(["system:authenticated"]), "{event}");
        assert_eq!((&event["kind"], &event["apiVersion"]), (&json!("Event"), &json!("audit.k8s.io/v1")));
        assert_eq!(event["annotations"]["k10.kasten.io/event"], "K10Event");
    }
    for entry in fs::read_dir(world.data().join("audit")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains(SECRET));
    }
}

#[tokio::test]
async fn an_event_bears_the_name_that_the_api_server_has_given_its_request() {
    let world = World::start().await;
    let id = "7d0c5f7e-3a6e-4f5c-9b1a-000000000001";
    let headers = [(CONTENT_TYPE.as_str(), "application/json"), ("audit-id", id)];
    let object = People::backup("one", 0).to_string();
    for code in [201, 409] {
        let answer = world.send(Method::POST, BACKUPS, &headers, &object).await;
        assert_eq!(answer.code.as_u16(), code);
    }
    tell(&world).await;
    let ids: Vec<Value> = told(&world).iter().map(|event| event["auditID"].clone()).collect();
    assert_eq!(ids, [id, id]);
}

#[tokio::test]
async fn a_patch_is_told_once_if_it_was_carried_out_or_refused_and_not_if_it_changes_nothing() {
    let world = patches::world().await;
    let send = async |path: &str, change: &Value| patches::patch(&world, path, change).await.code.as_u16();
    let change = json!({ "spec": { "disableMaintenance": true } });
    let of_another = json!({ "metadata": { "uid": "another" }, "spec": { "disableMaintenance": false } });
    assert_eq!(send(&format!("{ONE}?dryRun=All"), &change).await, 200);
    assert_eq!(send(ONE, &change).await, 200);
    assert_eq!(send(ONE, &change).await, 200, "it is so already");
    assert_eq!(send(ONE, &of_another).await, 409);
    tell(&world).await;
    let mut keys: Vec<Key> = told(&world).iter().map(key).filter(|(user, ..)| user == "alice").collect();
    keys.sort_unstable();
    let expected = [200, 409].map(|code| {
        let [user, verb, place, name] =
            ["alice", "patch", "kasten-io/storagerepositories", "dr-repository-x"].map(str::to_owned);
        (user, verb, place, name, code)
    });
    assert_eq!(keys, expected);
}

/// What was to be told of it was cut with it.
#[tokio::test]
async fn a_write_that_takes_too_long_is_told_as_that() {
    let world = World::start().await;
    let headers = [(CONTENT_TYPE.as_str(), "application/json")];
    let body = Body::from(People::backup("slow", 0).to_string());
    let create = harness::request(Method::POST, BACKUPS, &headers, body, Some(harness::alice()));
    let bounds = Bounds { request: Duration::from_millis(200), ..Bounds::default() };
    world.believe().answering = Answering::NotAtAll;
    let answer = world.extension.router_within(bounds).oneshot(create).await.unwrap();
    world.believe().answering = Answering::InFull;
    assert_eq!(answer.status().as_u16(), 504);
    tell(&world).await;
    let events = told(&world);
    assert_eq!(events.len(), 1, "{events:?}");
    let expected = ("alice", "create", "shop/backupactions", "", 504);
    let (user, verb, place, name, code) = key(&events[0]);
    assert_eq!((user.as_str(), verb.as_str(), place.as_str(), name.as_str(), code), expected);
    assert_eq!(events[0]["responseStatus"]["reason"], "Timeout");
}

/// Threads that write to the disk.
const WRITERS: usize = 16;

/// Nothing is written until what this answers is dropped.
fn hold_the_disk() -> Vec<mpsc::Sender<()>> {
    let hold = |_| {
        let (held, released) = mpsc::channel();
        drop(tokio::task::spawn_blocking(move || released.recv()));
        held
    };
    (0..WRITERS).map(hold).collect()
}

/// Three seconds after it came a refusal was answered, written or not, although the API server would have waited.
#[test]
fn a_refusal_waits_for_its_event_until_the_api_server_is_about_to_give_up() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(WRITERS).build().unwrap();
    runtime.block_on(async {
        let world = World::start().await;
        let path = format!("{BACKUPS}/b");
        let refuse = || world.respond(Method::PUT, &path, &[], "", Some(harness::alice()));
        tokio::time::pause();

        let disk = hold_the_disk();
        let mut answer = pin!(refuse());
        assert!(answer.as_mut().now_or_never().is_none(), "it is answered before it is written");
        tokio::time::advance(EVENT_TIMEOUT * 2).await;
        assert!(answer.as_mut().now_or_never().is_none(), "it is answered before it is written");
        drop(disk);
        assert_eq!(answer.await.status().as_u16(), 405);
        let verbs: Vec<Value> = told(&world).iter().map(|event| event["verb"].clone()).collect();
        assert_eq!(verbs, ["update"]);

        let disk = hold_the_disk();
        let mut answer = pin!(refuse());
        assert!(answer.as_mut().now_or_never().is_none(), "it is answered before it is written");
        tokio::time::advance(Bounds::default().request + EVENT_TIMEOUT + Duration::from_secs(1)).await;
        let answer = answer.as_mut().now_or_never().expect("nobody waits any longer");
        assert_eq!(answer.status().as_u16(), 405);
        drop(disk);
    });
}
