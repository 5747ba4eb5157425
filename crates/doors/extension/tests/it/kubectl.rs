//! What people type, with a `kubectl` as old as the cluster and with an older one.

mod details;
mod kinds;

use std::collections::BTreeSet;
use std::time::Duration;

use keelson_resources::KINDS;
use serde_json::{Value, json};

use crate::environment::{Environment, environment};

/// Tells a story with the `kubectl` of the cluster's version and with the previous one.
fn with_each_kubectl(story: impl Fn(&Environment)) {
    story(environment());
    story(&environment().with_previous_kubectl());
}

fn backup(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "BackupAction",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"subject": {"name": namespace, "namespace": namespace}},
    })
}

#[test]
fn get_prints_the_columns_pages_and_selects() {
    with_each_kubectl(|cluster| {
        let listed = &*cluster.own("listed");
        cluster.namespace(listed);
        for number in 0..12 {
            let policy = if number % 2 == 0 { "daily" } else { "hourly" };
            let label = [("k10.kasten.io/policyName", policy)];
            cluster.put("restorepoints", listed, &format!("rp-{number:02}"), &label);
        }
        let paged = ["get", "restorepoints", "-n", listed, "--chunk-size=5"];
        let (table, requests) = cluster.traced_kubectl(&paged);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["NAME", "AGE"]);
        let names: Vec<_> = lines[1..].iter().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, (0..12).map(|number| format!("rp-{number:02}")).collect::<Vec<_>>());
        let pages: Vec<_> = requests.iter().filter(|url| url.contains("/restorepoints?")).collect();
        assert_eq!(pages.len(), 3, "five, five, and two: {requests:?}");
        assert!(pages.iter().all(|url| url.contains("limit=5")), "{pages:?}");
        assert_eq!(pages.iter().filter(|url| url.contains("continue=")).count(), 2, "{pages:?}");
        let (_, requests) = cluster.traced_kubectl(&["get", "restorepoints", "-n", listed, "--chunk-size=0"]);
        assert_eq!(requests.iter().filter(|url| url.contains("/restorepoints")).count(), 1, "{requests:?}");
        let selector =
            ["get", "restorepoints", "-n", listed, "-l", "k10.kasten.io/policyName=daily", "-o", "name"];
        let names = cluster.kubectl(&selector);
        assert_eq!(names.lines().count(), 6, "{names}");
        assert!(names.starts_with("restorepoint.apps.kio.kasten.io/rp-00"), "{names}");
        let wide = cluster.kubectl(&["get", "restorepoint", "rp-03", "-n", listed, "-o", "wide"]);
        assert!(wide.contains("Bound"), "{wide}");
        let yaml = cluster.kubectl(&["get", "restorepoints", "rp-03", "-n", listed, "-o", "yaml"]);
        assert!(yaml.contains(&format!("name: {listed}-rp-03")), "{yaml}");
        assert!(yaml.contains(&format!("uid: uid-{listed}-rp-03")), "{yaml}");
        let described = cluster.kubectl(&["describe", "restorepoints", "rp-03", "-n", listed]);
        assert!(described.contains("policyName=hourly"), "{described}");
        let absent = cluster.try_kubectl(&["get", "restorepoints", "none", "-n", listed], "").unwrap_err();
        assert!(absent.contains("restorepoints.apps.kio.kasten.io \"none\" not found"), "{absent}");
    });
}

/// The names of all fields of a schema, at any depth.
fn fields(schema: &Value) -> BTreeSet<String> {
    if !schema.is_object() {
        return BTreeSet::new();
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    let own = properties.flat_map(|(name, field)| std::iter::once(name.clone()).chain(fields(field)));
    own.chain(["items", "additionalProperties"].iter().flat_map(|below| fields(&schema[*below]))).collect()
}

#[test]
fn explain_knows_every_field() {
    with_each_kubectl(|cluster| {
        let spec = cluster.kubectl(&["explain", "backupactions.spec"]);
        assert!(spec.contains("subject") && spec.contains("-required-"), "{spec}");
        let name = cluster.kubectl(&["explain", "restorepoint.spec.restorePointContentRef"]);
        assert!(name.contains("name"), "{name}");
        let metadata = cluster.kubectl(&["explain", "runactions.metadata.labels"]);
        assert!(metadata.contains("map[string]string"), "{metadata}");
        for kind in KINDS {
            let explained =
                cluster.kubectl(&["explain", "--recursive", &format!("{}.{}", kind.plural, kind.group)]);
            let told: BTreeSet<&str> = explained.split_whitespace().collect();
            let missing: Vec<_> =
                fields(&(kind.schema)()).into_iter().filter(|field| !told.contains(field.as_str())).collect();
            assert_eq!(missing, Vec::<String>::new(), "{}: {explained}", kind.kind);
        }
    });
}

#[test]
fn create_and_delete() {
    with_each_kubectl(|cluster| {
        let worked = &*cluster.own("worked");
        cluster.namespace(worked);
        let created = cluster.create(&backup(worked, "manual")).unwrap();
        assert_eq!(created.trim(), "backupaction.actions.kio.kasten.io/manual created");
        let again = cluster.create(&backup(worked, "manual")).unwrap_err();
        assert!(again.contains("AlreadyExists"), "{again}");
        let patched = ["label", "-n", worked, "backupaction/manual", "a=b"];
        let refused = cluster.try_kubectl(&patched, "").unwrap_err();
        assert!(refused.contains("cannot be changed once created"), "{refused}");
        let deleted = cluster.kubectl(&["delete", "-n", worked, "backupaction/manual", "--timeout=120s"]);
        assert!(deleted.contains("deleted"), "{deleted}");
        assert_eq!(cluster.kubectl(&["get", "-n", worked, "backupactions", "-o", "name"]), "");
    });
}

#[test]
fn patch_changes_what_people_decide_of_a_repository() {
    with_each_kubectl(|cluster| {
        let name = &*cluster.own("metadata-repository-x");
        cluster.put_repository(name);
        let one = format!("storagerepository/{name}");
        let table = cluster.kubectl(&["get", &one, "-n", "kasten-io"]);
        let columns: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(columns[0], ["NAME", "LOCATIONTYPE", "AGE"]);
        assert_eq!(columns[1][..2], [name, "Volume"]);
        let patch = |words: &[&str]| {
            let words = [&["patch", &one, "-n", "kasten-io"], words].concat();
            cluster.try_kubectl(&words, "")
        };
        let spec = || cluster.kubectl(&["get", &one, "-n", "kasten-io", "-o", "jsonpath={.spec}"]);
        let decided = r#"{"spec":{"disableMaintenance":true,"backgroundProcessTimeout":"2h"}}"#;
        let tried = patch(&["--type=merge", "--dry-run=server", "-p", decided]).unwrap();
        let said = format!("storagerepository.repositories.kio.kasten.io/{name} patched");
        assert!(tried.starts_with(&said), "{tried}");
        assert_eq!(spec(), r#"{"disableMaintenance":false}"#);
        patch(&["--type=merge", "-p", decided]).unwrap();
        patch(&["--type=merge", "-p", r#"{"spec":{"disableMaintenance":null}}"#]).unwrap();
        assert_eq!(spec(), r#"{"backgroundProcessTimeout":"2h","disableMaintenance":false}"#);
        let json = patch(&["--type=json", "-p", r#"[{"op":"remove","path":"/spec"}]"#]).unwrap_err();
        assert!(json.contains("application/merge-patch+json"), "{json}");
        let label = cluster.try_kubectl(&["label", &one, "-n", "kasten-io", "a=b"], "").unwrap_err();
        assert!(
            label.contains("metadata.labels: Forbidden: of this kind only spec can be changed"),
            "{label}"
        );
        let unknown = patch(&["--type=merge", "-p", r#"{"spec":{"disable":true}}"#]).unwrap();
        assert!(unknown.contains("no change"), "{unknown}");
        cluster.kubectl(&["delete", &one, "-n", "kasten-io", "--timeout=120s"]);
        assert_eq!(cluster.kubectl(&["get", "storagerepositories", "-n", "kasten-io", "-o", "name"]), "");
    });
}

#[test]
fn a_wrong_field_is_refused_by_its_name() {
    with_each_kubectl(|cluster| {
        let strict = &*cluster.own("strict");
        cluster.namespace(strict);
        let mut action = backup(strict, "manual");
        action["spec"]["subjekt"] = json!({});
        let refused = cluster.create(&action).unwrap_err();
        assert!(refused.contains("strict decoding error: unknown field \"spec.subjekt\""), "{refused}");
        let mut action = backup(strict, "manual");
        action["spec"]["subject"]["name"] = json!("");
        let refused = cluster.create(&action).unwrap_err();
        assert!(refused.contains("spec.subject.name"), "{refused}");
        let dry = cluster.try_kubectl(
            &["create", "--dry-run=server", "-o", "name", "-f", "-"],
            &backup(strict, "manual").to_string(),
        );
        assert_eq!(dry.unwrap().trim(), "backupaction.actions.kio.kasten.io/manual");
        assert_eq!(cluster.kubectl(&["get", "-n", strict, "backupactions", "-o", "name"]), "");
    });
}

#[test]
fn wait_returns_when_a_state_is_reached_and_not_before() {
    with_each_kubectl(|cluster| {
        let awaited = &*cluster.own("awaited");
        cluster.namespace(awaited);
        cluster.put_in_state("restorepoints", awaited, "rp", &[], "Unbound");
        let bound = "--for=jsonpath={.status.state}=Bound";
        let args = ["wait", "-n", awaited, "restorepoint/rp", bound, "--timeout=240s"];
        let mut wait = cluster.start_kubectl(&args, "wait-bound");
        wait.await_watch();
        cluster.put_in_state("restorepoints", awaited, "rp", &[("step", "one")], "Unbound");
        assert!(wait.is_running(), "it is not bound yet: {}", wait.printed());
        cluster.put_in_state("restorepoints", awaited, "rp", &[], "Bound");
        assert!(wait.ended_well());
        assert!(wait.printed().contains("rp condition met"), "{}", wait.printed());

        let args = ["wait", "-n", awaited, "restorepoint/rp", "--for=delete", "--timeout=240s"];
        let mut wait = cluster.start_kubectl(&args, "wait-gone");
        wait.await_watch();
        assert!(wait.is_running());
        cluster.remove(awaited, "rp");
        assert!(wait.ended_well());

        cluster.put_in_state("restorepoints", awaited, "rp", &[], "Unbound");
        let in_vain =
            cluster.try_kubectl(&["wait", "-n", awaited, "restorepoint/rp", bound, "--timeout=1s"], "");
        assert!(in_vain.unwrap_err().contains("timed out waiting"));
    });
}

#[test]
fn a_watch_prints_a_row_for_each_change() {
    with_each_kubectl(|cluster| {
        let watched = &*cluster.own("watched");
        cluster.namespace(watched);
        cluster.put("restorepoints", watched, "before", &[]);
        let args = ["get", "restorepoints", "-n", watched, "-w", "-o", "wide", "--output-watch-events"];
        let mut watch = cluster.start_kubectl(&args, watched);
        watch.await_line(&["EVENT", "NAME", "AGE", "STATE"]);
        watch.await_line(&["ADDED", "before", "Bound"]);
        watch.await_watch();
        cluster.put("restorepoints", watched, "after", &[]);
        watch.await_line(&["ADDED", "after", "Bound"]);
        cluster.put_in_state("restorepoints", watched, "before", &[], "Unbound");
        watch.await_line(&["MODIFIED", "before", "Unbound"]);
        cluster.remove(watched, "after");
        watch.await_line(&["DELETED", "after"]);
        assert!(watch.is_running());
        assert_eq!(
            watch.printed().matches("EVENT").count(),
            1,
            "the columns are told once: {}",
            watch.printed()
        );
    });
}

#[test]
fn a_namespace_with_restore_points_is_gone_within_seconds() {
    with_each_kubectl(|cluster| {
        let leaving = &*cluster.own("leaving");
        cluster.namespace(leaving);
        for number in 0..50 {
            cluster.put("restorepoints", leaving, &format!("rp-{number:02}"), &[]);
        }
        let content = format!("{leaving}-rp-00");
        cluster.put("restorepointcontents", "", &content, &[]);
        cluster.create(&backup(leaving, "manual")).unwrap();
        let started = std::time::Instant::now();
        cluster.kubectl(&["delete", "namespace", leaving, "--timeout=240s"]);
        assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
        assert_eq!(cluster.kubectl(&["get", "restorepoints", "-n", leaving, "-o", "name"]), "");
        cluster.kubectl(&["get", "restorepointcontents", &content]);
        let refused = cluster.create(&backup(leaving, "late")).unwrap_err();
        assert!(refused.contains(&format!("namespaces \"{leaving}\" not found")), "{refused}");
    });
}
