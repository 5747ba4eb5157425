//! How a platform ends while much is asked of it: told to, and killed. What was asked for is answered, and told in the
//! trail of audit events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{AsyncBufReadExt, TryStreamExt};
use keelson_e2e::answer;
use keelson_testkit::Supervisor;
use kube::Client;
use serde_json::{Value, json};

use crate::stage::{Stage, block_on};
use crate::world::{APPLICATION, action};

const BACKUPS: &str = "/apis/actions.kio.kasten.io/v1alpha1/namespaces/shop/backupactions";
const WATCHES: usize = 100;
const WRITERS: usize = 8;
/// Before it is told to end.
const WRITTEN_MIN: usize = 40;
/// It takes itself off the cluster, lets what is under way end, and gives its Lease back: ten seconds each at most, and the
/// machine may stand still for a while meanwhile.
const ENDED_WITHIN: Duration = Duration::from_secs(120);
const KILLS: usize = 5;
const WRITTEN_EACH: usize = 20;

/// What a client heard of a create or delete.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Code(u16),
    /// The connection ended without an answer.
    Nothing(String),
}

fn ask(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Result<Heard> {
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request = http::Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json").body(body)?;
    Ok(match block_on(client.request::<Value>(request)) {
        Ok(_) => Heard::Code(200),
        Err(kube::Error::Api(status)) => Heard::Code(status.code),
        Err(error) => Heard::Nothing(error.to_string()),
    })
}

fn backup(name: &str) -> Value {
    action(
        "BackupAction",
        name,
        APPLICATION,
        json!({ "subject": { "name": APPLICATION, "namespace": APPLICATION } }),
    )
}

/// The names of the backups that there are.
fn names(client: &Client) -> Result<BTreeSet<String>> {
    let list: Value = block_on(client.request(http::Request::get(BACKUPS).body(Vec::new())?))?;
    let items = list["items"].as_array().context("no items")?;
    Ok(items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

/// All lines of a watch, to its end.
async fn watch(client: Client, open: &AtomicUsize) -> Result<Vec<Value>> {
    let path = BACKUPS.replace("backupactions", "restoreactions");
    let path = format!("{path}?watch=true&allowWatchBookmarks=true");
    let stream = client.request_stream(http::Request::get(path).body(Vec::new())?).await?;
    open.fetch_add(1, Ordering::Relaxed);
    let lines: Vec<String> = stream.lines().try_collect().await?;
    Ok(lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?)
}

#[test]
fn a_platform_that_is_told_to_end_leaves_no_write_unanswered() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    stage.namespace(APPLICATION)?;
    let client = stage.client()?;
    let (open, written, end) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let (watched, heard, took) = std::thread::scope(|scope| {
        let watches: Vec<_> =
            (0..WATCHES).map(|_| scope.spawn(|| block_on(watch(client.clone(), &open)))).collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, written, end) = (&client, &written, &end);
                scope.spawn(move || {
                    let mut heard = Vec::new();
                    for number in 0.. {
                        let name = format!("b-{writer}-{number}");
                        let answer = ask(client, "POST", BACKUPS, Some(&backup(&name)))?;
                        let is_over = answer != Heard::Code(200) || end.load(Ordering::Relaxed);
                        heard.push((name, answer));
                        written.fetch_add(1, Ordering::Relaxed);
                        if is_over {
                            break;
                        }
                    }
                    anyhow::Ok(heard)
                })
            })
            .collect();
        let ready = stage.until("all are at work", || {
            let all =
                open.load(Ordering::Relaxed) == WATCHES && written.load(Ordering::Relaxed) >= WRITTEN_MIN;
            Ok(all.then_some(()))
        });
        let began = Instant::now();
        let stopped = stage.instance.stop();
        let took = began.elapsed();
        end.store(true, Ordering::Relaxed);
        let join = |error| anyhow::anyhow!("a thread panicked: {error:?}");
        let watched = watches.into_iter().map(|it| it.join().map_err(join)?).collect::<Result<Vec<_>>>()?;
        let heard = writers.into_iter().map(|it| it.join().map_err(join)?).collect::<Result<Vec<_>>>()?;
        ready.and(stopped)?;
        anyhow::Ok((watched, heard.concat(), took))
    })?;
    println!("{WATCHES} watches and {WRITERS} writers: it ended in {took:?}, after {} writes", heard.len());
    assert!(took < ENDED_WITHIN, "it took {took:?}");
    for lines in &watched {
        let last = lines.last().map(|line| line["type"].clone());
        assert_eq!(last, Some("BOOKMARK".into()), "{lines:?}");
    }
    let unanswered: Vec<_> = heard.iter().filter(|(_, heard)| matches!(heard, Heard::Nothing(_))).collect();
    assert!(unanswered.is_empty(), "{unanswered:?}");

    stage.instance.restart()?;
    stage.wait_until_served()?;
    let there = names(&client)?;
    let carried_out: BTreeSet<String> =
        heard.iter().filter(|(_, heard)| *heard == Heard::Code(200)).map(|(name, _)| name.clone()).collect();
    assert_eq!(there, carried_out, "what was carried out was told so, and nothing else");
    Ok(())
}

/// How often each was told: verb, name and code of what people asked for.
fn told(stage: &Stage) -> Result<BTreeMap<(String, String, u64), usize>> {
    let data = stage.data().display().to_string();
    let said = answer(["tools", "audit", "--data", &data, "--limit", "1000000"])?;
    ensure!(said.code == 0, "{said:?}");
    let mut told = BTreeMap::new();
    for line in said.stdout.lines() {
        let event: Value = serde_json::from_str(line)?;
        ensure!(event["apiVersion"] == "audit.k8s.io/v1" && event["kind"] == "Event", "{line}");
        if event["user"]["username"] == "keelson" || event["objectRef"]["resource"] != "backupactions" {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let code = event["responseStatus"]["code"].as_u64().context("a code")?;
        *told.entry((text(&event["verb"]), text(&event["objectRef"]["name"]), code)).or_default() += 1;
    }
    Ok(told)
}

#[test]
fn what_was_done_is_told_once_over_kills() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    stage.namespace(APPLICATION)?;
    let client = stage.client()?;
    let mut refused = 0;
    let mut deleted = BTreeSet::new();
    for round in 0..KILLS {
        for number in 0..WRITTEN_EACH {
            let name = format!("b-{round}-{number}");
            let created = ask(&client, "POST", BACKUPS, Some(&backup(&name)))?;
            assert_eq!(created, Heard::Code(200), "{name}");
            if number % 4 == 0 {
                assert_eq!(ask(&client, "POST", BACKUPS, Some(&backup(&name)))?, Heard::Code(409));
                refused += 1;
            }
            if number % 5 == 0 {
                let path = format!("{BACKUPS}/{name}");
                assert_eq!(ask(&client, "DELETE", &path, None)?, Heard::Code(200));
                deleted.insert(name);
            }
        }
        // What was committed a moment ago is not told yet.
        stage.kill_and_restart()?;
    }
    let mut expected: BTreeMap<(String, String, u64), usize> = BTreeMap::new();
    for (round, number) in (0..KILLS).flat_map(|round| (0..WRITTEN_EACH).map(move |number| (round, number))) {
        expected.insert(("create".to_owned(), format!("b-{round}-{number}"), 201), 1);
    }
    expected.extend(deleted.into_iter().map(|name| (("delete".to_owned(), name, 200), 1)));
    expected.insert(("create".to_owned(), String::new(), 409), refused);
    stage.until("all is told", || Ok((told(&stage)?.len() >= expected.len()).then_some(())))?;
    assert_eq!(told(&stage)?, expected);
    // What is in the files is printed after that.
    stage.until("each is printed at least once", || {
        let log = std::fs::read_to_string(stage.instance.log_file())?;
        let printed =
            log.lines().filter(|line| line.starts_with("{\"kind\":\"Event\"") && line.contains("K10Event"));
        Ok((printed.count() >= expected.len()).then_some(()))
    })
}
