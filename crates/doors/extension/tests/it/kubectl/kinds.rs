//! Every kind as `kubectl` prints, watches and deletes it. The columns stand here as they are documented, not as the table
//! of kinds has them.

use keelson_resources::{KINDS, KindInfo, Verb};
use serde_json::{Value, json};

use crate::environment::{Environment, INSTALL_NAMESPACE};

/// How a kind is printed.
struct Printed {
    columns: &'static [&'static str],
    /// That `-o wide` adds.
    wide: &'static [&'static str],
    /// Cells of the row, beside those that tell a time.
    cells: &'static [(&'static str, &'static str)],
    body: Value,
}

/// What becomes of an object that somebody deletes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deleted {
    Gone,
    /// It goes when what it stands for is freed.
    Later,
    /// Clients do not delete it.
    Refused,
}

fn action(body: Value, columns: &'static [&'static str], wide: &'static [&'static str]) -> Printed {
    Printed { columns, wide, cells: &[("STATE", "Complete"), ("PCT", "100")], body }
}

fn state(
    columns: &'static [&'static str],
    state: &str,
    cells: &'static [(&'static str, &'static str)],
) -> Printed {
    Printed { columns, wide: &["STATE"], cells, body: json!({"spec": {}, "status": {"state": state}}) }
}

fn printed(kind: &str) -> Printed {
    let ended = json!({"spec": {}, "status": {"state": "Complete", "progress": 100}});
    match kind {
        "BackupAction" | "ExportAction" | "ImportAction" | "ReportAction" | "RestoreAction"
        | "UpgradeAction" | "ValidateAction" => action(ended, &["NAME", "AGE"], &["STATE", "PCT"]),
        "BackupClusterAction" | "RestoreClusterAction" | "RetireAction" => {
            action(ended, &["NAME", "CREATED AT"], &["STATE", "PCT"])
        }
        "RunAction" => action(ended, &["NAME", "CREATED AT", "STATE", "PCT"], &[]),
        "BatchRestoreAction" => {
            let mut body = ended;
            body["status"]["actionDetails"] = json!({"subjectsCount": 3});
            Printed {
                cells: &[("STATE", "Complete"), ("PCT", "100"), ("SUBJECTS", "3")],
                ..action(body, &["NAME", "CREATED AT", "STATE", "PCT", "SUBJECTS"], &[])
            }
        }
        "Application" => state(&["NAME", "AGE"], "Active", &[("STATE", "Active")]),
        "RestorePoint" | "RestorePointContent" => state(&["NAME", "AGE"], "Bound", &[("STATE", "Bound")]),
        "ClusterRestorePoint" => Printed { wide: &[], ..state(&["NAME", "CREATED AT"], "Bound", &[]) },
        _ => printed_of_platform(kind),
    }
}

fn printed_of_platform(kind: &str) -> Printed {
    match kind {
        "StorageRepository" => Printed {
            columns: &["NAME", "LOCATIONTYPE", "AGE"],
            wide: &["CONTENT", "APP"],
            cells: &[("LOCATIONTYPE", "Volume"), ("CONTENT", "metadata"), ("APP", "shop")],
            body: json!({
                "spec": {"disableMaintenance": false},
                "status": {"contentType": "metadata", "appName": "shop", "location": {"type": "Volume"}},
                "internal": {"repository": "09".repeat(16)},
            }),
        },
        "Passkey" => Printed {
            columns: &["NAME", "VALID"],
            wide: &["ERROR"],
            cells: &[("VALID", "true"), ("ERROR", "none")],
            body: json!({
                "spec": {"secret": {"name": "nowhere"}}, "status": {"valid": true, "error": "none"},
            }),
        },
        "KastenDRReview" => Printed {
            columns: &["NAME", "SOURCE CLUSTERID", "RESTOREPOINTS", "PHASE", "ERROR", "STATE"],
            wide: &[],
            cells: &[
                ("SOURCE CLUSTERID", "0c3e8c52"),
                ("RESTOREPOINTS", "2"),
                ("PHASE", "Looked"),
                ("ERROR", "none"),
                ("STATE", "success"),
            ],
            body: json!({
                "spec": {"sourceClusterInfo": {"profileName": "vault", "sourceClusterID": "0c3e8c52"}},
                "status": {
                    "state": "success", "phase": "Looked", "error": "none", "restorePoints": {"count": 2},
                },
            }),
        },
        "KastenDRRestore" => Printed {
            columns: &["NAME", "SOURCECLUSTERID", "PHASE", "STATE", "ERROR"],
            wide: &[],
            cells: &[
                ("SOURCECLUSTERID", "0c3e8c52"),
                ("PHASE", "Restored"),
                ("STATE", "success"),
                ("ERROR", "none"),
            ],
            body: json!({"spec": {}, "status": {
                "sourceClusterID": "0c3e8c52", "state": "success", "phase": "Restored", "error": "none",
            }}),
        },
        unknown => panic!("{unknown} has no line here"),
    }
}

fn deleted(kind: &str) -> Deleted {
    match kind {
        "Application" => Deleted::Refused,
        "RestorePointContent" => Deleted::Later,
        _ => Deleted::Gone,
    }
}

/// `kubectl` sets columns and cells apart by three spaces; a header may hold one.
fn split(line: &str) -> Vec<&str> {
    line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

/// The one object of its kind, by header and cell.
fn row<'a>(table: &'a str, columns: &[&str]) -> Vec<(&'a str, &'a str)> {
    let lines: Vec<_> = table.lines().map(split).collect();
    let [header, cells] = lines.as_slice() else { panic!("not one row: {table}") };
    assert_eq!(header, columns, "{table}");
    assert_eq!(header.len(), cells.len(), "{table}");
    header.iter().copied().zip(cells.iter().copied()).collect()
}

fn assert_cells(printed: &Printed, name: &str, found: &[(&str, &str)]) {
    for (column, cell) in found {
        match *column {
            "NAME" => assert_eq!(*cell, name),
            "AGE" => assert!(cell.ends_with('s') || cell.ends_with('m'), "{found:?}"),
            "CREATED AT" => assert!(cell.starts_with("20") && cell.ends_with('Z'), "{found:?}"),
            _ => assert!(printed.cells.contains(&(*column, *cell)), "{column}: {found:?}"),
        }
    }
}

/// Prints the object plain and wide, and watches what becomes of it when somebody deletes it.
fn tell(cluster: &Environment, kind: &KindInfo, name: &str) {
    let resource = format!("{}.{}", kind.plural, kind.group);
    let namespace = if kind.is_namespaced() { INSTALL_NAMESPACE } else { "" };
    let at: &[&str] = if kind.is_namespaced() { &["-n", INSTALL_NAMESPACE] } else { &[] };
    let printed = printed(kind.kind);
    cluster.put_object(kind, namespace, name, &printed.body);
    let get = |words: &[&str]| cluster.kubectl(&[&["get", resource.as_str()][..], words, at].concat());
    let plain = get(&[name]);
    assert_cells(&printed, name, &row(&plain, printed.columns));
    let mut wide = printed.columns.to_vec();
    wide.extend(printed.wide);
    assert_cells(&printed, name, &row(&get(&[name, "-o", "wide"]), &wide));

    let fields = format!("--field-selector=metadata.name={name}");
    let words = [&["get", resource.as_str(), &fields, "-w", "--output-watch-events"][..], at].concat();
    let mut watch = cluster.start_kubectl(&words, &format!("watch-{}", kind.plural));
    watch.await_line(&[&["EVENT"][..], printed.columns].concat());
    watch.await_line(&["ADDED", name]);
    watch.await_watch();
    let one = format!("{resource}/{name}");
    let words = [&["delete", one.as_str(), "--timeout=120s"][..], at].concat();
    match deleted(kind.kind) {
        Deleted::Gone => {
            let said = cluster.kubectl(&words);
            assert!(said.contains(&format!("{name}\" deleted")), "{said}");
            watch.await_line(&["DELETED", name]);
            assert_eq!(get(&[&fields, "-o", "name"]), "");
        }
        Deleted::Later => {
            cluster.kubectl(&[words, vec!["--wait=false"]].concat());
            watch.await_line(&["MODIFIED", name]);
        }
        Deleted::Refused => {
            let refused = cluster.try_kubectl(&words, "").unwrap_err();
            assert!(refused.contains("MethodNotAllowed") || refused.contains("does not allow"), "{refused}");
            cluster.put_object(kind, namespace, name, &json!({"spec": {}, "status": {"state": "Deleted"}}));
            watch.await_line(&["MODIFIED", name]);
        }
    }
    assert!(watch.is_running(), "{}: {}", kind.kind, watch.printed());
}

/// On a cluster of its own: objects that nothing stands behind would disturb others.
#[test]
fn every_kind_is_printed_watched_and_deleted_as_documented() {
    let cluster = Environment::start();
    for cluster in [cluster.clone(), cluster.with_previous_kubectl()] {
        for kind in KINDS.iter().filter(|kind| kind.allows(Verb::Get)) {
            assert!(kind.allows(Verb::List) && kind.allows(Verb::Watch), "{}", kind.kind);
            assert_eq!(kind.allows(Verb::Delete), deleted(kind.kind) != Deleted::Refused, "{}", kind.kind);
            tell(&cluster, kind, &cluster.own("printed"));
        }
        let kept = cluster.try_kubectl(&["get", "cancelactions", "-n", INSTALL_NAMESPACE], "").unwrap_err();
        assert!(kept.contains("MethodNotAllowed"), "nothing of it is kept: {kept}");
    }
}
