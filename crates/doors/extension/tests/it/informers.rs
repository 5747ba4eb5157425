//! Informers of client-go: whatever happens between them and us, in the end they hold what the catalog holds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keelson_extension::Farewell;
use serde_json::Value;

use crate::environment::{Environment, apart, environment, eventually};
use crate::stranger::Stranger;

const RESTORE_POINTS: &str = "apps.kio.kasten.io/v1alpha1/restorepoints";
/// Client-go streams what there is instead of listing it, or lists.
const WATCH_LIST: &str = "KUBE_FEATURE_WatchListClient";
const DETECTOR: &str = "KUBE_WATCHLIST_INCONSISTENCY_DETECTOR";
/// Longer than informers take to ask once more, and the cluster to go to another server, on any machine.
const LONG_FAREWELL: Farewell =
    Farewell { answered_for: Duration::from_secs(240), dropped_after: Duration::from_secs(250) };
/// More than two pages of 500.
const NAMES: usize = 1_200;

/// What a client may say while the server is away, and of a watch that began just before.
const AWAY: [&str; 2] = ["the server is currently unable to handle the request", "very short watch"];

/// An object never goes back to an earlier version.
#[track_caller]
fn assert_forward(informer: &Stranger) {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for event in informer.told("event") {
        let name = event["object"].as_str().unwrap().to_owned();
        let version: u64 = event["version"].as_str().unwrap().parse().unwrap();
        let before = last.insert(name, version).unwrap_or_default();
        assert!(before <= version, "version {before} came before {event}");
    }
}

/// The requests for lists that were answered, each by its query.
fn lists(informer: &Stranger) -> Vec<String> {
    let is_list = |request: &&Value| request["verb"] == "list" && request["code"] == 200;
    let requests = informer.told("request");
    requests.iter().filter(is_list).map(|request| request["query"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_kind_of_informer_ends_with_what_the_catalog_holds() {
    let cluster = environment();
    cluster.namespace("informed");
    for number in 0..NAMES {
        cluster.change("informed", NAMES, number);
    }
    let end = AtomicBool::new(false);
    let informers = std::thread::scope(|scope| {
        let changing = scope.spawn(|| cluster.change_until("informed", NAMES, &end));
        let mut informers = Vec::new();
        for client in ["dynamic", "metadata"] {
            for watch_list in ["true", "false"] {
                for page in ["500", "0"] {
                    let name = format!("informer-{client}-{watch_list}-{page}");
                    let words = ["--client", client, "--page", page, "--watch", "4s"];
                    let switches = [(WATCH_LIST, watch_list)];
                    let informer = Stranger::informer(cluster, &name, RESTORE_POINTS, &words, &switches);
                    informers.push((watch_list, page, informer));
                }
            }
        }
        for (_, _, informer) in &mut informers {
            informer.await_told("synced", 1);
        }
        // Each goes on over the end of some of its watches.
        for (_, _, informer) in &informers {
            eventually("a third watch", || {
                let requests = informer.told("request");
                (requests.iter().filter(|request| request["verb"] == "watch").count() >= 3).then_some(())
            });
        }
        end.store(true, Ordering::Relaxed);
        assert!(changing.join().unwrap() > NAMES, "something went on meanwhile");
        informers
    });
    for (watch_list, page, mut informer) in informers {
        informer.await_holding(cluster, "restorepoints", "informed");
        assert_forward(&informer);
        let lists = lists(&informer);
        match (watch_list, page) {
            ("true", _) => assert_eq!(lists, Vec::<String>::new(), "it streams"),
            (_, "0") => assert_eq!(lists.len(), 1, "{lists:?}"),
            _ => assert!(lists.len() >= 3 && lists[0].contains("limit=500"), "{lists:?}"),
        }
        informer.finish(&[]);
    }
}

#[test]
fn client_go_finds_no_difference_between_a_stream_and_a_list() {
    let cluster = apart();
    cluster.namespace("quiet");
    cluster.fill("restoreactions", "quiet", NAMES);
    // The metadata client would differ from itself: reading JSON it keeps the kind of a list's items and drops that of
    // a watch's objects.
    let mut informer = Stranger::informer(
        &cluster,
        "detector",
        "actions.kio.kasten.io/v1alpha1/restoreactions",
        &[],
        &[(WATCH_LIST, "true"), (DETECTOR, "true")],
    );
    assert_eq!(informer.await_told("synced", 1), NAMES);
    informer.await_holding(&cluster, "restoreactions", "quiet");
    let compared = lists(&informer);
    assert_eq!(compared.len(), 1, "the detector lists once: {compared:?}");
    assert!(compared[0].contains("resourceVersionMatch=Exact"), "{compared:?}");
    informer.finish(&["data consistency check for"]);
}

#[test]
fn an_informer_goes_on_when_the_server_comes_back() {
    let mut cluster = apart();
    cluster.namespace("restarted");
    cluster.fill("restorepoints", "restarted", NAMES);
    let start = |watch_list: &str| {
        let name = format!("restarted-{watch_list}");
        Stranger::informer(&cluster, &name, RESTORE_POINTS, &[], &[(WATCH_LIST, watch_list)])
    };
    let mut informers = ["true", "false"].map(start);
    for informer in &mut informers {
        informer.await_holding(&cluster, "restorepoints", "restarted");
    }
    cluster.restart_server(|cluster| {
        cluster.remove("restarted", "filled-000007");
        for number in 0..20 {
            cluster.change("restarted", 20, number);
        }
    });
    cluster.put("restorepoints", "restarted", "after", &[]);
    for mut informer in informers {
        informer.await_holding(&cluster, "restorepoints", "restarted");
        assert_forward(&informer);
        informer.finish(&AWAY);
    }
}

/// The requests by which an informer is brought all that there is.
fn wholes(informer: &Stranger) -> usize {
    let requests = informer.told("request");
    let is_whole = |request: &&Value| {
        let streams = request["query"].as_str().is_some_and(|query| query.contains("sendInitialEvents=true"));
        request["code"] == 200 && (request["verb"] == "list" || streams)
    };
    requests.iter().filter(is_whole).count()
}

/// Its watch was refused in the moment in which nobody was there, and it listed everything anew.
#[test]
fn an_informer_goes_on_without_a_list_when_another_server_takes_over() {
    let mut cluster = apart();
    cluster.replace_server(LONG_FAREWELL, || ());
    cluster.namespace("replaced");
    cluster.fill("restorepoints", "replaced", NAMES);
    let start = |watch_list: &str| {
        let name = format!("replaced-{watch_list}");
        Stranger::informer(&cluster, &name, RESTORE_POINTS, &[], &[(WATCH_LIST, watch_list)])
    };
    let mut informers = ["true", "false"].map(start);
    for informer in &mut informers {
        informer.await_holding(&cluster, "restorepoints", "replaced");
    }
    // A watch that ends within a second and has brought nothing is begun anew by itself, with everything.
    cluster.put("restorepoints", "replaced", "before", &[]);
    for informer in &mut informers {
        informer.await_holding(&cluster, "restorepoints", "replaced");
    }
    let before = informers.each_ref().map(wholes);
    cluster.replace_server(Farewell::USUAL, || {
        for informer in &informers {
            eventually("it is told to wait", || {
                informer.told("request").iter().any(|request| request["code"] == 429).then_some(())
            });
        }
    });
    cluster.remove("replaced", "filled-000007");
    cluster.put("restorepoints", "replaced", "after", &[]);
    for (mut informer, before) in informers.into_iter().zip(before) {
        informer.await_holding(&cluster, "restorepoints", "replaced");
        let requests = informer.told("request");
        assert_eq!(wholes(&informer), before, "{requests:?}");
        informer.finish(&[]);
    }
}

#[test]
fn an_informer_whose_version_was_cut_off_lists_again() {
    let mut cluster = apart();
    cluster.namespace("overtaken");
    cluster.fill("restorepoints", "overtaken", NAMES);
    let start = |watch_list: &str| {
        let name = format!("overtaken-{watch_list}");
        Stranger::informer(&cluster, &name, RESTORE_POINTS, &[], &[(WATCH_LIST, watch_list)])
    };
    let mut informers = ["true", "false"].map(start);
    for informer in &mut informers {
        informer.await_holding(&cluster, "restorepoints", "overtaken");
    }
    let before = cluster.version();
    cluster.restart_server(|cluster| {
        cluster.remove("overtaken", "filled-000007");
        cluster.cut_journal();
    });
    for mut informer in informers {
        informer.await_holding(&cluster, "restorepoints", "overtaken");
        let missed = informer.told("event").iter().filter(|event| event["type"] == "MISSED").count();
        assert_eq!(missed, 1, "it learned of the removal from a list");
        informer.finish(&AWAY);
    }
    assert_old_version_is_refused(&cluster, before);
}

/// In client-go's own reading of the answers.
#[track_caller]
fn assert_old_version_is_refused(cluster: &Environment, version: u64) {
    let kubeconfig = cluster.plane.kubeconfig().to_str().unwrap();
    let ask = |version: u64| {
        let version = version.to_string();
        let words =
            ["versions", "--kubeconfig", kubeconfig, "--resource", RESTORE_POINTS, "--version", &version];
        let mut asker = Stranger::start(cluster, &format!("versions-{version}"), &words, &[]);
        asker.await_told("asked", 4);
        let lines = asker.lines("asked");
        asker.finish(&[]);
        ["list Exact", "list NotOlderThan", "watch", "watch list"].map(|name| {
            let line = lines.iter().find(|line| line["asked"] == name);
            line.map(|line| line["refused"].clone()).unwrap()
        })
    };
    let [exact, not_older, watch, watch_list] = ask(version);
    for refused in [exact, watch] {
        assert_eq!((&refused["code"], &refused["expired"]), (&410.into(), &true.into()), "{refused}");
    }
    for served in [not_older, watch_list] {
        assert_eq!(served, Value::Null, "what is newer will do");
    }
    // From the future: to be asked again in a second, by which client-go means ten times.
    for refused in ask(cluster.version() + 1_000) {
        assert_eq!((&refused["code"], &refused["tooLarge"]), (&504.into(), &true.into()), "{refused}");
        assert_eq!(refused["retryAfter"], 1, "{refused}");
    }
}

#[test]
fn bookmarks_carry_an_informer_of_a_quiet_kind_over_a_cut() {
    let cluster = apart();
    cluster.fill("backupactions", "default", 3);
    let mut informers = ["true", "false"].map(|watch_list| {
        Stranger::informer(
            &cluster,
            &format!("bookmarked-{watch_list}"),
            "actions.kio.kasten.io/v1alpha1/backupactions",
            &["--watch", "4s"],
            &[(WATCH_LIST, watch_list)],
        )
    });
    for informer in &mut informers {
        informer.await_holding(&cluster, "backupactions", "default");
    }
    // Nothing happens to the kind: only bookmarks bring the informers on.
    cluster.be_busy();
    let version = cluster.version();
    for informer in &mut informers {
        eventually("a bookmark brings it to the newest version", || {
            informer.holds("default");
            let reached: u64 = informer.told("version").last()?.as_str()?.parse().ok()?;
            (reached >= version).then_some(())
        });
    }
    // All that they have seen of their kind is cut off, and each of them watches again after that.
    cluster.cut_journal();
    for informer in &informers {
        let before = informer.told("request").len();
        eventually("two watches more", || (informer.told("request").len() >= before + 2).then_some(()));
    }
    cluster.fill("backupactions", "default", 5);
    for mut informer in informers {
        informer.await_holding(&cluster, "backupactions", "default");
        let requests = informer.told("request");
        assert!(requests.iter().all(|request| request["code"] == 200), "{requests:?}");
        let lists = lists(&informer).len();
        assert!(lists <= 1, "it has listed nothing but at its beginning: {requests:?}");
        informer.finish(&[]);
    }
}

#[test]
fn a_resync_tells_what_is_held_and_asks_for_nothing() {
    let cluster = environment();
    cluster.namespace("resynced");
    cluster.put("restorepoints", "resynced", "rp", &[]);
    let words = ["--namespace", "resynced", "--resync", "1s"];
    let mut informer = Stranger::informer(cluster, "resynced", RESTORE_POINTS, &words, &[]);
    informer.await_holding(cluster, "restorepoints", "resynced");
    eventually("two resyncs", || {
        let events = informer.told("event");
        (events.iter().filter(|event| event["type"] == "RESYNCED").count() >= 2).then_some(())
    });
    assert_eq!(informer.told("request").len(), 1, "one stream: {:?}", informer.told("request"));
    informer.finish(&[]);
}

#[test]
fn pages_bring_each_object_once_while_objects_come_and_go() {
    let cluster = environment();
    cluster.namespace("paged");
    cluster.fill("restorepoints", "paged", 1_050);
    let kubeconfig = cluster.plane.kubeconfig().to_str().unwrap();
    let words = [
        "lister",
        "--kubeconfig",
        kubeconfig,
        "--resource",
        RESTORE_POINTS,
        "--namespace",
        "paged",
        "--page",
        "100",
    ];
    let mut lister = Stranger::start(cluster, "paged", &words, &[]);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut versions = Vec::new();
    for number in 1.. {
        lister.ask();
        let page = lister.await_told("page", number);
        for entry in page["entries"].as_array().unwrap() {
            *seen.entry(entry["object"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        versions.push(page["version"].clone());
        if page["last"] == true {
            assert!(number >= 11, "a thousand objects and more in pages of a hundred: {number}");
            break;
        }
        // Before, within and behind what was read.
        cluster.put("restorepoints", "paged", &format!("a-{number}"), &[]);
        cluster.remove("paged", &format!("filled-{:06}", number * 10));
        cluster.remove("paged", &format!("filled-{:06}", 1_049 - number));
        cluster.put("restorepoints", "paged", &format!("z-{number}"), &[]);
    }
    versions.dedup();
    assert_eq!(versions.len(), 1, "all pages are of one version: {versions:?}");
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    let stayed = cluster.held("restorepoints", "paged");
    let missing: Vec<_> =
        stayed.keys().filter(|name| name.contains("filled") && !seen.contains_key(*name)).collect();
    assert_eq!(missing, Vec::<&String>::new());
    lister.finish(&[]);
}
