//! The documents of OpenAPI in the hands of those that they are written for: Kubernetes' own readers, a validator, and a
//! generator whose client is compiled and used. None of them is ours.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use keelson_extension::group_versions;
use keelson_resources::{KINDS, Verb};
use serde_json::{Value, json};

use crate::environment::{Environment, environment};
use crate::stranger::Stranger;

const GENERATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../testbed/generate");

fn backup(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "BackupAction",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"subject": {"name": namespace, "namespace": namespace}},
    })
}

fn list(value: &Value) -> Vec<&Value> {
    value.as_array().into_iter().flatten().collect()
}

/// Whether an operation was answered as its document says.
fn is_told(operation: &Value) -> bool {
    let code = operation["code"].as_u64().unwrap();
    let documented = list(&operation["documented"]).contains(&&json!(code));
    // Only for refusals is it enough to say what all others look like.
    documented || (code >= 400 && operation["default"] == json!(true))
}

/// What was answered to the operations of one action, by kind.
fn codes(operations: &[Value], action: &str) -> BTreeMap<String, u64> {
    let of_action = operations.iter().filter(|operation| operation["action"] == action);
    of_action
        .map(|operation| {
            (operation["kind"].as_str().unwrap().to_owned(), operation["code"].as_u64().unwrap())
        })
        .collect()
}

/// A create was documented with 200 and answered with 201, and operations of several groups had one name.
#[test]
fn kubernetes_own_readers_understand_every_document_and_each_answer_is_in_it() {
    let cluster = environment();
    let described = "described-by-openapi";
    cluster.namespace(described);
    cluster.put("restorepoints", described, "rp", &[("step", "one")]);
    cluster.create(&backup(described, "manual")).unwrap();

    let submit = cluster.plane.directory().join("openapi-submit.json");
    std::fs::write(&submit, json!([backup(described, "tried")]).to_string()).unwrap();
    let versions: Vec<String> = group_versions().iter().map(ToString::to_string).collect();
    let kubeconfig = cluster.plane.kubeconfig().to_str().unwrap();
    let versions_word = versions.join(",");
    let words = ["openapi", "--kubeconfig", kubeconfig, "--versions", &versions_word, "--submit"];
    let words = [&words[..], &[submit.to_str().unwrap()]].concat();
    let mut reader = Stranger::start(cluster, "openapi-reader", &words, &[]);
    reader.await_told("done", 1);
    let (documents, operations) = (reader.told("document"), reader.told("operation"));
    reader.finish(&[]);

    let read: Vec<&str> = documents.iter().filter_map(|document| document["version"].as_str()).collect();
    assert_eq!(read, versions);
    for document in &documents {
        for complaint in ["lost", "dangling", "faults"] {
            assert_eq!(document[complaint], json!([]), "{complaint}: {document}");
        }
    }
    let objects: u64 = documents.iter().filter_map(|document| document["objects"].as_u64()).sum();
    assert!(objects >= 2, "{documents:?}");

    let named: BTreeSet<&str> = operations.iter().filter_map(|operation| operation["id"].as_str()).collect();
    assert_eq!((named.len(), named.contains("")), (operations.len(), false), "{operations:?}");
    let untold: Vec<&Value> = operations.iter().filter(|operation| !is_told(operation)).collect();
    assert_eq!(untold, Vec::<&Value>::new());
    assert_eq!(codes(&operations, "post")["BackupAction"], 201);
    let kinds: BTreeSet<&str> =
        KINDS.iter().filter(|kind| kind.allows(Verb::List)).map(|kind| kind.kind).collect();
    let listed = codes(&operations, "list");
    assert_eq!(listed.keys().map(String::as_str).collect::<BTreeSet<_>>(), kinds);
    assert!(listed.values().all(|code| *code == 200), "{listed:?}");
    let emptied = codes(&operations, "deletecollection");
    assert!(emptied.values().all(|code| *code == 200), "{emptied:?}");
}

/// The documents as the API server publishes them, one file each, in a folder of their own.
fn write_documents(cluster: &Environment) -> PathBuf {
    let folder = cluster.plane.directory().join("generated");
    std::fs::create_dir(&folder).unwrap();
    for version in group_versions() {
        let document = cluster.kubectl(&["get", "--raw", &format!("/openapi/v3/apis/{version}")]);
        let package = version.group.split('.').next().unwrap();
        std::fs::write(folder.join(format!("{package}.json")), document).unwrap();
    }
    folder
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaints}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_generated_client_is_compiled_and_makes_lists_and_deletes_an_action() {
    let cluster = environment();
    let generated = "generated-client";
    cluster.namespace(generated);
    let folder = write_documents(cluster);
    let client = run(Command::new(GENERATE).arg(&folder));

    let files = folder.join("client-files");
    std::fs::create_dir(&files).unwrap();
    let shown = cluster.plane.client_certificate("generated", Some("system:masters")).unwrap();
    let write = |name: &str, pem: &str| std::fs::write(files.join(name), pem).unwrap();
    write("client.crt", &shown.certificate);
    write("client.key", &shown.key);
    write("authority.crt", &cluster.plane.authority());
    let mut command = Command::new(Path::new(client.trim()));
    command.args(["-server", cluster.plane.url(), "-namespace", generated, "-name", "typed"]);
    command.arg("-authority").arg(files.join("authority.crt"));
    command.arg("-certificate").arg(files.join("client"));
    let told = run(&mut command);
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        ("create", 201, "BackupAction", json!(["typed"]), ""),
        ("create", 409, "", Value::Null, "AlreadyExists"),
        ("list", 200, "BackupActionList", json!(["typed"]), ""),
        ("read", 200, "BackupAction", json!(["typed"]), ""),
        ("delete", 200, "Status", Value::Null, ""),
        ("read", 404, "", Value::Null, "NotFound"),
    ];
    let expected = expected.map(|(asked, code, kind, names, reason)| {
        json!({"asked": asked, "code": code, "kind": kind, "names": names, "reason": reason})
    });
    assert_eq!(told, expected);
}
